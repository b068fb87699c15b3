//! The registry, by conversations with its streams.

mod marks;
mod pins;

use super::*;
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::id::Epoch;
use crate::hub::log::{Log, LogLimits, Numbering};
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

    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>) -> Read {
        self.0.borrow().read(window, budget_bytes, out)
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
struct Room {
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

impl Room {
    fn new() -> Room {
        Room::with(LogLimits { events: 4, bytes: 1 << 30, age_ns: u64::MAX })
    }

    fn with(limits: LogLimits) -> Room {
        Room {
            log: Shared(RefCell::new(Log::new(epoch(), limits))),
            registry: Registry::new(Offset::ZERO, 6400, 1, Bounds::SMALL),
            now_ms: Rc::default(),
            counted: Counted::default(),
        }
    }

    fn publish(&self, topics: &[&str], event: Event<'_>) {
        let topics = Topics::new(topics.iter().map(|topic| handle(topic))).unwrap();
        let draft = Draft::encode(topics, &event, epoch()).unwrap();
        self.log.0.borrow_mut().append([draft], Numbering::Own, 0, &mut Vec::new());
    }

    /// Publishes these data to `a`, each of them in an event of its own.
    fn say(&self, data: &[&str]) {
        data.iter().for_each(|data| self.publish(&["a"], Event::new(*data)));
    }

    fn open(&mut self, asks: Asks) -> Peer {
        let ahead = self.ask(&asks);
        self.admit(asks, ahead)
    }

    /// Where the log says that it starts, and the head then.
    fn ask(&self, asks: &Asks) -> (Start, Offset) {
        let log = self.log.0.borrow();
        (log.start(&asks.resume, &subscription(asks)), log.head())
    }

    fn admit(&mut self, asks: Asks, (start, head): (Start, Offset)) -> Peer {
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
            head,
            response_head: asks.head.as_bytes(),
        };
        let key = self.registry.open(opening, &self.log, self.now_ms.get(), &mut self.counted);
        Peer { key, wire }
    }

    fn pass(&mut self) {
        self.registry.pass(false, &self.log, self.now_ms.get(), &mut self.counted);
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

#[test]
fn the_slowest_are_found_in_any_order() {
    use super::look::{Order, Standing};
    let mut room = Room::with(LogLimits { events: 100, bytes: 1 << 30, age_ns: u64::MAX });
    let _live = room.open(Asks { topics: &["q"], ..Asks::default() });
    room.now_ms.set(3_000);
    let [_, stuck, slow] = [usize::MAX, 5, 60].map(|takes| {
        let peer = room.open(Asks::default());
        peer.wire.borrow_mut().room = takes;
        peer
    });
    room.now_ms.set(5_500);
    room.say(&["1", "2", "3"]);
    room.pass();
    room.now_ms.set(6_000);
    room.takes(&slow, 1);
    let looks = |order, max| -> Vec<_> {
        let looks = room.registry.look(order, max, 6_000);
        looks.map(|look| (look.slot, look.behind, look.standing)).collect()
    };
    let standing = |lag, written_ms, age_s| Standing { lag, written_ms, age_s };
    let by_lag = looks(Order::Lag, 9);
    assert_eq!(by_lag.len(), 4);
    assert_eq!(by_lag[0].0, stuck.key.index(), "{by_lag:?}");
    assert!(by_lag[0].1 && by_lag[0].2.lag > by_lag[1].2.lag && by_lag[1].2.lag > 0, "{by_lag:?}");
    assert_eq!(by_lag[1].0, slow.key.index());
    assert_eq!(by_lag[2..], [(0, false, standing(0, 6_000, 6)), (1, false, standing(0, 500, 3))]);
    assert_eq!(looks(Order::Age, 1), [(0, false, standing(0, 6_000, 6))]);
    assert_eq!(looks(Order::Written, 2).iter().map(|look| look.0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(looks(Order::Lag, 0), []);
}

// ===== streams that are slow =====

#[test]
fn a_frame_that_was_cut_is_finished_before_the_gap() {
    let mut room = Room::new();
    let peer = room.open(Asks { room: 5 + 7, ..Asks::default() });
    room.say(&["one"]);
    room.pass();
    peer.gets(&["head\n", &event(1, "one")[..7]]);
    room.say(&["2", "3", "4", "5", "6"]);
    room.pass();
    // The cut frame itself has left the log by now.
    room.takes(&peer, usize::MAX);
    peer.gets(&[&event(1, "one")[7..], &gap_event(1, 6, GapReason::Lagged)]);
    assert_eq!(room.registry.behind(), 0);
    room.say(&["7"]);
    room.pass();
    peer.gets(&[&event(7, "7")]);
    assert_eq!(room.counted.0, 2);
}

#[test]
fn each_byte_at_a_time_makes_the_same_stream() {
    for &slow in SlowPolicy::VARIANTS {
        let mut room = Room::new();
        let peer = room.open(Asks { slow, room: 0, resume: Resume::Unknown, max_events: 3, ..Asks::default() });
        room.say(&["one", "two", "three", "four"]);
        room.pass();
        let mut all = String::new();
        for _ in 0..1000 {
            room.takes(&peer, 1);
            all += &peer.got();
        }
        assert_eq!(room.closed(), [(peer.key, CloseReason::MaxEvents)]);
        let start = gap::gap(None, epoch().id(0), GapReason::UnknownId, Some(epoch().id(0)));
        let start = std::str::from_utf8(start.wire(Framing::Close)).unwrap().to_owned();
        assert_eq!(all, "head\n".to_owned() + &start + &event(1, "one") + &event(2, "two") + &event(3, "three"));
        assert_eq!(room.counted.0, 3);
    }
}

fn conflating() -> (Room, Peer) {
    let mut room = Room::with(LogLimits { events: 8, bytes: 1 << 30, age_ns: u64::MAX });
    let asks = Asks { topics: &["a", "b"], slow: SlowPolicy::Conflate, room: 5, ..Asks::default() };
    let peer = room.open(asks);
    peer.gets(&["head\n"]);
    (room, peer)
}

#[test]
fn a_slow_stream_gets_the_newest_of_each_key_and_all_without_one() {
    let (mut room, peer) = conflating();
    for (topic, key, data) in [
        ("a", Some("k"), "k1"),
        ("a", None, "plain"),
        ("a", Some("l"), "l1"),
        ("b", Some("k"), "b's k"),
        ("a", Some("k"), "k2"),
        ("a", None, "plain"),
        ("a", Some("k"), "k3"),
    ] {
        let event = Event::new(data);
        room.publish(&[topic], key.into_iter().fold(event, |event, key| event.key(key)));
        room.pass();
    }
    room.takes(&peer, usize::MAX);
    let expected = [event(2, "plain"), event(3, "l1"), event(4, "b's k"), event(6, "plain"), event(7, "k3")].concat();
    peer.gets(&[&gap_event(0, 7, GapReason::Conflated), &expected]);
    assert_eq!(room.registry.behind(), 0);
    // It is live again: nothing is conflated.
    for data in ["k4", "k5"] {
        room.publish(&["a"], Event::new(data).key("k"));
    }
    room.pass();
    peer.gets(&[&event(8, "k4"), &event(9, "k5")]);
}

#[test]
fn an_event_of_several_topics_goes_only_when_it_is_old_on_each_that_the_stream_has() {
    let k = |data| Event::new(data).key("k");
    let (mut room, peer) = conflating();
    room.publish(&["a", "b"], k("1"));
    room.publish(&["a"], k("2"));
    room.pass();
    room.takes(&peer, usize::MAX);
    peer.gets(&[&event(1, "1"), &event(2, "2")]);

    // One that is old on each, by whichever events; a topic that the stream does not have, `x`, is none of its.
    let (mut room, peer) = conflating();
    for (topics, data) in [(&["x", "a", "b"][..], "1"), (&["b", "x"], "2"), (&["x"], "3"), (&["c/y", "a"], "4")] {
        room.publish(topics, k(data));
    }
    room.pass();
    room.takes(&peer, usize::MAX);
    peer.gets(&[&gap_event(0, 4, GapReason::Conflated), &event(2, "2"), &event(4, "4")]);

    // A pattern brings topics as their names do.
    let mut room = Room::new();
    let peer = room.open(Asks { patterns: &["c/*"], slow: SlowPolicy::Conflate, room: 5, ..Asks::default() });
    room.publish(&["c/x", "c/y"], k("1"));
    room.publish(&["c/y", "a"], k("2"));
    room.publish(&["c/y"], k("3"));
    room.publish(&["a"], k("4"));
    room.pass();
    room.takes(&peer, usize::MAX);
    peer.gets(&["head\n", &gap_event(0, 4, GapReason::Conflated), &event(1, "1"), &event(3, "3"), &event(4, "4")]);
}

#[test]
fn conflation_that_is_cut_at_its_bound_tells_of_what_it_left_out_and_no_more() {
    let mut room = Room::with(LogLimits { events: 100, bytes: 1 << 30, age_ns: u64::MAX });
    let bounds = Bounds { selection_bytes: 1500, read_bytes: 400, ..Bounds::SMALL };
    room.registry = Registry::new(Offset::ZERO, 6400, 1, bounds);
    let peer = room.open(Asks { slow: SlowPolicy::Conflate, room: 5, ..Asks::default() });
    // The newest of `k` comes only after the bound.
    room.publish(&["a"], Event::new("k1").key("k"));
    room.publish(&["a"], Event::new("k2").key("k"));
    (0..20).for_each(|_| room.publish(&["a"], Event::new("x".repeat(100))));
    room.publish(&["a"], Event::new("k3").key("k"));
    room.pass();
    room.takes(&peer, usize::MAX);
    let got = peer.got();
    let to = got.split("\"to\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a gap");
    assert!(to < id(23).as_str() && to > id(2).as_str(), "{got}");
    // What was left out has a newer event in the range that the gap names, and so k2 came.
    assert!(got.contains(&event(2, "k2")) && !got.contains("data: k1"), "{got}");
    assert_eq!((got.matches("event: gap").count(), got.matches("data: x").count()), (1, 20));
    assert!(got.ends_with(&event(23, "k3")), "{got}");
}

#[test]
fn nothing_conflated_is_no_gap() {
    let (mut room, peer) = conflating();
    room.publish(&["a"], Event::new("k").key("k"));
    room.publish(&["b"], Event::new("k").key("k"));
    room.publish(&["a"], Event::new("l").key("l"));
    room.pass();
    room.takes(&peer, usize::MAX);
    peer.gets(&[&event(1, "k"), &event(2, "k"), &event(3, "l")]);
}

#[test]
fn a_conflating_stream_that_is_lapped_goes_on_with_the_oldest_that_is_kept() {
    let (mut room, peer) = conflating();
    for n in 1..=11 {
        room.publish(&["a"], Event::new(n.to_string()).key((n % 3).to_string()));
    }
    room.pass();
    room.takes(&peer, usize::MAX);
    let expected = [event(9, "9"), event(10, "10"), event(11, "11")].concat();
    peer.gets(&[&gap_event(0, 3, GapReason::Lagged), &gap_event(3, 11, GapReason::Conflated), &expected]);
}

#[test]
fn beats_that_are_missed_merge_into_one_and_follow_the_catch_up() {
    let mut room = Room::new();
    let peer = room.open(Asks { room: 5, ..Asks::default() });
    room.say(&["1"]);
    room.pass();
    for n in 1..=3 {
        room.registry.push(peer.key, &Arc::new(Chunk::new(&format!("data: beat {n}\n\n"))), 0);
    }
    room.takes(&peer, usize::MAX);
    peer.gets(&["head\n", &event(1, "1"), "data: beat 3\n\n"]);
}

#[test]
fn the_write_deadline_counts_from_the_last_byte_that_was_taken() {
    let mut room = Room::new();
    let peer = room.open(Asks { room: 0, head: "h".repeat(100), ..Asks::default() });
    room.now_ms.set(50);
    room.takes(&peer, 25);
    assert_eq!(room.registry.progress_due(peer.key, 100, 100), Some(150));
    assert_eq!(room.registry.progress_due(peer.key, 100, 149), Some(150));
    assert_eq!(room.registry.progress_due(peer.key, 100, 150), None);
    assert_eq!(room.closed(), [(peer.key, CloseReason::WriteDeadline)]);

    // One that is not full makes progress.
    let peer = room.open(Asks::default());
    assert_eq!(room.registry.progress_due(peer.key, 100, 1000), None);
    assert_eq!(room.closed(), []);
}

#[test]
fn progress_is_256_bytes_a_second() {
    for (bytes, is_enough) in [(7_679, false), (7_680, true), (7_681, true)] {
        let mut room = Room::new();
        let peer = room.open(Asks { room: 0, head: "h".repeat(100_000), ..Asks::default() });
        room.now_ms.set(29_000);
        room.takes(&peer, bytes);
        assert_eq!(room.registry.progress_due(peer.key, 30_000, 29_999), Some(30_000));
        assert_eq!(room.registry.progress_due(peer.key, 30_000, 30_000), is_enough.then_some(59_000));
        assert_eq!(room.closed().is_empty(), is_enough, "{bytes} bytes in 30 s");
    }
}

/// Whether a client is still there after ten minutes that takes so many bytes every so often.
fn survives(bytes: usize, every_s: u64) -> bool {
    let mut room = Room::new();
    let peer = room.open(Asks { room: 0, head: "h".repeat(1 << 20), ..Asks::default() });
    let mut due_ms = 30_000;
    for now_s in 1..=600 {
        room.now_ms.set(now_s * 1000);
        if now_s % every_s == 0 {
            room.takes(&peer, bytes);
        }
        if room.now_ms.get() >= due_ms {
            match room.registry.progress_due(peer.key, 30_000, room.now_ms.get()) {
                Some(later_ms) => due_ms = later_ms,
                None => return false,
            }
        }
    }
    true
}

#[test]
fn a_line_of_a_kilobyte_a_second_survives_and_a_trickle_does_not() {
    for (bytes, every_s) in [(1024, 1), (8 * 1024, 8), (16 * 1024, 16), (28 * 1024, 28)] {
        assert!(survives(bytes, every_s), "{bytes} bytes every {every_s} s");
    }
    for (bytes, every_s) in [(1, 29), (1, 1), (200, 1), (4000, 29)] {
        assert!(!survives(bytes, every_s), "{bytes} bytes every {every_s} s");
    }
}

// ===== passes in pieces =====

/// In a pause of a pass that comes in batches, a stream takes the slot of the last cohort. What it is then sent of 30
/// events of before, if it opens so.
fn opened_in_a_pause(resume: Resume) -> usize {
    let mut room = Room::with(LogLimits { events: 1000, bytes: 1 << 30, age_ns: u64::MAX });
    let topics: [&[&str]; 4] = [&["a", "u0"], &["a", "u1"], &["a", "u2"], &["a", "u3"]];
    let peers = topics.map(|topics| room.open(Asks { topics, ..Asks::default() }));
    (1..=30).for_each(|n| room.publish(&["a"], Event::new(format!("e{n}"))));
    room.registry.pass(true, &room.log, 0, &mut room.counted);
    assert!(room.registry.is_passing(), "paused");
    room.registry.close(peers[3].key, CloseReason::ClientGone);
    room.closed();
    let new = room.open(Asks { topics: &["a", "v"], resume, ..Asks::default() });
    assert_eq!(room.registry.behind(), 0, "live");
    while room.registry.position() < Offset::new(30) {
        room.registry.pass(true, &room.log, 0, &mut room.counted);
        room.serve();
    }
    for peer in &peers[..3] {
        assert_eq!(peer.got().matches("data: e").count(), 30);
    }
    new.got().matches("data: e").count()
}

#[test]
fn a_stream_in_the_slot_of_a_cohort_that_went_in_a_pause_gets_no_event_of_before() {
    assert_eq!(opened_in_a_pause(Resume::Now), 0);
}

#[test]
fn a_stream_in_the_slot_of_a_cohort_that_went_in_a_pause_gets_its_replay_once() {
    assert_eq!(opened_in_a_pause(Resume::Earliest), 30);
}

// ===== streams that are lapped =====

#[test]
fn an_overrun_is_each_streams_own_business() {
    let mut room = Room::new();
    let quiet = room.open(Asks { topics: &["q"], slow: SlowPolicy::Disconnect, ..Asks::default() });
    room.publish(&["q"], Event::new("quiet"));
    room.pass();
    quiet.gets(&["head\n", &event(1, "quiet")]);
    let strict = room.open(Asks { topics: &["a", "x"], slow: SlowPolicy::Disconnect, ..Asks::default() });
    let skipping = room.open(Asks::default());
    let mild = room.open(Asks { topics: &["a", "y"], slow: SlowPolicy::Conflate, ..Asks::default() });
    room.say(&["2", "3"]);
    room.publish(&["q"], Event::new("4"));
    room.say(&["5", "6", "7"]);
    // 2 and 3 are gone, and q has had something in the log all the while.
    room.pass();
    assert_eq!((room.registry.behind(), room.registry.position()), (4, Offset::new(7)));
    room.serve();
    assert_eq!(room.closed(), [(strict.key, CloseReason::Lagged)]);
    skipping.gets(&["head\n", &gap_event(1, 7, GapReason::Lagged)]);
    mild.gets(&["head\n", &gap_event(1, 3, GapReason::Lagged), &event(5, "5"), &event(6, "6"), &event(7, "7")]);
    let found = quiet.got();
    assert!(found.is_empty() || found == event(4, "4"), "{found}");
    assert_eq!(room.registry.behind(), 0);
}

/// The simulation found it: the socket was closed before the response had begun.
#[test]
fn a_stream_that_is_lapped_before_it_is_opened_gets_its_response_head() {
    for takes in [usize::MAX, 2] {
        let mut room = Room::new();
        let asks = Asks { slow: SlowPolicy::Disconnect, room: takes, ..Asks::default() };
        let asked = room.ask(&asks);
        room.say(&["1", "2", "3", "4", "5"]);
        room.pass();
        let peer = room.admit(asks, asked);
        room.takes(&peer, usize::MAX);
        peer.gets(&["head\n"]);
        assert_eq!(room.closed(), [(peer.key, CloseReason::Lagged)]);
    }
}

// ===== streams that are ahead =====

#[test]
fn a_stream_that_is_ahead_of_its_shard_gets_no_older_event() {
    let mut room = Room::new();
    room.say(&["old"]);
    let peer = room.open(Asks::default());
    room.say(&["new"]);
    assert_eq!(room.registry.behind(), 1);
    room.pass();
    room.serve();
    peer.gets(&["head\n", &event(2, "new")]);
    assert_eq!(room.registry.behind(), 0);
}

/// The simulation found it: such a stream went live at once, and was given what it was too late for.
#[test]
fn a_stream_that_resumes_behind_a_late_shard_gets_no_live_only_event_of_before_it_was_opened() {
    let mut room = Room::new();
    room.say(&["one", "two"]);
    room.publish(&["a"], Event::new("before").keep(false));
    let peer = room.open(Asks { resume: Resume::After(id(1).into()), ..Asks::default() });
    room.publish(&["a"], Event::new("after").keep(false));
    room.pass();
    room.serve();
    peer.gets(&["head\n", &event(2, "two"), "data: after\n\n"]);
    assert_eq!(room.registry.behind(), 0);
}

// ===== ends =====

fn bye() -> Arc<Chunk> {
    Arc::new(Chunk::new("data: bye\n\n"))
}

#[test]
fn a_live_stream_is_ended_at_once_with_its_farewell() {
    for (framing, expected) in
        [(Framing::Chunked, "b\r\ndata: bye\n\n\r\n0\r\n\r\n"), (Framing::Close, "data: bye\n\n")]
    {
        let mut room = Room::new();
        let peer = room.open(Asks { framing, ..Asks::default() });
        room.end(peer.key, CloseReason::Drained, Some(&bye()));
        peer.gets(&["head\n", expected]);
        assert_eq!(room.closed(), [(peer.key, CloseReason::Drained)]);
    }
}

#[test]
fn an_end_brings_the_stream_what_was_published_and_makes_no_pass() {
    for reason in [CloseReason::Drained, CloseReason::Rotated, CloseReason::MaxSeconds] {
        let mut room = Room::new();
        let (peer, other) = (room.open(Asks::default()), room.open(Asks::default()));
        room.say(&["1", "2"]);
        room.publish(&["b"], Event::new("3"));
        room.publish(&["a"], Event::new("live").keep(false));
        room.end(peer.key, reason, Some(&bye()));
        peer.gets(&["head\n", &event(1, "1"), &event(2, "2"), "data: live\n\n", "data: bye\n\n"]);
        assert_eq!(room.closed(), [(peer.key, reason)]);
        other.gets(&["head\n"]);
        // A key that is stale by now asks for nothing.
        room.end(peer.key, reason, None);
        other.gets(&[]);
        room.pass();
        other.gets(&[&event(1, "1"), &event(2, "2"), "data: live\n\n"]);
        assert_eq!(room.counted.0, 6);
    }
}

/// Streams that end together, each held against much, must not hold up the others of their shard.
#[test]
fn an_end_is_work_like_any_other() {
    let mut room = Room::with(LogLimits { events: 1000, bytes: 1 << 30, age_ns: u64::MAX });
    let patterns = &["x/*", "y/*", "z/*"];
    let peers = [(); 3].map(|()| room.open(Asks { topics: &[], patterns, ..Asks::default() }));
    (0..100).for_each(|_| room.say(&["another's"]));
    room.registry.bounds.work_a_turn = 1_000;
    room.registry.begin_turn();
    room.end(peers[0].key, CloseReason::MaxSeconds, None);
    assert!(!room.registry.is_spent() && room.registry.work >= 300);
    room.end(peers[1].key, CloseReason::MaxSeconds, None);
    assert!(room.registry.is_spent());
    room.registry.begin_turn();
    room.end(peers[2].key, CloseReason::MaxSeconds, None);
    assert_eq!(room.closed().len(), 3);
}

#[test]
fn an_end_brings_what_a_short_history_no_longer_keeps() {
    let mut room = Room::with(LogLimits { events: 1, bytes: 1 << 30, age_ns: u64::MAX });
    let log = Log::new(epoch(), LogLimits { events: 1, bytes: 1 << 30, age_ns: u64::MAX }).with_live_events(10);
    room.log = Shared(RefCell::new(log));
    let peer = room.open(Asks { slow: SlowPolicy::Disconnect, ..Asks::default() });
    room.say(&["1", "2", "3"]);
    room.end(peer.key, CloseReason::Rotated, None);
    peer.gets(&["head\n", &event(1, "1"), &event(2, "2"), &event(3, "3")]);
    assert_eq!(room.closed(), [(peer.key, CloseReason::Rotated)]);
}

#[test]
fn a_stream_that_is_behind_is_ended_when_it_has_caught_up() {
    for cut in [0, 1, 20] {
        let mut room = Room::new();
        let peer = room.open(Asks { room: 5, framing: Framing::Chunked, ..Asks::default() });
        room.say(&["1"]);
        room.pass();
        room.end(peer.key, CloseReason::Drained, Some(&bye()));
        // What comes before it has caught up is still its own, and no second end is.
        room.say(&["2"]);
        room.pass();
        room.end(peer.key, CloseReason::Rotated, None);
        room.takes(&peer, cut);
        assert_eq!(room.closed(), []);
        room.takes(&peer, usize::MAX);
        let frames = [1, 2].map(|seq| {
            let event = event(seq, &seq.to_string());
            format!("{:x}\r\n{event}\r\n", event.len())
        });
        peer.gets(&["head\n", &frames.concat(), "b\r\ndata: bye\n\n\r\n0\r\n\r\n"]);
        assert_eq!(room.closed(), [(peer.key, CloseReason::Drained)]);
    }
}

#[test]
fn an_end_that_can_be_resumed_waits_for_no_catching_up() {
    for reason in [CloseReason::Rotated, CloseReason::MaxSeconds] {
        let mut room = Room::new();
        let peer = room.open(Asks { room: 6, ..Asks::default() });
        room.say(&["1"]);
        room.say(&["2"]);
        room.pass();
        room.end(peer.key, reason, None);
        room.takes(&peer, usize::MAX);
        // The frame that was begun is finished, and no further one is begun.
        peer.gets(&["head\n", &event(1, "1")]);
        assert_eq!(room.closed(), [(peer.key, reason)]);
    }
}

#[test]
fn an_end_that_is_cut_is_finished_and_nothing_follows_it() {
    let mut room = Room::new();
    let peer = room.open(Asks { framing: Framing::Chunked, ..Asks::default() });
    peer.wire.borrow_mut().room = 2;
    room.end(peer.key, CloseReason::Drained, None);
    room.say(&["late"]);
    room.pass();
    room.registry.push(peer.key, &bye(), 0);
    room.takes(&peer, 1);
    assert_eq!(room.closed(), []);
    room.takes(&peer, 2);
    peer.gets(&["head\n", "0\r\n\r\n"]);
    assert_eq!(room.closed(), [(peer.key, CloseReason::Drained)]);
}

#[test]
fn the_last_event_of_max_events_may_fall_anywhere() {
    for (replayed, passed) in [(0, 4), (2, 2), (4, 0)] {
        for max_events in [1, 2, 3, 4] {
            let mut room = Room::new();
            (0..replayed).for_each(|_| room.say(&["x"]));
            room.pass();
            let asks = Asks { resume: Resume::Earliest, max_events, framing: Framing::Chunked, ..Asks::default() };
            let peer = room.open(asks);
            (0..passed).for_each(|_| room.say(&["x"]));
            room.pass();
            let got = peer.got();
            assert_eq!(got.matches("data: x\n").count(), max_events as usize);
            assert!(got.ends_with("\r\n0\r\n\r\n"));
            assert_eq!(room.closed(), [(peer.key, CloseReason::MaxEvents)]);
            // The simulation found it: all events of the run were observed.
            assert_eq!(room.counted.0, u64::from(max_events).saturating_sub(replayed), "replay is no latency");
            assert_eq!(room.registry.take_tally().deliveries, u64::from(max_events));
        }
    }
}

#[test]
fn stray_bytes_are_borne_up_to_the_bound() {
    for (bytes, closes) in [(STRAY_BYTES_MAX - 1, false), (STRAY_BYTES_MAX, false), (STRAY_BYTES_MAX + 1, true)] {
        for parts in [&[bytes as usize][..], &[10, bytes as usize - 10]] {
            let mut room = Room::new();
            let peer = room.open(Asks::default());
            parts.iter().for_each(|&part| room.registry.stray(peer.key, part));
            let expected: &[_] = if closes { &[(peer.key, CloseReason::ClientData)] } else { &[] };
            assert_eq!(room.closed(), expected, "{bytes}");
        }
    }
    let mut room = Room::new();
    let peer = room.open(Asks::default());
    (0..2).for_each(|_| room.registry.stray(peer.key, usize::MAX));
    assert_eq!(room.closed().len(), 1);
}

// ===== bounds =====

#[test]
fn a_long_run_is_sent_in_parts_and_one_that_falls_behind_in_any_part_loses_nothing() {
    let frame = event(1, &"x".repeat(10_000)).len();
    for parts in [0, 1, 25, 26, 30, 50] {
        let mut room = Room::with(LogLimits { events: 100, bytes: 1 << 30, age_ns: u64::MAX });
        let (fast, slow) = (room.open(Asks::default()), room.open(Asks { room: 5 + frame * parts, ..Asks::default() }));
        let data = "x".repeat(10_000);
        (0..60).for_each(|_| room.say(&[&data]));
        room.pass();
        let expected: String = (1..=60).map(|seq| event(seq, &data)).collect();
        assert!(fast.got() == "head\n".to_owned() + &expected);
        assert_eq!(room.registry.behind(), 1);
        room.takes(&slow, usize::MAX);
        assert!(slow.got() == "head\n".to_owned() + &expected, "{parts}");
    }
}

#[test]
fn no_event_is_lost_behind_a_response_head_of_any_length() {
    for len in [Bounds::SHIPPED.read_bytes - 1, Bounds::SHIPPED.read_bytes, Bounds::SHIPPED.read_bytes + 1] {
        let mut room = Room::new();
        room.say(&["1", "2"]);
        room.pass();
        let head = "h".repeat(len);
        let peer = room.open(Asks { resume: Resume::Earliest, head: head.clone(), ..Asks::default() });
        assert!(peer.got() == head + &event(1, "1") + &event(2, "2"));
    }
}

// ===== heartbeats =====

#[test]
fn a_stream_is_never_silent_for_longer_than_an_interval() {
    let mut room = Room::new();
    let (busy, idle) = (room.open(Asks::default()), room.open(Asks { topics: &["b"], ..Asks::default() }));
    let (mut beats, mut last_ms) = (0, 0);
    let step_ms = room.registry.heartbeat_step_ms();
    busy.got();
    idle.got();
    for now_ms in (0..10 * 6400).step_by(step_ms as usize) {
        room.now_ms.set(now_ms);
        room.registry.heartbeat(&room.log);
        while room.registry.has_due() {
            room.registry.beat(&room.log, now_ms);
        }
        if now_ms % 3000 == 0 {
            room.say(&["x"]);
            room.pass();
        }
        assert!(!busy.got().contains(":\n"), "one that is written to needs none");
        match &*idle.got() {
            "" => assert!(now_ms - last_ms <= 6400, "silent since {last_ms} at {now_ms}"),
            ":\n" => {
                assert!(now_ms - last_ms >= 6400 / 2, "too early: {} ms", now_ms - last_ms);
                (beats, last_ms) = (beats + 1, now_ms);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((10..=13).contains(&beats), "{beats}");
}

#[test]
fn a_heartbeat_that_meets_a_full_socket_makes_the_stream_wait_like_any_write() {
    let mut room = Room::new();
    let peer = room.open(Asks { room: 5 + 1, ..Asks::default() });
    for step in 0..70 {
        room.registry.heartbeat(&room.log);
        room.registry.beat(&room.log, step * 100);
    }
    assert_eq!(room.registry.behind(), 1);
    room.publish(&["a"], Event::new("live").keep(false));
    room.say(&["2"]);
    room.pass();
    room.takes(&peer, usize::MAX);
    peer.gets(&["head\n", ":\n", "data: live\n\n", &event(2, "2")]);
}

#[test]
fn many_heartbeats_that_are_due_at_once_come_in_portions() {
    let mut room = Room::new();
    room.registry = Registry::new(Offset::ZERO, 64, 1, Bounds { heartbeats_a_turn: 3, ..Bounds::SMALL });
    let peers: Vec<_> = (0..10).map(|_| room.open(Asks::default())).collect();
    (0..64).for_each(|_| room.registry.heartbeat(&room.log));
    let written = |room: &mut Room| room.registry.take_tally().writes;
    written(&mut room);
    room.registry.close(peers[9].key, CloseReason::ClientGone);
    room.registry.close(peers[4].key, CloseReason::ClientGone);
    // It takes the slot of one that was due, and is not.
    let new = room.open(Asks::default());
    written(&mut room);
    let mut portions = Vec::new();
    while room.registry.has_due() {
        room.registry.beat(&room.log, 1_000);
        portions.push(written(&mut room));
    }
    assert_eq!(portions.iter().sum::<u64>(), 8, "{portions:?}");
    assert!(portions.iter().all(|&portion| portion <= 3), "{portions:?}");
    new.gets(&["head\n"]);
}
