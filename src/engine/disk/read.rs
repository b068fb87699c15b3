//! Reading a log that is being written: any thread, from any sequence, and what is missing is said.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::frames::{Found, Frames};
use super::io::{File, Io};
use super::segment::{Header, Mark, Summary, name};
use crate::engine::record::{Record, RecordError};

/// A segment as readers know it.
pub(super) struct Segment {
    pub(super) header: Header,
    /// What may be read of it.
    pub(super) summary: Summary,
    pub(super) file_bytes: u64,
}

/// What the writer and its readers share: the list of segments, never empty. The writer adds a pack
/// to the newest segment's summary once it counts as stored.
pub(super) struct Shared {
    pub(super) io: Arc<dyn Io>,
    pub(super) dir: PathBuf,
    /// Oldest first.
    pub(super) segments: Mutex<Vec<Segment>>,
}

/// What any thread may ask of a log. It sees what counts as stored; a clone is the same.
#[derive(Clone)]
pub struct Readers(pub(super) Arc<Shared>);

/// What a log holds.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Segments.
    pub segments: usize,
    /// Readable events.
    pub events: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Readers {
    /// A reader that begins with the pack `sequence`.
    pub fn reader(&self, sequence: u64) -> Reader {
        Reader { shared: self.0.clone(), next: sequence, open: None, frames: None }
    }

    /// The first sequence that may be kept, and the last that is readable. The first is one more than
    /// the last if there is none.
    #[cfg(test)]
    pub fn range(&self) -> (u64, u64) {
        let segments = self.0.segments.lock();
        let (oldest, newest) = (&segments[0], &segments[segments.len() - 1]);
        (oldest.header.first, newest.summary.last)
    }

    /// What the log holds.
    #[cfg(test)]
    pub fn totals(&self) -> Totals {
        let segments = self.0.segments.lock();
        Totals {
            segments: segments.len(),
            events: segments.iter().map(|segment| segment.summary.events).sum(),
            bytes: segments.iter().map(|segment| segment.file_bytes).sum(),
        }
    }

    /// Where to begin to get the newest `events` and at most a segment more: for who fills a memory.
    pub fn first_of_newest(&self, events: u64) -> u64 {
        let segments = self.0.segments.lock();
        let mut found = 0;
        let enough = segments.iter().rev().find(|segment| {
            found += segment.summary.events;
            found >= events
        });
        enough.unwrap_or(&segments[0]).header.first
    }
}

/// What a reader meets.
#[derive(Debug)]
pub enum Item<'a> {
    /// A pack.
    Pack {
        /// Its sequence.
        sequence: u64,
        /// Its events.
        record: Record<'a>,
    },
    /// Packs that can't be read: whoever wanted them is to be told.
    Hole(Hole),
}

/// Packs that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Why.
    pub cause: Cause,
}

/// Why packs can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// They have left the log as its bounds say.
    Expired,
    /// They are in no file: a file is gone, or a crash came before the sync of a log that is synced
    /// from time to time.
    Missing,
    /// Their bytes are damaged.
    Damaged {
        /// In this file,
        file: PathBuf,
        /// from this byte on.
        at: u64,
    },
    /// Their bytes are as they were written, but make no record.
    Unreadable {
        /// In this file,
        file: PathBuf,
        /// at this byte,
        at: u64,
        /// for this reason.
        error: RecordError,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Expired => f.write_str("they have left the log as its bounds say"),
            Cause::Missing => f.write_str("they are in no file"),
            Cause::Damaged { file, at } => write!(f, "{}, byte {at}: their bytes are damaged", file.display()),
            Cause::Unreadable { file, at, error } => write!(f, "{}, byte {at}: {error}", file.display()),
        }
    }
}

/// Why a reader can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error("can't read {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A newer build wrote this record.
    #[error("{}, byte {at}: {error}", file.display())]
    Future {
        /// The file.
        file: PathBuf,
        /// Where the record's frame begins.
        at: u64,
        /// The versions.
        error: RecordError,
    },
}

impl Shared {
    fn locate(&self, sequence: u64) -> Located {
        let segments = self.segments.lock();
        if segments.last().is_none_or(|newest| sequence > newest.summary.last) {
            return Located::Nowhere;
        }
        let behind = segments.partition_point(|segment| segment.header.first <= sequence);
        let through = |next: &Segment| next.header.first - 1;
        match behind.checked_sub(1) {
            None => Located::Hole { last: through(&segments[0]), cause: Cause::Expired },
            Some(i) if sequence > segments[i].summary.last => {
                Located::Hole { last: through(&segments[behind]), cause: Cause::Missing }
            }
            Some(i) => Located::In {
                header: segments[i].header,
                end: segments[i].summary.end,
                last: segments[i].summary.last,
                mark: segments[i].summary.mark(sequence),
            },
        }
    }

    /// How far the segment that begins with `first` reaches now, and whether it is the newest.
    fn reach(&self, first: u64) -> Option<(u64, u64, bool)> {
        let segments = self.segments.lock();
        let i = segments.binary_search_by_key(&first, |segment| segment.header.first).ok()?;
        let summary = &segments[i].summary;
        Some((summary.end, summary.last, i + 1 == segments.len()))
    }

    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(name(first))
    }
}

enum Located {
    Nowhere,
    Hole { last: u64, cause: Cause },
    In { header: Header, end: u64, last: u64, mark: Option<Mark> },
}

struct Open {
    file: Box<dyn File>,
    first: u64,
    end: u64,
    last: u64,
    damaged_at: Option<u64>,
}

enum Step {
    End,
    Hole(Hole),
    Pack { sequence: u64, at: u64, body: Range<usize> },
}

/// Reads packs in their order. It holds one file open, and a buffer of 256 KiB or of one record.
pub struct Reader {
    shared: Arc<Shared>,
    next: u64,
    open: Option<Open>,
    frames: Option<Frames>,
}

impl Reader {
    /// Goes to the pack `sequence`.
    #[cfg(test)]
    pub fn seek(&mut self, sequence: u64) {
        self.next = sequence;
        self.open = None;
    }

    /// The sequence of what comes next.
    #[cfg(test)]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next pack or hole; `None` at the end, where more may come later.
    ///
    /// # Errors
    /// A [`ReadError`]: the reader stays where it is.
    pub fn next(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        let (sequence, at, body) = match self.step()? {
            Step::End => return Ok(None),
            Step::Hole(hole) => {
                self.next = hole.last + 1;
                return Ok(Some(Item::Hole(hole)));
            }
            Step::Pack { sequence, at, body } => (sequence, at, body),
        };
        let file = || self.shared.path(self.open.as_ref().map_or(0, |open| open.first));
        let frames = self.frames.as_ref().expect("a pack was read");
        match Record::decode(&frames.bytes()[body]) {
            Ok(record) => {
                self.next = sequence + 1;
                Ok(Some(Item::Pack { sequence, record }))
            }
            Err(error @ RecordError::Future { .. }) => {
                let file = file();
                self.open = None;
                Err(ReadError::Future { file, at, error })
            }
            Err(error) => {
                self.next = sequence + 1;
                let cause = Cause::Unreadable { file: file(), at, error };
                Ok(Some(Item::Hole(Hole { first: sequence, last: sequence, cause })))
            }
        }
    }

    fn step(&mut self) -> Result<Step, ReadError> {
        let first = self.next;
        loop {
            let Some(open) = &mut self.open else {
                match self.shared.locate(first) {
                    Located::Nowhere => return Ok(Step::End),
                    Located::Hole { last, cause } => return Ok(Step::Hole(Hole { first, last, cause })),
                    Located::In { header, end, last, mark } => {
                        let path = self.shared.path(header.first);
                        let file = match self.shared.io.open(&path, false) {
                            Ok(file) => file,
                            // Retention took it meanwhile, or somebody else did.
                            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                                if self.shared.reach(header.first).is_some() {
                                    return Ok(Step::Hole(Hole { first, last, cause: Cause::Missing }));
                                }
                                continue;
                            }
                            Err(source) => return Err(ReadError::Io { file: path, source }),
                        };
                        let frames = self.frames.get_or_insert_with(|| Frames::new(&header, end));
                        frames.shrink();
                        frames.restart(&header, end);
                        if let Some(mark) = mark {
                            frames.seek(mark.sequence, mark.at);
                        }
                        self.open = Some(Open { file, first: header.first, end, last, damaged_at: None });
                    }
                }
                continue;
            };
            let frames = self.frames.as_mut().expect("it came with the file");
            let damaged = |open: &Open, last| {
                let at = open.damaged_at.unwrap_or(open.end);
                Step::Hole(Hole { first, last, cause: Cause::Damaged { file: self.shared.path(open.first), at } })
            };
            let found = frames.next(&*open.file);
            match found.map_err(|source| ReadError::Io { file: self.shared.path(open.first), source })? {
                Found::Record { head, .. } if head.sequence < first => open.damaged_at = None,
                Found::Record { at, head, .. } if head.sequence > first => {
                    frames.seek(head.sequence, at);
                    return Ok(damaged(open, head.sequence - 1));
                }
                Found::Record { at, head, body } => {
                    open.damaged_at = None;
                    return Ok(Step::Pack { sequence: head.sequence, at, body });
                }
                Found::Damage(damage) => {
                    open.damaged_at.get_or_insert(damage.at);
                }
                Found::Seal { .. } | Found::End => {
                    let (end, last, newest) = self.shared.reach(open.first).unwrap_or((open.end, open.last, false));
                    if end > open.end {
                        frames.extend(end);
                        (open.end, open.last) = (end, last);
                    } else if first <= last {
                        return Ok(damaged(open, last));
                    } else if newest {
                        return Ok(Step::End);
                    } else {
                        self.open = None;
                    }
                }
            }
        }
    }
}
