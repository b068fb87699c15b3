//! Which of the kept events have which id of their own.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use crate::hub::offset::Offset;

/// The offsets of the kept events with an own id, by a hash of it: who looks for one compares it with the events'.
///
/// A tree and not a hash table: that one would be moved as a whole where it grows, under the log's lock.
#[derive(Default)]
pub(super) struct OwnIds {
    offsets: BTreeSet<(u64, Offset)>,
    hash: RandomState,
}

impl OwnIds {
    pub(super) fn push(&mut self, id: &str, offset: Offset) {
        self.offsets.insert((self.hash.hash_one(id), offset));
    }

    pub(super) fn remove(&mut self, id: &str, offset: Offset) {
        let was_there = self.offsets.remove(&(self.hash.hash_one(id), offset));
        debug_assert!(was_there, "the index names every own id of the ring");
    }

    /// The offsets, after this one, of the events that may have this id, rising.
    pub(super) fn after(&self, id: &str, after: Offset) -> impl Iterator<Item = Offset> {
        let hash = self.hash.hash_one(id);
        let range = (Bound::Excluded((hash, after)), Bound::Included((hash, Offset::new(u64::MAX))));
        self.offsets.range(range).map(|&(_, offset)| offset)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.after(id, Offset::ZERO).next().is_some()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }
}
