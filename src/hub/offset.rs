//! Where an event stands in the log of this process.

use std::fmt;

/// A position in the log: that of an event, or the one before the first. Offsets are dense, and say
/// nothing to another process: what clients get is an id, which the log makes of an offset.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// Before the first event.
    pub const ZERO: Offset = Offset(0);

    /// After every event.
    pub const MAX: Offset = Offset(u64::MAX);

    /// The offset of the event with this number; the first is 1.
    pub const fn new(number: u64) -> Offset {
        Offset(number)
    }

    /// Its number, for where a type can't go: an atomic, an id.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    pub const fn next(self) -> Offset {
        Offset(self.0.checked_add(1).expect("no log gets so long"))
    }

    /// The one before it; before the first there is none.
    pub const fn prev(self) -> Offset {
        Offset(self.0.saturating_sub(1))
    }

    /// How many offsets follow `earlier`, up to this one and with it; none if it is not earlier.
    pub const fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The low half of an offset, for where there is no room for more: it says which offset that is, as long as it is known
/// to within 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowHalf(u32);

impl Offset {
    /// Its low half.
    pub const fn low_half(self) -> LowHalf {
        LowHalf(self.0 as u32)
    }
}

impl LowHalf {
    /// The newest offset with this low half that is not after `newest`.
    pub const fn not_after(self, newest: Offset) -> Offset {
        Offset(newest.0.saturating_sub((newest.0 as u32).wrapping_sub(self.0) as u64))
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_counted_from_before_the_first() {
        let (one, five) = (Offset::ZERO.next(), Offset::new(5));
        assert_eq!((one, one.prev(), Offset::ZERO.prev()), (Offset::new(1), Offset::ZERO, Offset::ZERO));
        assert_eq!((five.since(one), five.since(Offset::ZERO), one.since(five)), (4, 5, 0));
        assert!(Offset::ZERO < one && one < five);
    }

    #[test]
    fn half_an_offset_says_which_of_the_last_it_was() {
        for newest in [0, 1, 77, u64::from(u32::MAX) - 1, u64::from(u32::MAX), 1 << 32, (1 << 32) + 3, 9 << 40] {
            for back in [0, 1, 76, 1 << 20, (1 << 32) - 1] {
                let Some(offset) = newest.checked_sub(back).map(Offset::new) else { continue };
                assert_eq!(offset.low_half().not_after(Offset::new(newest)), offset, "{newest} less {back}");
            }
        }
    }
}
