//! The streams of one shard, their cohorts, and what is written to whom.
//!
//! Live streams of the same subscription are written to together, in a *pass* of the registry. Those that
//! are behind are served from the log, each from its own cursor.
//!
//! - `life`: streams are opened, ended and closed; `cohorts`: which of them are written to together
//! - `pass`: what was published goes to the live streams; `behind`: what the others missed, with `conflation`
//! - `prefetch`: what a pass needs is in the caches when it comes to it
//! - `write`: every write, and what a short or failed one means
//! - `time`: heartbeats, timed events and deadlines; `mark`: what stands in for a heartbeat
//! - `pins`: what streams hold of events that have left the log; `look`: what an operator sees
//! - `work`: what the steps of a turn cost; `walk`: what concerns all streams is done for some a turn
//!
//! Invariant: a live stream has been written everything of its subscription up to its cohort's
//! `through` or the registry's `position`, whichever is later.
//! Invariant: a stream behind has everything up to its cursor, but for what is unsent.
//! Invariant: a pass allocates nothing for a delivery.
//! Invariant: a frame that was begun is finished before anything else is written.

mod behind;
mod cohorts;
mod conflation;
mod life;
pub mod look;
mod mark;
mod paging;
mod pass;
mod pins;
mod prefetch;
mod time;
mod walk;
mod work;
mod write;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use strum::VariantArray;

use crate::hub::archive::Pages;
use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::effort::Effort;
use crate::hub::frame::{Chunk, Frame, HEARTBEAT};
use crate::hub::gap::GapReason;
use crate::hub::heartbeats::Heartbeats;
use crate::hub::id::EventId;
use crate::hub::log::{Read, Resume, Search, Start, Window};
use crate::hub::offset::Offset;
use crate::hub::policy::{Policies, SlowPolicy};
use crate::hub::routes::Routes;
use crate::hub::run::Run;
use crate::hub::slab::{Slab, SlabKey};
use crate::hub::stream::{STREAM_TIMERS, Socket, Stream};
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::{Subscription, TopicHandle};
use crate::hub::wheel::TimerKey;

use cohorts::{Cohort, OpenCohorts};
use mark::Marks;
use pass::Pass;
use pins::Pins;

pub use life::STRAY_BYTES_MAX;
pub use pass::Passed;
pub use walk::Walk;

/// Names a stream of one registry.
pub type StreamKey = SlabKey;

/// The log, as streams are served from it.
pub trait History {
    /// The offset of the newest event.
    fn head(&self) -> Offset;
    /// As [`super::log::Log::tail`].
    fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset>;
    /// Goes on with a search for where a stream starts, until enough is done.
    fn search(
        &self,
        search: &mut Search,
        resume: &Resume,
        subscription: &Subscription,
        effort: &mut Effort,
    ) -> Option<Start>;
    /// As [`super::log::Log::read`].
    fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>, effort: &mut Effort) -> Read;
    /// The id of an offset.
    fn id(&self, offset: Offset) -> EventId;
    /// As [`super::log::Log::old_before`].
    fn old_before(&self) -> Offset;
    /// As [`super::log::Log::gone_through`].
    fn gone_through(&self) -> [Offset; 2];
    /// The way to what has left it, if an engine has that.
    fn pages(&self) -> Option<&dyn Pages> {
        None
    }
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
    /// Where it starts in the log, if that is known,
    pub start: Option<Start>,
    /// and the search for it.
    pub search: Search,
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
    /// Gaps that streams were sent, by reason.
    pub gaps: [u64; GapReason::VARIANTS.len()],
}

/// The streams of one shard. `S` is a socket.
pub struct Registry<S> {
    bounds: Bounds,
    streams: Slab<Stream<S>>,
    cohorts: Slab<Cohort>,
    open_cohorts: OpenCohorts,
    routes: Routes,
    position: Offset,
    behind: usize,
    heartbeats: Heartbeats,
    heartbeat_chunk: Arc<Chunk>,
    /// The streams whose heartbeats are due.
    due: Vec<u32>,
    cursor_marks: Marks,
    /// The policies that have taken the place of those that streams were opened with, and a count of
    /// them. A cohort looks its own up when it is asked for: many at once would hold up a pass.
    policies: Policies,
    policed: u32,
    /// Streams that are behind and can be served.
    ready: VecDeque<StreamKey>,
    /// Streams opened at a head that the shard has yet to reach: they have what it has, and wait.
    ahead: Vec<StreamKey>,
    /// Streams that wait for a page of what has left the log, by its name.
    paging: HashMap<u64, Vec<StreamKey>>,
    paging_streams: usize,
    effects: Vec<Effect<S>>,
    tally: Tally,
    pins: Pins,
    pass: Pass,
    /// How much has been done in this turn, in units of [`Bounds::work_a_turn`].
    work: usize,
    /// How many frames have been held against the routes.
    marks: u64,
    // Scratch, kept so that a pass allocates nothing.
    run: Run,
    read: Vec<Arc<Frame>>,
}

impl<S: Socket> Registry<S> {
    /// An empty registry that stands at `position` in the log. `seed` spreads heartbeat phases.
    pub fn new(position: Offset, heartbeat_ms: u64, seed: u64, bounds: Bounds) -> Registry<S> {
        Registry {
            bounds,
            streams: Slab::default(),
            cohorts: Slab::default(),
            open_cohorts: OpenCohorts::default(),
            routes: Routes::default(),
            position,
            behind: 0,
            heartbeats: Heartbeats::new(heartbeat_ms, seed),
            heartbeat_chunk: Arc::new(Chunk::new(HEARTBEAT)),
            due: Vec::new(),
            cursor_marks: Marks::default(),
            policies: Policies::default(),
            policed: 0,
            ready: VecDeque::new(),
            ahead: Vec::new(),
            paging: HashMap::new(),
            paging_streams: 0,
            effects: Vec::new(),
            tally: Tally::default(),
            pins: Pins::default(),
            pass: Pass::default(),
            work: 0,
            marks: 0,
            run: Run::default(),
            read: Vec::new(),
        }
    }

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

    /// What a turn may still do, for the next who has his turn in any case.
    pub(super) fn effort(&self) -> Effort {
        let max = self.bounds.work_a_turn;
        Effort::new(max.saturating_sub(self.work).max(max / 8))
    }

    /// Whether streams that are behind can be served now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
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

    /// What the registry asks of the shard, in no order: a stream has at most one effect of each kind, and what is
    /// asked for one that was closed since finds nothing.
    pub fn take_effect(&mut self) -> Option<Effect<S>> {
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

    /// Whether a stream is behind, if it is open.
    #[cfg(test)]
    pub(crate) fn is_behind(&self, key: StreamKey) -> Option<bool> {
        self.streams.get(key).map(|stream| !stream.is_live())
    }
}

#[cfg(test)]
mod tests;
