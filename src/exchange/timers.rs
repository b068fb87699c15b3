//! The one wheel that all cores arm, and the wait of the one thread that turns it.

use std::time::Instant;

use crate::hub::wheel::{Expired, TimerKey, Wheel};

use super::sync::{Condvar, Mutex};

/// A [`Wheel`] that any thread may arm and one thread, the ticker, waits on.
///
/// Invariant: one thread at a time is in [`wait`](Self::wait).
/// Invariant: while the ticker sleeps, it sleeps no longer than the wheel's next due time, or an arm or
/// a stop has already called for it.
#[derive(Debug)]
pub struct Timers<T> {
    // A parking_lot mutex: it is held for tens of nanoseconds by an arm, is only contended when cores
    // arm at the same moment, and goes with a condition variable, which an adaptive spin lock does not.
    // Never done under it: running a caller's code (its clock, the drop of an item), waking the ticker,
    // delivering what has expired, taking another lock. The longest hold is one sweep of the ticker:
    // linear in what is due, a few ms for 100,000 entries.
    state: Mutex<State<T>>,
    /// Called when the ticker must look again before the time it sleeps until.
    wake: Condvar,
}

#[derive(Debug)]
struct State<T> {
    wheel: Wheel<T>,
    ticker: Ticker,
    stopped: bool,
}

#[derive(Debug)]
enum Ticker {
    /// Will look at the wheel before it sleeps, or has been called: no need to wake it.
    Awake,
    /// Asleep until this time of the wheel.
    Until(u64),
    /// Asleep with nothing armed.
    UntilCalled,
}

impl<T> Timers<T> {
    /// An empty wheel whose time is `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Self {
            state: Mutex::new(State { wheel: Wheel::new(now_ms), ticker: Ticker::Awake, stopped: false }),
            wake: Condvar::new(),
        }
    }

    /// Arms `item` for `due_ms`; a deadline in the past is delivered at once. The ticker is woken only if
    /// it sleeps past `due_ms`.
    pub fn arm(&self, due_ms: u64, item: T) -> TimerKey {
        let mut state = self.state.lock();
        let key = state.wheel.insert(due_ms, item);
        let oversleeps = match state.ticker {
            Ticker::Awake => false,
            Ticker::Until(wake_ms) => due_ms < wake_ms,
            Ticker::UntilCalled => true,
        };
        if oversleeps {
            // Called once: whoever arms before it runs need not call again.
            state.ticker = Ticker::Awake;
        }
        drop(state);
        if oversleeps {
            self.wake.notify_one();
        }
        key
    }

    /// Disarms the entry and gives its item back; it will not be delivered. `None` if the ticker has
    /// taken it already, or if it was cancelled before.
    ///
    /// Never wakes the ticker: at worst it looks once for nothing.
    pub fn cancel(&self, key: TimerKey) -> Option<T> {
        self.state.lock().wheel.cancel(key)
    }

    /// How many entries are armed.
    pub fn len(&self) -> usize {
        self.state.lock().wheel.len()
    }

    /// Whether no entry is armed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Blocks until something is due and fills `expired` with it (cleared first, in the order of
    /// [`Wheel::advance`]); or until [`stop`](Self::stop), then answers `false`, with `expired` empty.
    ///
    /// `now_ms` reads the clock that deadlines are given in, and `instant_of` says when that clock will
    /// read a given time. Nothing is delivered before `now_ms` has reached its deadline, so an
    /// `instant_of` that is early costs a needless look, and one that is late makes deliveries late.
    pub fn wait(
        &self,
        now_ms: impl Fn() -> u64,
        instant_of: impl Fn(u64) -> Instant,
        expired: &mut Vec<Expired<T>>,
    ) -> bool {
        expired.clear();
        loop {
            let now_ms = now_ms();
            let mut state = self.state.lock();
            if state.stopped {
                return false;
            }
            state.wheel.advance(now_ms, expired);
            if !expired.is_empty() {
                return true;
            }
            let wake_ms = state.wheel.next_due_ms();
            drop(state);

            let wake_at = wake_ms.map(&instant_of);

            // Whatever was armed while the lock was free found the ticker awake and called nobody, so it
            // is looked for here, under the lock that the sleep gives up: no wake-up falls between.
            let mut state = self.state.lock();
            let armed_earlier = match (state.wheel.next_due_ms(), wake_ms) {
                (Some(next_ms), Some(wake_ms)) => next_ms < wake_ms,
                (next_ms, None) => next_ms.is_some(),
                (None, Some(_)) => false,
            };
            if state.stopped || armed_earlier {
                continue;
            }
            debug_assert!(matches!(state.ticker, Ticker::Awake), "one thread waits at a time");
            match (wake_ms, wake_at) {
                (Some(wake_ms), Some(wake_at)) => {
                    state.ticker = Ticker::Until(wake_ms);
                    self.wake.wait_until(&mut state, wake_at);
                }
                _ => {
                    state.ticker = Ticker::UntilCalled;
                    self.wake.wait(&mut state);
                }
            }
            state.ticker = Ticker::Awake;
        }
    }

    /// Ends the present [`wait`](Self::wait) and every later one. What is still armed is never delivered;
    /// it is dropped with the wheel.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// Far more than a busy machine needs to wake a thread, far less than the deadlines of idle entries.
    const PROMPT: Duration = Duration::from_secs(5);
    const HOUR_MS: u64 = 3_600_000;

    #[derive(Copy, Clone)]
    struct Clock(Instant);

    impl Clock {
        #[allow(clippy::disallowed_methods, reason = "a test is its own ticker")]
        fn start() -> Self {
            Self(Instant::now())
        }

        fn now_ms(self) -> u64 {
            self.0.elapsed().as_millis() as u64
        }

        fn instant_of(self, due_ms: u64) -> Instant {
            self.0 + Duration::from_millis(due_ms)
        }
    }

    /// A delivery: the item, its deadline, and the time at which it was delivered.
    type Delivery = (u64, u64, u64);

    /// A ticker thread that sends on what it is given, and ends when stopped.
    fn ticker(timers: &Arc<Timers<u64>>, clock: Clock) -> (thread::JoinHandle<()>, mpsc::Receiver<Delivery>) {
        let (send, receive) = mpsc::channel();
        let timers = Arc::clone(timers);
        let handle = thread::spawn(move || {
            let mut expired = Vec::new();
            while timers.wait(|| clock.now_ms(), |ms| clock.instant_of(ms), &mut expired) {
                assert!(!expired.is_empty());
                let now_ms = clock.now_ms();
                for Expired { due_ms, item } in expired.drain(..) {
                    send.send((item, due_ms, now_ms)).expect("received");
                }
            }
            assert!(expired.is_empty());
        });
        (handle, receive)
    }

    /// Waits until the ticker sleeps.
    fn asleep(timers: &Timers<u64>) {
        while matches!(timers.state.lock().ticker, Ticker::Awake) {
            thread::yield_now();
        }
    }

    #[test]
    fn what_many_threads_arm_arrives_once_and_never_early() {
        const THREADS: u64 = 4;
        const EACH: u64 = 2000;
        let clock = Clock::start();
        let timers = Arc::new(Timers::new(0));
        let (handle, deliveries) = ticker(&timers, clock);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let timers = &timers;
                scope.spawn(move || {
                    for n in 0..EACH {
                        // Some overdue, most a little ahead, in no order.
                        let due_ms = (clock.now_ms() + n * 7919 % 200).saturating_sub(10);
                        timers.arm(due_ms, thread * EACH + n);
                    }
                });
            }
        });
        let mut seen = HashMap::new();
        for _ in 0..THREADS * EACH {
            let (item, due_ms, now_ms) = deliveries.recv_timeout(PROMPT).expect("delivered");
            assert!(now_ms >= due_ms, "{item} came {} ms early", due_ms - now_ms);
            assert_eq!(seen.insert(item, due_ms), None, "{item} came twice");
        }
        assert!(timers.is_empty());
        timers.stop();
        handle.join().expect("the ticker ends well");
        assert!(deliveries.recv().is_err(), "nothing more");
    }

    #[test]
    fn what_is_cancelled_is_never_delivered_unless_already_taken() {
        const COUNT: u64 = 5000;
        let clock = Clock::start();
        let timers = Arc::new(Timers::new(0));
        let (handle, deliveries) = ticker(&timers, clock);
        // Cancels race with expiry: half of the entries are due by the time theirs comes.
        let keys: Vec<_> = (0..COUNT).map(|n| timers.arm(clock.now_ms() + n % 8, n)).collect();
        let cancelled: Vec<_> = keys.iter().filter_map(|&key| timers.cancel(key)).collect();
        assert!(keys.iter().all(|&key| timers.cancel(key).is_none()));
        assert!(timers.is_empty());
        let mut seen: Vec<_> =
            (cancelled.len()..COUNT as usize).map(|_| deliveries.recv_timeout(PROMPT).expect("delivered").0).collect();
        seen.extend(cancelled);
        seen.sort_unstable();
        assert_eq!(seen, (0..COUNT).collect::<Vec<_>>(), "each one way only");
        timers.stop();
        handle.join().expect("the ticker ends well");
    }

    #[test]
    fn an_earlier_deadline_wakes_a_sleeping_ticker() {
        let clock = Clock::start();
        let timers = Arc::new(Timers::new(0));
        let (handle, deliveries) = ticker(&timers, clock);
        asleep(&timers);
        // With nothing armed, with a later deadline armed, and again.
        for n in 0..3 {
            timers.arm(HOUR_MS - n, 100 + n);
            asleep(&timers);
            let due_ms = clock.now_ms() + 20;
            timers.arm(due_ms, n);
            let (item, due, now_ms) = deliveries.recv_timeout(PROMPT).expect("woken");
            assert_eq!((item, due), (n, due_ms));
            assert!(now_ms >= due_ms && now_ms < due_ms + PROMPT.as_millis() as u64);
        }
        // One that is overdue already.
        asleep(&timers);
        timers.arm(0, 7);
        assert_eq!(deliveries.recv_timeout(PROMPT).expect("woken").0, 7);
        assert_eq!(timers.len(), 3, "the later ones wait on");
        timers.stop();
        handle.join().expect("the ticker ends well");
    }

    #[test]
    fn a_later_deadline_lets_the_ticker_sleep() {
        let clock = Clock::start();
        let timers = Arc::new(Timers::new(0));
        let (handle, _deliveries) = ticker(&timers, clock);
        timers.arm(HOUR_MS, 0);
        asleep(&timers);
        timers.arm(2 * HOUR_MS, 1);
        // `arm` marks the ticker awake under the same lock when it calls it.
        assert!(matches!(timers.state.lock().ticker, Ticker::Until(_)));
        timers.stop();
        handle.join().expect("the ticker ends well");
    }

    #[test]
    fn an_arm_while_the_sleep_is_prepared_is_not_slept_over() {
        let clock = Clock::start();
        let timers = Timers::new(0);
        // Late enough to tell a lost wake-up, and no later, so that one ends the test.
        timers.arm(PROMPT.as_millis() as u64, 0);
        let armed = AtomicBool::new(false);
        let mut expired = Vec::new();
        // `instant_of` runs between the look and the sleep: the moment in which a wake-up could be lost.
        let instant_of = |due_ms| {
            if !armed.swap(true, Ordering::Relaxed) {
                timers.arm(clock.now_ms() + 5, 1);
            }
            clock.instant_of(due_ms)
        };
        assert!(timers.wait(|| clock.now_ms(), instant_of, &mut expired));
        assert_eq!(expired[0].item, 1);
        // And likewise for a stop.
        let stopping_instant_of = |due_ms| {
            timers.stop();
            clock.instant_of(due_ms)
        };
        assert!(!timers.wait(|| clock.now_ms(), stopping_instant_of, &mut expired));
        assert!(expired.is_empty(), "cleared first");
    }

    #[test]
    fn stop_ends_the_wait_promptly_and_for_good() {
        for armed in [None, Some(HOUR_MS)] {
            let clock = Clock::start();
            let timers = Arc::new(Timers::new(0));
            if let Some(due_ms) = armed {
                timers.arm(due_ms, 0);
            }
            let (handle, deliveries) = ticker(&timers, clock);
            asleep(&timers);
            timers.stop();
            assert_eq!(deliveries.recv_timeout(PROMPT), Err(mpsc::RecvTimeoutError::Disconnected));
            handle.join().expect("the ticker ends well");
            timers.arm(0, 1);
            let mut expired = Vec::new();
            assert!(!timers.wait(|| clock.now_ms(), |ms| clock.instant_of(ms), &mut expired));
        }
    }
}
