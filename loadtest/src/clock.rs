//! The run's clock: nanoseconds since the client started, the unit of every stamp.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Copies share one origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    pub(crate) fn sleep_until(self, due_ns: u64) {
        thread::sleep(Duration::from_nanos(due_ns.saturating_sub(self.now_ns())));
    }
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
