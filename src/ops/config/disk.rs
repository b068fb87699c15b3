//! `engine` and `[disk]`.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::engine::committer::Syncs;
use crate::ops::limits::PERIOD_MS_MIN;
use crate::ops::units::{Count, GIB, Size, Time, TimeOrOff};

/// Where kept events live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EngineKind {
    /// In memory: a restart forgets them.
    #[default]
    Memory,
    /// In memory, and in files: a restart goes on with them.
    Disk,
    /// In memory, and on NATS servers: any number of gateways share them.
    Nats,
}

/// When an event counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DiskSync {
    /// Once it is on disk.
    #[default]
    Always,
    /// Once the system has it; it comes to the disk within `disk.sync_interval`.
    Interval,
}

/// `[disk]`: where and how the disk engine stores events, and how much of them if not as much as `[history]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Disk {
    /// The directory of its files. It is made if its parent exists. Default: none, it has to be given.
    pub dir: PathBuf,
    /// When a publisher is answered. Default: `always`, once its events are on disk.
    pub sync: DiskSync,
    /// How often files are synced where `sync` is `interval`. Default: 1 second.
    pub sync_interval: Time<PERIOD_MS_MIN, 60_000>,
    /// How many events the files keep. Default: 0, as many as `history.events`.
    pub events: Count<0, 1_000_000_000_000>,
    /// How many bytes they take. Default: 0, as many as `history.bytes`.
    pub bytes: Size<0, { 1024 * 1024 * GIB }>,
    /// How long they keep an event. Default: `0s`, as long as `history.age`.
    pub age: TimeOrOff<PERIOD_MS_MIN>,
}

impl Disk {
    /// When the files are synced.
    pub fn syncs(&self) -> Syncs {
        match self.sync {
            DiskSync::Always => Syncs::Always,
            DiskSync::Interval => Syncs::Every(self.sync_interval.get()),
        }
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            dir: PathBuf::new(),
            sync: DiskSync::default(),
            sync_interval: Time::from_millis(1_000),
            events: Count::new(0),
            bytes: Size::new(0),
            age: TimeOrOff::OFF,
        }
    }
}
