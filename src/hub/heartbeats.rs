//! Heartbeat slots: which streams are looked at when.
//!
//! A turn of all slots takes one heartbeat interval. A stream stands in the slot in which its
//! heartbeat falls due; one that was written to meanwhile is moved on to a later slot when its slot
//! comes up. Each time it is put in up to a quarter of the interval early, at random: otherwise one
//! broadcast would put every stream's heartbeat into the same slot.
//!
//! Invariant: a stream is looked at no later than one interval after it was last written to.

use std::num::NonZero;

use fastrand::Rng;

/// How many slots a turn has.
pub const SLOTS: usize = 64;
/// A heartbeat comes up to this part of the interval early.
const EARLY_PART: u64 = 4;

/// How many bits say where in its slot a stream stands: 33 million.
const AT_BITS: u32 = 25;

/// Where a stream stands, for taking it out again: the slot, counted from 1, above where in it.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatPosition(NonZero<u32>);

const _: () = assert!(SLOTS < 1 << (u32::BITS - AT_BITS));

impl HeartbeatPosition {
    fn new(slot: usize, at: usize) -> HeartbeatPosition {
        assert!(at < 1 << AT_BITS, "a shard has fewer streams");
        HeartbeatPosition(NonZero::<u32>::MIN.saturating_add(((slot as u32 + 1) << AT_BITS) - 1 + at as u32))
    }

    fn slot(self) -> usize {
        (self.0.get() >> AT_BITS) as usize - 1
    }

    fn at(self) -> usize {
        (self.0.get() & ((1 << AT_BITS) - 1)) as usize
    }
}

/// The slots of one shard, holding slab indices.
pub struct Heartbeats {
    slots: Vec<Vec<u32>>,
    hand: usize,
    interval_ms: u64,
    random: Rng,
}

impl Heartbeats {
    /// Slots for this interval. `seed` spreads the phases.
    pub fn new(interval_ms: u64, seed: u64) -> Heartbeats {
        let mut heartbeats =
            Heartbeats { slots: vec![Vec::new(); SLOTS], hand: 0, interval_ms: 0, random: Rng::with_seed(seed) };
        heartbeats.set_interval(interval_ms);
        heartbeats
    }

    /// Changes the interval. Who stands in a slot stays there, and comes up within a turn of the new one.
    pub fn set_interval(&mut self, interval_ms: u64) {
        self.interval_ms = interval_ms.max(SLOTS as u64);
    }

    /// How long a slot lasts: the hand wants to be moved this often.
    pub fn slot_ms(&self) -> u64 {
        self.interval_ms / SLOTS as u64
    }

    /// The heartbeat interval.
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// How early a heartbeat may come, in milliseconds.
    pub fn early_ms(&self) -> u64 {
        self.interval_ms / EARLY_PART
    }

    /// Puts in a stream whose heartbeat is due in `due_in_ms`.
    pub fn insert(&mut self, index: u32, due_in_ms: u64) -> HeartbeatPosition {
        let early_ms = self.random.u64(0..=self.early_ms());
        let steps = (due_in_ms.saturating_sub(early_ms) / self.slot_ms()).clamp(1, SLOTS as u64);
        let slot = (self.hand + steps as usize) % SLOTS;
        self.slots[slot].push(index);
        HeartbeatPosition::new(slot, self.slots[slot].len() - 1)
    }

    /// Takes a stream out. Says which stream now stands at `from`, if one moved there.
    pub fn remove(&mut self, from: HeartbeatPosition) -> Option<u32> {
        let slot = &mut self.slots[from.slot()];
        slot.swap_remove(from.at());
        if slot.is_empty() {
            *slot = Vec::new();
        }
        slot.get(from.at()).copied()
    }

    /// Moves the hand on and adds the streams of its slot to `due`.
    pub fn advance(&mut self, due: &mut Vec<u32>) {
        self.hand = (self.hand + 1) % SLOTS;
        due.append(&mut std::mem::take(&mut self.slots[self.hand]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_comes_up_within_an_interval_and_phases_are_spread() {
        let mut heartbeats = Heartbeats::new(6400, 9);
        for index in 0..1000 {
            heartbeats.insert(index, 6400);
        }
        let (mut due, mut seen, mut busy) = (Vec::new(), 0, 0);
        for step in 1..=SLOTS {
            due.clear();
            heartbeats.advance(&mut due);
            assert!(due.is_empty() || step >= SLOTS - SLOTS / EARLY_PART as usize, "{step}");
            seen += due.len();
            busy += usize::from(!due.is_empty());
        }
        assert_eq!(seen, 1000);
        assert!(busy >= 12, "{busy} slots hold all the heartbeats");
    }

    #[test]
    fn a_position_reads_back() {
        for (slot, at) in [(0, 0), (0, 1), (1, 0), (SLOTS - 1, (1 << AT_BITS) - 1)] {
            let position = HeartbeatPosition::new(slot, at);
            assert_eq!((position.slot(), position.at()), (slot, at));
        }
    }

    #[test]
    fn removal_says_who_moved() {
        let mut heartbeats = Heartbeats::new(64, 1);
        let taken: Vec<_> = (0..3).map(|index| heartbeats.insert(index, 1)).collect();
        assert_eq!(heartbeats.remove(taken[0]), Some(2));
        assert_eq!(heartbeats.remove(taken[1]), None);
        let mut due = Vec::new();
        heartbeats.advance(&mut due);
        assert_eq!(due, [2]);
    }
}
