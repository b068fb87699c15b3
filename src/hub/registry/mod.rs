//! The streams of one shard, their cohorts, and what is written to whom.
//!
//! Live streams of the same subscription are written to together, in a *pass* of the registry. Those that
//! are behind are served from the log, each from its own cursor.
//!
//! Invariant: a live stream has been written everything of its subscription up to its cohort's
//! `through` or the registry's `position`, whichever is later.
//! Invariant: a stream behind has everything up to its cursor, but for its `rest`.
//! Invariant: a pass allocates nothing for a delivery.
//! Invariant: a frame that was begun is finished before anything else is written.

mod behind;
pub mod look;
mod mark;
mod pass;
mod pins;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;
use strum::VariantArray;

use crate::hub::beats::Beats;
use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::frame::{Chunk, Frame, Framing, HEARTBEAT};
use crate::hub::gap::{self, GapReason};
use crate::hub::id::EventId;
use crate::hub::log::{Read, Resume, Start, Window};
use crate::hub::offset::Offset;
use crate::hub::policy::{Policies, SlowPolicy};
use crate::hub::routes::{CohortIndex, Routes};
use crate::hub::run::Run;
use crate::hub::slab::{Slab, SlabKey};
use crate::hub::stream::{
    Behind, NO_BOUND, NOT_LIVE, Rest, RestSource, STREAM_TIMERS, Sent, Socket, Stream, StreamTimer, Then,
};
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::{Subscription, TopicHandle};
use crate::hub::wheel::TimerKey;

use behind::{FRAME_WORK, ROUTE_WORK, WRITE_WORK};
use mark::Marks;
use pass::Pass;
use pins::{Hold, Pins};

/// How many bytes a client may send after its request before it is cut off.
pub const STRAY_BYTES_MAX: u32 = 64 * 1024;
/// What a stream that is behind must take to be worth its place. A socket takes bytes in steps, of some kilobytes each: a
/// client that reads four times as fast as this, or a line that carries as much, is never taken for one that does not.
pub const PROGRESS_BYTES_A_SECOND: u64 = 256;
/// Names a stream of one registry.
pub type StreamKey = SlabKey;

/// The log, as streams are served from it.
pub trait History {
    /// The offset of the newest event.
    fn head(&self) -> Offset;
    /// As [`super::log::Log::tail`].
    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset>;
    /// As [`super::log::Log::read`].
    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>) -> Read;
    /// The id of an offset.
    fn id(&self, offset: Offset) -> EventId;
    /// As [`super::log::Log::old_before`].
    fn old_before(&self) -> Offset;
    /// As [`super::log::Log::gone_through`].
    fn gone_through(&self) -> [Offset; 2];
}

/// Who wants to know when events were handed over.
pub trait Observer {
    /// Events accepted at these times (nanoseconds) have just been handed to this many sockets.
    fn delivered(&mut self, published_ns: &[u64], streams: u64);
}

/// A stream to open.
pub struct Opening<'a, S> {
    /// Where its bytes go.
    pub socket: S,
    /// What was asked for, and granted.
    pub subscribe: &'a Subscribe,
    /// What happens if it is too slow.
    pub slow: SlowPolicy,
    /// Where it starts in the log.
    pub start: Start,
    /// The log's head now.
    pub head: Offset,
    /// What the response begins with, as it goes over the wire.
    pub response_head: &'a [u8],
}

/// What the registry asks of the shard that owns it.
#[derive(Debug)]
pub enum Effect<S> {
    /// A stream is no more: close its socket, cancel its timers.
    Closed {
        /// Its former key.
        key: StreamKey,
        /// Its socket.
        socket: S,
        /// Why it was closed.
        reason: CloseReason,
        /// Its timers.
        timers: [Option<TimerKey>; STREAM_TIMERS],
    },
    /// A stream is behind, its socket is full, and no progress deadline is armed for it.
    AwaitProgress(StreamKey),
    /// No stream of the shard names this topic any more.
    Unrouted(TopicHandle),
}

/// What has happened since the shard last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Streams opened.
    pub opened: u64,
    /// Streams closed, by reason.
    pub closed: [u64; CloseReason::VARIANTS.len()],
    /// Events handed to sockets, one for each stream.
    pub deliveries: u64,
    /// Bytes handed to sockets.
    pub bytes: u64,
    /// Writes that took bytes.
    pub writes: u64,
    /// Streams told of a gap, by reason.
    pub gaps: [u64; GapReason::VARIANTS.len()],
}

struct Cohort {
    subscription: Arc<Subscription>,
    framing: Framing,
    slow: SlowPolicy,
    /// By which of the registry's policies `slow` was chosen.
    policed: u32,
    members: u32,
    /// The last frame that was found to touch it, by a count of frames.
    mark: u64,
    /// Up to which offset its live members have been served, if that is further than the others.
    through: Offset,
    /// The newest kept event that its live members have been written in a pass: they have its id.
    named: Offset,
    live: Vec<u32>,
}

/// The streams of one shard. `S` is a socket.
pub struct Registry<S> {
    bounds: Bounds,
    streams: Slab<Stream<S>>,
    cohorts: Slab<Cohort>,
    /// The cohorts that can take in another stream.
    with_room: HashMap<(Arc<Subscription>, Framing), SmallVec<[CohortIndex; 2]>>,
    routes: Routes,
    position: Offset,
    behind: usize,
    beats: Beats,
    heartbeat: Arc<Chunk>,
    cursor_marks: Marks,
    /// The policies that have taken the place of those that streams were opened with, and a count of
    /// them. A cohort looks its own up when it is asked for: many at once would hold up a pass.
    policies: Policies,
    policed: u32,
    /// Streams that are behind and can be served.
    ready: VecDeque<StreamKey>,
    /// Streams opened at a head that the shard has yet to reach: they have what it has, and wait.
    ahead: Vec<StreamKey>,
    effects: Vec<Effect<S>>,
    tally: Tally,
    pins: Pins,
    pass: Pass,
    // Scratch, kept so that a pass allocates nothing.
    run: Run,
    /// How much has been done in this turn, in units of [`Bounds::work_a_turn`].
    work: usize,
    marks: u64,
    read: Vec<Arc<Frame>>,
    due: Vec<u32>,
}

impl<S: Socket> Registry<S> {
    /// An empty registry that stands at `position` in the log. `seed` spreads heartbeat phases.
    pub fn new(position: Offset, heartbeat_ms: u64, seed: u64, bounds: Bounds) -> Registry<S> {
        Registry {
            bounds,
            streams: Slab::default(),
            cohorts: Slab::default(),
            with_room: HashMap::new(),
            routes: Routes::default(),
            position,
            behind: 0,
            beats: Beats::new(heartbeat_ms, seed),
            heartbeat: Arc::new(Chunk::new(HEARTBEAT)),
            cursor_marks: Marks::default(),
            policies: Policies::default(),
            policed: 0,
            ready: VecDeque::new(),
            ahead: Vec::new(),
            effects: Vec::new(),
            tally: Tally::default(),
            pins: Pins::default(),
            pass: Pass::default(),
            run: Run::default(),
            work: 0,
            marks: 0,
            read: Vec::new(),
            due: Vec::new(),
        }
    }

    // ===== what the shard asks =====

    /// How many streams are open.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// How many of them are behind.
    pub fn behind(&self) -> usize {
        self.behind
    }

    /// Up to which offset all live streams have been served.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// Which topics and patterns it has streams for.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// A turn begins.
    pub fn begin_turn(&mut self) {
        self.work = 0;
    }

    /// Whether enough has been done in this turn for new streams, and for those behind.
    pub fn is_spent(&self) -> bool {
        self.work >= self.bounds.work_a_turn
    }

    /// Whether streams that are behind can be served now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How often [`Registry::heartbeat`] wants to be called, in milliseconds.
    pub fn heartbeat_step_ms(&self) -> u64 {
        self.beats.slot_ms()
    }

    /// Changes the heartbeat's interval, for all streams.
    pub fn set_heartbeat(&mut self, heartbeat_ms: u64) {
        self.beats.set_interval(heartbeat_ms);
    }

    /// Changes what happens to streams that are too slow, for all of them.
    pub fn set_policies(&mut self, policies: Policies) {
        self.policies = policies;
        self.policed = self.policed.wrapping_add(1);
    }

    /// The keys of all streams.
    pub fn keys(&self) -> impl Iterator<Item = StreamKey> {
        self.streams.keys()
    }

    /// A stream's socket.
    pub fn socket_mut(&mut self, key: StreamKey) -> Option<&mut S> {
        self.streams.get_mut(key).map(|stream| &mut stream.socket)
    }

    /// What the registry asks of the shard, in order.
    pub fn take_effect(&mut self) -> Option<Effect<S>> {
        // Order does not matter between streams, and a stream has at most one of each kind.
        self.effects.pop()
    }

    /// What has happened since it was last taken.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes what has happened since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Remembers a timer of a stream, for cancelling it with the stream. Says whether the stream is
    /// still there.
    pub fn set_timer(&mut self, key: StreamKey, kind: StreamTimer, timer: Option<TimerKey>) -> bool {
        let Some(stream) = self.streams.get_mut(key) else { return false };
        stream.timers[kind as usize] = timer;
        true
    }

    // ===== a stream's life =====

    /// Opens a stream: writes its response head, and what it missed.
    pub fn open(
        &mut self,
        opening: Opening<'_, S>,
        history: &impl History,
        now_ms: u64,
        observer: &mut impl Observer,
    ) -> StreamKey {
        let Opening { socket, subscribe, slow, start, head, response_head } = opening;
        let framing = subscribe.framing;
        let named = subscribe.subscription.topics().len() + subscribe.subscription.patterns().len();
        self.work += ROUTE_WORK * named;
        let cohort = self.join(&subscribe.subscription, framing, slow);
        let key = self.streams.insert(Stream {
            socket,
            cohort,
            place: NOT_LIVE,
            beat_place: None,
            marked: start.after.get() as u32,
            written_ms: now_ms,
            opened_s: (now_ms / 1000) as u32,
            remaining: subscribe.max_events.map_or(NO_BOUND, |max| max.get().min(NO_BOUND - 1)),
            stray_bytes: 0,
            timers: [None; STREAM_TIMERS],
            behind: Some(Box::new(Behind { asked_through: head, ..*Behind::at(start.after, head, now_ms) })),
        });
        self.streams.at(key.index()).beat_place = Some(self.beats.place(key.index(), self.beats.interval_ms()));
        self.behind += 1;
        self.tally.opened += 1;

        let mut prelude = response_head.to_vec();
        if let Some(reason) = start.gap {
            let asked_for = if let Resume::After(id) = &subscribe.resume { Some(&**id) } else { None };
            // What an engine has lost may stand anywhere before the head.
            let to = if reason == GapReason::Lost { head } else { start.after };
            let gap = gap::gap(asked_for, history.id(to), reason, Some(history.id(start.after)));
            prelude.extend_from_slice(gap.wire(framing));
            self.tally.gaps[reason as usize] += 1;
        } else if self.marks_at_start(subscribe, history.id(start.after)) {
            prelude.extend_from_slice(self.cursor_marks.at(start.after, history).wire(framing));
        }
        self.serve(key, prelude, history, now_ms, observer);
        key
    }

    /// Sends a stream an event of its own. If its socket is full, the event follows when it has
    /// caught up; beats that are missed meanwhile merge into one.
    pub fn push(&mut self, key: StreamKey, chunk: &Arc<Chunk>, now_ms: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match &mut stream.behind {
            None => {
                self.write_or_hold(key, Rest { source: RestSource::Chunk(chunk.clone()), offset: 0 }, now_ms);
            }
            Some(behind) => behind.beat = Some(chunk.clone()),
        }
    }

    /// Ends a stream properly, between two frames, once it has been given what was published so far. If it is not
    /// behind, that comes from the log, for it alone: the others keep their pace. `farewell` goes before the end.
    pub fn end(
        &mut self,
        key: StreamKey,
        reason: CloseReason,
        farewell: Option<&Arc<Chunk>>,
        history: &impl History,
        now_ms: u64,
        observer: &mut impl Observer,
    ) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        self.work += WRITE_WORK;
        let farewell = farewell.cloned();
        match &mut stream.behind {
            None => {
                let (head, cohort) = (history.head(), stream.cohort);
                let position = self.served_through(cohort);
                if head <= position {
                    return self.finish(key, reason, farewell.as_ref(), now_ms);
                }
                let mut behind = Behind::at(position, position, now_ms);
                behind.then = Then::End { reason, farewell, through: Some(head) };
                // As a pass would take it: that may be more than is kept for replay.
                let mut frames = std::mem::take(&mut self.read);
                frames.clear();
                if let Some(through) = history.tail(position, self.bounds.frames_a_lock, &mut frames) {
                    let subscription = &self.cohorts.at(cohort).subscription;
                    self.work += frames.len() * (1 + subscription.search_work());
                    frames.retain(|frame| subscription.covers(frame.topics()));
                    self.work += FRAME_WORK * frames.len();
                    frames.iter().for_each(|frame| self.pins.take(key.index(), Hold::Chosen, frame));
                    behind.selection.extend(frames.drain(..));
                    behind.selected_through = through;
                    if behind.selection.is_empty() {
                        behind.cursor = through;
                    }
                }
                self.read = frames;
                self.fall_behind(key.index(), behind);
                self.serve(key, Vec::new(), history, now_ms, observer);
                self.cut_selection(key);
            }
            Some(behind) if matches!(behind.then, Then::Live) => {
                // Only a gateway that ends owes its streams the rest: any other end can be resumed.
                let through = (reason == CloseReason::Drained).then(|| history.head());
                behind.then = Then::End { reason, farewell, through };
                if !behind.full {
                    self.ready.push_back(key);
                }
            }
            Some(_) => {}
        }
    }

    /// Closes a stream at once.
    pub fn close(&mut self, key: StreamKey, reason: CloseReason) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let (index, cohort) = (key.index(), stream.cohort);
        if let Some(behind) = &stream.behind {
            self.behind -= 1;
            self.pins.release_all(index, behind);
        }
        if stream.place != NOT_LIVE {
            self.leave_live(index);
        }
        if let Some(place) = self.streams.at(index).beat_place.take()
            && let Some(moved) = self.beats.remove(place)
        {
            self.streams.at(moved).beat_place = Some(place);
        }
        let Some(stream) = self.streams.remove(key) else { return };
        self.tally.closed[reason as usize] += 1;
        self.effects.push(Effect::Closed { key, socket: stream.socket, reason, timers: stream.timers });
        self.part(cohort);
    }

    /// A stream's socket can take bytes again.
    pub fn writable(&mut self, key: StreamKey) {
        let Some(behind) = self.streams.get_mut(key).and_then(|stream| stream.behind.as_mut()) else { return };
        if behind.full {
            behind.full = false;
            self.ready.push_back(key);
        }
    }

    /// Writes to a stream whose client may be gone, unless bytes are on their way already.
    pub fn probe(&mut self, key: StreamKey, now_ms: u64) {
        if self.streams.get_mut(key).is_some_and(|stream| stream.behind.is_none()) {
            self.write_or_hold(key, Rest { source: RestSource::Chunk(self.heartbeat.clone()), offset: 0 }, now_ms);
        }
    }

    /// A client sent bytes after its request. They mean nothing; too many of them end the stream.
    pub fn stray(&mut self, key: StreamKey, bytes: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.stray_bytes = stream.stray_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if stream.stray_bytes > STRAY_BYTES_MAX {
            self.close(key, CloseReason::ClientData);
        }
    }

    /// The progress deadline of a stream has come: a stream whose socket is full is closed if it took no byte for so
    /// long, or fewer than `progress_bytes`. If it must be waited for again, says until when.
    pub fn progress_due(&mut self, key: StreamKey, deadline_ms: u64, now_ms: u64) -> Option<u64> {
        let stream = self.streams.get_mut(key)?;
        stream.timers[StreamTimer::Progress as usize] = None;
        let behind = stream.behind.as_mut().filter(|behind| behind.full)?;
        if now_ms >= behind.span_ms.saturating_add(deadline_ms) && behind.taken >= progress_bytes(deadline_ms) {
            (behind.span_ms, behind.taken) = (now_ms, 0);
        }
        let due_ms = behind.progress_ms.min(behind.span_ms).saturating_add(deadline_ms);
        if due_ms > now_ms {
            return Some(due_ms);
        }
        self.close(key, CloseReason::WriteDeadline);
        None
    }

    // ===== time =====

    /// Moves the heartbeats on by one slot: streams that have not been written to for an interval get one, in the calls
    /// of [`Registry::beat`].
    pub fn heartbeat(&mut self, history: &impl History) {
        self.cursor_marks.look(history);
        let waiting = self.due.len();
        self.beats.advance(&mut self.due);
        for &index in &self.due[waiting..] {
            self.streams.at(index).beat_place = None;
        }
    }

    /// Whether heartbeats wait to be sent.
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Sends some of the heartbeats that are due, or a mark in the place of one.
    pub fn beat(&mut self, history: &impl History, now_ms: u64) {
        let (interval_ms, slot_ms) = (self.beats.interval_ms(), self.beats.slot_ms());
        for _ in 0..self.bounds.heartbeats_a_turn {
            let Some(index) = self.due.pop() else { break };
            // It may have gone since, and another have come to its slot, which is due at another time.
            let Some(key) = self.streams.key_of(index) else { continue };
            let stream = self.streams.at(index);
            if stream.beat_place.is_some() {
                continue;
            }
            let mut due_in_ms = interval_ms;
            if stream.behind.is_none() {
                // One that was written to meanwhile is skipped. The early part of the interval is
                // there to spread the beats, so a beat that comes up within it is not too early.
                due_in_ms = (stream.written_ms + interval_ms).saturating_sub(now_ms);
                let is_due = due_in_ms <= self.beats.early_ms() + slot_ms;
                let mark = self.mark_due(index, history);
                if let Some(chunk) = mark.or_else(|| is_due.then(|| self.heartbeat.clone())) {
                    self.write_or_hold(key, Rest { source: RestSource::Chunk(chunk), offset: 0 }, now_ms);
                    due_in_ms = interval_ms;
                }
            }
            if let Some(stream) = self.streams.get_mut(key) {
                stream.beat_place = Some(self.beats.place(index, due_in_ms));
            }
        }
        if self.due.is_empty() {
            self.due.shrink_to(self.bounds.heartbeats_a_turn);
        }
    }

    // ===== single writes =====

    /// Ends a stream that has nothing begun: writes the farewell and the response's last bytes.
    fn finish(&mut self, key: StreamKey, reason: CloseReason, farewell: Option<&Arc<Chunk>>, now_ms: u64) {
        let stream = self.streams.at(key.index());
        let framing = self.cohorts.at(stream.cohort).framing;
        let mut bytes = farewell.map_or(Vec::new(), |farewell| farewell.wire(framing).to_vec());
        bytes.extend_from_slice(framing.last_bytes());
        if let Some(behind) = &mut stream.behind {
            behind.then = Then::Close(reason);
        }
        let whole = bytes.is_empty()
            || self.write_or_hold(key, Rest { source: RestSource::Bytes(bytes.into()), offset: 0 }, now_ms);
        if whole {
            self.close(key, reason);
        } else if let Some(behind) = self.streams.get_mut(key).and_then(|stream| stream.behind.as_mut()) {
            behind.then = Then::Close(reason);
        }
    }

    /// Writes bytes to one stream that has nothing begun. If its socket takes only a part, the
    /// stream is behind and holds the rest. Says whether all was written.
    fn write_or_hold(&mut self, key: StreamKey, mut rest: Rest, now_ms: u64) -> bool {
        let stream = self.streams.at(key.index());
        let bytes = rest.bytes(self.cohorts.at(stream.cohort).framing);
        let len = bytes.len();
        match stream.socket.send(bytes) {
            Sent::Wrote(wrote) => {
                self.tally.wrote(wrote);
                stream.written_ms = now_ms;
                if let Some(behind) = &mut stream.behind {
                    behind.takes(wrote, now_ms);
                }
                if wrote == len {
                    return true;
                }
                rest.offset += wrote;
            }
            Sent::Full => {}
            Sent::Gone => {
                self.close(key, CloseReason::ClientGone);
                return false;
            }
            Sent::Failed => {
                self.close(key, CloseReason::WriteError);
                return false;
            }
        }
        let stream = self.streams.at(key.index());
        if stream.behind.is_none() {
            let cohort = stream.cohort;
            let through = self.served_through(cohort);
            self.fall_behind(key.index(), Behind::at(through, through, now_ms));
        }
        if let Some(behind) = &mut self.streams.at(key.index()).behind {
            if let RestSource::Frame(frame) = &rest.source {
                self.pins.take(key.index(), Hold::Begun, frame);
            }
            behind.rest = Some(rest);
            behind.full = true;
            behind.slow = true;
        }
        self.await_socket(key);
        false
    }

    fn fall_behind(&mut self, index: u32, behind: Box<Behind>) {
        let stream = self.streams.at(index);
        stream.behind = Some(behind);
        self.behind += 1;
        self.leave_live(index);
    }

    fn await_socket(&mut self, key: StreamKey) {
        if self.streams.at(key.index()).timers[StreamTimer::Progress as usize].is_none() {
            self.effects.push(Effect::AwaitProgress(key));
        }
    }

    // ===== cohorts =====

    fn join(&mut self, subscription: &Arc<Subscription>, framing: Framing, slow: SlowPolicy) -> CohortIndex {
        let with_room = self.with_room.entry((subscription.clone(), framing)).or_default();
        let index = match with_room.last() {
            Some(&index) => index,
            None => {
                let (members, mark, live, policed) = (0, 0, Vec::new(), self.policed);
                let (through, named) = (self.pass.frames_through, Offset::ZERO);
                let (new, cohorts) = (subscription.clone(), &mut self.cohorts);
                let index = cohorts
                    .insert(Cohort { subscription: new, framing, slow, policed, members, mark, through, named, live })
                    .index();
                self.routes.add(subscription, index);
                with_room.push(index);
                index
            }
        };
        let cohort = self.cohorts.at(index);
        cohort.members += 1;
        if cohort.members == self.bounds.cohort_streams {
            with_room.pop();
        }
        index
    }

    /// Whether a stream is behind, if it is open.
    #[cfg(test)]
    pub(crate) fn is_behind(&self, key: StreamKey) -> Option<bool> {
        self.streams.get(key).map(|stream| stream.behind.is_some())
    }

    /// Up to which offset a cohort's live members have been served.
    fn served_through(&mut self, cohort: CohortIndex) -> Offset {
        self.position.max(self.cohorts.at(cohort).through)
    }

    /// What happens to this cohort's streams if they are too slow.
    fn slow(&mut self, cohort: CohortIndex) -> SlowPolicy {
        let cohort = self.cohorts.at(cohort);
        if cohort.policed != self.policed {
            cohort.slow = self.policies.for_subscription(&cohort.subscription);
            cohort.policed = self.policed;
        }
        cohort.slow
    }

    fn part(&mut self, index: CohortIndex) {
        let cohort = self.cohorts.at(index);
        let was_full = cohort.members == self.bounds.cohort_streams;
        cohort.members -= 1;
        if was_full {
            let key = (cohort.subscription.clone(), cohort.framing);
            self.with_room.entry(key).or_default().push(index);
        }
        if cohort.members > 0 {
            return;
        }
        let Some(gone) = self.cohorts.remove(self.cohorts.key_at(index)) else { return };
        let effects = &mut self.effects;
        self.routes.remove(&gone.subscription, index, |topic| effects.push(Effect::Unrouted(topic.clone())));
        if let Entry::Occupied(mut with_room) = self.with_room.entry((gone.subscription, gone.framing)) {
            with_room.get_mut().retain(|other| *other != index);
            if with_room.get().is_empty() {
                with_room.remove();
            }
        }
        if self.with_room.is_empty() {
            self.with_room = HashMap::new();
        }
    }

    fn leave_live(&mut self, index: u32) {
        let stream = self.streams.at(index);
        let (place, cohort) = (stream.place, stream.cohort);
        if place == NOT_LIVE {
            return;
        }
        stream.place = NOT_LIVE;
        let live = &mut self.cohorts.at(cohort).live;
        live.swap_remove(place as usize);
        if let Some(&moved) = live.get(place as usize) {
            self.streams.at(moved).place = place;
        }
    }
}

/// How many bytes a stream behind must take within the write deadline.
fn progress_bytes(deadline_ms: u64) -> u64 {
    PROGRESS_BYTES_A_SECOND.saturating_mul(deadline_ms) / 1000
}

fn count_down(remaining: &mut u32, events: u32) {
    if *remaining != NO_BOUND {
        *remaining -= events;
    }
}

impl Tally {
    fn wrote(&mut self, len: usize) {
        self.bytes += len as u64;
        self.writes += 1;
    }
}

#[cfg(test)]
mod tests;
