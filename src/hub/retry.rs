//! How long clients that are sent away wait before they come back.

use fastrand::Rng;

/// A time from half of the mean to one and a half of it, so that clients do not come back together.
pub fn around(random: &mut Rng, mean_ms: u64) -> u64 {
    random.u64(mean_ms / 2..=mean_ms / 2 + mean_ms)
}

/// So many of these times, one from each equal part of the range, so that none are close to each other by chance.
pub fn spread(random: &mut Rng, mean_ms: u64, count: u64) -> impl Iterator<Item = u64> {
    let from = mean_ms / 2;
    (0..count).map(move |n| from + random.u64(n * mean_ms / count..=(n + 1) * mean_ms / count))
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
    fn each_part_of_the_range_has_one() {
        for seed in 0..100 {
            let times: Vec<_> = spread(&mut Rng::with_seed(seed), 1600, 16).collect();
            let parts: Vec<_> = (0..16).map(|n| 800 + n * 100..=900 + n * 100).collect();
            assert!(parts.iter().zip(&times).all(|(part, ms)| part.contains(ms)), "{times:?}");
        }
        assert_eq!(spread(&mut Rng::with_seed(1), 0, 3).collect::<Vec<_>>(), [0, 0, 0]);
    }

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
