//! Serving streams that are behind: each finishes what was begun, then reads the log from its own
//! cursor until it has caught up. Replay is this code too.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::frame::{Frame, Framing};
use crate::hub::gap::{self, GapReason};
use crate::hub::log::{Read, Window};
use crate::hub::offset::Offset;
use crate::hub::policy::SlowPolicy;
use crate::hub::stream::{Rest, RestSource, Sent, Socket, Then};
use crate::hub::topic::Subscription;

use super::{History, Hold, Observer, Registry, StreamKey, count_down};

/// The work that a write is, and that of a frame that is taken from the log.
pub(super) const WRITE_WORK: usize = 128;
pub(super) const FRAME_WORK: usize = 8;
/// The work that it is to enter a topic or pattern of a new stream into the routes.
pub(super) const ROUTE_WORK: usize = 40;

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

    /// Serves a stream that is behind: finishes what was begun, then reads the log from its cursor.
    /// `prelude` goes before what is read.
    pub(super) fn serve(
        &mut self,
        key: StreamKey,
        mut prelude: Vec<u8>,
        history: &impl History,
        now_ms: u64,
        observer: &mut impl Observer,
    ) {
        let Some(stream) = self.streams.get(key) else { return };
        let index = stream.cohort;
        let (slow, position) = (self.slow(index), self.served_through(index));
        let cohort = self.cohorts.at(index);
        let (framing, subscription) = (cohort.framing, cohort.subscription.clone());
        let mut reads = 0;
        loop {
            let Some(stream) = self.streams.get_mut(key) else { return };
            let Some(behind) = stream.behind.as_mut().filter(|behind| !behind.full) else { return };
            if let Some(rest) = behind.rest.take() {
                let begun = match &rest.source {
                    RestSource::Frame(frame) => {
                        self.pins.release(key.index(), Hold::Begun, frame);
                        Some((frame.published_ns(), frame.offset() > behind.asked_through))
                    }
                    _ => None,
                };
                if !self.write_or_hold(key, rest, now_ms) {
                    return;
                }
                if let Some((published_ns, is_live)) = begun {
                    self.tally.deliveries += 1;
                    if is_live {
                        observer.delivered(&[published_ns], 1);
                    }
                }
                continue;
            }
            if let Then::Close(reason) = behind.then {
                return self.close(key, reason);
            }
            if stream.remaining == 0 {
                return self.finish(key, CloseReason::MaxEvents, None, now_ms);
            }
            let goal = match &behind.then {
                Then::End { reason, farewell, through: None } => {
                    let (reason, farewell) = (*reason, farewell.clone());
                    return self.finish(key, reason, farewell.as_ref(), now_ms);
                }
                Then::End { through: Some(through), .. } => position.max(*through),
                Then::Live | Then::Close(_) => position,
            };
            if prelude.is_empty() {
                if behind.cursor >= goal {
                    return self.caught_up(key, position, now_ms);
                }
                if reads >= self.bounds.reads_a_turn || reads > 0 && self.work >= self.bounds.work_a_turn {
                    return self.ready.push_back(key);
                }
            }
            reads += 1;

            let mut frames = std::mem::take(&mut self.read);
            frames.clear();
            let conflates = slow == SlowPolicy::Conflate && behind.slow;
            let (cursor, opened_at) = (behind.cursor, behind.opened_at);
            let window = Window { subscription: &subscription, after: cursor, through: goal, opened_at };
            let mut conflated = false;
            let found = if !behind.selection.is_empty() {
                Read::Through(behind.selected_through)
            } else if cursor >= goal {
                Read::Through(cursor)
            } else if conflates {
                let choice = choose(history, window, &self.bounds, behind.asked_through, &mut frames);
                conflated = choice.conflated;
                choice.read
            } else {
                history.read(&window, self.bounds.read_bytes, &mut frames)
            };
            self.work += WRITE_WORK + FRAME_WORK * frames.len();
            if let Read::Through(through) = found {
                // A search by patterns looks at all there is.
                self.work += through.since(cursor) as usize * subscription.search_work();
            }
            let mut through = match found {
                Read::Through(through) => through,
                Read::Lost { .. } if slow == SlowPolicy::Disconnect => {
                    self.read = frames;
                    // Who was lapped before it was opened still gets its response head: without
                    // one, a proxy would make it a 502, and a browser gives up on that for ever.
                    behind.then = Then::Close(CloseReason::Lagged);
                    if prelude.is_empty() {
                        continue;
                    }
                    let head = Rest { source: RestSource::Bytes(prelude.into()), offset: 0 };
                    if !self.write_or_hold(key, head, now_ms) {
                        return;
                    }
                    prelude = Vec::new();
                    continue;
                }
                Read::Lost { kept_through, live_through } => {
                    self.read = frames;
                    let goes_on_after = match slow {
                        SlowPolicy::Conflate => kept_through.max(cursor),
                        SlowPolicy::Skip | SlowPolicy::Disconnect => goal,
                    };
                    behind.cursor = goes_on_after;
                    behind.opened_at = opened_at.max(live_through);
                    // What was live only may be missing for longer, but moves no cursor.
                    let (from, to) = (history.id(cursor), history.id(goes_on_after.max(live_through)));
                    let resumes_after = Some(history.id(goes_on_after));
                    let gap = gap::gap(Some(from.as_str()), to, GapReason::Lagged, resumes_after);
                    prelude.extend_from_slice(gap.wire(framing));
                    self.tally.gaps[GapReason::Lagged as usize] += 1;
                    continue;
                }
            };
            if conflates && behind.selection.is_empty() {
                if conflated {
                    // The client's cursor stays: should the stream break now, it resumes in full.
                    let (from, to) = (history.id(cursor), history.id(through));
                    let gap = gap::gap(Some(from.as_str()), to, GapReason::Conflated, None);
                    prelude.extend_from_slice(gap.wire(framing));
                    self.tally.gaps[GapReason::Conflated as usize] += 1;
                }
                frames.iter().for_each(|frame| self.pins.take(key.index(), Hold::Chosen, frame));
                behind.selection.extend(frames.drain(..));
                behind.selected_through = through;
                reads = self.bounds.reads_a_turn;
            }
            if !behind.selection.is_empty() {
                let mut bytes = 0;
                let next = behind.selection.iter().take_while(|frame| {
                    let fits = bytes < self.bounds.read_bytes;
                    bytes += frame.wire(framing).len();
                    fits
                });
                frames.extend(next.cloned());
                if let (true, Some(last)) = (frames.len() < behind.selection.len(), frames.last()) {
                    through = last.offset();
                }
            }
            let goes_on = self.write_read(key, &prelude, &frames, through, now_ms, observer);
            if let Some(behind) = self.streams.get_mut(key).and_then(|stream| stream.behind.as_mut()) {
                let taken = behind.selection.partition_point(|frame| frame.offset() <= behind.cursor);
                for frame in behind.selection.drain(..taken) {
                    self.pins.release(key.index(), Hold::Chosen, &frame);
                }
                if behind.selection.is_empty() {
                    behind.selection = VecDeque::new();
                }
            }
            prelude.clear();
            frames.clear();
            self.read = frames;
            if !goes_on {
                return;
            }
        }
    }

    /// Writes `prelude` and what was read to a stream that is behind. Says whether to go on with it.
    fn write_read(
        &mut self,
        key: StreamKey,
        prelude: &[u8],
        frames: &[Arc<Frame>],
        through: Offset,
        now_ms: u64,
        observer: &mut impl Observer,
    ) -> bool {
        let stream = self.streams.at(key.index());
        let framing = self.cohorts.at(stream.cohort).framing;
        let Some(behind) = stream.behind.as_mut() else { return false };
        let asked_through = behind.asked_through;
        let mut run = std::mem::take(&mut self.run);
        run.start(prelude);
        let mut taken = 0;
        // At least one, however long the prelude is.
        while taken < frames.len()
            && taken < stream.remaining as usize
            && (taken == 0 || run.len() < self.bounds.read_bytes)
        {
            run.add(&frames[taken], framing);
            taken += 1;
        }
        let through = if taken == frames.len() { through } else { frames[taken - 1].offset() };
        let bytes = run.first(taken);
        if bytes.is_empty() {
            behind.cursor = through;
            self.run = run;
            return true;
        }
        let sent = stream.socket.send(bytes);
        let (all, len) = match sent {
            Sent::Wrote(len) => (len == bytes.len(), len),
            Sent::Full => (false, 0),
            Sent::Gone | Sent::Failed => {
                self.run = run;
                self.close(key, if sent == Sent::Gone { CloseReason::ClientGone } else { CloseReason::WriteError });
                return false;
            }
        };
        let cut = run.cut(len);
        if all {
            behind.cursor = through;
        } else if len < prelude.len() {
            behind.rest = Some(Rest { source: RestSource::Bytes(prelude[len..].into()), offset: 0 });
        } else if cut.frames_begun > 0 {
            let begun = &frames[cut.frames_begun - 1];
            behind.cursor = begun.offset();
            behind.rest = cut.offset.map(|offset| {
                self.pins.take(key.index(), Hold::Begun, begun);
                Rest { source: RestSource::Frame(begun.clone()), offset }
            });
        }
        if len > 0 {
            stream.written_ms = now_ms;
            behind.takes(len, now_ms);
            count_down(&mut stream.remaining, cut.frames_begun as u32);
            self.tally.wrote(len);
            self.tally.deliveries += cut.frames_whole() as u64;
            // What was published before the stream was opened is replay, and its age no latency.
            let replayed = frames.partition_point(|frame| frame.offset() <= asked_through).min(cut.frames_whole());
            observer.delivered(&run.published_ns[replayed..cut.frames_whole()], 1);
        }
        if !all {
            behind.full = true;
            behind.slow = true;
            self.await_socket(key);
        }
        // A run of the pass is small; one of a replay must not hold its memory for ever.
        run.shrink(self.bounds.run_bytes);
        self.run = run;
        all
    }

    /// A stream that was behind has everything up to `position`, where its cohort's live members stand.
    fn caught_up(&mut self, key: StreamKey, position: Offset, now_ms: u64) {
        let stream = self.streams.at(key.index());
        let Some(behind) = stream.behind.as_mut() else { return };
        match std::mem::replace(&mut behind.then, Then::Live) {
            Then::End { reason, farewell, .. } => return self.finish(key, reason, farewell.as_ref(), now_ms),
            Then::Close(reason) => return self.close(key, reason),
            Then::Live => {}
        }
        // The pass that follows has live-only events of before it was opened: those aren't its own.
        if behind.cursor.max(behind.opened_at) > position {
            return self.ahead.push(key);
        }
        if let Some(beat) = behind.beat.take()
            && !self.write_or_hold(key, Rest { source: RestSource::Chunk(beat), offset: 0 }, now_ms)
        {
            return;
        }
        let stream = self.streams.at(key.index());
        stream.behind = None;
        self.behind -= 1;
        let live = &mut self.cohorts.at(stream.cohort).live;
        stream.place = live.len() as u32;
        live.push(key.index());
    }
}

/// What conflation has chosen.
struct Choice {
    /// All up to where it chose from.
    read: Read,
    /// Whether any went.
    conflated: bool,
}

/// Reads a window for conflation, which must know the newest of each key: all of it, or as much as a stream that is
/// behind may hold, or as one turn may look at. What it leaves out, newer events stand for that it has read as well.
fn choose(
    history: &impl History,
    mut window: Window<'_>,
    bounds: &Bounds,
    asked_through: Offset,
    frames: &mut Vec<Arc<Frame>>,
) -> Choice {
    let from = window.after;
    let mut piece = Vec::new();
    let (mut bytes, mut conflated) = (0, false);
    let len = |frames: &[Arc<Frame>]| frames.iter().map(|frame| frame.wire(Framing::Chunked).len()).sum::<usize>();
    loop {
        let through = match history.read(&window, bounds.read_bytes, &mut piece) {
            Read::Through(through) => through,
            lost => {
                frames.clear();
                return Choice { read: lost, conflated: false };
            }
        };
        bytes += len(&piece);
        frames.append(&mut piece);
        let work = FRAME_WORK * frames.len() + through.since(from) as usize * window.subscription.search_work();
        let is_over = through >= window.through || work >= bounds.work_a_turn;
        if is_over || bytes > bounds.selection_bytes {
            conflated |= conflate(frames, window.subscription, asked_through);
            bytes = len(frames);
        }
        if is_over || bytes > bounds.selection_bytes {
            return Choice { read: Read::Through(through), conflated };
        }
        window.after = through;
    }
}

/// Keeps, of the frames with a key that were published after `opened_at`, those that are the newest of
/// their key on any topic that they bring to this subscription; what it asked to be replayed is never
/// thinned out. Says whether any went.
fn conflate(frames: &mut Vec<Arc<Frame>>, subscription: &Subscription, opened_at: Offset) -> bool {
    let before = frames.len();
    let mut seen = HashSet::new();
    let keep: Vec<bool> = frames
        .iter()
        .rev()
        .map(|frame| match frame.key() {
            Some(key) if frame.offset() > opened_at => {
                let topics = frame.topics().iter().filter(|topic| subscription.covers(std::slice::from_ref(*topic)));
                // Each of them is to be noted.
                topics.filter(|topic| seen.insert((*topic, key))).count() > 0
            }
            _ => true,
        })
        .collect();
    let mut keep = keep.into_iter().rev();
    frames.retain(|_| keep.next().unwrap_or(true));
    frames.len() < before
}
