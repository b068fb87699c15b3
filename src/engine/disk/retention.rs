//! How much is kept: whole segments go, oldest first.

/// The bounds.
///
/// A segment goes once the newer ones alone hold `events`, or all of them together take more than
/// `bytes`, or its newest event is older than `age_ms`. So up to a segment more than `events` and
/// `age_ms` say is kept, never more than `bytes` (but for the newest segment, which always stays).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The newest events that are kept.
    pub events: u64,
    /// The most bytes of files.
    pub bytes: u64,
    /// How long an event is kept, in milliseconds of the wall clock.
    pub age_ms: u64,
}

/// What the bounds look at of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Its events.
    pub events: u64,
    /// The bytes of its file.
    pub bytes: u64,
    /// The time of its newest event.
    pub newest_ms: u64,
}

impl Limits {
    /// How many of these segments, oldest first, are to go.
    pub fn over(&self, segments: impl ExactSizeIterator<Item = Held> + Clone, now_ms: u64) -> usize {
        let mut events: u64 = segments.clone().map(|held| held.events).sum();
        let mut bytes: u64 = segments.clone().map(|held| held.bytes).sum();
        let all_but_newest = segments.len().saturating_sub(1);
        segments
            .take(all_but_newest)
            .take_while(|held| {
                let newer = events - held.events;
                let go =
                    newer >= self.events || bytes > self.bytes || now_ms.saturating_sub(held.newest_ms) > self.age_ms;
                events = newer;
                bytes -= held.bytes;
                go
            })
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const ALL: Limits = Limits { events: u64::MAX, bytes: u64::MAX, age_ms: u64::MAX };

    #[track_caller]
    fn check(limits: Limits, expected: usize) {
        let held = |events, bytes, newest_ms| Held { events, bytes, newest_ms };
        let segments = [held(10, 100, 1_000), held(0, 64, 0), held(5, 50, 2_000), held(7, 70, 3_000)];
        assert_eq!(limits.over(segments.into_iter(), 5_000), expected, "{limits:?}");
    }

    #[test]
    fn whole_segments_go_and_the_newest_stays() {
        check(ALL, 0);
        check(Limits { events: 13, ..ALL }, 0);
        check(Limits { events: 12, ..ALL }, 2);
        check(Limits { events: 8, ..ALL }, 2);
        check(Limits { events: 7, ..ALL }, 3);
        check(Limits { events: 0, ..ALL }, 3);
        check(Limits { bytes: 284, ..ALL }, 0);
        check(Limits { bytes: 283, ..ALL }, 1);
        check(Limits { bytes: 120, ..ALL }, 2);
        check(Limits { bytes: 0, ..ALL }, 3);
        check(Limits { age_ms: 4_000, ..ALL }, 0);
        check(Limits { age_ms: 3_999, ..ALL }, 2);
        check(Limits { age_ms: 0, ..ALL }, 3);
        assert_eq!(ALL.over([].into_iter(), 0), 0);
    }

    proptest! {
        /// By the rule, event by event: what must stay is there, and no more than a segment beyond.
        #[test]
        fn what_must_stay_stays(
            segments in vec((0..20u64, 1..100u64), 1..20),
            events in 0..100u64, bytes in 0..800u64, age_ms in 0..20u64,
        ) {
            let limits = Limits { events, bytes, age_ms };
            let now_ms = segments.len() as u64;
            let held: Vec<_> = (1..).zip(&segments)
                .map(|(newest_ms, &(events, bytes))| Held { events, bytes, newest_ms })
                .collect();
            let gone = limits.over(held.iter().copied(), now_ms);
            prop_assert!(gone < held.len());
            let kept_bytes: u64 = held[gone..].iter().map(|held| held.bytes).sum();
            prop_assert!(kept_bytes <= bytes || gone == held.len() - 1);
            if let Some(last_gone) = gone.checked_sub(1) {
                let newer: u64 = held[gone..].iter().map(|held| held.events).sum();
                let with_it = kept_bytes + held[last_gone].bytes;
                let age = now_ms - held[last_gone].newest_ms;
                prop_assert!(newer >= events || with_it > bytes || age > age_ms, "one too many went");
            }
            if gone + 1 < held.len() {
                let newer: u64 = held[gone + 1..].iter().map(|held| held.events).sum();
                prop_assert!(newer < events && now_ms - held[gone].newest_ms <= age_ms, "one too few went");
            }
        }
    }
}
