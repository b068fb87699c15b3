//! The numbers in ids. A log's own offsets say nothing to another process; where an engine keeps the
//! events, ids hold the engine's numbers, which do.

use crate::hub::archive::Reach;
use crate::hub::chunked::Chunked;
use crate::hub::gap::GapReason;
use crate::hub::id::{Epoch, Parsed};
use crate::hub::offset::Offset;

use super::{Evicted, Log};

/// Which numbers the kept events of a call have in their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Their offsets in the log.
    Own,
    /// This one and those that follow it, in their order.
    From(u64),
}

/// What a log knows of its engine's numbers.
pub(super) struct EngineNumbers {
    /// The number of the newest kept event.
    newest: u64,
    /// Of the kept events and breaks that were evicted last, where they stood and their numbers, oldest first: at least
    /// one, before which nothing was.
    evicted: Chunked<(Offset, u64)>,
    /// Where events are missing, oldest first.
    breaks: Vec<Break>,
    /// Where the engine's events became others: whoever is before it is told that, however long ago it was.
    anew: Option<Break>,
}

/// A place in the log where events are missing that no stream before it may pass untold. It takes an offset, at
/// which no event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Break {
    pub(super) at: Offset,
    /// The last number that is missing.
    last: u64,
    pub(super) reason: GapReason,
}

/// Of so many events that were evicted it is remembered where they stood.
const REMEMBERED_NUMBERS: usize = 1 << 16;
/// What that takes.
pub const REMEMBERED_NUMBERS_BYTES: usize = REMEMBERED_NUMBERS * size_of::<(Offset, u64)>();

/// As many breaks are told apart. More are taken together: who is before them is told later, but is told.
const BREAKS_MAX: usize = 1024;

impl EngineNumbers {
    /// This number, and all before it, stand before this offset or at it.
    fn starting_at(offset: Offset, number: u64) -> EngineNumbers {
        let mut evicted = Chunked::default();
        evicted.push_back((offset, number));
        EngineNumbers { newest: number, evicted, breaks: Vec::new(), anew: None }
    }

    /// The number that was evicted last.
    fn evicted(&self) -> u64 {
        self.evicted.len().checked_sub(1).map_or(0, |last| self.evicted[last].1)
    }

    /// The number of an offset of which nothing is left: 0 if it is not known any more.
    fn number(&self, offset: Offset) -> u64 {
        let after = self.evicted.partition_point(|&(at, _)| at <= offset);
        after.checked_sub(1).map_or(0, |at| self.evicted[at].1)
    }

    /// Where a number stood of which nothing is left: [`Offset::ZERO`] if that is not known any more.
    fn offset(&self, number: u64) -> Offset {
        let after = self.evicted.partition_point(|&(_, other)| other <= number);
        after.checked_sub(1).map_or(Offset::ZERO, |at| self.evicted[at].0)
    }
    pub(super) fn push(&mut self, number: u64) {
        debug_assert!(number > self.newest, "an engine's numbers rise");
        self.newest = number;
    }

    /// The event with this number has been evicted. Says which break has gone with it, if one has.
    pub(super) fn evict(&mut self, number: u64, offset: Offset) -> Option<Offset> {
        let passed = self.breaks.partition_point(|broken| broken.at < offset);
        let mut broken_at = None;
        for Break { at, last, .. } in self.breaks.drain(..passed) {
            self.evicted.push_back((at, last));
            broken_at = Some(at);
        }
        self.evicted.push_back((offset, number));
        while self.evicted.len() > REMEMBERED_NUMBERS {
            self.evicted.pop_front();
        }
        broken_at
    }

    fn add(&mut self, broken: Break) {
        self.newest = broken.last;
        if self.breaks.len() == BREAKS_MAX {
            self.breaks.remove(0);
        }
        self.breaks.push(broken);
    }
}

/// Where an id's number stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Beyond the newest.
    Ahead,
    /// At this offset.
    At(Offset),
}

impl Log {
    /// The same, but it is filled by an engine whose events up to this number, and with it, are not to
    /// come: they count as evicted. Its head is the offset after [`Offset::ZERO`] then.
    pub fn starting_after(mut self, number: Option<u64>) -> Log {
        if number.is_some() {
            self.head = self.head.next();
            self.kept.start_after(self.head);
        }
        self.numbers = Some(EngineNumbers::starting_at(self.head, number.unwrap_or(0)));
        self
    }

    /// The engine has lost its events up to this number, after the newest that is here: whoever reads on is told.
    pub fn lose(&mut self, last: u64) {
        self.head = self.head.next();
        let broken = Break { at: self.head, last, reason: GapReason::Lost };
        if let Some(numbers) = &mut self.numbers {
            numbers.add(broken);
        }
    }

    /// The engine's events up to this number are gone: as if their retention had ended. Evicts at most `max` of them,
    /// and says whether there are more. Whoever has lost one is told of all.
    pub fn forget(&mut self, through: u64, max: usize, evicted: &mut Evicted) -> bool {
        let gone = self.kept.slots.partition_point(|(_, frame)| frame.number() <= through);
        if let Some(last) = gone.checked_sub(1) {
            self.kept.forgotten_through = self.kept.slots[last].0;
        }
        (0..gone.min(max)).for_each(|_| self.evict_oldest(evicted));
        while let Some(frame) = self.kept.pop_passed(&self.limits, self.live_events, None) {
            evicted.frames.push(frame);
        }
        gone > max
    }

    /// The engine's events are others from now on, in an epoch of their own, and those up to this number are not to
    /// come. Nothing is kept of what was before, and whoever reads on is told.
    pub fn restart(&mut self, epoch: Epoch, number: Option<u64>, evicted: &mut Evicted) {
        let kept = self.kept.renewed(self.limits, self.head);
        evicted.replaced.push((std::mem::replace(&mut self.kept, kept), std::mem::take(&mut self.own_ids)));
        self.epoch = epoch;
        self.head = self.head.next();
        self.kept.start_after(self.head);
        let last = number.unwrap_or(0);
        let anew = Some(Break { at: self.head, last, reason: GapReason::ForeignEpoch });
        self.numbers = Some(EngineNumbers { anew, ..EngineNumbers::starting_at(self.head, last) });
    }

    /// The first break after an offset.
    pub(super) fn break_after(&self, after: Offset) -> Option<Break> {
        let EngineNumbers { breaks, anew, .. } = self.numbers.as_ref()?;
        if let Some(anew) = anew.filter(|anew| after < anew.at) {
            return Some(anew);
        }
        breaks.get(breaks.partition_point(|broken| broken.at <= after)).copied()
    }

    /// Whether an id is of this epoch, and of no event so far.
    pub fn is_ahead(&self, id: &str) -> bool {
        let is_beyond = |number| self.find(number) == Found::Ahead;
        matches!(self.epoch.parse(id), Parsed::Here(number) if is_beyond(number)) && !self.own_ids.has(id)
    }

    /// The number of an offset: that of the newest kept event at it or before it, or the last that is lost there.
    pub(super) fn number(&self, offset: Offset) -> u64 {
        let Some(numbers) = &self.numbers else { return offset.get() };
        let kept = match self.kept.index_after(offset).checked_sub(1) {
            Some(at) => self.kept.slots[at].1.number(),
            None => numbers.number(offset),
        };
        let breaks = &numbers.breaks;
        let before = breaks.partition_point(|broken| broken.at <= offset);
        before.checked_sub(1).map_or(kept, |at| kept.max(breaks[at].last))
    }

    /// As [`Pages::reach`](crate::hub::archive::Pages::reach).
    pub fn reach(&self, number: u64) -> Reach {
        let evicted = self.numbers.as_ref().map_or(self.kept.evicted_through.get(), EngineNumbers::evicted);
        if number < evicted {
            return Reach::Before { newest: evicted, offset: self.kept.evicted_through };
        }
        Reach::Here { offset: if let Found::At(offset) = self.find(number) { offset } else { self.head } }
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
            None => numbers.offset(number),
        };
        let breaks = &numbers.breaks;
        let told = breaks.partition_point(|broken| broken.last <= number);
        Found::At(told.checked_sub(1).map_or(offset, |at| offset.max(breaks[at].at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::effort::Effort;
    use crate::hub::event::Event;
    use crate::hub::frame::Draft;
    use crate::hub::gap::GapReason;
    use crate::hub::id::Epoch;
    use crate::hub::log::{Evicted, LogLimits, Read, Resume, Start, Window};
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
        Start { gap, ..Start::after(Offset::new(after)) }
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
    fn an_id_stays_what_it_was_when_others_events_have_left_the_log() {
        let mut log = log(3, None);
        let to = |topic| Subscription::new(vec![Topic::parse(topic).unwrap()], Vec::new(), &table()).unwrap();
        let one = |log: &mut Log, topic, number| {
            let draft = Draft::encode(Topics::one(handle(topic)), &Event::new("x"), Epoch::new(1)).unwrap();
            log.append([draft], Numbering::From(number), 0, &mut Evicted::default());
        };
        one(&mut log, "quiet", 10);
        one(&mut log, "quiet", 20);
        log.lose(25);
        (1..=9).for_each(|n| one(&mut log, "t", 20 + 10 * n));
        // 1 and 2, a break at 3, and nine, of which three are left.
        let ids: Vec<_> = (0..=12).map(|offset| log.number(Offset::new(offset))).collect();
        assert_eq!(ids, [0, 10, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100, 110]);
        let start = |topic, number| log.start(&Resume::After(Epoch::new(1).id(number).as_str().into()), &to(topic));
        // What the first event was followed by is gone; after the break nothing of its topic was.
        assert_eq!(start("quiet", 10), starts(9, Some(GapReason::Expired)));
        assert_eq!(start("quiet", 20), starts(9, Some(GapReason::Expired)), "it is told of the break");
        assert_eq!((start("quiet", 25), start("quiet", 60)), (starts(3, None), starts(7, None)));
        assert_eq!((start("t", 70), start("t", 80)), (starts(9, Some(GapReason::Expired)), starts(9, None)));
    }

    #[test]
    fn a_break_that_was_evicted_is_told_to_who_follows_the_log_and_to_who_comes_from_another_epoch() {
        let mut log = log(1, None).with_live_events(9);
        append(&mut log, 1, &[true]);
        log.lose(5);
        append(&mut log, 6, &[true, true]);
        let tail = |log: &Log, after| log.tail(Offset::new(after), 9, &mut Vec::new());
        // 1, the break at 2, 3 and 4: of these only 4 is kept, and the others are held for who follows.
        assert_eq!([0, 1, 2, 3].map(|after| tail(&log, after)), [None, None, Some(log.head()), Some(log.head())]);
        log.restart(Epoch::new(2), None, &mut Evicted::default());
        append(&mut log, 1, &[true, true, true]);
        assert_eq!([4, 5].map(|after| tail(&log, after)), [None, Some(log.head())]);
        // Even to who wants no more than what was before it.
        let subscription = Subscription::to(handle("t"));
        for through in [4, 8].map(Offset::new) {
            let window =
                Window { subscription: &subscription, after: Offset::new(3), through, opened_at: Offset::ZERO };
            let told = Read::Broken { at: Offset::new(5), reason: GapReason::ForeignEpoch };
            assert_eq!(log.read(&window, 9, &mut Vec::new(), &mut Effort::unbounded()), told);
        }
    }

    #[test]
    fn where_evicted_events_stood_is_remembered_of_so_many() {
        let mut log = log(1, Some(7));
        for first in (0..REMEMBERED_NUMBERS as u64 + 1000).step_by(1000) {
            append(&mut log, first + 1000, &[true; 1000]);
        }
        let evicted = log.numbers.as_ref().unwrap().evicted.len();
        assert_eq!(evicted, REMEMBERED_NUMBERS);
        let head = log.head().get();
        let oldest = head - evicted as u64;
        assert_eq!(
            [oldest, oldest - 1].map(|offset| log.number(Offset::new(offset))),
            [log.number(log.head()) - evicted as u64, 0]
        );
    }

    /// What a stream from the start to the head reads, step by step: offsets, or where a break stands.
    fn reads(log: &Log, after: u64) -> Vec<(u64, Option<GapReason>)> {
        let topics = vec![Topic::parse("t").unwrap()];
        let subscription = Subscription::new(topics, Vec::new(), &table()).unwrap();
        let (mut after, through, mut steps) = (Offset::new(after), log.head(), Vec::new());
        while after < through {
            let window = Window { subscription: &subscription, after, through, opened_at: Offset::ZERO };
            let mut frames = Vec::new();
            after = match log.read(&window, usize::MAX, &mut frames, &mut Effort::unbounded()) {
                Read::Through(through) => {
                    steps.extend(frames.iter().map(|frame| (frame.offset().get(), None)));
                    through
                }
                Read::Broken { at, reason } => {
                    steps.push((at.get(), Some(reason)));
                    at
                }
                Read::Lost { .. } => panic!("{steps:?}"),
            };
        }
        steps
    }

    #[test]
    fn who_begins_after_a_hole_has_lost_nothing() {
        let mut log = log(3, None);
        append(&mut log, 100, &[true, true]);
        log.lose(199);
        log.lose(299);
        // A mark at the head, and before the holes.
        assert_eq!([1, 2, 3, 4].map(|offset| log.number(Offset::new(offset))), [100, 101, 199, 299]);
        assert_eq!([101, 199, 299].map(|number| start(&log, number)), [2, 3, 4].map(|after| starts(after, None)));
        append(&mut log, 300, &[false, true]);
        assert_eq!([5, 6].map(|offset| log.number(Offset::new(offset))), [299, 300]);
        assert_eq!(start(&log, 299), starts(4, None));
        // The events around the hole leave the log, and it with them.
        append(&mut log, 301, &[true, true]);
        assert_eq!((log.number(Offset::new(5)), start(&log, 299)), (299, starts(4, None)));
        append(&mut log, 303, &[true]);
        assert_eq!(start(&log, 299), starts(6, Some(GapReason::Expired)));
        assert_eq!(start(&log, 300), starts(6, None));
    }

    #[test]
    fn what_an_engine_lost_is_told_where_it_is_missing() {
        let mut log = log(4, None);
        let lost = Some(GapReason::Lost);
        append(&mut log, 100, &[true, true]);
        assert!(log.tail(Offset::new(2), 9, &mut Vec::new()).is_some());
        log.lose(199);
        append(&mut log, 200, &[true]);
        assert_eq!(reads(&log, 0), [(1, None), (2, None), (3, lost), (4, None)]);
        // An id that was given to an event which is lost.
        assert_eq!((start(&log, 100), start(&log, 150)), (starts(1, None), starts(2, None)));
        assert_eq!((reads(&log, 2), reads(&log, 3)), (vec![(3, lost), (4, None)], vec![(4, None)]));
        // A pass does not step over it.
        let tail = |after| log.tail(Offset::new(after), 9, &mut Vec::new());
        assert_eq!([tail(2), tail(3)], [None, Some(Offset::new(4))]);
    }

    #[test]
    fn a_hole_that_leaves_the_log_is_expired_for_all_topics() {
        let mut log = log(1, None);
        append(&mut log, 100, &[true]);
        log.lose(199);
        append(&mut log, 200, &[true, true]);
        let quiet = Subscription::new(vec![Topic::parse("quiet").unwrap()], Vec::new(), &table()).unwrap();
        let resume = Resume::After(Epoch::new(1).id(100).as_str().into());
        assert_eq!(log.start(&resume, &quiet), starts(3, Some(GapReason::Expired)));
    }

    #[test]
    fn more_holes_than_are_told_apart_are_told_all_the_same() {
        let mut log = log(4, None);
        append(&mut log, 1, &[true]);
        (0..2000).for_each(|n| log.lose(10 + n));
        let steps = reads(&log, 1);
        assert_eq!(steps.len(), BREAKS_MAX);
        assert_eq!(steps.last(), Some(&(2001, Some(GapReason::Lost))));
        assert_eq!(start(&log, 1), starts(1, None));
    }

    #[test]
    fn another_epoch_is_told_to_whoever_was_before_it() {
        let (mut log, mut evicted) = (log(4, None), Evicted::default());
        append(&mut log, 100, &[true, true]);
        log.restart(Epoch::new(2), Some(50), &mut evicted);
        assert_eq!((evicted.replaced[0].0.slots.len(), log.events()), (2, 0));
        assert_eq!(log.id(log.head()), Epoch::new(2).id(50));
        append(&mut log, 60, &[true]);
        let foreign = Some(GapReason::ForeignEpoch);
        assert_eq!(reads(&log, 0), [(3, foreign), (4, None)]);
        assert_eq!(reads(&log, 1), reads(&log, 0));
        assert_eq!(log.tail(Offset::new(2), 9, &mut Vec::new()), None);
        assert_eq!(start(&log, 100), starts(3, foreign));
        let of_new = |number| Resume::After(Epoch::new(2).id(number).as_str().into());
        let subscription = Subscription::new(vec![Topic::parse("t").unwrap()], Vec::new(), &table()).unwrap();
        assert_eq!(log.start(&of_new(50), &subscription), starts(3, None));
        assert_eq!(log.start(&of_new(60), &subscription), starts(4, None));
        assert_eq!(log.start(&of_new(49), &subscription), starts(3, Some(GapReason::Expired)));
        assert!(!log.forget(60, 9, &mut evicted));
        assert_eq!((log.kept.slots.len(), log.start(&Resume::Earliest, &subscription)), (0, starts(4, None)));
    }

    #[test]
    fn who_reads_while_events_are_forgotten_is_told_once() {
        let mut log = log(1000, None);
        append(&mut log, 1, &[true; 100]);
        let to = |topic| Subscription::new(vec![Topic::parse(topic).unwrap()], Vec::new(), &table()).unwrap();
        let (mine, quiet) = (to("t"), to("quiet"));
        let read = |log: &Log, subscription: &Subscription, after| {
            let (after, through) = (Offset::new(after), log.head());
            let window = Window { subscription, after, through, opened_at: Offset::ZERO };
            let mut frames = Vec::new();
            (log.read(&window, 1, &mut frames, &mut Effort::unbounded()), frames.len())
        };
        let through = |offset| Read::Through(Offset::new(offset));
        let mut evicted = Evicted::default();
        let lost = |kept| Read::Lost { kept_through: Offset::new(kept), live_through: Offset::ZERO };
        let earliest = |log: &Log| log.start(&Resume::Earliest, &mine);
        // Four parts. Whoever reads meanwhile gets what is there, and is told of all that is going when it misses one.
        for (part, more) in [(1, true), (2, true), (3, true), (4, false)] {
            assert_eq!(log.forget(80, 20, &mut evicted), more);
            let gone = 20 * part;
            assert_eq!((log.kept.slots.len() as u64, evicted.frames.len() as u64), (100 - gone, gone));
            assert_eq!((read(&log, &mine, gone - 1), read(&log, &mine, gone)), ((lost(80), 0), (through(gone + 1), 1)));
            assert_eq!((read(&log, &mine, 80), earliest(&log)), ((through(81), 1), starts(80, None)));
            assert_eq!(start(&log, 1), starts(80, Some(GapReason::Expired)));
            assert_eq!(read(&log, &quiet, 0), (through(100), 0));
        }
    }

    #[test]
    fn another_epoch_costs_the_same_however_much_there_was() {
        let mut log = log(20_000, None);
        append(&mut log, 1, &[true; 10_000]);
        let mut evicted = Evicted::default();
        let info = allocation_counter::measure(|| log.restart(Epoch::new(2), Some(50), &mut evicted));
        assert!(info.bytes_total <= 4096, "{} bytes", info.bytes_total);
        assert_eq!((log.events(), log.tail(log.head(), 9, &mut Vec::new())), (0, Some(log.head())));
        let frees = allocation_counter::measure(|| drop(evicted));
        assert!(frees.count_current <= -10_000, "{}", frees.count_current);
    }
}
