//! How long clients that are sent away wait before they come back.

use fastrand::Rng;

/// A time from half of the mean to one and a half of it, so that clients do not come back together.
pub fn around(random: &mut Rng, mean_ms: u64) -> u64 {
    random.u64(mean_ms / 2..=mean_ms / 2 + mean_ms)
}

/// The field by which a stream says so. It counts as soon as its line is read, without the blank line that ends an
/// event: parsers that make an event of any blank line must not find one.
pub fn line(retry_ms: u64) -> String {
    format!("retry: {retry_ms}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spread_around_the_mean() {
        // How many are in each tenth.
        let mut seen = [0; 10];
        for seed in 0..1000 {
            let ms = around(&mut Rng::with_seed(seed), 1000);
            assert!((500..=1500).contains(&ms), "{ms}");
            seen[((ms - 500) / 100).min(9) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (60..140).contains(&count)), "{seen:?}");
        assert_eq!(around(&mut Rng::with_seed(1), 0), 0);
    }
}
