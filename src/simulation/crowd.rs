//! A crowd beside one live stream: whatever happens to all of it at once, a turn takes no more than it may.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::exchange::bus::Bus;
use crate::exchange::inbox::Inbox;
use crate::exchange::log_cell::LogCell;
use crate::exchange::topics::TopicTable;
use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::id::Epoch;
use crate::hub::log::{LogLimits, Resume};
use crate::hub::policy::Policies;
use crate::hub::registry::look::Order;
use crate::hub::shard::{Message, Settings, Shard, ShardTimer, Sleep};
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::{Pattern, Subscription, TOPICS_MAX, Topic, Topics};

use super::host::{Around, Clockwork, Notes, Past};
use super::kit::{Mock, Time, Wire};

const STREAMS: usize = 1000;
const PATTERNS: usize = 127;
/// How many events wait for a pass.
const EVENTS: usize = 100;

/// One shard as it ships, the crowd, and a live stream.
struct Crowd {
    shard: Shard<Around>,
    around: Around,
    table: TopicTable,
    live: Rc<RefCell<Wire>>,
    next: usize,
}

impl Crowd {
    fn new() -> Crowd {
        Crowd::of("crowd")
    }

    /// A crowd whose patterns begin so.
    fn of(beginning: &str) -> Crowd {
        Crowd::keeping(beginning, 1000)
    }

    /// A crowd beside a log of so many events.
    fn keeping(beginning: &str, events: usize) -> Crowd {
        let limits = LogLimits { events, bytes: 1 << 30, age_ns: u64::MAX };
        let settings = Settings {
            rest_max: 0.0,
            interval_min: Duration::ZERO,
            heartbeat: None,
            marks: false,
            write_deadline: Duration::from_secs(30),
            policies: Policies::default(),
        };
        let time = Rc::new(Time::default());
        let (inbox, mail) = Inbox::new(|| ());
        let bus = Rc::new(Bus::new(LogCell::new(Epoch::new(1), limits), vec![inbox], None));
        let around = Around {
            shard: 0,
            past: Past { bus, time, look_max: Cell::new(usize::MAX), searches_little: Cell::new(false) },
            mail,
            clockwork: Rc::new(Clockwork::new()),
            settings: Rc::new(RefCell::new(settings)),
            resting: Cell::new(false),
            rests_ended: Cell::new(0),
            was_endangered: Cell::new(false),
            notes: RefCell::new(Notes::default()),
        };
        let shard = Shard::new(&around, 1, Bounds::SHIPPED);
        let mut crowd = Crowd { shard, around, table: TopicTable::default(), live: Rc::default(), next: 0 };
        let patterns = (0..PATTERNS).map(|at| Pattern::parse(&format!("{beginning}/{at}/*")).unwrap()).collect();
        let subscription = Arc::new(Subscription::new(vec![], patterns, &crowd.table).unwrap());
        (0..STREAMS).for_each(|_| drop(crowd.open(&subscription)));
        let topics = vec![Topic::parse("live").unwrap()];
        let subscription = Arc::new(Subscription::new(topics, vec![], &crowd.table).unwrap());
        crowd.live = crowd.open(&subscription);
        while crowd.shard.turn(&crowd.around) == Sleep::No {}
        crowd.take();
        crowd.around.notes.borrow_mut().tally.opened = 0;
        crowd
    }

    fn publish(&self, topic: &str, events: usize) {
        let topic = self.table.named(topic).unwrap();
        for _ in 0..events {
            let draft = Draft::encode(Topics::new([topic.clone()]).unwrap(), &Event::new("x"), Epoch::new(1));
            self.around.past.bus.publish(vec![draft.unwrap()], 0).unwrap();
        }
    }

    fn open(&mut self, subscription: &Arc<Subscription>) -> Rc<RefCell<Wire>> {
        self.subscribe(Subscribe::to(subscription.clone()))
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Rc<RefCell<Wire>> {
        let wire = Rc::new(RefCell::new(Wire { room: usize::MAX, ..Wire::default() }));
        let time = self.around.past.time.clone();
        let socket = Mock { connection: self.next, wire: wire.clone(), time };
        self.next += 1;
        self.tell(Message::Open { socket, subscribe });
        wire
    }

    fn tell(&self, message: Message<Mock, Order>) {
        if matches!(message, Message::Open { .. }) {
            self.around.past.bus.inbox(0).stream_comes();
        }
        assert!(self.around.past.bus.inbox(0).push(message).is_ok());
    }

    /// What the live stream has got since the last call.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.live.borrow_mut().got)).unwrap()
    }

    /// How many streams one turn has ended.
    fn turn(&mut self) -> usize {
        self.shard.turn(&self.around);
        std::mem::take(&mut self.around.notes.borrow_mut().closed).len()
    }
}

/// How many streams a turn can hold against what is published: for each event, an end looks for the first segment in
/// the sorted patterns, and then for the second in those that have it, all of them, twice over by halves.
const ENDS_A_TURN: usize = Bounds::SHIPPED.work_a_turn / (EVENTS * 2 * PATTERNS.ilog2() as usize) + 1;

/// Patterns that all match a topic of `s0/s1/…` but at their end, so that a search finds none of them before it.
fn deep(patterns: usize, segments: usize, end: &str) -> Vec<Pattern> {
    let pattern = |number: usize| {
        let segments = (0..segments).map(|at| if number >> at & 1 == 0 { "*".to_owned() } else { format!("s{at}") });
        Pattern::parse(&format!("{}/{end}", segments.collect::<Vec<_>>().join("/"))).unwrap()
    };
    (0..patterns).map(pattern).collect()
}

fn topic_of(segments: usize) -> String {
    (0..segments).map(|at| format!("s{at}")).collect::<Vec<_>>().join("/")
}

#[test]
fn a_search_for_an_own_id_that_very_many_share_leaves_turns_to_others() {
    const SHARED: usize = 16 * 1024;
    let mut crowd = Crowd::keeping("crowd", SHARED);
    let topic = crowd.table.named(&topic_of(7)).unwrap();
    for _ in 0..SHARED {
        let draft = Draft::encode(Topics::one(topic.clone()), &Event::new("x").id("same"), Epoch::new(1));
        crowd.around.past.bus.publish(vec![draft.unwrap()], 0).unwrap();
    }
    while crowd.shard.turn(&crowd.around) == Sleep::No {}
    let patterns = deep(PATTERNS / 2 + 1, 6, "zz");
    let each = patterns.len();
    let subscription = Arc::new(Subscription::new(vec![], patterns, &crowd.table).unwrap());
    let resume = Resume::After("same".into());
    let new = crowd.subscribe(Subscribe { resume, ..Subscribe::to(subscription) });
    // A search comes to each of the patterns at least; the live stream's events, a batch a turn, leave fewer to find.
    let least = (SHARED - EVENTS) * each / Bounds::SHIPPED.work_a_turn / 2;
    let mut turns = 0;
    crowd.shard.turn(&crowd.around);
    assert!(!new.borrow().got.is_empty(), "its client has the response head");
    while new.borrow().started.is_none() {
        crowd.publish("live", 1);
        crowd.shard.turn(&crowd.around);
        assert_eq!(crowd.take().matches("data: x").count(), 1, "the live stream waits for one turn");
        turns += 1;
        assert!(turns < 10_000, "it never starts");
    }
    assert!(turns >= least, "{turns} turns, {least} at least");
}

/// Opens streams of patterns that are many ways through so many segments.
fn open_deep(crowd: &mut Crowd, patterns: usize, segments: usize, each: usize) {
    let patterns = deep(patterns, segments, "zz");
    for patterns in patterns.chunks(each) {
        let subscription = Arc::new(Subscription::new(vec![], patterns.to_vec(), &crowd.table).unwrap());
        crowd.open(&subscription);
    }
    while crowd.shard.turn(&crowd.around) == Sleep::No {}
    crowd.take();
}

/// Turns until the shard sleeps. Who comes meanwhile is served.
fn turns_that_others_have(crowd: &mut Crowd) -> usize {
    let mut turns = 1;
    while crowd.shard.turn(&crowd.around) == Sleep::No {
        turns += 1;
        let topics = vec![Topic::parse("late").unwrap()];
        let late = crowd.open(&Arc::new(Subscription::new(topics, vec![], &crowd.table).unwrap()));
        crowd.shard.turn(&crowd.around);
        assert!(!late.borrow().got.is_empty());
    }
    turns
}

#[test]
fn a_pass_that_visits_very_many_patterns_leaves_turns_to_others_fewer_if_it_is_late() {
    const SEGMENTS: usize = 14;
    const BATCH: usize = 4000;
    // Where no more is kept than it has to bring, it is about to be lapped.
    for (kept, share) in [(3 * BATCH, 1), (BATCH, 8)] {
        let mut crowd = Crowd::keeping("crowd", kept);
        open_deep(&mut crowd, 256, SEGMENTS, 32);
        // Each event has a search come to each of the patterns, through all segments, and finds nobody.
        crowd.publish(&topic_of(SEGMENTS + 1), BATCH);
        let turns = turns_that_others_have(&mut crowd);
        let least = BATCH * 256 * (SEGMENTS - 8) / Bounds::SHIPPED.work_a_turn / share;
        assert!(turns >= least / 2, "{turns} turns, {least} at least");
        the_live_stream_waits_for_one_turn(&mut crowd);
    }
}

#[test]
fn a_pass_that_looks_for_whom_one_event_of_many_topics_touches_leaves_turns_to_others() {
    const SEGMENTS: usize = 12;
    let mut crowd = Crowd::new();
    open_deep(&mut crowd, 1 << SEGMENTS, SEGMENTS, 32);
    let deep = (0..TOPICS_MAX - 2).map(|at| format!("{}/{at}", topic_of(SEGMENTS)));
    let names: Vec<_> = ["both".to_owned()].into_iter().chain(deep).chain(["live".to_owned()]).collect();
    // Two of its topics are this one's, and it gets it once.
    let topics = ["both", "live"].map(|text| Topic::parse(text).unwrap()).to_vec();
    let both = crowd.open(&Arc::new(Subscription::new(topics, vec![], &crowd.table).unwrap()));
    while crowd.shard.turn(&crowd.around) == Sleep::No {}
    let topics = Topics::new(names.iter().map(|name| crowd.table.named(name).unwrap())).unwrap();
    let draft = Draft::encode(topics, &Event::new("x"), Epoch::new(1)).unwrap();
    crowd.around.past.bus.publish(vec![draft], 0).unwrap();
    let turns = turns_that_others_have(&mut crowd);
    let least = (TOPICS_MAX - 2) * (1 << SEGMENTS) / Bounds::SHIPPED.work_a_turn;
    assert!(turns >= least, "{turns} turns, {least} at least");
    let both = String::from_utf8(both.borrow().got.clone()).unwrap();
    assert_eq!([crowd.take(), both].map(|got| got.matches("data: x").count()), [1, 1]);
}

#[test]
fn streams_that_end_by_time_leave_a_turn_to_others() {
    let mut crowd = Crowd::of("*");
    crowd.publish("live", EVENTS);
    let crowds: Vec<_> = crowd.around.notes.borrow().watched[..STREAMS].iter().map(|(_, key)| *key).collect();
    for key in crowds {
        crowd.tell(Message::Timer(ShardTimer::End(key, CloseReason::MaxSeconds)));
    }
    let ended = crowd.turn();
    assert!((1..=ENDS_A_TURN).contains(&ended), "{ended} ends in one turn");
    assert_eq!(crowd.take().matches("data: x").count(), EVENTS, "the live stream waits for one turn");
    // Those that end later have had the pass, and so are less work; a write each it is.
    let mut left = STREAMS - ended;
    while left > 0 {
        let ended = crowd.turn();
        assert!((1..=Bounds::SHIPPED.work_a_turn / 100).contains(&ended), "{ended} ends in one turn");
        left -= ended;
    }
}

#[test]
fn a_drain_without_a_deadline_leaves_a_turn_to_others() {
    let mut crowd = Crowd::of("*");
    crowd.publish("live", EVENTS);
    crowd.tell(Message::Drain { window: Duration::ZERO, retry: Duration::from_secs(1), for_good: true });
    let (mut turns, mut left) = (0, STREAMS + 1);
    while left > 0 {
        let ended = crowd.turn();
        // What has caught up with the pass after the first turn is less work.
        let ends_a_turn = if turns == 0 { ENDS_A_TURN } else { Bounds::SHIPPED.work_a_turn / 100 };
        assert!(ended <= ends_a_turn, "{ended} ends in turn {turns}");
        left -= ended;
        turns += 1;
        assert!(turns < STREAMS, "{left} are left");
        crowd.around.past.time.now_ns.set(turns as u64 * 1_000_000);
        for (_, timer) in crowd.around.clockwork.expired(turns as u64) {
            crowd.tell(Message::Timer(timer));
        }
    }
    assert_eq!(crowd.take().matches("data: x").count(), EVENTS);
}

/// The live stream gets its events in the next turn, whatever else it is for.
fn the_live_stream_waits_for_one_turn(crowd: &mut Crowd) -> Sleep {
    crowd.publish("live", EVENTS);
    let sleep = crowd.shard.turn(&crowd.around);
    assert_eq!(crowd.take().matches("data: x").count(), EVENTS);
    sleep
}

#[test]
fn a_new_write_deadline_reaches_some_sockets_a_turn() {
    let mut crowd = Crowd::new();
    crowd.around.settings.borrow_mut().write_deadline = Duration::from_secs(7);
    crowd.tell(Message::Timer(ShardTimer::Settings));
    let most = Bounds::SHIPPED.walked_a_turn as usize;
    let (mut reached, mut sleep) = (0, Sleep::No);
    while sleep == Sleep::No {
        sleep = the_live_stream_waits_for_one_turn(&mut crowd);
        let now = std::mem::take(&mut crowd.around.notes.borrow_mut().deadlines);
        assert!(now <= most, "{now} in one turn");
        reached += now;
    }
    assert_eq!(reached, STREAMS + 1);
    // What has not changed is not set again.
    crowd.tell(Message::Timer(ShardTimer::Settings));
    while crowd.shard.turn(&crowd.around) == Sleep::No {}
    assert_eq!(crowd.around.notes.borrow().deadlines, 0);
}

#[test]
fn a_question_is_answered_over_several_turns() {
    let mut crowd = Crowd::new();
    (0..2).for_each(|_| crowd.tell(Message::Ask { order: Order::Age, max: 3, question: Order::Age }));
    let mut turns = 0;
    let mut answered_in = Vec::new();
    while the_live_stream_waits_for_one_turn(&mut crowd) == Sleep::No {
        turns += 1;
        if std::mem::take(&mut crowd.around.notes.borrow_mut().answers) > 0 {
            answered_in.push(turns);
        }
    }
    let each = (STREAMS + 1).div_ceil(Bounds::SHIPPED.walked_a_turn as usize);
    assert_eq!(answered_in, [each]);
    assert_eq!(crowd.around.notes.borrow().answers, 1, "the second, in the turn after which it sleeps");
}

#[test]
fn a_crowd_that_is_lapped_falls_behind_some_streams_a_turn() {
    let mut crowd = Crowd::new();
    // The log has nothing for those that follow it beyond what is kept.
    crowd.publish("else", 20_000);
    let most = Bounds::SHIPPED.walked_a_turn as usize;
    let (mut behind, mut turns) = (0, 1);
    while crowd.shard.turn(&crowd.around) == Sleep::No && crowd.shard.is_amid_pass() {
        let now = crowd.shard.streams().behind();
        assert!(now > behind && now - behind <= most, "{now} after {behind}");
        behind = now;
        turns += 1;
    }
    assert_eq!(turns, (STREAMS + 1).div_ceil(most));
    while crowd.shard.turn(&crowd.around) == Sleep::No {}
    assert_eq!(crowd.shard.streams().behind(), 0);
    assert_eq!(crowd.take(), "", "it lost nothing");
    the_live_stream_waits_for_one_turn(&mut crowd);
}

#[test]
fn a_pass_to_a_crowd_leaves_turns_to_others_and_takes_no_rest_between() {
    let mut crowd = Crowd::new();
    let topics = vec![Topic::parse("live").unwrap()];
    let subscription = Arc::new(Subscription::new(topics, vec![], &crowd.table).unwrap());
    let many = 5 * Bounds::SHIPPED.writes_a_turn as usize;
    for _ in 0..many.div_ceil(1000) {
        (0..1000).for_each(|_| drop(crowd.open(&subscription)));
        while crowd.shard.turn(&crowd.around) == Sleep::No {}
    }
    crowd.publish("live", 1);
    let writes = |crowd: &Crowd| crowd.around.notes.borrow().tally.writes;
    let most = Bounds::SHIPPED.writes_a_turn + Bounds::SHIPPED.piece_writes + u64::from(Bounds::SHIPPED.cohort_streams);
    let (mut before, mut turns) = (writes(&crowd), 0);
    while crowd.shard.turn(&crowd.around) == Sleep::No {
        let now = writes(&crowd);
        assert!(now - before <= most, "{} writes in one turn", now - before);
        assert!(!crowd.around.resting.get(), "it rests in the midst of single writes");
        turns += 1;
        // Who comes meanwhile is served.
        let new = crowd.open(&subscription);
        crowd.shard.turn(&crowd.around);
        assert!(!new.borrow().got.is_empty());
        before = writes(&crowd);
    }
    assert!(turns >= 2, "{turns}");
}

#[test]
fn streams_of_many_patterns_open_some_a_turn() {
    const NEW: usize = 200;
    let mut crowd = Crowd::new();
    crowd.publish("history", 1000);
    while crowd.shard.turn(&crowd.around) == Sleep::No {}
    for n in 0..NEW {
        let patterns = (0..PATTERNS).map(|at| Pattern::parse(&format!("new/{n}/{at}/*")).unwrap()).collect();
        let subscription = Subscription::new(vec![], patterns, &crowd.table).unwrap();
        let resume = Resume::Earliest;
        crowd.subscribe(Subscribe { resume, ..Subscribe::to(Arc::new(subscription)) });
    }
    // By what it costs alone to enter the patterns of one, some 40 units each, and to write to it.
    let most = Bounds::SHIPPED.work_a_turn / (40 * PATTERNS) + 1;
    let (mut opened, mut turns) = (0, 0);
    while opened < NEW {
        the_live_stream_waits_for_one_turn(&mut crowd);
        let now = std::mem::take(&mut crowd.around.notes.borrow_mut().tally.opened) as usize;
        assert!((1..=most).contains(&now), "{now} opened in one turn");
        opened += now;
        turns += 1;
    }
    // What they missed is read in the turns that follow, a bounded part of it in each.
    while the_live_stream_waits_for_one_turn(&mut crowd) == Sleep::No {
        turns += 1;
    }
    let least = NEW * (1000 + 40 * PATTERNS) / Bounds::SHIPPED.work_a_turn;
    assert!(turns >= least, "{turns} turns");
    assert_eq!(crowd.shard.streams().behind(), 0);
}
