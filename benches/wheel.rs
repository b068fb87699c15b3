//! The wheel beside two others, by wall time: tokio-util's `DelayQueue`, and the cancellable four-level
//! wheel of `hierarchical_hash_wheel_timer`. Each group is named after the claim it protects.
//!
//! `cargo bench --bench wheel` (add `-- --quick` for a first look). `DelayQueue` reads the real clock, so
//! its entries are given the time to fall due; that wait is not counted.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hierarchical_hash_wheel_timer::IdOnlyTimerEntry;
use hierarchical_hash_wheel_timer::wheels::{Skip, cancellable::QuadWheelWithOverflow};
use sluicegate::internals::hub::wheel::{Expired, TimerKey, Wheel};
use std::future::poll_fn;
use std::hint::black_box;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::{EnterGuard, Runtime};
use tokio_util::time::{DelayQueue, delay_queue};

const ARMED: u64 = 100_000;
const REARMED: u64 = 10_000;
const SPREAD_MS: u64 = 1280;
const SWEEP_MS: u64 = 64;
const HEARTBEAT_MS: u64 = 15_000;

/// What each of the three can do, in milliseconds since it was made.
trait Contender {
    const NAME: &'static str;
    type Key;
    fn new() -> Self;
    fn arm(&mut self, due_ms: u64, item: u64) -> Self::Key;
    fn cancel(&mut self, key: Self::Key);
    /// Waits until `now_ms` has come, where the clock is real.
    fn pass(&mut self, now_ms: u64);
    /// Hands everything that is due by `now_ms` to `items`.
    fn sweep(&mut self, now_ms: u64, items: &mut Vec<u64>);
}

struct Ours {
    wheel: Wheel<u64>,
    expired: Vec<Expired<u64>>,
}

impl Contender for Ours {
    const NAME: &'static str = "wheel";
    type Key = TimerKey;

    fn new() -> Self {
        Self { wheel: Wheel::new(0), expired: Vec::new() }
    }

    fn arm(&mut self, due_ms: u64, item: u64) -> TimerKey {
        self.wheel.insert(due_ms, item)
    }

    fn cancel(&mut self, key: TimerKey) {
        black_box(self.wheel.cancel(key)).expect("armed");
    }

    fn pass(&mut self, _: u64) {}

    fn sweep(&mut self, now_ms: u64, items: &mut Vec<u64>) {
        self.wheel.advance(now_ms, &mut self.expired);
        items.extend(self.expired.drain(..).map(|entry| entry.item));
    }
}

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));

struct Tokio {
    queue: DelayQueue<u64>,
    start: tokio::time::Instant,
    // Entered once, so that no arm pays for it.
    _guard: EnterGuard<'static>,
}

impl Contender for Tokio {
    const NAME: &'static str = "delay_queue";
    type Key = delay_queue::Key;

    fn new() -> Self {
        let guard = RUNTIME.enter();
        Self { queue: DelayQueue::new(), start: tokio::time::Instant::now(), _guard: guard }
    }

    fn arm(&mut self, due_ms: u64, item: u64) -> delay_queue::Key {
        self.queue.insert_at(item, self.start + Duration::from_millis(due_ms))
    }

    fn cancel(&mut self, key: delay_queue::Key) {
        black_box(self.queue.remove(&key));
    }

    fn pass(&mut self, now_ms: u64) {
        // Two more, as its own ticks are rounded up.
        let until = self.start + Duration::from_millis(now_ms + 2);
        RUNTIME.block_on(tokio::time::sleep_until(until));
    }

    fn sweep(&mut self, _: u64, items: &mut Vec<u64>) {
        // It sweeps to the real clock's time, by which all is due: the first call takes the lot.
        let queue = &mut self.queue;
        let drained = poll_fn(|cx| {
            while let Poll::Ready(Some(entry)) = queue.poll_expired(cx) {
                items.push(entry.into_inner());
            }
            Poll::Ready(())
        });
        RUNTIME.block_on(tokio::task::unconstrained(drained));
    }
}

struct Quad {
    wheel: QuadWheelWithOverflow<IdOnlyTimerEntry<u64>>,
    now_ms: u64,
}

impl Contender for Quad {
    const NAME: &'static str = "quad_wheel";
    type Key = u64;

    fn new() -> Self {
        Self { wheel: QuadWheelWithOverflow::new(), now_ms: 0 }
    }

    fn arm(&mut self, due_ms: u64, item: u64) -> u64 {
        let delay = Duration::from_millis(due_ms - self.now_ms);
        let entry = IdOnlyTimerEntry { id: item, delay };
        self.wheel.insert(entry).expect("in the future");
        item
    }

    fn cancel(&mut self, key: u64) {
        self.wheel.cancel(&key).expect("armed");
    }

    fn pass(&mut self, _: u64) {}

    fn sweep(&mut self, now_ms: u64, items: &mut Vec<u64>) {
        while self.now_ms < now_ms {
            match self.wheel.can_skip() {
                Skip::Empty => self.now_ms = now_ms,
                Skip::Millis(ms) => {
                    let ms = u64::from(ms).min(now_ms - self.now_ms);
                    self.wheel.skip(ms as u32);
                    self.now_ms += ms;
                }
                Skip::None => {
                    self.now_ms += 1;
                    items.extend(self.wheel.tick().iter().map(|entry| entry.id));
                }
            }
        }
    }
}

/// A fixed scramble of 0‥2^64: deadlines and victims in no order, the same for each contender.
fn scramble(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ n >> 29
}

/// Cancels and arms again `REARMED` of `armed` entries, no two of them neighbours.
fn arm_and_cancel<C: Contender>(c: &mut Criterion, armed: u64) {
    let mut group = c.benchmark_group("arm_and_cancel_search_for_nothing_only_caches_tell_10k_from_100k");
    group.throughput(Throughput::Elements(REARMED)).sample_size(20);
    let due_ms = |n| 30_000 + scramble(n) % 60_000;
    group.bench_function(BenchmarkId::new(C::NAME, armed), |b| {
        b.iter_batched_ref(
            || {
                let mut contender = C::new();
                let keys: Vec<_> = (0..armed).map(|n| Some(contender.arm(due_ms(n), n))).collect();
                (contender, keys)
            },
            |(contender, keys)| {
                for n in 0..REARMED {
                    // 7919 is prime and divides no `armed`: each comes once before one comes again.
                    let victim = n * 7919 % armed;
                    let key = keys[victim as usize].take().expect("armed");
                    contender.cancel(key);
                    keys[victim as usize] = Some(contender.arm(due_ms(armed + n), victim));
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Arms `ARMED` over `SPREAD_MS` and takes them all, a sweep every `SWEEP_MS`; calls `again` for each.
/// Gives the time that arming took, and that of the sweeps.
fn sweeps<C: Contender>(mut again: impl FnMut(&mut C, u64, u64)) -> (Duration, Duration) {
    let mut contender = C::new();
    let started = Instant::now();
    for n in 0..ARMED {
        // Far enough ahead that none falls due while the rest is armed.
        contender.arm(SPREAD_MS + scramble(n) % SPREAD_MS, n);
    }
    let arming = started.elapsed();
    contender.pass(2 * SPREAD_MS);

    let mut items = Vec::new();
    let mut taken = 0;
    let started = Instant::now();
    for now_ms in (SPREAD_MS..=2 * SPREAD_MS).step_by(SWEEP_MS as usize) {
        contender.sweep(now_ms, &mut items);
        for item in items.drain(..) {
            taken += 1;
            again(&mut contender, now_ms, black_box(item));
        }
    }
    let sweeping = started.elapsed();
    assert_eq!(taken, ARMED, "{} takes each once", C::NAME);
    (arming, sweeping)
}

fn arm_and_expire<C: Contender>(c: &mut Criterion) {
    let mut group = c.benchmark_group("a_hundred_thousand_expire_in_sweeps_of_64_ms");
    group.throughput(Throughput::Elements(ARMED)).sample_size(10);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(100));
    group.bench_function(C::NAME, |b| {
        b.iter_custom(|rounds| {
            (0..rounds).map(|_| sweeps::<C>(|_, _, _| {})).map(|(arming, sweeping)| arming + sweeping).sum()
        });
    });
    group.finish();
}

fn heartbeats<C: Contender>(c: &mut Criterion) {
    let mut group = c.benchmark_group("a_heartbeat_that_expires_is_armed_again_in_the_same_breath");
    group.throughput(Throughput::Elements(ARMED)).sample_size(10);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(100));
    group.bench_function(C::NAME, |b| {
        b.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    sweeps::<C>(|contender, now_ms, item| {
                        contender.arm(now_ms + HEARTBEAT_MS, item);
                    })
                })
                .map(|(_, sweeping)| sweeping)
                .sum()
        });
    });
    group.finish();
}

fn all(c: &mut Criterion) {
    arm_and_cancel::<Ours>(c, 10_000);
    arm_and_cancel::<Ours>(c, ARMED);
    arm_and_cancel::<Tokio>(c, ARMED);
    arm_and_cancel::<Quad>(c, ARMED);
    arm_and_expire::<Ours>(c);
    arm_and_expire::<Tokio>(c);
    arm_and_expire::<Quad>(c);
    heartbeats::<Ours>(c);
    heartbeats::<Tokio>(c);
    heartbeats::<Quad>(c);
}

criterion_group!(benches, all);
criterion_main!(benches);
