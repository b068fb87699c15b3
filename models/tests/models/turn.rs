//! The shard's turn as it is shipped, between its inbox and the log: whenever it sleeps, it is woken for
//! what its stream has yet to get. At most [`PREEMPTIONS`] times a thread is held up in the midst of
//! something.
//!
//! These faults were put in, one at a time, and a model failed of each:
//! - the turn says that it is awake only after it has looked at the log;
//! - the turn listens again only after it has looked at the log, or never.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::thread;
use sluicegate_models::exchange::bus::Bus;
use sluicegate_models::exchange::inbox::Inbox;
use sluicegate_models::exchange::log_cell::LogCell;
use sluicegate_models::exchange::sync::Receiver;
use sluicegate_models::hub::bounds::Bounds;
use sluicegate_models::hub::close::CloseReason;
use sluicegate_models::hub::effort::Effort;
use sluicegate_models::hub::event::Event;
use sluicegate_models::hub::frame::{Draft, Frame};
use sluicegate_models::hub::id::{Epoch, EventId};
use sluicegate_models::hub::log::{LogLimits, Numbering, Read, Resume, Search, Start, Window};
use sluicegate_models::hub::offset::Offset;
use sluicegate_models::hub::policy::Policies;
use sluicegate_models::hub::registry::look::{Look, Order};
use sluicegate_models::hub::registry::{History, Registry, StreamKey, Tally};
use sluicegate_models::hub::shard::{self, Host, Settings, Shard, ShardTimer, Sleep};
use sluicegate_models::hub::stream::{Sent, Socket};
use sluicegate_models::hub::subscribe::Subscribe;
use sluicegate_models::hub::topic::{Subscription, TopicHandle, Topics};
use sluicegate_models::hub::wheel::{TimerKey, Wheel};

use super::topic::topic;
use super::waker::Waker;

const PREEMPTIONS: usize = 2;
/// A turn needs more than loom gives, above all to tell of a panic.
const STACK: usize = 128 * 1024;
const NOW_NS: u64 = 1_000_000_000;

type Message = shard::Message<Wire, ()>;

/// A socket that takes everything, and counts the events in it. No model looks at the count but from
/// the shard's thread.
struct Wire(Arc<AtomicUsize>);

impl Socket for Wire {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        let text = String::from_utf8_lossy(bytes);
        self.0.fetch_add(text.matches("data: x").count(), Ordering::Relaxed);
        Sent::Wrote(bytes.len())
    }
}

/// The log as its shard sees it.
struct Past {
    bus: Arc<Bus<Message>>,
    /// From where on its stream is to get everything.
    starts_after: Cell<Option<Offset>>,
}

impl History for Past {
    fn head(&self) -> Offset {
        self.bus.log.head()
    }

    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        self.bus.log.tail(after, max, out)
    }

    fn search(
        &self,
        search: &mut Search,
        resume: &Resume,
        subscription: &Subscription,
        effort: &mut Effort,
    ) -> Option<Start> {
        let start = self.bus.log.search(search, resume, subscription, effort);
        self.starts_after.set(start.map(|start| start.after));
        start
    }

    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>, effort: &mut Effort) -> Read {
        self.bus.log.read(window, budget_bytes, out, effort)
    }

    fn id(&self, offset: Offset) -> EventId {
        self.bus.log.id(offset)
    }

    fn old_before(&self) -> Offset {
        self.bus.log.old_before()
    }

    fn gone_through(&self) -> [Offset; 2] {
        self.bus.log.gone_through()
    }
}

/// What surrounds the shard.
struct World {
    bus: Arc<Bus<Message>>,
    past: Past,
    mail: Receiver<Message>,
    /// What each look at the processor's time adds to it: a pass that cost much is followed by a rest.
    cpu_step_ns: Cell<u64>,
    cpu_ns: Cell<u64>,
    resting: Cell<bool>,
    answered: Cell<u64>,
    /// It only makes keys.
    wheel: RefCell<Wheel<ShardTimer>>,
}

impl Host for World {
    type Arriving = Wire;
    type Socket = Wire;
    type Question = ();
    type History = Past;

    fn history(&self) -> &Past {
        &self.past
    }

    fn waits(&self, _: &Resume, _: u64) -> bool {
        false
    }

    fn halfway(&self) -> Offset {
        self.bus.log.halfway()
    }

    fn now_ns(&self) -> u64 {
        NOW_NS
    }

    fn cpu_ns(&self) -> u64 {
        self.cpu_ns.set(self.cpu_ns.get() + self.cpu_step_ns.get());
        self.cpu_ns.get()
    }

    fn arm(&self, due_ms: u64, timer: ShardTimer) -> TimerKey {
        assert!(matches!(timer, ShardTimer::Rest));
        self.resting.set(true);
        let bus = self.bus.clone();
        thread::spawn(move || assert!(bus.inbox(0).push(Message::Timer(timer)).is_ok()));
        self.wheel.borrow_mut().insert(due_ms, timer)
    }

    fn cancel(&self, _: TimerKey) -> bool {
        false
    }

    fn awake(&self) {
        self.bus.inbox(0).awake();
    }

    fn message(&self) -> Option<Message> {
        let message = self.mail.try_recv();
        if matches!(message, Some(Message::Timer(ShardTimer::Rest))) {
            self.resting.set(false);
        }
        message
    }

    fn is_inbox_empty(&self) -> bool {
        self.mail.is_empty()
    }

    fn listen(&self, listens: bool) {
        self.bus.inbox(0).listen(listens);
    }

    fn take_endangered(&self) -> bool {
        self.bus.inbox(0).take_endangered()
    }

    fn set_position(&self, position: Offset) {
        self.bus.inbox(0).set_position(position);
    }

    fn join(&self, topic: &TopicHandle) {
        self.bus.directory.join(topic, 0);
    }

    fn leave(&self, topic: &TopicHandle) {
        self.bus.directory.leave(topic, 0);
    }

    fn set_patterned(&self, has_patterns: bool) {
        self.bus.directory.set_patterned(0, has_patterns);
    }

    fn settings(&self) -> Settings {
        Settings {
            rest_max: 1.0,
            interval_min: Duration::ZERO,
            marks: true,
            heartbeat: None,
            write_deadline: Duration::from_secs(30),
            policies: Policies::default(),
        }
    }

    fn response_head(&self, _: &Subscribe, _: &mut Vec<u8>) {}

    fn watch(&self, _: StreamKey, _: &mut Wire, _: Duration) -> bool {
        true
    }

    fn set_write_deadline(&self, _: &mut Wire, _: Duration) {}

    fn discard(&self, _: &mut Wire, _: usize) -> Option<usize> {
        Some(0)
    }

    fn closed(&self, _: Wire, reason: CloseReason) {
        unreachable!("a stream was closed: {reason:?}");
    }

    fn delivered(&self, _: &[u64], _: u64) {}

    fn busy(&self, _: u64) {}

    fn passed(&self, _: u64) {}

    fn count(&self, _: &Tally, _: &Registry<Self::Socket>) {}

    fn answer<'a>(&self, (): (), _: impl Iterator<Item = Look<'a, Wire>>) {
        self.answered.set(self.answered.get() + 1);
    }
}

/// What there is before; so much that nobody is in danger of being lapped by what comes.
const BEFORE: u64 = 8;

/// One stream is opened, while `events` are published, one by one, and `questions` are asked. The shard
/// turns until its stream has all that came after its start, the questions are answered, and it does not
/// rest; to sleep any longer than that is a deadlock.
fn model(events: u64, questions: u64, cpu_step_ns: u64) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || spawn(move || run(events, questions, cpu_step_ns)).join().unwrap());
}

fn spawn(run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().stack_size(STACK).spawn(run).unwrap()
}

fn run(events: u64, questions: u64, cpu_step_ns: u64) {
    let waker = Arc::new(Waker::new());
    let wakes = waker.clone();
    let (inbox, mail) = Inbox::new(move || wakes.wake());
    let limits = LogLimits { events: 100, bytes: 1 << 20, age_ns: u64::MAX };
    let bus = Arc::new(Bus::new(LogCell::new(Epoch::new(1), limits), vec![inbox], None));
    let topic = topic();
    let subscribe = Subscribe::to(Arc::new(Subscription::to(topic.clone())));
    let publish = move |bus: &Bus<Message>| {
        let topics = Topics::one(topic.clone());
        let event = Draft::encode(topics, &Event::new("x"), bus.log.epoch()).unwrap();
        bus.accept(vec![event], Numbering::Own, NOW_NS);
    };
    (0..BEFORE).for_each(|_| publish(&bus));
    let world = World {
        bus: bus.clone(),
        mail,
        cpu_step_ns: Cell::new(0),
        cpu_ns: Cell::new(0),
        resting: Cell::new(false),
        answered: Cell::new(0),
        past: Past { bus: bus.clone(), starts_after: Cell::new(None) },
        wheel: RefCell::new(Wheel::new(0)),
    };
    let mut shard = Shard::new(&world, 1, Bounds::SHIPPED);
    assert_eq!(shard.turn(&world), Sleep::UntilWoken);
    world.cpu_step_ns.set(cpu_step_ns);
    let received = Arc::new(AtomicUsize::new(0));
    assert!(bus.inbox(0).push(Message::Open { socket: Wire(received.clone()), subscribe }).is_ok());
    let publisher = bus.clone();
    spawn(move || (0..events).for_each(|_| publish(&publisher)));
    if questions > 0 {
        thread::spawn(move || {
            (0..questions).for_each(|_| {
                assert!(bus.inbox(0).push(Message::Ask { order: Order::Lag, max: 1, question: () }).is_ok())
            })
        });
    }
    let has_all = |world: &World| {
        let owed = world.past.starts_after.get().map(|start| Offset::new(BEFORE + events).since(start));
        let has_events = owed == Some(received.load(Ordering::Relaxed) as u64);
        has_events && world.answered.get() == questions && !world.resting.get()
    };
    loop {
        let sleep = shard.turn(&world);
        if has_all(&world) {
            break;
        }
        match sleep {
            Sleep::No => {}
            Sleep::UntilWoken => waker.sleep(),
            Sleep::ForGood => unreachable!("nobody said so"),
        }
    }
}

#[test]
fn a_turn_sleeps_over_nothing() {
    model(1, 1, 0);
}

#[test]
fn a_turn_sleeps_over_nothing_that_comes_in_a_rest() {
    model(2, 0, 2_000_000);
}
