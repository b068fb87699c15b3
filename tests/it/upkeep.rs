//! A stream comes and goes at the same cost, however many others there are: what was linear in them once held a
//! shard up for seconds.
//!
//! `benches/hub.rs` measures it; here it is held to a bound that tells what grows with the crowd, a hundredfold or by
//! its logarithm, from what only misses more caches.

use std::time::{Duration, Instant};

use sluicegate::internals::hub::topic::Subscription;

#[allow(dead_code, reason = "the benches use the rest")]
#[path = "../../benches/hub_world/mod.rs"]
mod hub_world;

use hub_world::Crowd;

/// The least that a renewal of some streams takes: whatever else the machine does, it can only take longer.
fn least(crowd: &mut Crowd) -> Duration {
    let renewed = |_| {
        let began = Instant::now();
        crowd.renew();
        began.elapsed()
    };
    (0..40).map(renewed).min().expect("some rounds")
}

#[track_caller]
fn check(few: usize, many: usize, subscription: fn(usize) -> Subscription) {
    let mut crowds = [few, many].map(|streams| Crowd::of(streams, subscription));
    let [few, many] = [0, 1].map(|at| least(&mut crowds[at]));
    assert!(many < 5 * few, "{many:?} among many, {few:?} among few");
}

#[test]
fn streams_of_their_own_topics() {
    check(300, 30_000, hub_world::own_topic);
}

#[test]
fn streams_that_share_127_topics() {
    check(100, 10_000, hub_world::shared_topics);
}

#[test]
fn streams_of_their_own_patterns() {
    check(300, 30_000, hub_world::own_pattern);
}
