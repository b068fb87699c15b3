//! The log: a bounded ring of frames in one total order, and the index that replay reads.
//!
//! ```text
//!            evicted │ kept, oldest first                          │ next
//!  seq   … 37 38 39  │  40  41       43  44            47          │  48
//!  live-only         │           42            45  46              │
//! ```
//! Kept and live-only events share one order, and each kind has a ring and bounds of its own, so
//! that a flood of live-only events can't push history out.
//!
//! Invariant: within a ring, places rise from front to back.
//! Invariant: an event that was appended in a call is never evicted by the same call (see
//! [`LogLimits::admit`]).
//! Invariant: `by_topic` and `by_id` name exactly the places of the kept ring.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use super::fault::Fault;
use super::frame::{Draft, Frame, Framing};
use super::gap::GapReason;
use super::id::{Epoch, EventId, Parsed};
use super::topic::{Subscription, Topic};

/// Live-only events may take one part in this many of the log's bounds, beside the kept ones.
pub const LIVE_ONLY_PART: usize = 4;
/// The most frames one [`Log::read`] examines, which bounds how long it holds the log's lock.
const EXAMINED_MAX: usize = 4096;

/// The bounds of a log.
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
    fn live_only(&self) -> LogLimits {
        let part = |bound: usize| (bound / LIVE_ONLY_PART).max(1);
        LogLimits { events: part(self.events), bytes: part(self.bytes), age_ns: self.age_ns }
    }

    /// Whether these drafts fit into the log together, so that none pushes another out.
    ///
    /// # Errors
    /// A [`Fault`] in `body` that says which bound they are over.
    pub fn admit(&self, drafts: &[Draft]) -> Result<(), Fault> {
        for (kind, live_only, bounds) in [("kept", false, *self), ("live-only", true, self.live_only())] {
            let drafts = || drafts.iter().filter(|draft| draft.live_only() == live_only);
            let (events, bytes) = (drafts().count(), drafts().map(Draft::cost_bytes).sum::<usize>());
            if events > bounds.events {
                let max = bounds.events;
                return Err(Fault::new("body", format!("holds {events} {kind} events, the log holds at most {max}")));
            }
            if bytes > bounds.bytes {
                let max = bounds.bytes;
                return Err(Fault::new(
                    "body",
                    format!("its {kind} events take {bytes} bytes in memory, the log holds at most {max}"),
                ));
            }
        }
        Ok(())
    }
}

/// Where a new stream wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// From now.
    Now,
    /// From the oldest event that is kept.
    Earliest,
    /// After the event with this id.
    After(Box<str>),
    /// After an event whose id can't be one (too long, or not UTF-8): treated as unknown, since a
    /// browser would give up for ever on an error status.
    Unknown,
}

/// Where in the log a new stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// It gets what comes after this place.
    pub after: u64,
    /// Whether, and why, it must be told of a gap that ends at `after`.
    pub gap: Option<GapReason>,
}

/// What a stream that is not live wants from the log.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The events it subscribes to,
    pub subscription: &'a Subscription,
    /// after this place,
    pub after: u64,
    /// up to this place and with it;
    pub through: u64,
    /// live-only ones only after this place, where the stream was opened.
    pub opened_at: u64,
}

/// What [`Log::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All that belongs to the window up to this place.
    Through(u64),
    /// Events of the window have left the log, at the latest at these places.
    Lost {
        /// The newest kept event that was evicted.
        kept_through: u64,
        /// The newest live-only event that was evicted.
        live_through: u64,
    },
}

/// Where a call's events stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The place of the first.
    pub first: u64,
    /// The place of the last.
    pub last: u64,
    /// The place in the middle of the log: whoever stands before it is in danger of being lapped.
    pub halfway: u64,
}

/// A namespace's log.
pub struct Log {
    epoch: Epoch,
    limits: LogLimits,
    head: u64,
    kept: Ring,
    live_only: Ring,
    by_topic: HashMap<Topic, TopicIndex>,
    /// The newest evicted place of any topic that is no longer in `by_topic`.
    forgotten_through: u64,
    by_id: HashMap<Box<str>, VecDeque<u64>>,
}

impl Log {
    /// An empty log.
    pub fn new(epoch: Epoch, limits: LogLimits) -> Log {
        Log {
            epoch,
            limits,
            head: 0,
            kept: Ring::default(),
            live_only: Ring::default(),
            by_topic: HashMap::new(),
            forgotten_through: 0,
            by_id: HashMap::new(),
        }
    }

    /// The place of the newest event; 0 before the first.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The id of a place.
    pub fn id(&self, seq: u64) -> EventId {
        self.epoch.id(seq)
    }

    /// How many events it holds, kept and live-only.
    pub fn events(&self) -> usize {
        self.kept.slots.len() + self.live_only.slots.len()
    }

    /// How much memory they take, in bytes, as [`Frame::cost_bytes`] counts it.
    pub fn bytes(&self) -> usize {
        self.kept.bytes + self.live_only.bytes
    }

    /// How many kept events name each topic, for whoever looks at the log from outside.
    pub fn topics(&self) -> impl Iterator<Item = (&Topic, usize)> {
        self.by_topic.iter().map(|(topic, index)| (topic, index.seqs.len()))
    }

    /// Gives the drafts the next places, in their order, and evicts what is over the bounds into
    /// `evicted`, for the caller to free outside its lock.
    ///
    /// The caller has had them admitted ([`LogLimits::admit`]); there is at least one.
    pub fn append(
        &mut self,
        drafts: impl IntoIterator<Item = Draft>,
        now_ns: u64,
        evicted: &mut Vec<Arc<Frame>>,
    ) -> Placed {
        let first = self.head + 1;
        for draft in drafts {
            self.head += 1;
            let frame = draft.place(self.head, now_ns);
            if frame.live_only() {
                self.live_only.push(frame);
            } else {
                self.index(&frame);
                self.kept.push(frame);
            }
        }
        debug_assert!(first <= self.head, "at least one draft");
        self.evict(now_ns, evicted);
        let halfway = self.kept.halfway().max(self.live_only.halfway());
        Placed { first, last: self.head, halfway }
    }

    /// Evicts what is over the bounds or too old at `now_ns`.
    pub fn evict(&mut self, now_ns: u64, evicted: &mut Vec<Arc<Frame>>) {
        while let Some(frame) = self.kept.pop_over(&self.limits, now_ns) {
            self.unindex(&frame);
            evicted.push(frame);
        }
        let live_limits = self.limits.live_only();
        evicted.extend(std::iter::from_fn(|| self.live_only.pop_over(&live_limits, now_ns)));
    }

    /// Where a stream with this subscription starts if it wants to go on from `resume`.
    pub fn start(&self, resume: &Resume, subscription: &Subscription) -> Start {
        let tail = self.kept.evicted_through;
        let after = |after| Start { after, gap: None };
        let from_tail = |reason| Start { after: tail, gap: Some(reason) };
        match resume {
            Resume::Now => after(self.head),
            Resume::Earliest => after(tail),
            Resume::Unknown => from_tail(GapReason::UnknownId),
            Resume::After(id) => {
                // A publisher may pass on ids of another log, so its own ids come first. Where
                // several kept events share one, the earliest counts: rather twice than never.
                if let Some(seqs) = self.by_id.get(&**id) {
                    return after(seqs[0]);
                }
                match self.epoch.parse(id) {
                    Parsed::Here(seq) if seq > self.head => from_tail(GapReason::UnknownId),
                    Parsed::Here(seq) if self.lost_after(seq, subscription) => from_tail(GapReason::Expired),
                    Parsed::Here(seq) => after(seq),
                    Parsed::Foreign => from_tail(GapReason::ForeignEpoch),
                    Parsed::Other => from_tail(GapReason::UnknownId),
                }
            }
        }
    }

    /// All frames after `after`, oldest first, at most `max` of them: what a shard's pass takes.
    /// Says up to which place that is, or `None` if some have left the log.
    pub fn tail(&self, after: u64, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<u64> {
        if after < self.kept.evicted_through || after < self.live_only.evicted_through {
            return None;
        }
        let frames = merge(self.kept.after(after), self.live_only.after(after));
        let before = out.len();
        out.extend(frames.take(max).cloned());
        let through =
            if out.len() - before < max { self.head } else { out.last().map_or(self.head, |last| last.seq()) };
        Some(through)
    }

    /// The frames of a window, oldest first, until they are `budget_bytes` or more: what a stream
    /// that is behind takes. It costs O(matches) for a subscription without patterns.
    pub fn read(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>) -> Read {
        let &Window { subscription, after, through, opened_at } = window;
        let live_after = after.max(opened_at);
        if self.lost_after(after, subscription) || self.live_only.evicted_through > live_after {
            return Read::Lost {
                kept_through: self.kept.evicted_through,
                live_through: self.live_only.evicted_through,
            };
        }
        let through = through.min(self.live_only.examined_through(live_after));
        let live = self.live_only.after(live_after).filter(|frame| subscription.covers(frame.topics()));
        if subscription.patterns().is_empty() {
            let lists = subscription.topics().iter().filter_map(|topic| self.by_topic.get(topic));
            let seqs = Union { lists: lists.map(|index| index.after(after).peekable()).collect() };
            let kept = seqs.map(|seq| self.kept.get(seq).expect("the index names places of the ring"));
            take(merge(kept, live), through, budget_bytes, out)
        } else {
            let through = through.min(self.kept.examined_through(after));
            let kept = self.kept.after(after).filter(|frame| subscription.covers(frame.topics()));
            take(merge(kept, live), through, budget_bytes, out)
        }
    }

    /// Whether kept events of the subscription after this place have been evicted. It may say so
    /// for topics of which nothing is kept any more, or for patterns, where other topics' events
    /// were evicted; it never misses a loss.
    fn lost_after(&self, after: u64, subscription: &Subscription) -> bool {
        if after >= self.kept.evicted_through {
            return false;
        }
        !subscription.patterns().is_empty()
            || subscription.topics().iter().any(|topic| {
                self.by_topic.get(topic).map_or(self.forgotten_through, |index| index.evicted_through) > after
            })
    }

    fn index(&mut self, frame: &Frame) {
        for topic in frame.topics() {
            // Not `entry`, which would cost a clone of the topic for every event.
            if let Some(index) = self.by_topic.get_mut(topic) {
                index.push(frame.seq());
            } else {
                let mut index = TopicIndex { seqs: VecDeque::new(), evicted_through: self.forgotten_through };
                index.push(frame.seq());
                self.by_topic.insert(topic.clone(), index);
            }
        }
        if let Some(id) = frame.own_id() {
            self.by_id.entry(id.into()).or_default().push_back(frame.seq());
        }
    }

    fn unindex(&mut self, frame: &Frame) {
        for topic in frame.topics() {
            let Some(index) = self.by_topic.get_mut(topic) else { continue };
            if index.evict(frame.seq()) {
                self.forgotten_through = self.forgotten_through.max(frame.seq());
                self.by_topic.remove(topic);
            }
        }
        if let Some(id) = frame.own_id() {
            let seqs = self.by_id.get_mut(id).expect("the index names every own id of the ring");
            seqs.pop_front();
            if seqs.is_empty() {
                self.by_id.remove(id);
            }
        }
    }
}

/// The places of one topic's kept events.
struct TopicIndex {
    seqs: VecDeque<u64>,
    evicted_through: u64,
}

impl TopicIndex {
    fn push(&mut self, seq: u64) {
        // An event may name a topic twice.
        if self.seqs.back() != Some(&seq) {
            self.seqs.push_back(seq);
        }
    }

    /// Takes out the oldest place; says whether none is left.
    fn evict(&mut self, seq: u64) -> bool {
        if self.seqs.front() == Some(&seq) {
            self.seqs.pop_front();
            self.evicted_through = seq;
            // A topic that was busy once must not hold its memory for ever.
            if self.seqs.capacity() > 64 && self.seqs.len() < self.seqs.capacity() / 4 {
                self.seqs.shrink_to(self.seqs.len() * 2);
            }
        }
        self.seqs.is_empty()
    }

    fn after(&self, after: u64) -> impl Iterator<Item = u64> {
        let from = self.seqs.partition_point(|&seq| seq <= after);
        self.seqs.range(from..).copied()
    }
}

/// Frames of one kind, oldest first.
#[derive(Default)]
struct Ring {
    /// The place stands beside the frame so that a search touches no frame.
    slots: VecDeque<(u64, Arc<Frame>)>,
    bytes: usize,
    evicted_through: u64,
}

impl Ring {
    fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.cost_bytes();
        self.slots.push_back((frame.seq(), frame));
    }

    fn pop_over(&mut self, limits: &LogLimits, now_ns: u64) -> Option<Arc<Frame>> {
        let (_, oldest) = self.slots.front()?;
        let too_old = now_ns.saturating_sub(oldest.published_ns()) > limits.age_ns;
        if self.slots.len() <= limits.events && self.bytes <= limits.bytes && !too_old {
            return None;
        }
        let (seq, frame) = self.slots.pop_front()?;
        self.bytes -= frame.cost_bytes();
        self.evicted_through = seq;
        Some(frame)
    }

    fn index_after(&self, after: u64) -> usize {
        self.slots.partition_point(|&(seq, _)| seq <= after)
    }

    fn after(&self, after: u64) -> impl Iterator<Item = &Arc<Frame>> {
        self.slots.range(self.index_after(after)..).map(|(_, frame)| frame)
    }

    fn get(&self, seq: u64) -> Option<&Arc<Frame>> {
        // Without live-only events between them, places have no holes and the guess is right.
        let guess = usize::try_from(seq.checked_sub(self.slots.front()?.0)?).ok()?;
        let at = match self.slots.get(guess) {
            Some(&(found, _)) if found == seq => guess,
            _ => self.slots.binary_search_by_key(&seq, |&(seq, _)| seq).ok()?,
        };
        Some(&self.slots[at].1)
    }

    /// The place up to which one read may scan.
    fn examined_through(&self, after: u64) -> u64 {
        self.slots.get(self.index_after(after) + EXAMINED_MAX).map_or(u64::MAX, |&(seq, _)| seq)
    }

    fn halfway(&self) -> u64 {
        self.slots.get(self.slots.len() / 2).map_or(0, |&(seq, _)| seq)
    }
}

/// The union of rising lists, rising, each place once.
struct Union<I: Iterator<Item = u64>> {
    lists: SmallVec<[std::iter::Peekable<I>; 4]>,
}

impl<I: Iterator<Item = u64>> Iterator for Union<I> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let next = self.lists.iter_mut().filter_map(|list| list.peek().copied()).min()?;
        for list in &mut self.lists {
            list.next_if_eq(&next);
        }
        Some(next)
    }
}

/// Two rising runs of frames as one.
fn merge<'a>(
    a: impl Iterator<Item = &'a Arc<Frame>>,
    b: impl Iterator<Item = &'a Arc<Frame>>,
) -> impl Iterator<Item = &'a Arc<Frame>> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if x.seq() > y.seq() => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}

fn take<'a>(
    frames: impl Iterator<Item = &'a Arc<Frame>>,
    through: u64,
    budget_bytes: usize,
    out: &mut Vec<Arc<Frame>>,
) -> Read {
    let mut bytes = 0;
    for frame in frames.take_while(|frame| frame.seq() <= through) {
        out.push(frame.clone());
        bytes += frame.wire(Framing::Chunked).len();
        if bytes >= budget_bytes {
            return Read::Through(frame.seq());
        }
    }
    Read::Through(through)
}
