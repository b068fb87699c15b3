//! A stream's life: it is opened, ended and closed.

use std::sync::Arc;

use crate::hub::close::CloseReason;
use crate::hub::frame::Chunk;
use crate::hub::gap;
use crate::hub::log::{Resume, Search, Start};
use crate::hub::stream::{Behind, Remaining, STREAM_TIMERS, Socket, Starting, State, Stream, Then, Waits};
use crate::hub::topic::Subscription;

use super::pins::Hold;
use super::{Effect, History, Observer, Opening, Registry, StreamKey, work};

/// How many bytes a client may send after its request before it is cut off.
pub const STRAY_BYTES_MAX: u32 = 64 * 1024;

/// As long as most marks are.
const MARK_BYTES: usize = 64;

impl<S: Socket> Registry<S> {
    /// Opens a stream: writes its response head, and what it missed.
    pub fn open(
        &mut self,
        opening: Opening<'_, S>,
        history: &impl History,
        now_ms: u64,
        observer: &mut impl Observer,
    ) -> StreamKey {
        let Opening { socket, subscribe, slow, start, search, response_head } = opening;
        let head = search.head();
        let framing = subscribe.framing;
        let named = subscribe.subscription.topics().len() + subscribe.subscription.patterns().len();
        self.work += work::ROUTE * named;
        let cohort = self.join(&subscribe.subscription, framing, slow);
        let mut behind = Behind::at(head, head, now_ms);
        behind.asked_through = head;
        let key = self.streams.insert(Stream {
            socket,
            cohort,
            heartbeat: None,
            marked: head.low_half(),
            opened_s: (now_ms / 1000) as u32,
            remaining: Remaining::new(subscribe.max_events),
            stray_bytes: 0,
            timers: [None; STREAM_TIMERS],
            state: State::Behind(behind),
        });
        let due_in_ms = self.heartbeats.interval_ms();
        self.streams.at(key.index()).heartbeat = Some(self.heartbeats.insert(key.index(), due_in_ms));
        self.behind += 1;
        self.tally.opened += 1;

        let mut prelude = Vec::with_capacity(response_head.len() + MARK_BYTES);
        prelude.extend_from_slice(response_head);
        match start {
            Some(start) => self.start(key, start, &subscribe.resume, history, &mut prelude),
            None => {
                let starting = Starting { search, resume: subscribe.resume.clone() };
                if let Some(behind) = self.streams.at(key.index()).behind_mut() {
                    behind.starting = Some(Box::new(starting));
                }
            }
        }
        self.serve(key, prelude, history, now_ms, observer);
        key
    }

    /// Looks for where a stream starts, a part of a turn's work.
    pub fn search(
        &mut self,
        search: &mut Search,
        resume: &Resume,
        subscription: &Subscription,
        history: &impl History,
    ) -> Option<Start> {
        let mut effort = self.effort();
        let start = history.search(search, resume, subscription, &mut effort);
        self.work += effort.spent();
        start
    }

    /// It is known where a stream starts, and what that means to it.
    pub(super) fn start(
        &mut self,
        key: StreamKey,
        start: Start,
        resume: &Resume,
        history: &impl History,
        prelude: &mut Vec<u8>,
    ) {
        let stream = self.streams.at(key.index());
        stream.marked = start.after.low_half();
        let cohort = self.cohorts.at(stream.cohort);
        let (framing, subscription) = (cohort.framing, cohort.subscription.clone());
        if let Some(behind) = stream.behind_mut() {
            (behind.cursor, behind.archive) = (start.after, start.archive);
            #[cfg(test)]
            {
                let head = behind.opened_at.max(start.after);
                stream.socket.starts(start, head);
            }
        }
        if let Some(reason) = start.gap {
            let asked_for = if let Resume::After(id) = resume { Some(&**id) } else { None };
            let to = history.id(start.after);
            let gap = gap::gap(asked_for, to, reason, Some(to));
            prelude.extend_from_slice(gap.wire(framing));
            self.tally.gaps[reason as usize] += 1;
        } else if start.archive.is_none() && self.marks_at_start(resume, &subscription, || history.id(start.after)) {
            prelude.extend_from_slice(self.cursor_marks.at(start.after, history).wire(framing));
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
        self.work += work::WRITE;
        match &mut stream.state {
            State::Live { .. } => {
                let (head, cohort) = (history.head(), stream.cohort);
                let position = self.served_through(cohort);
                if head <= position {
                    return self.finish(key, reason, farewell, now_ms);
                }
                let mut behind = Behind::at(position, position, now_ms);
                behind.then = Then::End { reason, farewell: farewell.cloned(), through: Some(head) };
                self.select_newer(key, &mut behind, cohort, history);
                self.fall_behind(key.index(), behind);
                self.serve(key, Vec::new(), history, now_ms, observer);
                self.cut_selection(key);
            }
            State::Behind(behind) if matches!(behind.then, Then::Live) => {
                // Only a gateway that ends owes its streams what is left: any other end can be resumed.
                let through = (reason == CloseReason::Drained).then(|| history.head());
                behind.then = Then::End { reason, farewell: farewell.cloned(), through };
                if matches!(behind.waits, Waits::Shard | Waits::Page) {
                    behind.waits = Waits::Turn;
                    self.ready.push_back(key);
                }
            }
            State::Behind(_) => {}
        }
    }

    /// Selects for a live stream what a pass would bring it: that may be more than is kept for replay.
    fn select_newer(&mut self, key: StreamKey, behind: &mut Behind, cohort: u32, history: &impl History) {
        let mut frames = std::mem::take(&mut self.read);
        frames.clear();
        if let Some(mut through) = history.tail(behind.cursor, self.bounds.frames_a_lock, &mut frames) {
            let mut effort = self.effort();
            let subscription = &self.cohorts.at(cohort).subscription;
            frames.retain(|frame| {
                if frame.offset() > through {
                    return false;
                }
                let is_wanted = subscription.takes(frame.topics(), frame.private(), &mut effort);
                if effort.is_spent() {
                    through = frame.offset();
                }
                is_wanted
            });
            self.work += effort.spent();
            self.work += work::FRAME * frames.len();
            frames.iter().for_each(|frame| self.pins.take(key.index(), Hold::Chosen, frame));
            behind.selection.extend(frames.drain(..));
            behind.selected_through = through;
            if behind.selection.is_empty() {
                behind.cursor = through;
            }
        }
        self.read = frames;
    }

    /// Closes a stream at once.
    pub fn close(&mut self, key: StreamKey, reason: CloseReason) {
        let Some(stream) = self.streams.remove(key) else { return };
        match &stream.state {
            State::Live { slot, .. } => self.leave_live(stream.cohort, *slot),
            State::Behind(behind) => {
                self.behind -= 1;
                self.pins.release_all(key.index(), behind);
            }
        }
        if let Some(position) = stream.heartbeat
            && let Some(moved) = self.heartbeats.remove(position)
        {
            self.streams.at(moved).heartbeat = Some(position);
        }
        self.part(stream.cohort);
        self.tally.closed[reason as usize] += 1;
        self.effects.push(Effect::Closed { key, socket: stream.socket, reason, timers: stream.timers });
    }

    /// A stream's socket can take bytes again.
    pub fn writable(&mut self, key: StreamKey) {
        let Some(behind) = self.streams.get_mut(key).and_then(Stream::behind_mut) else { return };
        if behind.waits == Waits::Socket {
            behind.waits = Waits::Turn;
            self.ready.push_back(key);
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
}
