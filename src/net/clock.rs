//! The gateway's monotonic clock. The modules below get its readings as arguments.

use std::time::{Duration, Instant};

/// Counts from the gateway's start, or, so that events from before have a time, from long before that.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// What it read then.
    start_ns: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock { origin: Instant::now(), start_ns: 0 }
    }

    /// A clock that has counted for this long already.
    pub fn started_before(age: Duration) -> Clock {
        Clock { origin: Instant::now(), start_ns: age.as_nanos() as u64 }
    }

    /// Nanoseconds since it began to count.
    pub fn now_ns(&self) -> u64 {
        self.start_ns + self.origin.elapsed().as_nanos() as u64
    }

    /// How long ago it was made.
    pub fn age(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Whole milliseconds since then: the ticks of the wheel.
    pub fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }

    /// When the clock will read this.
    pub fn instant_of_ms(&self, ms: u64) -> Instant {
        // A deadline too far for the platform's clock is as good as a day: the ticker looks again.
        self.origin
            .checked_add(Duration::from_millis(ms).saturating_sub(Duration::from_nanos(self.start_ns)))
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400))
    }
}

/// The processor time that the process has used.
pub fn process_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The processor time that this thread has used, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
