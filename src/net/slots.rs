//! How many connections a listener has at most, and which must go when there is none for another:
//! the one whose client has been silent for longest.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
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
    /// Those whose connection is told to go and is still there.
    leaving: usize,
    /// Connections that wait for their client, longest first.
    resting: BTreeMap<u64, Resting>,
    next: u64,
    /// It has been said that all are taken, and more than half have been ever since.
    is_told: bool,
}

/// A connection that waits for its client.
#[derive(Debug)]
struct Resting {
    since_ms: u64,
    /// How it is told to go.
    evicted: Arc<Notify>,
}

/// What came of asking for a slot.
enum Asked {
    Taken(u64),
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
        let evicted = Arc::new(Notify::new());
        let mut waited = false;
        loop {
            match self.ask(&evicted) {
                Asked::Taken(resting) => {
                    let counted = self.metrics.connection(self.listener);
                    return Slot { slots: self.clone(), resting: Cell::new(Some(resting)), evicted, _counted: counted };
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

    fn ask(&self, evicted: &Arc<Notify>) -> Asked {
        let now_ms = self.clock.now_ms();
        let mut table = self.table.lock();
        if table.taken < self.max {
            table.taken += 1;
            let resting = table.rest(now_ms, evicted.clone());
            // Whoever else waits may find another slot, or has to have one cleared.
            self.freed.notify_one();
            return Asked::Taken(resting);
        }
        let mut again_in_ms = None;
        if table.leaving == 0
            && let Some(longest) = table.resting.first_entry()
        {
            let idle_ms = now_ms.saturating_sub(longest.get().since_ms);
            if idle_ms >= IDLE_MS_MIN {
                longest.remove().evicted.notify_one();
                table.leaving += 1;
            } else {
                again_in_ms = Some(IDLE_MS_MIN - idle_ms);
            }
        }
        Asked::Full { is_first: !std::mem::replace(&mut table.is_told, true), again_in_ms }
    }
}

impl Table {
    fn rest(&mut self, since_ms: u64, evicted: Arc<Notify>) -> u64 {
        let at = self.next;
        self.next += 1;
        self.resting.insert(at, Resting { since_ms, evicted });
        at
    }
}

/// A connection's slot. It is free again when this is dropped: when the connection is closed, or has
/// become a stream.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// Where it is among those that wait for their client, unless it is at work.
    resting: Cell<Option<u64>>,
    evicted: Arc<Notify>,
    _counted: ConnectionGuard,
}

impl Slot {
    /// A request has come. `false` if the connection has just been told to go.
    #[must_use]
    pub fn begin(&self) -> bool {
        let Some(resting) = self.resting.get() else { return true };
        let stays = self.slots.table.lock().resting.remove(&resting).is_some();
        if stays {
            self.resting.set(None);
        }
        stays
    }

    /// The request is answered: the connection waits for its client.
    pub fn rest(&self) {
        let now_ms = self.slots.clock.now_ms();
        let mut table = self.slots.table.lock();
        self.resting.set(Some(table.rest(now_ms, self.evicted.clone())));
        if table.taken >= self.slots.max {
            // It may be closed for whoever waits.
            self.slots.freed.notify_one();
        }
    }

    /// Is over when the connection is to be closed for another.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.slots.table.lock();
        table.taken -= 1;
        if let Some(resting) = self.resting.take()
            && table.resting.remove(&resting).is_none()
        {
            table.leaving -= 1;
        }
        if table.taken <= self.slots.max / 2 {
            table.is_told = false;
        }
        drop(table);
        self.slots.freed.notify_one();
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

    #[track_caller]
    fn is_evicted(slot: &Slot) -> bool {
        use std::task::{Context, Poll, Waker};
        let evicted = std::pin::pin!(slot.evicted());
        evicted.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
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
            assert!(worker.begin());
            // It was at work in between, and so has waited for less long than the second.
            assert!(first.begin());
            first.rest();
            idle().await;
            let newcomer = waits(&slots).await;
            assert!(is_evicted(&second) && !is_evicted(&first) && !is_evicted(&worker));
            // Told to go, it begins nothing new.
            assert!(!second.begin());
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
    fn where_all_are_at_work_a_newcomer_waits_until_one_rests() {
        local(async {
            let slots = slots(2);
            let (one, other) = (taken(&slots).await, taken(&slots).await);
            assert!(one.begin() && other.begin());
            let newcomer = waits(&slots).await;
            assert!(!is_evicted(&one) && !is_evicted(&other));
            one.rest();
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
