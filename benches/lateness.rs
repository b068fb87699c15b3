//! How late the shared wheel delivers: 100,000 entries over 10 s, one real ticker thread, and the time
//! from each deadline to the moment at which the ticker has the entry in hand.
//!
//! `cargo bench --bench lateness`; without cargo's `--bench` flag it runs a hundredth of that, as a test.
//! A tick is 1 ms and a deadline never comes early, so an idle machine's floor is the wake-up itself.

use sluicegate::internals::timers::Timers;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let measure = std::env::args().any(|arg| arg == "--bench");
    let (count, over_ms) = if measure { (100_000, 10_000) } else { (1_000, 100) };

    #[allow(clippy::disallowed_methods, reason = "this is the ticker")]
    let start = Instant::now();
    let now_ms = move || start.elapsed().as_millis() as u64;
    let instant_of = move |due_ms| start + Duration::from_millis(due_ms);

    let timers = Arc::new(Timers::new(0));
    let ticker = {
        let timers = Arc::clone(&timers);
        thread::spawn(move || {
            let mut late_us = Vec::with_capacity(count as usize);
            let mut expired = Vec::new();
            let mut batches = 0u64;
            while late_us.len() < count as usize && timers.wait(now_ms, instant_of, &mut expired) {
                let delivered_us = start.elapsed().as_micros() as u64;
                batches += 1;
                // Not early, by the clock that the wheel was given: an overflow here would say so.
                late_us.extend(expired.iter().map(|e| delivered_us - e.due_ms * 1000));
            }
            (late_us, batches)
        })
    };

    // A head start, so that none is overdue before the last is armed.
    let first_ms = now_ms() + 200;
    for n in 0..count {
        timers.arm(first_ms + n * 7919 % count * over_ms / count, n);
    }
    let armed_ms = now_ms();
    let (mut late_us, batches) = ticker.join().expect("the ticker ends well");
    assert_eq!(late_us.len() as u64, count);
    assert!(armed_ms < first_ms, "armed before the first was due");

    late_us.sort_unstable();
    let at = |part: f64| late_us[((count - 1) as f64 * part) as usize] as f64 / 1000.0;
    println!(
        "lateness of {count} entries over {over_ms} ms, in {batches} batches: \
         p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
