//! What surrounds a simulated shard: the real exchange, a wheel, and notes of what it did.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::hub::archive::Pages;
use crate::hub::close::CloseReason;
use crate::hub::effort::Effort;
use crate::hub::frame::Frame;
use crate::hub::id::EventId;
use crate::hub::log::{Read, Resume, Search, Start, Window};
use crate::hub::offset::Offset;
use crate::hub::registry::look::{Look, Order};
use crate::hub::registry::{History, Registry, StreamKey, Tally};
use crate::hub::shard::{Host, Message, Settings, ShardTimer};
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::{Subscription, TopicHandle};
use crate::hub::wheel::{TimerKey, Wheel};

use super::kit::{HEAD, Mock, Time};
use super::press::SimBus;

/// The wheel of all shards.
#[derive(Default)]
pub(super) struct Clockwork {
    pub(super) wheel: RefCell<Option<Wheel<(usize, ShardTimer)>>>,
    /// How many timers of streams are armed or on their way,
    pub(super) of_streams: Cell<i64>,
}

impl Clockwork {
    pub(super) fn new() -> Clockwork {
        Clockwork { wheel: RefCell::new(Some(Wheel::new(0))), ..Clockwork::default() }
    }

    pub(super) fn expired(&self, now_ms: u64) -> Vec<(usize, ShardTimer)> {
        let mut expired = Vec::new();
        self.wheel.borrow_mut().as_mut().unwrap().advance(now_ms, &mut expired);
        let expired: Vec<_> = expired.into_iter().map(|entry| entry.item).collect();
        let of_streams = expired.iter().filter(|(_, timer)| is_of_stream(timer)).count();
        self.of_streams.set(self.of_streams.get() - of_streams as i64);
        expired
    }
}

fn is_of_stream(timer: &ShardTimer) -> bool {
    matches!(timer, ShardTimer::Progress(_) | ShardTimer::End(..) | ShardTimer::TimedEvent(_))
}

/// The log as a shard sees it.
pub(super) struct Past {
    pub(super) bus: Rc<SimBus>,
    pub(super) time: Rc<Time>,
    /// How many frames one look takes at most.
    pub(super) look_max: Cell<usize>,
    /// A step of a search looks at no more than it must.
    pub(super) searches_little: Cell<bool>,
}

impl History for Past {
    fn head(&self) -> Offset {
        self.time.touch();
        self.bus.log.head()
    }

    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        self.time.touch();
        self.bus.log.tail(after, max.min(self.look_max.get()), out)
    }

    fn search(
        &self,
        search: &mut Search,
        resume: &Resume,
        subscription: &Subscription,
        effort: &mut Effort,
    ) -> Option<Start> {
        self.time.touch();
        if self.searches_little.get() {
            self.bus.log.search(search, resume, subscription, &mut Effort::new(1))
        } else {
            self.bus.log.search(search, resume, subscription, effort)
        }
    }

    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>, effort: &mut Effort) -> Read {
        self.time.touch();
        self.bus.log.read(window, budget_bytes, out, effort)
    }

    fn id(&self, offset: Offset) -> EventId {
        self.bus.log.id(offset)
    }

    fn old_before(&self) -> Offset {
        self.time.touch();
        self.bus.log.old_before()
    }

    fn gone_through(&self) -> [Offset; 2] {
        self.time.touch();
        self.bus.log.gone_through()
    }

    fn pages(&self) -> Option<&dyn Pages> {
        self.time.touch();
        self.bus.log.pages()
    }
}

/// How many streams are asked for.
pub(super) const ASKED: usize = 3;

/// What a shard did in a turn.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) watched: Vec<(usize, StreamKey)>,
    pub(super) closed: Vec<(Mock, CloseReason)>,
    pub(super) tally: Tally,
    pub(super) observed: u64,
    /// How many questions were answered,
    pub(super) answers: usize,
    /// and how many sockets had their write deadline changed.
    pub(super) deadlines: usize,
}

pub(super) struct Around {
    pub(super) shard: usize,
    pub(super) past: Past,
    pub(super) mail: Receiver<Message<Mock, Order>>,
    pub(super) clockwork: Rc<Clockwork>,
    pub(super) settings: Rc<RefCell<Settings>>,
    pub(super) resting: Cell<bool>,
    pub(super) rests_ended: Cell<u64>,
    pub(super) was_endangered: Cell<bool>,
    pub(super) notes: RefCell<Notes>,
}

impl Around {
    fn touch(&self) {
        self.past.time.touch();
    }

    fn inbox(&self) -> &crate::exchange::inbox::Inbox<Message<Mock, Order>> {
        self.past.bus.inbox(self.shard)
    }
}

impl Host for Around {
    type Arriving = Mock;
    type Socket = Mock;
    type Question = Order;
    type History = Past;

    fn history(&self) -> &Past {
        &self.past
    }

    fn waits(&self, resume: &Resume, since_ns: u64) -> bool {
        self.past.bus.log.is_to_come(resume, since_ns)
    }

    fn halfway(&self) -> Offset {
        self.touch();
        self.past.bus.log.halfway()
    }

    fn now_ns(&self) -> u64 {
        self.past.time.now_ns.get()
    }

    fn cpu_ns(&self) -> u64 {
        self.past.time.cpu_ns.get()
    }

    fn arm(&self, due_ms: u64, timer: ShardTimer) -> TimerKey {
        self.touch();
        if let ShardTimer::Rest = timer {
            assert!(!self.resting.replace(true), "one rest at a time");
        }
        if is_of_stream(&timer) {
            self.clockwork.of_streams.set(self.clockwork.of_streams.get() + 1);
        }
        self.clockwork.wheel.borrow_mut().as_mut().unwrap().insert(due_ms, (self.shard, timer))
    }

    fn cancel(&self, timer: TimerKey) -> bool {
        self.touch();
        let item = self.clockwork.wheel.borrow_mut().as_mut().unwrap().cancel(timer);
        if item.is_some_and(|(_, timer)| is_of_stream(&timer)) {
            self.clockwork.of_streams.set(self.clockwork.of_streams.get() - 1);
        }
        item.is_some()
    }

    fn awake(&self) {
        self.touch();
        self.inbox().awake();
        self.touch();
    }

    fn message(&self) -> Option<Message<Mock, Order>> {
        self.touch();
        let message = self.mail.try_recv().ok();
        if let Some(Message::Timer(ShardTimer::Rest)) = message {
            assert!(self.resting.replace(false), "a rest ends once");
            self.rests_ended.set(self.rests_ended.get() + 1);
        }
        message
    }

    fn is_inbox_empty(&self) -> bool {
        self.touch();
        self.mail.is_empty()
    }

    fn listen(&self, listens: bool) {
        self.touch();
        self.inbox().listen(listens);
        self.touch();
    }

    fn take_endangered(&self) -> bool {
        self.touch();
        let endangered = self.inbox().take_endangered();
        self.was_endangered.set(endangered);
        endangered
    }

    fn set_position(&self, position: Offset) {
        self.touch();
        self.inbox().set_position(position);
    }

    fn join(&self, topic: &TopicHandle) {
        self.touch();
        self.past.bus.directory.join(topic, self.shard);
    }

    fn leave(&self, topic: &TopicHandle) {
        self.touch();
        self.past.bus.directory.leave(topic, self.shard);
    }

    fn set_patterned(&self, has_patterns: bool) {
        self.touch();
        self.past.bus.directory.set_patterned(self.shard, has_patterns);
    }

    fn settings(&self) -> Settings {
        self.settings.borrow().clone()
    }

    fn response_head(&self, _: &Subscribe, into: &mut Vec<u8>) {
        into.extend_from_slice(HEAD.as_bytes());
    }

    fn watch(&self, key: StreamKey, socket: &mut Mock, _: Duration) -> bool {
        self.notes.borrow_mut().watched.push((socket.connection, key));
        true
    }

    fn set_write_deadline(&self, _: &mut Mock, _: Duration) {
        self.notes.borrow_mut().deadlines += 1;
    }

    fn discard(&self, socket: &mut Mock, max: usize) -> Option<usize> {
        let mut wire = socket.wire.borrow_mut();
        let taken = wire.stray.min(max);
        wire.stray -= taken;
        Some(taken)
    }

    fn closed(&self, socket: Mock, reason: CloseReason) {
        socket.wire.borrow_mut().closed = true;
        self.inbox().stream_gone();
        self.notes.borrow_mut().closed.push((socket, reason));
    }

    fn delivered(&self, published_ns: &[u64], streams: u64) {
        self.notes.borrow_mut().observed += published_ns.len() as u64 * streams;
    }

    fn busy(&self, _: u64) {}

    fn passed(&self, _: u64) {}

    fn count(&self, tally: &Tally, _: &Registry<Mock>) {
        let sum = &mut self.notes.borrow_mut().tally;
        sum.opened += tally.opened;
        sum.deliveries += tally.deliveries;
        sum.bytes += tally.bytes;
        sum.writes += tally.writes;
        sum.closed.iter_mut().zip(tally.closed).for_each(|(sum, one)| *sum += one);
        sum.gaps.iter_mut().zip(tally.gaps).for_each(|(sum, one)| *sum += one);
    }

    fn answer<'a>(&self, order: Order, looks: impl Iterator<Item = Look<'a, Mock>>) {
        let ranks: Vec<_> = looks.map(|look| look.standing.rank(order)).collect();
        assert!(ranks.len() <= ASKED && ranks.is_sorted_by(|one, next| one >= next), "{ranks:?}");
        self.notes.borrow_mut().answers += 1;
    }
}
