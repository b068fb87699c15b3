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
use crate::hub::log::LogLimits;
use crate::hub::policy::Policies;
use crate::hub::shard::{Message, Settings, Shard, ShardTimer, Sleep};
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::{Pattern, Subscription, Topic, Topics};

use super::host::{Around, Clockwork, Notes, Past};
use super::kit::{Mock, Time, Wire};

const STREAMS: usize = 1000;
const PATTERNS: usize = 127;
/// How many events wait for a pass.
const EVENTS: usize = 100;

/// One shard as it ships, the crowd, which has lasted as long as it may, and a live stream. No pass has been made since
/// the events were published.
struct Crowd {
    shard: Shard<Around>,
    around: Around,
    table: TopicTable,
    live: Rc<RefCell<Wire>>,
    next: usize,
}

impl Crowd {
    fn new() -> Crowd {
        let limits = LogLimits { events: 1000, bytes: 1 << 30, age_ns: u64::MAX };
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
            past: Past { bus, time, look_max: Cell::new(usize::MAX) },
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
        let patterns = (0..PATTERNS).map(|at| Pattern::parse(&format!("crowd/{at}/*")).unwrap()).collect();
        let subscription = Arc::new(Subscription::new(vec![], patterns, &crowd.table).unwrap());
        (0..STREAMS).for_each(|_| drop(crowd.open(&subscription)));
        let topics = vec![Topic::parse("live").unwrap()];
        let subscription = Arc::new(Subscription::new(topics, vec![], &crowd.table).unwrap());
        crowd.live = crowd.open(&subscription);
        while crowd.shard.turn(&crowd.around) == Sleep::No {}
        crowd.take();
        let live = crowd.table.named("live").unwrap();
        for _ in 0..EVENTS {
            let draft = Draft::encode(Topics::new([live.clone()]).unwrap(), &Event::new("x"), Epoch::new(1));
            crowd.around.past.bus.publish(vec![draft.unwrap()], 0).unwrap();
        }
        crowd
    }

    fn open(&mut self, subscription: &Arc<Subscription>) -> Rc<RefCell<Wire>> {
        let wire = Rc::new(RefCell::new(Wire { room: usize::MAX, ..Wire::default() }));
        let time = self.around.past.time.clone();
        let socket = Mock { connection: self.next, wire: wire.clone(), time };
        self.around.notes.borrow_mut().coming.push_back(self.next);
        self.next += 1;
        self.tell(Message::Open { socket, subscribe: Subscribe::to(subscription.clone()) });
        wire
    }

    fn tell(&self, message: Message<Mock, ()>) {
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

/// How many streams a turn can hold against what is published: an end searches the sorted patterns for each event.
const ENDS_A_TURN: usize = Bounds::SHIPPED.work_a_turn / (EVENTS * PATTERNS.ilog2() as usize) + 1;

#[test]
fn streams_that_end_by_time_leave_a_turn_to_others() {
    let mut crowd = Crowd::new();
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
    let mut crowd = Crowd::new();
    crowd.tell(Message::Drain { window: Duration::ZERO, retry: Duration::from_secs(1) });
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
