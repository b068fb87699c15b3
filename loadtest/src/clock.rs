//! The run's clock: nanoseconds since it began, the unit of every stamp. All processes of a run share one origin.

use std::{thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Counts from a moment of the machine's monotonic clock, so that a copy sent to another process agrees.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Clock {
    origin_ns: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin_ns: read_ns(ClockId::Monotonic) }
    }

    pub(crate) fn now_ns(self) -> u64 {
        read_ns(ClockId::Monotonic) - self.origin_ns
    }

    /// What this clock showed when a wall clock showed the Unix epoch; negative, as the run began later.
    pub(crate) fn epoch_ns(self) -> i64 {
        self.now_ns() as i64 - read_ns(ClockId::Realtime) as i64
    }

    pub(crate) fn sleep_until(self, due_ns: u64) {
        thread::sleep(Duration::from_nanos(due_ns.saturating_sub(self.now_ns())));
    }
}

fn read_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Requests due at a fixed rate from `first_ns` on, whatever became of the earlier ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) first_ns: u64,
    pub(crate) per_second: f64,
    pub(crate) count: u32,
}

impl Schedule {
    pub(crate) fn due_ns(&self, k: u32) -> u64 {
        self.first_ns + (f64::from(k) * 1e9 / self.per_second) as u64
    }

    /// When the request after the last would be due.
    pub(crate) fn end_ns(&self) -> u64 {
        self.due_ns(self.count)
    }
}
