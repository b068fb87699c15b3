//! What comes with time: heartbeats, timed events, and deadlines.

use std::sync::Arc;

use crate::hub::close::CloseReason;
use crate::hub::frame::Chunk;
use crate::hub::stream::{Begun, Socket, State, Stream, StreamTimer, Unsent, Waits};
use crate::hub::wheel::TimerKey;

use super::{History, Registry, StreamKey};

/// What a stream that is behind must take to be worth its keep. A socket takes bytes in steps, of some kilobytes each: a
/// client that reads four times as fast as this, or a line that carries as much, is never taken for one that does not.
const PROGRESS_BYTES_A_SECOND: u64 = 256;

impl<S: Socket> Registry<S> {
    /// How often [`Registry::advance_heartbeats`] wants to be called, in milliseconds.
    pub fn heartbeat_step_ms(&self) -> u64 {
        self.heartbeats.slot_ms()
    }

    /// Changes the heartbeat's interval, for all streams.
    pub fn set_heartbeat(&mut self, heartbeat_ms: u64) {
        self.heartbeats.set_interval(heartbeat_ms);
    }

    /// Moves the heartbeats on by one slot: streams that have not been written to for an interval get one, in the calls
    /// of [`Registry::send_heartbeats`].
    pub fn advance_heartbeats(&mut self, history: &impl History) {
        self.cursor_marks.look(history);
        let waiting = self.due.len();
        self.heartbeats.advance(&mut self.due);
        for &index in &self.due[waiting..] {
            self.streams.at(index).heartbeat = None;
        }
    }

    /// Whether heartbeats wait to be sent.
    pub fn has_due_heartbeats(&self) -> bool {
        !self.due.is_empty()
    }

    /// Sends some of the heartbeats that are due, or a mark instead of one.
    pub fn send_heartbeats(&mut self, history: &impl History, now_ms: u64) {
        let (interval_ms, slot_ms) = (self.heartbeats.interval_ms(), self.heartbeats.slot_ms());
        for _ in 0..self.bounds.heartbeats_a_turn {
            let Some(index) = self.due.pop() else { break };
            // It may have gone since, and another have come to its slot, which is due at another time.
            let Some(key) = self.streams.key_of(index) else { continue };
            let stream = self.streams.at(index);
            if stream.heartbeat.is_some() {
                continue;
            }
            let mut due_in_ms = interval_ms;
            // One that waits for what has left the log may wait for long.
            let written_ms = match &stream.state {
                State::Live { written_ms, .. } => Some(*written_ms),
                State::Behind(behind) => (behind.waits == Waits::Page).then_some(behind.written_ms),
            };
            if let Some(written_ms) = written_ms {
                // One that was written to meanwhile is skipped. The early part of the interval is
                // there to spread heartbeats, so one that comes up within it is not too early.
                due_in_ms = (written_ms + interval_ms).saturating_sub(now_ms);
                let is_due = due_in_ms <= self.heartbeats.early_ms() + slot_ms;
                let mark = if stream.is_live() { self.mark_due(index, history) } else { None };
                if let Some(chunk) = mark.or_else(|| is_due.then(|| self.heartbeat_chunk.clone())) {
                    self.write_or_hold(key, Unsent::all_of(Begun::Chunk(chunk)), now_ms);
                    due_in_ms = interval_ms;
                }
            }
            if let Some(stream) = self.streams.get_mut(key) {
                stream.heartbeat = Some(self.heartbeats.insert(index, due_in_ms));
            }
        }
        if self.due.is_empty() {
            self.due.shrink_to(self.bounds.heartbeats_a_turn);
        }
    }

    /// Sends a stream a timed event of its own. If it is behind, the event follows when it has caught up, unless the
    /// next has fallen due by then.
    pub fn send_timed(&mut self, key: StreamKey, chunk: &Arc<Chunk>, now_ms: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match &mut stream.state {
            State::Live { .. } => {
                self.write_or_hold(key, Unsent::all_of(Begun::Chunk(chunk.clone())), now_ms);
            }
            State::Behind(behind) => behind.timed = Some(chunk.clone()),
        }
    }

    /// The progress deadline of a stream has come: a stream whose socket is full is closed if it took no byte for so
    /// long, or fewer than it must. If it must be waited for again, says until when.
    pub fn progress_due(&mut self, key: StreamKey, deadline_ms: u64, now_ms: u64) -> Option<u64> {
        let stream = self.streams.get_mut(key)?;
        stream.timers[StreamTimer::Progress as usize] = None;
        let behind = stream.behind_mut().filter(|behind| behind.waits == Waits::Socket)?;
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

    /// Writes to a stream whose client may be gone, unless bytes are on their way already.
    pub fn probe(&mut self, key: StreamKey, now_ms: u64) {
        if self.streams.get(key).is_some_and(Stream::is_live) {
            let heartbeat = Begun::Chunk(self.heartbeat_chunk.clone());
            self.write_or_hold(key, Unsent::all_of(heartbeat), now_ms);
        }
    }

    /// Remembers a timer of a stream, for cancelling it with the stream. Says whether the stream is
    /// still there.
    pub fn set_timer(&mut self, key: StreamKey, kind: StreamTimer, timer: Option<TimerKey>) -> bool {
        let Some(stream) = self.streams.get_mut(key) else { return false };
        stream.timers[kind as usize] = timer;
        true
    }
}

/// How many bytes a stream behind must take within the write deadline.
fn progress_bytes(deadline_ms: u64) -> u64 {
    PROGRESS_BYTES_A_SECOND.saturating_mul(deadline_ms) / 1000
}
