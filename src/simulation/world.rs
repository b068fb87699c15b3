//! A gateway's core in one thread, by seed: shards as they ship, the real exchange between them, publishers, clients
//! that come back, and a time that jumps.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strum::VariantArray;

use crate::exchange::bus::Bus;
use crate::exchange::inbox::Inbox;
use crate::exchange::log_cell::LogCell;
use crate::exchange::pages::{Asked, PageCache};
use crate::exchange::topics::TopicTable;
use crate::hub::archive::{self, Hole, Page};
use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::frame::{Chunk, Framing};
use crate::hub::gap::GapReason;
use crate::hub::id::Epoch;
use crate::hub::log::{LIVE_EVENTS, Log, LogLimits, Resume};
use crate::hub::offset::Offset;
use crate::hub::policy::{Policies, SlowPolicy};
use crate::hub::registry::look::Order;
use crate::hub::registry::{StreamKey, Tally};
use crate::hub::shard::{Fault, Message, Ready, Settings, Shard, ShardTimer, Sleep};
use crate::hub::stream::Sent;
use crate::hub::subscribe::{Subscribe, TimedEvent};
use crate::hub::topic::{Pattern, Subscription, Topic};

use super::host::{ASKED, Around, Clockwork, Notes, Past};
use super::kit::{Mock, Random, Reader, Seen, Time, Wire};
use super::press::{Press, SimBus};

/// How many turns a prompt shard takes in a step: publishers that come during each may bring more than it serves.
const PROMPT_TURNS_MAX: u32 = 2_000;
const SUBSCRIPTIONS: [(&[&str], &[&str]); 9] = [
    (&["a"], &[]),
    (&["b"], &[]),
    (&["a", "b"], &[]),
    (&["c/x"], &[]),
    (&["quiet"], &[]),
    (&[], &["c/*"]),
    (&["a"], &["c/*", "d/**"]),
    (&[], &["**"]),
    (&["a", "b", "c/x", "c/y", "d/e/f"], &[]),
];
/// What the law says that a former fault breaks.
pub(super) const PASS_IN_REST: &str = "no pass within a rest";
pub(super) const HEARTBEAT_MS: u64 = 640;
pub(super) const DEADLINE_MS: u64 = 100;
/// 256 a second.
pub(super) const PROGRESS_BYTES: usize = 25;
/// How far the time jumps, at most.
pub(super) const STEP_MS_MAX: u64 = 40;

/// One response, from its request on.
pub(super) struct Connection {
    pub(super) client: usize,
    pub(super) shard: usize,
    pub(super) key: Option<StreamKey>,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) subscription: usize,
    pub(super) framing: Framing,
    pub(super) asked: Option<String>,
    pub(super) max_events: Option<u32>,
    /// Where its shard opened it: after which event it starts, why it is told of a gap, and the head.
    pub(super) opened: Option<(u64, Option<GapReason>, u64)>,
    pub(super) closed: Option<CloseReason>,
    /// It was told to end, when everything up to here was published, and had been live until then.
    pub(super) told_to_end: Option<(CloseReason, u64, bool)>,
    /// It has fallen behind since, and so is ended at once.
    pub(super) fell_behind: bool,
    /// The policies that have held for it.
    pub(super) policies: Vec<SlowPolicy>,
    // What its client has made of it.
    pub(super) reader: Reader,
    pub(super) seen: Vec<Seen>,
    pub(super) accounted: u64,
    /// Up to here, nothing is owed to it.
    pub(super) clear: u64,
    pub(super) gaps: Vec<(u64, u64, GapReason)>,
    pub(super) events: u32,
    pub(super) live_events: u64,
    pub(super) farewells: usize,
    /// The offset of the newest kept event, gap or mark, whose id it has.
    pub(super) named: u64,
    /// It began before the log,
    pub(super) archived: bool,
    /// with whatever there is,
    pub(super) from_oldest: bool,
    /// and was told that live-only events are missing between these.
    pub(super) live_gaps: Vec<(u64, u64)>,
    /// Until when it has not kept up, or was not open.
    pub(super) caught_up_ms: u64,
}

#[derive(Default)]
pub(super) struct Client {
    pub(super) subscription: usize,
    /// It comes back with what it saw last, always; the others ask for anything.
    pub(super) faithful: bool,
    pub(super) last_id: Option<String>,
    pub(super) connections: Vec<usize>,
    pub(super) open: bool,
}

pub(super) struct Core {
    pub(super) shard: Shard<Around>,
    pub(super) around: Around,
    pub(super) woken: Arc<AtomicBool>,
    pub(super) runs: bool,
    pub(super) sockets: Vec<(StreamKey, Ready)>,
}

impl Core {
    pub(super) fn can_run(&self) -> bool {
        self.runs || !self.sockets.is_empty() || self.woken.load(Ordering::SeqCst)
    }
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) time: Rc<Time>,
    pub(super) bus: Rc<SimBus>,
    pub(super) press: Rc<Press>,
    pub(super) cores: Vec<Core>,
    clockwork: Rc<Clockwork>,
    settings: Rc<RefCell<Settings>>,
    pub(super) subscriptions: Vec<Arc<Subscription>>,
    pub(super) clients: Vec<Client>,
    pub(super) connections: Vec<Connection>,
    by_key: HashMap<(usize, StreamKey), usize>,
    /// How likely it is that a shard that can run does so at once, in percent: where it is low, shards are lapped.
    promptness: usize,
    /// How many questions were put to the shards.
    asked: usize,
    draining: bool,
    settling: bool,
    /// How long a turn took, at most: no time that a shard notes is truer.
    pub(super) turn_ms_max: u64,
    /// How many turns ended in sleep, and how many were within a rest.
    pub(super) slept: u64,
    pub(super) rested: u64,
    /// Pages that are asked for, how many have come, and which of their numbers were given up.
    pub(super) pages_asked: VecDeque<Asked>,
    pub(super) paged: u64,
    pub(super) given_up: Vec<(u64, u64)>,
    /// Whether streams are marked, and how many marks came but for those at the start.
    pub(super) marks: bool,
    pub(super) marked: u64,
    /// How often streams were told, on their way, that events are lost and that the engine was made anew.
    pub(super) told: [u64; 2],
    /// Since when ids before which offset are old.
    pub(super) old_before: Vec<(u64, u64)>,
    /// What streams behind may hold outside the log.
    pub(super) pinned_bytes: usize,
}

impl World {
    pub(super) fn new(seed: u64, fault: Option<Fault>) -> World {
        let mut random = Random(seed);
        let big = random.chance(5);
        let limits = LogLimits {
            events: random.pick(&[3, 8, 20, 60]),
            bytes: if big { 3_000_000 } else { random.pick(&[2_000, 8_000, 1_000_000]) },
            age_ns: random.pick(&[20_000_000, 200_000_000, u64::MAX]),
        };
        let epoch = Epoch::new(seed);
        let time = Rc::new(Time::default());
        time.write_ns.set(random.pick(&[(0, 0), (4_000, 4_000), (300_000, 300_000), (300_000, 900_000)]));
        let bounds = random.pick(&[
            Bounds::SMALL,
            Bounds::SMALL,
            Bounds {
                served_a_turn: 1,
                messages_a_turn: 2,
                read_bytes: 300,
                selection_bytes: 1000,
                heartbeats_a_turn: 1,
                walked_a_turn: 1,
                work_a_turn: 300,
                ..Bounds::SMALL
            },
            Bounds::SHIPPED,
        ]);
        let marks = random.chance(70);
        let pinned_bytes = [0, 400, 3000, Bounds::SHIPPED.pinned_bytes][seed as usize / 2 % 4];
        let bounds = Bounds { pinned_bytes, ..bounds };
        let settings = Settings {
            rest_max: random.pick(&[0.0, 2.25, 20.0]),
            interval_min: Duration::from_millis(random.pick(&[0, 0, 30])),
            marks,
            heartbeat: random.chance(70).then_some(Duration::from_millis(HEARTBEAT_MS)),
            write_deadline: Duration::from_millis(DEADLINE_MS),
            policies: policies(&mut random),
        };
        let (mut inboxes, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..1 + random.below(3) {
            let woken = Arc::new(AtomicBool::new(false));
            let wake = woken.clone();
            let (inbox, mail) = Inbox::new(move || wake.store(true, Ordering::SeqCst));
            inboxes.push(inbox);
            ends.push((woken, mail));
        }
        // Where there are none, shards are lapped.
        let live_events = if seed % 3 == 2 { LIVE_EVENTS } else { 0 };
        let mut log = Log::new(epoch, limits).with_live_events(live_events);
        if fault == Some(Fault::ForgetsTopics) {
            log = log.forgetting_topics();
        }
        // An engine may number the events, and lose them.
        let engine = seed % 5 == 3;
        let mut log = if engine {
            LogCell::filled(log.starting_after(None), epoch, limits, live_events)
        } else {
            LogCell::of(log, epoch, limits, live_events)
        };
        // What has left the log may be elsewhere.
        if seed % 5 == 4 {
            log = log.with_pages(PageCache::new(random.pick(&[1, 4, 16]), random.pick(&[0, 2_000, 1 << 20])));
        }
        let bus: Rc<SimBus> = Rc::new(Bus::new(log, inboxes, None));
        let table = TopicTable::default();
        let press = Rc::new(Press::new(bus.clone(), engine, time.clone(), &table, Random(seed ^ 0xabcd), limits, big));
        let (clockwork, settings) = (Rc::new(Clockwork::new()), Rc::new(RefCell::new(settings)));
        let cores = ends.into_iter().enumerate().map(|(index, (woken, mail))| {
            let look_max = Cell::new(if bounds.cohort_streams > 2 { usize::MAX } else { random.pick(&[1, 3, 1000]) });
            let around = Around {
                shard: index,
                past: Past {
                    bus: bus.clone(),
                    time: time.clone(),
                    look_max,
                    searches_little: Cell::new(seed % 2 == 1),
                },
                mail,
                clockwork: clockwork.clone(),
                settings: settings.clone(),
                resting: Cell::new(false),
                rests_ended: Cell::new(0),
                was_endangered: Cell::new(false),
                notes: RefCell::new(Notes::default()),
            };
            let mut shard = Shard::new(&around, seed ^ index as u64, bounds);
            shard.fault = fault;
            Core { shard, around, woken, runs: true, sockets: Vec::new() }
        });
        let cores = cores.collect();
        let subscriptions = SUBSCRIPTIONS.map(|(topics, patterns)| {
            let topics = topics.iter().map(|text| Topic::parse(text).unwrap()).collect();
            let patterns = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            Arc::new(Subscription::new(topics, patterns, &table).unwrap())
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
            promptness: random.pick(&[0, 50, 95, 100]),
            time,
            bus,
            press,
            cores,
            clockwork,
            settings,
            subscriptions: subscriptions.into(),
            connections: Vec::new(),
            by_key: HashMap::new(),
            asked: 0,
            draining: false,
            settling: false,
            turn_ms_max: 0,
            pages_asked: VecDeque::new(),
            paged: 0,
            given_up: Vec::new(),
            slept: 0,
            rested: 0,
            marks,
            marked: 0,
            told: [0; 2],
            old_before: Vec::new(),
            pinned_bytes,
            random,
        }
    }

    /// The archive answers, or has a time-out, or forgets.
    fn archive_answers(&mut self) -> bool {
        let bus = self.bus.clone();
        let Some(pages) = bus.log.page_cache() else { return false };
        if self.random.chance(10) {
            let forgotten = self.press.forgotten.get();
            self.press.forgotten.set(
                forgotten
                    + self.random.below(1 + (self.press.evicted.get()[0].saturating_sub(forgotten)) as usize) as u64,
            );
            if self.random.chance(50) {
                pages.forget(self.press.forgotten.get());
            }
        }
        if !self.settling && self.random.chance(20) {
            return false;
        }
        if let Some(asked) = self.pages_asked.pop_front() {
            let first = asked.first;
            let end = pages.end_of(first);
            let bytes_max = self.random.pick(&[300, usize::MAX]);
            let page = if !self.settling && self.random.chance(5) {
                let lost = Hole { first, last: end - 1, reason: GapReason::Lost };
                self.given_up.push((first, end - 1));
                Page { holes: vec![lost], through: end - 1, ..Page::default() }
            } else {
                self.press.page(first, end, bytes_max)
            };
            pages.put(asked, page);
            self.paged += 1;
            for shard in 0..self.cores.len() {
                assert!(bus.inbox(shard).push(Message::Page(first)).is_ok());
            }
        }
        while let Some(asked) = pages.try_next() {
            assert!(self.pages_asked.iter().all(|other| other.first != asked.first), "asked for once");
            self.pages_asked.push_back(asked);
        }
        !self.pages_asked.is_empty()
    }

    pub(super) fn step(&mut self) {
        for _ in 0..self.random.below(2) {
            self.archive_answers();
        }
        let shard = self.random.below(self.cores.len());
        match self.random.below(100) {
            0..27 => (0..self.random.pick(&[1, 1, 1, 3, 8])).for_each(|_| self.press.act()),
            27..42 => self.run(shard),
            42..55 => self.connect(),
            55..72 => self.drain_a_socket(),
            72..86 => self.let_time_pass(),
            86..93 => self.disturb(),
            93..95 => self.change_settings(),
            95..97 => self.ask(shard),
            _ if self.random.chance(10) => self.keep_quiet(),
            _ => self.settle(),
        }
        for shard in 0..self.cores.len() {
            // One that is always prompt goes on until it sleeps, or publishers outrun it.
            for _ in 0..PROMPT_TURNS_MAX {
                if !self.cores[shard].can_run() || !self.random.chance(self.promptness) {
                    break;
                }
                self.run(shard);
            }
        }
    }

    fn ask(&mut self, shard: usize) {
        let order = self.random.pick(&[Order::Lag, Order::Age, Order::Written]);
        assert!(self.bus.inbox(shard).push(Message::Ask { order, max: ASKED, question: order }).is_ok());
        self.asked += 1;
    }

    /// A shard takes a turn, if anything lets it run.
    fn run(&mut self, shard: usize) {
        let core = &mut self.cores[shard];
        if !core.can_run() {
            return;
        }
        for (key, ready) in core.sockets.drain(..) {
            core.shard.ready(&core.around, key, ready);
        }
        core.woken.store(false, Ordering::SeqCst);
        // While all are to come to rest, publishers do.
        if !self.settling && self.random.chance(40) {
            let press = self.press.clone();
            self.time.meanwhile(1 + self.random.below(40), move || press.act());
        }
        let (rests_ended, rested) = (core.around.rests_ended.get(), core.around.resting.get());
        let (before, was_amid_pass) = (core.shard.streams().position(), core.shard.is_amid_pass());
        let began_ms = self.time.now_ms();
        let sleep = core.shard.turn(&core.around);
        self.turn_ms_max = self.turn_ms_max.max(self.time.now_ms() + 1 - began_ms);
        if rested && core.around.rests_ended.get() == rests_ended {
            self.rested += 1;
            if !core.around.was_endangered.get() && !was_amid_pass {
                assert_eq!(core.shard.streams().position(), before, "{PASS_IN_REST}");
            }
        }
        let streams = core.shard.streams();
        assert_eq!(streams.pinned_bytes(), streams.recounted_pinned_bytes(), "what is held is counted");
        assert!(sleep != Sleep::UntilWoken || streams.pinned_bytes() <= self.pinned_bytes, "it holds too much");
        core.runs = sleep == Sleep::No;
        self.time.flush();
        self.take_notes(shard);
        if sleep == Sleep::UntilWoken {
            self.slept += 1;
            self.nothing_is_owed(shard);
        }
    }

    fn take_notes(&mut self, shard: usize) {
        let mut notes = self.cores[shard].around.notes.borrow_mut();
        let watched = std::mem::take(&mut notes.watched);
        let closed = std::mem::take(&mut notes.closed);
        drop(notes);
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            let started = connection.wire.borrow().started;
            let Some((start, head)) = started.filter(|_| connection.opened.is_none()) else { continue };
            // Where there is an archive, numbers are offsets.
            let after = start.archive.map_or(start.after.get(), archive::Past::number);
            self.connections[at].archived = start.archive.is_some();
            self.connections[at].from_oldest = matches!(start.archive, Some(archive::Past::Oldest(_)));
            self.connections[at].opened = Some((after, start.gap, head.get()));
            self.connections[at].accounted = after;
            self.connections[at].clear = after;
            if self.connections[at].asked.as_deref() == Some(&self.press.id(after)) {
                self.connections[at].named = after;
            }
            self.check_start(at);
        }
        for (at, key) in watched {
            self.connections[at].key = Some(key);
            self.by_key.insert((shard, key), at);
        }
        for at in 0..self.connections.len() {
            if self.connections[at].shard == shard && self.connections[at].closed.is_none() {
                self.read(at);
            }
        }
        for (socket, reason) in closed {
            self.hang_up(socket.connection, reason);
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether heartbeats must have come: they are on, and the shards were never kept waiting.
    pub(super) fn has_heartbeats(&self) -> bool {
        self.promptness == 100 && self.settings.borrow().heartbeat.is_some()
    }

    /// Lets all shards do what they can.
    pub(super) fn settle(&mut self) {
        self.settling = true;
        let mut turns = 0;
        loop {
            if let Some(shard) = self.cores.iter().position(Core::can_run) {
                self.run(shard);
            } else if !self.archive_answers() && !self.cores.iter().any(Core::can_run) {
                break;
            }
            turns += 1;
            assert!(turns < 20_000, "the shards never come to rest");
        }
        self.settling = false;
        self.heartbeats_come();
    }

    // ===== clients =====

    fn connect(&mut self) {
        let at = self.random.below(self.clients.len());
        let shard = if self.random.chance(70) { self.bus.least_loaded() } else { self.random.below(self.cores.len()) };
        let client = &mut self.clients[at];
        if client.open || self.draining {
            return;
        }
        client.open = true;
        let head = self.press.head();
        // Who is told where it starts needs to know nothing.
        if client.faithful && client.last_id.is_none() && !(self.marks && self.random.chance(50)) {
            let from = if self.random.chance(50) { head } else { 0 };
            client.last_id = Some(self.bus.log.id(Offset::new(from)).to_string());
        }
        let id = |id: &str| Resume::After(id.into());
        let offset = |number: u64| id(self.bus.log.id(Offset::new(number)).as_str());
        let resume = match self.random.below(8) {
            _ if client.faithful => client.last_id.as_ref().map_or(Resume::Now, |last| id(last)),
            0 => Resume::Now,
            1 => Resume::Earliest,
            2 => Resume::Unknown,
            3 => id("nobody's"),
            4 => id(Epoch::new(99).id(1).as_str()),
            5 => id(self.bus.log.epoch().id(self.press.number(head) + 1).as_str()),
            6 => id(&format!("twice-{}", self.random.below(3))),
            _ => offset(self.random.below(head as usize + 1) as u64),
        };
        let subscription = client.subscription;
        let connection = self.connections.len();
        client.connections.push(connection);
        let room = self.random.pick(&[usize::MAX, usize::MAX, usize::MAX, 0, 30, 300, 3000]);
        let wire = Rc::new(RefCell::new(Wire {
            room,
            since_ms: self.time.now_ms(),
            written_ms: self.time.now_ms(),
            ..Wire::default()
        }));
        let subscribe = Subscribe {
            framing: self.random.pick(&[Framing::Chunked, Framing::Close]),
            resume,
            max_events: self.random.chance(20).then(|| 1 + self.random.below(5) as u32).and_then(NonZeroU32::new),
            lasts: self.random.chance(20).then(|| {
                let reason = self.random.pick(&[
                    CloseReason::MaxSeconds,
                    CloseReason::Rotated,
                    CloseReason::TokenExpired,
                    CloseReason::TokenRevoked,
                    CloseReason::Superseded,
                ]);
                (Duration::from_millis(1 + self.random.below(200) as u64), reason)
            }),
            timed: self.random.chance(15).then(|| TimedEvent {
                every: Duration::from_millis(10 + self.random.below(50) as u64),
                chunk: Arc::new(Chunk::new("data: own\n\n")),
            }),
            ..Subscribe::to(self.subscriptions[subscription].clone())
        };
        self.connections.push(Connection {
            client: at,
            shard,
            key: None,
            wire: wire.clone(),
            subscription,
            framing: subscribe.framing,
            asked: if let Resume::After(id) = &subscribe.resume { Some(id.to_string()) } else { None },
            max_events: subscribe.max_events.map(NonZeroU32::get),
            opened: None,
            closed: None,
            told_to_end: None,
            fell_behind: false,
            policies: vec![self.policy(subscription)],
            reader: Reader::default(),
            seen: Vec::new(),
            accounted: 0,
            clear: 0,
            gaps: Vec::new(),
            events: 0,
            live_events: 0,
            farewells: 0,
            named: 0,
            archived: false,
            from_oldest: false,
            live_gaps: Vec::new(),
            caught_up_ms: self.time.now_ms(),
        });
        self.bus.inbox(shard).stream_comes();
        let socket = Mock { connection, wire, time: self.time.clone() };
        assert!(self.bus.inbox(shard).push(Message::Open { socket, subscribe }).is_ok());
    }

    fn policy(&self, subscription: usize) -> SlowPolicy {
        self.settings.borrow().policies.for_subscription(&self.subscriptions[subscription])
    }

    fn an_open_connection(&mut self) -> Option<usize> {
        let open = self.clients.iter().filter(|c| c.open).map(|c| *c.connections.last().unwrap());
        let open: Vec<usize> = open.filter(|at| self.connections[*at].key.is_some()).collect();
        if open.is_empty() { None } else { Some(self.random.pick(&open)) }
    }

    fn reports(&mut self, at: usize, ready: Ready) {
        let connection = &self.connections[at];
        let key = connection.key.expect("an open stream");
        self.cores[connection.shard].sockets.push((key, ready));
    }

    fn drain_a_socket(&mut self) {
        let Some(at) = self.an_open_connection() else { return };
        let more = self.random.pick(&[1, 20, 100, 1000, 100_000, usize::MAX]);
        let mut wire = self.connections[at].wire.borrow_mut();
        wire.room = wire.room.saturating_add(more);
        if std::mem::take(&mut wire.waiting) {
            drop(wire);
            self.connections[at].caught_up_ms = self.time.now_ms();
            self.reports(at, Ready { writable: true, ..Ready::default() });
        } else if self.random.chance(30) {
            wire.room = self.random.pick(&[0, 10, 500]);
        }
    }

    fn disturb(&mut self) {
        let Some(at) = self.an_open_connection() else { return };
        match self.random.below(4) {
            0 => {
                self.connections[at].wire.borrow_mut().broken = Some(self.random.pick(&[Sent::Gone, Sent::Failed]));
            }
            1 => {
                self.connections[at].wire.borrow_mut().broken = Some(Sent::Gone);
                self.reports(at, Ready { closed: true, ..Ready::default() });
            }
            2 => {
                let bytes = self.random.pick(&[1, 30_000, 64 * 1024]);
                self.connections[at].wire.borrow_mut().stray += bytes;
                self.reports(at, Ready { readable: true, ..Ready::default() });
            }
            _ => self.connections[at].wire.borrow_mut().room = self.random.below(60),
        }
    }

    /// The client learns that its connection is no more, and notes the last id that it saw.
    fn hang_up(&mut self, at: usize, reason: CloseReason) {
        self.read(at);
        let connection = &mut self.connections[at];
        assert_eq!(connection.closed.replace(reason), None, "closed once");
        let last = connection.seen.iter().rev().find_map(|seen| match seen {
            Seen::Event { id, .. } | Seen::Gap { id, .. } => id.clone(),
            Seen::Mark { id } => Some(id.clone()),
            _ => None,
        });
        let client = &mut self.clients[connection.client];
        client.open = false;
        client.last_id = last.or(client.last_id.take());
        self.check_close(at, reason);
    }

    // ===== time and settings =====

    fn let_time_pass(&mut self) {
        self.let_pass(STEP_MS_MAX);
    }

    fn let_pass(&mut self, ms_max: u64) {
        let ns = 1 + self.random.below(ms_max as usize * 1_000_000) as u64;
        self.time.now_ns.set(self.time.now_ns.get() + ns);
        self.old_before.push((self.time.now_ms(), self.press.old_before()));
        if self.random.chance(50) {
            self.press.evict();
        }
        for (shard, timer) in self.clockwork.expired(self.time.now_ms()) {
            if let ShardTimer::End(key, reason) = timer {
                let is_live = self.cores[shard].shard.streams().is_behind(key) == Some(false);
                let connection = &mut self.connections[self.by_key[&(shard, key)]];
                connection.told_to_end.get_or_insert((reason, self.press.head(), is_live));
                connection.fell_behind = false;
            }
            assert!(self.bus.inbox(shard).push(Message::Timer(timer)).is_ok());
        }
    }

    /// Nobody publishes anything for as long as heartbeats take.
    fn keep_quiet(&mut self) {
        for _ in 0..300 {
            self.let_pass(6);
            self.settle();
        }
    }

    fn change_settings(&mut self) {
        self.settings.borrow_mut().policies = policies(&mut self.random);
        for at in 0..self.connections.len() {
            if self.connections[at].closed.is_none() {
                let policy = self.policy(self.connections[at].subscription);
                self.connections[at].policies.push(policy);
            }
        }
        for shard in 0..self.cores.len() {
            assert!(self.bus.inbox(shard).push(Message::Timer(ShardTimer::Settings)).is_ok());
        }
    }

    // ===== the end =====

    fn drain(&mut self) {
        self.draining = true;
        for connection in self.connections.iter_mut().filter(|connection| connection.closed.is_none()) {
            connection.told_to_end.get_or_insert((CloseReason::Drained, self.press.head(), true));
        }
        for shard in 0..self.cores.len() {
            let (window, retry) = (Duration::from_millis(self.random.pick(&[0, 50])), Duration::from_secs(1));
            assert!(self.bus.inbox(shard).push(Message::Drain { window, retry, for_good: true }).is_ok());
        }
    }

    /// Opens all sockets, lets everything come to rest, looks at all, and closes all.
    pub(super) fn finish(&mut self) -> Tally {
        let drains = self.random.chance(50);
        if drains {
            self.drain();
        }
        // Long enough for every drain, and a retry of each; and until every rest is over.
        let mut steps = 0;
        while steps < 40 || steps < 1000 && self.cores.iter().any(|core| core.around.resting.get()) {
            steps += 1;
            self.settle();
            for at in 0..self.connections.len() {
                let connection = &self.connections[at];
                let mut wire = connection.wire.borrow_mut();
                wire.room = usize::MAX;
                if connection.closed.is_none() && connection.key.is_some() && std::mem::take(&mut wire.waiting) {
                    drop(wire);
                    self.connections[at].caught_up_ms = self.time.now_ms();
                    self.reports(at, Ready { writable: true, ..Ready::default() });
                }
            }
            self.let_time_pass();
        }
        self.settle();
        for core in &self.cores {
            assert_eq!(core.shard.streams().behind(), 0, "all have caught up");
        }
        let answers = self.cores.iter().map(|core| core.around.notes.borrow().answers).sum::<usize>();
        assert_eq!(answers, self.asked, "each question is answered once");
        if drains {
            assert_eq!(self.bus.streams(), 0, "a drain ends all");
        }
        for at in 0..self.clients.len() {
            self.check_chain(at);
        }
        for shard in 0..self.cores.len() {
            assert!(self.bus.inbox(shard).push(Message::Stop).is_ok());
            self.run(shard);
            assert!(self.cores[shard].shard.streams().is_empty());
        }
        assert_eq!((self.bus.streams(), self.bus.directory.topics()), (0, 0));
        assert_eq!(self.bus.directory.interested([], self.cores.len()).count(), 0, "no shard has patterns");
        assert_eq!(self.clockwork.of_streams.get(), 0, "each timer went with its stream");
        self.check_sums()
    }
}

fn policies(random: &mut Random) -> Policies {
    let rule = |random: &mut Random, text: &str| (Pattern::parse(text).unwrap(), random.pick(SlowPolicy::VARIANTS));
    Policies::new(["a", "b", "c/*", "d/**", "**"].map(|text| rule(random, text)))
}
