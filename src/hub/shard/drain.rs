//! A drain: the streams of a shard are ended in random order, spread over a time.

use fastrand::Rng;

use crate::hub::close::CloseReason;
use crate::hub::registry::StreamKey;
use crate::hub::retry;

/// How often a draining shard ends its next streams.
pub(super) const DRAIN_STEP_MS: u64 = 20;

/// What streams are ended for: those of a gateway that goes on can be resumed, and are not owed what is left.
pub(super) fn reason(for_good: bool) -> CloseReason {
    if for_good { CloseReason::Drained } else { CloseReason::Rotated }
}

/// Which streams are still to be ended, and until when.
pub(super) struct Drain {
    left: Vec<StreamKey>,
    ends_ms: u64,
    retry_ms: u64,
    /// Streams that come meanwhile are ended, too.
    for_good: bool,
    random: Rng,
}

impl Drain {
    pub(super) fn new(mut left: Vec<StreamKey>, ends_ms: u64, retry_ms: u64, for_good: bool, mut random: Rng) -> Drain {
        // In random order, so that neighbours in time of opening do not come back together.
        random.shuffle(&mut left);
        Drain { left, ends_ms, retry_ms, for_good, random }
    }

    /// One that was opened meanwhile.
    pub(super) fn add(&mut self, key: StreamKey) {
        if self.for_good {
            self.left.push(key);
        }
    }

    /// What its streams are ended for.
    pub(super) fn reason(&self) -> CloseReason {
        reason(self.for_good)
    }

    /// Whether all are ended, and no more are to be.
    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty() && !self.for_good
    }

    /// How many are to be ended now.
    pub(super) fn due(&self, now_ms: u64) -> usize {
        let steps_left = self.ends_ms.saturating_sub(now_ms) / DRAIN_STEP_MS + 1;
        self.left.len().div_ceil(steps_left as usize)
    }

    /// The next stream to be ended, and its `retry:`.
    pub(super) fn next(&mut self) -> Option<(StreamKey, u64)> {
        let key = self.left.pop()?;
        Some((key, retry::around(&mut self.random, self.retry_ms)))
    }
}
