//! Random numbers that spread things out. They are not secret, and come from a seed, so that a
//! simulation can repeat them.

/// A source of spread.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// A source for this seed; neighbouring seeds give unlike sources.
    pub fn new(seed: u64) -> Jitter {
        // The finalizer of splitmix64. The state of xorshift must not be 0.
        let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Jitter((bits ^ (bits >> 31)) | 1)
    }

    /// A number from 0 up to `bound` and without it; 0 if `bound` is.
    pub fn below(&mut self, bound: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }

    /// A delay from half of `mean_ms` to one and a half of it.
    pub fn around(&mut self, mean_ms: u64) -> u64 {
        mean_ms / 2 + self.below(mean_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_stay_in_bounds() {
        let mut seen = [0; 10];
        for seed in 0..1000 {
            let mut jitter = Jitter::new(seed);
            seen[jitter.below(10) as usize] += 1;
            let around = jitter.around(1000);
            assert!((500..1500).contains(&around), "{around}");
            assert_eq!((jitter.below(0), jitter.around(0)), (0, 0));
        }
        assert!(seen.iter().all(|&count| (60..140).contains(&count)), "{seen:?}");
    }
}
