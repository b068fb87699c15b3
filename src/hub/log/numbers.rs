//! The numbers in ids. A log's own offsets say nothing to another process; where an engine keeps the
//! events, ids hold the engine's numbers, which do.

use crate::hub::offset::Offset;

use super::Log;

/// Which numbers the kept events of a call have in their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Their offsets in the log.
    Own,
    /// This one and those that follow it, in their order.
    From(u64),
}

/// What a log knows of its engine's numbers.
#[derive(Debug, Default)]
pub(super) struct EngineNumbers {
    /// The number of the newest kept event.
    newest: u64,
    /// The number of the kept event that was evicted last.
    evicted: u64,
    /// Events that the engine has lost, oldest first.
    holes: Vec<Hole>,
}

#[derive(Debug)]
struct Hole {
    /// The last number that is missing.
    last: u64,
    /// The offset of the newest event before it.
    before: Offset,
}

impl EngineNumbers {
    pub(super) fn push(&mut self, number: u64) {
        debug_assert!(number > self.newest, "an engine's numbers rise");
        self.newest = number;
    }

    pub(super) fn evict(&mut self, number: u64, offset: Offset) {
        self.evicted = number;
        let passed = self.holes.partition_point(|hole| hole.before < offset);
        self.holes.drain(..passed);
    }
}

/// Where an id's number stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Beyond the newest.
    Ahead,
    /// At this offset.
    At(Offset),
    /// At this offset, and of what follows some is lost.
    BeforeHole(Offset),
}

impl Log {
    /// The same, but it is filled by an engine whose events up to this number, and with it, are not to
    /// come: they count as evicted. Its head is the offset after [`Offset::ZERO`] then.
    pub fn starting_after(mut self, number: Option<u64>) -> Log {
        let mut numbers = EngineNumbers::default();
        if let Some(number) = number {
            (numbers.newest, numbers.evicted) = (number, number);
            self.head = self.head.next();
            self.kept.start_after(self.head);
        }
        self.numbers = Some(numbers);
        self
    }

    /// The engine has lost its events up to this number, after the newest that is here. Nobody reads the log yet.
    pub fn lose(&mut self, last: u64) {
        if let Some(numbers) = &mut self.numbers {
            numbers.newest = last;
            numbers.holes.push(Hole { last, before: self.head });
        }
    }

    /// The number of an offset: that of the newest kept event at it or before it, or the last that is lost there.
    pub(super) fn number(&self, offset: Offset) -> u64 {
        let Some(numbers) = &self.numbers else { return offset.get() };
        let kept = match self.kept.index_after(offset).checked_sub(1) {
            Some(at) => self.kept.slots[at].1.number(),
            None => numbers.evicted,
        };
        // Who stands there has come after the hole was known, and is owed nothing of it.
        let holes = &numbers.holes;
        let before = holes.partition_point(|hole| hole.before <= offset);
        before.checked_sub(1).map_or(kept, |at| kept.max(holes[at].last))
    }

    /// Where a number stands.
    pub(super) fn find(&self, number: u64) -> Found {
        let Some(numbers) = &self.numbers else {
            let offset = Offset::new(number);
            return if offset > self.head { Found::Ahead } else { Found::At(offset) };
        };
        if number > numbers.newest {
            return Found::Ahead;
        }
        let after = self.kept.slots.partition_point(|(_, frame)| frame.number() <= number);
        let offset = match after.checked_sub(1) {
            Some(at) => self.kept.slots[at].0,
            None if number >= numbers.evicted => self.kept.evicted_through,
            // Of what stood there nothing is known but that it was before.
            None => Offset::ZERO,
        };
        if numbers.holes.last().is_some_and(|hole| number < hole.last) {
            return Found::BeforeHole(offset);
        }
        Found::At(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::event::Event;
    use crate::hub::frame::Draft;
    use crate::hub::gap::GapReason;
    use crate::hub::id::Epoch;
    use crate::hub::log::{Evicted, LogLimits, Resume, Start};
    use crate::hub::topic::{Subscription, Topic, Topics, handle, table};

    fn log(events: usize, after: Option<u64>) -> Log {
        let limits = LogLimits { events, bytes: 1 << 30, age_ns: u64::MAX };
        Log::new(Epoch::new(1), limits).starting_after(after)
    }

    fn append(log: &mut Log, first: u64, kept: &[bool]) {
        let draft =
            |keep: &bool| Draft::encode(Topics::one(handle("t")), &Event::new("x").keep(*keep), Epoch::new(1)).unwrap();
        log.append(kept.iter().map(draft), Numbering::From(first), 0, &mut Evicted::default());
    }

    fn start(log: &Log, number: u64) -> Start {
        let topics = vec![Topic::parse("t").unwrap()];
        let subscription = Subscription::new(topics, Vec::new(), &table()).unwrap();
        log.start(&Resume::After(Epoch::new(1).id(number).as_str().into()), &subscription)
    }

    fn starts(after: u64, gap: Option<GapReason>) -> Start {
        Start { after: Offset::new(after), gap }
    }

    #[test]
    fn an_id_of_an_engine_is_found_between_live_only_events_and_holes_of_numbers() {
        let mut log = log(10, None);
        assert_eq!(start(&log, 0), starts(0, None));
        append(&mut log, 100, &[true, false, true]);
        append(&mut log, 200, &[false, true]);
        let ids: Vec<_> = (0..=5).map(|offset| log.number(Offset::new(offset))).collect();
        assert_eq!(ids, [0, 100, 100, 101, 101, 200]);
        for (number, after) in [(99, 0), (100, 1), (101, 3), (150, 3), (200, 5)] {
            assert_eq!(start(&log, number), starts(after, None), "{number}");
        }
        assert_eq!(start(&log, 201), starts(0, Some(GapReason::UnknownId)));
    }

    #[test]
    fn what_left_the_log_or_was_never_in_it_is_expired() {
        let mut log = log(2, Some(99));
        assert_eq!(start(&log, 98), starts(1, Some(GapReason::Expired)));
        assert_eq!((start(&log, 99), start(&log, 100)), (starts(1, None), starts(1, Some(GapReason::UnknownId))));
        append(&mut log, 100, &[true, true, true]);
        assert_eq!(log.number(Offset::new(2)), 100, "the one that was evicted last");
        assert_eq!(start(&log, 99), starts(2, Some(GapReason::Expired)));
        assert_eq!((start(&log, 100), start(&log, 101)), (starts(2, None), starts(3, None)));
    }

    #[test]
    fn who_begins_after_a_hole_has_lost_nothing() {
        let mut log = log(3, None);
        append(&mut log, 100, &[true, true]);
        log.lose(199);
        log.lose(299);
        // A mark at the head, and one before the hole.
        assert_eq!([1, 2].map(|offset| log.number(Offset::new(offset))), [100, 299]);
        assert_eq!(start(&log, 299), starts(2, None));
        append(&mut log, 300, &[false, true]);
        assert_eq!([3, 4].map(|offset| log.number(Offset::new(offset))), [299, 300]);
        assert_eq!(start(&log, 299), starts(2, None));
        // The events around the hole leave the log, and it with them.
        append(&mut log, 301, &[true, true]);
        assert_eq!((log.number(Offset::new(3)), start(&log, 299)), (299, starts(2, None)));
        append(&mut log, 303, &[true]);
        assert_eq!((log.number(Offset::new(4)), start(&log, 299)), (300, starts(4, Some(GapReason::Expired))));
        assert_eq!(start(&log, 300), starts(4, None));
    }

    #[test]
    fn what_an_engine_lost_is_told_to_who_was_before_it() {
        let mut log = log(3, None);
        append(&mut log, 100, &[true, true]);
        log.lose(199);
        assert_eq!(start(&log, 100), starts(1, Some(GapReason::Lost)));
        assert_eq!(start(&log, 150), starts(2, Some(GapReason::Lost)));
        assert_eq!(start(&log, 199), starts(2, None));
        append(&mut log, 200, &[true, true]);
        assert_eq!(start(&log, 101), starts(2, Some(GapReason::Lost)));
        assert_eq!(start(&log, 200), starts(3, None));
        append(&mut log, 300, &[true]);
        assert_eq!(start(&log, 101), starts(2, Some(GapReason::Lost)), "it was evicted last");
        append(&mut log, 301, &[true]);
        assert_eq!(start(&log, 101), starts(3, Some(GapReason::Expired)));
    }
}
