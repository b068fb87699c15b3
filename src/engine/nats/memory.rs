//! What a node saw last, in a file: so that it notices after a restart that all servers have come back with less.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::hub::id::Epoch;

use super::settings::Settings;

/// The newest message of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    epoch: String,
    pub(super) head: u64,
    pub(super) stored_ns: u64,
}

impl Seen {
    pub(super) fn new(epoch: Epoch, head: u64, stored_ns: u64) -> Seen {
        Seen { epoch: epoch.to_string(), head, stored_ns }
    }

    pub(super) fn is_of(&self, epoch: Epoch) -> bool {
        self.epoch == epoch.to_string()
    }
}

/// The file, and what stands in it.
#[derive(Debug)]
pub(super) struct Memory {
    file: PathBuf,
    pub(super) seen: Option<Seen>,
}

impl Memory {
    /// Reads the file, if there is to be one.
    ///
    /// # Errors
    /// If it can't be read, or not be written.
    pub(super) fn open(settings: &Settings) -> Result<Option<Memory>, String> {
        let Some(folder) = &settings.state_dir else { return Ok(None) };
        let file = folder.join(format!("sluicegate-{}.json", settings.namespace));
        let named = |error: &dyn std::fmt::Display| format!("cluster.state_dir: {}: {error}", file.display());
        let seen = match fs::read(&file) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| named(&error))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(named(&error)),
        };
        let memory = Memory { file: file.clone(), seen };
        memory.write().map_err(|error| named(&error))?;
        Ok(Some(memory))
    }

    /// Remembers this, if it is not what stands there.
    pub(super) fn remember(&mut self, seen: Seen) {
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        self.seen = Some(seen);
        if let Err(error) = self.write() {
            tracing::warn!(file = %self.file.display(), %error, "what was seen last can't be remembered");
        }
    }

    fn write(&self) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec(&self.seen)?)?;
        match &self.seen {
            Some(_) => fs::rename(new, &self.file),
            None => fs::remove_file(new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::nats::settings::settings as plain;

    #[test]
    fn what_was_seen_is_read_back_and_a_folder_that_can_not_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let settings = |state_dir: PathBuf| Settings { state_dir: Some(state_dir), ..plain() };
        let epoch = Epoch::new(7);
        let mut memory = Memory::open(&settings(folder.path().into())).unwrap().unwrap();
        assert_eq!(memory.seen, None);
        memory.remember(Seen::new(epoch, 42, 1_700));
        let again = Memory::open(&settings(folder.path().into())).unwrap().unwrap().seen.unwrap();
        assert_eq!(
            (again.head, again.stored_ns, again.is_of(epoch), again.is_of(Epoch::new(8))),
            (42, 1_700, true, false)
        );
        fs::write(folder.path().join("sluicegate-n.json"), "{").unwrap();
        for state_dir in [folder.path().into(), folder.path().join("missing")] {
            let error = Memory::open(&settings(state_dir)).unwrap_err();
            assert!(error.starts_with("cluster.state_dir: "), "{error}");
        }
        assert!(Memory::open(&Settings { state_dir: None, ..settings(PathBuf::new()) }).unwrap().is_none());
    }
}
