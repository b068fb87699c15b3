//! How many connections a listener has at most, and which must go when there is none for another:
//! the one whose client has been silent for longest.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ops::metrics::{ConnectionGuard, Listener, Metrics};

use super::clock::Clock;

/// The connections of a listener that are no streams.
#[derive(Debug)]
pub struct Slots {
    listener: Listener,
    max: usize,
    metrics: Arc<Metrics>,
    clock: Clock,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    taken: usize,
    /// Those that are to close for another and have not yet.
    leaving: usize,
    /// Connections that wait for their client, longest first.
    idle: BTreeMap<u64, Idle>,
    next: u64,
    /// A warning has said that all are taken, and more than half have been ever since.
    has_warned: bool,
}

/// A connection that waits for its client.
#[derive(Debug)]
struct Idle {
    since_ms: u64,
    /// Wakes its task, which then finds itself gone from the table.
    waker: Waker,
}

/// What came of asking for a slot.
enum Asked {
    Taken,
    /// If the longest idle may be closed only later, says after what time.
    Full {
        is_first: bool,
        again_in_ms: Option<u64>,
    },
}

/// How long a connection may wait for its client before it is closed for another. In a storm of connects
/// most are new and their requests on the way: those wait in the backlog rather than close each other.
const IDLE_MS_MIN: u64 = 1_000;

impl Slots {
    /// Slots for `max` connections.
    pub fn new(listener: Listener, max: usize, metrics: Arc<Metrics>, clock: Clock) -> Arc<Slots> {
        Arc::new(Slots { listener, max, metrics, clock, table: Mutex::default(), freed: Notify::new() })
    }

    /// Waits for a slot. If all are taken, the connection that has waited for its client for longest is
    /// closed; where each is at work, one has to end first.
    pub async fn take(self: &Arc<Slots>) -> Slot {
        let mut waited = false;
        loop {
            match self.ask() {
                Asked::Taken => {
                    if waited {
                        // Whoever else waits may find another slot, or has to have one cleared.
                        self.freed.notify_one();
                    }
                    let counted = self.metrics.connection(self.listener);
                    return Slot { slots: self.clone(), idle: Cell::new(None), _counted: counted };
                }
                Asked::Full { is_first, again_in_ms } => {
                    if is_first {
                        tracing::warn!(
                            listener = self.listener.as_ref(),
                            max = self.max,
                            "as many connections are open as may be: for each new one the longest idle is closed"
                        );
                    }
                    if !std::mem::replace(&mut waited, true) {
                        self.metrics.connection_over_limit(self.listener);
                    }
                    let again_in = Duration::from_millis(again_in_ms.unwrap_or(u64::from(u32::MAX)));
                    // Either way it is asked again.
                    let _ = tokio::time::timeout(again_in, self.freed.notified()).await;
                }
            }
        }
    }

    fn ask(&self) -> Asked {
        let mut table = self.table.lock();
        if table.taken < self.max {
            table.taken += 1;
            return Asked::Taken;
        }
        let (mut again_in_ms, mut evicted) = (None, None);
        if table.leaving == 0
            && let Some(longest) = table.idle.first_entry()
        {
            let idle_ms = self.clock.now_ms().saturating_sub(longest.get().since_ms);
            if idle_ms >= IDLE_MS_MIN {
                evicted = Some(longest.remove().waker);
                table.leaving += 1;
            } else {
                again_in_ms = Some(IDLE_MS_MIN - idle_ms);
            }
        }
        let is_first = !std::mem::replace(&mut table.has_warned, true);
        drop(table);
        if let Some(waker) = evicted {
            waker.wake();
        }
        Asked::Full { is_first, again_in_ms }
    }
}

/// A connection's slot. It is free again when this is dropped: when the connection is closed, or has
/// become a stream.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// Where it is among the idle, since it has waited for its client. One whose request is there at once never is.
    idle: Cell<Option<u64>>,
    _counted: ConnectionGuard,
}

impl Slot {
    /// A request has come. `false` if the connection is to close for another.
    #[must_use]
    pub fn begin(&self) -> bool {
        let Some(at) = self.idle.get() else { return true };
        let stays = self.slots.table.lock().idle.remove(&at).is_some();
        if stays {
            self.idle.set(None);
        }
        stays
    }

    /// The connection waits for its client. Ready when it is to close for another.
    pub fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        let mut table = self.slots.table.lock();
        if let Some(at) = self.idle.get() {
            let Some(idle) = table.idle.get_mut(&at) else { return Poll::Ready(()) };
            idle.waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        let (at, since_ms) = (table.next, self.slots.clock.now_ms());
        table.next += 1;
        table.idle.insert(at, Idle { since_ms, waker: cx.waker().clone() });
        self.idle.set(Some(at));
        if table.taken >= self.slots.max {
            // It may be closed for whoever waits.
            self.slots.freed.notify_one();
        }
        Poll::Pending
    }

    /// The connection waits for its client. Is over when it is to close for another.
    pub async fn evicted(&self) {
        std::future::poll_fn(|cx| self.poll_idle(cx)).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.table.lock();
        let was_full = table.taken >= self.slots.max;
        table.taken -= 1;
        if let Some(at) = self.idle.take()
            && table.idle.remove(&at).is_none()
        {
            table.leaving -= 1;
        }
        if table.taken <= self.slots.max / 2 {
            table.has_warned = false;
        }
        drop(table);
        if was_full {
            self.slots.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;
    use crate::ops::metrics::{Gauges, ShardCells};

    const SOON: Duration = Duration::from_secs(5);

    fn slots(max: usize) -> Arc<Slots> {
        let metrics = Metrics::new(ShardCells::for_shards(1), Gauges::default());
        Slots::new(Listener::Public, max, Arc::new(metrics), Clock::start())
    }

    async fn taken(slots: &Arc<Slots>) -> Slot {
        timeout(SOON, slots.take()).await.expect("a slot")
    }

    /// Lets so much time pass that whoever waits for a client may be closed for another.
    async fn idle() {
        tokio::time::sleep(Duration::from_millis(IDLE_MS_MIN + 1)).await;
    }

    /// Someone who waits for a slot, and has begun to.
    async fn waits(slots: &Arc<Slots>) -> JoinHandle<Slot> {
        let waits = tokio::task::spawn_local({
            let slots = slots.clone();
            async move { slots.take().await }
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        waits
    }

    /// Has it wait for its client, and says whether it is to close for another.
    fn is_evicted(slot: &Slot) -> bool {
        slot.poll_idle(&Context::from_waker(Waker::noop())).is_ready()
    }

    fn local(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn the_longest_idle_makes_room_and_no_other() {
        local(async {
            let slots = slots(3);
            let (worker, first, second) = (taken(&slots).await, taken(&slots).await, taken(&slots).await);
            assert!([&worker, &first, &second].iter().all(|slot| !is_evicted(slot)));
            assert!(worker.begin());
            // It was at work in between, and so has waited for less long than the second.
            assert!(first.begin() && !is_evicted(&first));
            idle().await;
            let newcomer = waits(&slots).await;
            assert!(is_evicted(&second) && !is_evicted(&first) && worker.begin());
            // It begins nothing new.
            assert!(!second.begin() && is_evicted(&second));
            // One at a time: that one makes room.
            let next = waits(&slots).await;
            assert!(!is_evicted(&first));
            drop(second);
            let newcomer = timeout(SOON, newcomer).await.unwrap().unwrap();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(is_evicted(&first) && !is_evicted(&newcomer));
            drop(first);
            let _next = timeout(SOON, next).await.unwrap().unwrap();
            assert_eq!(slots.table.lock().taken, 3);
        });
    }

    /// In a storm of connects, each would close another before its request had come.
    #[test]
    fn a_newcomer_closes_no_connection_that_is_new_itself() {
        local(async {
            let slots = slots(1);
            let first = taken(&slots).await;
            assert!(!is_evicted(&first));
            let newcomer = waits(&slots).await;
            assert!(!is_evicted(&first) && first.begin());
            drop(first);
            let second = timeout(SOON, newcomer).await.unwrap().unwrap();
            let newcomer = waits(&slots).await;
            // One whose request does not come is closed in the end, with nothing else happening.
            timeout(SOON, second.evicted()).await.expect("closed");
            drop(second);
            timeout(SOON, newcomer).await.unwrap().unwrap();
        });
    }

    #[test]
    fn where_all_are_at_work_a_newcomer_waits_until_one_is_idle() {
        local(async {
            let slots = slots(2);
            let (one, other) = (taken(&slots).await, taken(&slots).await);
            assert!(one.begin() && other.begin());
            let newcomer = waits(&slots).await;
            timeout(SOON, one.evicted()).await.expect("it makes room");
            drop(one);
            let newcomer = timeout(SOON, newcomer).await.unwrap().unwrap();
            assert!(newcomer.begin());
            let next = waits(&slots).await;
            drop(other);
            timeout(SOON, next).await.unwrap().unwrap();
        });
    }

    #[test]
    fn slots_that_are_free_at_once_go_to_all_who_wait() {
        local(async {
            let slots = slots(4);
            let mut held = Vec::new();
            for _ in 0..4 {
                let slot = taken(&slots).await;
                assert!(slot.begin());
                held.push(slot);
            }
            let waiting = [waits(&slots).await, waits(&slots).await, waits(&slots).await];
            held.clear();
            for newcomer in waiting {
                timeout(SOON, newcomer).await.expect("a slot for each").unwrap();
            }
            assert_eq!(slots.table.lock().taken, 0);
        });
    }
}
