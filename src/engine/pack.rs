//! The events of a publish call as packs.

use crate::hub::event::Event;
use crate::hub::topic::Topics;

use super::record::{self, EncodeError, Pack, Packed, encode};

/// What an engine is to store of a publish call, and what it is to pass on to other gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packs {
    /// The events that are kept.
    pub kept: Option<Packed>,
    /// Those that are live only.
    pub live_only: Option<Packed>,
}

/// Encodes those events that are kept: `None` if none is.
///
/// # Errors
/// An [`EncodeError`] that names the bound which the pack is over.
pub fn pack<'a>(
    events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
    published_ms: u64,
    idempotency_key: Option<&str>,
) -> Result<Option<Packed>, EncodeError> {
    pack_all(events.filter(|(_, event)| !event.live_only), published_ms, idempotency_key)
}

/// Encodes those events that are live only, for other gateways: `None` if none is.
///
/// # Errors
/// As [`pack`].
pub fn pack_live_only<'a>(
    events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
    published_ms: u64,
) -> Result<Option<Packed>, EncodeError> {
    pack_all(events.filter(|(_, event)| event.live_only), published_ms, None)
}

fn pack_all<'a>(
    events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
    published_ms: u64,
    idempotency_key: Option<&str>,
) -> Result<Option<Packed>, EncodeError> {
    let mut names: Vec<&str> = Vec::new();
    let mut ends = Vec::new();
    for (topics, _) in events.clone() {
        names.extend(topics.iter().map(|topic| topic.as_str()));
        ends.push(names.len());
    }
    if ends.is_empty() {
        return Ok(None);
    }
    let mut start = 0;
    let records: Vec<record::Event<'_, &[&str]>> = events
        .zip(ends)
        .map(|((_, event), end)| {
            let topics = &names[std::mem::replace(&mut start, end)..end];
            record::Event {
                topics,
                event: event.event.as_deref(),
                id: event.id.as_deref(),
                retry_ms: event.retry_ms,
                key: event.key.as_deref(),
                data: &event.data,
                live_only: event.live_only,
                private: event.private,
            }
        })
        .collect();
    encode(&Pack { published_ms, idempotency_key, events: &records }).map(Some)
}
