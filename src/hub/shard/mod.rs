//! A shard's turn: everything that a shard does, and when, without a socket, a clock or a thread of its own.
//!
//! What can happen comes in through [`Shard::ready`] and, from the inbox and the log, in [`Shard::turn`]; what is to be
//! done goes out through its [`Host`]. A turn takes what has come, makes at most one pass or a piece of one, serves some
//! of the streams that are behind, and says whether the shard may sleep.
//!
//! Invariant: when the shard may sleep, nothing is owed to any stream that a wake-up, a timer that is armed or a socket
//! that reports would not bring.

mod ahead;
mod drain;
mod fault;
mod host;
mod pace;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;

use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::frame::Chunk;
use crate::hub::heartbeats::SLOTS;
use crate::hub::holder::{Holder, Revocation};
use crate::hub::log::Search;
use crate::hub::registry::look::Looking;
use crate::hub::registry::{Effect, History, Observer, Opening, Passed, Registry, STRAY_BYTES_MAX, StreamKey, Walk};
use crate::hub::retry;
use crate::hub::stream::StreamTimer;
use crate::hub::subscribe::{Subscribe, TimedEvent};
use crate::hub::wheel::TimerKey;

use ahead::Waiting;
use drain::{DRAIN_STEP_MS, Drain};
pub(crate) use fault::Fault;
pub use host::{Host, Message, Ready, Settings, ShardTimer};
use pace::{Pace, Piece};

/// A heartbeat so rare is none.
const NEVER_MS: u64 = 365 * 86_400_000;

/// Whether a shard may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// There is more to do.
    No,
    /// Until it is woken, or a socket reports.
    UntilWoken,
    /// It has ended.
    ForGood,
}

/// One shard.
pub struct Shard<H: Host> {
    registry: Registry<H::Socket>,
    settings: Settings,
    bounds: Bounds,
    heartbeats: Option<TimerKey>,
    /// When their next step is, or was, due.
    heartbeat_due_ms: u64,
    pace: Pace,
    /// When the pass that is paused began.
    pass_began_ns: Option<u64>,
    /// What of it has been done since the last rest.
    piece: Option<Piece>,
    /// The last pass left events to another: nobody wakes the shard for those again.
    passes_on: bool,
    timed: BTreeMap<StreamKey, TimedEvent>,
    /// Whose streams are, of those that somebody may end.
    holders: BTreeMap<StreamKey, Arc<Holder>>,
    /// Streams that are to be ended, and why.
    revoked: Vec<(StreamKey, CloseReason)>,
    drain: Option<Drain>,
    /// Streams that wait for the event that they resume after.
    ahead: Vec<Waiting<H::Socket>>,
    /// The questions that are being answered.
    asked: VecDeque<(H::Question, Looking)>,
    /// The streams that do not have the write deadline of the settings yet.
    deadlines: Option<Walk>,
    /// The directory has it among the shards with patterns.
    patterned: bool,
    head: Vec<u8>,
    stopping: bool,
    /// A fault of former times, put back to see that it is found.
    #[cfg(test)]
    pub(crate) fault: Option<Fault>,
}

impl<H: Host> Shard<H> {
    /// A shard without streams, at the log's head. `seed` spreads heartbeats.
    pub fn new(host: &H, seed: u64, bounds: Bounds) -> Shard<H> {
        let settings = host.settings();
        let mut shard = Shard {
            registry: Registry::new(host.history().head(), heartbeat_ms(&settings), seed, bounds),
            bounds,
            heartbeats: None,
            heartbeat_due_ms: 0,
            pace: Pace::new(settings.rest_max, settings.interval_min),
            pass_began_ns: None,
            piece: None,
            passes_on: false,
            settings,
            timed: BTreeMap::new(),
            holders: BTreeMap::new(),
            revoked: Vec::new(),
            drain: None,
            ahead: Vec::new(),
            asked: VecDeque::new(),
            deadlines: None,
            patterned: false,
            head: Vec::new(),
            stopping: false,
            #[cfg(test)]
            fault: None,
        };
        shard.registry.set_policies(shard.settings.policies.clone());
        shard.registry.set_marks(shard.settings.marks);
        shard.arm_heartbeats(host, now_ms(host) + shard.registry.heartbeat_step_ms());
        host.set_position(shard.registry.position());
        shard
    }

    /// Its streams.
    pub fn streams(&self) -> &Registry<H::Socket> {
        &self.registry
    }

    /// Whether it goes on with a pass in its next turn.
    pub fn is_amid_pass(&self) -> bool {
        self.piece.is_some()
    }

    /// A stream's socket reports. It is acted on in the next turn at the latest, which must follow.
    pub fn ready(&mut self, host: &H, key: StreamKey, ready: Ready) {
        if ready.closed {
            return self.registry.close(key, CloseReason::ClientGone);
        }
        if ready.readable {
            let Some(socket) = self.registry.socket_mut(key) else { return };
            match host.discard(socket, STRAY_BYTES_MAX as usize + 1) {
                Some(bytes) => self.registry.stray(key, bytes),
                None => return self.registry.close(key, CloseReason::ClientGone),
            }
        }
        if ready.half_closed {
            // One that has closed altogether answers with a reset, and that is reported; see ADR 5.
            self.registry.probe(key, now_ms(host));
        }
        if ready.writable {
            self.registry.writable(key);
        }
    }

    /// Does what there is to do, a bounded part of it.
    pub fn turn(&mut self, host: &H) -> Sleep {
        host.awake();
        self.registry.begin_turn();
        for _ in 0..self.bounds.messages_a_turn {
            if self.registry.is_spent() {
                break;
            }
            let Some(message) = host.message() else { break };
            self.message(host, message);
        }
        let endangered = host.take_endangered() && !self.has_fault(Fault::DeafRest);
        // One that was begun goes on, in a rest too.
        let may_pass = endangered || !self.pace.rests() || self.is_amid_pass();
        if may_pass && host.history().head() > self.registry.position() {
            self.pass(host);
        }
        if self.registry.has_ready() {
            self.registry.serve_ready(self.bounds.served_a_turn, host.history(), now_ms(host), &mut Delivered(host));
        }
        if self.registry.has_due_heartbeats() {
            self.registry.send_heartbeats(host.history(), now_ms(host));
        }
        self.set_deadlines(host);
        self.end_revoked(host);
        self.answer(host);
        if self.stopping {
            self.end_ahead(host, CloseReason::Cut);
            for key in self.registry.keys().collect::<Vec<_>>() {
                self.registry.close(key, CloseReason::Cut);
            }
        }
        self.registry.unpin(host.history());
        self.carry_out(host);
        host.count(&self.registry.take_tally(), &self.registry);
        let passes_on = if self.has_fault(Fault::LostWakeUp) { self.registry.is_passing() } else { self.passes_on };
        let passes_on = passes_on && !self.pace.rests() || self.is_amid_pass();
        match () {
            () if self.stopping => Sleep::ForGood,
            () if self.registry.is_overpinned() => Sleep::No,
            () if passes_on
                || self.registry.has_ready()
                || self.registry.has_due_heartbeats()
                || self.deadlines.is_some()
                || !self.asked.is_empty()
                || !self.revoked.is_empty()
                || !host.is_inbox_empty() =>
            {
                Sleep::No
            }
            () => Sleep::UntilWoken,
        }
    }

    // ===== what can happen =====

    fn message(&mut self, host: &H, message: Message<H::Arriving, H::Question>) {
        match message {
            Message::Open { socket, subscribe } => self.open(host, socket.into(), subscribe),
            Message::Timer(timer) => self.timer(host, timer),
            Message::Drain { window, retry, for_good } => {
                self.end_ahead(host, drain::reason(for_good));
                let ends_ms = now_ms(host) + window.as_millis() as u64;
                let (left, random) = (self.registry.keys().collect(), Rng::with_seed(host.now_ns()));
                self.drain = Some(Drain::new(left, ends_ms, retry.as_millis() as u64, for_good, random));
                self.drain_step(host);
            }
            Message::Ask { order, max, question } => self.asked.push_back((question, Looking::new(order, max))),
            Message::Revoke(revocation) => self.revoke(&revocation),
            Message::Page(page) => self.registry.page_came(page),
            Message::Stop => self.stopping = true,
        }
    }

    fn timer(&mut self, host: &H, timer: ShardTimer) {
        let now_ms = now_ms(host);
        match timer {
            ShardTimer::Rest => {
                self.pace.wakes();
                // After this, publishers wake it; what they appended before is seen in this turn.
                host.listen(true);
            }
            ShardTimer::Heartbeat => {
                // However late it is: the slots keep to the time.
                let step_ms = self.registry.heartbeat_step_ms();
                let steps = (1 + now_ms.saturating_sub(self.heartbeat_due_ms) / step_ms).min(SLOTS as u64);
                (0..steps).for_each(|_| self.registry.advance_heartbeats(host.history()));
                self.arm_heartbeats(host, (self.heartbeat_due_ms + steps * step_ms).max(now_ms));
            }
            ShardTimer::Drain => self.drain_step(host),
            ShardTimer::Ahead => self.look_ahead(host),
            ShardTimer::Settings => self.follow_settings(host),
            ShardTimer::Progress(key) => {
                if let Some(due_ms) = self.registry.progress_due(key, self.write_deadline_ms(), now_ms) {
                    self.arm_stream(host, key, StreamTimer::Progress, due_ms, ShardTimer::Progress(key));
                }
            }
            ShardTimer::End(key, reason) => {
                self.registry.set_timer(key, StreamTimer::End, None);
                self.end(host, key, reason, None);
            }
            ShardTimer::TimedEvent(key) => {
                let Some(TimedEvent { every, chunk }) = self.timed.get(&key).cloned() else { return };
                self.registry.set_timer(key, StreamTimer::TimedEvent, None);
                self.registry.send_timed(key, &chunk, now_ms);
                let due_ms = now_ms.saturating_add(every.as_millis() as u64);
                self.arm_stream(host, key, StreamTimer::TimedEvent, due_ms, ShardTimer::TimedEvent(key));
            }
        }
    }

    fn open(&mut self, host: &H, socket: H::Socket, subscribe: Subscribe) {
        let now_ns = host.now_ns();
        if host.waits(&subscribe.resume, now_ns) {
            return self.wait(host, socket, subscribe, now_ns);
        }
        self.admit(host, socket, subscribe, false);
    }

    /// Opens a stream, which has its response head or is to get it now.
    fn admit(&mut self, host: &H, socket: H::Socket, subscribe: Subscribe, has_head: bool) {
        if subscribe.holder.as_ref().is_some_and(|holder| host.is_revoked(holder)) {
            return host.closed(socket, CloseReason::TokenRevoked);
        }
        let subscription = &subscribe.subscription;
        // Entered before the head is read: see `Directory`.
        for topic in subscription.topics() {
            if !self.registry.routes().names(topic) {
                host.join(topic);
            }
        }
        if !subscription.patterns().is_empty() && !self.patterned {
            host.set_patterned(true);
            self.patterned = true;
        }
        let mut search = Search::default();
        let start = self.registry.search(&mut search, &subscribe.resume, subscription, host.history());
        self.head.clear();
        if !has_head {
            host.response_head(&subscribe, &mut self.head);
        }
        let slow = self.settings.policies.for_subscription(subscription);
        let opening = Opening { socket, subscribe: &subscribe, slow, start, search, response_head: &self.head };
        let now_ms = now_ms(host);
        let key = self.registry.open(opening, host.history(), now_ms, &mut Delivered(host));
        let Some(socket) = self.registry.socket_mut(key) else { return };
        if !host.watch(key, socket, self.settings.write_deadline) {
            return self.registry.close(key, CloseReason::WriteError);
        }
        if let Some((after, reason)) = subscribe.lasts {
            let due_ms = now_ms.saturating_add(after.as_millis() as u64);
            self.arm_stream(host, key, StreamTimer::End, due_ms, ShardTimer::End(key, reason));
        }
        if let Some(holder) = subscribe.holder {
            self.holders.insert(key, holder);
        }
        if let Some(timed) = subscribe.timed {
            let due_ms = now_ms.saturating_add(timed.every.as_millis() as u64);
            self.arm_stream(host, key, StreamTimer::TimedEvent, due_ms, ShardTimer::TimedEvent(key));
            self.timed.insert(key, timed);
        }
        if let Some(drain) = &mut self.drain {
            drain.add(key);
        }
    }

    /// Ends a stream once it has what was published so far.
    fn end(&mut self, host: &H, key: StreamKey, reason: CloseReason, farewell: Option<&Arc<Chunk>>) {
        if self.has_fault(Fault::EndsPass) && host.history().head() > self.registry.position() {
            self.pass(host);
        }
        self.registry.end(key, reason, farewell, host.history(), now_ms(host), &mut Delivered(host));
    }

    /// Has the streams ended that somebody may have no longer.
    fn revoke(&mut self, revocation: &Revocation) {
        let reason = match revocation {
            Revocation::Ticket { .. } => CloseReason::Superseded,
            Revocation::Id(_) | Revocation::Account(..) | Revocation::IssuedBefore(_) => CloseReason::TokenRevoked,
        };
        let ended = self.holders.iter().filter(|(_, holder)| revocation.ends(holder));
        self.revoked.extend(ended.map(|(key, _)| (*key, reason)));
    }

    fn end_revoked(&mut self, host: &H) {
        while !self.registry.is_spent()
            && let Some((key, reason)) = self.revoked.pop()
        {
            self.end(host, key, reason, None);
        }
        if self.revoked.is_empty() {
            self.revoked = Vec::new();
        }
    }

    fn drain_step(&mut self, host: &H) {
        let Some(mut drain) = self.drain.take() else { return };
        let mut due = drain.due(now_ms(host));
        while due > 0
            && !self.registry.is_spent()
            && let Some((key, retry_ms)) = drain.next()
        {
            let farewell = Arc::new(Chunk::new(&retry::line(retry_ms)));
            self.end(host, key, drain.reason(), Some(&farewell));
            due -= 1;
        }
        if drain.is_over() {
            return;
        }
        self.drain = Some(drain);
        // What is due and more than one turn may do follows in the next.
        host.arm(now_ms(host) + if due == 0 { DRAIN_STEP_MS } else { 0 }, ShardTimer::Drain);
    }

    /// Takes over what of the settings can change while it runs.
    fn follow_settings(&mut self, host: &H) {
        let before = std::mem::replace(&mut self.settings, host.settings());
        if self.settings.policies != before.policies {
            self.registry.set_policies(self.settings.policies.clone());
        }
        self.registry.set_marks(self.settings.marks);
        if self.settings.write_deadline != before.write_deadline {
            self.deadlines = Some(Walk::default());
        }
        if self.settings.heartbeat != before.heartbeat {
            self.registry.set_heartbeat(heartbeat_ms(&self.settings));
            // A step that is on its way to the inbox already arms the next.
            if self.heartbeats.is_none_or(|timer| host.cancel(timer)) {
                self.arm_heartbeats(host, now_ms(host) + self.registry.heartbeat_step_ms());
            }
        }
    }

    // ===== what concerns all streams: some of them a turn =====

    /// Tells sockets the write deadline that has changed.
    fn set_deadlines(&mut self, host: &H) {
        let Some(walk) = &mut self.deadlines else { return };
        let slots = self.registry.walk_on(walk);
        if self.registry.has_walked(walk) {
            self.deadlines = None;
        }
        for slot in slots {
            if let Some(socket) = self.registry.stream_in(slot).and_then(|key| self.registry.socket_mut(key)) {
                host.set_write_deadline(socket, self.settings.write_deadline);
            }
        }
    }

    /// Looks on for the oldest question.
    fn answer(&mut self, host: &H) {
        if let Some((_, looking)) = self.asked.front_mut()
            && self.registry.look_on(looking, now_ms(host))
            && let Some((question, looking)) = self.asked.pop_front()
        {
            host.answer(question, self.registry.looks(looking));
        }
    }

    // ===== timers =====

    /// Arms the next step of the heartbeats, if there are any.
    fn arm_heartbeats(&mut self, host: &H, due_ms: u64) {
        self.heartbeat_due_ms = due_ms;
        self.heartbeats = self.settings.heartbeat.map(|_| host.arm(due_ms, ShardTimer::Heartbeat));
    }

    fn arm_stream(&mut self, host: &H, key: StreamKey, kind: StreamTimer, due_ms: u64, timer: ShardTimer) {
        let armed = host.arm(due_ms, timer);
        if !self.registry.set_timer(key, kind, Some(armed)) {
            host.cancel(armed);
        }
    }

    fn write_deadline_ms(&self) -> u64 {
        self.settings.write_deadline.as_millis() as u64
    }

    // ===== passes =====

    /// Makes a pass, or a piece of one.
    fn pass(&mut self, host: &H) {
        let started_ns = host.now_ns();
        // A pass that rests while the log moves on would be lapped, and its streams with it.
        let may_pause = self.registry.position() >= host.halfway();
        let head = host.history().head();
        let (before, cpu_before_ns) = (self.registry.tally(), host.cpu_ns());
        let passed = self.registry.pass(may_pause, host.history(), started_ns / 1_000_000, &mut Delivered(host));
        self.passes_on = self.registry.position() < head;
        host.set_position(self.registry.position());
        let now_ns = host.now_ns();
        let began_ns = self.pass_began_ns.take().unwrap_or(started_ns);
        let is_over = passed == Passed::Over;
        if is_over {
            host.passed(now_ns - began_ns);
        } else {
            self.pass_began_ns = Some(began_ns);
        }
        let cpu_ns = host.cpu_ns() - cpu_before_ns;
        host.busy(cpu_ns);
        let after = self.registry.tally();
        let mut piece = self.piece.take().unwrap_or(Piece { started_ns, ..Piece::default() });
        piece.began_ns = began_ns;
        piece.ended_ns = now_ns;
        piece.cpu_ns += cpu_ns;
        piece.deliveries += after.deliveries - before.deliveries;
        piece.writes += after.writes - before.writes;
        piece.is_over = is_over;
        if passed == Passed::Yields {
            self.piece = Some(piece);
        } else if !self.pace.rests()
            && let Some(until_ms) = self.pace.passed(piece)
        {
            host.listen(false);
            host.arm(until_ms, ShardTimer::Rest);
        }
    }

    /// Does what the registry asks for.
    fn carry_out(&mut self, host: &H) {
        while let Some(effect) = self.registry.take_effect() {
            match effect {
                Effect::AwaitProgress(key) => {
                    let due_ms = now_ms(host) + self.write_deadline_ms();
                    self.arm_stream(host, key, StreamTimer::Progress, due_ms, ShardTimer::Progress(key));
                }
                Effect::Closed { key, socket, reason, timers } => {
                    for timer in timers.into_iter().flatten() {
                        host.cancel(timer);
                    }
                    self.timed.remove(&key);
                    self.holders.remove(&key);
                    host.closed(socket, reason);
                }
                Effect::Unrouted(topic) => {
                    // Another stream may have named it again since.
                    if !self.registry.routes().names(&topic) {
                        host.leave(&topic);
                    }
                }
            }
        }
        if self.patterned && !self.registry.routes().has_patterns() {
            self.patterned = false;
            host.set_patterned(false);
        }
    }
}

fn now_ms(host: &impl Host) -> u64 {
    host.now_ns() / 1_000_000
}

fn heartbeat_ms(settings: &Settings) -> u64 {
    settings.heartbeat.map_or(NEVER_MS, |heartbeat| heartbeat.as_millis() as u64)
}

/// Passes on what was delivered.
struct Delivered<'a, H>(&'a H);

impl<H: Host> Observer for Delivered<'_, H> {
    fn delivered(&mut self, published_ns: &[u64], streams: u64) {
        self.0.delivered(published_ns, streams);
    }
}
