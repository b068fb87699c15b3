//! The pace of passes: how long a shard rests after one, or after a piece of one.
//!
//! The first event after quiet goes out at once. While events keep coming, a shard rests after each
//! pass, so that the next one carries more events for the same number of sends, and accepting,
//! publishing and the other shards get their share of the machine. How long depends on what resting
//! gains: where a send carried one event, a short rest; the more events a send carried, the longer,
//! up to a bound. It is a multiple of the processor time that such a pass takes and not of its length,
//! which a crowded machine would stretch; what a pass was stretched by, its rest is shorter by, since an
//! event waits for both. `docs/adr/0002-pacing.md` has the measurements.

use std::time::Duration;

/// A rest shorter than this is not worth a timer, whose ticks are 1 ms.
const REST_NS_MIN: u64 = 500_000;
/// No rest is longer than this, whatever the pass cost.
const REST_NS_MAX: u64 = 100_000_000;
/// The rest after a pass whose sends carried one event each, as a multiple of its processor time,
const REST_FIRST: f64 = 0.5;
/// and what each further event a send adds to it.
const REST_EACH: f64 = 0.25;
/// What a write costs is a mean over about so many passes: rests of equal length keep the longest wait short.
const PASSES_MEANT: f64 = 32.0;

/// A shard's pace.
#[derive(Debug)]
pub(super) struct Pace {
    /// The longest rest, as a multiple of the processor time of the pass before.
    rest_max: f64,
    /// The least time from one pass to the next.
    interval_min_ns: u64,
    rests: bool,
    /// Processor time and writes of the passes so far, the older ones fading.
    cpu_ns: f64,
    writes: f64,
}

/// A pass, or a piece of one: what it was like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Piece {
    /// When the pass began,
    pub(super) began_ns: u64,
    /// and this piece of it.
    pub(super) started_ns: u64,
    /// When it ended.
    pub(super) ended_ns: u64,
    /// The processor time it took.
    pub(super) cpu_ns: u64,
    /// How many events it handed to sockets, one for each stream,
    pub(super) deliveries: u64,
    /// with how many writes.
    pub(super) writes: u64,
    /// Whether the pass is over.
    pub(super) is_over: bool,
}

impl Pace {
    /// A pace.
    pub(super) fn new(rest_max: f64, interval_min: Duration) -> Pace {
        Pace { rest_max, interval_min_ns: interval_min.as_nanos() as u64, rests: false, cpu_ns: 0.0, writes: 0.0 }
    }

    /// Whether the shard rests.
    pub(super) fn rests(&self) -> bool {
        self.rests
    }

    /// The rest is over.
    pub(super) fn wakes(&mut self) {
        self.rests = false;
    }

    /// A pass has ended, or paused. If it is followed by a rest, says until when, in milliseconds.
    pub(super) fn passed(&mut self, piece: Piece) -> Option<u64> {
        let fade = |sum: &mut f64, new: u64| *sum += new as f64 - *sum / PASSES_MEANT;
        fade(&mut self.cpu_ns, piece.cpu_ns);
        fade(&mut self.writes, piece.writes);
        let events_a_write = piece.deliveries as f64 / piece.writes.max(1) as f64;
        let rest = (REST_FIRST + REST_EACH * (events_a_write - 1.0).max(0.0)).min(self.rest_max);
        let cpu_ns =
            if piece.writes == 0 { piece.cpu_ns as f64 } else { self.cpu_ns / self.writes * piece.writes as f64 };
        let length_ns = piece.ended_ns.saturating_sub(piece.started_ns);
        let stretched_ns = (length_ns as f64 - cpu_ns).max(0.0);
        let least_ns = cpu_ns * rest.min(REST_FIRST);
        let mut rest_ns = ((cpu_ns * rest - stretched_ns).max(least_ns) as u64).min(REST_NS_MAX);
        if piece.is_over {
            rest_ns = rest_ns.max((piece.began_ns + self.interval_min_ns).saturating_sub(piece.ended_ns));
        }
        self.rests = rest_ns >= REST_NS_MIN;
        self.rests.then(|| (piece.ended_ns + rest_ns).div_ceil(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pass that began at 1 ms and took `pass_us`, all of it on the processor.
    fn passed(pass_us: u64, events_a_write: u64) -> Piece {
        let ended_ns = 1_000_000 + pass_us * 1000;
        let cpu_ns = pass_us * 1000;
        Piece {
            began_ns: 1_000_000,
            started_ns: 1_000_000,
            ended_ns,
            cpu_ns,
            deliveries: events_a_write * 100,
            writes: 100,
            is_over: true,
        }
    }

    #[track_caller]
    fn check(rest_max: f64, interval_min_ms: u64, passed: Piece, expected_ms: Option<u64>) {
        let mut pace = Pace::new(rest_max, Duration::from_millis(interval_min_ms));
        assert_eq!(pace.passed(passed), expected_ms);
        assert_eq!(pace.rests(), expected_ms.is_some());
    }

    #[test]
    fn the_rest_grows_with_what_a_write_carries() {
        check(2.0, 0, passed(40_000, 1), Some(61));
        check(2.0, 0, passed(40_000, 3), Some(81));
        check(2.0, 0, passed(40_000, 7), Some(121));
        check(2.0, 0, passed(40_000, 70), Some(121));
        check(2.0, 0, passed(40_000, 0), Some(61));
        check(2.0, 0, passed(400_000, 7), Some(501));
        check(0.25, 0, passed(40_000, 7), Some(51));
    }

    #[test]
    fn what_waiting_for_the_processor_took_is_taken_off_the_rest() {
        check(2.0, 0, Piece { cpu_ns: 10_000_000, ..passed(12_000, 3) }, Some(21));
        check(2.0, 0, Piece { cpu_ns: 10_000_000, ..passed(40_000, 3) }, Some(46));
    }

    #[test]
    fn the_rest_follows_what_passes_cost_in_the_mean() {
        let mut pace = Pace::new(1.0, Duration::ZERO);
        let mut rest_ms = |cpu_us| pace.passed(passed(cpu_us, 3)).map(|until_ms| until_ms - 1 - cpu_us / 1000);
        (0..100).for_each(|_| assert_eq!(rest_ms(10_000), Some(10)));
        // One that costs more was stretched, for all that is known; many are believed.
        assert_eq!(rest_ms(14_000), Some(7));
        for _ in 0..200 {
            rest_ms(14_000);
        }
        assert_eq!(rest_ms(14_000), Some(14));
    }

    #[test]
    fn the_interval_counts_from_the_first_piece_of_a_pass() {
        let mut pace = Pace::new(0.0, Duration::from_millis(100));
        let piece = |began_ms: u64, started_ms: u64, is_over| Piece {
            began_ns: began_ms * 1_000_000,
            started_ns: started_ms * 1_000_000,
            ended_ns: (started_ms + 10) * 1_000_000,
            is_over,
            ..passed(10_000, 3)
        };
        assert_eq!(pace.passed(piece(0, 0, false)), None);
        assert_eq!(pace.passed(piece(0, 20, false)), None);
        assert_eq!(pace.passed(piece(0, 40, true)), Some(100));
        assert_eq!(pace.passed(piece(100, 100, true)), Some(200));
    }

    #[test]
    fn short_rests_are_left_out_and_the_interval_is_kept() {
        check(2.0, 0, passed(999, 1), None);
        check(2.0, 0, passed(1000, 1), Some(3));
        check(0.0, 0, passed(40_000, 7), None);
        check(2.0, 100, passed(10_000, 1), Some(101));
        check(0.0, 100, passed(120_000, 1), None);
    }
}
