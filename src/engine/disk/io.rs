//! The few things that the engine asks of a file system, so that a test can stand in for it.

use std::fs::{self, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file system.
pub trait Io: Send + Sync {
    /// Opens a file to read it, and to write it if `write`.
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>>;
    /// Makes a new file, to read and write. There must be none.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Makes a directory in one that exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names of a directory's files, those that are UTF-8, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Renames a file, over another if there is one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes a lock until it is dropped, or the process ends.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Locking>;
}

/// An open file. Reading and writing name their position, so that threads may share it.
pub trait File: Send + Sync {
    /// Reads what there is at a position, 0 bytes at the end.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes at a position, perhaps less than all.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Makes what was written, and the length, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's length.
    fn bytes(&self) -> io::Result<u64>;
    /// Cuts the file.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// What trying to lock brought.
pub enum Locking {
    /// The lock.
    Held(Box<dyn Send + Sync>),
    /// Somebody else has it: what it wrote about itself.
    Taken(String),
}

/// Writes all of it.
pub fn write_all_at(file: &dyn File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                at += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `bytes` as far as the file goes; says how far that is.
pub fn read_full_at(file: &dyn File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Whether the file system has no room: the one refusal of a write that leaves no doubt about what
/// was written before.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The file system of the machine.
pub struct Disk;

impl Io for Disk {
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::options().read(true).write(write).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::options().read(true).write(true).create_new(true).open(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Locking> {
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                let mut text = [0; 64];
                let len = read_full_at(&file, &mut text, 0)?;
                return Ok(Locking::Taken(String::from_utf8_lossy(&text[..len]).trim().to_owned()));
            }
        }
        // What is written about the holder only helps people: a full disk is no reason to stop.
        let _ = file.set_len(0).and_then(|()| write_all_at(&file, holder.as_bytes(), 0));
        Ok(Locking::Held(Box::new(Locked(file))))
    }
}

/// A locked file.
struct Locked(fs::File);

impl Drop for Locked {
    fn drop(&mut self) {
        // To close it is not enough: another thread may be starting a process, which has all files until it runs its
        // own program.
        let _ = self.0.unlock();
    }
}

impl File for fs::File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_holder_whoever_else_has_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = |holder| Disk.lock(&path, holder).unwrap();
        let first = lock("first");
        assert!(matches!(lock("second"), Locking::Taken(holder) if holder == "first"));
        drop(first);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.try_lock().unwrap();
        let inherited = file.try_clone().unwrap();
        drop(Locked(file));
        assert!(matches!(lock("third"), Locking::Held(_)));
        drop(inherited);
    }
}
