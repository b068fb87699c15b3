//! The wheel's operations by instructions executed, which do not depend on the machine's load: a number
//! to hold a change against. Each is named after the claim it protects.
//!
//! `cargo bench --bench wheel_instructions` needs valgrind, and the runner of the same version as the
//! crate: `cargo install gungraun-runner --version 0.20.0`.

#![allow(missing_docs, reason = "the macros make public items without any")]

use gungraun::{library_benchmark, library_benchmark_group, main};
use sluicegate::internals::hub::wheel::{Expired, TimerKey, Wheel};
use std::hint::black_box;

const HOUR_MS: u64 = 3_600_000;

/// A fixed scramble, for deadlines in no order.
fn scramble(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ n >> 29
}

/// A wheel with `count` entries due within 10 s, their keys, and room for what expires.
fn armed(count: u64) -> (Wheel<u64>, Vec<TimerKey>, Vec<Expired<u64>>) {
    let mut wheel = Wheel::new(0);
    let keys = (0..count).map(|n| wheel.insert(1 + scramble(n) % 10_000, n)).collect();
    (wheel, keys, Vec::with_capacity(count as usize))
}

type Armed = (Wheel<u64>, Vec<TimerKey>, Vec<Expired<u64>>);

// A thousand of each, with the slab grown beforehand: the two numbers should be equal.
#[library_benchmark]
#[bench::beside_3k(armed(3000))]
#[bench::beside_100k(armed(100_000))]
fn an_arm_costs_the_same_however_many_are_armed((mut wheel, keys, expired): Armed) -> Armed {
    for n in 0..1000 {
        black_box(wheel.insert(black_box(30_000 + n), n));
    }
    (wheel, keys, expired)
}

#[library_benchmark]
#[bench::of_3k(armed(3000))]
#[bench::of_100k(armed(100_000))]
fn a_cancel_costs_the_same_however_many_are_armed((mut wheel, keys, expired): Armed) -> Armed {
    for &key in &keys[..1000] {
        black_box(wheel.cancel(black_box(key)));
    }
    (wheel, keys, expired)
}

#[library_benchmark]
#[bench::of_100k(armed(100_000))]
fn sweeps_of_64_ms_cost_by_the_entry((mut wheel, keys, mut expired): Armed) -> Armed {
    for now_ms in (0..=10_048).step_by(64) {
        wheel.advance(black_box(now_ms), &mut expired);
    }
    assert_eq!(expired.len(), keys.len());
    (wheel, keys, expired)
}

#[library_benchmark]
#[bench::of_10k(armed(10_000))]
fn a_heartbeat_is_armed_again_in_place((mut wheel, keys, mut expired): Armed) -> Armed {
    for now_ms in (0..=10_048).step_by(64) {
        wheel.advance(black_box(now_ms), &mut expired);
        for Expired { item, .. } in expired.drain(..) {
            black_box(wheel.insert(now_ms + 15_000, item));
        }
    }
    (wheel, keys, expired)
}

#[library_benchmark]
#[bench::with_nothing_armed(armed(0))]
fn an_empty_hour_costs_a_look_at_each_level((mut wheel, keys, mut expired): Armed) -> Armed {
    wheel.advance(black_box(HOUR_MS), &mut expired);
    (wheel, keys, expired)
}

library_benchmark_group!(
    name = wheel,
    benchmarks = [
        an_arm_costs_the_same_however_many_are_armed,
        a_cancel_costs_the_same_however_many_are_armed,
        sweeps_of_64_ms_cost_by_the_entry,
        a_heartbeat_is_armed_again_in_place,
        an_empty_hour_costs_a_look_at_each_level
    ]
);

main!(library_benchmark_groups = wheel);
