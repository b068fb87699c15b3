//! Serving streams that are behind: each finishes what was begun, then reads the log from its own
//! cursor until it has caught up. Replay is this code too.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::hub::archive::Past;
use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::effort::Effort;
use crate::hub::frame::{Frame, Framing};
use crate::hub::gap::{self, GapReason};
use crate::hub::id::EventId;
use crate::hub::log::{Read, Window};
use crate::hub::offset::Offset;
use crate::hub::policy::SlowPolicy;
use crate::hub::stream::{Begun, Behind, Socket, Starting, State, Stream, Then, Unsent, Waits};
use crate::hub::topic::Subscription;

use super::conflation::{Choice, choose};
use super::pins::Hold;
use super::write::Written;
use super::{History, Observer, Registry, StreamKey, work};

/// A stream that is being served.
pub(super) struct Serving<'a, H, O> {
    pub(super) key: StreamKey,
    pub(super) subscription: Arc<Subscription>,
    pub(super) framing: Framing,
    pub(super) slow: SlowPolicy,
    /// Where its cohort's live members stand.
    position: Offset,
    /// What goes before what is read.
    pub(super) prelude: Vec<u8>,
    reads: usize,
    pub(super) history: &'a H,
    pub(super) now_ms: u64,
    observer: &'a mut O,
}

impl<H: History, O> Serving<'_, H, O> {
    /// Puts a gap before what is read.
    fn say_gap(&mut self, from: Offset, to: Offset, reason: GapReason, resumes_after: Option<Offset>) {
        let id = |offset| self.history.id(offset);
        // Of another epoch's ids this one knows nothing.
        let from = (reason != GapReason::ForeignEpoch).then(|| id(from));
        let gap = gap::gap(from.as_ref().map(EventId::as_str), id(to), reason, resumes_after.map(id));
        self.prelude.extend_from_slice(gap.wire(self.framing));
    }
}

/// Whether to go on with a stream.
pub(super) type Step<T = ()> = ControlFlow<(), T>;
pub(super) const GO_ON: Step = ControlFlow::Continue(());
pub(super) const STOP: Step = ControlFlow::Break(());

impl<S: Socket> Registry<S> {
    /// Serves up to `turns` streams that are behind and whose sockets can take bytes.
    pub fn serve_ready(&mut self, turns: usize, history: &impl History, now_ms: u64, observer: &mut impl Observer) {
        for turn in 0..turns {
            // One at least, however much new streams took.
            if turn > 0 && self.is_spent() {
                return;
            }
            let Some(key) = self.ready.pop_front() else {
                // A storm of resumes must not hold its memory for ever.
                self.ready.shrink_to(1024);
                return;
            };
            self.serve(key, Vec::new(), history, now_ms, observer);
        }
    }

    /// Serves a stream that is behind, unless it waits for its socket. `prelude` goes before what is read.
    pub(super) fn serve(
        &mut self,
        key: StreamKey,
        prelude: Vec<u8>,
        history: &impl History,
        now_ms: u64,
        observer: &mut impl Observer,
    ) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let index = stream.cohort;
        let Some(behind) = stream.behind_mut().filter(|behind| behind.waits != Waits::Socket) else { return };
        behind.waits = Waits::Turn;
        let (slow, position) = (self.slow(index), self.served_through(index));
        let cohort = self.cohorts.at(index);
        let (framing, subscription) = (cohort.framing, cohort.subscription.clone());
        let serving =
            &mut Serving { key, subscription, framing, slow, position, prelude, reads: 0, history, now_ms, observer };
        while self.step(serving).is_continue() {}
    }

    /// Finishes what a stream has begun, or ends it, or sends it what comes next.
    fn step<H: History, O: Observer>(&mut self, serving: &mut Serving<'_, H, O>) -> Step {
        let Some(behind) = self.streams.get_mut(serving.key).and_then(Stream::behind_mut) else { return STOP };
        if let Some(unsent) = behind.unsent.take() {
            return self.finish_begun(unsent, serving);
        }
        let goal = self.goal(serving)?;
        self.find_start(serving)?;
        self.is_its_turn(goal, serving)?;
        let mut frames = std::mem::take(&mut self.read);
        frames.clear();
        let step = self.send_next(goal, &mut frames, serving);
        frames.clear();
        self.read = frames;
        step
    }

    fn finish_begun<H, O: Observer>(&mut self, unsent: Unsent, serving: &mut Serving<'_, H, O>) -> Step {
        let index = serving.key.index();
        let mut delivered = None;
        if let (Begun::Frame(frame), Some(behind)) = (&unsent.begun, self.streams.at(index).behind()) {
            self.pins.release(index, Hold::Begun, frame);
            delivered = Some((frame.published_ns(), frame.offset() > behind.asked_through));
        }
        if !self.write_or_hold(serving.key, unsent, serving.now_ms) {
            return STOP;
        }
        if let Some((published_ns, is_live)) = delivered {
            self.tally.deliveries += 1;
            if is_live {
                serving.observer.delivered(&[published_ns], 1);
            }
        }
        GO_ON
    }

    /// Up to where a stream is to be served that has nothing unsent; if it is to end here, it ends.
    fn goal<H, O>(&mut self, serving: &Serving<'_, H, O>) -> Step<Offset> {
        let (key, now_ms) = (serving.key, serving.now_ms);
        let stream = self.streams.at(key.index());
        let has_all = stream.remaining.is_none();
        let Some(behind) = stream.behind() else { return ControlFlow::Break(()) };
        match &behind.then {
            &Then::Close(reason) => self.close(key, reason),
            _ if has_all => self.finish(key, CloseReason::MaxEvents, None, now_ms),
            Then::End { reason, farewell, through: None } => {
                let (reason, farewell) = (*reason, farewell.clone());
                self.finish(key, reason, farewell.as_ref(), now_ms);
            }
            Then::End { through: Some(through), .. } => return Step::Continue(serving.position.max(*through)),
            Then::Live => return Step::Continue(serving.position),
        }
        ControlFlow::Break(())
    }

    /// Looks on for where a stream starts, if that is not known. Its client has the response head meanwhile.
    fn find_start<H: History, O>(&mut self, serving: &mut Serving<'_, H, O>) -> Step {
        let (key, history) = (serving.key, serving.history);
        let Some(behind) = self.streams.at(key.index()).behind_mut() else { return STOP };
        let Some(mut starting) = behind.starting.take() else { return GO_ON };
        if serving.prelude.is_empty() {
            let Starting { search, resume } = &mut *starting;
            if let Some(start) = self.search(search, resume, &serving.subscription, history) {
                self.start(key, start, resume, history, &mut serving.prelude);
                return GO_ON;
            }
        }
        if let Some(behind) = self.streams.at(key.index()).behind_mut() {
            behind.starting = Some(starting);
        }
        let head = std::mem::take(&mut serving.prelude);
        if head.is_empty() || self.write_or_hold(key, Unsent::all_of(Begun::Bytes(head.into())), serving.now_ms) {
            self.ready.push_back(key);
        }
        STOP
    }

    /// Whether a stream gets more now: it may have caught up, or it is others' turn.
    fn is_its_turn<H, O>(&mut self, goal: Offset, serving: &mut Serving<'_, H, O>) -> Step {
        if serving.prelude.is_empty() {
            let Some(behind) = self.streams.at(serving.key.index()).behind() else { return STOP };
            if behind.archive.is_none() && behind.cursor >= goal {
                self.caught_up(serving.key, serving.position, serving.now_ms);
                return STOP;
            }
            if serving.reads >= self.bounds.reads_a_turn || serving.reads > 0 && self.is_spent() {
                self.ready.push_back(serving.key);
                return STOP;
            }
        }
        serving.reads += 1;
        GO_ON
    }

    /// Reads what comes next for a stream, and sends it.
    pub(super) fn send_next<H: History, O: Observer>(
        &mut self,
        goal: Offset,
        frames: &mut Vec<Arc<Frame>>,
        serving: &mut Serving<'_, H, O>,
    ) -> Step {
        let left = self.effort();
        let Some(behind) = self.streams.at(serving.key.index()).behind() else { return STOP };
        if let Some(past) = behind.archive {
            return self.send_archived(past, goal, frames, serving);
        }
        let (cursor, conflates) = (behind.cursor, serving.slow == SlowPolicy::Conflate && behind.slow);
        let has_selection = !behind.selection.is_empty();
        // Conflation must know much at once.
        let mut effort = if conflates { Effort::new(self.bounds.work_a_turn) } else { left };
        let Choice { read, conflated } = find(behind, conflates, goal, &self.bounds, frames, &mut effort, serving);
        self.work += work::WRITE + work::FRAME * frames.len() + effort.spent();
        let mut through = match read {
            Read::Through(through) => through,
            Read::Lost { kept_through, live_through } => {
                return self.go_on_after_loss(goal, kept_through, live_through, serving);
            }
            Read::Broken { at, reason } => {
                if let Some(behind) = self.streams.at(serving.key.index()).behind_mut() {
                    behind.cursor = at;
                }
                serving.say_gap(cursor, at, reason, Some(at));
                self.tally.gaps[reason as usize] += 1;
                return GO_ON;
            }
        };
        if conflates && !has_selection {
            if conflated {
                // The client's cursor stays: should the stream break now, it resumes in full.
                serving.say_gap(cursor, through, GapReason::Conflated, None);
                self.tally.gaps[GapReason::Conflated as usize] += 1;
            }
            self.select(serving.key, frames, through);
            serving.reads = self.bounds.reads_a_turn;
        }
        self.take_selected(serving, frames, &mut through);
        let step = self.write_read(frames, Position::Log(through), serving);
        self.release_selected(serving.key);
        serving.prelude.clear();
        step
    }

    /// Events of a stream have left the log before it had them: it is closed, or goes on with a gap.
    pub(super) fn go_on_after_loss<H: History, O>(
        &mut self,
        goal: Offset,
        kept_through: Offset,
        live_through: Offset,
        serving: &mut Serving<'_, H, O>,
    ) -> Step {
        let Some(behind) = self.streams.at(serving.key.index()).behind_mut() else { return STOP };
        let cursor = behind.cursor;
        let after = match serving.slow {
            SlowPolicy::Disconnect => {
                // Who was lapped before it was opened still gets its response head: without
                // one, a proxy would make it a 502, and a browser gives up on that for ever.
                behind.then = Then::Close(CloseReason::Lagged);
                let prelude = std::mem::take(&mut serving.prelude);
                let is_out = prelude.is_empty()
                    || self.write_or_hold(serving.key, Unsent::all_of(Begun::Bytes(prelude.into())), serving.now_ms);
                return if is_out { GO_ON } else { STOP };
            }
            SlowPolicy::Conflate => kept_through.max(cursor),
            SlowPolicy::Skip => goal,
        };
        behind.cursor = after;
        behind.opened_at = behind.opened_at.max(live_through);
        // What was live only may be missing for longer, but moves no cursor.
        serving.say_gap(cursor, after.max(live_through), GapReason::Lagged, Some(after));
        self.tally.gaps[GapReason::Lagged as usize] += 1;
        GO_ON
    }

    /// Keeps what was chosen for a stream, which is sent from there.
    fn select(&mut self, key: StreamKey, frames: &mut Vec<Arc<Frame>>, through: Offset) {
        frames.iter().for_each(|frame| self.pins.take(key.index(), Hold::Chosen, frame));
        if let Some(behind) = self.streams.at(key.index()).behind_mut() {
            behind.selection.extend(frames.drain(..));
            behind.selected_through = through;
        }
    }

    /// Takes the next frames from what was chosen for a stream, if anything was; they are all up to `through`.
    fn take_selected<H, O>(&mut self, serving: &Serving<'_, H, O>, frames: &mut Vec<Arc<Frame>>, through: &mut Offset) {
        let Some(behind) = self.streams.at(serving.key.index()).behind() else { return };
        let mut bytes = 0;
        let next = behind.selection.iter().take_while(|frame| {
            let fits = bytes < self.bounds.read_bytes;
            bytes += frame.wire(serving.framing).len();
            fits
        });
        frames.extend(next.cloned());
        if let (true, Some(last)) = (frames.len() < behind.selection.len(), frames.last()) {
            *through = last.offset();
        }
    }

    /// What a stream has got of what was chosen for it is no longer held.
    fn release_selected(&mut self, key: StreamKey) {
        let Some(behind) = self.streams.get_mut(key).and_then(Stream::behind_mut) else { return };
        let taken = behind.selection.partition_point(|frame| frame.offset() <= behind.cursor);
        for frame in behind.selection.drain(..taken) {
            self.pins.release(key.index(), Hold::Chosen, &frame);
        }
        if behind.selection.is_empty() {
            behind.selection = VecDeque::new();
        }
    }

    /// Writes the prelude and what was read, which is all up to `through`, to a stream that is behind.
    pub(super) fn write_read<H, O: Observer>(
        &mut self,
        frames: &[Arc<Frame>],
        through: Position,
        serving: &mut Serving<'_, H, O>,
    ) -> Step {
        let key = serving.key;
        let stream = self.streams.at(key.index());
        let Some(asked_through) = stream.behind().map(|behind| behind.asked_through) else { return STOP };
        let mut run = std::mem::take(&mut self.run);
        run.start(&serving.prelude);
        let mut taken = 0;
        let most = stream.remaining.of(frames.len() as u32) as usize;
        // At least one, however long the prelude is.
        while taken < most && (taken == 0 || run.len() < self.bounds.read_bytes) {
            run.add(&frames[taken], serving.framing);
            taken += 1;
        }
        let through = if taken == frames.len() { through } else { through.at(&frames[taken - 1]) };
        let written = if run.len() == 0 {
            Written::All
        } else {
            stream.write_run(&run, taken as u32, serving.now_ms, &mut self.tally)
        };
        let (whole, cursor, unsent) = match &written {
            Written::All => (taken, Some(through), None),
            Written::Part(cut) => {
                let begun = cut.frames_begun.checked_sub(1).map(|last| &frames[last]);
                let unsent = run.unsent(cut, || frames[cut.frames_begun - 1].clone());
                (cut.frames_whole(), begun.map(|begun| through.at(begun)), unsent)
            }
            Written::Failed(_) => (0, None, None),
        };
        if let (Some(cursor), Some(behind)) = (cursor, stream.behind_mut()) {
            match cursor {
                Position::Log(cursor) => behind.cursor = cursor,
                Position::Archive(number) => behind.archive = Some(Past::After(number)),
            }
        }
        // What was published before the stream was opened is replay, and its age no latency.
        let replayed = frames.partition_point(|frame| frame.offset() <= asked_through).min(whole);
        if whole > replayed {
            serving.observer.delivered(&run.published_ns[replayed..whole], 1);
        }
        // A run of the pass is small; one of a replay must not hold its memory for ever.
        run.shrink(self.bounds.run_bytes);
        self.run = run;
        match written {
            Written::All => return GO_ON,
            Written::Part(_) => self.hold(key, unsent),
            Written::Failed(reason) => self.close(key, reason),
        }
        STOP
    }

    /// A stream that was behind has everything up to `position`, where its cohort's live members stand.
    fn caught_up(&mut self, key: StreamKey, position: Offset, now_ms: u64) {
        let Some(behind) = self.streams.at(key.index()).behind_mut() else { return };
        match std::mem::replace(&mut behind.then, Then::Live) {
            Then::End { reason, farewell, .. } => return self.finish(key, reason, farewell.as_ref(), now_ms),
            Then::Close(reason) => return self.close(key, reason),
            Then::Live => {}
        }
        // The pass that follows has live-only events of before it was opened: those aren't its own.
        if behind.cursor.max(behind.opened_at) > position || self.pass.is_overrun() {
            behind.waits = Waits::Shard;
            return self.ahead.push(key);
        }
        if let Some(chunk) = behind.timed.take()
            && !self.write_or_hold(key, Unsent::all_of(Begun::Chunk(chunk)), now_ms)
        {
            return;
        }
        let stream = self.streams.at(key.index());
        let live = &mut self.cohorts.at(stream.cohort).live;
        stream.state = State::Live { slot: live.len() as u32, written_ms: stream.written_ms() };
        live.push(key.index());
        self.behind -= 1;
    }
}

/// How far a stream has got.
#[derive(Clone, Copy)]
pub(super) enum Position {
    /// In the log.
    Log(Offset),
    /// In what has left it.
    Archive(u64),
}

impl Position {
    /// The same after this frame.
    fn at(self, frame: &Frame) -> Position {
        match self {
            Position::Log(_) => Position::Log(frame.offset()),
            Position::Archive(_) => Position::Archive(frame.number()),
        }
    }
}

/// What comes next for a stream that is behind: of what was chosen for it, or from the log.
fn find<H: History, O>(
    behind: &Behind,
    conflates: bool,
    goal: Offset,
    bounds: &Bounds,
    frames: &mut Vec<Arc<Frame>>,
    effort: &mut Effort,
    serving: &Serving<'_, H, O>,
) -> Choice {
    let &Behind { cursor, opened_at, asked_through, selected_through, .. } = behind;
    let window = Window { subscription: &serving.subscription, after: cursor, through: goal, opened_at };
    let read = if !behind.selection.is_empty() {
        Read::Through(selected_through)
    } else if cursor >= goal {
        Read::Through(cursor)
    } else if conflates {
        return choose(serving.history, window, bounds, asked_through, frames, effort);
    } else {
        serving.history.read(&window, bounds.read_bytes, frames, effort)
    };
    Choice { read, conflated: false }
}
