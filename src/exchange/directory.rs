//! Which shards have streams for which topics, so that a publisher wakes only those.
//!
//! A shard enters itself before it reads the log's head for a new stream, and a publisher looks
//! after it has appended. So either the publisher sees the shard, or the event came before the head
//! that the stream starts at: no event falls between.

use crate::hub::paged::Paged;
use crate::hub::topic::TopicHandle;

use super::sync::{AtomicU64, Mutex, Ordering};

/// The most shards that a gateway may have: a set of them is one machine word.
pub const SHARDS_MAX: usize = 64;

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(u64);

impl ShardSet {
    fn only(shard: usize) -> ShardSet {
        assert!(shard < SHARDS_MAX);
        ShardSet(1 << shard)
    }

    /// How many shards it holds.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it holds this shard.
    pub fn holds(self, shard: usize) -> bool {
        self.0 & Self::only(shard).0 != 0
    }
}

/// From topics to the shards that have streams for them.
pub struct Directory {
    /// By the topic's number. Under its lock are single steps, and for a publisher one for each topic.
    topics: Mutex<Paged<ShardSet>>,
    /// The shards that have patterns are asked about every event.
    patterned: AtomicU64,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory { topics: Mutex::new(Paged::default()), patterned: AtomicU64::new(0) }
    }
}

impl Directory {
    /// Enters a shard for a topic.
    pub fn join(&self, topic: &TopicHandle, shard: usize) {
        self.topics.lock().get_or_insert_with(topic.number(), ShardSet::default).0 |= ShardSet::only(shard).0;
    }

    /// Takes a shard out for a topic.
    pub fn leave(&self, topic: &TopicHandle, shard: usize) {
        let mut topics = self.topics.lock();
        let Some(shards) = topics.get_mut(topic.number()) else { return };
        shards.0 &= !ShardSet::only(shard).0;
        if *shards == ShardSet::default() {
            topics.remove(topic.number());
        }
    }

    /// Enters or takes out a shard that has patterns.
    pub fn set_patterned(&self, shard: usize, has_patterns: bool) {
        let only = ShardSet::only(shard).0;
        if has_patterns {
            self.patterned.fetch_or(only, Ordering::SeqCst);
        } else {
            self.patterned.fetch_and(!only, Ordering::SeqCst);
        }
    }

    /// The shards that may have streams for any of the topics with these numbers.
    pub fn interested(&self, numbers: impl IntoIterator<Item = u32>, shards: usize) -> ShardSet {
        let all = u64::MAX >> (SHARDS_MAX - shards.clamp(1, SHARDS_MAX));
        let mut found = self.patterned.load(Ordering::SeqCst);
        if found == all {
            return ShardSet(found);
        }
        let topics = self.topics.lock();
        for number in numbers {
            found |= topics.get(number).map_or(0, |shards| shards.0);
            if found == all {
                break;
            }
        }
        ShardSet(found)
    }

    /// How many topics have streams that name them.
    pub fn topics(&self) -> usize {
        self.topics.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::topic::handle;

    #[test]
    fn shards_come_and_go_and_leave_nothing() {
        let directory = Directory::default();
        let (a, b) = (handle("a"), handle("b"));
        let numbers = |topics: &[&TopicHandle]| topics.iter().map(|topic| topic.number()).collect::<Vec<_>>();
        directory.join(&a, 0);
        directory.join(&a, 63);
        directory.join(&b, 5);
        let found = directory.interested(numbers(&[&a, &b]), 64);
        assert!(found.holds(0) && found.holds(5) && found.holds(63) && !found.holds(1));
        assert_eq!(found.count(), 3);
        directory.leave(&a, 0);
        assert_eq!(directory.interested(numbers(&[&a]), 64), ShardSet::only(63));
        directory.leave(&a, 63);
        directory.leave(&b, 5);
        directory.leave(&b, 5);
        assert_eq!(directory.topics(), 0);
        directory.set_patterned(2, true);
        assert!(directory.interested(numbers(&[&a]), 64).holds(2));
        directory.set_patterned(2, false);
        assert_eq!(directory.interested(numbers(&[&a]), 64), ShardSet::default());
    }
}
