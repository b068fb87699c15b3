//! What both benches of the core set up: logs, routes, and registries full of streams.

use sluicegate::internals::hub::bounds::Bounds;
use sluicegate::internals::hub::close::CloseReason;
use sluicegate::internals::hub::effort::Effort;
use sluicegate::internals::hub::event::Event;
use sluicegate::internals::hub::frame::{Draft, Frame};
use sluicegate::internals::hub::id::{Epoch, EventId};
use sluicegate::internals::hub::log::{Evicted, Log, LogLimits, Numbering, Read, Resume, Search, Start, Window};
use sluicegate::internals::hub::offset::Offset;
use sluicegate::internals::hub::policy::SlowPolicy;
use sluicegate::internals::hub::registry::{History, Observer, Opening, Registry, StreamKey};
use sluicegate::internals::hub::routes::Routes;
use sluicegate::internals::hub::stream::{Sent, Socket};
use sluicegate::internals::hub::subscribe::Subscribe;
use sluicegate::internals::hub::topic::{Pattern, Subscription, TopicHandle, Topics};
use sluicegate::internals::topics::TopicTable;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};

/// The streams of one shard.
pub(crate) const STREAMS: usize = 10_000;
/// How many events a full log holds.
pub(crate) const KEPT: usize = 100_000;

/// A fixed scramble of 0‥2^64, for choices in no order.
pub(crate) fn scramble(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ n >> 29
}

/// The topic of this number; `a/<n>/b`, so that patterns can name it too.
pub(crate) fn topic(n: usize) -> TopicHandle {
    TABLE.named(&format!("a/{n}/b")).expect("a topic")
}

/// All topics of a bench.
pub(crate) static TABLE: LazyLock<TopicTable> = LazyLock::new(TopicTable::default);

pub(crate) fn epoch() -> Epoch {
    Epoch::new(1)
}

/// 100 bytes in one line.
pub(crate) fn short_event() -> Event<'static> {
    Event::new("x".repeat(100))
}

/// 1 KiB in 16 lines.
pub(crate) fn long_event() -> Event<'static> {
    Event::new(vec!["x".repeat(63); 16].join("\n") + "\n").event("message")
}

pub(crate) fn draft(n: usize) -> Draft {
    Draft::encode(Topics::one(topic(n)), &short_event(), epoch()).expect("a good event")
}

/// A log that is full, so that each event that comes pushes one out: the event at offset `n` is on
/// topic `n % topics`.
pub(crate) fn full_log(topics: usize) -> Log {
    let mut log = Log::new(epoch(), LogLimits { events: KEPT, bytes: 1 << 40, age_ns: u64::MAX });
    let drafts = (1..=KEPT).map(|n| draft(n % topics));
    log.append(drafts, Numbering::Own, 0, &mut Evicted::default());
    log
}

/// Reads all that a stream of this subscription missed since the log began.
pub(crate) fn replay(log: &Log, subscription: &Subscription, out: &mut Vec<Arc<Frame>>) {
    let mut window = Window { subscription, after: Offset::ZERO, through: log.head(), opened_at: log.head() };
    while window.after < window.through {
        match log.read(&window, usize::MAX, out, &mut Effort::unbounded()) {
            Read::Through(through) => window.after = through,
            lost => panic!("{lost:?}"),
        }
    }
}

/// Routes to one cohort for each topic, by its name or by a pattern.
pub(crate) fn routes(cohorts: usize, by_pattern: bool) -> Routes {
    let mut routes = Routes::default();
    for n in 0..cohorts {
        let subscription = if by_pattern {
            Subscription::new(vec![], vec![Pattern::parse(&format!("a/{n}/*")).expect("a pattern")], &*TABLE)
        } else {
            Ok(Subscription::to(topic(n)))
        };
        routes.add(&subscription.expect("a subscription"), n as u32);
    }
    routes
}

/// Resolves these topics, each of which one cohort subscribes to.
pub(crate) fn resolve(routes: &Routes, topics: &[TopicHandle]) {
    let mut found = 0;
    let mut effort = Effort::unbounded();
    for topic in topics {
        routes.resolve(topic, &mut effort, |cohort| found += usize::from(black_box(cohort) < u32::MAX));
    }
    assert_eq!(found, topics.len());
}

/// Takes everything at once.
pub(crate) struct Sink;

impl Socket for Sink {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        Sent::Wrote(black_box(bytes).len())
    }
}

/// A log of nothing but what the next pass is to bring.
#[derive(Default)]
struct Brought {
    frames: Vec<Arc<Frame>>,
}

impl History for Brought {
    fn head(&self) -> Offset {
        self.frames.last().map_or(Offset::ZERO, |last| last.offset())
    }

    fn tail(&self, _: Offset, _: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        out.extend(self.frames.iter().cloned());
        Some(self.head())
    }

    fn search(&self, _: &mut Search, _: &Resume, _: &Subscription, _: &mut Effort) -> Option<Start> {
        Some(Start::after(Offset::ZERO))
    }

    fn read(&self, window: &Window<'_>, _: usize, _: &mut Vec<Arc<Frame>>, _: &mut Effort) -> Read {
        Read::Through(window.through)
    }

    fn id(&self, offset: Offset) -> EventId {
        epoch().id(offset.get())
    }

    fn old_before(&self) -> Offset {
        Offset::ZERO
    }

    fn gone_through(&self) -> [Offset; 2] {
        [Offset::ZERO; 2]
    }
}

struct Unobserved;

impl Observer for Unobserved {
    fn delivered(&mut self, published_ns: &[u64], streams: u64) {
        black_box((published_ns, streams));
    }
}

/// Opens a stream at the start of an empty log.
fn open(registry: &mut Registry<Sink>, subscription: Arc<Subscription>) -> StreamKey {
    let opening = Opening {
        socket: Sink,
        subscribe: &Subscribe::to(subscription),
        slow: SlowPolicy::Disconnect,
        start: Some(Start::after(Offset::ZERO)),
        search: Search::default(),
        response_head: b"head",
    };
    registry.open(opening, &Brought::default(), 0, &mut Unobserved)
}

/// Many streams, each with a subscription of its own.
pub(crate) struct Crowd {
    registry: Registry<Sink>,
    streams: Vec<(StreamKey, Arc<Subscription>)>,
}

impl Crowd {
    pub(crate) fn of(streams: usize, subscription: fn(usize) -> Subscription) -> Crowd {
        let mut registry = Registry::new(Offset::ZERO, 15_000, 1, Bounds::SHIPPED);
        let mut stream = |n| {
            let subscription = Arc::new(subscription(n));
            (open(&mut registry, subscription.clone()), subscription)
        };
        let streams = (0..streams).map(&mut stream).collect();
        Crowd { registry, streams }
    }

    /// How many of its streams [`Crowd::renew`] renews.
    pub(crate) const RENEWED: usize = 100;

    /// Closes some streams from all over the crowd, and opens others in their place.
    pub(crate) fn renew(&mut self) {
        let step = self.streams.len() / Crowd::RENEWED;
        for (key, subscription) in self.streams.iter_mut().step_by(step) {
            self.registry.close(*key, CloseReason::ClientGone);
            while let Some(effect) = self.registry.take_effect() {
                black_box(effect);
            }
            *key = open(&mut self.registry, subscription.clone());
        }
        black_box(self.registry.take_tally());
    }
}

/// What the streams of a crowd subscribe to: a topic of its own each,
pub(crate) fn own_topic(n: usize) -> Subscription {
    Subscription::to(topic(n))
}

/// one and 127 that all share,
pub(crate) fn shared_topics(n: usize) -> Subscription {
    let topics = (0..127).chain([n + 127]).map(|n| topic(n).topic().clone());
    Subscription::new(topics.collect(), vec![], &*TABLE).expect("a subscription")
}

/// or a pattern of its own each.
pub(crate) fn own_pattern(n: usize) -> Subscription {
    let pattern = Pattern::parse(&format!("users/{n}/**")).expect("a pattern");
    Subscription::new(vec![], vec![pattern], &*TABLE).expect("a subscription")
}

/// A shard whose stream `n` is in cohort `n % cohorts`, and what a pass brings it.
pub(crate) struct Shard {
    registry: Registry<Sink>,
    log: Log,
    cohorts: usize,
    brought: Brought,
}

/// A shard and as many events, on topics of its cohorts in no order.
pub(crate) fn shard(cohorts: usize, events: usize) -> Shard {
    let mut registry = Registry::new(Offset::ZERO, 15_000, 1, Bounds::SHIPPED);
    let subscriptions: Vec<_> = (0..cohorts).map(|n| Arc::new(Subscription::to(topic(n)))).collect();
    for n in 0..STREAMS {
        open(&mut registry, subscriptions[n % cohorts].clone());
    }
    assert_eq!(registry.behind(), 0, "all are live");
    let log = Log::new(epoch(), LogLimits { events: KEPT, bytes: 1 << 40, age_ns: u64::MAX });
    let mut shard = Shard { registry, log, cohorts, brought: Brought::default() };
    // Scratch memory grows in the first pass.
    shard.publish(events);
    shard.pass();
    shard.publish(events);
    shard
}

impl Shard {
    /// Has the next pass bring so many events.
    pub(crate) fn publish(&mut self, events: usize) {
        let after = self.log.head();
        let topics = (0..events).map(|n| scramble(n as u64) as usize % self.cohorts);
        self.log.append(topics.map(draft), Numbering::Own, 0, &mut Evicted::default());
        self.brought.frames.clear();
        self.log.tail(after, usize::MAX, &mut self.brought.frames);
    }

    /// Writes the events to whoever subscribes to them.
    pub(crate) fn pass(&mut self) -> u64 {
        self.registry.pass(false, black_box(&self.brought), 0, &mut Unobserved);
        self.registry.take_tally().deliveries
    }
}
