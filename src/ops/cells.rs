//! Counters that cost a plain load and a plain store.
//!
//! A cell has one writer, and any number of readers that may see it a moment late. The writer needs
//! no read-modify-write instruction, and no two writers share a cache line.
//!
//! Invariant: only one thread at a time writes to a cell. A second one would lose counts.

use std::sync::atomic::{AtomicU64, Ordering};

use strum::VariantArray;

use crate::hub::close::CloseReason;
use crate::hub::gap::GapReason;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds to it. For its one writer only.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets it. For its one writer only.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of all histograms, in nanoseconds: 50 µs to 10 s, about three a decade.
pub const BUCKETS_NANOS: [u64; 17] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// A histogram of durations with one writer.
#[derive(Debug, Default)]
pub struct Histogram {
    /// A cell per bucket, not cumulative; the last is for what is longer than all bounds.
    buckets: [Cell; BUCKETS_NANOS.len() + 1],
    /// The sum in seconds, as the bits of an `f64`. In nanoseconds a `u64` would be full after days:
    /// the latencies of a million deliveries a second add up to hours a second.
    sum: AtomicU64,
}

impl Histogram {
    /// Counts `count` durations of `nanos` nanoseconds each. For its one writer only.
    #[inline]
    pub fn observe_n(&self, nanos: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.buckets[BUCKETS_NANOS.partition_point(|bound| *bound < nanos)].add(count);
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed)) + nanos as f64 / 1e9 * count as f64;
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
    }

    /// Counts one duration. For its one writer only.
    #[inline]
    pub fn observe(&self, nanos: u64) {
        self.observe_n(nanos, 1);
    }

    /// Adds what the histogram holds to a sum of several.
    pub(super) fn read_into(&self, sum: &mut HistogramSum) {
        for (into, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *into += bucket.get();
        }
        sum.seconds += f64::from_bits(self.sum.load(Ordering::Relaxed));
    }
}

/// What several histograms hold together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct HistogramSum {
    /// As in [`Histogram`]: not cumulative.
    pub(super) buckets: [u64; BUCKETS_NANOS.len() + 1],
    pub(super) seconds: f64,
}

/// What one shard counts. Its thread alone writes.
///
/// Aligned to two cache lines, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardCells {
    /// Open streams.
    pub streams: Cell,
    /// Streams opened.
    pub streams_opened: Cell,
    /// Open streams that read behind the head of the log.
    pub behind_streams: Cell,
    /// How many of them wait for a page of what has left the log.
    pub paging_streams: Cell,
    /// What those hold of events that have left the log, in bytes.
    pub pinned_bytes: Cell,
    /// Events handed to the kernel or to a sink: one per event and stream.
    pub deliveries: Cell,
    /// Bytes written to streams.
    pub bytes_written: Cell,
    /// Writes to streams that took at least a byte: calls of `send` or runs handed to a sink.
    pub writes: Cell,
    /// The time from an event's publish to the write that carried it, per delivery.
    pub delivery: Histogram,
    /// The length of passes.
    pub pass: Histogram,
    /// The processor time that passes took, in nanoseconds.
    pub busy_ns: Cell,
    closed: [Cell; CloseReason::VARIANTS.len()],
    gaps: [Cell; GapReason::VARIANTS.len()],
}

impl ShardCells {
    /// Cells for so many shards.
    pub fn for_shards(shards: usize) -> std::sync::Arc<[ShardCells]> {
        (0..shards).map(|_| ShardCells::default()).collect()
    }

    /// The count of streams closed for this reason.
    #[inline]
    pub fn streams_closed(&self, reason: CloseReason) -> &Cell {
        &self.closed[reason as usize]
    }

    /// The count of gaps for this reason.
    #[inline]
    pub fn gaps(&self, reason: GapReason) -> &Cell {
        &self.gaps[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bucket_of(nanos: u64, expected: usize) {
        let histogram = Histogram::default();
        histogram.observe_n(nanos, 3);
        let mut sum = HistogramSum::default();
        histogram.read_into(&mut sum);
        assert_eq!(sum.buckets.iter().position(|n| *n == 3), Some(expected), "{nanos} ns");
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        bucket_of(0, 0);
        for (i, bound) in BUCKETS_NANOS.into_iter().enumerate() {
            bucket_of(bound - 1, i);
            bucket_of(bound, i);
            bucket_of(bound + 1, i + 1);
        }
        bucket_of(u64::MAX, BUCKETS_NANOS.len());
    }

    #[test]
    fn histograms_add_up() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.observe_n(1_000_000, 1000);
        two.observe(2_000_000_000);
        two.observe_n(5, 0);
        let mut sum = HistogramSum::default();
        one.read_into(&mut sum);
        two.read_into(&mut sum);
        assert_eq!(sum.buckets.iter().sum::<u64>(), 1001);
        assert!((sum.seconds - 3.0).abs() < 1e-9, "{}", sum.seconds);
    }

    #[test]
    fn a_reader_sees_a_writer_count_up_and_all_of_it_in_the_end() {
        const ROUNDS: u64 = 200_000;
        let cells = ShardCells::for_shards(1);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for i in 0..ROUNDS {
                    cells[0].deliveries.add(2);
                    cells[0].delivery.observe_n(i, 2);
                }
            });
            let mut seen = 0;
            while !writer.is_finished() {
                let now = cells[0].deliveries.get();
                assert!(now >= seen && now <= 2 * ROUNDS);
                seen = now;
            }
        });
        let mut sum = HistogramSum::default();
        cells[0].delivery.read_into(&mut sum);
        assert_eq!((cells[0].deliveries.get(), sum.buckets.iter().sum()), (2 * ROUNDS, 2 * ROUNDS));
    }

    #[test]
    fn shards_share_no_cache_line() {
        let cells = ShardCells::for_shards(2);
        let [one, two] = [&cells[0], &cells[1]].map(|cells| std::ptr::from_ref(cells).addr());
        assert!(one % 128 == 0 && two % 128 == 0 && two > one);
    }
}
