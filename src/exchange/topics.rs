//! The table of all topics that anything in this process names: events in the log, streams, settings.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use dashmap::Entry;

use crate::hub::fault::TopicError;
use crate::hub::topic::{Numbers, Release, Topic, TopicHandle, WeakTopic};

use super::sync::{DashMap, Mutex};

/// Gives topics their numbers, and takes a number back when nothing names its topic any more.
#[derive(Clone, Default)]
pub struct TopicTable(Arc<Shared>);

struct Shared {
    // dashmap: publishers and acceptors look up on every core. A guard lives within one function here,
    // and no handle is dropped under one: that would come back for the same shard of the map.
    by_text: DashMap<Topic, WeakTopic>,
    free: Mutex<FreeNumbers>,
}

/// In how many parts the table is. One that grows or shrinks is moved as a whole under its lock: with a million topics,
/// 4,000 of them.
const PARTS: usize = 256;

impl Default for Shared {
    fn default() -> Shared {
        Shared { by_text: DashMap::with_shard_amount(PARTS), free: Mutex::default() }
    }
}

/// After so many topics that are gone, and twice as many as are left, memory is given back.
const RELEASES_MIN: usize = 10_000;

/// The numbers that are free: the smallest goes first, so that tables by number stay short.
#[derive(Default)]
struct FreeNumbers {
    given_back: BinaryHeap<Reverse<u32>>,
    next: u32,
    /// How many were given back since memory was.
    releases: usize,
}

impl FreeNumbers {
    fn take(&mut self) -> u32 {
        if let Some(Reverse(number)) = self.given_back.pop() {
            return number;
        }
        self.next += 1;
        self.next - 1
    }

    /// Says whether so many have been given back that memory should be, too.
    fn give_back(&mut self, number: u32) -> bool {
        self.given_back.push(Reverse(number));
        let left = self.next as usize - self.given_back.len();
        if left == 0 {
            *self = FreeNumbers { releases: self.releases, ..FreeNumbers::default() };
        }
        self.releases += 1;
        let is_due = self.releases > RELEASES_MIN.max(2 * left);
        if is_due {
            self.releases = 0;
            self.given_back.shrink_to(2 * self.given_back.len());
        }
        is_due
    }
}

impl TopicTable {
    /// The topic with this text.
    ///
    /// # Errors
    /// If the text is no valid topic.
    pub fn named(&self, text: &str) -> Result<TopicHandle, TopicError> {
        // One that is there is valid.
        let known = self.0.by_text.get(text).and_then(|weak| weak.upgrade());
        known.map_or_else(|| Topic::parse(text).map(|topic| self.insert(topic)), Ok)
    }

    /// How many topics have numbers.
    pub fn len(&self) -> usize {
        self.0.by_text.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.0.by_text.is_empty()
    }

    fn insert(&self, topic: Topic) -> TopicHandle {
        let number = self.0.free.lock().take();
        let new = TopicHandle::new(topic.clone(), number, self.0.clone());
        let known = match self.0.by_text.entry(topic) {
            Entry::Occupied(mut entry) => {
                let known = entry.get().upgrade();
                if known.is_none() {
                    entry.insert(new.downgrade());
                }
                known
            }
            Entry::Vacant(entry) => {
                entry.insert(new.downgrade());
                None
            }
        };
        // Another thread may have been first: then the new one's number goes back.
        known.unwrap_or(new)
    }
}

impl Numbers for TopicTable {
    fn handle(&self, topic: &Topic) -> TopicHandle {
        let known = self.0.by_text.get(topic.as_str()).and_then(|weak| weak.upgrade());
        known.unwrap_or_else(|| self.insert(topic.clone()))
    }
}

impl Release for Shared {
    fn release(&self, topic: &Topic, number: u32) {
        // Another may have taken its place meanwhile.
        self.by_text.remove_if(topic.as_str(), |_, weak| weak.is_gone());
        let is_due = self.free.lock().give_back(number);
        if is_due {
            self.by_text.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_topics_have_one_number_as_long_as_anything_names_them() {
        let table = TopicTable::default();
        let (a, b) = (table.named("a").unwrap(), table.named("b").unwrap());
        assert_eq!((a.number(), b.number(), table.named("a").unwrap().number()), (0, 1, 0));
        assert_eq!(table.handle(b.topic()), b);
        drop(a.clone());
        assert_eq!(table.len(), 2);
        drop(a);
        assert_eq!(table.len(), 1);
        let number = |text| table.named(text).unwrap().number();
        assert_eq!((number("c"), number("d")), (0, 0), "they were held for no longer than this took");
        assert_eq!(table.named("a/*"), Err(TopicError::Wildcard));
        drop(b);
        assert!(table.is_empty());
        assert_eq!(table.0.free.lock().next, 0, "and no memory of them is kept");
    }

    #[test]
    fn memory_is_given_back_after_a_peak() {
        let table = TopicTable::default();
        let first = table.named("first").unwrap();
        let peak: Vec<_> = (0..30_000).map(|n| table.named(&format!("topic/{n}")).unwrap()).collect();
        assert!(table.0.by_text.capacity() >= 30_000);
        drop(peak);
        assert_eq!(table.len(), 1);
        assert!(table.0.by_text.capacity() < 15_000, "{}", table.0.by_text.capacity());
        assert_eq!(table.named("first").unwrap(), first);
    }

    #[test]
    fn one_topic_more_or_less_moves_a_small_part_of_the_table() {
        const TOPICS: u64 = 200_000;
        const ENTRY_BYTES: u64 = size_of::<(Topic, WeakTopic)>() as u64;
        // A part that doubles has twice the room of what it moves, and the hash's own bytes. Parts are of unequal lengths.
        let most = 4 * (TOPICS / PARTS as u64) * (ENTRY_BYTES + 8);
        let table = TopicTable::default();
        let name = |n| {
            let (mut topic, text) = (None, format!("topic/{n}"));
            let info = allocation_counter::measure(|| topic = Some(table.named(&text).unwrap()));
            assert!(info.bytes_total <= most, "{} bytes at {n}", info.bytes_total);
            topic.unwrap()
        };
        let peak: Vec<_> = (0..TOPICS).map(name).collect();
        assert!(ENTRY_BYTES * TOPICS > 20 * most, "the table as a whole");
        drop(peak);
        assert!(table.is_empty());
    }

    #[test]
    fn a_topic_that_comes_and_goes_on_many_threads_never_has_two_numbers_at_once() {
        let table = TopicTable::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..20_000 {
                        let text = ["a", "b", "c"][n % 3];
                        let (one, two) = (table.named(text).unwrap(), table.named(text).unwrap());
                        assert!(one == two && one.as_str() == text && one.number() < 16);
                    }
                });
            }
        });
        assert!(table.is_empty());
        assert_eq!(table.0.free.lock().next, 0);
    }
}
