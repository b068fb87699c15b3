//! What a process finds that opens a log: what the one before left, after whatever end it had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::{self, Catalog, Opened, SegmentError};
use super::frames::{Damage, Found, Frames, read_seal};
use super::io::{File, Io, is_full, read_full_at, write_all_at};
use super::read::Segment;
use super::segment::{FRAME_HEAD_BYTES, Header, HeaderError, Kind, Summary, Sync, name, put_frame};
use crate::engine::record::{Head, RecordError};
use crate::hub::id::Epoch;

/// How many sequences are left out where packs may have been acknowledged and lost. More than a log
/// holds back from a sync.
pub const SEQUENCES_SKIPPED: u64 = 1 << 20;

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory's parent does not exist.
    #[error("the log's directory {} can't be made: {} does not exist", dir.display(), parent.display())]
    NoParent {
        /// The directory.
        dir: PathBuf,
        /// Its parent.
        parent: PathBuf,
    },
    /// The directory is a file.
    #[error("{} is to be the log's directory, but is none", dir.display())]
    NoDirectory {
        /// The path.
        dir: PathBuf,
    },
    /// Another process has it.
    #[error("the log in {} is in use by {holder}", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// What that process says of itself.
        holder: String,
    },
    /// A newer build wrote it.
    #[error("{}: {error}: a newer sluicegate wrote it", file.display())]
    Future {
        /// The file.
        file: PathBuf,
        /// The versions.
        error: HeaderError,
    },
    /// A newer build wrote a record.
    #[error("{}, byte {at}: {error}: a newer sluicegate wrote it", file.display())]
    FutureRecord {
        /// The file.
        file: PathBuf,
        /// Where the record's frame begins.
        at: u64,
        /// The versions.
        error: RecordError,
    },
    /// A file that is named like a segment, but is none.
    #[error("{} is no segment of the log: {error}. Move it away to go on without its events", file.display())]
    NoSegment {
        /// The file.
        file: PathBuf,
        /// Why.
        error: SegmentError,
    },
    /// A file with a name that ends like a segment's.
    #[error("{} is named like a segment of the log, but not by a sequence. Move it away", file.display())]
    Misnamed {
        /// The file.
        file: PathBuf,
    },
    /// Segments of two logs.
    #[error("{} belongs to another log (epoch {found}, the others have {expected})", file.display())]
    Epoch {
        /// The file.
        file: PathBuf,
        /// Its epoch.
        found: Epoch,
        /// That of the segments before it.
        expected: Epoch,
    },
    /// Two segments hold the same sequence.
    #[error("{} begins with sequence {first}, which the segment before it holds, too", file.display())]
    Overlap {
        /// The file.
        file: PathBuf,
        /// Its first sequence.
        first: u64,
    },
    /// Anything else.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Says what failed.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { action, path: path.to_owned(), source }
}

/// What opening a log found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the log is new.
    pub new: bool,
    /// Segments.
    pub segments: usize,
    /// Readable events.
    pub events: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Files that were removed because they were never whole.
    pub unfinished: usize,
    /// What was cut from the newest segment: a write that a crash cut short.
    pub cut: Option<Cut>,
    /// Packs that are missing, as far as they were looked for: between segments, and in the newest
    /// one. The reader meets these and all others.
    pub holes: Vec<Missing>,
    /// Whether the process before ended without closing the log.
    pub crashed: bool,
    /// Whether packs may be lost that were acknowledged before they were synced.
    pub unsynced_may_be_lost: bool,
}

/// What was cut from the newest segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: PathBuf,
    /// The byte from which on it was cut.
    pub at: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What was wrong there.
    pub what: &'static str,
}

/// Packs that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Before this file's first pack, or in it.
    pub file: PathBuf,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { file, at, bytes, what } = self;
        write!(f, "{}: cut {bytes} bytes from byte {at} on, the rest of an unfinished write ({what})", file.display())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Missing { first, last, file } = self;
        write!(f, "{}: the packs {first} to {last} are lost; streams that want them are told of a gap", file.display())
    }
}

/// What is there.
pub(super) struct Recovered {
    pub(super) segments: Vec<Segment>,
    pub(super) report: Report,
}

/// Reads what is there, and mends the newest segment's end. The caller holds the lock.
pub(super) fn recover(io: &Arc<dyn Io>, dir: &Path) -> Result<Recovered, OpenError> {
    let catalog = Catalog::read(&**io, dir).map_err(failed("list", dir))?;
    if let Some(file) = catalog.misnamed.first() {
        return Err(OpenError::Misnamed { file: file.clone() });
    }
    for file in &catalog.unfinished {
        io.remove(file).map_err(failed("remove", file))?;
    }
    let mut report = Report {
        new: catalog.segments.is_empty(),
        segments: catalog.segments.len(),
        events: 0,
        bytes: 0,
        unfinished: catalog.unfinished.len(),
        cut: None,
        holes: Vec::new(),
        crashed: false,
        unsynced_may_be_lost: false,
    };
    let mut segments: Vec<Segment> = Vec::with_capacity(catalog.segments.len());
    for &first in &catalog.segments {
        let newest = Some(&first) == catalog.segments.last();
        let path = dir.join(name(first));
        let opened = catalog::open(&**io, dir, first, newest).map_err(|error| match error {
            SegmentError::Io(source) => OpenError::Io { action: "open", path: path.clone(), source },
            SegmentError::Header(error @ HeaderError::Future { .. }) => OpenError::Future { file: path.clone(), error },
            error => OpenError::NoSegment { file: path.clone(), error },
        })?;
        if let Some(before) = segments.last() {
            let expected = before.header.epoch;
            if opened.header.epoch != expected {
                return Err(OpenError::Epoch { file: path, found: opened.header.epoch, expected });
            }
            if first <= before.summary.last {
                return Err(OpenError::Overlap { file: path, first });
            }
            if first > before.summary.last + 1 {
                report.holes.push(Missing { first: before.summary.last + 1, last: first - 1, file: path.clone() });
            }
        }
        let seal = read_seal(&*opened.file, &opened.header, opened.bytes).map_err(failed("read", &path))?;
        let segment = match seal {
            Some(summary) => Segment { header: opened.header, summary, file_bytes: opened.bytes },
            None => {
                let scanned = scan(&opened, newest).map_err(|error| error.into_open(&path))?;
                report.holes.extend(scanned.holes(&path));
                if newest { mend(&opened, &path, scanned, &mut report)? } else { scanned.into_segment(&opened) }
            }
        };
        report.events += segment.summary.events;
        report.bytes += segment.file_bytes;
        segments.push(segment);
    }
    Ok(Recovered { segments, report })
}

/// What a walk over a whole segment found.
pub(super) struct Scanned {
    summary: Summary,
    /// Damage within, each with the sequence of the next readable pack.
    damage: Vec<(Damage, u64)>,
    /// The end of a write that was cut short.
    cut: Option<Damage>,
    /// Where the packs begin that were perhaps not synced.
    unsynced_at: u64,
    /// Where the seal ends.
    seal_end: Option<u64>,
}

pub(super) enum ScanError {
    Io(io::Error),
    Future { at: u64, error: RecordError },
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> ScanError {
        ScanError::Io(error)
    }
}

impl ScanError {
    fn into_open(self, path: &Path) -> OpenError {
        match self {
            ScanError::Io(source) => OpenError::Io { action: "read", path: path.to_owned(), source },
            ScanError::Future { at, error } => OpenError::FutureRecord { file: path.to_owned(), at, error },
        }
    }
}

impl Scanned {
    fn into_segment(self, opened: &Opened) -> Segment {
        Segment { header: opened.header, summary: self.summary, file_bytes: opened.bytes }
    }

    fn holes<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = Missing> + 'a {
        let missing =
            |&(damage, next): &(Damage, u64)| Missing { first: damage.sequence, last: next - 1, file: path.to_owned() };
        self.damage.iter().map(missing).filter(|missing| missing.first <= missing.last)
    }
}

/// Walks over a whole segment.
///
/// Damage in the newest segment is the end of a write that was cut short, unless a frame behind it
/// shows that what is damaged was on disk once. Damage in an older one can't be: it was whole before
/// the next was begun.
fn scan(opened: &Opened, newest: bool) -> Result<Scanned, ScanError> {
    let Opened { file, header, bytes } = opened;
    let mut frames = Frames::new(header, *bytes);
    let mut scanned = Scanned {
        summary: Summary::empty(header.first),
        damage: Vec::new(),
        cut: None,
        unsynced_at: frames.at(),
        seal_end: None,
    };
    let mut synced_through = None;
    let mut open_damage: Vec<Damage> = Vec::new();
    loop {
        match frames.next(&**file)? {
            Found::Record { at, head, body } => {
                let frame_bytes = frames.at() - at;
                let (events, published_ms) = match Head::decode(&frames.bytes()[body]) {
                    Ok(record) => (record.events, record.published_ms),
                    Err(error @ RecordError::Future { .. }) => return Err(ScanError::Future { at, error }),
                    // It keeps its sequence; the reader says that it is no record.
                    Err(_) => (0, header.created_ms),
                };
                if head.unsynced == 0 {
                    scanned.unsynced_at = at;
                }
                scanned.damage.extend(open_damage.drain(..).map(|damage| (damage, head.sequence)));
                scanned.summary.add(head.sequence, at, frame_bytes, events, published_ms);
            }
            Found::Damage(damage) => {
                if newest {
                    let proof = match synced_through {
                        Some(known) => known,
                        None => *synced_through.insert(synced_behind(opened, &damage)?),
                    };
                    if damage.sequence > proof {
                        scanned.cut = Some(Damage { bytes: bytes - damage.at, ..damage });
                        break;
                    }
                }
                open_damage.push(damage);
            }
            Found::Seal { body } => {
                // Bytes follow it, or it had been found from the end. It alone knows what comes next.
                if let Some(sealed) = Summary::decode(&frames.bytes()[body]) {
                    scanned.summary.next = sealed.next;
                }
                scanned.seal_end = Some(frames.at());
                break;
            }
            Found::End => break,
        }
    }
    Ok(scanned)
}

/// The newest pack that was surely on disk, as the frames behind some damage show.
pub(super) fn synced_behind(opened: &Opened, damage: &Damage) -> io::Result<u64> {
    let mut frames = Frames::new(&opened.header, opened.bytes);
    frames.seek(damage.sequence, damage.at);
    let mut through = 0;
    loop {
        match frames.next(&*opened.file)? {
            Found::Record { head, .. } => through = through.max(head.synced_through()),
            Found::Damage(_) => {}
            // A log syncs before it seals.
            Found::Seal { .. } => return Ok(u64::MAX),
            Found::End => return Ok(through),
        }
    }
}

/// Makes the newest segment, which the process before did not seal, one to build on.
fn mend(opened: &Opened, path: &Path, mut scanned: Scanned, report: &mut Report) -> Result<Segment, OpenError> {
    let file = &*opened.file;
    let fail = |action| failed(action, path);
    let end = scanned.seal_end.unwrap_or(scanned.summary.end);
    if opened.bytes > end {
        file.truncate(end).map_err(fail("cut"))?;
    }
    if let Some(damage) = scanned.cut {
        report.cut =
            Some(Cut { file: path.to_owned(), at: damage.at, bytes: damage.bytes, what: damage.what.as_str() });
    }
    if scanned.seal_end.is_some() {
        return Ok(Segment { header: opened.header, summary: scanned.summary, file_bytes: end });
    }
    report.crashed = true;
    if opened.header.sync == Sync::Interval {
        report.unsynced_may_be_lost = true;
        scanned.summary.next += SEQUENCES_SKIPPED;
    }
    // After a sync that failed, the kernel's cache may show what is not on disk, and take it for
    // written. So it is written once more before anybody is told of it.
    rewrite(file, scanned.unsynced_at, end).map_err(fail("write"))?;
    file.sync_data().map_err(fail("sync"))?;
    let file_bytes = match seal(file, &opened.header, &scanned.summary) {
        Ok(bytes) => bytes,
        // The next process walks over it again.
        Err(SealError::Full(_)) => end,
        Err(SealError::Failed(source)) => return Err(fail("seal")(source)),
    };
    Ok(Segment { header: opened.header, summary: scanned.summary, file_bytes })
}

fn rewrite(file: &dyn File, mut at: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; (end.saturating_sub(at)).min(1 << 20) as usize];
    while at < end {
        let wanted = (end - at).min(bytes.len() as u64) as usize;
        let read = read_full_at(file, &mut bytes[..wanted], at)?;
        if read < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        write_all_at(file, &bytes[..wanted], at)?;
        at += wanted as u64;
    }
    Ok(())
}

/// Why a segment has no seal.
pub(super) enum SealError {
    /// There is no room; the segment is as it was.
    Full(io::Error),
    /// It is unknown what the file holds behind its last frame.
    Failed(io::Error),
}

/// Ends a segment, all of whose frames are synced. Says how long the file is.
pub(super) fn seal(file: &dyn File, header: &Header, summary: &Summary) -> Result<u64, SealError> {
    let at = summary.end;
    let body = summary.encode();
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + body.len());
    put_frame(&mut frame, header.salt, at, Kind::Seal, summary.last + 1, 0, &body);
    match write_all_at(file, &frame, at) {
        Ok(()) => file.sync_data().map_err(SealError::Failed)?,
        Err(error) if is_full(&error) => {
            file.truncate(at).and_then(|()| file.sync_data()).map_err(SealError::Failed)?;
            return Err(SealError::Full(error));
        }
        Err(error) => return Err(SealError::Failed(error)),
    }
    Ok(at + frame.len() as u64)
}
