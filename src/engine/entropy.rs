//! Random bits that no other process has.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

/// 64 random bits from the system's entropy, by way of the standard library's hasher. Epochs come from here: those of
/// two processes must differ, and fastrand begins with the time.
pub fn random() -> u64 {
    RandomState::new().hash_one(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn no_two_are_alike() {
        assert_eq!((0..1000).map(|_| super::random()).collect::<HashSet<_>>().len(), 1000);
    }
}
