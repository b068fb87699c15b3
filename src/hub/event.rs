//! An event as a publisher writes it, before it has an offset in the log.
//!
//! The fields are those of the WHATWG event stream format (HTML standard, section 9.2).

use std::borrow::Cow;
use std::time::Duration;

use super::fault::EventError;

/// The longest `id` and the longest `event` name, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// The longest `key`, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// The longest `retry:`, in milliseconds. Clients that count in 32 bits take more for none at all.
pub const RETRY_MS_MAX: u64 = i32::MAX as u64;

/// An event to publish. What is wrong with it is said when it is published.
///
/// ```
/// use sluicegate::Event;
/// let event = Event::new("hello").event("message").id("1");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    pub(crate) data: Cow<'a, str>,
    pub(crate) event: Option<Cow<'a, str>>,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) retry_ms: Option<u64>,
    pub(crate) key: Option<Cow<'a, str>>,
    pub(crate) live_only: bool,
    pub(crate) private: bool,
}

impl<'a> Event<'a> {
    /// An event with this data: any UTF-8. It reaches the client as one `data:` line per line,
    /// split on LF, CR and CRLF.
    pub fn new(data: impl Into<Cow<'a, str>>) -> Event<'a> {
        Event { data: data.into(), ..Event::default() }
    }

    /// Sets the event's type, the `event:` line (`message` for a client when there is none).
    /// At most 128 bytes without CR, LF or NUL.
    pub fn event(mut self, name: impl Into<Cow<'a, str>>) -> Event<'a> {
        self.event = Some(name.into());
        self
    }

    /// Sets the `id:` line, in place of the id that the log generates. At most 128 bytes without
    /// CR, LF or NUL. Where kept events share an id, a stream resumes after the earliest that it subscribes to.
    pub fn id(mut self, id: impl Into<Cow<'a, str>>) -> Event<'a> {
        self.id = Some(id.into());
        self
    }

    /// Sets the `retry:` line: how long the client waits before it reconnects, in whole
    /// milliseconds.
    pub fn retry(mut self, delay: Duration) -> Event<'a> {
        self.retry_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Sets the conflation key: of the events that a slow stream missed on a topic whose policy is
    /// `conflate`, it gets only the newest of each key. At most 255 bytes.
    pub fn key(mut self, key: impl Into<Cow<'a, str>>) -> Event<'a> {
        self.key = Some(key.into());
        self
    }

    /// With `false` the event is live only: it reaches the streams that are open now, gets no
    /// generated id and is never replayed. The default is `true`.
    pub fn keep(mut self, keep: bool) -> Event<'a> {
        self.live_only = !keep;
        self
    }

    /// With `true` the event reaches only streams that have been granted one of its topics: by a token, or by
    /// `StreamReply::private`. The default is `false`.
    pub fn private(mut self, private: bool) -> Event<'a> {
        self.private = private;
        self
    }
}

/// Checks what the event stream format and the bounds ask of an event.
pub(crate) fn check(event: &Event<'_>) -> Result<(), EventError> {
    let breaks_line = |text: &str| text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0));
    if let Some(id) = event.id.as_deref() {
        if id.len() > ID_BYTES_MAX {
            return Err(EventError::IdTooLong { bytes: id.len(), max: ID_BYTES_MAX });
        }
        if breaks_line(id) {
            return Err(EventError::IdLine);
        }
    }
    if let Some(name) = event.event.as_deref() {
        if name.len() > ID_BYTES_MAX {
            return Err(EventError::TypeTooLong { bytes: name.len(), max: ID_BYTES_MAX });
        }
        if breaks_line(name) {
            return Err(EventError::TypeLine);
        }
        if name == "gap" {
            return Err(EventError::TypeGap);
        }
    }
    // An empty `id:` line would reset the client's cursor, and `earliest` asks for all that is kept.
    if let Some(id) = event.id.as_deref() {
        if id.is_empty() {
            return Err(EventError::IdEmpty);
        }
        // It comes back in a header field, whose value can't hold these (RFC 9110, section 5.5).
        if id.chars().any(|c| c.is_ascii_control()) || id.trim_matches([' ', '\t']) != id {
            return Err(EventError::IdHeader);
        }
        if id == "earliest" {
            return Err(EventError::IdEarliest);
        }
    }
    if event.retry_ms.is_some_and(|ms| ms > RETRY_MS_MAX) {
        return Err(EventError::RetryTooLong { max_ms: RETRY_MS_MAX });
    }
    if event.key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
        return Err(EventError::KeyTooLong { max: KEY_BYTES_MAX });
    }
    Ok(())
}
