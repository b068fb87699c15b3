//! The shared wheel: the ticker sleeps past no deadline that is armed, and a stop always ends its
//! wait. No time passes in a model, so all that is armed here is due at once or never: a ticker that
//! sleeps past what is due sleeps for ever, which loom reports as a deadlock.
//!
//! These faults were put in, one at a time, and a model failed of each:
//! - before it sleeps, the ticker does not look again for what was armed meanwhile, or for a stop;
//! - `arm` does not wake a ticker that sleeps with nothing armed, or until a later deadline;
//! - `arm` wakes before it inserts;
//! - `stop` wakes before it says so.

use std::sync::Arc;
use std::time::Instant;

use loom::thread;
use sluicegate_models::exchange::timers::Timers;

/// What the clock reads.
const NOW_MS: u64 = 10;
const DUE_MS: u64 = 5;
const LATER_MS: u64 = 1000;

/// The ticker: what it is given until it has `count` entries, or is stopped.
fn ticker(timers: &Timers<u64>, count: usize) -> Vec<u64> {
    // It is only handed through.
    let instant = Instant::now();
    let (mut expired, mut items) = (Vec::new(), Vec::new());
    while items.len() < count && timers.wait(|| NOW_MS, |_| instant, &mut expired) {
        items.extend(expired.drain(..).map(|entry| entry.item));
    }
    items.sort_unstable();
    items
}

fn model(armed_before: Option<u64>, model: impl Fn(&Arc<Timers<u64>>) + Sync + Send + 'static) {
    loom::model(move || {
        let timers = Arc::new(Timers::new(0));
        if let Some(due_ms) = armed_before {
            timers.arm(due_ms, 0);
        }
        model(&timers);
    });
}

#[test]
fn what_is_armed_is_not_slept_over() {
    for armed_before in [None, Some(LATER_MS)] {
        model(armed_before, |timers| {
            for item in [1, 2] {
                let timers = timers.clone();
                thread::spawn(move || timers.arm(DUE_MS, item));
            }
            assert_eq!(ticker(timers, 2), [1, 2]);
        });
    }
}

#[test]
fn what_is_armed_earlier_by_and_by_is_not_slept_over() {
    model(None, |timers| {
        let armer = timers.clone();
        thread::spawn(move || {
            armer.arm(LATER_MS, 1);
            armer.arm(LATER_MS - 1, 2);
            armer.arm(DUE_MS, 3);
        });
        assert_eq!(ticker(timers, 1), [3]);
    });
}

#[test]
fn what_is_cancelled_comes_back_or_is_delivered_and_hides_nothing() {
    model(None, |timers| {
        let armer = timers.clone();
        let cancelled = thread::spawn(move || {
            let key = armer.arm(DUE_MS, 1);
            let cancelled = armer.cancel(key);
            armer.arm(DUE_MS, 2);
            cancelled
        });
        let mut items = ticker(timers, 1);
        if items == [1] {
            items.extend(ticker(timers, 1));
        }
        items.extend(cancelled.join().unwrap());
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
    });
}

#[test]
fn a_stop_ends_the_wait() {
    for armed_before in [None, Some(LATER_MS)] {
        model(armed_before, |timers| {
            let (armer, stopper) = (timers.clone(), timers.clone());
            thread::spawn(move || armer.arm(LATER_MS - 1, 1));
            thread::spawn(move || stopper.stop());
            assert!(ticker(timers, 1).is_empty());
        });
    }
}
