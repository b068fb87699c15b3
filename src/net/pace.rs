//! The pace of passes: how long a shard rests after one.
//!
//! The first event after quiet goes out at once. While events keep coming, a shard rests after each
//! pass, so that the next one carries more events for the same number of sends, and accepting,
//! publishing and the other shards get their share of the machine.

use std::time::Duration;

/// A rest shorter than this is not worth a timer, whose ticks are 1 ms.
const REST_NS_MIN: u64 = 500_000;

/// A shard's pace.
#[derive(Debug)]
pub struct Pace {
    /// Rest, as a multiple of the pass before.
    rest: f64,
    /// The least time from one pass to the next.
    interval_min_ns: u64,
    rests: bool,
}

impl Pace {
    /// A pace.
    pub fn new(rest: f64, interval_min: Duration) -> Pace {
        Pace { rest, interval_min_ns: interval_min.as_nanos() as u64, rests: false }
    }

    /// Whether the shard rests.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// The rest is over.
    pub fn wakes(&mut self) {
        self.rests = false;
    }

    /// A pass has ended. If it is followed by a rest, says until when, in milliseconds.
    pub fn passed(&mut self, started_ns: u64, ended_ns: u64) -> Option<u64> {
        let length_ns = ended_ns.saturating_sub(started_ns);
        let rest_ns = ((length_ns as f64 * self.rest) as u64).max(self.interval_min_ns.saturating_sub(length_ns));
        self.rests = rest_ns >= REST_NS_MIN;
        self.rests.then(|| (ended_ns + rest_ns).div_ceil(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rest: f64, interval_min_ms: u64, pass_us: u64, expected_ms: Option<u64>) {
        let mut pace = Pace::new(rest, Duration::from_millis(interval_min_ms));
        assert_eq!(pace.passed(1_000_000, 1_000_000 + pass_us * 1000), expected_ms);
        assert_eq!(pace.rests(), expected_ms.is_some());
    }

    #[test]
    fn rests_follow_the_pass() {
        check(1.0, 0, 40_000, Some(81));
        check(0.5, 0, 40_000, Some(61));
        check(1.0, 0, 499, None);
        check(1.0, 0, 500, Some(2));
        check(0.0, 0, 40_000, None);
        check(1.0, 100, 10_000, Some(101));
        check(0.0, 100, 120_000, None);
    }
}
