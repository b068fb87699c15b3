//! Frames: events encoded once, in the bytes that every stream is sent.
//!
//! ```text
//!   5b\r\n                                HTTP/1.1 chunk header (RFC 9112, section 7.1)
//!   event: message\n                  ┐
//!   id: 1kf03m2x-000000000042\n         │   the event (HTML standard, section 9.2); an id that the
//!   retry: 3000\n                     │   log makes is patched in, since its width is fixed
//!   data: first line\n                │
//!   data: second line\n               │
//!   \n                                ┘
//!   \r\n                                  end of the chunk
//! ```
//! The whole serves chunked streams; the middle serves close-delimited ones.

use std::sync::Arc;

use memchr::memchr2;

use super::event::{self, Event};
use super::fault::EventError;
use super::id::{Epoch, EventId, ID_LEN, Parsed};
use super::offset::Offset;
use super::topic::Topics;

/// How a response marks where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// `transfer-encoding: chunked` (HTTP/1.1).
    Chunked,
    /// By closing the connection (HTTP/1.0, or `Connection: close`).
    Close,
}

impl Framing {
    /// What ends a response properly.
    pub fn last_bytes(self) -> &'static [u8] {
        match self {
            Framing::Chunked => b"0\r\n\r\n",
            Framing::Close => b"",
        }
    }
}

/// The heartbeat, a comment that clients ignore. One line end: there are clients that take any blank line for an event.
pub const HEARTBEAT: &str = ":\n";

/// A cursor mark: it moves the last id that a client has, and dispatches no event (HTML standard, section 9.2.6).
pub fn mark(id: EventId) -> Chunk {
    Chunk::new(&format!("id: {id}\n\n"))
}

/// Bytes that are ready for the wire in either framing.
pub struct Chunk {
    bytes: Box<[u8]>,
    head_len: u8,
}

impl Chunk {
    /// A chunk around `body`. `body` must not be empty: an empty chunk would end the response.
    pub fn new(body: &str) -> Chunk {
        assert!(!body.is_empty());
        let mut chunk = ChunkWriter::new(body.len());
        chunk.bytes.extend_from_slice(body.as_bytes());
        chunk.finish()
    }

    /// The bytes for a stream of this framing.
    pub fn wire(&self, framing: Framing) -> &[u8] {
        match framing {
            Framing::Chunked => &self.bytes,
            Framing::Close => &self.bytes[usize::from(self.head_len)..self.bytes.len() - 2],
        }
    }
}

struct ChunkWriter {
    bytes: Vec<u8>,
    head_len: usize,
}

impl ChunkWriter {
    fn new(body_len: usize) -> ChunkWriter {
        let digits = body_len.max(1).ilog(16) as usize + 1;
        let mut bytes = Vec::with_capacity(digits + 2 + body_len + 2);
        for digit in (0..digits).rev() {
            bytes.push(b"0123456789abcdef"[(body_len >> (4 * digit)) & 15]);
        }
        bytes.extend_from_slice(b"\r\n");
        ChunkWriter { head_len: bytes.len(), bytes }
    }

    fn field(&mut self, name: &str, value: &str) {
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }

    fn finish(mut self) -> Chunk {
        self.bytes.extend_from_slice(b"\r\n");
        debug_assert_eq!(self.bytes.len(), self.bytes.capacity(), "the length was reckoned ahead");
        Chunk { bytes: self.bytes.into_boxed_slice(), head_len: self.head_len as u8 }
    }
}

/// An event with its offset in the log.
pub struct Frame {
    offset: Offset,
    number: u64,
    published_ns: u64,
    chunk: Chunk,
    topics: Topics,
    key: Option<Box<str>>,
    own_id: Option<Box<str>>,
    live_only: bool,
    private: bool,
    /// What it counts for: whoever asks touches neither its bytes nor its topics.
    cost_bytes: usize,
}

/// What each topic of an event but the first takes in memory, beside its name: text, offset list, index.
const TOPIC_BYTES: usize = 160;

impl Frame {
    /// What a frame takes in memory beside its bytes and topics: itself, its slots in the ring and
    /// in the index.
    const OVERHEAD_BYTES: usize = size_of::<Frame>() + 2 * size_of::<usize>() + 32;

    /// Where it stands in the log.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The number in its generated id, if it is kept: see [`Numbers`](super::log::Numbering).
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When it was accepted, in nanoseconds of the gateway's monotonic clock.
    pub fn published_ns(&self) -> u64 {
        self.published_ns
    }

    /// The bytes for a stream of this framing.
    pub fn wire(&self, framing: Framing) -> &[u8] {
        self.chunk.wire(framing)
    }

    /// The topics it was published to.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Its conflation key.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The publisher's own id, if it gave one.
    pub fn own_id(&self) -> Option<&str> {
        self.own_id.as_deref()
    }

    /// Whether it is never replayed.
    pub fn live_only(&self) -> bool {
        self.live_only
    }

    /// Whether it is only for those who have been granted one of its topics.
    pub fn private(&self) -> bool {
        self.private
    }

    /// What it counts for against the log's bound, in bytes.
    pub fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    fn reckon_cost_bytes(&self) -> usize {
        // An own id stands in the frame and in the index, with an offset list of its own there.
        let own_id = self.own_id.as_ref().map_or(0, |id| 2 * id.len() + 96);
        let texts = own_id + self.key.as_ref().map_or(0, |key| key.len());
        // A topic of its own has an offset list and a slot in the index.
        let topics =
            self.topics.iter().map(|topic| 2 * topic.as_str().len() + TOPIC_BYTES).sum::<usize>() - TOPIC_BYTES;
        Self::OVERHEAD_BYTES + self.chunk.bytes.len() + texts + topics
    }
}

/// A frame that waits for its offset. Only the log can give it one.
pub struct Draft {
    frame: Arc<Frame>,
    id_at: Option<usize>,
}

impl Draft {
    /// Encodes an event.
    ///
    /// # Errors
    /// If the event stream format or a bound refuses a field.
    pub fn encode(topics: Topics, event: &Event<'_>, epoch: Epoch) -> Result<Draft, EventError> {
        event::check(event)?;
        let own_id = event.id.as_deref();
        // An id of our own form would name an offset that the event does not have.
        if own_id.is_some_and(|id| matches!(epoch.parse(id), Parsed::Here(_))) {
            return Err(EventError::IdGenerated);
        }
        let (chunk, id_at) = encode(event, (own_id.is_none() && !event.live_only).then(|| epoch.id(0)));
        let mut frame = Frame {
            offset: Offset::ZERO,
            number: 0,
            published_ns: 0,
            chunk,
            topics,
            key: event.key.as_deref().map(Box::from),
            own_id: own_id.map(Box::from),
            live_only: event.live_only,
            private: event.private,
            cost_bytes: 0,
        };
        frame.cost_bytes = frame.reckon_cost_bytes();
        Ok(Draft { frame: Arc::new(frame), id_at })
    }

    /// The topics it is for.
    pub fn topics(&self) -> &Topics {
        &self.frame.topics
    }

    /// Whether it will never be replayed.
    pub fn live_only(&self) -> bool {
        self.frame.live_only
    }

    /// What it will count for against the log's bound, in bytes.
    pub fn cost_bytes(&self) -> usize {
        self.frame.cost_bytes()
    }

    /// The frame of an event that has left the log: it has no offset any more.
    pub fn archived(self, number: u64, epoch: Epoch, published_ns: u64) -> Arc<Frame> {
        self.place(Offset::ZERO, number, epoch, published_ns)
    }

    /// Gives the frame its offset, and the id with this number where it has none of its own. Allocates nothing:
    /// this runs inside the log's critical section.
    pub(super) fn place(mut self, offset: Offset, number: u64, epoch: Epoch, published_ns: u64) -> Arc<Frame> {
        let frame = Arc::get_mut(&mut self.frame).expect("a draft is never shared");
        frame.offset = offset;
        frame.number = number;
        frame.published_ns = published_ns;
        if let Some(at) = self.id_at {
            frame.chunk.bytes[at..at + ID_LEN].copy_from_slice(epoch.id(number).as_str().as_bytes());
        }
        self.frame
    }
}

/// Encodes an event that is sent to one stream alone: it has no offset in the log, and an id only if
/// it has its own.
///
/// # Errors
/// If the event stream format or a bound refuses a field.
pub fn encode_alone(event: &Event<'_>) -> Result<Chunk, EventError> {
    event::check(event)?;
    Ok(encode(event, None).0)
}

/// Writes an event's lines. If it is to have a generated id, says where in the chunk that stands.
fn encode(event: &Event<'_>, generated_id: Option<EventId>) -> (Chunk, Option<usize>) {
    let retry = event.retry_ms.map(|ms| ms.to_string());
    let line = |name: &str, value: Option<usize>| value.map_or(0, |len| name.len() + len + 1);
    let body_len = line("event: ", event.event.as_ref().map(|name| name.len()))
        + line("id: ", event.id.as_ref().map(|id| id.len()).or(generated_id.map(|_| ID_LEN)))
        + line("retry: ", retry.as_ref().map(String::len))
        + lines(&event.data).map(|data| "data: \n".len() + data.len()).sum::<usize>()
        + 1;

    let mut chunk = ChunkWriter::new(body_len);
    if let Some(name) = event.event.as_deref() {
        chunk.field("event: ", name);
    }
    let mut id_at = None;
    if let Some(id) = event.id.as_deref() {
        chunk.field("id: ", id);
    } else if let Some(id) = generated_id {
        id_at = Some(chunk.bytes.len() + "id: ".len());
        chunk.field("id: ", id.as_str());
    }
    if let Some(retry) = &retry {
        chunk.field("retry: ", retry);
    }
    for data in lines(&event.data) {
        chunk.field("data: ", data);
    }
    chunk.bytes.push(b'\n');
    (chunk.finish(), id_at)
}

/// Splits data as an event stream does, on LF, CR and CRLF. Empty data is one empty line, since an
/// event without a `data` line is never dispatched.
fn lines(data: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr2(b'\n', b'\r', text.as_bytes()) else {
            return rest.take();
        };
        let ends_in_crlf = text[end..].starts_with("\r\n");
        rest = Some(&text[end + 1 + usize::from(ends_in_crlf)..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::fault::Fault;
    use crate::hub::topic::handle;
    use proptest::prelude::*;

    fn topics() -> Topics {
        Topics::one(handle("t"))
    }

    fn placed(event: &Event<'_>) -> Result<Arc<Frame>, EventError> {
        Ok(Draft::encode(topics(), event, Epoch::new(1))?.place(Offset::new(42), 42, Epoch::new(1), 7))
    }

    #[track_caller]
    fn check(event: Event<'_>, expected: &str) {
        let frame = placed(&event).unwrap();
        assert_eq!(std::str::from_utf8(frame.wire(Framing::Close)).unwrap(), expected);
        assert_eq!(
            std::str::from_utf8(frame.wire(Framing::Chunked)).unwrap(),
            format!("{:x}\r\n{expected}\r\n", expected.len())
        );
    }

    #[test]
    fn golden_bytes() {
        check(Event::new("hello").event("message").id("1").keep(false), "event: message\nid: 1\ndata: hello\n\n");
        check(Event::new("x"), "id: 00000001-000000000016\ndata: x\n\n");
        check(Event::new("").keep(false), "data: \n\n");
        check(Event::new(" a\nb\r\nc\rd\n").keep(false), "data:  a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
        check(Event::new("x").retry(std::time::Duration::from_millis(3000)).keep(false), "retry: 3000\ndata: x\n\n");
    }

    #[test]
    fn chunk_lengths_at_the_borders_of_a_digit() {
        for len in [1, 15, 16, 17, 255, 256, 257, 4095, 4096, 65535, 65536] {
            let chunk = Chunk::new(&"x".repeat(len));
            assert!(chunk.wire(Framing::Chunked).starts_with(format!("{len:x}\r\nx").as_bytes()));
            assert_eq!(chunk.wire(Framing::Close).len(), len);
        }
    }

    #[test]
    fn bad_fields_are_named() {
        for (event, field) in [
            (Event::new("").id("a\nb"), "id"),
            (Event::new("").id("a\0b"), "id"),
            (Event::new("").id(""), "id"),
            (Event::new("").id("x".repeat(129)), "id"),
            (Event::new("").id("earliest"), "id"),
            (Event::new("").id("a\u{1}b"), "id"),
            (Event::new("").id(" a"), "id"),
            (Event::new("").id("a\t"), "id"),
            (Event::new("").event("gap"), "event"),
            (Event::new("").id("00000001-000000000001"), "id"),
            (Event::new("").event("a\rb"), "event"),
            (Event::new("").event("x".repeat(129)), "event"),
            (Event::new("").key("x".repeat(256)), "key"),
        ] {
            assert_eq!(placed(&event).err().map(|fault| fault.field()), Some(field));
        }
        assert!(placed(&Event::new("").id("x".repeat(128))).is_ok());
    }

    /// The EventSource grammar, written plainly: what a client makes of one frame.
    fn decode(bytes: &[u8]) -> (String, Option<String>, Option<String>) {
        let text = std::str::from_utf8(bytes).unwrap();
        let (mut data, mut event, mut id) = (Vec::new(), None, None);
        let text = text.replace("\r\n", "\n");
        for line in text.split(['\n', '\r']) {
            match line.split_once(": ") {
                Some(("data", value)) => data.push(value),
                Some(("event", value)) => event = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                _ => {}
            }
        }
        (data.join("\n"), event, id)
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_event(
            data in "(\\PC|\n|\r|\r\n|:| ){0,60}",
            name in proptest::option::of("[^\r\n\0]{1,20}"),
            id in proptest::option::of("[a-z!:/#é]([a-z!:/ #é]{0,18}[a-z!:/#é])?"),
        ) {
            let mut event = Event::new(data.as_str()).keep(false);
            if let Some(name) = &name { event = event.event(name.as_str()); }
            if let Some(id) = &id { event = event.id(id.as_str()); }
            let frame = placed(&event).unwrap();
            let newlines = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(decode(frame.wire(Framing::Close)), (newlines, name, id));
        }
    }
}
