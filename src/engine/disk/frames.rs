//! A walk over a segment's frames. Damage is passed over, and said.

use std::io;
use std::ops::Range;

use super::io::{File, read_full_at};
use super::segment::seal_frame_bytes;
use super::segment::{FRAME_HEAD_BYTES, FrameHead, HEADER_BYTES, Header, Kind, SEAL_TAIL_BYTES, Summary};
use crate::engine::offset::SEQUENCE_MAX;

/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What stands next in a segment.
#[derive(Debug)]
pub enum Found {
    /// A pack.
    Record {
        /// Where its frame begins.
        at: u64,
        /// Its head.
        head: FrameHead,
        /// Where the record stands in [`Frames::bytes`], until the next step.
        body: Range<usize>,
    },
    /// The segment's seal: nothing follows.
    Seal {
        /// Where the summary stands in [`Frames::bytes`], until the next step.
        body: Range<usize>,
    },
    /// Bytes that are no frame.
    Damage(Damage),
    /// The end.
    End,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The pack that was to come.
    pub sequence: u64,
    /// Where they begin.
    pub at: u64,
    /// How many they are.
    pub bytes: u64,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The frame's head has a wrong checksum.
    Head,
    /// The record has a wrong checksum.
    Body,
    /// The frame goes on behind the end.
    Cut,
}

impl What {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Head => "no frame begins here (the head's checksum is wrong)",
            What::Body => "the checksum of the record is wrong",
            What::Cut => "the frame goes on behind the end of the file",
        }
    }
}

/// A walk over the frames of one segment.
pub struct Frames {
    salt: u64,
    at: u64,
    end: u64,
    expected: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl Frames {
    /// A walk from a segment's first frame to `end`.
    pub fn new(header: &Header, end: u64) -> Frames {
        let mut frames = Frames { salt: 0, at: 0, end: 0, expected: 0, chunk: Vec::new(), chunk_at: 0 };
        frames.restart(header, end);
        frames
    }

    /// Starts anew with another segment, and keeps the buffer.
    pub fn restart(&mut self, header: &Header, end: u64) {
        self.salt = header.salt;
        self.end = end;
        self.chunk.clear();
        self.seek(header.first, HEADER_BYTES as u64);
    }

    /// Goes to the frame of the pack `sequence`, which begins at `at`.
    pub fn seek(&mut self, sequence: u64, at: u64) {
        self.expected = sequence;
        self.at = at;
    }

    /// Lets the walk go on to a new end: more was written.
    pub fn extend(&mut self, end: u64) {
        self.end = end;
    }

    /// Where the next frame begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The bytes that [`Found::Record`] names.
    pub fn bytes(&self) -> &[u8] {
        &self.chunk
    }

    /// Gives back the memory that a large record took.
    pub fn shrink(&mut self) {
        if self.chunk.capacity() > 4 * CHUNK_BYTES {
            self.chunk = Vec::new();
        }
    }

    /// Goes one step.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn next(&mut self, file: &dyn File) -> io::Result<Found> {
        let at = self.at;
        if at >= self.end {
            return Ok(Found::End);
        }
        if self.end - at < FRAME_HEAD_BYTES as u64 {
            return Ok(self.damage(self.end, What::Cut));
        }
        let Some(head) = self.head_at(file, at)? else {
            return self.search(file);
        };
        let frame_bytes = FRAME_HEAD_BYTES as u64 + u64::from(head.body_bytes);
        if frame_bytes > self.end - at {
            return Ok(self.damage(self.end, What::Cut));
        }
        let Some(frame) = self.window(file, at, frame_bytes as usize)? else {
            return Ok(self.damage(self.end, What::Cut));
        };
        let body = frame.start + FRAME_HEAD_BYTES..frame.end;
        if crc32fast::hash(&self.chunk[body.clone()]) != head.body_crc {
            let damage = self.damage(at + frame_bytes, What::Body);
            self.expected += u64::from(head.kind == Kind::Record);
            return Ok(damage);
        }
        self.at = at + frame_bytes;
        match head.kind {
            Kind::Record => {
                self.expected = head.sequence + 1;
                Ok(Found::Record { at, head, body })
            }
            Kind::Seal => {
                self.end = self.at;
                Ok(Found::Seal { body })
            }
        }
    }

    /// Looks for the next frame behind damage. Packs follow one another within a segment, so few
    /// sequences are possible, which is what is looked at first.
    fn search(&mut self, file: &dyn File) -> io::Result<Found> {
        let from = self.at;
        let mut at = from + 1;
        while at + FRAME_HEAD_BYTES as u64 <= self.end {
            let Some(window) = self.window(file, at, FRAME_HEAD_BYTES)? else { break };
            // All that the chunk holds, without asking for each position.
            for start in window.start..=self.chunk.len() - FRAME_HEAD_BYTES {
                if at + FRAME_HEAD_BYTES as u64 > self.end {
                    break;
                }
                let bytes = self.chunk[start..].first_chunk().expect("the loop ends before");
                let passed = (at - from) / FRAME_HEAD_BYTES as u64;
                let sequences = self.expected..=self.expected + passed;
                let head = FrameHead::decode(bytes, self.salt, at, &sequences);
                if let Some(head) = head {
                    let damage = self.damage(at, What::Head);
                    self.expected = head.sequence;
                    return Ok(damage);
                }
                at += 1;
            }
        }
        Ok(self.damage(self.end, What::Head))
    }

    fn damage(&mut self, through: u64, what: What) -> Found {
        let damage = Damage { sequence: self.expected, at: self.at, bytes: through - self.at, what };
        self.at = through;
        Found::Damage(damage)
    }

    fn head_at(&mut self, file: &dyn File, at: u64) -> io::Result<Option<FrameHead>> {
        let Some(window) = self.window(file, at, FRAME_HEAD_BYTES)? else { return Ok(None) };
        let bytes = self.chunk[window].first_chunk().expect("a head's length was asked for");
        Ok(FrameHead::decode(bytes, self.salt, at, &(self.expected..=self.expected)))
    }

    /// Where these bytes stand in the chunk, which is read if it must be: `None` if the file ends
    /// before they do. The caller has made sure that `end` lies behind them, so the memory that this
    /// takes is never more than the file has bytes.
    fn window(&mut self, file: &dyn File, at: u64, bytes: usize) -> io::Result<Option<Range<usize>>> {
        let in_chunk = |chunk_at: u64, chunk: &[u8]| {
            let start = usize::try_from(at.checked_sub(chunk_at)?).ok()?;
            (start + bytes <= chunk.len()).then_some(start..start + bytes)
        };
        if let Some(range) = in_chunk(self.chunk_at, &self.chunk) {
            return Ok(Some(range));
        }
        let wanted = (self.end - at).min(bytes.max(CHUNK_BYTES) as u64) as usize;
        self.chunk.resize(wanted, 0);
        self.chunk_at = at;
        match read_full_at(file, &mut self.chunk, at) {
            Ok(read) => self.chunk.truncate(read),
            Err(error) => {
                self.chunk.clear();
                return Err(error);
            }
        }
        Ok(in_chunk(self.chunk_at, &self.chunk))
    }
}

/// Reads a segment's seal from the file's end. `None` if it has none that is whole.
///
/// # Errors
/// If the file can't be read.
pub fn read_seal(file: &dyn File, header: &Header, file_bytes: u64) -> io::Result<Option<Summary>> {
    let mut tail = [0; SEAL_TAIL_BYTES];
    let Some(tail_at) = file_bytes.checked_sub(tail.len() as u64) else { return Ok(None) };
    if read_full_at(file, &mut tail, tail_at)? < tail.len() {
        return Ok(None);
    }
    let start = seal_frame_bytes(&tail).and_then(|bytes| file_bytes.checked_sub(bytes));
    let Some(start) = start.filter(|start| *start >= HEADER_BYTES as u64) else { return Ok(None) };
    let mut frame = vec![0; (file_bytes - start) as usize];
    if read_full_at(file, &mut frame, start)? < frame.len() {
        return Ok(None);
    }
    let Some((head, body)) = frame.split_first_chunk() else { return Ok(None) };
    let summary = FrameHead::decode(head, header.salt, start, &(header.first..=SEQUENCE_MAX))
        .filter(|head| head.kind == Kind::Seal && head.body_bytes as usize == body.len())
        .filter(|head| head.body_crc == crc32fast::hash(body))
        .and_then(|head| Summary::decode(body).filter(|summary| summary.last + 1 == head.sequence))
        .filter(|summary| summary.end == start && summary.last < summary.next);
    Ok(summary)
}
