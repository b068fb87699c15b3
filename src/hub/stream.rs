//! A stream's record, and the states it can be in.
//!
//! ```text
//!            open                      socket full
//!   ──▶ Behind ───────────▶ Live ──────────────────▶ Behind
//!         │  ▲  caught up    │                         │
//!         │  └───────────────┼─────────────────────────┘ socket writable: reads on from its cursor
//!         ▼                  ▼
//!       closed             closed
//! ```
//! A live stream has no queue, no task and no cursor: it stands where its shard stands. One that is
//! behind has a cursor into the log. A new stream starts behind, so replay is the same code.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;

use super::archive::Past;
use super::close::CloseReason;
use super::frame::{Chunk, Frame, Framing};
use super::heartbeats::HeartbeatPosition;
#[cfg(test)]
use super::log::Start;
use super::log::{Resume, Search};
use super::offset::{LowHalf, Offset};
use super::wheel::TimerKey;

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The socket took this many bytes, at least one. If it took fewer than it was given, it will
    /// report when it can take more.
    Wrote(usize),
    /// It took none, and will report when it can take some.
    Full,
    /// The client is gone.
    Gone,
    /// The write failed for another reason.
    Failed,
}

/// Where a stream's bytes go.
pub trait Socket {
    /// Writes what fits, without waiting.
    fn send(&mut self, bytes: &[u8]) -> Sent;

    /// Its stream starts there, and gets what is live only after that head.
    #[cfg(test)]
    fn starts(&mut self, _: Start, _: Offset) {}
}

/// The timers that may be armed for one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamTimer {
    /// It makes no progress.
    Progress,
    /// It has lasted as long as it may.
    End,
    /// An event of its own is due.
    TimedEvent,
}

/// How many kinds of [`StreamTimer`] there are.
pub const STREAM_TIMERS: usize = 3;

/// The record of one stream.
pub(super) struct Stream<S> {
    pub(super) socket: S,
    pub(super) cohort: u32,
    pub(super) heartbeat: Option<HeartbeatPosition>,
    /// The offset of the id that it was opened or marked with, if it has had no event with one since.
    pub(super) marked: LowHalf,
    /// When it was opened, in whole seconds: that much fits where there was padding.
    pub(super) opened_s: u32,
    pub(super) remaining: Remaining,
    /// How many bytes the client has sent after its request.
    pub(super) stray_bytes: u32,
    pub(super) timers: [Option<TimerKey>; STREAM_TIMERS],
    pub(super) state: State,
}

// A stream's cost is the product's promise: whoever adds a field sees it here. A socket is a
// descriptor, or where there is more than that.
const _: () = assert!(size_of::<Stream<[u32; 2]>>() <= 72);

/// Whether a stream stands where its shard does.
pub(super) enum State {
    Live {
        /// Its slot among the live members of its cohort.
        slot: u32,
        /// When it was last written to.
        written_ms: u64,
    },
    Behind(Box<Behind>),
}

impl<S> Stream<S> {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    pub(super) fn behind(&self) -> Option<&Behind> {
        if let State::Behind(behind) = &self.state { Some(behind) } else { None }
    }

    pub(super) fn behind_mut(&mut self) -> Option<&mut Behind> {
        if let State::Behind(behind) = &mut self.state { Some(behind) } else { None }
    }

    pub(super) fn written_ms(&self) -> u64 {
        match &self.state {
            State::Live { written_ms, .. } => *written_ms,
            State::Behind(behind) => behind.written_ms,
        }
    }
}

/// How many events a stream may still get.
#[derive(Clone, Copy)]
pub(super) struct Remaining(u32);

impl Remaining {
    const NO_BOUND: u32 = u32::MAX;

    pub(super) fn new(max: Option<NonZero<u32>>) -> Remaining {
        Remaining(max.map_or(Remaining::NO_BOUND, |max| max.get().min(Remaining::NO_BOUND - 1)))
    }

    /// How many of so many it may get.
    pub(super) fn of(self, events: u32) -> u32 {
        self.0.min(events)
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(super) fn count_down(&mut self, events: u32) {
        if self.0 != Remaining::NO_BOUND {
            self.0 -= events;
        }
    }
}

/// A stream that is not live.
pub(super) struct Behind {
    /// It has everything up to this offset, but for what is unsent.
    pub(super) cursor: Offset,
    /// It has yet to come to the log.
    pub(super) archive: Option<Past>,
    /// It gets live-only events after this offset only: where the log's head was when it was opened.
    pub(super) opened_at: Offset,
    /// Up to which offset it asked for replay: that is never thinned out, and its age is no latency.
    pub(super) asked_through: Offset,
    /// What its socket has not taken yet of bytes that must be finished first: for as long as it waits for its socket,
    /// and then for its turn.
    pub(super) unsent: Option<Unsent>,
    pub(super) waits: Waits,
    /// It fell behind because its socket was full, not because it was just opened.
    pub(super) slow: bool,
    /// When it was last written to.
    pub(super) written_ms: u64,
    /// Since when its socket has taken no byte.
    pub(super) progress_ms: u64,
    /// How many bytes it has taken since a time: that is its progress.
    pub(super) taken: u64,
    pub(super) span_ms: u64,
    pub(super) then: Then,
    /// What conflation has chosen of the events it missed and is still to be sent, and the offset up to
    /// which it has chosen: made once, however slowly it is taken.
    pub(super) selection: VecDeque<Arc<Frame>>,
    pub(super) selected_through: Offset,
    /// The last of its timed events that fell due meanwhile: one is enough.
    pub(super) timed: Option<Arc<Chunk>>,
    /// It was opened, and where it starts is still looked for.
    pub(super) starting: Option<Box<Starting>>,
}

/// What is needed to find where a stream starts.
pub(super) struct Starting {
    pub(super) search: Search,
    pub(super) resume: Resume,
}

/// What a stream that is behind waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Its turn: it is among those that are ready, or is being served.
    Turn,
    /// Its socket, which is full and will report.
    Socket,
    /// Its shard, which is not as far as it is: until then there is nothing for it.
    Shard,
    /// A page of what has left the log.
    Page,
}

impl Behind {
    pub(super) fn at(cursor: Offset, opened_at: Offset, now_ms: u64) -> Box<Behind> {
        Box::new(Behind {
            cursor,
            archive: None,
            opened_at,
            asked_through: Offset::ZERO,
            unsent: None,
            waits: Waits::Turn,
            slow: false,
            written_ms: now_ms,
            progress_ms: now_ms,
            taken: 0,
            span_ms: now_ms,
            then: Then::Live,
            selection: VecDeque::new(),
            selected_through: Offset::ZERO,
            timed: None,
            starting: None,
        })
    }

    /// Its socket took bytes.
    pub(super) fn takes(&mut self, bytes: usize, now_ms: u64) {
        self.written_ms = now_ms;
        self.progress_ms = now_ms;
        self.taken += bytes as u64;
    }
}

/// What follows when a stream that is behind has been served.
pub(super) enum Then {
    /// It is live again.
    Live,
    /// It ends properly, with the farewell before the end.
    End {
        reason: CloseReason,
        farewell: Option<Arc<Chunk>>,
        /// When it has everything up to this offset, and what others of its cohort have; `None` for at once.
        through: Option<Offset>,
    },
    /// Its end is on the way: nothing more is read, and when nothing is unsent it is closed.
    Close(CloseReason),
}

/// Bytes that were begun: frames are never cut.
pub(super) struct Unsent {
    pub(super) begun: Begun,
    /// How many of its bytes were sent.
    pub(super) offset: usize,
}

/// What was begun.
pub(super) enum Begun {
    /// A frame of the log, held until it is out even if it has left the log.
    Frame(Arc<Frame>),
    /// An event of the stream's own.
    Chunk(Arc<Chunk>),
    /// A response head, or an end.
    Bytes(Box<[u8]>),
}

impl Unsent {
    /// Something of which nothing was sent yet.
    pub(super) fn all_of(begun: Begun) -> Unsent {
        Unsent { begun, offset: 0 }
    }

    pub(super) fn bytes(&self, framing: Framing) -> &[u8] {
        let whole = match &self.begun {
            Begun::Frame(frame) => frame.wire(framing),
            Begun::Chunk(chunk) => chunk.wire(framing),
            Begun::Bytes(bytes) => bytes,
        };
        &whole[self.offset..]
    }
}
