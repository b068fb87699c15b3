//! Invariant of `hub::registry`: a live delivery allocates nothing.
//!
//! The crate `allocation-counter` brings the counting allocator of this test binary; it counts what
//! the measuring thread allocates.

use std::sync::Arc;

use sluicegate::internals::hub::bounds::Bounds;
use sluicegate::internals::hub::effort::Effort;
use sluicegate::internals::hub::event::Event;
use sluicegate::internals::hub::frame::{Draft, Frame, Framing};
use sluicegate::internals::hub::id::{Epoch, EventId};
use sluicegate::internals::hub::log::{Evicted, Log, LogLimits, Numbering, Read, Resume, Search, Start, Window};
use sluicegate::internals::hub::offset::Offset;
use sluicegate::internals::hub::policy::SlowPolicy;
use sluicegate::internals::hub::registry::{History, Observer, Opening, Registry};
use sluicegate::internals::hub::stream::{Sent, Socket};
use sluicegate::internals::hub::subscribe::Subscribe;
use sluicegate::internals::hub::topic::{Subscription, TopicHandle, Topics};
use sluicegate::internals::topics::TopicTable;

/// A socket that takes everything.
struct Sink {
    bytes: u64,
}

impl Socket for Sink {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        self.bytes += bytes.len() as u64;
        Sent::Wrote(bytes.len())
    }
}

struct Past(Log);

impl History for Past {
    fn head(&self) -> Offset {
        self.0.head()
    }

    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        self.0.tail(after, max, out)
    }

    fn search(
        &self,
        search: &mut Search,
        resume: &Resume,
        subscription: &Subscription,
        effort: &mut Effort,
    ) -> Option<Start> {
        self.0.search(search, resume, subscription).or_else(|| search.choose(subscription, effort))
    }

    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>, effort: &mut Effort) -> Read {
        self.0.read(window, budget_bytes, out, effort)
    }

    fn id(&self, offset: Offset) -> EventId {
        self.0.id(offset)
    }

    fn old_before(&self) -> Offset {
        self.0.old_before()
    }

    fn gone_through(&self) -> [Offset; 2] {
        self.0.gone_through()
    }
}

/// Counts deliveries.
#[derive(Default)]
struct Times(u64);

impl Observer for Times {
    fn delivered(&mut self, published_ns: &[u64], streams: u64) {
        self.0 += published_ns.len() as u64 * streams;
    }
}

const STREAMS: usize = 1_000;

/// A registry of streams, `topics` to choose from, and the log.
struct Shard {
    past: Past,
    registry: Registry<Sink>,
    epoch: Epoch,
    topics: Vec<TopicHandle>,
    published: usize,
}

impl Shard {
    fn open(topics: usize) -> Shard {
        let epoch = Epoch::new(1);
        let limits = LogLimits { events: 100_000, bytes: 64 << 20, age_ns: u64::MAX };
        let table = TopicTable::default();
        let topics: Vec<_> = (0..topics).map(|n| table.named(&format!("topic/{n}")).unwrap()).collect();
        let mut shard = Shard {
            past: Past(Log::new(epoch, limits)),
            registry: Registry::new(Offset::ZERO, 15_000, 7, Bounds::SHIPPED),
            epoch,
            topics,
            published: 0,
        };
        for n in 0..STREAMS {
            let subscription = Arc::new(Subscription::to(shard.topics[n % shard.topics.len()].clone()));
            let start = Start::after(shard.past.0.head());
            let framing = if n % 3 == 0 { Framing::Close } else { Framing::Chunked };
            let subscribe = Subscribe { framing, ..Subscribe::to(subscription) };
            let opening = Opening {
                socket: Sink { bytes: 0 },
                subscribe: &subscribe,
                slow: SlowPolicy::Disconnect,
                start: Some(start),
                search: Search::default(),
                response_head: b"HTTP/1.1 200 OK\r\n\r\n",
            };
            shard.registry.open(opening, &shard.past, 0, &mut Times::default());
        }
        assert_eq!((shard.registry.len(), shard.registry.behind()), (STREAMS, 0));
        shard
    }

    /// Publishes so many events of 100 bytes, each to the next topic, and passes them on. Answers
    /// how often the pass allocated, and how many deliveries it made.
    fn pass(&mut self, events: usize) -> (u64, u64) {
        let data = "x".repeat(100);
        let drafts: Vec<_> = (0..events)
            .map(|n| {
                let topic = self.topics[(self.published + n) % self.topics.len()].clone();
                Draft::encode(Topics::one(topic), &Event::new(&*data), self.epoch).unwrap()
            })
            .collect();
        self.published += events;
        self.past.0.append(drafts, Numbering::Own, 0, &mut Evicted::default());
        let mut times = Times::default();
        let (registry, past) = (&mut self.registry, &self.past);
        let info = allocation_counter::measure(|| {
            registry.pass(false, past, 1, &mut times);
        });
        assert_eq!(self.registry.take_tally().deliveries, times.0);
        (info.count_total, times.0)
    }
}

/// A pass of so many events over streams of so many topics allocates nothing, once the scratch is
/// as large as it gets.
#[track_caller]
fn check(topics: usize, events: usize) {
    let mut shard = Shard::open(topics);
    let rounds = topics.div_ceil(events).max(3);
    for _ in 0..rounds {
        shard.pass(events);
    }
    let mut deliveries = 0;
    for round in 0..rounds {
        let (allocations, delivered) = shard.pass(events);
        assert_eq!(allocations, 0, "round {round} of {events} events, {topics} topics, {delivered} deliveries");
        deliveries += delivered;
    }
    assert_eq!(deliveries as usize, rounds * events * STREAMS / topics);
}

#[test]
fn a_live_delivery_allocates_nothing() {
    check(1, 1);
    check(1, 18);
    check(10, 18);
    check(STREAMS, 1_000);
}

#[test]
fn allocations_would_be_noticed() {
    let info = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(info.count_total, 1);
}
