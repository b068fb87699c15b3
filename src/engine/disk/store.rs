//! The writer of a log on disk.
//!
//! One thread owns it: it appends what waits, syncs once, and only then says that it is stored.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::io::{File, Io, Locking, is_full, write_all_at};
use super::read::{Readers, Segment, Shared};
use super::recover::{OpenError, Recovered, Report, SEQUENCES_SKIPPED, SealError, failed, recover, seal};
use super::retention::{Held, Limits};
use super::segment::{FRAME_HEAD_BYTES, HEADER_BYTES, Header, Kind, Summary, Sync, UNFINISHED_SUFFIX, name, put_frame};
use crate::engine::offset::SEQUENCE_MAX;
use crate::engine::record::Packed;
use crate::hub::id::Epoch;

/// The size at which a segment is followed by the next, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// The most packs between two syncs: what may be lost never reaches what is left out after a crash.
const UNSYNCED_MAX: u64 = SEQUENCES_SKIPPED / 2;
/// The most segments that one call of [`Store::retain`] removes: each costs a sync.
const REMOVED_MAX: usize = 16;
const LOCK_NAME: &str = "lock";

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory. It is made if its parent exists.
    pub dir: PathBuf,
    /// When an append counts as stored.
    pub sync: Sync,
    /// The size at which a segment is followed by the next.
    pub segment_bytes: u64,
    /// How much is kept.
    pub limits: Limits,
    /// 64 random bits, new for each process: a new log's epoch, and what makes checksums secret.
    pub random: u64,
    /// Who this is, for the message that another process gets: `process 1234`.
    pub holder: String,
}

/// Why an append is not stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing of it is stored, and what was stored before stands: there is no room, or no
    /// descriptor. Later appends may succeed.
    #[error("not stored: can't {action} {}: {error}", path.display())]
    Refused {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// More packs or bytes than one group may have. Nothing of it is stored.
    #[error("not stored: {packs} packs of {bytes} bytes are too much for one group")]
    Group {
        /// Packs in the group.
        packs: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// All sequences are given.
    #[error("not stored: the log has given its last sequence")]
    Exhausted,
    /// It is unknown what of it is on disk. From now on nothing is stored; only a new process, which
    /// looks at what is there, can go on.
    #[error("may be stored: can't {action} {}: {error}. The process has to end", path.display())]
    Failed {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// An earlier call failed.
    #[error("not stored: an earlier write failed: {0}")]
    Poisoned(Arc<str>),
}

/// What [`Store::retain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Segments that were removed.
    pub segments: usize,
    /// Events in them.
    pub events: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Whether there are more to remove.
    pub more: bool,
}

struct Active {
    file: Box<dyn File>,
    path: PathBuf,
    header: Header,
    summary: Summary,
}

/// A log on disk, open for writing.
///
/// Dropped without [`Store::close`] it is as after a crash: what was synced is kept.
pub struct Store {
    options: Options,
    shared: Arc<Shared>,
    epoch: Epoch,
    active: Option<Active>,
    /// The next pack's sequence.
    next: u64,
    /// All packs up to here are on disk.
    synced: u64,
    poison: Option<Arc<str>>,
    group: Vec<u8>,
    _lock: Box<dyn Send + std::marker::Sync>,
}

impl Store {
    /// Opens a log, or makes a new one.
    ///
    /// # Errors
    /// An [`OpenError`] that names the file.
    pub fn open(io: Arc<dyn Io>, options: Options, now_ms: u64) -> Result<(Store, Report), OpenError> {
        let dir = options.dir.clone();
        prepare(&*io, &dir)?;
        let lock_path = dir.join(LOCK_NAME);
        let lock = match io.lock(&lock_path, &options.holder).map_err(failed("lock", &lock_path))? {
            Locking::Held(lock) => lock,
            Locking::Taken(holder) => return Err(OpenError::InUse { dir, holder }),
        };
        // What is seen is to stay.
        io.sync_dir(&dir).map_err(failed("sync", &dir))?;
        let Recovered { segments, report } = recover(&io, &dir)?;
        let (epoch, next) = segments
            .last()
            .map_or((Epoch::new(options.random), 1), |newest| (newest.header.epoch, newest.summary.next));
        let new = segments.is_empty();
        let shared = Arc::new(Shared { io, dir, segments: Mutex::new(segments) });
        let mut store = Store {
            options,
            shared,
            epoch,
            active: None,
            next,
            synced: next - 1,
            poison: None,
            group: Vec::new(),
            _lock: lock,
        };
        if new {
            // Ids name the epoch before there is an event, so it must be on disk.
            store.begin(now_ms).map_err(|error| match error {
                AppendError::Refused { action, path, error } | AppendError::Failed { action, path, error } => {
                    OpenError::Io { action, path, source: error }
                }
                error => {
                    OpenError::Io { action: "begin", path: store.shared.dir.clone(), source: io::Error::other(error) }
                }
            })?;
        }
        Ok((store, report))
    }

    /// The log's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What other threads use.
    pub fn readers(&self) -> Readers {
        Readers(self.shared.clone())
    }

    /// The sequence that the next pack gets.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Packs that were appended and are not known to be on disk.
    pub fn unsynced(&self) -> u64 {
        self.next - 1 - self.synced
    }

    /// Appends a group of packs, all or none, and says which sequences they have. They count as
    /// stored once [`Store::sync`] returns; with [`Sync::Interval`] at once.
    ///
    /// # Errors
    /// An [`AppendError`], which says whether anything may be stored, and whether to go on.
    pub fn append(&mut self, packs: &[Packed]) -> Result<RangeInclusive<u64>, AppendError> {
        self.check()?;
        let first = self.next;
        let Some(newest) = packs.last() else { return Ok(RangeInclusive::new(first, first - 1)) };
        let packs_in_group = packs.len() as u64;
        let bytes: u64 = packs.iter().map(|pack| (FRAME_HEAD_BYTES + pack.bytes().len()) as u64).sum();
        if packs_in_group > UNSYNCED_MAX || bytes > u32::MAX.into() {
            return Err(AppendError::Group { packs: packs.len(), bytes });
        }
        if SEQUENCE_MAX - first < packs_in_group {
            return Err(AppendError::Exhausted);
        }
        if self.unsynced() + packs_in_group > UNSYNCED_MAX {
            self.sync()?;
        }
        if let Some(active) = &self.active
            && active.summary.end > HEADER_BYTES as u64
            && active.summary.end + bytes > self.options.segment_bytes
        {
            self.seal()?;
        }
        if self.active.is_none() {
            self.begin(newest.published_ms())?;
        }

        let synced = self.synced;
        let Some(Active { file, path, header, summary }) = &mut self.active else {
            unreachable!("it was begun");
        };
        let start = summary.end;
        self.group.clear();
        for (sequence, pack) in (first..).zip(packs) {
            let at = start + self.group.len() as u64;
            let unsynced = (sequence - 1 - synced) as u32;
            put_frame(&mut self.group, header.salt, at, Kind::Record, sequence, unsynced, pack.bytes());
        }
        if let Err(source) = write_all_at(&**file, &self.group, start) {
            let path = path.clone();
            if !is_full(&source) {
                return Err(self.fail("write", path, source));
            }
            // What fitted must not come back after a crash: the caller is told that it is not stored.
            return Err(match file.truncate(start).and_then(|()| file.sync_data()) {
                Ok(()) => {
                    self.synced = first - 1;
                    self.publish();
                    AppendError::Refused { action: "write", path, error: source }
                }
                Err(source) => self.fail("cut", path, source),
            });
        }
        let mut at = start;
        for (sequence, pack) in (first..).zip(packs) {
            let bytes = (FRAME_HEAD_BYTES + pack.bytes().len()) as u64;
            summary.add(sequence, at, bytes, pack.events(), pack.published_ms());
            at += bytes;
        }
        self.next = first + packs_in_group;
        // A single large group must not hold its memory for ever.
        if self.group.capacity() > 16 << 20 {
            self.group = Vec::new();
        }
        if self.options.sync == Sync::Interval {
            self.publish();
        }
        Ok(RangeInclusive::new(first, self.next - 1))
    }

    /// Makes all that was appended durable. Says up to which pack that is.
    ///
    /// # Errors
    /// [`AppendError::Failed`] if the disk does not confirm it: nothing since the last sync may be
    /// acknowledged, and the process has to end. A second try would prove nothing, since the kernel
    /// may take for written what it failed to write.
    pub fn sync(&mut self) -> Result<u64, AppendError> {
        self.check()?;
        if let Some(active) = &self.active
            && self.unsynced() > 0
        {
            if let Err(source) = active.file.sync_data() {
                let path = active.path.clone();
                return Err(self.fail("sync", path, source));
            }
            self.synced = self.next - 1;
            self.publish();
        }
        Ok(self.synced)
    }

    /// Removes segments that are over the bounds, a few at a time.
    ///
    /// # Errors
    /// An [`AppendError`]. If a file can't be removed, it stays in the log, and that is all.
    pub fn retain(&mut self, now_ms: u64) -> Result<Retained, AppendError> {
        self.check()?;
        let mut retained = Retained::default();
        let over = {
            let segments = self.shared.segments.lock();
            let held = segments.iter().map(|segment| Held {
                events: segment.summary.events,
                bytes: segment.file_bytes.max(segment.summary.end),
                newest_ms: segment.summary.newest_ms,
            });
            self.options.limits.over(held, now_ms)
        };
        retained.more = over > REMOVED_MAX;
        for _ in 0..over.min(REMOVED_MAX) {
            // First from the list: a reader that does not find the file then knows why.
            let oldest = self.shared.segments.lock().remove(0);
            let path = self.shared.dir.join(name(oldest.header.first));
            match self.shared.io.remove(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    self.shared.segments.lock().insert(0, oldest);
                    return Err(AppendError::Refused { action: "remove", path, error: source });
                }
            }
            // One by one, so that after a crash no older segment stands before a gap.
            if let Err(source) = self.shared.io.sync_dir(&self.shared.dir) {
                return Err(self.fail("sync", self.shared.dir.clone(), source));
            }
            retained.segments += 1;
            retained.events += oldest.summary.events;
            retained.bytes += oldest.file_bytes;
        }
        Ok(retained)
    }

    /// Syncs, and marks the log as whole for the next process.
    ///
    /// # Errors
    /// An [`AppendError`], as for [`Store::sync`].
    pub fn close(mut self) -> Result<(), AppendError> {
        self.check()?;
        match self.seal() {
            // Without the mark the next process looks closer.
            Err(AppendError::Refused { .. }) => Ok(()),
            other => other,
        }
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn check(&self) -> Result<(), AppendError> {
        match &self.poison {
            Some(why) => Err(AppendError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    fn fail(&mut self, action: &'static str, path: PathBuf, source: io::Error) -> AppendError {
        self.poison = Some(format!("can't {action} {}: {source}", path.display()).into());
        AppendError::Failed { action, path, error: source }
    }

    /// Lets readers see what counts as stored.
    fn publish(&self) {
        if let Some(active) = &self.active
            && let Some(newest) = self.shared.segments.lock().last_mut()
        {
            newest.summary.clone_from(&active.summary);
            newest.file_bytes = active.summary.end;
        }
    }

    /// Ends the newest segment.
    fn seal(&mut self) -> Result<(), AppendError> {
        self.sync()?;
        let Some(active) = &self.active else { return Ok(()) };
        let path = active.path.clone();
        match seal(&*active.file, &active.header, &active.summary) {
            Ok(bytes) => {
                if let Some(newest) = self.shared.segments.lock().last_mut() {
                    newest.file_bytes = bytes;
                }
                self.active = None;
                Ok(())
            }
            Err(SealError::Full(source)) => Err(AppendError::Refused { action: "seal", path, error: source }),
            Err(SealError::Failed(source)) => Err(self.fail("seal", path, source)),
        }
    }

    /// Begins a segment. It appears under its name whole, and durable.
    fn begin(&mut self, now_ms: u64) -> Result<(), AppendError> {
        let first = self.next;
        let header = Header {
            epoch: self.epoch,
            first,
            salt: mix(self.options.random ^ first),
            created_ms: now_ms,
            sync: self.options.sync,
        };
        let path = self.shared.dir.join(name(first));
        let unfinished = path.with_extension(&UNFINISHED_SUFFIX[1..]);
        let io = &*self.shared.io;
        let made = io.create(&unfinished).and_then(|file| {
            write_all_at(&*file, &header.encode(), 0)?;
            Ok(file)
        });
        let file = match made {
            Ok(file) => file,
            Err(source) => {
                let removed = io.remove(&unfinished);
                let refused = is_full(&source) || too_many_files(&source);
                let clean = removed.is_ok() || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
                if refused && clean {
                    return Err(AppendError::Refused { action: "make", path: unfinished, error: source });
                }
                return Err(self.fail("make", unfinished, source));
            }
        };
        if let Err(source) = file.sync_data() {
            return Err(self.fail("sync", unfinished, source));
        }
        if let Err(source) = io.rename(&unfinished, &path) {
            return Err(self.fail("rename", unfinished, source));
        }
        if let Err(source) = io.sync_dir(&self.shared.dir) {
            return Err(self.fail("sync", self.shared.dir.clone(), source));
        }
        let summary = Summary::empty(first);
        let mut segments = self.shared.segments.lock();
        // One without packs has the same name, and is replaced.
        segments.pop_if(|newest| newest.header.first == first);
        segments.push(Segment { header, summary: summary.clone(), file_bytes: HEADER_BYTES as u64 });
        drop(segments);
        self.active = Some(Active { file, path, header, summary });
        Ok(())
    }
}

/// Makes sure that there is a directory.
fn prepare(io: &dyn Io, dir: &Path) -> Result<(), OpenError> {
    let error = match io.list(dir) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let dir = dir.to_owned();
    match error.kind() {
        io::ErrorKind::NotADirectory => return Err(OpenError::NoDirectory { dir }),
        io::ErrorKind::NotFound => {}
        _ => return Err(failed("list", &dir)(error)),
    }
    let parent = parent(&dir);
    match io.create_dir(&dir) {
        Ok(()) => io.sync_dir(parent).map_err(failed("sync", parent)),
        // A file system that takes no new entries may say so as well.
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_missing(io, parent) => {
            Err(OpenError::NoParent { parent: parent.to_owned(), dir })
        }
        Err(error) => Err(failed("make", &dir)(error)),
    }
}

/// Finds fault with a directory that no log could be opened in or made in, and changes nothing.
///
/// # Errors
/// The error that opening it would come to.
pub fn check_dir(io: &dyn Io, dir: &Path) -> Result<(), OpenError> {
    match io.list(dir) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(OpenError::NoDirectory { dir: dir.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match parent(dir) {
            parent if is_missing(io, parent) => {
                Err(OpenError::NoParent { parent: parent.to_owned(), dir: dir.to_owned() })
            }
            _ => Ok(()),
        },
        Err(error) => Err(failed("list", dir)(error)),
    }
}

fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

fn is_missing(io: &dyn Io, dir: &Path) -> bool {
    io.list(dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn too_many_files(error: &io::Error) -> bool {
    // EMFILE and ENFILE, which have no kind of their own.
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Spreads bits (the finalizer of splitmix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
