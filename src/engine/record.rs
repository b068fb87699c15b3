//! The record: the events of one publish call, in the bytes that every engine stores.
//!
//! ```text
//!   version u8 │ flags u8 │ published_ms │ events │ [idempotency key] │ event … event
//!   event:  flags u8 │ [topics: count, text …] │ [name] │ [id] │ [retry_ms] │ [key] │ data
//! ```
//! Numbers are varints (7 bits a byte, lowest first, the shortest form only), a text is its length
//! and its UTF-8. An event of the same topics as the one before says so with a flag.
//!
//! A record has no checksum: what carries it (a segment's frame, a message of a server) has one.

use std::borrow::Borrow;

use super::offset::EVENTS_MAX;
use crate::hub::event::{ID_BYTES_MAX, KEY_BYTES_MAX};
use crate::hub::topic::{TOPIC_BYTES_MAX, TOPICS_MAX};

/// The version that this build writes, and the newest that it reads.
pub const VERSION: u8 = 1;
/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 1 << 30;
/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

const HAS_IDEMPOTENCY_KEY: u8 = 1;
const RECORD_FLAGS: u8 = HAS_IDEMPOTENCY_KEY;

const HAS_NAME: u8 = 1;
const HAS_ID: u8 = 1 << 1;
const HAS_RETRY: u8 = 1 << 2;
const HAS_KEY: u8 = 1 << 3;
const SAME_TOPICS: u8 = 1 << 4;
const LIVE_ONLY: u8 = 1 << 5;
/// A build that does not know it can't read the record, rather than give the event to all.
const PRIVATE: u8 = 1 << 6;
const EVENT_FLAGS: u8 = HAS_NAME | HAS_ID | HAS_RETRY | HAS_KEY | SAME_TOPICS | LIVE_ONLY | PRIVATE;

/// The events of one publish call. `T` is a list of topics: a slice to encode, [`Topics`] decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a, T = Topics<'a>> {
    /// Its topics, at least one.
    pub topics: T,
    /// The event's type.
    pub event: Option<&'a str>,
    /// The publisher's own id.
    pub id: Option<&'a str>,
    /// How long a client waits before it reconnects.
    pub retry_ms: Option<u64>,
    /// The conflation key.
    pub key: Option<&'a str>,
    /// The data.
    pub data: &'a str,
    /// Whether it is never replayed. No such event reaches a store; engines that pass live-only
    /// events on between gateways use the same record.
    pub live_only: bool,
    /// Whether it is only for those who have been granted one of its topics.
    pub private: bool,
}

/// What to encode.
#[derive(Clone, Copy, Debug)]
pub struct Pack<'a, T> {
    /// When it was accepted, in milliseconds of the wall clock since 1970.
    pub published_ms: u64,
    /// The `Idempotency-Key` that it came with.
    pub idempotency_key: Option<&'a str>,
    /// 1 to 16,384 events.
    pub events: &'a [Event<'a, T>],
}

/// A record, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    bytes: Vec<u8>,
    /// Where the events begin.
    events_at: usize,
    events: usize,
    published_ms: u64,
}

impl Packed {
    /// The record's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many events it holds.
    pub fn events(&self) -> usize {
        self.events
    }

    /// When it was accepted.
    pub fn published_ms(&self) -> u64 {
        self.published_ms
    }
}

/// A pack that no record can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found}, {min} to {max} are allowed")]
pub struct EncodeError {
    /// What is out of its bounds.
    pub what: &'static str,
    /// Its length or number.
    pub found: usize,
    /// The least.
    pub min: usize,
    /// The most.
    pub max: usize,
}

fn within(what: &'static str, found: usize, min: usize, max: usize) -> Result<(), EncodeError> {
    if (min..=max).contains(&found) { Ok(()) } else { Err(EncodeError { what, found, min, max }) }
}

/// Encodes a pack.
///
/// # Errors
/// An [`EncodeError`] that names the bound which the pack is over.
pub fn encode<S: Borrow<str> + PartialEq>(pack: &Pack<'_, &[S]>) -> Result<Packed, EncodeError> {
    within("events", pack.events.len(), 1, EVENTS_MAX)?;
    let data: usize = pack.events.iter().map(|event| event.data.len() + 8).sum();
    within("record bytes", data, 1, RECORD_BYTES_MAX)?;
    let mut bytes = Vec::with_capacity(64 + data);
    bytes.push(VERSION);
    bytes.push(if pack.idempotency_key.is_some() { HAS_IDEMPOTENCY_KEY } else { 0 });
    put_varint(&mut bytes, pack.published_ms);
    put_varint(&mut bytes, pack.events.len() as u64);
    if let Some(key) = pack.idempotency_key {
        put_text(&mut bytes, "idempotency key bytes", key, 1, IDEMPOTENCY_KEY_BYTES_MAX)?;
    }
    let events_at = bytes.len();
    let mut topics_before: &[S] = &[];
    for event in pack.events {
        let same_topics = event.topics == topics_before;
        let flag = |flag, set| if set { flag } else { 0 };
        bytes.push(
            flag(HAS_NAME, event.event.is_some())
                | flag(HAS_ID, event.id.is_some())
                | flag(HAS_RETRY, event.retry_ms.is_some())
                | flag(HAS_KEY, event.key.is_some())
                | flag(SAME_TOPICS, same_topics && !event.topics.is_empty())
                | flag(LIVE_ONLY, event.live_only)
                | flag(PRIVATE, event.private),
        );
        if !same_topics || event.topics.is_empty() {
            within("topics", event.topics.len(), 1, TOPICS_MAX)?;
            put_varint(&mut bytes, event.topics.len() as u64);
            for topic in event.topics {
                put_text(&mut bytes, "topic bytes", topic.borrow(), 1, TOPIC_BYTES_MAX)?;
            }
            topics_before = event.topics;
        }
        if let Some(name) = event.event {
            put_text(&mut bytes, "event name bytes", name, 0, ID_BYTES_MAX)?;
        }
        if let Some(id) = event.id {
            put_text(&mut bytes, "id bytes", id, 0, ID_BYTES_MAX)?;
        }
        if let Some(retry_ms) = event.retry_ms {
            put_varint(&mut bytes, retry_ms);
        }
        if let Some(key) = event.key {
            put_text(&mut bytes, "key bytes", key, 0, KEY_BYTES_MAX)?;
        }
        put_text(&mut bytes, "data bytes", event.data, 0, RECORD_BYTES_MAX)?;
    }
    within("record bytes", bytes.len(), 1, RECORD_BYTES_MAX)?;
    Ok(Packed { bytes, events_at, events: pack.events.len(), published_ms: pack.published_ms })
}

/// Several packs as one, with the time of the first and no idempotency key: their events, in the order of the packs.
/// There are at most [`EVENTS_MAX`].
pub fn join(packs: &[Packed]) -> Packed {
    let events = packs.iter().map(Packed::events).sum();
    assert!((1..=EVENTS_MAX).contains(&events), "{events} events in a pack");
    let published_ms = packs[0].published_ms;
    let mut bytes = Vec::with_capacity(16 + packs.iter().map(|pack| pack.bytes.len()).sum::<usize>());
    bytes.extend([VERSION, 0]);
    put_varint(&mut bytes, published_ms);
    put_varint(&mut bytes, events as u64);
    let events_at = bytes.len();
    // A pack's first event always names its topics.
    packs.iter().for_each(|pack| bytes.extend_from_slice(&pack.bytes[pack.events_at..]));
    Packed { bytes, events_at, events, published_ms }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn put_text(bytes: &mut Vec<u8>, what: &'static str, text: &str, min: usize, max: usize) -> Result<(), EncodeError> {
    within(what, text.len(), min, max)?;
    put_varint(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer build wrote it.
    #[error("the record is of version {version}, this build reads up to version {VERSION}")]
    Future {
        /// The record's version.
        version: u8,
    },
    /// There never was such a version.
    #[error("the record's first byte is 0, which is no version")]
    NoVersion,
    /// The bytes end too soon.
    #[error("the record ends at byte {at}, within {what}")]
    Cut {
        /// Where.
        at: usize,
        /// What is missing.
        what: &'static str,
    },
    /// A number that no encoder writes.
    #[error("byte {at}: {what} is no number of at most 64 bits in its shortest form")]
    Number {
        /// Where.
        at: usize,
        /// Which number.
        what: &'static str,
    },
    /// Flags that have no meaning.
    #[error("byte {at}: unknown flags {flags:#04x} in {what}")]
    Flags {
        /// Where.
        at: usize,
        /// Whose.
        what: &'static str,
        /// All of them.
        flags: u8,
    },
    /// A count or a length out of its bounds.
    #[error("byte {at}: {what} is {found}, {min} to {max} are allowed")]
    Bounds {
        /// Where.
        at: usize,
        /// Which.
        what: &'static str,
        /// The number found.
        found: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A text that is not UTF-8.
    #[error("byte {at}: {what} is not UTF-8")]
    Text {
        /// Where the text starts.
        at: usize,
        /// Which.
        what: &'static str,
    },
    /// More bytes than the events take.
    #[error("{bytes} bytes follow the last event, from byte {at} on")]
    Rest {
        /// Where.
        at: usize,
        /// How many.
        bytes: usize,
    },
}

/// What stands before the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// When the pack was accepted, in milliseconds of the wall clock since 1970.
    pub published_ms: u64,
    /// How many events it holds.
    pub events: usize,
    /// The `Idempotency-Key` that it came with.
    pub idempotency_key: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// Reads a record's head, and not what follows.
    ///
    /// # Errors
    /// A [`RecordError`] that says what is wrong, and where.
    pub fn decode(bytes: &'a [u8]) -> Result<Head<'a>, RecordError> {
        Cursor { bytes, at: 0 }.head()
    }
}

/// A record that was read whole: its events decode.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    head: Head<'a>,
    events: Cursor<'a>,
}

impl<'a> Record<'a> {
    /// Reads a record. Nothing is copied.
    ///
    /// # Errors
    /// A [`RecordError`] that says what is wrong, and where.
    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let mut cursor = Cursor { bytes, at: 0 };
        let head = cursor.head()?;
        let events = cursor;
        let mut topics = Topics::NONE;
        for _ in 0..head.events {
            topics = cursor.event(topics)?.topics;
        }
        let rest = bytes.len() - cursor.at;
        if rest > 0 {
            return Err(RecordError::Rest { at: cursor.at, bytes: rest });
        }
        Ok(Record { head, events })
    }

    /// What stands before the events.
    pub fn head(&self) -> Head<'a> {
        self.head
    }

    /// The events, in their order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'a>> + use<'a> {
        let mut cursor = self.events;
        let mut topics = Topics::NONE;
        (0..self.head.events).map(move |_| {
            let event = cursor.event(topics).expect("the record was read whole");
            topics = event.topics;
            event
        })
    }
}

/// The topics of a decoded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topics<'a> {
    count: usize,
    texts: Cursor<'a>,
}

impl<'a> Topics<'a> {
    const NONE: Topics<'static> = Topics { count: 0, texts: Cursor { bytes: &[], at: 0 } };

    /// The topics, in the publisher's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let mut texts = self.texts;
        (0..self.count).map(move |_| texts.topic().expect("the topics were read whole"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn head(&mut self) -> Result<Head<'a>, RecordError> {
        match self.byte("the version")? {
            0 => return Err(RecordError::NoVersion),
            VERSION => {}
            version => return Err(RecordError::Future { version }),
        }
        let flags = self.flags("the record", RECORD_FLAGS)?;
        let published_ms = self.number("the time")?;
        let events = self.bounded("the number of events", 1, EVENTS_MAX)?;
        let idempotency_key = if flags & HAS_IDEMPOTENCY_KEY != 0 {
            Some(self.text("the idempotency key", 1, IDEMPOTENCY_KEY_BYTES_MAX)?)
        } else {
            None
        };
        Ok(Head { published_ms, events, idempotency_key })
    }

    fn event(&mut self, before: Topics<'a>) -> Result<Event<'a>, RecordError> {
        let at = self.at;
        let flags = self.flags("an event", EVENT_FLAGS)?;
        let has = |flag| flags & flag != 0;
        let topics = if !has(SAME_TOPICS) {
            let count = self.bounded("the number of topics", 1, TOPICS_MAX)?;
            let texts = *self;
            for _ in 0..count {
                self.topic()?;
            }
            Topics { count, texts }
        } else if before.count > 0 {
            before
        } else {
            return Err(RecordError::Flags { at, what: "the first event, which no topics precede", flags });
        };
        Ok(Event {
            topics,
            event: if has(HAS_NAME) { Some(self.text("the event name", 0, ID_BYTES_MAX)?) } else { None },
            id: if has(HAS_ID) { Some(self.text("the id", 0, ID_BYTES_MAX)?) } else { None },
            retry_ms: if has(HAS_RETRY) { Some(self.number("the retry")?) } else { None },
            key: if has(HAS_KEY) { Some(self.text("the key", 0, KEY_BYTES_MAX)?) } else { None },
            data: self.text("the data", 0, RECORD_BYTES_MAX)?,
            live_only: has(LIVE_ONLY),
            private: has(PRIVATE),
        })
    }

    fn topic(&mut self) -> Result<&'a str, RecordError> {
        self.text("a topic", 1, TOPIC_BYTES_MAX)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, RecordError> {
        let byte = *self.bytes.get(self.at).ok_or(RecordError::Cut { at: self.at, what })?;
        self.at += 1;
        Ok(byte)
    }

    fn flags(&mut self, what: &'static str, known: u8) -> Result<u8, RecordError> {
        let at = self.at;
        let flags = self.byte(what)?;
        if flags & !known != 0 { Err(RecordError::Flags { at, what, flags }) } else { Ok(flags) }
    }

    fn number(&mut self, what: &'static str) -> Result<u64, RecordError> {
        let at = self.at;
        let mut value = 0u64;
        for shift in (0..).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and a last byte of 0 says nothing.
            if shift == 63 && byte > 1 || shift > 0 && byte == 0 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Number { at, what })
    }

    fn bounded(&mut self, what: &'static str, min: usize, max: usize) -> Result<usize, RecordError> {
        let at = self.at;
        let found = self.number(what)?;
        let (min, max) = (min as u64, max as u64);
        if (min..=max).contains(&found) {
            Ok(found as usize)
        } else {
            Err(RecordError::Bounds { at, what, found, min, max })
        }
    }

    fn text(&mut self, what: &'static str, min: usize, max: usize) -> Result<&'a str, RecordError> {
        let len = self.bounded(what, min, max)?;
        let at = self.at;
        let text = self.bytes.get(at..at + len).ok_or(RecordError::Cut { at: self.bytes.len(), what })?;
        self.at += len;
        std::str::from_utf8(text).map_err(|_| RecordError::Text { at, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    /// An event that owns its texts.
    #[derive(Clone, Debug, PartialEq)]
    struct Own {
        topics: Vec<String>,
        event: Option<String>,
        id: Option<String>,
        retry_ms: Option<u64>,
        key: Option<String>,
        data: String,
        live_only: bool,
        private: bool,
    }

    impl Own {
        fn lend(&self) -> Event<'_, &[String]> {
            Event {
                topics: &self.topics,
                event: self.event.as_deref(),
                id: self.id.as_deref(),
                retry_ms: self.retry_ms,
                key: self.key.as_deref(),
                data: &self.data,
                live_only: self.live_only,
                private: self.private,
            }
        }

        fn copy(event: &Event<'_>) -> Own {
            Own {
                topics: event.topics.iter().map(str::to_owned).collect(),
                event: event.event.map(str::to_owned),
                id: event.id.map(str::to_owned),
                retry_ms: event.retry_ms,
                key: event.key.map(str::to_owned),
                data: event.data.to_owned(),
                live_only: event.live_only,
                private: event.private,
            }
        }
    }

    fn one(topic: &str, data: &str) -> Own {
        Own {
            topics: vec![topic.to_owned()],
            event: None,
            id: None,
            retry_ms: None,
            key: None,
            data: data.to_owned(),
            live_only: false,
            private: false,
        }
    }

    fn pack(published_ms: u64, key: Option<&str>, events: &[Own]) -> Result<Packed, EncodeError> {
        let events: Vec<_> = events.iter().map(Own::lend).collect();
        encode(&Pack { published_ms, idempotency_key: key, events: &events })
    }

    fn event() -> impl Strategy<Value = Own> {
        let topics = prop_oneof![Just(vec!["a".to_owned()]), vec("\\PC{1,20}", 1..4)];
        let text = || option::of(".{0,20}");
        (topics, text(), text(), option::of(any::<u64>()), text(), ".{0,200}", any::<(bool, bool)>()).prop_map(
            |(topics, event, id, retry_ms, key, data, (live_only, private))| Own {
                topics,
                event,
                id,
                retry_ms,
                key,
                data,
                live_only,
                private,
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_reads_back(time in any::<u64>(), key in option::of("\\PC{1,30}"), events in vec(event(), 1..20)) {
            let packed = pack(time, key.as_deref(), &events).unwrap();
            let record = Record::decode(packed.bytes()).unwrap();
            let head = Head { published_ms: time, events: events.len(), idempotency_key: key.as_deref() };
            prop_assert_eq!(record.head(), head);
            prop_assert_eq!(Head::decode(packed.bytes()).unwrap(), head);
            prop_assert_eq!((packed.events(), packed.published_ms()), (events.len(), time));
            prop_assert_eq!(record.events().len(), events.len());
            prop_assert_eq!(record.events().map(|event| Own::copy(&event)).collect::<Vec<_>>(), events);
            // No part of it is a record.
            for end in 0..packed.bytes().len() {
                prop_assert!(Record::decode(&packed.bytes()[..end]).is_err(), "cut at {}", end);
            }
            let longer = [packed.bytes(), b"\0"].concat();
            let at = packed.bytes().len();
            prop_assert_eq!(Record::decode(&longer).unwrap_err(), RecordError::Rest { at, bytes: 1 });
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300)) {
            if let Ok(record) = Record::decode(&bytes) {
                record.events().for_each(|event| drop(Own::copy(&event)));
            }
        }

        #[test]
        fn no_damage_panics(
            events in vec(event(), 1..6),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = pack(1, Some("k"), &events).unwrap().bytes;
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(record) = Record::decode(&bytes) {
                record.events().for_each(|event| drop(Own::copy(&event)));
            }
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let mut second = one("t", "yo");
        second.event = Some("e".into());
        second.retry_ms = Some(300);
        let packed = pack(5, Some("k"), &[one("t", "x"), second]).unwrap();
        let expected = [&[1, 1, 5, 2][..], b"\x01k", b"\x00\x01\x01t\x01x", b"\x15\x01e\xac\x02\x02yo"].concat();
        assert_eq!(packed.bytes(), expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        #[track_caller]
        fn check(bytes: &[u8], expected: &str) {
            assert_eq!(Record::decode(bytes).unwrap_err().to_string(), expected);
        }
        check(b"", "the record ends at byte 0, within the version");
        check(b"\0", "the record's first byte is 0, which is no version");
        check(b"\x02", "the record is of version 2, this build reads up to version 1");
        check(b"\x01\x82", "byte 1: unknown flags 0x82 in the record");
        check(b"\x01\0\x80\0", "byte 2: the time is no number of at most 64 bits in its shortest form");
        check(
            &[&[1, 0][..], &[0xff; 9], &[2]].concat(),
            "byte 2: the time is no number of at most 64 bits in its shortest form",
        );
        check(b"\x01\0\0\0", "byte 3: the number of events is 0, 1 to 16384 are allowed");
        check(b"\x01\0\0\x81\x80\x01", "byte 3: the number of events is 16385, 1 to 16384 are allowed");
        check(b"\x01\x01\0\x01\0", "byte 4: the idempotency key is 0, 1 to 128 are allowed");
        check(b"\x01\0\0\x01\x80", "byte 4: unknown flags 0x80 in an event");
        check(b"\x01\0\0\x01\x10", "byte 4: unknown flags 0x10 in the first event, which no topics precede");
        check(b"\x01\0\0\x01\0\0", "byte 5: the number of topics is 0, 1 to 128 are allowed");
        check(b"\x01\0\0\x01\0\x01\x01\xff\0", "byte 7: a topic is not UTF-8");
        check(b"\x01\0\0\x01\0\x01\x01t\xff\xff\xff\xff\x03", "the record ends at byte 13, within the data");
        check(
            b"\x01\0\0\x01\0\x01\x01t\xff\xff\xff\xff\x0f",
            "byte 8: the data is 4294967295, 0 to 1073741824 are allowed",
        );
    }

    #[test]
    fn bounds_hold_when_encoding() {
        #[track_caller]
        fn check(result: Result<Packed, EncodeError>, expected: &str) {
            assert_eq!(result.unwrap_err().to_string(), expected);
        }
        check(pack(1, None, &[]), "events: 0, 1 to 16384 are allowed");
        check(pack(1, None, &vec![one("t", ""); 16_385]), "events: 16385, 1 to 16384 are allowed");
        assert_eq!(pack(1, None, &vec![one("t", ""); 16_384]).unwrap().events(), 16_384);
        check(pack(1, Some(""), &[one("t", "")]), "idempotency key bytes: 0, 1 to 128 are allowed");
        check(pack(1, Some(&"k".repeat(129)), &[one("t", "")]), "idempotency key bytes: 129, 1 to 128 are allowed");
        check(pack(1, None, &[one("", "")]), "topic bytes: 0, 1 to 255 are allowed");
        let mut bad = one("t", "");
        bad.topics.clear();
        check(pack(1, None, &[bad.clone()]), "topics: 0, 1 to 128 are allowed");
        check(pack(1, None, &[one("t", ""), bad]), "topics: 0, 1 to 128 are allowed");
        let bad = Own { key: Some("k".repeat(256)), ..one("t", "") };
        check(pack(1, None, &[bad]), "key bytes: 256, 0 to 255 are allowed");
    }

    #[test]
    fn packs_that_are_joined_are_all_their_events_in_order() {
        let events = |texts: &[&str]| -> Vec<Own> { texts.iter().map(|text| one("t", text)).collect() };
        let packs = [&["1", "2"][..], &["3"], &["4", "5", "6"]].map(|texts| pack(7, None, &events(texts)).unwrap());
        let joined = join(&packs);
        let record = Record::decode(joined.bytes()).unwrap();
        assert_eq!((record.head().events, record.head().published_ms, joined.events()), (6, 7, 6));
        assert_eq!(record.events().map(|event| event.data).collect::<String>(), "123456");
        assert!(record.events().all(|event| event.topics.iter().eq(["t"])));
        // One with a key loses it: such a call is never joined.
        let keyed = pack(7, Some("k"), &events(&["x"])).unwrap();
        assert_eq!(Record::decode(join(&[keyed]).bytes()).unwrap().head().idempotency_key, None);
    }

    #[test]
    fn a_batch_of_one_topic_names_it_once() {
        let events = vec![one(&"t".repeat(200), "x"); 100];
        let packed = pack(1, None, &events).unwrap();
        assert!(packed.bytes().len() < 202 + 100 * 3 + 10, "{}", packed.bytes().len());
    }
}
