//! What an engine is doing, and since when.

use std::time::SystemTime;

use parking_lot::Mutex;
use strum::{AsRefStr, VariantArray};

/// What an engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// It reads what it kept.
    Loading,
    /// It takes events.
    Ready,
    /// It takes no more, and the process ends.
    Faulted,
}

/// What an engine is doing, for who asks.
pub struct Status(Mutex<(Phase, SystemTime)>);

impl Status {
    /// In this phase from now on.
    pub fn new(phase: Phase) -> Status {
        Status(Mutex::new((phase, SystemTime::now())))
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.0.lock().0
    }

    /// The same, with the time since when.
    pub fn since(&self) -> (Phase, SystemTime) {
        *self.0.lock()
    }

    /// From now on it is doing this.
    pub fn set(&self, phase: Phase) {
        *self.0.lock() = (phase, SystemTime::now());
    }
}
