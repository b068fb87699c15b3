//! The timing wheel: which entry is due, in constant time for each arm and each cancel.
//!
//! # Geometry
//!
//! Times are whole milliseconds since an origin that the caller chose. A deadline is read as digits
//! to the base 64, and an entry lies at the level of the highest digit in which its deadline differs
//! from the wheel's time, in the slot that this digit names:
//!
//! ```text
//!  bits of due_ms   63‥36     35‥30   29‥24   23‥18   17‥12   11‥6    5‥0
//!                 ┌─────────┬───────┬───────┬───────┬───────┬───────┬───────┐
//!                 │  block  │ lvl 5 │ lvl 4 │ lvl 3 │ lvl 2 │ lvl 1 │ lvl 0 │
//!                 └─────────┴───────┴───────┴───────┴───────┴───────┴───────┘
//!  one slot lasts   2.2 y     12.4 d  4.66 h  4.37 m  4.10 s  64 ms   1 ms
//!  a level spans              2.2 y   12.4 d  4.66 h  4.37 m  4.10 s  64 ms
//!
//!  level 0   occupied 0000…0100 0110   one bit a slot
//!                           │    ││
//!                           ▼    ▼▼
//!                          slot 6, 2, 1: entries e3 ⇄ e9 ⇄ e4, oldest first
//!
//!  overdue   deadlines that had passed when they were armed; the next advance takes them all
//!  later     deadlines of a later block; looked through once, when their block or a later one begins
//!  free      slab places without an entry
//! ```
//!
//! When the wheel's time enters a slot of level 1 or above, the slot's entries move down to the level
//! of the next digit that differs: at most six moves in an entry's life. All that a level holds is due
//! before all that the level above holds, so the next slot to look at is the lowest bit of the lowest
//! level that has one, and an empty span costs one look at each level however long it is.
//!
//! # Memory
//!
//! Entries live in one slab and are linked by index, so arming and cancelling allocate nothing once the
//! slab has grown. The slab keeps [`SLAB_KEPT`] places for good. Beyond that it gives back the places at
//! its end once three quarters of it are free, and because free places of its lower half are used first,
//! a wheel that is never quite empty shrinks too, as its entries are armed anew.

use std::num::NonZeroU32;

/// Bits of a deadline that one level resolves.
const LEVEL_BITS: u32 = 6;
/// Slots of a level: one for each bit of its occupancy field.
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 6;
/// Bits of a deadline that the levels resolve together; those above them number the block.
const BLOCK_BITS: u32 = LEVEL_BITS * LEVELS as u32;

/// The lists after those of the slots.
const OVERDUE: usize = LEVELS * SLOTS;
const LATER: usize = OVERDUE + 1;
const FREE: usize = LATER + 1;
const LISTS: usize = FREE + 1;

/// The index that names no entry.
const NIL: u32 = u32::MAX;

/// Slab places that a wheel keeps when it empties.
pub const SLAB_KEPT: usize = 1024;

const _: () = assert!(SLOTS == u64::BITS as usize);
const _: () = assert!(BLOCK_BITS < u64::BITS);

/// Names one armed entry of one wheel.
///
/// A key that has outlived its entry is harmless: [`Wheel::cancel`] answers `None`. (It could meet a
/// stranger only when exactly a multiple of 2^32 - 1 arms later the same place is filled, and held.)
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub struct TimerKey {
    index: u32,
    /// The number of the arm, over the whole wheel: unlike a count kept in the place itself, it lets
    /// the slab forget places without forgetting which keys are stale.
    generation: NonZeroU32,
}

const _: () = assert!(size_of::<TimerKey>() == 8 && size_of::<Option<TimerKey>>() == 8);

/// An entry whose deadline has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Expired<T> {
    /// The deadline that it was armed with, in the wheel's milliseconds.
    pub due_ms: u64,
    /// What was armed.
    pub item: T,
}

/// A hierarchical timing wheel of 1 ms ticks. It reads no clock: the caller says what time it is.
///
/// Invariant: `now_ms` never decreases.
/// Invariant: between calls, every armed entry is in the list that `list_of(now_ms, due_ms)` names.
/// Invariant: a level's occupied slots lie after the slot in which `now_ms` itself falls.
/// Invariant: a bit of `occupied` is set exactly if the slot's list has an entry.
/// Invariant: entries of equal deadline lie in one list, in the order in which they were armed.
/// Invariant: a place holds an item exactly if it is in another list than the free one.
#[derive(Debug)]
pub struct Wheel<T> {
    now_ms: u64,
    len: usize,
    /// The generation of the next key.
    generation: NonZeroU32,
    occupied: [u64; LEVELS],
    lists: [List; LISTS],
    entries: Vec<Entry<T>>,
}

#[derive(Copy, Clone, Debug)]
struct List {
    head: u32,
    tail: u32,
}

#[derive(Debug)]
struct Entry<T> {
    due_ms: u64,
    prev: u32,
    next: u32,
    generation: NonZeroU32,
    item: Option<T>,
}

impl<T> Wheel<T> {
    /// An empty wheel whose time is `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Self {
            now_ms,
            len: 0,
            generation: NonZeroU32::MIN,
            occupied: [0; LEVELS],
            lists: [List { head: NIL, tail: NIL }; LISTS],
            entries: Vec::new(),
        }
    }

    /// Arms `item` for `due_ms`. A deadline that is not after the wheel's time expires at the next
    /// [`advance`](Self::advance), whatever time that one is given.
    ///
    /// # Panics
    /// If 2^32 - 1 entries are armed already.
    pub fn insert(&mut self, due_ms: u64, item: T) -> TimerKey {
        let generation = self.generation;
        self.generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);

        let mut index = self.lists[FREE].head;
        if index == NIL {
            index = u32::try_from(self.entries.len()).unwrap_or(NIL);
            assert_ne!(index, NIL, "a wheel holds at most 2^32 - 1 entries");
            self.entries.push(Entry { due_ms, prev: NIL, next: NIL, generation, item: Some(item) });
        } else {
            self.unlink(FREE, index);
            let entry = &mut self.entries[index as usize];
            entry.due_ms = due_ms;
            entry.generation = generation;
            entry.item = Some(item);
        }
        self.len += 1;
        self.link_last(list_of(self.now_ms, due_ms), index);
        TimerKey { index, generation }
    }

    /// Disarms the entry and gives its item back; `None` if it has expired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let item = entry.item.take()?;
        let list = list_of(self.now_ms, entry.due_ms);
        self.unlink(list, key.index);
        self.vacate(key.index);
        Some(item)
    }

    /// Moves the wheel's time to `now_ms` and appends every entry that is due by then to `expired`.
    ///
    /// They come in the order of their deadlines, and those of equal deadline in the order in which they
    /// were armed. A `now_ms` before the wheel's time counts as the wheel's time: after a clock has jumped
    /// back, the wheel stands still until the clock has caught up, so feed it a monotonic one.
    ///
    /// Costs O(levels), plus O(1) for each entry that expires or moves down a level (overdue ones are
    /// sorted), plus, once in 2.2 years, a look at each entry of a later block.
    pub fn advance(&mut self, now_ms: u64, expired: &mut Vec<Expired<T>>) {
        let target_ms = now_ms.max(self.now_ms);
        self.drain_sorted(OVERDUE, expired);
        while let Some((list, start_ms)) = self.next_slot() {
            if start_ms > target_ms {
                break;
            }
            self.now_ms = start_ms;
            self.drain(list, expired);
        }
        let block_before = self.now_ms >> BLOCK_BITS;
        self.now_ms = target_ms;
        if target_ms >> BLOCK_BITS != block_before {
            self.drain_sorted(LATER, expired);
        }
    }

    /// When [`advance`](Self::advance) must be called again: the wheel's own time if an entry is overdue,
    /// `None` if none is armed.
    ///
    /// This is a lower bound of the earliest deadline: the start of the earliest occupied slot, where
    /// entries may only have to move down a level. It is exact for an entry in the same 64 ms as the
    /// wheel's time. Within a block, at most five calls that follow it expire nothing; on the way to a
    /// later block, there is one more for each block that begins.
    pub fn next_due_ms(&self) -> Option<u64> {
        if self.lists[OVERDUE].head != NIL {
            return Some(self.now_ms);
        }
        if let Some((_, start_ms)) = self.next_slot() {
            return Some(start_ms);
        }
        // Cannot overflow: a deadline lies in a later block.
        (self.lists[LATER].head != NIL).then(|| ((self.now_ms >> BLOCK_BITS) + 1) << BLOCK_BITS)
    }

    /// How many entries are armed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is armed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    // ===== slots =====

    /// The occupied slot that begins first: its list, and the time at which it begins.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let slot_bits = LEVEL_BITS * level as u32;
        let level_start_ms = self.now_ms >> (slot_bits + LEVEL_BITS) << (slot_bits + LEVEL_BITS);
        Some((level * SLOTS + slot as usize, level_start_ms | u64::from(slot) << slot_bits))
    }

    /// Empties a list: what is due by now expires, the rest goes where it belongs now.
    fn drain(&mut self, list: usize, expired: &mut Vec<Expired<T>>) {
        let mut index = self.take_list(list);
        while index != NIL {
            let entry = &mut self.entries[index as usize];
            let (due_ms, next) = (entry.due_ms, entry.next);
            if due_ms <= self.now_ms {
                let Some(item) = entry.item.take() else {
                    unreachable!("an entry in a list has an item");
                };
                expired.push(Expired { due_ms, item });
                self.vacate(index);
            } else {
                self.link_last(list_of(self.now_ms, due_ms), index);
            }
            index = next;
        }
    }

    /// As `drain`, for a list of mixed deadlines. The sort is stable: equal deadlines keep their order.
    fn drain_sorted(&mut self, list: usize, expired: &mut Vec<Expired<T>>) {
        let before = expired.len();
        self.drain(list, expired);
        expired[before..].sort_by_key(|entry| entry.due_ms);
    }

    // ===== lists =====

    /// Empties a list in name: its entries are still linked to each other, from the returned one on.
    fn take_list(&mut self, list: usize) -> u32 {
        if list < OVERDUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
        let List { head, .. } = self.lists[list];
        self.lists[list] = List { head: NIL, tail: NIL };
        head
    }

    fn link_last(&mut self, list: usize, index: u32) {
        let tail = self.lists[list].tail;
        let entry = &mut self.entries[index as usize];
        entry.prev = tail;
        entry.next = NIL;
        self.lists[list].tail = index;
        if tail == NIL {
            self.lists[list].head = index;
            if list < OVERDUE {
                self.occupied[list / SLOTS] |= 1 << (list % SLOTS);
            }
        } else {
            self.entries[tail as usize].next = index;
        }
    }

    fn unlink(&mut self, list: usize, index: u32) {
        let Entry { prev, next, .. } = self.entries[index as usize];
        match prev {
            NIL => self.lists[list].head = next,
            _ => self.entries[prev as usize].next = next,
        }
        match next {
            NIL => self.lists[list].tail = prev,
            _ => self.entries[next as usize].prev = prev,
        }
        if list < OVERDUE && self.lists[list].head == NIL {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    // ===== slab =====

    /// Frees the place of an entry that is in no list and whose item has been taken.
    fn vacate(&mut self, index: u32) {
        self.len -= 1;
        if (index as usize) < self.entries.len() / 2 {
            self.link_first_free(index);
        } else {
            self.link_last(FREE, index);
        }
        if self.entries.len() > SLAB_KEPT && self.len <= self.entries.len() / 4 {
            self.trim();
        }
    }

    fn link_first_free(&mut self, index: u32) {
        let head = self.lists[FREE].head;
        let entry = &mut self.entries[index as usize];
        entry.prev = NIL;
        entry.next = head;
        self.lists[FREE].head = index;
        match head {
            NIL => self.lists[FREE].tail = index,
            _ => self.entries[head as usize].prev = index,
        }
    }

    /// Gives back the free places at the slab's end. The slab then keeps room for twice its places, so
    /// that a copy is paid for by as many entries gone.
    fn trim(&mut self) {
        while self.entries.len() > SLAB_KEPT && self.entries.last().is_some_and(|entry| entry.item.is_none()) {
            // Lossless: an index is below `NIL`.
            self.unlink(FREE, (self.entries.len() - 1) as u32);
            self.entries.pop();
        }
        if self.entries.len() <= self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

/// Where an entry belongs: see the drawing at the top.
fn list_of(now_ms: u64, due_ms: u64) -> usize {
    if due_ms <= now_ms {
        return OVERDUE;
    }
    let level = ((now_ms ^ due_ms).ilog2() / LEVEL_BITS) as usize;
    if level >= LEVELS {
        return LATER;
    }
    let slot = due_ms >> (LEVEL_BITS * level as u32) & (SLOTS as u64 - 1);
    level * SLOTS + slot as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashSet};

    const BLOCK_MS: u64 = 1 << BLOCK_BITS;

    impl<T> Wheel<T> {
        /// Walks everything and checks each invariant of the type.
        #[track_caller]
        fn check(&self) {
            let mut seen = HashSet::new();
            for (list, &List { head, tail }) in self.lists.iter().enumerate() {
                let (mut last, mut index) = (NIL, head);
                while index != NIL {
                    let entry = &self.entries[index as usize];
                    assert!(seen.insert(index), "place {index} is linked twice");
                    assert_eq!(entry.prev, last, "links back");
                    assert_eq!(entry.item.is_none(), list == FREE, "free means empty");
                    if list != FREE {
                        assert_eq!(list, list_of(self.now_ms, entry.due_ms), "in its list");
                    }
                    (last, index) = (index, entry.next);
                }
                assert_eq!(tail, last, "the tail is the last");
                if list < OVERDUE {
                    let (level, slot) = (list / SLOTS, list % SLOTS);
                    let bit = self.occupied[level] >> slot & 1;
                    assert_eq!(bit == 1, head != NIL, "occupancy of {level}/{slot}");
                    let now_slot = self.now_ms >> (LEVEL_BITS * level as u32) & 63;
                    assert!(bit == 0 || slot as u64 > now_slot, "slots lie ahead");
                }
            }
            assert_eq!(seen.len(), self.entries.len(), "every place is in a list");
            let armed = self.entries.iter().filter(|e| e.item.is_some()).count();
            assert_eq!(self.len, armed);
        }

        fn advanced(&mut self, now_ms: u64) -> Vec<(u64, T)> {
            let mut expired = Vec::new();
            self.advance(now_ms, &mut expired);
            self.check();
            expired.into_iter().map(|e| (e.due_ms, e.item)).collect()
        }
    }

    /// Arms one entry, and expects it at its deadline and not a millisecond before.
    #[track_caller]
    fn check_due_exactly(now_ms: u64, due_ms: u64) {
        let mut wheel = Wheel::new(now_ms);
        let key = wheel.insert(due_ms, 'a');
        wheel.check();
        if due_ms > now_ms {
            assert_eq!(wheel.advanced(due_ms - 1), [], "{now_ms} → {due_ms}: early");
            assert_eq!(wheel.next_due_ms(), Some(due_ms), "{now_ms} → {due_ms}");
        }
        assert_eq!(wheel.advanced(due_ms), [(due_ms, 'a')], "{now_ms} → {due_ms}");
        assert_eq!(wheel.cancel(key), None);
        assert_eq!((wheel.len(), wheel.next_due_ms()), (0, None));

        // The same in one jump, and cancelled.
        let mut wheel = Wheel::new(now_ms);
        let key = wheel.insert(due_ms, 'a');
        assert_eq!(wheel.cancel(key), Some('a'));
        wheel.check();
        wheel.insert(due_ms, 'b');
        assert_eq!(wheel.advanced(u64::MAX), [(due_ms, 'b')]);

        // And following the wheel's own word.
        let mut wheel = Wheel::new(now_ms);
        wheel.insert(due_ms, 'a');
        for calls in 1.. {
            let at_ms = wheel.next_due_ms().expect("an entry is armed");
            assert!(at_ms <= due_ms.max(now_ms), "a lower bound");
            if wheel.advanced(at_ms) == [(due_ms, 'a')] {
                assert_eq!(at_ms, due_ms.max(now_ms));
                break;
            }
            let blocks = (due_ms >> BLOCK_BITS) - (now_ms >> BLOCK_BITS);
            if blocks > 3 {
                break;
            }
            assert!(calls < 6 + blocks, "{now_ms} → {due_ms}: too many calls");
        }
    }

    #[test]
    fn every_border_of_slot_level_and_block_is_met_to_the_millisecond() {
        for bits in (0..BLOCK_BITS).chain([BLOCK_BITS, BLOCK_BITS + 1, 63]) {
            let border = 1u64 << bits;
            for now_ms in [0, 1, 63, 64, border - 1, border, border + 1, border + border / 2] {
                for delay in [border - 1, border, border + 1] {
                    check_due_exactly(now_ms, now_ms.saturating_add(delay));
                }
            }
        }
    }

    #[test]
    fn the_edges_of_u64_are_ordinary_deadlines() {
        for now_ms in [0, 1, BLOCK_MS, u64::MAX - BLOCK_MS, u64::MAX - 1, u64::MAX] {
            for due_ms in [0, 1, u64::MAX - BLOCK_MS, u64::MAX - 1, u64::MAX] {
                check_due_exactly(now_ms, due_ms);
            }
        }
        let mut wheel = Wheel::new(0);
        for due_ms in [u64::MAX, u64::MAX - 1, 0] {
            wheel.insert(due_ms, ());
        }
        let dues = wheel.advanced(u64::MAX);
        assert_eq!(dues, [0, u64::MAX - 1, u64::MAX].map(|due_ms| (due_ms, ())), "in order");
    }

    #[test]
    fn a_deadline_beyond_the_top_level_waits_for_its_block() {
        let mut wheel = Wheel::new(5);
        for (due_ms, item) in [
            (3 * BLOCK_MS + 1, 'd'),
            (2 * BLOCK_MS, 'c'),
            (BLOCK_MS + 7, 'b'),
            (BLOCK_MS - 1, 'a'),
            (3 * BLOCK_MS + 1, 'e'),
        ] {
            wheel.insert(due_ms, item);
        }
        assert_eq!(wheel.advanced(BLOCK_MS - 1), [(BLOCK_MS - 1, 'a')]);
        assert_eq!(wheel.next_due_ms(), Some(BLOCK_MS));
        assert_eq!(wheel.advanced(BLOCK_MS), []);
        assert_eq!(wheel.advanced(BLOCK_MS + 7), [(BLOCK_MS + 7, 'b')]);
        // Over more than one block at once, into the middle of one.
        let rest = [(2 * BLOCK_MS, 'c'), (3 * BLOCK_MS + 1, 'd'), (3 * BLOCK_MS + 1, 'e')];
        assert_eq!(wheel.advanced(3 * BLOCK_MS + 1), rest);
        assert!(wheel.is_empty());
    }

    #[test]
    fn equal_deadlines_come_in_the_order_they_were_armed_from_whatever_level() {
        let due_ms = 3 * BLOCK_MS + 123_456_789;
        let mut wheel = Wheel::new(0);
        let mut armed = 0;
        // Each round arms one nearer to the deadline, so at a lower level than those before.
        for bits in (0..38).rev() {
            wheel.advanced(due_ms - (1 << bits));
            wheel.insert(due_ms, armed);
            armed += 1;
        }
        let order: Vec<_> = wheel.advanced(due_ms).into_iter().map(|e| e.1).collect();
        assert_eq!(order, (0..armed).collect::<Vec<_>>());
    }

    #[test]
    fn an_overdue_entry_expires_at_the_next_advance_before_all_others() {
        let mut wheel = Wheel::new(1000);
        wheel.insert(1001, "next");
        wheel.insert(1000, "now");
        wheel.insert(3, "late");
        wheel.insert(999, "just");
        wheel.insert(3, "late again");
        assert_eq!(wheel.next_due_ms(), Some(1000));
        assert_eq!(
            wheel.advanced(1001),
            [(3, "late"), (3, "late again"), (999, "just"), (1000, "now"), (1001, "next")]
        );
    }

    #[test]
    fn a_clock_that_jumps_back_changes_nothing() {
        let mut wheel = Wheel::new(1000);
        wheel.insert(1100, 'b');
        assert_eq!(wheel.advanced(0), []);
        assert_eq!(wheel.advanced(1099), []);
        assert_eq!(wheel.advanced(5), []);
        // The wheel's time is still 1099: this one is overdue, whatever the clock says.
        wheel.insert(1050, 'a');
        assert_eq!(wheel.advanced(6), [(1050, 'a')]);
        assert_eq!(wheel.advanced(1100), [(1100, 'b')]);
    }

    #[test]
    fn a_stale_key_harms_no_one_when_its_place_is_used_again() {
        let mut wheel = Wheel::new(0);
        let stale = wheel.insert(10, 'a');
        assert_eq!(wheel.cancel(stale), Some('a'));
        assert_eq!(wheel.cancel(stale), None, "twice");
        let fresh = wheel.insert(10, 'b');
        assert_eq!(fresh.index, stale.index, "the same place");
        assert_eq!(wheel.cancel(stale), None);
        assert_eq!(wheel.advanced(10), [(10, 'b')]);
        assert_eq!(wheel.cancel(fresh), None, "expired");
        // Nor does a key of another wheel, beyond the slab's end.
        assert_eq!(Wheel::<char>::new(0).cancel(fresh), None);
    }

    #[test]
    fn a_stale_key_stays_stale_after_the_slab_has_forgotten_its_place() {
        let mut wheel = Wheel::new(0);
        let count = SLAB_KEPT as u64 * 8;
        let stale: Vec<_> = (0..count).map(|n| wheel.insert(n, n)).collect();
        assert_eq!(wheel.advanced(count).len(), stale.len());
        assert_eq!(wheel.entries.len(), SLAB_KEPT);
        for n in 0..count {
            wheel.insert(2 * count + n, n);
        }
        assert!(stale.iter().all(|&key| wheel.cancel(key).is_none()));
        assert_eq!(wheel.len() as u64, count);
    }

    #[test]
    fn generations_wrap_past_zero() {
        let mut wheel = Wheel::new(0);
        wheel.generation = NonZeroU32::MAX;
        let last = wheel.insert(1, 'a');
        let first = wheel.insert(1, 'b');
        assert_eq!((last.generation, first.generation), (NonZeroU32::MAX, NonZeroU32::MIN));
        assert_eq!((wheel.cancel(first), wheel.cancel(last)), (Some('b'), Some('a')));
    }

    #[test]
    fn cancelling_within_the_same_tick_spares_the_neighbours() {
        for victim in 0..3 {
            // In one slot, and among the overdue.
            for due_ms in [100, 50] {
                let mut wheel = Wheel::new(99);
                let keys = [0, 1, 2].map(|n| wheel.insert(due_ms, n));
                assert_eq!(wheel.cancel(keys[victim]), Some(victim));
                wheel.check();
                let rest: Vec<_> = (0..3).filter(|&n| n != victim).map(|n| (due_ms, n)).collect();
                assert_eq!(wheel.advanced(100), rest);
            }
        }
    }

    #[test]
    fn an_emptied_wheel_gives_its_memory_back() {
        for by_cancel in [false, true] {
            let mut wheel = Wheel::new(0);
            let keys: Vec<_> = (0..100_000).map(|n| wheel.insert(n % 9000, n)).collect();
            if by_cancel {
                for key in keys {
                    wheel.cancel(key);
                }
            } else {
                assert_eq!(wheel.advanced(9000).len(), keys.len());
            }
            wheel.check();
            assert!(wheel.is_empty());
            assert!(wheel.entries.capacity() <= SLAB_KEPT * 4, "{}", wheel.entries.capacity());
        }
    }

    #[test]
    fn the_slab_is_kept_at_its_bound_and_trimmed_above_it() {
        for (count, left) in [(SLAB_KEPT - 1, SLAB_KEPT - 1), (SLAB_KEPT, SLAB_KEPT), (SLAB_KEPT + 1, SLAB_KEPT)] {
            let mut wheel = Wheel::new(0);
            for n in 0..count {
                wheel.insert(n as u64, ());
            }
            wheel.advanced(count as u64);
            assert_eq!(wheel.entries.len(), left);
        }
    }

    #[test]
    fn a_wheel_that_never_empties_shrinks_as_its_entries_are_armed_anew() {
        let mut wheel = Wheel::new(0);
        let mut keys: Vec<_> = (0..50_000u64).map(|n| wheel.insert(n, n)).collect();
        let mut few = keys.split_off(49_990);
        for key in keys {
            wheel.cancel(key);
        }
        assert!(wheel.entries.len() > 49_000, "held by the last few");
        for _ in 0..10_000 {
            for key in &mut few {
                let item = wheel.cancel(*key).expect("armed");
                *key = wheel.insert(60_000, item);
            }
        }
        wheel.check();
        assert_eq!(wheel.entries.len(), SLAB_KEPT);
        assert!(wheel.entries.capacity() <= SLAB_KEPT * 4);
    }

    #[test]
    fn an_entry_costs_forty_bytes_with_a_word_inside() {
        assert_eq!(size_of::<Entry<u64>>(), 40);
        assert_eq!(size_of::<Entry<NonZeroU32>>(), 24);
    }

    /// The slow obvious version.
    #[derive(Default)]
    struct Model {
        now_ms: u64,
        seq: usize,
        entries: BTreeMap<(u64, usize), usize>,
    }

    impl Model {
        fn insert(&mut self, due_ms: u64) -> usize {
            self.entries.insert((due_ms, self.seq), self.seq);
            self.seq += 1;
            self.seq - 1
        }

        fn cancel(&mut self, item: usize) -> Option<usize> {
            let key = *self.entries.iter().find(|entry| *entry.1 == item)?.0;
            self.entries.remove(&key)
        }

        fn advance(&mut self, now_ms: u64) -> Vec<(u64, usize)> {
            self.now_ms = self.now_ms.max(now_ms);
            let mut expired = Vec::new();
            while let Some(first) = self.entries.first_entry() {
                let due_ms = first.key().0;
                if due_ms > self.now_ms {
                    break;
                }
                expired.push((due_ms, first.remove()));
            }
            expired
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        InsertIn(u64),
        InsertAt(u64),
        /// Cancels the key with this number modulo all that were ever given out.
        Cancel(usize),
        AdvanceBy(u64),
        AdvanceTo(u64),
        AdvanceToNextDue,
    }

    /// Spans of every magnitude, and those around the borders of levels.
    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => 0..200u64,
            2 => 0..20_000u64,
            2 => (0..64u32, any::<u64>()).prop_map(|(bits, n)| n >> bits),
            2 => (0..64u32, 0..3u64).prop_map(|(bits, n)| (1u64 << bits) - 1 + n),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => span().prop_map(Op::InsertIn),
            2 => span().prop_map(Op::InsertAt),
            1 => span().prop_map(|n| Op::InsertAt(u64::MAX - n)),
            4 => any::<usize>().prop_map(Op::Cancel),
            4 => (0..5000u64).prop_map(Op::AdvanceBy),
            2 => (0..42u32, any::<u64>()).prop_map(|(bits, n)| Op::AdvanceBy(n >> (22 + bits))),
            1 => span().prop_map(Op::AdvanceTo),
            4 => Just(Op::AdvanceToNextDue),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn the_wheel_equals_a_sorted_map_of_deadlines(
            start_ms in span(),
            ops in prop::collection::vec(op(), 1..120),
        ) {
            let mut wheel = Wheel::new(start_ms);
            let mut model = Model { now_ms: start_ms, ..Model::default() };
            let mut keys = Vec::new();
            let advance = |wheel: &mut Wheel<usize>, model: &mut Model, now_ms| {
                assert_eq!(wheel.advanced(now_ms), model.advance(now_ms));
            };
            for op in ops {
                match op {
                    Op::InsertIn(ms) => {
                        let due_ms = model.now_ms.saturating_add(ms);
                        keys.push(wheel.insert(due_ms, model.insert(due_ms)));
                    }
                    Op::InsertAt(due_ms) => keys.push(wheel.insert(due_ms, model.insert(due_ms))),
                    Op::Cancel(n) if !keys.is_empty() => {
                        let n = n % keys.len();
                        prop_assert_eq!(wheel.cancel(keys[n]), model.cancel(n));
                    }
                    Op::Cancel(_) => {}
                    Op::AdvanceBy(ms) => {
                        let now_ms = model.now_ms.saturating_add(ms);
                        advance(&mut wheel, &mut model, now_ms);
                    }
                    Op::AdvanceTo(now_ms) => advance(&mut wheel, &mut model, now_ms),
                    Op::AdvanceToNextDue => {
                        if let Some(now_ms) = wheel.next_due_ms() {
                            advance(&mut wheel, &mut model, now_ms);
                        }
                    }
                }
                wheel.check();
                prop_assert_eq!(wheel.len(), model.entries.len());
                prop_assert_eq!(wheel.is_empty(), model.entries.is_empty());
                let first_ms = model.entries.keys().next().map(|key| key.0.max(model.now_ms));
                let next_ms = wheel.next_due_ms();
                prop_assert_eq!(next_ms.is_some(), first_ms.is_some());
                if let (Some(next_ms), Some(first_ms)) = (next_ms, first_ms) {
                    prop_assert!(next_ms <= first_ms, "{} > {}", next_ms, first_ms);
                    prop_assert!(next_ms > model.now_ms || first_ms == model.now_ms, "no progress");
                }
            }
            advance(&mut wheel, &mut model, u64::MAX);
            prop_assert!(wheel.is_empty());
        }
    }
}
