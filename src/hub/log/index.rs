//! Which of a ring's events are on which topic, and how far each topic's events have left the ring.
//!
//! That is known exactly of all topics that the ring has events of, and of those that it had events of last, in bounded
//! memory. Any other topic, which nothing was evicted of for longer, may have lost what the one did that was forgotten last.
//! Public and private events are known apart: what a stream may not have it does not miss.

use std::collections::{BTreeSet, Bound};

use crate::hub::chunked::Chunked;
use crate::hub::effort::Effort;
use crate::hub::offset::Offset;
use crate::hub::paged::Paged;
use crate::hub::topic::{Subscription, TopicHandle};

use super::EXAMINED_MAX;

/// The memory that a topic takes without its text: here, as a handle, and in the table of topics.
const TOPIC_BYTES: usize = 256;

/// What topics may take at least of which nothing is kept any more: some 4,000 of them.
const REMEMBERED_BYTES_MIN: usize = 1 << 20;

/// How much memory topics may take, for each kind of events, of which none is kept any more, where events may take so much.
pub fn remembered_bytes(bytes: usize) -> usize {
    (bytes / 4).max(REMEMBERED_BYTES_MIN)
}

/// The offsets of a ring's events by topic.
pub(super) struct Index {
    topics: Paged<Entry>,
    /// The topics of which something was evicted, by the newest offset of that, with their numbers: public events, and
    /// private ones.
    evicted: [BTreeSet<(Offset, u32)>; 2],
    /// Of a topic that is not there, events may have been evicted up to here.
    forgotten_through: [Offset; 2],
    /// What topics take of which nothing is left,
    remembered_bytes: usize,
    /// at most.
    remembered_bytes_max: usize,
    /// A fault of former times: what is evicted counts as evicted of all topics.
    #[cfg(test)]
    pub(super) forgets_topics: bool,
}

struct Entry {
    // It holds the number as long as the entry is there.
    topic: TopicHandle,
    offsets: Chunked<Offset>,
    /// Public events, and private ones.
    evicted_through: [Offset; 2],
}

/// Whether events of a subscription have been evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Some have.
    Some,
    /// None has.
    None,
    /// None has up to this offset; what is evicted beyond it has not been looked at.
    NoneThrough(Offset),
}

/// A topic of which public events or private ones were evicted, up to here: it may be one of a subscription's.
pub(super) struct Suspect {
    pub(super) evicted_through: Offset,
    topic: TopicHandle,
    private: bool,
}

/// Whether any of these, of rising offsets, is the subscription's. It needs no lock. It goes on until enough is done, and
/// to the next event: one at least.
pub(super) fn search(suspects: &[Suspect], subscription: &Subscription, effort: &mut Effort) -> Loss {
    for of_one_event in suspects.chunk_by(|one, next| one.evicted_through == next.evicted_through) {
        let takes = |one: &Suspect, effort: &mut Effort| {
            subscription.takes(std::slice::from_ref(&one.topic), one.private, effort)
        };
        if of_one_event.iter().any(|one| takes(one, effort)) {
            return Loss::Some;
        }
        if effort.is_spent() {
            return Loss::NoneThrough(of_one_event[0].evicted_through);
        }
    }
    Loss::None
}

/// What is evicted beyond this has not been looked at, of either kind.
fn whole_through(through: Offset, suspects: &mut Vec<Suspect>) -> Loss {
    suspects.retain(|one| one.evicted_through <= through);
    Loss::NoneThrough(through)
}

/// What a topic takes of which nothing is left.
fn bytes_of(topic: &TopicHandle) -> usize {
    TOPIC_BYTES + topic.as_str().len()
}

impl Index {
    /// An index that spends so much memory on topics of which nothing is left.
    pub(super) fn new(remembered_bytes_max: usize) -> Index {
        Index {
            topics: Paged::default(),
            evicted: Default::default(),
            forgotten_through: [Offset::ZERO; 2],
            remembered_bytes: 0,
            remembered_bytes_max,
            #[cfg(test)]
            forgets_topics: false,
        }
    }

    /// Events of any topic may have been evicted up to here.
    pub(super) fn start_after(&mut self, offset: Offset) {
        self.forgotten_through = [offset; 2];
    }

    /// Enters an event's offset, the newest so far.
    pub(super) fn push(&mut self, topic: &TopicHandle, offset: Offset) {
        if let Some(entry) = self.topics.get_mut(topic.number()) {
            if entry.offsets.is_empty() {
                self.remembered_bytes -= bytes_of(topic);
            }
            return entry.offsets.push_back(offset);
        }
        let evicted_through = self.forgotten_through;
        let new = || Entry { topic: topic.clone(), offsets: Chunked::default(), evicted_through };
        self.topics.get_or_insert_with(topic.number(), new).offsets.push_back(offset);
    }

    /// Takes out a topic's oldest offset: that of the event that is evicted now. Topics that are forgotten for it go to
    /// `forgotten`.
    pub(super) fn evict(
        &mut self,
        topic: &TopicHandle,
        offset: Offset,
        private: bool,
        forgotten: &mut Vec<TopicHandle>,
    ) {
        let (number, kind) = (topic.number(), usize::from(private));
        let entry = self.topics.get_mut(number).expect("the index has each topic of the ring");
        let oldest = entry.offsets.pop_front();
        debug_assert_eq!(oldest, Some(offset), "a topic's events leave in order");
        self.evicted[kind].remove(&(entry.evicted_through[kind], number));
        self.evicted[kind].insert((offset, number));
        entry.evicted_through[kind] = offset;
        if entry.offsets.is_empty() {
            entry.offsets = Chunked::default();
            self.remembered_bytes += bytes_of(topic);
        }
        // Each goes at most once for each time that it was entered.
        while self.remembered_bytes > self.remembered_bytes_max {
            let oldest = [0, 1].into_iter().filter(|kind| !self.evicted[*kind].is_empty());
            let Some(kind) = oldest.min_by_key(|kind| self.evicted[*kind].first().copied()) else { return };
            let Some((offset, number)) = self.evicted[kind].pop_first() else { return };
            self.forgotten_through[kind] = self.forgotten_through[kind].max(offset);
            if self.topics.get(number).is_some_and(|entry| entry.offsets.is_empty())
                && let Some(entry) = self.topics.remove(number)
            {
                let other = 1 - kind;
                if self.evicted[other].remove(&(entry.evicted_through[other], number)) {
                    self.forgotten_through[other] = self.forgotten_through[other].max(entry.evicted_through[other]);
                }
                self.remembered_bytes -= bytes_of(&entry.topic);
                forgotten.push(entry.topic);
            }
        }
    }

    /// The offsets of a topic's events after this one.
    pub(super) fn after(&self, topic: &TopicHandle, after: Offset) -> Option<impl Iterator<Item = Offset>> {
        let offsets = &self.topics.get(topic.number())?.offsets;
        let from = offsets.partition_point(|&offset| offset <= after);
        Some(offsets.range_from(from).copied())
    }

    /// Whether events that the subscription takes have been evicted after this offset. For one with patterns, that holds
    /// if it takes none of the topics that go to `suspects`, a bounded number.
    pub(super) fn lost_after(&self, after: Offset, subscription: &Subscription, suspects: &mut Vec<Suspect>) -> Loss {
        #[cfg(test)]
        if self.forgets_topics {
            let newest = self.evicted[0].last().map_or(self.forgotten_through[0], |&(offset, _)| offset);
            return if after < newest { Loss::Some } else { Loss::None };
        }
        let public = self.lost_of(after, subscription, false, suspects);
        let of_public = suspects.len();
        let private = self.lost_of(after, subscription, true, suspects);
        if suspects.len() > of_public && of_public > 0 {
            suspects.sort_by_key(|one| one.evicted_through);
        }
        match (public, private) {
            (Loss::Some, _) | (_, Loss::Some) => Loss::Some,
            (Loss::None, Loss::None) => Loss::None,
            (Loss::NoneThrough(one), Loss::NoneThrough(other)) => whole_through(one.min(other), suspects),
            (Loss::NoneThrough(one), Loss::None) | (Loss::None, Loss::NoneThrough(one)) => whole_through(one, suspects),
        }
    }

    fn lost_of(&self, after: Offset, subscription: &Subscription, private: bool, suspects: &mut Vec<Suspect>) -> Loss {
        if subscription.sees_all(private) == Some(false) {
            return Loss::None;
        }
        let (kind, forgotten_through) = (usize::from(private), self.forgotten_through[usize::from(private)]);
        let evicted_through = |topic: &TopicHandle| {
            self.topics.get(topic.number()).map_or(forgotten_through, |entry| entry.evicted_through[kind])
        };
        let lost = |topic: &TopicHandle| evicted_through(topic) > after && subscription.sees(topic, private);
        if subscription.topics().iter().any(lost) {
            return Loss::Some;
        }
        if subscription.patterns().is_empty() {
            return Loss::None;
        }
        if after < forgotten_through {
            return Loss::Some;
        }
        let newer = self.evicted[kind].range((Bound::Excluded((after, u32::MAX)), Bound::Unbounded));
        let mut last = after;
        for (examined, &(offset, number)) in newer.enumerate() {
            // The topics of one event together.
            if examined >= EXAMINED_MAX && offset > last {
                return Loss::NoneThrough(last);
            }
            last = offset;
            let entry = self.topics.get(number).expect("a topic is there as long as it is named here");
            suspects.push(Suspect { evicted_through: offset, topic: entry.topic.clone(), private });
        }
        Loss::None
    }

    /// How many events there are of a topic.
    #[cfg(test)]
    pub(super) fn events(&self, topic: &TopicHandle) -> usize {
        self.topics.get(topic.number()).map_or(0, |entry| entry.offsets.len())
    }

    /// How many topics there are, and of how many nothing is left.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        let entries = (0..u32::from(u16::MAX)).filter_map(|number| self.topics.get(number));
        (self.topics.len(), entries.filter(|entry| entry.offsets.is_empty()).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::topics::TopicTable;
    use crate::hub::topic::{Pattern, TOPICS_MAX};

    /// An event of each topic in turn, of which no more than this many are left.
    fn turns(index: &mut Index, topics: &[TopicHandle], events: usize, kept: usize) -> Vec<TopicHandle> {
        let mut forgotten = Vec::new();
        let offset = |at: usize| Offset::new(at as u64 + 1);
        for at in 0..events {
            index.push(&topics[at % topics.len()], offset(at));
            if let Some(at) = at.checked_sub(kept) {
                index.evict(&topics[at % topics.len()], offset(at), false, &mut forgotten);
            }
        }
        forgotten
    }

    fn find_loss(index: &Index, after: u64, subscription: &Subscription) -> Loss {
        let mut suspects = Vec::new();
        let loss = index.lost_after(Offset::new(after), subscription, &mut suspects);
        assert!(suspects.len() <= EXAMINED_MAX + TOPICS_MAX, "what one lock is held for");
        match search(&suspects, subscription, &mut Effort::unbounded()) {
            Loss::None => loss,
            of_suspects => of_suspects,
        }
    }

    #[test]
    fn topics_of_which_nothing_is_left_are_remembered_in_bounded_memory_the_newest() {
        let table = TopicTable::default();
        let topics: Vec<_> = (0..9).map(|n| table.named(&format!("{n}")).unwrap()).collect();
        let mut index = Index::new(3 * (TOPIC_BYTES + 1));
        let forgotten = turns(&mut index, &topics, 9, 1);
        assert_eq!((forgotten, index.len()), (topics[..5].to_vec(), (4, 3)));
        let lost =
            |topic: &TopicHandle, after| find_loss(&index, after, &Subscription::to(topic.clone())) == Loss::Some;
        // 6, 7 and 8 are known exactly, and so is what is still there.
        for (at, topic) in topics.iter().enumerate().take(8).skip(5) {
            assert!(lost(topic, at as u64) && !lost(topic, at as u64 + 1), "{at}");
        }
        // Of all others no more is known than that it may be what was forgotten last.
        let never = table.named("never").unwrap();
        for topic in [&topics[0], &topics[4], &never] {
            assert!(lost(topic, 4) && !lost(topic, 5), "{topic:?}");
        }
        let pattern = |text: &str| Subscription::new(vec![], vec![Pattern::parse(text).unwrap()], &table).unwrap();
        assert_eq!(find_loss(&index, 4, &pattern("x/*")), Loss::Some);
        assert_eq!(find_loss(&index, 5, &pattern("x/*")), Loss::None);
    }

    #[test]
    fn who_may_not_have_private_events_does_not_miss_them() {
        let table = TopicTable::default();
        let topics: Vec<_> = (0..9).map(|n| table.named(&format!("t/{n}")).unwrap()).collect();
        let mut index = Index::new(3 * (TOPIC_BYTES + 3));
        let mut forgotten = Vec::new();
        // A public event of each, then a private one of each; all but the newest four topics are forgotten.
        for (at, topic) in topics.iter().chain(&topics).enumerate() {
            index.push(topic, Offset::new(at as u64 + 1));
        }
        for (at, topic) in topics.iter().chain(&topics).enumerate() {
            index.evict(topic, Offset::new(at as u64 + 1), at >= 9, &mut forgotten);
        }
        assert!(forgotten.len() >= 5, "{forgotten:?}");
        let lost = |after: u64, subscription: &Subscription| find_loss(&index, after, subscription) != Loss::None;
        let all = Subscription::new(vec![], vec![Pattern::parse("t/*").unwrap()], &table).unwrap();
        assert!(lost(8, &all) && !lost(9, &all), "the last public event was at 9");
        assert!(lost(17, &all.with_private()) && !lost(18, &all.with_private()));
        let one = Subscription::to(topics[8].clone());
        assert!(lost(8, &one) && !lost(9, &one));
        assert!(lost(17, &one.with_private()) && !lost(18, &one.with_private()));
    }

    #[test]
    fn a_topic_of_which_nothing_is_left_takes_no_more_than_is_counted() {
        const TOPICS: usize = 10_000;
        let mut index = Index::new(usize::MAX);
        let info = allocation_counter::measure(|| {
            let table = TopicTable::default();
            let topics: Vec<_> = (0..TOPICS).map(|n| table.named(&format!("a/topic/{n}")).unwrap()).collect();
            turns(&mut index, &topics, TOPICS + 1, 1);
        });
        assert_eq!(index.len().1, TOPICS - 1);
        let (bytes, counted) = (info.bytes_current as usize, index.remembered_bytes);
        assert!(bytes <= counted && counted <= 2 * bytes, "{bytes} bytes, {counted} are counted");
    }

    #[test]
    fn a_topic_that_comes_back_takes_nothing_from_those_that_are_remembered() {
        let table = TopicTable::default();
        let topics: Vec<_> = (0..4).map(|n| table.named(&format!("{n}")).unwrap()).collect();
        let mut index = Index::new(3 * (TOPIC_BYTES + 1));
        assert_eq!(turns(&mut index, &topics, 1000, 1), []);
        assert_eq!((index.len(), index.remembered_bytes), ((4, 3), 3 * (TOPIC_BYTES + 1)));
    }

    #[test]
    fn a_search_for_a_loss_of_patterns_goes_in_parts_and_ends_between_two_events() {
        let table = TopicTable::default();
        let part = EXAMINED_MAX;
        let topics: Vec<_> = (0..3 * part).map(|n| table.named(&format!("t/{n}")).unwrap()).collect();
        let mut index = Index::new(1 << 20);
        turns(&mut index, &topics, 3 * part + 1, 1);
        let mine = |text: &str| Subscription::new(vec![], vec![Pattern::parse(text).unwrap()], &table).unwrap();
        let part = part as u64;
        let lost = |after: u64, text: &str| find_loss(&index, after, &mine(text));
        assert_eq!(lost(0, "u/*"), Loss::NoneThrough(Offset::new(part)));
        assert_eq!(lost(part, "u/*"), Loss::NoneThrough(Offset::new(2 * part)));
        assert_eq!(lost(2 * part, "u/*"), Loss::None);
        assert_eq!((lost(0, "*/0"), lost(1, "*/0")), (Loss::Some, Loss::NoneThrough(Offset::new(part + 1))));
        // One that may do little does a part of that, of an event each.
        let mut suspects = Vec::new();
        index.lost_after(Offset::ZERO, &mine("u/*"), &mut suspects);
        let found = search(&suspects, &mine("u/*"), &mut Effort::new(0));
        assert_eq!(found, Loss::NoneThrough(Offset::new(1)));
    }
}
