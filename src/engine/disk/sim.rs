//! A file system in memory that loses what was not synced, and fails when it is told to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::io::{File, Io, Locking};

/// Numbers by seed (splitmix64).
#[derive(Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation fails. If it is a sync, the kernel takes for written what it did not write.
    Fail,
    /// A write writes a part.
    Short,
    /// A write writes a part, and then there is no room; other operations find none at once.
    Full,
    /// The power goes: a write may be cut short, and nothing works until the restart.
    PowerLoss,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Naming {
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Default)]
struct World {
    dirs: Vec<PathBuf>,
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Naming>,
    holder: Option<String>,
    /// Which life of the machine: handles of an earlier one are dead.
    boot: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    room: Option<usize>,
    off: bool,
}

/// The file system; a clone is the same.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Mutex<World>>);

struct Handle {
    world: Arc<Mutex<World>>,
    id: usize,
    boot: u64,
}

struct Held(Arc<Mutex<World>>, u64);

impl Drop for Held {
    fn drop(&mut self) {
        let mut world = self.0.lock();
        if world.boot == self.1 {
            world.holder = None;
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes: new } => {
            if bytes.len() < at + new.len() {
                bytes.resize(at + new.len(), 0);
            }
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        Change::Length(len) => bytes.truncate(*len),
    }
}

fn rename(names: &mut BTreeMap<PathBuf, usize>, naming: &Naming) {
    match naming {
        Naming::Add(path, id) => {
            names.insert(path.clone(), *id);
        }
        Naming::Remove(path) => {
            names.remove(path);
        }
        Naming::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

impl World {
    /// Counts an operation that changes something, and says what goes wrong with it.
    fn operation(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        let number = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if at == number => match fault {
                Fault::Fail => Err(io::Error::from_raw_os_error(5)),
                Fault::PowerLoss => {
                    self.off = true;
                    Ok(Some(fault))
                }
                fault => Ok(Some(fault)),
            },
            _ => Ok(None),
        }
    }

    /// As `operation`, for those that can't be done in part.
    fn whole_operation(&mut self) -> io::Result<()> {
        match self.operation()? {
            Some(Fault::PowerLoss) => Err(io::Error::other("the power is off")),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|id| self.files[*id].seen.len()).sum()
    }

    fn name(&mut self, naming: Naming) {
        rename(&mut self.names, &naming);
        self.pending_names.push(naming);
    }
}

impl Sim {
    /// An empty file system with the directory `/`.
    pub(crate) fn new() -> Sim {
        Sim(Arc::new(Mutex::new(World { dirs: vec![PathBuf::from("/")], ..World::default() })))
    }

    /// What goes wrong, at the operation with this number from now on.
    pub(crate) fn fail_at(&self, operation: u64, fault: Fault) {
        let mut world = self.0.lock();
        world.fault = Some((world.operations + operation, fault));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.0.lock().fault = None;
    }

    /// The bytes that all files together may have.
    pub(crate) fn room(&self, bytes: Option<usize>) {
        let mut world = self.0.lock();
        let used = world.used();
        world.room = bytes.map(|bytes| used + bytes);
    }

    /// Operations so far that changed something.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// The process ends, and the machine goes on: what was written is seen.
    pub(crate) fn kill(&self) {
        let mut world = self.0.lock();
        world.boot += 1;
        world.holder = None;
        world.fault = None;
    }

    /// The machine starts anew: of what was not synced, anything may be there.
    pub(crate) fn lose_power(&self, rng: &mut Rng) {
        let mut world = self.0.lock();
        world.boot += 1;
        world.holder = None;
        world.fault = None;
        world.off = false;
        for file in &mut world.files {
            let pending = std::mem::take(&mut file.pending);
            let mode = rng.below(4);
            let prefix = rng.below(pending.len() as u64 + 1) as usize;
            for (i, change) in pending.iter().enumerate() {
                match (mode, change) {
                    (0, _) => {}
                    (1, change) => apply(&mut file.durable, change),
                    (2, change) if i < prefix => apply(&mut file.durable, change),
                    (2, Change::Write { at, bytes }) if i == prefix => {
                        let kept = rng.below(bytes.len() as u64 + 1) as usize;
                        apply(&mut file.durable, &Change::Write { at: *at, bytes: bytes[..kept].to_vec() });
                    }
                    (2, _) => {}
                    (_, Change::Length(_)) if rng.chance(2) => {}
                    (_, Change::Length(_)) => apply(&mut file.durable, change),
                    (_, Change::Write { at, bytes }) => {
                        let mut at = *at;
                        let mut rest = &bytes[..];
                        while !rest.is_empty() {
                            let (piece, behind) = rest.split_at(rest.len().min(1 + rng.below(60) as usize));
                            if rng.chance(2) {
                                apply(&mut file.durable, &Change::Write { at, bytes: piece.to_vec() });
                            } else if rng.chance(2) && file.durable.len() < at + piece.len() {
                                file.durable.resize(at + piece.len(), 0);
                            }
                            at += piece.len();
                            rest = behind;
                        }
                    }
                }
            }
            file.seen.clone_from(&file.durable);
        }
        let pending = std::mem::take(&mut world.pending_names);
        let kept = rng.below(pending.len() as u64 + 1) as usize;
        let in_order = rng.chance(2);
        for (i, naming) in pending.iter().enumerate() {
            // No file system promises that removals come in their order.
            let reached = match naming {
                Naming::Remove(_) if !in_order => rng.chance(2),
                _ => i < kept,
            };
            if reached {
                rename(&mut world.durable_names, naming);
            }
        }
        world.names = world.durable_names.clone();
    }

    /// Whether the power is off.
    pub(crate) fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// The bytes of a file.
    pub(crate) fn read(&self, path: &Path) -> Vec<u8> {
        let world = self.0.lock();
        world.files[world.names[path]].seen.clone()
    }

    /// Makes a file hold these bytes, durably.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.0.lock();
        let content = Content { seen: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
        let id = world.files.len();
        world.files.push(content);
        world.names.insert(path.to_owned(), id);
        world.durable_names.insert(path.to_owned(), id);
    }

    /// Takes a file away, durably.
    pub(crate) fn delete(&self, path: &Path) {
        let mut world = self.0.lock();
        world.names.remove(path).unwrap();
        world.durable_names.remove(path);
    }

    /// The paths of all files.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }
}

impl Io for Sim {
    fn open(&self, path: &Path, _write: bool) -> io::Result<Box<dyn File>> {
        let world = self.0.lock();
        let id = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Handle { world: self.0.clone(), id, boot: world.boot }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut world = self.0.lock();
        world.whole_operation()?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = world.files.len();
        world.files.push(Content::default());
        world.name(Naming::Add(path.to_owned(), id));
        Ok(Box::new(Handle { world: self.0.clone(), id, boot: world.boot }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        if !world.dirs.iter().any(|dir| Some(&**dir) == path.parent()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.dirs.push(path.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.0.lock();
        if world.names.contains_key(dir) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if !world.dirs.iter().any(|known| known == dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.whole_operation()?;
        world.name(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.whole_operation()?;
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.name(Naming::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.whole_operation()?;
        for naming in std::mem::take(&mut world.pending_names) {
            rename(&mut world.durable_names, &naming);
        }
        Ok(())
    }

    fn lock(&self, _path: &Path, holder: &str) -> io::Result<Locking> {
        let mut world = self.0.lock();
        match &world.holder {
            Some(holder) => Ok(Locking::Taken(holder.clone())),
            None => {
                world.holder = Some(holder.to_owned());
                Ok(Locking::Held(Box::new(Held(self.0.clone(), world.boot))))
            }
        }
    }
}

impl Handle {
    fn with<T>(&self, f: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.world.lock();
        assert_eq!(world.boot, self.boot, "a dead process does nothing");
        f(&mut world)
    }
}

impl File for Handle {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let world = self.world.lock();
        let seen = &world.files[self.id].seen;
        let from = seen.get(at as usize..).unwrap_or_default();
        let n = from.len().min(bytes.len());
        bytes[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.with(|world| {
            let fault = world.operation()?;
            let len = world.files[self.id].seen.len();
            let growth = (at as usize + bytes.len()).saturating_sub(len);
            let room = world.room.map_or(usize::MAX, |room| room.saturating_sub(world.used()));
            let n = match fault {
                Some(Fault::Short | Fault::Full | Fault::PowerLoss) => bytes.len().div_ceil(2),
                _ if growth > room => bytes.len() - (growth - room).min(bytes.len()),
                _ => bytes.len(),
            };
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let change = Change::Write { at: at as usize, bytes: bytes[..n].to_vec() };
            let file = &mut world.files[self.id];
            apply(&mut file.seen, &change);
            file.pending.push(change);
            match fault {
                Some(Fault::PowerLoss) => Err(io::Error::other("the power is off")),
                Some(Fault::Full) => {
                    // The next write finds no room.
                    world.room = Some(world.used());
                    Ok(n)
                }
                _ => Ok(n),
            }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|world| {
            let result = world.whole_operation();
            if !world.off {
                let file = &mut world.files[self.id];
                let pending = std::mem::take(&mut file.pending);
                if result.is_ok() {
                    pending.iter().for_each(|change| apply(&mut file.durable, change));
                }
            }
            result
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.world.lock().files[self.id].seen.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.with(|world| {
            world.whole_operation()?;
            let file = &mut world.files[self.id];
            let change = Change::Length(len as usize);
            apply(&mut file.seen, &change);
            file.pending.push(change);
            Ok(())
        })
    }
}
