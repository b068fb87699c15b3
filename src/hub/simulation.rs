//! The whole core in one thread, by seed: one log, a few shards, sockets that take what they like,
//! a real wheel under a clock that jumps, and clients that come back with the last id they saw.
//! Beside it stands an oracle: the list of all that was ever published.
//!
//! A failing seed is printed; `SLUICEGATE_SEED=7 cargo test --lib simulation` plays that one again,
//! and `SLUICEGATE_SEEDS=5000` plays so many.
#![cfg(test)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

use strum::VariantArray;

use super::bounds::Bounds;
use super::close::CloseReason;
use super::event::Event;
use super::frame::{Chunk, Draft, Frame, Framing};
use super::gap::GapReason;
use super::id::{Epoch, EventId};
use super::log::{Log, LogLimits, Read, Resume, Start, Window};
use super::offset::Offset;
use super::policy::SlowPolicy;
use super::registry::{Effect, History, Observer, Opening, Registry, StreamKey, Tally};
use super::stream::{Sent, Socket, StreamTimer};
use super::subscribe::Subscribe;
use super::topic::{Pattern, Subscription, Topic, TopicHandle, Topics, handle, table};
use super::wheel::Wheel;

const TOPICS: [&str; 5] = ["a", "b", "c/x", "c/y", "d/e/f"];
const SUBSCRIPTIONS: [(&[&str], &[&str]); 8] = [
    (&["a"], &[]),
    (&["b"], &[]),
    (&["a", "b"], &[]),
    (&["c/x"], &[]),
    (&[], &["c/*"]),
    (&["a"], &["c/*", "d/**"]),
    (&[], &["**"]),
    (&["a", "b", "c/x", "c/y", "d/e/f"], &[]),
];
const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";
const FAREWELL: &str = "data: farewell\n\n";
const OWN: &str = "data: own\n\n";
const HEARTBEAT_MS: u64 = 640;
const DEADLINE_MS: u64 = 100;

/// splitmix64: a seed of any kind gives a good sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % bound as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

// ===== the peers =====

/// One end of a connection, as the client's kernel has it.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) got: Vec<u8>,
    /// How many bytes it takes before it is full.
    pub(super) room: usize,
    /// It was full and has not said yet that it can take more.
    pub(super) waiting: bool,
    pub(super) broken: Option<Sent>,
    closed: bool,
    written_ms: u64,
}

pub(super) struct Mock {
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) now_ms: Rc<Cell<u64>>,
}

impl Wire {
    pub(super) fn with_room(room: usize) -> Rc<RefCell<Wire>> {
        Rc::new(RefCell::new(Wire { room, ..Wire::default() }))
    }
}

impl Socket for Mock {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        let mut wire = self.wire.borrow_mut();
        assert!(!bytes.is_empty(), "nothing is never sent");
        assert!(!wire.closed, "a closed socket is not written to");
        assert!(!wire.waiting, "a full socket is left alone until it reports");
        if let Some(broken) = wire.broken {
            return broken;
        }
        let took = bytes.len().min(wire.room);
        wire.waiting = took < bytes.len();
        if took == 0 {
            return Sent::Full;
        }
        wire.got.extend_from_slice(&bytes[..took]);
        wire.room -= took;
        wire.written_ms = self.now_ms.get();
        Sent::Wrote(took)
    }
}

/// What a client makes of the bytes it got.
#[derive(Debug, PartialEq)]
enum Seen {
    Event { seq: u64, id: Option<String> },
    Gap { from: Option<String>, to: String, reason: String, id: Option<String> },
    Heartbeat,
    Own,
    Farewell,
}

#[derive(Debug)]
struct Received {
    seen: Vec<Seen>,
    /// The response said that it is over.
    ended: bool,
    /// The last frame is not all there.
    cut: bool,
}

fn receive(got: &[u8], framing: Framing) -> Received {
    let mut received = Received { seen: Vec::new(), ended: false, cut: true };
    let Some(mut body) = got.strip_prefix(HEAD.as_bytes()) else {
        assert!(HEAD.as_bytes().starts_with(got), "the response begins with its head");
        return received;
    };
    while !body.is_empty() {
        assert!(!received.ended, "nothing follows the end");
        let frame;
        match framing {
            Framing::Chunked => {
                let Some(line) = body.windows(2).take(18).position(|two| two == b"\r\n") else { return received };
                let digits = std::str::from_utf8(&body[..line]).unwrap();
                let len = usize::from_str_radix(digits, 16).expect("a chunk begins with its length");
                let end = line + 2 + len;
                if body.len() < end + 2 {
                    return received;
                }
                assert_eq!(&body[end..end + 2], b"\r\n", "a chunk is as long as it said");
                frame = &body[line + 2..end];
                received.ended = len == 0;
                body = &body[end + 2..];
            }
            Framing::Close => {
                let Some(end) = body.windows(2).position(|two| two == b"\n\n") else { return received };
                frame = &body[..end + 2];
                body = &body[end + 2..];
            }
        }
        if !frame.is_empty() {
            received.seen.push(read_event(std::str::from_utf8(frame).unwrap()));
        }
    }
    received.cut = false;
    received
}

fn read_event(frame: &str) -> Seen {
    let text = frame.strip_suffix("\n\n").expect("a chunk is one whole event");
    match frame {
        ":\n\n" => return Seen::Heartbeat,
        OWN => return Seen::Own,
        FAREWELL => return Seen::Farewell,
        _ => {}
    }
    let (mut data, mut name, mut id) = (None, None, None);
    for line in text.split('\n') {
        match line.split_once(": ").expect("a field") {
            ("data", value) => data = data.or(Some(value)),
            ("event", value) => name = Some(value),
            ("id", value) => id = Some(value.to_owned()),
            other => panic!("{other:?}"),
        }
    }
    let data = data.expect("each event has data");
    if name == Some("gap") {
        let json: serde_json::Value = serde_json::from_str(data).unwrap();
        let field = |name: &str| json[name].as_str().map(str::to_owned);
        return Seen::Gap { from: field("from"), to: field("to").unwrap(), reason: field("reason").unwrap(), id };
    }
    let number = data.strip_prefix('e').and_then(|data| data.split(' ').next()).expect("a number");
    Seen::Event { seq: number.parse().unwrap(), id }
}

// ===== the world =====

pub(super) struct Shared(pub(super) RefCell<Log>);

impl History for Shared {
    fn head(&self) -> Offset {
        self.0.borrow().head()
    }

    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        self.0.borrow().tail(after, max, out)
    }

    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>) -> Read {
        self.0.borrow().read(window, budget_bytes, out)
    }

    fn id(&self, offset: Offset) -> EventId {
        self.0.borrow().id(offset)
    }
}

/// The log during a pass: each look takes a few frames at most, and before the second, events are published.
struct Growing<'a> {
    log: &'a Shared,
    max: usize,
    looks: Cell<usize>,
    publish: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
}

impl History for Growing<'_> {
    fn head(&self) -> Offset {
        self.looks.set(self.looks.get() + 1);
        if self.looks.get() == 2
            && let Some(publish) = self.publish.take()
        {
            publish();
        }
        self.log.head()
    }

    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        self.log.tail(after, max.min(self.max), out)
    }

    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>) -> Read {
        self.log.read(window, budget_bytes, out)
    }

    fn id(&self, offset: Offset) -> EventId {
        self.log.id(offset)
    }
}

/// Appends to the log; answers what left it for that.
fn publish(log: &Shared, drafts: Vec<Draft>, now_ms: u64) -> Vec<Arc<Frame>> {
    let (mut evicted, head, count) = (Vec::new(), log.head().get(), drafts.len() as u64);
    let placed = log.0.borrow_mut().append(drafts, now_ms, &mut evicted);
    assert_eq!((placed.first.get(), placed.last.get()), (head + 1, head + count));
    assert!(evicted.iter().all(|frame| frame.offset() < placed.first), "a call evicts nothing of its own");
    evicted
}

/// Adds up what is observed.
#[derive(Default)]
pub(super) struct Counted(pub(super) u64);

impl Observer for Counted {
    fn delivered(&mut self, published_ns: &[u64], streams: u64) {
        self.0 += published_ns.len() as u64 * streams;
    }
}

/// An event as the oracle knows it.
struct Published {
    topics: Vec<TopicHandle>,
    key: Option<&'static str>,
    live_only: bool,
    id: Option<String>,
}

/// One response, from its opening on.
struct Connection {
    client: usize,
    shard: usize,
    key: Option<StreamKey>,
    wire: Rc<RefCell<Wire>>,
    subscription: usize,
    framing: Framing,
    start: Start,
    asked: Option<String>,
    opened_at: u64,
    max_events: Option<u32>,
    closed: Option<CloseReason>,
    /// Where the shard stood when the connection was told to end, and whether with a farewell.
    told_to_end: Option<(u64, bool)>,
}

#[derive(Default)]
struct Client {
    subscription: usize,
    /// It comes back with what it saw last, always; the others ask for anything.
    faithful: bool,
    last_id: Option<String>,
    connections: Vec<usize>,
    open: bool,
}

struct World {
    random: Random,
    now_ms: Rc<Cell<u64>>,
    beaten_ms: u64,
    epoch: Epoch,
    limits: LogLimits,
    log: Shared,
    published: Vec<Published>,
    /// The newest places that have left the log, of kept and of live-only events.
    evicted: [u64; 2],
    shards: Vec<Registry<Mock>>,
    inboxes: Vec<Vec<usize>>,
    wheel: Wheel<(usize, StreamKey)>,
    subscriptions: Vec<Arc<Subscription>>,
    policies: Vec<SlowPolicy>,
    clients: Vec<Client>,
    connections: Vec<Connection>,
    by_key: HashMap<(usize, StreamKey), usize>,
    counted: Counted,
    tally: Tally,
    /// Ids may be used twice, and live-only events may have one: then no client can be exact.
    careless_ids: bool,
    big: bool,
    /// How likely it is that a shard passes at once, in percent: where it is low, shards are lapped.
    promptness: usize,
    stray: HashMap<usize, usize>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let big = random.chance(8);
        let limits = LogLimits {
            events: random.pick(&[3, 8, 20, 60]),
            bytes: if big { 3_000_000 } else { random.pick(&[2_000, 8_000, 1_000_000]) },
            age_ns: random.pick(&[20, 200, u64::MAX]),
        };
        let epoch = Epoch::new(seed);
        let shards = 1 + random.below(3);
        let subscriptions = SUBSCRIPTIONS.map(|(topics, patterns)| {
            let topics = topics.iter().map(|text| Topic::parse(text).unwrap()).collect();
            let patterns = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            Arc::new(Subscription::new(topics, patterns, &table()).unwrap())
        });
        // Where many ask for the same, they are several cohorts.
        let (clients, choice) = random.pick(&[(9, SUBSCRIPTIONS.len()), (9, SUBSCRIPTIONS.len()), (16, 2)]);
        let clients = (0..2 + random.below(clients - 2)).map(|_| Client {
            subscription: random.below(choice),
            faithful: random.chance(60),
            ..Client::default()
        });
        World {
            clients: clients.collect(),
            policies: SUBSCRIPTIONS.iter().map(|_| random.pick(SlowPolicy::VARIANTS)).collect(),
            careless_ids: random.chance(25),
            promptness: random.pick(&[0, 50, 95]),
            now_ms: Rc::default(),
            beaten_ms: 0,
            epoch,
            limits,
            log: Shared(RefCell::new(Log::new(epoch, limits))),
            published: Vec::new(),
            evicted: [0, 0],
            shards: (0..shards)
                .map(|at| Registry::new(Offset::ZERO, HEARTBEAT_MS, seed ^ at as u64, Bounds::SMALL))
                .collect(),
            inboxes: vec![Vec::new(); shards],
            wheel: Wheel::new(0),
            subscriptions: subscriptions.into(),
            connections: Vec::new(),
            by_key: HashMap::new(),
            counted: Counted::default(),
            tally: Tally::default(),
            big,
            stray: HashMap::new(),
            random,
        }
    }

    fn head(&self) -> u64 {
        self.published.len() as u64
    }

    fn step(&mut self) {
        let shard = self.random.below(self.shards.len());
        match self.random.below(100) {
            0..25 => {
                self.publish();
                for shard in 0..self.shards.len() {
                    if self.random.chance(self.promptness) {
                        self.pass(shard);
                        self.serve(shard);
                    }
                }
            }
            25..40 => self.pass(shard),
            40..50 => self.serve(shard),
            50..62 => self.connect(),
            62..70 => self.admit(shard),
            70..86 => self.drain_a_socket(),
            86..94 => self.let_time_pass(),
            94..98 => self.disturb(),
            _ => self.look(shard),
        }
        self.obey();
    }

    fn publish(&mut self) {
        let Some((drafts, published)) = self.draft() else { return };
        let evicted = publish(&self.log, drafts, self.now_ms.get());
        self.accept(published, &evicted);
    }

    /// Some events to publish next, if the log can hold them.
    fn draft(&mut self) -> Option<(Vec<Draft>, Vec<Published>)> {
        let count = 1 + self.random.below(4);
        let mut drafts = Vec::new();
        let mut published = Vec::new();
        for at in 0..count {
            let seq = self.head() + 1 + at as u64;
            let count = self.random.pick(&[1, 1, 1, 2, 3]);
            let topics = Topics::new((0..count).map(|_| handle(self.random.pick(&TOPICS)))).unwrap();
            let key = self.random.pick(&[None, Some("k"), Some("l")]);
            let live_only = self.random.chance(25);
            let own_id = match self.random.below(4) {
                0 if self.careless_ids => Some(format!("twice-{}", self.random.below(3))),
                1 if self.careless_ids || !live_only => Some(format!("own-{seq}")),
                _ => None,
            };
            let pad = if self.big { self.random.pick(&[10, 30_000, 70_000]) } else { self.random.below(120) };
            let mut event = Event::new(format!("e{seq} {}\nmore", "x".repeat(pad))).keep(!live_only);
            event = own_id.iter().fold(event, |event, id| event.id(id.clone()));
            event = key.iter().fold(event, |event, key| event.key(*key));
            drafts.push(Draft::encode(topics.clone(), &event, self.epoch).unwrap());
            let id = own_id.or((!live_only).then(|| self.epoch.id(seq).to_string()));
            published.push(Published { topics: topics.to_vec(), key, live_only, id });
        }
        self.limits.admit(&drafts).ok().map(|_| (drafts, published))
    }

    fn accept(&mut self, published: Vec<Published>, evicted: &[Arc<Frame>]) {
        self.published.extend(published);
        assert_eq!(self.log.head().get(), self.head());
        self.forget(evicted);
    }

    fn forget(&mut self, evicted: &[Arc<Frame>]) {
        for frame in evicted {
            let newest = &mut self.evicted[usize::from(frame.live_only())];
            assert!(frame.offset().get() > *newest, "eviction is in order");
            *newest = frame.offset().get();
        }
    }

    fn pass(&mut self, shard: usize) {
        let (max, now_ms) = (self.random.pick(&[1, 3, 1000]), self.now_ms.get());
        let (drafts, published) = if self.random.chance(50) { self.draft().unzip() } else { (None, None) };
        let evicted = RefCell::new(None);
        let log = Growing {
            log: &self.log,
            max,
            looks: Cell::new(0),
            publish: RefCell::new(drafts.map(|drafts| -> Box<dyn FnOnce()> {
                Box::new(|| *evicted.borrow_mut() = Some(publish(&self.log, drafts, now_ms)))
            })),
        };
        let may_pause = self.random.chance(60);
        self.shards[shard].pass(may_pause, &log, now_ms, &mut self.counted);
        drop(log);
        if let (Some(published), Some(evicted)) = (published, evicted.into_inner()) {
            self.accept(published, &evicted);
        }
    }

    fn serve(&mut self, shard: usize) {
        let turns = 1 + self.random.below(6);
        self.shards[shard].serve_ready(turns, &self.log, self.now_ms.get(), &mut self.counted);
    }

    /// A client asks for a stream; its place is settled now, its shard hears of it later.
    fn connect(&mut self) {
        let at = self.random.below(self.clients.len());
        let shard = self.random.below(self.shards.len());
        let client = &mut self.clients[at];
        if client.open {
            return;
        }
        client.open = true;
        let head = self.published.len() as u64;
        if client.faithful && client.last_id.is_none() {
            let from = if self.random.chance(50) { head } else { 0 };
            client.last_id = Some(self.epoch.id(from).to_string());
        }
        let id = |id: &str| Resume::After(id.into());
        let resume = match self.random.below(8) {
            _ if client.faithful => id(client.last_id.as_ref().unwrap()),
            0 => Resume::Now,
            1 => Resume::Earliest,
            2 => Resume::Unknown,
            3 => id("nobody's"),
            4 => id(Epoch::new(99).id(1).as_str()),
            5 => id(self.epoch.id(head + 1).as_str()),
            6 => id(&format!("twice-{}", self.random.below(3))),
            _ => id(self.epoch.id(self.random.below(head as usize + 1) as u64).as_str()),
        };
        let subscription = client.subscription;
        let start = self.log.0.borrow().start(&resume, &self.subscriptions[subscription]);
        let connection = self.connections.len();
        client.connections.push(connection);
        let room = self.random.pick(&[usize::MAX, usize::MAX, 0, 30, 300, 3000]);
        self.connections.push(Connection {
            client: at,
            shard,
            key: None,
            wire: Wire::with_room(room),
            subscription,
            framing: self.random.pick(&[Framing::Chunked, Framing::Close]),
            start,
            asked: if let Resume::After(id) = resume { Some(id.into()) } else { None },
            opened_at: head,
            max_events: self.random.chance(20).then(|| 1 + self.random.below(5) as u32),
            closed: None,
            told_to_end: None,
        });
        self.inboxes[shard].push(connection);
        if self.random.chance(60) {
            self.admit(shard);
        }
    }

    /// A shard opens the streams that wait in its inbox.
    fn admit(&mut self, shard: usize) {
        for at in std::mem::take(&mut self.inboxes[shard]) {
            let connection = &mut self.connections[at];
            let subscribe = Subscribe {
                framing: connection.framing,
                resume: connection.asked.as_ref().map_or(Resume::Now, |id| Resume::After(id.as_str().into())),
                max_events: connection.max_events.and_then(|max| max.try_into().ok()),
                ..Subscribe::to(self.subscriptions[connection.subscription].clone())
            };
            let opening = Opening {
                socket: Mock { wire: connection.wire.clone(), now_ms: self.now_ms.clone() },
                subscribe: &subscribe,
                slow: self.policies[connection.subscription],
                start: connection.start,
                head: Offset::new(connection.opened_at),
                response_head: HEAD.as_bytes(),
            };
            let key = self.shards[shard].open(opening, &self.log, self.now_ms.get(), &mut self.counted);
            connection.key = Some(key);
            self.by_key.insert((shard, key), at);
            self.obey();
        }
    }

    fn an_open_connection(&mut self) -> Option<(usize, usize, StreamKey)> {
        let open: Vec<usize> = self.clients.iter().filter(|c| c.open).map(|c| *c.connections.last().unwrap()).collect();
        let at = if open.is_empty() { return None } else { self.random.pick(&open) };
        let connection = &self.connections[at];
        Some((at, connection.shard, connection.key?))
    }

    fn drain_a_socket(&mut self) {
        let Some((at, shard, key)) = self.an_open_connection() else { return };
        let more = self.random.pick(&[1, 20, 100, 1000, 100_000, usize::MAX]);
        let mut wire = self.connections[at].wire.borrow_mut();
        wire.room = wire.room.saturating_add(more);
        if std::mem::take(&mut wire.waiting) {
            drop(wire);
            self.shards[shard].writable(key);
        } else if self.random.chance(30) {
            wire.room = self.random.pick(&[0, 10, 500]);
        }
    }

    fn let_time_pass(&mut self) {
        self.now_ms.set(self.now_ms.get() + 1 + self.random.below(40) as u64);
        let now_ms = self.now_ms.get();
        let mut evicted = Vec::new();
        self.log.0.borrow_mut().evict(now_ms, &mut evicted);
        self.forget(&evicted);
        let mut expired = Vec::new();
        self.wheel.advance(now_ms, &mut expired);
        for entry in expired {
            let (shard, key) = entry.item;
            if let Some(due_ms) = self.shards[shard].progress_due(key, DEADLINE_MS, now_ms) {
                assert!(due_ms > now_ms);
                self.arm(shard, key, due_ms);
            }
        }
        let step_ms = self.shards[0].heartbeat_step_ms();
        while self.beaten_ms + step_ms <= now_ms {
            self.beaten_ms += step_ms;
            self.shards.iter_mut().for_each(|registry| registry.heartbeat(now_ms));
        }
    }

    fn arm(&mut self, shard: usize, key: StreamKey, due_ms: u64) {
        let timer = self.wheel.insert(due_ms, (shard, key));
        if !self.shards[shard].set_timer(key, StreamTimer::Progress, Some(timer)) {
            self.wheel.cancel(timer);
        }
    }

    fn disturb(&mut self) {
        let Some((at, shard, key)) = self.an_open_connection() else { return };
        let (registry, now_ms) = (&mut self.shards[shard], self.now_ms.get());
        let connection = &mut self.connections[at];
        match self.random.below(6) {
            0 => connection.wire.borrow_mut().broken = Some(self.random.pick(&[Sent::Gone, Sent::Failed])),
            1 => registry.close(key, CloseReason::ClientGone),
            2 => {
                let farewell = self.random.chance(50);
                let chunk = farewell.then(|| Arc::new(Chunk::new(FAREWELL)));
                connection.told_to_end.get_or_insert((self.published.len() as u64, farewell));
                registry.end(key, CloseReason::Drained, chunk.as_ref(), &self.log, now_ms, &mut self.counted);
            }
            3 => {
                let bytes = self.random.pick(&[1, 30_000, 64 * 1024]);
                *self.stray.entry(at).or_default() += bytes;
                registry.stray(key, bytes);
            }
            _ => {
                if self.random.chance(50) {
                    connection.wire.borrow_mut().room = self.random.below(OWN.len() + 10);
                }
                registry.push(key, &Arc::new(Chunk::new(OWN)), now_ms);
            }
        }
    }

    /// Does what the registries ask for.
    fn obey(&mut self) {
        for shard in 0..self.shards.len() {
            let mut awaited = Vec::new();
            while let Some(effect) = self.shards[shard].take_effect() {
                match effect {
                    Effect::AwaitProgress(key) => {
                        assert!(!awaited.contains(&key), "asked for one timer at once");
                        awaited.push(key);
                        self.arm(shard, key, self.now_ms.get() + DEADLINE_MS);
                    }
                    Effect::Unrouted(topic) => {
                        assert!(!self.shards[shard].routes().names(&topic), "{topic:?} has lost its last stream");
                    }
                    Effect::Closed { key, socket, reason, timers } => {
                        for timer in timers.into_iter().flatten() {
                            assert!(self.wheel.cancel(timer).is_some(), "a timer that a stream holds is armed");
                        }
                        assert!(self.shards[shard].socket_mut(key).is_none());
                        socket.wire.borrow_mut().closed = true;
                        let at = self.by_key.get(&(shard, key)).copied();
                        // Closed within its own opening: then its key is not known yet.
                        let at = at.unwrap_or_else(|| {
                            self.connections.iter().position(|c| Rc::ptr_eq(&c.wire, &socket.wire)).unwrap()
                        });
                        self.hang_up(at, reason);
                    }
                }
            }
            let tally = self.shards[shard].take_tally();
            self.tally.opened += tally.opened;
            self.tally.deliveries += tally.deliveries;
            self.tally.bytes += tally.bytes;
            self.tally.writes += tally.writes;
            for (sum, one) in self.tally.closed.iter_mut().zip(tally.closed) {
                *sum += one;
            }
            for (sum, one) in self.tally.gaps.iter_mut().zip(tally.gaps) {
                *sum += one;
            }
        }
    }

    /// The client learns that its connection is no more, and notes the last id that it saw.
    fn hang_up(&mut self, at: usize, reason: CloseReason) {
        let connection = &mut self.connections[at];
        assert_eq!(connection.closed.replace(reason), None, "closed once");
        let seen = receive(&connection.wire.borrow().got, connection.framing).seen;
        let last = seen.into_iter().rev().find_map(|seen| match seen {
            Seen::Event { id, .. } | Seen::Gap { id, .. } => id,
            _ => None,
        });
        let client = &mut self.clients[connection.client];
        client.open = false;
        client.last_id = last.or(client.last_id.take());
        self.check(at);
    }

    /// Lets a shard do all it can, and looks whether it has.
    fn look(&mut self, shard: usize) {
        while self.shards[shard].has_ready() {
            self.shards[shard].serve_ready(100, &self.log, self.now_ms.get(), &mut self.counted);
            self.obey();
        }
        let registry = &self.shards[shard];
        let open: Vec<usize> = registry.keys().map(|key| self.by_key[&(shard, key)]).collect();
        // Who was opened at a place that the shard has not reached waits for the shard; so do all
        // when the shard itself is about to find that it was lapped.
        let lapped = self.evicted.iter().any(|&evicted| evicted > registry.position().get());
        let is_ahead =
            |c: &Connection| c.opened_at.max(c.start.after.get()) > registry.position_of(c.key.unwrap()).get();
        let waits = |&at: &usize| self.connections[at].wire.borrow().waiting;
        let full = open.iter().filter(|at| waits(at)).count();
        let ahead = open.iter().filter(|at| !waits(at) && is_ahead(&self.connections[**at])).count();
        assert!(registry.behind() >= full + ahead);
        assert!(
            lapped || registry.behind() == full + ahead,
            "{} are behind, {full} full, {ahead} ahead",
            registry.behind()
        );
        for at in open {
            self.check(at);
            let connection = &self.connections[at];
            let wire = connection.wire.borrow();
            if !wire.waiting && !lapped && !is_ahead(connection) && wire.broken.is_none() {
                let silent_ms = self.now_ms.get() - wire.written_ms;
                // Twice, since one that waits for its shard when its beat falls due is passed over.
                assert!(silent_ms <= 2 * HEARTBEAT_MS, "{silent_ms} ms without a heartbeat");
            }
        }
    }

    // ===== the oracle =====

    fn expects(&self, connection: &Connection, seq: u64) -> bool {
        let event = &self.published[seq as usize - 1];
        let since = if event.live_only {
            connection.start.after.get().max(connection.opened_at)
        } else {
            connection.start.after.get()
        };
        seq > since && self.subscriptions[connection.subscription].covers(&event.topics)
    }

    fn place(&self, id: &str) -> u64 {
        match self.epoch.parse(id) {
            super::id::Parsed::Here(seq) => seq,
            other => panic!("{id} is {other:?}"),
        }
    }

    /// Whether newer events of the same key, up to `to`, stand for this one: on each topic of it that the
    /// subscription has, one of them has come after it.
    fn is_stood_for(&self, connection: &Connection, seq: u64, to: u64) -> bool {
        let event = |seq: u64| &self.published[seq as usize - 1];
        let is_wanted = |topic: &&TopicHandle| self.subscriptions[connection.subscription].covers(&[(*topic).clone()]);
        event(seq).key.is_some()
            && event(seq).topics.iter().filter(is_wanted).all(|topic| {
                (seq + 1..=to).any(|newer| {
                    let newer_event = event(newer);
                    newer_event.key == event(seq).key
                        && newer_event.topics.contains(topic)
                        && self.expects(connection, newer)
                })
            })
    }

    /// Holds what a connection has got against what was published.
    fn check(&self, at: usize) {
        let connection = &self.connections[at];
        let policy = self.policies[connection.subscription];
        let wire = connection.wire.borrow();
        let received = receive(&wire.got, connection.framing);
        let context = || format!("connection {at} (policy {policy:?}, closed {:?}): {received:?}", connection.closed);

        let mut accounted = connection.start.after.get();
        // Told of: up to which place, and why.
        let mut gaps: Vec<(u64, u64, GapReason)> = Vec::new();
        let is_excused = |seq: u64, gaps: &[(u64, u64, GapReason)]| {
            gaps.iter().any(|&(from, to, reason)| match reason {
                GapReason::Lagged => {
                    (from < seq && seq <= to) || self.published[seq as usize - 1].live_only && seq <= self.evicted[1]
                }
                GapReason::Conflated => from < seq && seq <= to && self.is_stood_for(connection, seq, to),
                _ => false,
            })
        };
        let (mut events, mut farewells) = (0, 0);
        for (n, seen) in received.seen.iter().enumerate() {
            assert_eq!(farewells, 0, "nothing follows a farewell: {}", context());
            match seen {
                Seen::Event { seq, id } => {
                    assert!(self.expects(connection, *seq), "{seq} is not its event: {}", context());
                    assert!(*seq > accounted, "{seq} came twice or late: {}", context());
                    assert_eq!(*id, self.published[*seq as usize - 1].id, "{}", context());
                    for missing in accounted + 1..*seq {
                        let fine = !self.expects(connection, missing) || is_excused(missing, &gaps);
                        assert!(fine, "{missing} is missing before {seq}: {}", context());
                    }
                    accounted = *seq;
                    events += 1;
                }
                Seen::Gap { from, to, reason, id } => {
                    let to_place = self.place(to);
                    let reason = GapReason::from_str(reason).unwrap();
                    match reason {
                        GapReason::Lagged | GapReason::Conflated => {
                            let from = self.place(from.as_ref().unwrap());
                            assert!(from <= to_place && accounted <= from, "{}", context());
                            if reason == GapReason::Lagged {
                                // What was live only may be missing beyond the place to resume after.
                                let resumes_after = self.place(id.as_ref().unwrap());
                                assert!(policy != SlowPolicy::Disconnect && resumes_after <= to_place, "{}", context());
                                gaps.push((from, resumes_after, reason));
                                assert!(self.evicted.iter().any(|&evicted| evicted > from), "{}", context());
                            } else {
                                assert!(policy == SlowPolicy::Conflate && id.is_none(), "{}", context());
                                let any = (from + 1..=to_place).any(|seq| {
                                    self.expects(connection, seq) && self.is_stood_for(connection, seq, to_place)
                                });
                                assert!(any, "nothing was conflated in {from}..={to_place}: {}", context());
                                gaps.push((from, to_place, reason));
                            }
                        }
                        _ => {
                            assert!(n == 0 && connection.start.gap == Some(reason), "{}", context());
                            assert_eq!(
                                (from, to_place),
                                (&connection.asked, connection.start.after.get()),
                                "{}",
                                context()
                            );
                            assert_eq!(id.as_ref(), Some(to));
                        }
                    }
                }
                Seen::Farewell => farewells += 1,
                Seen::Heartbeat | Seen::Own => {}
            }
        }
        if connection.start.gap.is_some() && !received.seen.is_empty() {
            assert!(matches!(received.seen[0], Seen::Gap { .. }), "a gap is told first: {}", context());
        }
        let max_events = connection.max_events.unwrap_or(u32::MAX);
        assert!(events <= max_events, "at most {max_events} events: {}", context());

        // What must have arrived by now?
        let registry = &self.shards[connection.shard];
        let mut complete_through = 0;
        match connection.closed {
            None => {
                let is_live = connection.key.is_some() && !registry.has_ready() && !wire.waiting;
                if is_live && wire.broken.is_none() {
                    assert!(!received.cut, "cut, and its socket is not full: {}", context());
                    let lapped = self.evicted.iter().any(|&evicted| evicted > registry.position().get());
                    complete_through = if lapped { 0 } else { registry.position_of(connection.key.unwrap()).get() };
                    if connection.opened_at.max(connection.start.after.get())
                        > registry.position_of(connection.key.unwrap()).get()
                    {
                        complete_through = 0;
                    }
                    assert!(events < max_events, "it should have ended: {}", context());
                }
            }
            Some(CloseReason::MaxEvents) => assert_eq!(events, max_events, "{}", context()),
            Some(CloseReason::Drained) => {
                let (position, farewell) = connection.told_to_end.unwrap();
                complete_through = position;
                assert_eq!(farewells, usize::from(farewell), "{}", context());
            }
            Some(CloseReason::Lagged) => {
                assert!(policy == SlowPolicy::Disconnect && !received.cut, "{}", context());
                assert!(self.evicted.iter().any(|&evicted| evicted > accounted), "{}", context());
            }
            Some(CloseReason::ClientGone | CloseReason::WriteError) => {}
            Some(CloseReason::WriteDeadline) => {
                assert!(self.now_ms.get() - wire.written_ms >= DEADLINE_MS && wire.waiting, "{}", context());
            }
            Some(CloseReason::ClientData) => assert!(self.stray[&at] > 64 * 1024),
            Some(other) => panic!("nobody closes for {other:?}"),
        }
        for missing in accounted + 1..=complete_through {
            let fine = !self.expects(connection, missing) || is_excused(missing, &gaps);
            assert!(fine, "{missing} is missing at the end, complete through {complete_through}: {}", context());
        }
        let properly = matches!(connection.closed, Some(CloseReason::MaxEvents | CloseReason::Drained));
        assert!(!properly || !received.cut, "{}", context());
        assert_eq!(received.ended, properly && connection.framing == Framing::Chunked, "{}", context());
    }

    /// A client that comes back with the last id it saw gets, over all its connections, every kept
    /// event once, but for what it was told of.
    fn check_chain(&self, client: &Client) {
        let (mut last, mut live_last) = (self.connections[client.connections[0]].start.after.get(), 0);
        let mut gaps: Vec<(u64, u64, GapReason)> = Vec::new();
        for &at in &client.connections {
            let connection = &self.connections[at];
            for seen in receive(&connection.wire.borrow().got, connection.framing).seen {
                match seen {
                    Seen::Event { seq, .. } if self.published[seq as usize - 1].live_only => {
                        assert!(seq > live_last, "live-only event {seq} came twice to {:?}", client.connections);
                        live_last = seq;
                    }
                    Seen::Event { seq, .. } => {
                        assert!(seq > last, "{seq} came twice to {:?}", client.connections);
                        for missing in last + 1..seq {
                            let event = &self.published[missing as usize - 1];
                            let wanted =
                                !event.live_only && self.subscriptions[client.subscription].covers(&event.topics);
                            let excused = gaps.iter().any(|&(from, to, reason)| {
                                from < missing
                                    && missing <= to
                                    && (reason != GapReason::Conflated || self.is_stood_for(connection, missing, to))
                            });
                            assert!(!wanted || excused, "{missing} never came to {:?}: {gaps:?}", client.connections);
                        }
                        last = seq;
                    }
                    Seen::Gap { from, to, reason, .. } => {
                        let reason = GapReason::from_str(&reason).unwrap();
                        let from = match reason {
                            GapReason::Lagged | GapReason::Conflated => self.place(&from.unwrap()),
                            _ => last,
                        };
                        gaps.push((from, self.place(&to), reason));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Opens all sockets, lets everything come to rest, looks at all, and closes all.
    fn finish(mut self) {
        for shard in 0..self.shards.len() {
            self.admit(shard);
        }
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            let mut wire = connection.wire.borrow_mut();
            wire.room = usize::MAX;
            if connection.closed.is_none() && std::mem::take(&mut wire.waiting) {
                drop(wire);
                self.shards[connection.shard].writable(connection.key.unwrap());
            }
        }
        for shard in 0..self.shards.len() {
            while self.shards[shard].position().get() < self.head() {
                self.pass(shard);
                self.obey();
            }
            self.look(shard);
            assert_eq!(self.shards[shard].behind(), 0, "all have caught up");
        }
        for client in self.clients.iter().filter(|c| c.faithful && !self.careless_ids && !c.connections.is_empty()) {
            self.check_chain(client);
        }
        for shard in 0..self.shards.len() {
            for key in self.shards[shard].keys().collect::<Vec<_>>() {
                self.shards[shard].close(key, CloseReason::ClientGone);
            }
            self.obey();
            let registry = &self.shards[shard];
            assert!(registry.is_empty() && registry.behind() == 0 && !registry.has_ready());
            assert!(!registry.routes().has_patterns());
            assert!(TOPICS.iter().all(|topic| !registry.routes().names(&handle(topic))));
        }
        assert!(self.wheel.is_empty(), "each timer went with its stream");
        self.check_sums();
    }

    fn check_sums(&self) {
        let (mut events, mut live, mut bytes, mut gaps) = (0, 0, 0, 0);
        for connection in &self.connections {
            let wire = connection.wire.borrow();
            bytes += wire.got.len() as u64;
            for seen in receive(&wire.got, connection.framing).seen {
                events += u64::from(matches!(seen, Seen::Event { .. }));
                live += u64::from(matches!(seen, Seen::Event { seq, .. } if seq > connection.opened_at));
                gaps += u64::from(matches!(seen, Seen::Gap { .. }));
            }
            assert!(connection.closed.is_some() && wire.closed);
        }
        let tally = &self.tally;
        assert_eq!((tally.deliveries, tally.bytes), (events, bytes));
        assert_eq!(self.counted.0, live, "each delivery but of replay was observed");
        assert_eq!(tally.opened, self.connections.len() as u64);
        assert_eq!(tally.closed.iter().sum::<u64>(), tally.opened);
        assert!(tally.gaps.iter().sum::<u64>() >= gaps, "each gap was counted");
    }
}

/// What many seeds came to, to see that they met what they are for.
#[derive(Debug, Default)]
struct Met {
    closed: [u64; CloseReason::VARIANTS.len()],
    gaps: [u64; GapReason::VARIANTS.len()],
    deliveries: u64,
}

fn play(seed: u64, met: &mut Met) {
    struct Named(u64);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failing seed: SLUICEGATE_SEED={}", self.0);
            }
        }
    }
    let _named = Named(seed);
    let mut world = World::new(seed);
    for _ in 0..100 + world.random.below(400) {
        world.step();
    }
    for (sum, one) in met.closed.iter_mut().zip(world.tally.closed) {
        *sum += one;
    }
    for (sum, one) in met.gaps.iter_mut().zip(world.tally.gaps) {
        *sum += one;
    }
    met.deliveries += world.tally.deliveries;
    world.finish();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_stream_gets_its_events_once_in_order_or_is_told() {
    let mut met = Met::default();
    if let Some(seed) = number("SLUICEGATE_SEED") {
        return play(seed, &mut met);
    }
    for seed in 0..number("SLUICEGATE_SEEDS").unwrap_or(300) {
        play(seed, &mut met);
    }
    println!("{met:?}");
    assert!(met.gaps.iter().all(|&gaps| gaps > 0), "{met:?}");
    use CloseReason as Why;
    for why in [Why::ClientGone, Why::WriteError, Why::WriteDeadline, Why::Lagged, Why::MaxEvents, Why::Drained] {
        assert!(met.closed[why as usize] > 0, "{met:?}");
    }
}
