//! How many connections a listener has at most, and which must go when there is no room for another:
//! the one whose client has been silent for longest.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ops::metrics::{ConnectionGuard, Listener, Metrics};

/// The connections of a listener that are no streams.
#[derive(Debug)]
pub struct Room {
    listener: Listener,
    max: usize,
    metrics: Arc<Metrics>,
    seats: Mutex<Seats>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Seats {
    taken: usize,
    /// Those whose connection is told to go and is still there.
    leaving: usize,
    /// Connections that wait for their client, longest first, and how they are told to go.
    resting: BTreeMap<u64, Arc<Notify>>,
    next: u64,
    /// It has been said that there is no room, and there has not been much since.
    is_told: bool,
}

/// What came of asking for a seat.
enum Asked {
    Taken(u64),
    Full { first: bool },
}

impl Room {
    /// Room for `max` connections.
    pub fn new(listener: Listener, max: usize, metrics: Arc<Metrics>) -> Arc<Room> {
        Arc::new(Room { listener, max, metrics, seats: Mutex::default(), freed: Notify::new() })
    }

    /// Waits for a seat. If all are taken, the connection that has waited for its client for longest is
    /// closed; where each is at work, one has to end first.
    pub async fn seat(self: &Arc<Room>) -> Seat {
        let evicted = Arc::new(Notify::new());
        let mut waited = false;
        loop {
            match self.ask(&evicted) {
                Asked::Taken(resting) => {
                    let counted = self.metrics.connection(self.listener);
                    return Seat { room: self.clone(), resting: Cell::new(Some(resting)), evicted, _counted: counted };
                }
                Asked::Full { first } => {
                    if first {
                        tracing::warn!(
                            listener = self.listener.as_ref(),
                            max = self.max,
                            "as many connections are open as may be: for each new one the longest idle is closed"
                        );
                    }
                    if !std::mem::replace(&mut waited, true) {
                        self.metrics.connection_over_limit(self.listener);
                    }
                }
            }
            self.freed.notified().await;
        }
    }

    fn ask(&self, evicted: &Arc<Notify>) -> Asked {
        let mut seats = self.seats.lock();
        if seats.taken < self.max {
            seats.taken += 1;
            let resting = seats.rest(evicted.clone());
            // Whoever else waits may find another seat, or has to have one cleared.
            self.freed.notify_one();
            return Asked::Taken(resting);
        }
        if seats.leaving == 0
            && let Some((_, longest)) = seats.resting.pop_first()
        {
            longest.notify_one();
            seats.leaving += 1;
        }
        Asked::Full { first: !std::mem::replace(&mut seats.is_told, true) }
    }
}

impl Seats {
    fn rest(&mut self, evicted: Arc<Notify>) -> u64 {
        let at = self.next;
        self.next += 1;
        self.resting.insert(at, evicted);
        at
    }
}

/// A connection's seat. It is free again when this is dropped: when the connection is closed, or has
/// become a stream.
#[derive(Debug)]
pub struct Seat {
    room: Arc<Room>,
    /// Where it is among those that wait for their client, unless it is at work.
    resting: Cell<Option<u64>>,
    evicted: Arc<Notify>,
    _counted: ConnectionGuard,
}

impl Seat {
    /// A request has come. `false` if the connection has just been told to go.
    #[must_use]
    pub fn begin(&self) -> bool {
        let Some(resting) = self.resting.get() else { return true };
        let stays = self.room.seats.lock().resting.remove(&resting).is_some();
        if stays {
            self.resting.set(None);
        }
        stays
    }

    /// The request is answered: the connection waits for its client.
    pub fn rest(&self) {
        let mut seats = self.room.seats.lock();
        self.resting.set(Some(seats.rest(self.evicted.clone())));
        if seats.taken >= self.room.max {
            // It can make room now.
            self.room.freed.notify_one();
        }
    }

    /// Is over when the connection is to be closed for another.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.room.seats.lock();
        seats.taken -= 1;
        if let Some(resting) = self.resting.take()
            && seats.resting.remove(&resting).is_none()
        {
            seats.leaving -= 1;
        }
        if seats.taken <= self.room.max / 2 {
            seats.is_told = false;
        }
        drop(seats);
        self.room.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;
    use crate::ops::metrics::{Gauges, ShardCells};

    const SOON: Duration = Duration::from_secs(5);

    fn room(max: usize) -> Arc<Room> {
        let metrics = Metrics::new(ShardCells::for_shards(1), Gauges::default());
        Room::new(Listener::Public, max, Arc::new(metrics))
    }

    async fn taken(room: &Arc<Room>) -> Seat {
        timeout(SOON, room.seat()).await.expect("a seat")
    }

    /// Someone who waits for a seat, and has begun to.
    async fn waits(room: &Arc<Room>) -> JoinHandle<Seat> {
        let waits = tokio::task::spawn_local({
            let room = room.clone();
            async move { room.seat().await }
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        waits
    }

    #[track_caller]
    fn is_evicted(seat: &Seat) -> bool {
        use std::task::{Context, Poll, Waker};
        let evicted = std::pin::pin!(seat.evicted());
        evicted.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    fn local(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn the_longest_idle_makes_room_and_no_other() {
        local(async {
            let room = room(3);
            let (worker, first, second) = (taken(&room).await, taken(&room).await, taken(&room).await);
            assert!(worker.begin());
            // It was at work in between, and so has waited for less long than the second.
            assert!(first.begin());
            first.rest();
            let newcomer = waits(&room).await;
            assert!(is_evicted(&second) && !is_evicted(&first) && !is_evicted(&worker));
            // Told to go, it begins nothing new.
            assert!(!second.begin());
            // One at a time: that one makes the room.
            let next = waits(&room).await;
            assert!(!is_evicted(&first));
            drop(second);
            let newcomer = timeout(SOON, newcomer).await.unwrap().unwrap();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(is_evicted(&first) && !is_evicted(&newcomer));
            drop(first);
            let _next = timeout(SOON, next).await.unwrap().unwrap();
            assert_eq!(room.seats.lock().taken, 3);
        });
    }

    #[test]
    fn where_all_are_at_work_a_newcomer_waits_until_one_rests() {
        local(async {
            let room = room(2);
            let (one, other) = (taken(&room).await, taken(&room).await);
            assert!(one.begin() && other.begin());
            let newcomer = waits(&room).await;
            assert!(!is_evicted(&one) && !is_evicted(&other));
            one.rest();
            timeout(SOON, one.evicted()).await.expect("it makes room");
            drop(one);
            let newcomer = timeout(SOON, newcomer).await.unwrap().unwrap();
            assert!(newcomer.begin());
            let next = waits(&room).await;
            drop(other);
            timeout(SOON, next).await.unwrap().unwrap();
        });
    }

    #[test]
    fn seats_that_are_free_at_once_go_to_all_who_wait() {
        local(async {
            let room = room(4);
            let mut seats = Vec::new();
            for _ in 0..4 {
                let seat = taken(&room).await;
                assert!(seat.begin());
                seats.push(seat);
            }
            let waiting = [waits(&room).await, waits(&room).await, waits(&room).await];
            seats.clear();
            for newcomer in waiting {
                timeout(SOON, newcomer).await.expect("a seat for each").unwrap();
            }
            assert_eq!(room.seats.lock().taken, 0);
        });
    }
}
