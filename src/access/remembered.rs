//! The tokens that were verified last, so that one that is shown again costs a digest.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use super::pass::Pass;

/// A token's SHA-256.
pub(super) type Digest = [u8; 32];

/// Tokens by their digests: those that were shown since the last turn, and those of the turn before. At a turn, when
/// there are half as many as may be, the older ones go.
pub(super) struct Remembered {
    turns: Mutex<[Passes; 2]>,
    half: usize,
}

type Passes = HashMap<Digest, Arc<Pass>, Spread>;

/// A digest is spread as it is.
#[derive(Clone, Copy, Default)]
struct Spread(u64);

impl BuildHasher for Spread {
    type Hasher = Spread;

    fn build_hasher(&self) -> Spread {
        Spread(0)
    }
}

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    // The length comes first.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Remembered {
    pub(super) fn new(max: usize) -> Remembered {
        Remembered { turns: Mutex::default(), half: max.div_ceil(2) }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Pass>> {
        let mut turns = self.turns.lock();
        if let Some(pass) = turns[0].get(digest) {
            return Some(pass.clone());
        }
        let pass = turns[1].remove(digest)?;
        self.put(&mut turns, *digest, pass.clone());
        Some(pass)
    }

    pub(super) fn insert(&self, digest: Digest, pass: Arc<Pass>) {
        self.put(&mut self.turns.lock(), digest, pass);
    }

    fn put(&self, turns: &mut [Passes; 2], digest: Digest, pass: Arc<Pass>) {
        if turns[0].len() >= self.half {
            turns[1] = std::mem::take(&mut turns[0]);
        }
        turns[0].insert(digest, pass);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.turns.lock().iter().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_shown_again_stay_and_there_are_never_more_than_may_be() {
        let remembered = Remembered::new(10);
        let pass = Arc::new(Pass::anonymous(&[]));
        let digest = |n: u64| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_ne_bytes());
            digest
        };
        remembered.insert(digest(0), pass.clone());
        for n in 1..1000 {
            remembered.insert(digest(n), pass.clone());
            assert!(remembered.get(&digest(0)).is_some() && remembered.get(&digest(n)).is_some(), "{n}");
            assert!(remembered.len() <= 10, "{n}");
        }
        assert!(remembered.get(&digest(1)).is_none());
    }
}
