//! Frames of one kind.

use std::cmp::Reverse;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::hub::chunked::Chunked;
use crate::hub::frame::Frame;
use crate::hub::offset::Offset;
use crate::hub::topic::{Subscription, TopicHandle};

use super::LogLimits;
use super::index::{Index, Loss, Suspect, remembered_bytes};

/// For how long who follows the log is held what is no longer kept.
pub(super) const LIVE_AGE_NS: u64 = 10_000_000_000;

/// What is newer than an offset.
#[derive(Default)]
struct Newer {
    events: usize,
    bytes: usize,
}

/// Frames of one kind, oldest first.
pub(super) struct Ring {
    /// The offset stands beside the frame so that a search touches no frame.
    pub(super) slots: Chunked<(Offset, Arc<Frame>)>,
    pub(super) bytes: usize,
    pub(super) evicted_through: Offset,
    /// Events of any topic may be missing up to here, though no event stands there.
    pub(super) lost_through: Offset,
    /// All up to here is to be evicted, in parts.
    pub(super) forgotten_through: Offset,
    /// Those that were evicted last, for who follows the log.
    pub(super) passed: Chunked<Arc<Frame>>,
    pub(super) passed_bytes: usize,
    pub(super) gone_through: Offset,
    /// Whoever reads on from before this offset is in danger of being lapped,
    pub(super) halfway: Offset,
    /// and so much is newer.
    newer: Newer,
    pub(super) by_topic: Index,
}

impl Ring {
    pub(super) fn new(limits: LogLimits) -> Ring {
        Ring {
            slots: Chunked::default(),
            bytes: 0,
            evicted_through: Offset::ZERO,
            lost_through: Offset::ZERO,
            forgotten_through: Offset::ZERO,
            passed: Chunked::default(),
            passed_bytes: 0,
            gone_through: Offset::ZERO,
            halfway: Offset::ZERO,
            newer: Newer::default(),
            by_topic: Index::new(remembered_bytes(limits.bytes)),
        }
    }

    /// All up to this offset counts as evicted, whatever its topics.
    pub(super) fn start_after(&mut self, offset: Offset) {
        self.evicted_through = offset;
        self.by_topic.start_after(offset);
    }

    /// An empty one in its place, when this is the newest offset.
    pub(super) fn renewed(&self, limits: LogLimits, newest: Offset) -> Ring {
        let mut ring = Ring::new(limits);
        (ring.gone_through, ring.halfway) = (newest, newest);
        #[cfg(test)]
        (ring.by_topic.forgets_topics = self.by_topic.forgets_topics);
        ring
    }

    /// Where a stream goes on that has lost something.
    pub(super) fn gap_through(&self) -> Offset {
        self.evicted_through.max(self.forgotten_through)
    }

    pub(super) fn push(&mut self, frame: Arc<Frame>) {
        for topic in frame.topics().iter() {
            self.by_topic.push(topic, frame.offset());
        }
        self.bytes += frame.cost_bytes();
        self.newer.events += 1;
        self.newer.bytes += frame.cost_bytes();
        self.slots.push_back((frame.offset(), frame));
    }

    /// Whether the ring is over a bound of its size, or its oldest is too old now.
    pub(super) fn is_over(&self, limits: &LogLimits, now_ns: Option<u64>) -> bool {
        let Some((_, oldest)) = self.slots.front() else { return false };
        let too_old = now_ns.is_some_and(|now_ns| now_ns.saturating_sub(oldest.published_ns()) > limits.age_ns);
        self.slots.len() > limits.events || self.bytes > limits.bytes || too_old
    }

    /// Takes out the oldest. Topics that are forgotten for it go to `forgotten`.
    pub(super) fn pop_oldest(&mut self, forgotten: &mut Vec<TopicHandle>) -> Option<Arc<Frame>> {
        let (offset, frame) = self.slots.pop_front()?;
        self.bytes -= frame.cost_bytes();
        self.evicted_through = offset;
        for topic in frame.topics().iter() {
            self.by_topic.evict(topic, offset, frame.private(), forgotten);
        }
        Some(frame)
    }

    /// Holds one that was evicted for who follows the log.
    pub(super) fn pass_on(&mut self, frame: Arc<Frame>) {
        self.passed_bytes += frame.cost_bytes();
        self.passed.push_back(frame);
    }

    pub(super) fn pop_passed(
        &mut self,
        limits: &LogLimits,
        live_events: usize,
        now_ns: Option<u64>,
    ) -> Option<Arc<Frame>> {
        let oldest = self.passed.front()?;
        let too_old = now_ns.is_some_and(|now_ns| now_ns.saturating_sub(oldest.published_ns()) > LIVE_AGE_NS);
        let (events, bytes) = (self.passed.len() + self.slots.len(), self.passed_bytes + self.bytes);
        if events <= live_events && bytes <= limits.bytes && !too_old {
            return None;
        }
        self.pop_oldest_passed()
    }

    /// Takes out the oldest of those that were evicted.
    pub(super) fn pop_oldest_passed(&mut self) -> Option<Arc<Frame>> {
        let frame = self.passed.pop_front()?;
        self.passed_bytes -= frame.cost_bytes();
        self.gone_through = frame.offset();
        if self.halfway < frame.offset() {
            self.step_halfway(frame.offset(), frame.cost_bytes());
        }
        Some(frame)
    }

    /// Moves `halfway` on to the newest event that is on half of its way out: by size, or by what is kept and what
    /// is held for who follows, both. An event that once was stays so, and each is looked at once; `aged_left` are
    /// those that may be for their age.
    pub(super) fn find_halfway(&mut self, limits: &LogLimits, live_events: usize, now_ns: u64, aged_left: &mut usize) {
        while let Some(next) = self.next_to_halfway() {
            let age_ns = now_ns.saturating_sub(next.published_ns());
            let by_count = |events: usize| self.newer.events >= events.div_ceil(2);
            let is_half = |events: usize, max_ns: u64| by_count(events) || *aged_left > 0 && age_ns >= max_ns / 2;
            let is_half_way = self.newer.bytes >= limits.bytes.div_ceil(2)
                || is_half(limits.events, limits.age_ns) && is_half(live_events, LIVE_AGE_NS);
            if !is_half_way {
                break;
            }
            if !(by_count(limits.events) && by_count(live_events)) {
                *aged_left = aged_left.saturating_sub(1);
            }
            let (offset, bytes) = (next.offset(), next.cost_bytes());
            self.step_halfway(offset, bytes);
        }
    }

    fn next_to_halfway(&self) -> Option<&Arc<Frame>> {
        let at = (self.passed.len() + self.slots.len()).checked_sub(self.newer.events)?;
        self.passed.get(at).or_else(|| self.slots.get(at.checked_sub(self.passed.len())?).map(|(_, frame)| frame))
    }

    fn step_halfway(&mut self, offset: Offset, bytes: usize) {
        self.halfway = offset;
        self.newer.events -= 1;
        self.newer.bytes -= bytes;
    }

    /// The events after an offset, with those that are held for who follows the log.
    pub(super) fn all_after(&self, after: Offset) -> impl Iterator<Item = &Arc<Frame>> {
        let from = self.passed.partition_point(|frame| frame.offset() <= after);
        self.passed.range_from(from).chain(self.after(after))
    }

    /// Whether events of the subscription after this offset have been evicted. It never misses one, and says so of
    /// others' events only where more topics have left the ring than it remembers: see [`Index`].
    pub(super) fn lost_after(&self, after: Offset, subscription: &Subscription, suspects: &mut Vec<Suspect>) -> Loss {
        match after {
            after if after >= self.evicted_through => Loss::None,
            after if after < self.lost_through => Loss::Some,
            after => self.by_topic.lost_after(after, subscription, suspects),
        }
    }

    /// The events after an offset on the topics that the subscription names.
    pub(super) fn named(&self, after: Offset, subscription: &Subscription) -> impl Iterator<Item = &Arc<Frame>> {
        let offsets = Union::of(subscription.topics().iter().filter_map(|topic| self.by_topic.after(topic, after)));
        offsets.map(|offset| self.get(offset).expect("the index names offsets of the ring"))
    }

    pub(super) fn index_after(&self, after: Offset) -> usize {
        self.slots.partition_point(|&(offset, _)| offset <= after)
    }

    pub(super) fn after(&self, after: Offset) -> impl Iterator<Item = &Arc<Frame>> {
        self.slots.range_from(self.index_after(after)).map(|(_, frame)| frame)
    }

    pub(super) fn before(&self, before: Offset) -> impl Iterator<Item = &Arc<Frame>> {
        self.slots.range(0..self.index_after(before.prev())).rev().map(|(_, frame)| frame)
    }

    pub(super) fn get(&self, offset: Offset) -> Option<&Arc<Frame>> {
        // Without live-only events between them, offsets have no holes and the guess is right.
        let guess = usize::try_from(offset.since(self.slots.front()?.0)).ok()?;
        let at = match self.slots.get(guess) {
            Some(&(found, _)) if found == offset => guess,
            _ => self.slots.partition_point(|&(other, _)| other < offset),
        };
        self.slots.get(at).filter(|&&(found, _)| found == offset).map(|(_, frame)| frame)
    }
}

/// The union of rising lists, rising, each offset once. The next one costs by how many lists have it, and not by
/// how many there are.
pub(super) struct Union<I: Iterator<Item = Offset>> {
    lists: SmallVec<[I; 4]>,
    /// The next offset of each list that has one.
    next: BinaryHeap<Reverse<(Offset, usize)>>,
}

impl<I: Iterator<Item = Offset>> Union<I> {
    pub(super) fn of(lists: impl Iterator<Item = I>) -> Union<I> {
        let mut lists: SmallVec<[I; 4]> = lists.collect();
        let next = lists.iter_mut().enumerate().filter_map(|(at, list)| Some(Reverse((list.next()?, at))));
        Union { next: next.collect(), lists }
    }
}

impl<I: Iterator<Item = Offset>> Iterator for Union<I> {
    type Item = Offset;

    fn next(&mut self) -> Option<Offset> {
        let &Reverse((offset, _)) = self.next.peek()?;
        while let Some(mut top) = self.next.peek_mut().filter(|top| top.0.0 == offset) {
            match self.lists[top.0.1].next() {
                Some(next) => top.0.0 = next,
                None => drop(PeekMut::pop(top)),
            }
        }
        Some(offset)
    }
}
