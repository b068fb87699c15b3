//! How far each topic's events have left the log, in memory that does not grow with the topics.
//!
//! Two rows of offsets are indexed by a hash of the topic, and of each of its first few prefixes, which
//! patterns begin with. A slot holds the newest evicted offset of all names that share it, so that an
//! answer may be too late an offset, but only if others share both of a name's slots; it is never too early.

use crate::hub::offset::Offset;
use crate::hub::topic::TopicHandle;

/// The fewest slots of a row, and the most: 128 KiB.
const SLOTS: std::ops::RangeInclusive<usize> = 4096..=16384;

/// The newest evicted offset of each name, or a later one.
pub(super) struct Evicted {
    rows: [Box<[Offset]>; 2],
}

impl Evicted {
    /// For a log that holds about so many events.
    pub(super) fn new(events: usize) -> Evicted {
        let slots = events.clamp(*SLOTS.start(), *SLOTS.end()).next_power_of_two();
        let row = || vec![Offset::ZERO; slots].into_boxed_slice();
        Evicted { rows: [row(), row()] }
    }

    /// An event of this topic was evicted: the newest so far.
    pub(super) fn mark(&mut self, topic: &TopicHandle, offset: Offset) {
        for &hash in topic.hashes() {
            let [x, y] = self.slots(hash);
            self.rows[0][x] = offset;
            self.rows[1][y] = offset;
        }
    }

    /// Events of any topic may have been evicted up to here.
    pub(super) fn fill(&mut self, offset: Offset) {
        self.rows.iter_mut().for_each(|row| row.fill(offset));
    }

    /// Up to which offset events of this topic may have been evicted.
    pub(super) fn of_topic(&self, topic: &TopicHandle) -> Offset {
        self.of_hash(topic.hashes()[0])
    }

    /// Up to which offset events may have been evicted whose topics have this hash, or begin with what has.
    pub(super) fn of_hash(&self, hash: u64) -> Offset {
        let [x, y] = self.slots(hash);
        self.rows[0][x].min(self.rows[1][y])
    }

    fn slots(&self, hash: u64) -> [usize; 2] {
        [hash, hash >> 32].map(|part| part as usize & (self.rows[0].len() - 1))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::exchange::topics::TopicTable;
    use crate::hub::topic::{Pattern, Subscription};

    /// A table of topics whose hash happens to tell these from each other, and what they begin with.
    pub(in crate::hub) fn table_for(texts: &[&str]) -> TopicTable {
        let evicted = Evicted::new(1);
        let tells_apart = |table: &TopicTable| {
            let handles: Vec<_> = texts.iter().map(|text| table.named(text).unwrap()).collect();
            let mut hashes: Vec<u64> = handles.iter().flat_map(TopicHandle::hashes).copied().collect();
            hashes.sort();
            hashes.dedup();
            let mut seen = std::collections::HashSet::new();
            hashes.into_iter().all(|hash| seen.insert(evicted.slots(hash)))
        };
        std::iter::repeat_with(TopicTable::default).find(tells_apart).unwrap()
    }

    #[test]
    fn topics_and_what_patterns_begin_with_are_told_apart() {
        let table = table_for(&["a/", "a/b", "a/b/c/d/e/f", "c"]);
        let topic = |text: &str| table.named(text).unwrap();
        let mut evicted = Evicted::new(1);
        evicted.mark(&topic("a/b"), Offset::new(3));
        evicted.mark(&topic("a/b/c/d/e/f"), Offset::new(7));
        for (text, expected) in [("a/b", 3), ("a/b/c/d/e/f", 7), ("a/", 0), ("a", 0), ("c", 0)] {
            assert_eq!(evicted.of_topic(&topic(text)), Offset::new(expected), "{text}");
        }
        for (text, expected) in [("a/*", 7), ("a/b/**", 7), ("a/b/c/d/x/*", 7), ("a/b/c/x/*", 0), ("c/*", 0)] {
            let pattern = Pattern::parse(text).unwrap();
            let hash = Subscription::new(vec![], vec![pattern], &table).unwrap().prefixes()[0].unwrap();
            assert_eq!(evicted.of_hash(hash), Offset::new(expected), "{text}");
        }
    }
}
