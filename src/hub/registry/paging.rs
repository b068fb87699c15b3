//! Streams that resume before the log: they read what has left it from pages, until they come to it.

use std::sync::Arc;

use crate::hub::archive::{Pages, Past, Reach, Taken, Wanted};
use crate::hub::frame::Frame;
use crate::hub::gap::{self, GapReason};
use crate::hub::id::EventId;
use crate::hub::offset::Offset;
use crate::hub::policy::SlowPolicy;
use crate::hub::stream::{Begun, Socket, Stream, Unsent, Waits};

use super::behind::{GO_ON, Position, STOP, Serving, Step};
use super::{History, Observer, Registry, work};

impl<H: History, O> Serving<'_, H, O> {
    /// Puts a gap after the event with a number before what is read.
    fn say_gap_after(&mut self, number: EventId, to: EventId, reason: GapReason, resumes_after: EventId) {
        let gap = gap::gap(Some(number.as_str()), to, reason, Some(resumes_after));
        self.prelude.extend_from_slice(gap.wire(self.framing));
    }
}

impl<S: Socket> Registry<S> {
    /// A page has come.
    pub fn page_came(&mut self, page: u64) {
        let waiting = self.paging.remove(&page).unwrap_or_default();
        self.paging_streams -= waiting.len();
        for key in waiting {
            let Some(behind) = self.streams.get_mut(key).and_then(Stream::behind_mut) else { continue };
            if behind.waits == Waits::Page {
                behind.waits = Waits::Turn;
                self.ready.push_back(key);
            }
        }
    }

    /// How many streams wait for pages, or have gone while they did.
    pub fn paging(&self) -> usize {
        self.paging_streams
    }

    /// Whether a stream waits for a page.
    #[cfg(test)]
    pub(crate) fn waits_for_page(&self, key: crate::hub::registry::StreamKey) -> bool {
        self.streams.get(key).and_then(|stream| stream.behind()).is_some_and(|behind| behind.waits == Waits::Page)
    }

    /// Sends a stream what comes next before the log, or has it wait for the page with that.
    pub(super) fn send_archived<H: History, O: Observer>(
        &mut self,
        past: Past,
        goal: Offset,
        frames: &mut Vec<Arc<Frame>>,
        serving: &mut Serving<'_, H, O>,
    ) -> Step {
        let (key, history) = (serving.key, serving.history);
        let pages = history.pages().expect("Invariant: only a log with an archive starts a stream before itself");
        let number = past.number();
        let Some(behind) = self.streams.at(key.index()).behind_mut() else { return STOP };
        let (offset, newest) = match pages.reach(number, behind.cursor) {
            Reach::Foreign(oldest) => {
                (behind.archive, behind.cursor) = (None, oldest);
                let to = history.id(oldest);
                let gap = gap::gap(None, to, GapReason::ForeignEpoch, Some(to));
                serving.prelude.extend_from_slice(gap.wire(serving.framing));
                self.tally.gaps[GapReason::ForeignEpoch as usize] += 1;
                return GO_ON;
            }
            Reach::Here { offset } => (offset, None),
            Reach::Before { newest, offset } => (offset, Some(newest)),
        };
        if let Some(step) = self.pass_over_live_only(number, offset, pages, serving) {
            return step;
        }
        let mut effort = self.effort();
        let Some(behind) = self.streams.at(key.index()).behind_mut() else { return STOP };
        let Some(newest) = newest else {
            // The stream goes on in the log, at once: while others have their turn, that moves on.
            (behind.archive, behind.cursor) = (None, offset);
            return self.send_next(goal, frames, serving);
        };
        let page = match pages.page(number, behind.cursor) {
            None => return GO_ON,
            Some(Wanted::Here(page)) => page,
            Some(Wanted::Later(_)) if !serving.prelude.is_empty() => return self.begin_response(serving),
            Some(Wanted::Later(page)) => {
                behind.waits = Waits::Page;
                self.paging.entry(page).or_default().push(key);
                self.paging_streams += 1;
                return STOP;
            }
        };
        let taken = page.take(number, newest, &serving.subscription, self.bounds.read_bytes, frames, &mut effort);
        self.work += work::WRITE + work::FRAME * frames.len() + effort.spent();
        match taken {
            Taken::Hole(hole) => {
                let Some(behind) = self.streams.at(key.index()).behind_mut() else { return STOP };
                // Who wants the oldest that there is, misses nothing of what was before.
                if matches!(past, Past::Oldest(_)) && hole.reason == GapReason::Expired {
                    behind.archive = Some(Past::Oldest(hole.last));
                    return GO_ON;
                }
                behind.archive = Some(Past::After(hole.last));
                let last = pages.numbered(hole.last);
                serving.say_gap_after(pages.numbered(number), last, hole.reason, last);
                self.tally.gaps[hole.reason as usize] += 1;
                GO_ON
            }
            Taken::Through(through) => {
                let step = self.write_read(frames, Position::Archive(through), serving);
                serving.prelude.clear();
                step
            }
        }
    }

    /// Sees to live-only events up to an offset that a stream has gone past, or goes past now: it is to have them from its
    /// beginning on. Until it is known that there are none, it goes no further.
    fn pass_over_live_only<H: History, O>(
        &mut self,
        number: u64,
        offset: Offset,
        pages: &dyn Pages,
        serving: &mut Serving<'_, H, O>,
    ) -> Option<Step> {
        let mut effort = self.effort();
        let Some(behind) = self.streams.at(serving.key.index()).behind_mut() else { return Some(STOP) };
        let opened_at = behind.opened_at;
        if opened_at >= offset {
            return None;
        }
        let without = pages.without_live_only(&serving.subscription, opened_at, offset, &mut effort);
        self.work += effort.spent();
        let Some(without) = without else { return Some(self.miss_live(number, offset, pages, serving)) };
        behind.opened_at = without;
        (without < offset).then(|| self.begin_response(serving))
    }

    /// Writes what goes before what is read, however long that takes.
    fn begin_response<H, O>(&mut self, serving: &mut Serving<'_, H, O>) -> Step {
        let prelude = std::mem::take(&mut serving.prelude);
        let is_out = prelude.is_empty()
            || self.write_or_hold(serving.key, Unsent::all_of(Begun::Bytes(prelude.into())), serving.now_ms);
        if is_out { GO_ON } else { STOP }
    }

    /// There are, or were, live-only events of a stream up to the offset.
    fn miss_live<H: History, O>(
        &mut self,
        number: u64,
        offset: Offset,
        pages: &dyn Pages,
        serving: &mut Serving<'_, H, O>,
    ) -> Step {
        if serving.slow == SlowPolicy::Disconnect {
            return self.go_on_after_loss(offset, offset, offset, serving);
        }
        let Some(behind) = self.streams.get_mut(serving.key).and_then(Stream::behind_mut) else { return STOP };
        behind.opened_at = offset;
        serving.say_gap_after(
            pages.numbered(number),
            serving.history.id(offset),
            GapReason::Lagged,
            pages.numbered(number),
        );
        self.tally.gaps[GapReason::Lagged as usize] += 1;
        GO_ON
    }
}
