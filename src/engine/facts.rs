//! What is counted, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use strum::{AsRefStr, VariantArray};

use super::wall::wall_ms;

/// Why the reader began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Restart {
    /// Nothing came, not even a heartbeat.
    Silence,
    /// Messages did not come.
    Missing,
    /// The server ended it.
    Ended,
    /// The stream is not what it was.
    Stream,
}

/// Why there is a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Changed {
    /// The stream is another one, or another node has said so.
    Remade,
    /// The stream has less than this node saw of it, or something else in its place.
    RolledBack,
}

/// What there is to know of the engine.
#[derive(Debug, Default)]
pub struct Facts {
    head: AtomicU64,
    last: AtomicU64,
    /// When something came last, in milliseconds since 1970.
    heard_ms: AtomicU64,
    /// When this node had all there was, last.
    whole_ms: AtomicU64,
    restarts: [AtomicU64; Restart::VARIANTS.len()],
    epochs: [AtomicU64; Changed::VARIANTS.len()],
    holes: AtomicU64,
    unreadable: AtomicU64,
    max_payload: AtomicU64,
}

/// What servers take unless they say otherwise.
const MAX_PAYLOAD: u64 = 1 << 20;

impl Facts {
    /// The sequence of the newest message that this node has.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// The sequence of the stream's newest message.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed).max(self.head())
    }

    /// For how long nothing has come, in milliseconds.
    pub fn silence_ms(&self) -> u64 {
        since(&self.heard_ms)
    }

    /// For how long this node has not had all there is, in milliseconds.
    pub fn lag_ms(&self) -> u64 {
        if self.head() >= self.last() { 0 } else { since(&self.whole_ms) }
    }

    /// How often the reader began anew.
    pub fn restarts(&self, reason: Restart) -> u64 {
        self.restarts[reason as usize].load(Ordering::Relaxed)
    }

    /// How often there was a new epoch.
    pub fn epochs(&self, reason: Changed) -> u64 {
        self.epochs[reason as usize].load(Ordering::Relaxed)
    }

    /// How many messages were missing in the stream.
    pub fn holes(&self) -> u64 {
        self.holes.load(Ordering::Relaxed)
    }

    /// How many messages could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// How long a message may be.
    pub(crate) fn max_payload(&self) -> usize {
        let max = self.max_payload.load(Ordering::Relaxed);
        if max == 0 { MAX_PAYLOAD as usize } else { max as usize }
    }

    pub(crate) fn set_max_payload(&self, bytes: usize) {
        self.max_payload.store(bytes as u64, Ordering::Relaxed);
    }

    /// Something came.
    pub(crate) fn heard(&self) {
        self.heard_ms.store(wall_ms(), Ordering::Relaxed);
    }

    pub(crate) fn has(&self, sequence: u64) {
        self.head.store(sequence, Ordering::Relaxed);
    }

    pub(crate) fn is_whole(&self) {
        self.whole_ms.store(wall_ms(), Ordering::Relaxed);
    }

    pub(crate) fn there_is(&self, sequence: u64) {
        self.last.store(sequence, Ordering::Relaxed);
    }

    pub(crate) fn restarted(&self, reason: Restart) {
        self.restarts[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn changed(&self, reason: Changed) {
        self.epochs[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self, messages: u64) {
        self.holes.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn can_not_read(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }
}

fn since(at_ms: &AtomicU64) -> u64 {
    match at_ms.load(Ordering::Relaxed) {
        0 => 0,
        at_ms => wall_ms().saturating_sub(at_ms),
    }
}
