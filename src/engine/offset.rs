//! The global offset of an event: its pack's sequence, and its index in the pack.

/// How many bits the index takes.
pub const INDEX_BITS: u32 = 14;
/// The most events in a pack.
pub const EVENTS_MAX: usize = 1 << INDEX_BITS;
/// The greatest sequence. Its offsets fit 12 digits of base 36.
pub const SEQUENCE_MAX: u64 = (1 << 48) - 1;

/// `sequence << 14 | index`. Offsets rise with the order of the log; they are not dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The offset of the event at `index` in the pack `sequence`.
    pub fn new(sequence: u64, index: usize) -> Offset {
        assert!(sequence <= SEQUENCE_MAX && index < EVENTS_MAX, "sequence {sequence}, index {index}");
        Offset(sequence << INDEX_BITS | index as u64)
    }

    /// Reads an offset that came back in an id: `None` if no event can have it.
    #[cfg(test)]
    pub fn from_u64(value: u64) -> Option<Offset> {
        (value >> INDEX_BITS <= SEQUENCE_MAX).then_some(Offset(value))
    }

    /// The offset as a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The pack's sequence.
    #[cfg(test)]
    pub fn sequence(self) -> u64 {
        self.0 >> INDEX_BITS
    }

    /// The event's index in its pack.
    #[cfg(test)]
    pub fn index(self) -> usize {
        (self.0 & (EVENTS_MAX as u64 - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_hold_sequence_and_index_and_fit_an_id() {
        for (sequence, index, value) in [(0, 0, 0), (1, 0, 16_384), (1, 16_383, 32_767), (2, 5, 32_773)] {
            let offset = Offset::new(sequence, index);
            assert_eq!((offset.get(), offset.sequence(), offset.index()), (value, sequence, index));
            assert_eq!(Offset::from_u64(value), Some(offset));
        }
        let greatest = Offset::new(SEQUENCE_MAX, EVENTS_MAX - 1);
        assert!(greatest.get() < 36u64.pow(12));
        assert_eq!(Offset::from_u64(greatest.get() + 1), None);
    }
}
