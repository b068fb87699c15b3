//! Passes: what was published goes to the live streams, cohort by cohort.
//!
//! A pass takes the log from where the registry stands to the head, finds the cohorts it touches,
//! gathers one run of bytes for each, and writes that run to each live member with one send. Many
//! streams of one subscription are several cohorts. Those that a pass comes to later are given what
//! was published meanwhile with the others, so that an event waits for one pass and not for two; and
//! where writes carry several events, which is when resting gains something, a pass may be paused
//! between two cohorts, so that its writes are spread over the time until the next.

use std::sync::Arc;

use crate::hub::close::CloseReason;
use crate::hub::effort::Effort;
use crate::hub::frame::{Frame, Framing};
use crate::hub::offset::Offset;
use crate::hub::routes::CohortIndex;
use crate::hub::stream::{Behind, Socket, Unsent, Waits};

use super::write::Written;
use super::{History, Observer, Registry, Walk};

/// After how many writes of a run the observer is called: seldom enough to cost nothing, often enough
/// that the times it takes are true.
const OBSERVED_WRITES: u64 = 16;

/// How much more than any other a pass does in a turn that is late: it is about to be lapped.
const LATE: usize = 8;

/// A pass, perhaps one that is paused. Its memory is kept, so that the next allocates nothing.
#[derive(Default)]
pub(super) struct Pass {
    /// What it brings, in the log's order. Without any, there is no pass.
    pub(super) frames: Vec<Arc<Frame>>,
    /// For how many of them it is known whom they touch.
    found: usize,
    /// Of how many topics of the next that is known. Until it is of all, it is brought to nobody.
    topics_found: usize,
    /// Cohorts and the frames that touch them, by cohort, and within a cohort in the log's order.
    pub(super) touched: Vec<(CohortIndex, u32)>,
    /// The next of those to be written.
    pub(super) next: usize,
    /// Up to which of those the caches have what is needed: see [`Registry::prefetch`].
    pub(super) fetched: usize,
    /// Up to which offset of the log it brings all live streams,
    through: Offset,
    /// and those it comes to last. Streams of a new cohort have that from the log.
    pub(super) frames_through: Offset,
    /// It is others' turn, and the pass goes on in the next.
    yields: bool,
    /// Frames that live streams have not been given have left the log: up to which stream each is behind.
    overrun: Option<Walk>,
    /// What was done in this turn to find whom it touches.
    effort: Effort,
    picked: Vec<u32>,
    leaving: Vec<(u32, Leave)>,
}

/// What became of a pass in one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It is over.
    Over,
    /// It is paused: a rest gains something here.
    Paused,
    /// It goes on in the next turn.
    Yields,
}

/// What happens to a member of a cohort once the cohort has been walked.
enum Leave {
    Close(CloseReason),
    Finish,
    Wait { cursor: Offset, unsent: Option<Unsent> },
}

impl Pass {
    /// Whether no stream can become live now, since all are about to be behind.
    pub(super) fn is_overrun(&self) -> bool {
        self.overrun.is_some()
    }
}

impl<S: Socket> Registry<S> {
    /// Whether a pass is paused, or goes on in the next turn.
    pub fn is_passing(&self) -> bool {
        !self.pass.frames.is_empty() || self.pass.overrun.is_some()
    }

    /// Writes what was published since the last pass to all live streams that subscribe to it, a share of that: the next
    /// call goes on with it. If it may not pause, the share is larger.
    pub fn pass(
        &mut self,
        may_pause: bool,
        history: &impl History,
        now_ms: u64,
        observer: &mut impl Observer,
    ) -> Passed {
        let before = self.position;
        let mut pass = std::mem::take(&mut self.pass);
        let passed = self.pass_on(&mut pass, may_pause, history, now_ms, observer);
        pass.yields = passed == Passed::Yields;
        self.pass = pass;
        if self.position > before {
            self.ready.extend(self.ahead.drain(..));
            self.ahead.shrink_to(1024);
        }
        passed
    }

    fn pass_on(
        &mut self,
        pass: &mut Pass,
        may_pause: bool,
        history: &impl History,
        now_ms: u64,
        observer: &mut impl Observer,
    ) -> Passed {
        let (head, was_paused) = (history.head(), !pass.frames.is_empty() && !pass.yields);
        let shares = if may_pause { 1 } else { LATE };
        let share = self.tally.writes + shares as u64 * self.bounds.writes_a_turn;
        // It has a turn's work for itself, as it has the writes: what else there is must not hold it up for longer.
        pass.effort = Effort::new(shares * self.bounds.work_a_turn);
        self.take_newer(pass, history);
        loop {
            if let Some(walk) = &mut pass.overrun {
                if !self.overrun(walk, history, now_ms) {
                    return Passed::Yields;
                }
                pass.overrun = None;
                self.position = history.head();
                continue;
            }
            if pass.frames.is_empty() {
                if self.position >= head {
                    return Passed::Over;
                }
                if self.tally.writes >= share || pass.effort.is_spent() {
                    return Passed::Yields;
                }
                match history.tail(self.position, self.bounds.frames_a_lock, &mut pass.frames) {
                    Some(through) => (pass.through, pass.frames_through) = (through, through),
                    None => {
                        pass.overrun = Some(Walk::default());
                        continue;
                    }
                }
            }
            let passed = self.go_on(pass, share, may_pause, history, now_ms, observer);
            if passed != Passed::Over {
                return passed;
            }
            self.position = pass.through;
            pass.frames.clear();
            pass.found = 0;
            if was_paused && may_pause {
                return Passed::Over;
            }
        }
    }

    /// Writes what is left of a pass, or a piece of it if it `may_pause`, up to a share of the writes and of what is done
    /// to find whom it touches.
    fn go_on(
        &mut self,
        pass: &mut Pass,
        share: u64,
        may_pause: bool,
        history: &impl History,
        now_ms: u64,
        observer: &mut impl Observer,
    ) -> Passed {
        let mut before = self.tally;
        loop {
            let next = pass.touched.get(pass.next).filter(|_| pass.topics_found == 0);
            let Some(&(cohort, _)) = next else {
                if pass.topics_found == 0 {
                    pass.touched.clear();
                    pass.touched.shrink_to(self.bounds.touched);
                    (pass.next, pass.fetched) = (0, 0);
                    if pass.found == pass.frames.len() {
                        return Passed::Over;
                    }
                }
                if pass.effort.is_spent() {
                    return Passed::Yields;
                }
                self.find_touched(pass, 0, self.bounds.touched);
                continue;
            };
            let writes = self.tally.writes - before.writes;
            if writes >= self.bounds.piece_writes {
                if may_pause && self.tally.deliveries - before.deliveries > writes {
                    return Passed::Paused;
                }
                if self.tally.writes >= share {
                    return Passed::Yields;
                }
                before = self.tally;
                self.take_newer(pass, history);
            }
            self.prefetch(pass);
            // Step by step: most groups are small where there are many.
            let of_others = pass.touched[pass.next..].iter().position(|(other, _)| *other != cohort);
            let end = of_others.map_or(pass.touched.len(), |group| pass.next + group);
            self.write_group(pass, end, now_ms, observer);
            pass.next = end;
        }
    }

    /// Takes what has been published since for the cohorts that are yet to be written to.
    fn take_newer(&mut self, pass: &mut Pass, history: &impl History) {
        let left = pass.touched.len() - pass.next;
        let Some(&(first, _)) = pass.touched.get(pass.next) else { return };
        if pass.topics_found > 0
            || pass.effort.is_spent()
            || left > self.bounds.touched_left
            || pass.found < pass.frames.len()
            || history.head() == pass.frames_through
        {
            return;
        }
        if let Some(through) = history.tail(pass.frames_through, self.bounds.newer_frames, &mut pass.frames) {
            pass.frames_through = through;
            pass.touched.drain(..pass.next);
            (pass.next, pass.fetched) = (0, 0);
            self.find_touched(pass, first, usize::MAX);
            // Cohorts before this one have yet to get all of it, and so none of it may be left to be found for all.
            if pass.found < pass.frames.len() {
                let found = pass.found;
                pass.touched.retain(|&(_, at)| (at as usize) < found);
                pass.topics_found = 0;
                pass.frames.truncate(found);
                pass.frames_through = pass.frames.last().map_or(pass.through, |last| last.offset());
            }
        }
    }

    /// Adds the cohorts from `first` on that the frames not yet looked at touch. Stops after the frame with which
    /// there are `max`, or after the topic with which enough was done.
    fn find_touched(&mut self, pass: &mut Pass, first: CohortIndex, max: usize) {
        let Pass { frames, found, topics_found, touched, effort, .. } = pass;
        let before = effort.spent();
        while *found < frames.len() && (touched.len() < max || *topics_found > 0) {
            let frame = &frames[*found];
            if *topics_found == 0 {
                self.marks += 1;
            }
            let (mark, cohorts) = (self.marks, &mut self.cohorts);
            for topic in &frame.topics()[*topics_found..] {
                if *topics_found > 0 && effort.is_spent() {
                    break;
                }
                *topics_found += 1;
                self.routes.resolve(topic, effort, |index| {
                    // An event counts once for a cohort, however many of its topics match, and not
                    // at all if the pass before brought it.
                    let cohort = cohorts.at(index);
                    let sees = || {
                        let private = frame.private();
                        cohort.sees[usize::from(private)].unwrap_or_else(|| cohort.subscription.sees(topic, private))
                    };
                    if index >= first && cohort.mark != mark && cohort.through < frame.offset() && sees() {
                        cohort.mark = mark;
                        touched.push((index, *found as u32));
                    }
                });
            }
            if *topics_found == frame.topics().len() {
                (*found, *topics_found) = (*found + 1, 0);
            }
            if effort.is_spent() {
                break;
            }
        }
        self.work += effort.spent() - before;
        touched.sort_unstable();
    }

    /// Writes the frames that touch the next cohort, up to `end` of what is touched.
    fn write_group(&mut self, pass: &mut Pass, end: usize, now_ms: u64, observer: &mut impl Observer) {
        // While the pass was paused, it may have gone, and another may have come in its place, which has the frames
        // of that time from the log.
        let Some(cohort) = self.cohorts.key_of(pass.touched[pass.next].0) else { return };
        let had_through = self.cohorts.at(cohort.index()).through;
        let had = |&(_, at): &(_, u32)| pass.frames[at as usize].offset() <= had_through;
        let mut left = pass.next + pass.touched[pass.next..end].partition_point(had)..end;
        // Whoever does not take it all gets a cursor of its own.
        let found_through =
            if pass.found == pass.frames.len() { pass.frames_through } else { pass.frames[pass.found - 1].offset() };
        self.cohorts.at(cohort.index()).through = had_through.max(found_through);
        // It goes with its last member.
        while !left.is_empty() && self.cohorts.get(cohort).is_some() {
            let mut bytes = 0;
            pass.picked.clear();
            for &(_, at) in &pass.touched[left.clone()] {
                bytes += pass.frames[at as usize].wire(Framing::Chunked).len();
                if bytes > self.bounds.run_bytes && !pass.picked.is_empty() {
                    break;
                }
                pass.picked.push(at);
            }
            left.start += pass.picked.len();
            self.write_run(cohort.index(), pass, now_ms, observer);
            self.settle(pass, now_ms);
        }
    }

    /// Frames that live streams have not been given have left the log, or are missing: each stream is behind from now on,
    /// and finds out for itself whether it lost any, when the shard has gone on at the head. Says whether all are behind.
    fn overrun(&mut self, walk: &mut Walk, history: &impl History, now_ms: u64) -> bool {
        let [kept, live_only] = history.gone_through();
        let slots = self.walk_on(walk);
        for slot in slots {
            let Some(key) = self.streams.key_of(slot) else { continue };
            let stream = self.streams.at(slot);
            if stream.is_live() {
                let cohort = stream.cohort;
                let through = self.served_through(cohort);
                // Where events are missing, and none has gone, the shard was not slow.
                let slow = through < kept.max(live_only);
                let behind = Behind { slow, waits: Waits::Shard, ..*Behind::at(through, through, now_ms) };
                self.fall_behind(slot, Box::new(behind));
                self.ahead.push(key);
            }
        }
        self.has_walked(walk)
    }

    /// Gathers the picked frames into one run and writes it to each live member of the cohort.
    fn write_run(&mut self, cohort: CohortIndex, pass: &mut Pass, now_ms: u64, observer: &mut impl Observer) {
        let Pass { frames, picked, leaving, .. } = pass;
        let Registry { streams, cohorts, run, tally, bounds, .. } = self;
        let cohort = cohorts.at(cohort);
        run.start(&[]);
        for &at in &*picked {
            run.add(&frames[at as usize], cohort.framing);
        }
        if let Some(&at) = picked.iter().rev().find(|at| !frames[**at as usize].live_only()) {
            cohort.named = frames[at as usize].offset();
        }
        let events = picked.len() as u32;
        let mut unobserved = 0;
        // They leave when all have been written to.
        for &index in &cohort.live {
            let stream = streams.at(index);
            let taken = stream.remaining.of(events);
            match stream.write_run(run, taken, now_ms, tally) {
                Written::All => {
                    if taken == events {
                        unobserved += 1;
                    } else {
                        observer.delivered(&run.published_ns[..taken as usize], 1);
                    }
                    if stream.remaining.is_none() {
                        leaving.push((index, Leave::Finish));
                    }
                }
                Written::Part(cut) => {
                    // What was written of this run is delivered, and its last frame is finished
                    // before the stream reads on from the log.
                    let begun = cut.frames_begun.checked_sub(1).map(|last| &frames[picked[last] as usize]);
                    let cursor =
                        begun.map_or_else(|| frames[picked[0] as usize].offset().prev(), |begun| begun.offset());
                    let unsent = run.unsent(&cut, || frames[picked[cut.frames_begun - 1] as usize].clone());
                    if cut.frames_whole() > 0 {
                        observer.delivered(&run.published_ns[..cut.frames_whole()], 1);
                    }
                    leaving.push((index, Leave::Wait { cursor, unsent }));
                }
                Written::Failed(reason) => leaving.push((index, Leave::Close(reason))),
            }
            if unobserved == OBSERVED_WRITES {
                observer.delivered(&run.published_ns, unobserved);
                unobserved = 0;
            }
        }
        if unobserved > 0 {
            observer.delivered(&run.published_ns, unobserved);
        }
        // A frame may be longer than a run.
        run.shrink(bounds.run_bytes);
    }

    /// Does what had to wait while a cohort's members were walked.
    fn settle(&mut self, pass: &mut Pass, now_ms: u64) {
        while let Some((index, leave)) = pass.leaving.pop() {
            let key = self.streams.key_at(index);
            match leave {
                Leave::Close(reason) => self.close(key, reason),
                Leave::Finish => self.finish(key, CloseReason::MaxEvents, None, now_ms),
                Leave::Wait { cursor, unsent } => {
                    self.fall_behind(index, Behind::at(cursor, cursor, now_ms));
                    self.hold(key, unsent);
                }
            }
        }
    }
}
