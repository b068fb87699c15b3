//! A drain: the streams of a shard are ended in random order, spread over a time.

use fastrand::Rng;

use crate::hub::registry::StreamKey;
use crate::hub::retry;

/// How often a draining shard ends its next streams.
pub(super) const DRAIN_STEP_MS: u64 = 20;

/// Which streams are still to be ended, and until when.
pub(super) struct Drain {
    left: Vec<StreamKey>,
    ends_ms: u64,
    retry_ms: u64,
    random: Rng,
}

impl Drain {
    pub(super) fn new(mut left: Vec<StreamKey>, ends_ms: u64, retry_ms: u64, mut random: Rng) -> Drain {
        // In random order, so that neighbours in time of opening do not come back together.
        random.shuffle(&mut left);
        Drain { left, ends_ms, retry_ms, random }
    }

    /// One that was opened meanwhile.
    pub(super) fn add(&mut self, key: StreamKey) {
        self.left.push(key);
    }

    /// The streams whose turn it is, and the `retry:` of each.
    pub(super) fn step(&mut self, now_ms: u64) -> Vec<(StreamKey, u64)> {
        let steps_left = self.ends_ms.saturating_sub(now_ms) / DRAIN_STEP_MS + 1;
        let count = self.left.len().div_ceil(steps_left as usize);
        let ended = self.left.drain(self.left.len() - count..);
        ended.map(|key| (key, retry::around(&mut self.random, self.retry_ms))).collect()
    }
}
