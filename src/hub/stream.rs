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
use std::sync::Arc;

use super::beats::BeatPlace;
use super::close::CloseReason;
use super::frame::{Chunk, Frame, Framing};
use super::offset::Offset;
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
    /// Its place among the live members of its cohort, or [`NOT_LIVE`].
    pub(super) place: u32,
    pub(super) beat_place: Option<BeatPlace>,
    /// The offset of the id that it was opened or marked with, if it has had no event with one since: the low half,
    /// as large as there is room for.
    pub(super) marked: u32,
    /// When it was last written to.
    pub(super) written_ms: u64,
    /// When it was opened, in whole seconds: that much fits where there was padding.
    pub(super) opened_s: u32,
    /// How many events it may still get; [`NO_BOUND`] for no bound.
    pub(super) remaining: u32,
    /// How many bytes the client has sent after its request.
    pub(super) stray_bytes: u32,
    pub(super) timers: [Option<TimerKey>; STREAM_TIMERS],
    /// `None` for a live stream.
    pub(super) behind: Option<Box<Behind>>,
}

/// The place of a stream that is not live.
pub(super) const NOT_LIVE: u32 = u32::MAX;
/// The remaining events of a stream without a bound.
pub(super) const NO_BOUND: u32 = u32::MAX;

// A stream's cost is the product's promise: whoever adds a field sees it here. A socket is a
// descriptor, as large as an `i32`.
const _: () = assert!(size_of::<Stream<i32>>() <= 72);

/// A stream that is not live.
pub(super) struct Behind {
    /// It has everything up to this offset, but for what is in `rest`.
    pub(super) cursor: Offset,
    /// It gets live-only events after this offset only: where the log's head was when it was opened.
    pub(super) opened_at: Offset,
    /// Up to which offset it asked for replay: that is never thinned out, and its age is no latency.
    pub(super) asked_through: Offset,
    /// What its socket has not taken yet of bytes that must be finished first.
    pub(super) rest: Option<Rest>,
    /// Its socket is full: it goes on when the socket reports.
    pub(super) full: bool,
    /// It fell behind because its socket was full, not because it was just opened.
    pub(super) slow: bool,
    /// When its socket last took a byte.
    pub(super) progress_ms: u64,
    /// How many bytes it has taken since a time: that is its progress.
    pub(super) taken: u64,
    pub(super) span_ms: u64,
    pub(super) then: Then,
    /// What conflation has chosen of the events it missed and is still to be sent, and the offset up to
    /// which it has chosen: made once, however slowly it is taken.
    pub(super) selection: VecDeque<Arc<Frame>>,
    pub(super) selected_through: Offset,
    /// An event of its own that fell due meanwhile. One is enough: beats that are missed merge.
    pub(super) beat: Option<Arc<Chunk>>,
}

impl Behind {
    pub(super) fn at(cursor: Offset, opened_at: Offset, now_ms: u64) -> Box<Behind> {
        Box::new(Behind {
            cursor,
            opened_at,
            asked_through: Offset::ZERO,
            rest: None,
            full: false,
            slow: false,
            progress_ms: now_ms,
            taken: 0,
            span_ms: now_ms,
            then: Then::Live,
            selection: VecDeque::new(),
            selected_through: Offset::ZERO,
            beat: None,
        })
    }

    /// Its socket took bytes.
    pub(super) fn takes(&mut self, bytes: usize, now_ms: u64) {
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
        /// When it has everything up to this place, and what others of its cohort have; `None` for at once.
        through: Option<Offset>,
    },
    /// It has been told the end: nothing more is read, and when `rest` is out it is closed.
    Close(CloseReason),
}

/// Bytes that were begun: frames are never cut.
pub(super) struct Rest {
    pub(super) source: RestSource,
    pub(super) offset: usize,
}

pub(super) enum RestSource {
    /// A frame of the log, held until it is out even if it has left the log.
    Frame(Arc<Frame>),
    /// An event of the stream's own.
    Chunk(Arc<Chunk>),
    /// A response head, or an end.
    Bytes(Box<[u8]>),
}

impl Rest {
    pub(super) fn bytes(&self, framing: Framing) -> &[u8] {
        let whole = match &self.source {
            RestSource::Frame(frame) => frame.wire(framing),
            RestSource::Chunk(chunk) => chunk.wire(framing),
            RestSource::Bytes(bytes) => bytes,
        };
        &whole[self.offset..]
    }
}
