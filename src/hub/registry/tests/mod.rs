//! The registry, by conversations with its streams.

mod behind;
mod cohorts;
mod conflation;
mod ends;
mod look;
mod marks;
mod missing;
mod passes;
mod pins;
mod time;

use super::*;
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::frame::Framing;
use crate::hub::gap;
use crate::hub::id::Epoch;
use crate::hub::log::{Evicted, Log, LogLimits, Numbering};
use crate::hub::stream::Sent;
use crate::hub::topic::Subscription;
use crate::hub::topic::{Pattern, Topic, Topics, handle, table};
use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;

/// One end of a connection, as the client's kernel has it.
#[derive(Default)]
struct Wire {
    got: Vec<u8>,
    /// How many bytes it takes before it is full.
    room: usize,
    /// It was full and has not said yet that it can take more.
    waiting: bool,
}

struct Mock {
    wire: Rc<RefCell<Wire>>,
}

impl Socket for Mock {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        let mut wire = self.wire.borrow_mut();
        assert!(!bytes.is_empty(), "nothing is never sent");
        assert!(!wire.waiting, "a full socket is left alone until it reports");
        let took = bytes.len().min(wire.room);
        wire.waiting = took < bytes.len();
        if took == 0 {
            return Sent::Full;
        }
        wire.got.extend_from_slice(&bytes[..took]);
        wire.room -= took;
        Sent::Wrote(took)
    }
}

struct Shared(RefCell<Log>);

impl History for Shared {
    fn head(&self) -> Offset {
        self.0.borrow().head()
    }

    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        self.0.borrow().tail(after, max, out)
    }

    fn search(
        &self,
        search: &mut Search,
        resume: &Resume,
        subscription: &Subscription,
        effort: &mut Effort,
    ) -> Option<Start> {
        let log = self.0.borrow();
        log.search(search, resume, subscription).or_else(|| search.choose(subscription, effort))
    }

    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>, effort: &mut Effort) -> Read {
        self.0.borrow().read(window, budget_bytes, out, effort)
    }

    fn id(&self, offset: Offset) -> EventId {
        self.0.borrow().id(offset)
    }

    fn old_before(&self) -> Offset {
        self.0.borrow().old_before()
    }

    fn gone_through(&self) -> [Offset; 2] {
        self.0.borrow().gone_through()
    }
}

/// Adds up what is observed.
#[derive(Default)]
struct Counted(u64);

impl Observer for Counted {
    fn delivered(&mut self, published_ns: &[u64], streams: u64) {
        self.0 += published_ns.len() as u64 * streams;
    }
}

/// A log of four events and one shard, to talk with.
struct OneShard {
    log: Shared,
    registry: Registry<Mock>,
    now_ms: Rc<Cell<u64>>,
    counted: Counted,
}

/// A client of it.
#[derive(Clone)]
struct Peer {
    key: StreamKey,
    wire: Rc<RefCell<Wire>>,
}

/// What a client asks for; the tests change what matters to them.
struct Asks {
    topics: &'static [&'static str],
    patterns: &'static [&'static str],
    framing: Framing,
    slow: SlowPolicy,
    resume: Resume,
    max_events: u32,
    head: String,
    room: usize,
}

impl Default for Asks {
    fn default() -> Asks {
        Asks {
            topics: &["a"],
            patterns: &[],
            framing: Framing::Close,
            slow: SlowPolicy::Skip,
            resume: Resume::Now,
            max_events: 0,
            head: "head\n".to_owned(),
            room: usize::MAX,
        }
    }
}

fn epoch() -> Epoch {
    Epoch::new(1)
}

impl OneShard {
    fn new() -> OneShard {
        OneShard::with(LogLimits { events: 4, bytes: 1 << 30, age_ns: u64::MAX })
    }

    fn with(limits: LogLimits) -> OneShard {
        OneShard {
            log: Shared(RefCell::new(Log::new(epoch(), limits))),
            registry: Registry::new(Offset::ZERO, 6400, 1, Bounds::SMALL),
            now_ms: Rc::default(),
            counted: Counted::default(),
        }
    }

    fn publish(&self, topics: &[&str], event: Event<'_>) {
        let topics = Topics::new(topics.iter().map(|topic| handle(topic))).unwrap();
        let draft = Draft::encode(topics, &event, epoch()).unwrap();
        self.log.0.borrow_mut().append([draft], Numbering::Own, 0, &mut Evicted::default());
    }

    /// Publishes these data to `a`, each of them in an event of its own.
    fn say(&self, data: &[&str]) {
        data.iter().for_each(|data| self.publish(&["a"], Event::new(*data)));
    }

    fn open(&mut self, asks: Asks) -> Peer {
        let ahead = self.ask(&asks);
        self.admit(asks, ahead)
    }

    /// Where the log says that it starts, if it says so at once.
    fn ask(&self, asks: &Asks) -> (Option<Start>, Search) {
        let mut search = Search::default();
        let subscription = subscription(asks);
        (self.log.search(&mut search, &asks.resume, &subscription, &mut Effort::unbounded()), search)
    }

    fn admit(&mut self, asks: Asks, (start, search): (Option<Start>, Search)) -> Peer {
        let wire = Rc::new(RefCell::new(Wire { room: asks.room, ..Wire::default() }));
        let subscribe = Subscribe {
            framing: asks.framing,
            resume: asks.resume.clone(),
            max_events: NonZeroU32::new(asks.max_events),
            ..Subscribe::to(subscription(&asks))
        };
        let opening = Opening {
            socket: Mock { wire: wire.clone() },
            subscribe: &subscribe,
            slow: asks.slow,
            start,
            search,
            response_head: asks.head.as_bytes(),
        };
        let key = self.registry.open(opening, &self.log, self.now_ms.get(), &mut self.counted);
        Peer { key, wire }
    }

    fn pass(&mut self) {
        while self.registry.pass(false, &self.log, self.now_ms.get(), &mut self.counted) == Passed::Yields {}
    }

    fn end(&mut self, key: StreamKey, reason: CloseReason, farewell: Option<&Arc<Chunk>>) {
        self.registry.end(key, reason, farewell, &self.log, self.now_ms.get(), &mut self.counted);
    }

    fn serve(&mut self) {
        while self.registry.has_ready() {
            self.registry.serve_ready(1, &self.log, self.now_ms.get(), &mut self.counted);
        }
    }

    /// The peer takes so many bytes more, and all that can be served is.
    fn takes(&mut self, peer: &Peer, bytes: usize) {
        peer.wire.borrow_mut().room = bytes;
        if std::mem::take(&mut peer.wire.borrow_mut().waiting) {
            self.registry.writable(peer.key);
        }
        self.serve();
    }

    /// Who was closed, and why, since the last call.
    fn closed(&mut self) -> Vec<(StreamKey, CloseReason)> {
        let effects = std::iter::from_fn(|| self.registry.take_effect());
        effects
            .filter_map(|effect| match effect {
                Effect::Closed { key, reason, .. } => Some((key, reason)),
                _ => None,
            })
            .collect()
    }
}

fn subscription(asks: &Asks) -> Arc<Subscription> {
    let topics = asks.topics.iter().map(|topic| Topic::parse(topic).unwrap()).collect();
    let patterns = asks.patterns.iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect();
    Arc::new(Subscription::new(topics, patterns, &table()).unwrap())
}

impl Peer {
    /// What it has got since the last call.
    fn got(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.wire.borrow_mut().got)).unwrap()
    }

    #[track_caller]
    fn gets(&self, expected: &[&str]) {
        assert_eq!(self.got(), expected.concat());
    }
}

fn id(seq: u64) -> String {
    epoch().id(seq).to_string()
}

fn event(seq: u64, data: &str) -> String {
    format!("id: {}\ndata: {data}\n\n", id(seq))
}

fn gap_event(from: u64, to: u64, reason: GapReason) -> String {
    let moves = reason != GapReason::Conflated;
    let gap = gap::gap(Some(&id(from)), epoch().id(to), reason, moves.then(|| epoch().id(to)));
    String::from_utf8(gap.wire(Framing::Close).to_vec()).unwrap()
}
