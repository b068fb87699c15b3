//! The log: a bounded ring of frames in one total order, and the index that replay reads.
//!
//! ```text
//!               evicted │ kept, oldest first                          │ next
//!  offset   … 37 38 39  │  40  41       43  44            47          │  48
//!  live-only            │           42            45  46              │
//! ```
//! Kept and live-only events share one order, and each kind has a ring and bounds of its own, so
//! that a flood of live-only events can't push history out.
//!
//! Invariant: within a ring, offsets rise from front to back.
//! Invariant: those that follow the log are given all that a call appends (see [`LogLimits::admit`]). Of what it
//! appends only what is over [`LogLimits::events`] by itself is not kept: the newest so many are.
//! Invariant: a ring's `by_topic` names exactly its offsets, and `own_ids` those of the kept ring whose
//! events have an id of their own.

mod index;
mod numbers;
mod own_ids;
mod read;
mod resume;
mod ring;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::hub::fault::TooLarge;
use crate::hub::frame::{Draft, Frame};
use crate::hub::id::{Epoch, EventId};
use crate::hub::offset::Offset;
use crate::hub::topic::TopicHandle;

pub use index::remembered_bytes;
use numbers::EngineNumbers;
pub use numbers::{Numbering, REMEMBERED_NUMBERS_BYTES};
use own_ids::OwnIds;
pub use read::{Candidates, Read, Window};
pub use resume::{Resume, Search, Start};
use ring::Ring;

/// How many events that are too old, or whose engine has them no more, are evicted under one lock.
pub const EVICTED_A_LOCK: usize = 256;

/// The most events that one read looks at for patterns, and the most topics in a search for what was lost: how long it
/// holds the log's lock is so bounded.
const EXAMINED_MAX: usize = 256;

/// How many of the newest events of either kind a log holds at most for those that follow it, beside
/// what it keeps: shards take what was published since they last looked, however little is kept for
/// replay. With what is kept it takes no more memory than that may.
pub const LIVE_EVENTS: usize = 4096;

/// The bounds of a log, for kept events, and once again for live-only ones.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// The most kept events.
    pub events: usize,
    /// The most memory of kept events, in bytes, as [`Frame::cost_bytes`] counts it.
    pub bytes: usize,
    /// How long an event is kept, in nanoseconds.
    pub age_ns: u64,
}

impl LogLimits {
    /// Whether these drafts fit into a log of these bounds together, so that none pushes another out.
    ///
    /// # Errors
    /// Which bound they are over.
    pub fn admit(&self, drafts: &[Draft]) -> Result<(), TooLarge> {
        for live_only in [false, true] {
            let drafts = || drafts.iter().filter(|draft| draft.live_only() == live_only);
            let (events, bytes) = (drafts().count(), drafts().map(Draft::cost_bytes).sum::<usize>());
            if events > self.events {
                return Err(TooLarge::Events { events, live_only, max: self.events });
            }
            if bytes > self.bytes {
                return Err(TooLarge::Bytes { bytes, live_only, max: self.bytes });
            }
        }
        Ok(())
    }
}

/// Where a call's events stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The offset of the first.
    pub first: Offset,
    /// The offset of the last.
    pub last: Offset,
    /// Whoever stands before this offset is in danger of being lapped: see [`Log::halfway`].
    pub halfway: Offset,
}

/// What has left a log, for its caller to free outside its lock.
#[derive(Default)]
pub struct Evicted {
    frames: Vec<Arc<Frame>>,
    topics: Vec<TopicHandle>,
    /// All that there was, see [`Log::restart`].
    replaced: Vec<(Ring, OwnIds)>,
}

/// A namespace's log.
pub struct Log {
    epoch: Epoch,
    limits: LogLimits,
    head: Offset,
    kept: Ring,
    live_only: Ring,
    own_ids: OwnIds,
    live_events: usize,
    /// If an engine numbers the events: else their numbers are their offsets.
    numbers: Option<EngineNumbers>,
    /// Whether an engine has what has left it.
    has_archive: bool,
}

impl Log {
    /// An empty log.
    pub fn new(epoch: Epoch, limits: LogLimits) -> Log {
        Log {
            epoch,
            limits,
            head: Offset::ZERO,
            kept: Ring::new(limits),
            live_only: Ring::new(limits),
            own_ids: OwnIds::default(),
            live_events: 0,
            numbers: None,
            has_archive: false,
        }
    }

    /// The same, but with the newest events for those that follow it, as many as this if fewer are kept.
    pub fn with_live_events(self, live_events: usize) -> Log {
        Log { live_events, ..self }
    }

    /// With a fault of former times: what is evicted counts as evicted of all topics.
    #[cfg(test)]
    pub(crate) fn forgetting_topics(mut self) -> Log {
        (self.kept.by_topic.forgets_topics, self.live_only.by_topic.forgets_topics) = (true, true);
        self
    }

    /// An engine has what has left it: see [`Pages`](crate::hub::archive::Pages).
    pub fn set_archive(&mut self) {
        self.has_archive = true;
    }

    /// The offset of the newest event.
    pub fn head(&self) -> Offset {
        self.head
    }

    /// The offset before the oldest event that is kept.
    pub fn oldest(&self) -> Offset {
        self.kept.gap_through()
    }

    /// The id of an offset: that of the newest kept event at it or before it. Ids are made of numbers
    /// here and in `Draft::place`, and read back in [`Log::search`].
    pub fn id(&self, offset: Offset) -> EventId {
        self.epoch.id(self.number(offset))
    }

    /// How many events it holds, kept and live-only, with those that it holds for who follows it.
    pub fn events(&self) -> usize {
        [&self.kept, &self.live_only].map(|ring| ring.slots.len() + ring.passed.len()).iter().sum()
    }

    /// How much memory they take, in bytes, as [`Frame::cost_bytes`] counts it.
    pub fn bytes(&self) -> usize {
        [&self.kept, &self.live_only].map(|ring| ring.bytes + ring.passed_bytes).iter().sum()
    }

    /// Up to which offset events have left it altogether: kept ones, and those that are live only.
    pub fn gone_through(&self) -> [Offset; 2] {
        [self.kept.gone_through, self.live_only.gone_through]
    }

    /// Gives the drafts the next offsets, in their order, and evicts what is over the bounds into
    /// `evicted`, for the caller to free outside its lock.
    ///
    /// The caller has had them admitted ([`LogLimits::admit`]); there is at least one.
    pub fn append(
        &mut self,
        drafts: impl IntoIterator<Item = Draft>,
        mut numbers: Numbering,
        now_ns: u64,
        evicted: &mut Evicted,
    ) -> Placed {
        let first = self.head.next();
        for draft in drafts {
            self.head = self.head.next();
            let number = match &mut numbers {
                Numbering::From(next) if !draft.live_only() => std::mem::replace(next, *next + 1),
                _ => self.head.get(),
            };
            let frame = draft.place(self.head, number, self.epoch, now_ns);
            if frame.live_only() {
                self.live_only.push(frame);
                continue;
            }
            if let Some(id) = frame.own_id() {
                self.own_ids.push(id, frame.offset());
            }
            if let Some(numbers) = &mut self.numbers {
                numbers.push(number);
            }
            self.kept.push(frame);
        }
        debug_assert!(first <= self.head, "at least one draft");
        self.evict(now_ns, EVICTED_A_LOCK, evicted);
        Placed { first, last: self.head, halfway: self.halfway() }
    }

    /// Evicts what is over the bounds, and of what is too old at `now_ns` at most `max` events. Says whether
    /// there may be more of that.
    pub fn evict(&mut self, now_ns: u64, max: usize, evicted: &mut Evicted) -> bool {
        let mut left = max;
        while self.kept.is_over(&self.limits, (left > 0).then_some(now_ns)) {
            left = left.saturating_sub(1);
            self.evict_oldest(evicted);
        }
        while self.live_only.is_over(&self.limits, (left > 0).then_some(now_ns)) {
            left = left.saturating_sub(1);
            if let Some(frame) = self.live_only.pop_oldest(&mut evicted.topics) {
                self.live_only.pass_on(frame);
            }
        }
        let (mut passed_left, mut halfway_left) = (max, max);
        for ring in [&mut self.kept, &mut self.live_only] {
            let aged_ns = |left: usize| (left > 0).then_some(now_ns);
            while let Some(frame) = ring.pop_passed(&self.limits, self.live_events, aged_ns(passed_left)) {
                passed_left = passed_left.saturating_sub(1);
                evicted.frames.push(frame);
            }
            ring.find_halfway(&self.limits, self.live_events, now_ns, &mut halfway_left);
        }
        left == 0 || passed_left == 0 || halfway_left == 0
    }

    /// Evicts the oldest kept event.
    fn evict_oldest(&mut self, evicted: &mut Evicted) {
        let Some(frame) = self.kept.pop_oldest(&mut evicted.topics) else { return };
        if let Some(id) = frame.own_id() {
            self.own_ids.remove(id, frame.offset());
        }
        if let Some(numbers) = &mut self.numbers
            && let Some(broken_at) = numbers.evict(frame.number(), frame.offset())
        {
            self.kept.lost_through = broken_at;
        }
        self.kept.pass_on(frame);
    }
}
