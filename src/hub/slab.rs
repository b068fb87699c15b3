//! Recycled slots with an identity in the key, so that a key of a former occupant finds nothing.

/// A key into a [`Slab`]. As a `u64` it fits into an epoll event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlabKey {
    index: u32,
    generation: u32,
}

impl SlabKey {
    /// The key as one number.
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key of a number that [`SlabKey::to_u64`] gave.
    pub fn from_u64(number: u64) -> SlabKey {
        SlabKey { index: number as u32, generation: (number >> 32) as u32 }
    }

    /// The slot, for those who know that its occupant is still the same.
    pub fn index(self) -> u32 {
        self.index
    }
}

enum Slot<T> {
    Free { next: u32 },
    Taken { generation: u32, value: T },
}

/// Values in slots.
///
/// Invariant: generations come from one counter, so a key stays stale for 2³² inserts.
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    first_free: u32,
    len: usize,
    generation: u32,
    /// With how many values left it gives memory back.
    shrinks_at: usize,
}

const NO_SLOT: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { slots: Vec::new(), first_free: NO_SLOT, len: 0, generation: 0, shrinks_at: 0 }
    }
}

impl<T> Slab<T> {
    /// How many slots are taken.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many slots there are, free ones too.
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Puts a value into a free slot.
    pub fn insert(&mut self, value: T) -> SlabKey {
        self.generation = self.generation.wrapping_add(1);
        let taken = Slot::Taken { generation: self.generation, value };
        self.len += 1;
        let index = self.first_free;
        if index == NO_SLOT {
            // A new peak; what follows it is worth giving back again.
            self.shrinks_at = self.len / 2;
            self.slots.push(taken);
            return SlabKey { index: self.slots.len() as u32 - 1, generation: self.generation };
        }
        match std::mem::replace(&mut self.slots[index as usize], taken) {
            Slot::Free { next } => self.first_free = next,
            Slot::Taken { .. } => unreachable!("the free list names free slots"),
        }
        SlabKey { index, generation: self.generation }
    }

    /// Takes a value out. When the last one goes, the memory goes with it.
    pub fn remove(&mut self, key: SlabKey) -> Option<T> {
        self.get(key)?;
        let free = Slot::Free { next: self.first_free };
        let Slot::Taken { value, .. } = std::mem::replace(&mut self.slots[key.index as usize], free) else {
            return None;
        };
        self.first_free = key.index;
        self.len -= 1;
        if self.len <= self.shrinks_at {
            self.shrink();
        }
        Some(value)
    }

    /// Gives the memory of the free slots at the end back, and has the lowest be taken next, so that the end becomes
    /// free in time. It looks at all slots, but not again before half of the values have gone.
    fn shrink(&mut self) {
        let taken = self.slots.iter().rposition(|slot| matches!(slot, Slot::Taken { .. })).map_or(0, |last| last + 1);
        self.slots.truncate(taken);
        self.slots.shrink_to_fit();
        self.first_free = NO_SLOT;
        for index in (0..taken).rev() {
            if let Slot::Free { next } = &mut self.slots[index] {
                *next = self.first_free;
                self.first_free = index as u32;
            }
        }
        self.shrinks_at = self.len / 2;
    }

    /// The value of a key that is not stale.
    pub fn get(&self, key: SlabKey) -> Option<&T> {
        match self.slots.get(key.index as usize)? {
            Slot::Taken { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value of a key that is not stale.
    pub fn get_mut(&mut self, key: SlabKey) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize)? {
            Slot::Taken { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value in a slot that the caller knows to be taken.
    pub fn at(&mut self, index: u32) -> &mut T {
        match &mut self.slots[index as usize] {
            Slot::Taken { value, .. } => value,
            Slot::Free { .. } => unreachable!("slot {index} is free"),
        }
    }

    /// The key of a slot that the caller knows to be taken.
    pub fn key_at(&self, index: u32) -> SlabKey {
        self.key_of(index).unwrap_or_else(|| unreachable!("slot {index} is free"))
    }

    /// The key of whatever is in a slot.
    pub fn key_of(&self, index: u32) -> Option<SlabKey> {
        match self.slots.get(index as usize)? {
            Slot::Taken { generation, .. } => Some(SlabKey { index, generation: *generation }),
            Slot::Free { .. } => None,
        }
    }

    /// All values with their keys, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (SlabKey, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| match slot {
            Slot::Taken { generation, value } => Some((SlabKey { index, generation: *generation }, value)),
            Slot::Free { .. } => None,
        })
    }

    /// All keys, by slot.
    pub fn keys(&self) -> impl Iterator<Item = SlabKey> {
        self.iter().map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_keys_find_nothing() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        let b = slab.insert('b');
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert('c');
        assert_eq!(c.index(), a.index());
        assert_eq!((slab.get(a), slab.get(b), slab.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!(SlabKey::from_u64(c.to_u64()), c);
        assert_eq!(slab.keys().count(), 2);
        slab.remove(b);
        slab.remove(c);
        assert!(slab.is_empty() && slab.slots.capacity() == 0);
        let d = slab.insert('d');
        assert_eq!((d.index(), slab.get(a)), (0, None));
    }

    #[test]
    fn a_peak_gives_its_memory_back_though_some_stay() {
        let mut slab = Slab::default();
        let mut keys: Vec<_> = (0..100_000).map(|n| slab.insert(n)).collect();
        let stays = keys.pop().unwrap();
        keys.drain(..50_000).for_each(|key| assert!(slab.remove(key).is_some()));
        assert_eq!(slab.get(stays), Some(&99_999), "the last slot is taken, and what is there stays");
        // The lowest are taken first, and the last one goes.
        assert!(slab.insert(0).index() < 50_000);
        slab.remove(stays);
        keys.drain(10..).rev().for_each(|key| assert!(slab.remove(key).is_some()));
        assert!(slab.slots.capacity() < 60_000, "{}", slab.slots.capacity());
        assert_eq!(slab.keys().count(), slab.len());
        let (len, again) = (slab.len(), slab.insert(1));
        assert_eq!((slab.len(), slab.get(again)), (len + 1, Some(&1)));
    }
}
