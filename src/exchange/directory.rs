//! Which shards have streams for which topics, so that a publisher wakes only those.
//!
//! A shard enters itself before it reads the log's head for a new stream, and a publisher looks
//! after it has appended. So either the publisher sees the shard, or the event came before the head
//! that the stream starts at: no event falls between.

use crate::hub::topic::Topic;

use super::sync::{AtomicU64, DashMap, Ordering};

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
#[derive(Default)]
pub struct Directory {
    // dashmap: streams come and go on every core while publishers look up. No guard of it lives
    // longer than one line here, so none can meet another access or an await.
    topics: DashMap<Topic, u64>,
    /// The shards that have patterns are asked about every event.
    patterned: AtomicU64,
}

impl Directory {
    /// Enters a shard for a topic.
    pub fn join(&self, topic: &Topic, shard: usize) {
        *self.topics.entry(topic.clone()).or_default() |= ShardSet::only(shard).0;
    }

    /// Takes a shard out for a topic.
    pub fn leave(&self, topic: &Topic, shard: usize) {
        self.topics.remove_if_mut(topic, |_, shards| {
            *shards &= !ShardSet::only(shard).0;
            *shards == 0
        });
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

    /// The shards that may have streams for any of these topics.
    pub fn interested<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>, shards: usize) -> ShardSet {
        let all = u64::MAX >> (SHARDS_MAX - shards.clamp(1, SHARDS_MAX));
        let mut found = self.patterned.load(Ordering::SeqCst);
        for topic in topics {
            if found == all {
                break;
            }
            found |= self.topics.get(topic).map_or(0, |shards| *shards);
        }
        ShardSet(found)
    }

    /// How many topics have streams that name them.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_come_and_go_and_leave_nothing() {
        let directory = Directory::default();
        let (a, b) = (Topic::parse("a").unwrap(), Topic::parse("b").unwrap());
        directory.join(&a, 0);
        directory.join(&a, 63);
        directory.join(&b, 5);
        let found = directory.interested([&a, &b], 64);
        assert!(found.holds(0) && found.holds(5) && found.holds(63) && !found.holds(1));
        assert_eq!(found.count(), 3);
        directory.leave(&a, 0);
        assert_eq!(directory.interested([&a], 64), ShardSet::only(63));
        directory.leave(&a, 63);
        directory.leave(&b, 5);
        directory.leave(&b, 5);
        assert_eq!(directory.topics(), 0);
        directory.set_patterned(2, true);
        assert!(directory.interested([&a], 64).holds(2));
        directory.set_patterned(2, false);
        assert_eq!(directory.interested([&a], 64), ShardSet::default());
    }
}
