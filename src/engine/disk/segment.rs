//! A segment file in bytes.
//!
//! ```text
//!   header (64 bytes)
//!     magic 8 │ version u32 │ sync u8 │ 0 × 3 │ epoch 8 │ first sequence u64 │ salt u64 │
//!     created_ms u64 │ 0 × 12 │ crc u32
//!   frame … frame
//!     head crc u32 │ body crc u32 │ length u32 │ kind u8 │ sequence u64 │ unsynced u32 │ body
//! ```
//! Numbers are little-endian. The file's name is its first sequence: `00000000000000000001.segment`.
//!
//! A frame of kind *record* holds a record. One of kind *seal* ends the file: whoever wrote it got
//! to the end of its work, and it sums up what stands before it.
//!
//! The head's checksum covers the segment's salt and the frame's position too. So bytes of another
//! file, of another position, or of an event that looks like a frame, are never taken for one when
//! the reader looks for the next frame behind damage.
//!
//! `unsynced` says how many of the packs before this one were not known to be on disk when it was
//! written. With it recovery tells damage from a write that a crash cut short: if a frame shows that
//! an unreadable pack was on disk once, that pack was perhaps acknowledged.

use std::ops::RangeInclusive;

use crc32fast::Hasher;

use crate::engine::offset::SEQUENCE_MAX;
use crate::hub::id::Epoch;

/// The version that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// The length of a segment's header.
pub const HEADER_BYTES: usize = 64;
/// The length of a frame's head.
pub const FRAME_HEAD_BYTES: usize = 25;
/// A place in the index of a segment stands for at least this many bytes.
pub const MARK_BYTES: u64 = 256 << 10;

const MAGIC: &[u8; 8] = b"sluicelg";
const SEAL_MAGIC: &[u8; 4] = b"SEAL";
const SUFFIX: &str = ".segment";
/// What the name of a file that is not yet whole ends in.
pub const UNFINISHED_SUFFIX: &str = ".segment.new";

/// When an append counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Once it is synced: nothing acknowledged is lost.
    Always,
    /// At once; a sync follows from time to time. A loss of power loses what came since.
    Interval,
}

/// The name of the segment that begins with this sequence.
pub fn name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A segment that begins with this sequence.
    Segment(u64),
    /// It ends like a segment's, but that's all.
    Misnamed,
    /// A file that was being made when the process ended.
    Unfinished,
    /// No file of the engine's, or the lock.
    Other,
}

impl Name {
    /// Reads a name.
    pub fn parse(text: &str) -> Name {
        if text.ends_with(UNFINISHED_SUFFIX) {
            return Name::Unfinished;
        }
        let Some(digits) = text.strip_suffix(SUFFIX) else { return Name::Other };
        match digits.parse() {
            Ok(first) if (1..=SEQUENCE_MAX).contains(&first) && name(first) == text => Name::Segment(first),
            _ => Name::Misnamed,
        }
    }
}

/// What stands at the start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The log's epoch.
    pub epoch: Epoch,
    /// The sequence of its first pack.
    pub first: u64,
    /// What makes its checksums its own.
    pub salt: u64,
    /// When it was made, in milliseconds of the wall clock since 1970.
    pub created_ms: u64,
    /// How the process that wrote it acknowledged.
    pub sync: Sync,
}

/// Why a file is no segment that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too short.
    #[error("it is {bytes} bytes long, a segment's header alone has {HEADER_BYTES}")]
    Short {
        /// Its length.
        bytes: usize,
    },
    /// Something else.
    #[error("it does not begin as a segment does")]
    Magic,
    /// Written by a newer build.
    #[error("it is of format version {version}, this build reads up to version {FORMAT_VERSION}")]
    Future {
        /// Its version.
        version: u32,
    },
    /// The checksum is wrong.
    #[error("its header is damaged (the checksum is wrong)")]
    Checksum,
    /// The checksum is right, a field is not.
    #[error("its header has no valid {0}")]
    Field(&'static str),
}

impl Header {
    /// The header in bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12] = match self.sync {
            Sync::Always => 1,
            Sync::Interval => 2,
        };
        bytes[16..24].copy_from_slice(self.epoch.digits());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// A [`HeaderError`]. Of every version to come the first 64 bytes keep magic, version and
    /// checksum where they are, so that the future is told from damage.
    pub fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Short { bytes: bytes.len() });
        };
        if &bytes[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        if u32_at(bytes, 60) != crc32fast::hash(&bytes[..60]) {
            return Err(HeaderError::Checksum);
        }
        match u32_at(bytes, 8) {
            0 => return Err(HeaderError::Field("version")),
            1..=FORMAT_VERSION => {}
            version => return Err(HeaderError::Future { version }),
        }
        let sync = match bytes[12] {
            1 => Sync::Always,
            2 => Sync::Interval,
            _ => return Err(HeaderError::Field("way of acknowledging")),
        };
        let digits = bytes[16..24].try_into().expect("eight bytes");
        let epoch = Epoch::from_digits(digits).ok_or(HeaderError::Field("epoch"))?;
        let first = u64_at(bytes, 24);
        if !(1..=SEQUENCE_MAX).contains(&first) {
            return Err(HeaderError::Field("first sequence"));
        }
        Ok(Header { epoch, first, salt: u64_at(bytes, 32), created_ms: u64_at(bytes, 40), sync })
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A record.
    Record,
    /// A [`Summary`], and the end of the segment. Its sequence is the next pack's.
    Seal,
}

/// What stands before a frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// What the body is.
    pub kind: Kind,
    /// The pack's sequence.
    pub sequence: u64,
    /// How many of the packs before it were perhaps not on disk when it was written.
    pub unsynced: u32,
    /// The body's length.
    pub body_bytes: u32,
    /// The body's checksum.
    pub body_crc: u32,
}

impl FrameHead {
    /// The head in bytes, for this position of this segment.
    pub fn encode(&self, salt: u64, at: u64) -> [u8; FRAME_HEAD_BYTES] {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes[4..8].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[12] = match self.kind {
            Kind::Record => 1,
            Kind::Seal => 2,
        };
        bytes[13..21].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[21..].copy_from_slice(&self.unsynced.to_le_bytes());
        let crc = head_crc(&bytes, salt, at);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a head of one of these packs that stands at this position of this segment: `None` if none
    /// does. The sequence is looked at first: whoever searches then seldom computes a checksum.
    pub fn decode(
        bytes: &[u8; FRAME_HEAD_BYTES],
        salt: u64,
        at: u64,
        sequences: &RangeInclusive<u64>,
    ) -> Option<FrameHead> {
        if !sequences.contains(&u64_at(bytes, 13)) {
            return None;
        }
        let kind = match bytes[12] {
            1 => Kind::Record,
            2 => Kind::Seal,
            _ => return None,
        };
        let head = FrameHead {
            kind,
            sequence: u64_at(bytes, 13),
            unsynced: u32_at(bytes, 21),
            body_bytes: u32_at(bytes, 8),
            body_crc: u32_at(bytes, 4),
        };
        (u32_at(bytes, 0) == head_crc(bytes, salt, at)).then_some(head)
    }

    /// The newest pack that was surely on disk when this frame was written.
    pub fn synced_through(&self) -> u64 {
        (self.sequence - 1).saturating_sub(self.unsynced.into())
    }
}

fn head_crc(bytes: &[u8; FRAME_HEAD_BYTES], salt: u64, at: u64) -> u32 {
    let mut covered = [0; 16 + FRAME_HEAD_BYTES - 4];
    covered[..8].copy_from_slice(&salt.to_le_bytes());
    covered[8..16].copy_from_slice(&at.to_le_bytes());
    covered[16..].copy_from_slice(&bytes[4..]);
    let mut hasher = Hasher::new();
    hasher.update(&covered);
    hasher.finalize()
}

/// Writes a frame to the end of `bytes`. It will stand at `at` in the file.
pub fn put_frame(bytes: &mut Vec<u8>, salt: u64, at: u64, kind: Kind, sequence: u64, unsynced: u32, body: &[u8]) {
    let body_bytes = u32::try_from(body.len()).expect("a record is at most 1 GiB");
    let head = FrameHead { kind, sequence, unsynced, body_bytes, body_crc: crc32fast::hash(body) };
    bytes.extend_from_slice(&head.encode(salt, at));
    bytes.extend_from_slice(body);
}

/// A place to start reading from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The sequence of a pack,
    pub sequence: u64,
    /// and where its frame begins.
    pub at: u64,
}

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Events in all readable packs.
    pub events: u64,
    /// The newest pack; one less than the first sequence if there is none.
    pub last: u64,
    /// The oldest time of an event, in milliseconds since 1970.
    pub oldest_ms: u64,
    /// The newest time of an event; 0 if there is none.
    pub newest_ms: u64,
    /// Where the last frame ends, the seal apart.
    pub end: u64,
    /// The least sequence that may follow. It is more than one above `last` if packs that were
    /// acknowledged before they were synced may be lost: their sequences are not given again.
    pub next: u64,
    /// Where to start reading: one place for every [`MARK_BYTES`], without the first.
    pub marks: Vec<Mark>,
}

impl Summary {
    /// The summary of a segment without packs.
    pub fn empty(first: u64) -> Summary {
        Summary {
            events: 0,
            last: first - 1,
            oldest_ms: u64::MAX,
            newest_ms: 0,
            end: HEADER_BYTES as u64,
            next: first,
            marks: Vec::new(),
        }
    }

    /// Adds a pack, whose frame stands at `at` and is `bytes` long.
    pub fn add(&mut self, sequence: u64, at: u64, bytes: u64, events: usize, published_ms: u64) {
        let marked = self.marks.last().map_or(HEADER_BYTES as u64, |mark| mark.at);
        if at >= marked + MARK_BYTES {
            self.marks.push(Mark { sequence, at });
        }
        self.events += events as u64;
        self.last = sequence;
        self.next = sequence + 1;
        self.oldest_ms = self.oldest_ms.min(published_ms);
        self.newest_ms = self.newest_ms.max(published_ms);
        self.end = at + bytes;
    }

    /// The newest place that is not behind this sequence: `None` is the segment's start.
    pub fn mark(&self, sequence: u64) -> Option<Mark> {
        let behind = self.marks.partition_point(|mark| mark.sequence <= sequence);
        behind.checked_sub(1).map(|i| self.marks[i])
    }

    /// The body of a seal. Its last bytes say how long the whole frame is, for those who come from
    /// the file's end.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(56 + 16 * self.marks.len());
        for number in [self.events, self.last, self.oldest_ms, self.newest_ms, self.end, self.next] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for mark in &self.marks {
            bytes.extend_from_slice(&mark.sequence.to_le_bytes());
            bytes.extend_from_slice(&mark.at.to_le_bytes());
        }
        let frame = u32::try_from(FRAME_HEAD_BYTES + bytes.len() + SEAL_TAIL_BYTES).expect("an index is small");
        bytes.extend_from_slice(&frame.to_le_bytes());
        bytes.extend_from_slice(SEAL_MAGIC);
        bytes
    }

    /// Reads the body of a seal, `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Summary> {
        let frame = seal_frame_bytes(bytes.last_chunk()?)?;
        if frame != (FRAME_HEAD_BYTES + bytes.len()) as u64 {
            return None;
        }
        let (numbers, marks) = bytes[..bytes.len() - SEAL_TAIL_BYTES].split_at_checked(48)?;
        if marks.len() % 16 != 0 {
            return None;
        }
        let marks = marks.chunks_exact(16).map(|mark| Mark { sequence: u64_at(mark, 0), at: u64_at(mark, 8) });
        Some(Summary {
            events: u64_at(numbers, 0),
            last: u64_at(numbers, 8),
            oldest_ms: u64_at(numbers, 16),
            newest_ms: u64_at(numbers, 24),
            end: u64_at(numbers, 32),
            next: u64_at(numbers, 40),
            marks: marks.collect(),
        })
    }
}

/// How many bytes at the end of a sealed file say how long the seal is.
pub const SEAL_TAIL_BYTES: usize = 8;

/// How long the seal is that a file with this end has.
pub fn seal_frame_bytes(tail: &[u8; SEAL_TAIL_BYTES]) -> Option<u64> {
    (&tail[4..] == SEAL_MAGIC).then(|| u32_at(tail, 0).into())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { epoch: Epoch::new(7), first: 42, salt: 99, created_ms: 1_000, sync: Sync::Interval }
    }

    #[test]
    fn a_header_reads_back_and_damage_is_named() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes), Ok(header()));
        for len in 0..HEADER_BYTES {
            assert_eq!(Header::decode(&bytes[..len]), Err(HeaderError::Short { bytes: len }));
        }
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 64 { HeaderError::Magic } else { HeaderError::Checksum };
            assert_eq!(Header::decode(&bytes), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn the_future_is_told_from_damage() {
        #[track_caller]
        fn check(at: usize, byte: u8, expected: HeaderError) {
            let mut bytes = header().encode();
            bytes[at] = byte;
            let crc = crc32fast::hash(&bytes[..60]);
            bytes[60..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(Header::decode(&bytes), Err(expected));
        }
        check(8, 2, HeaderError::Future { version: 2 });
        check(8, 0, HeaderError::Field("version"));
        check(12, 3, HeaderError::Field("way of acknowledging"));
        check(16, b'-', HeaderError::Field("epoch"));
        check(24, 0, HeaderError::Field("first sequence"));
    }

    #[test]
    fn a_frame_belongs_to_its_file_and_position() {
        let head = FrameHead { kind: Kind::Record, sequence: 5, unsynced: 2, body_bytes: 3, body_crc: 4 };
        let bytes = head.encode(1, 64);
        assert_eq!(FrameHead::decode(&bytes, 1, 64, &(5..=5)), Some(head));
        assert_eq!(FrameHead::decode(&bytes, 1, 64, &(6..=9)), None);
        assert_eq!(head.synced_through(), 2);
        assert_eq!(FrameHead::decode(&bytes, 2, 64, &(5..=5)), None);
        assert_eq!(FrameHead::decode(&bytes, 1, 65, &(5..=5)), None);
        for bit in 0..FRAME_HEAD_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHead::decode(&bytes, 1, 64, &(0..=u64::MAX)), None, "bit {bit}");
        }
    }

    #[test]
    fn names_are_sequences() {
        assert_eq!(name(1), "00000000000000000001.segment");
        assert_eq!(Name::parse(&name(1)), Name::Segment(1));
        assert_eq!(Name::parse(&name(SEQUENCE_MAX)), Name::Segment(SEQUENCE_MAX));
        assert_eq!(Name::parse(&(name(5) + ".new")), Name::Unfinished);
        for misnamed in [&name(0), "1.segment", "x.segment", ".segment", "+0000000000000000001.segment"] {
            assert_eq!(Name::parse(misnamed), Name::Misnamed, "{misnamed}");
        }
        for other in ["lock", "notes.txt", "segment", ""] {
            assert_eq!(Name::parse(other), Name::Other, "{other}");
        }
    }

    #[test]
    fn a_summary_reads_back_and_marks_every_so_many_bytes() {
        let mut summary = Summary::empty(10);
        let mut at = HEADER_BYTES as u64;
        for sequence in 10..1_000 {
            summary.add(sequence, at, 1_000, 2, 5_000 - sequence);
            at += 1_000;
        }
        assert_eq!((summary.events, summary.last, summary.end), (1_980, 999, at));
        assert_eq!((summary.oldest_ms, summary.newest_ms), (4_001, 4_990));
        let marks: Vec<_> = summary.marks.iter().map(|mark| mark.sequence).collect();
        assert_eq!(marks, [10 + 263, 10 + 526, 10 + 789]);
        assert_eq!(summary.mark(272), None);
        assert_eq!(summary.mark(273).unwrap().at, 64 + 263_000);
        assert_eq!(summary.mark(5_000).unwrap().sequence, 10 + 789);
        assert_eq!(Summary::decode(&summary.encode()), Some(summary.clone()));
        for len in 0..summary.encode().len() {
            assert_eq!(Summary::decode(&summary.encode()[..len]), None, "{len}");
        }
    }
}
