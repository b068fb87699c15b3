//! A drain: the streams of a shard are ended in random order, spread over a time.

use crate::hub::jitter::Jitter;
use crate::hub::registry::StreamKey;

/// How often a draining shard ends its next streams.
pub(super) const DRAIN_STEP_MS: u64 = 20;

/// Which streams are still to be ended, and until when.
pub(super) struct Drain {
    left: Vec<StreamKey>,
    ends_ms: u64,
    retry_ms: u64,
    jitter: Jitter,
}

impl Drain {
    pub(super) fn new(mut left: Vec<StreamKey>, ends_ms: u64, retry_ms: u64, mut jitter: Jitter) -> Drain {
        // In random order, so that neighbours in time of opening do not come back together.
        for at in (1..left.len()).rev() {
            left.swap(at, jitter.below(at as u64 + 1) as usize);
        }
        Drain { left, ends_ms, retry_ms, jitter }
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
        ended.map(|key| (key, self.jitter.around(self.retry_ms))).collect()
    }
}
