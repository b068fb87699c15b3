//! Reading: what a shard's pass takes, and what a stream that is behind does.

use std::sync::Arc;

use crate::hub::effort::Effort;
use crate::hub::frame::{Frame, Framing};
use crate::hub::gap::GapReason;
use crate::hub::offset::Offset;
use crate::hub::topic::Subscription;

use super::index::{self, Loss, Suspect};
use super::numbers::Break;
use super::{EXAMINED_MAX, Log};

/// What a stream that is not live wants from the log.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The events it subscribes to,
    pub subscription: &'a Subscription,
    /// after this offset,
    pub after: Offset,
    /// up to this offset and with it;
    pub through: Offset,
    /// live-only ones only after this offset, where the stream was opened.
    pub opened_at: Offset,
}

/// What [`Log::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All that belongs to the window up to this offset.
    Through(Offset),
    /// Events of the window have left the log, at the latest at these offsets.
    Lost {
        /// The newest kept event that was evicted.
        kept_through: Offset,
        /// The newest live-only event that was evicted.
        live_through: Offset,
    },
    /// Nothing of the window is left before this offset, where events are missing.
    Broken {
        /// Where to go on after.
        at: Offset,
        /// Why they are missing.
        reason: GapReason,
    },
}

/// What a read has found that [`Window::choose`] has yet to choose from.
pub struct Candidates {
    read: Read,
    /// What it comes to if a topic of which something was evicted is one of the window's,
    lost: Read,
    /// of these, kept events and live-only ones.
    suspects: [Vec<Suspect>; 2],
}

impl Log {
    /// All frames after `after`, oldest first, at most `max` of them: what a shard's pass takes.
    /// Says up to which offset that is, or `None` if some have left the log or are missing.
    pub fn tail(&self, after: Offset, max: usize, out: &mut Vec<Arc<Frame>>) -> Option<Offset> {
        let is_gone = after < self.kept.gone_through.max(self.kept.lost_through) || after < self.live_only.gone_through;
        if is_gone || self.break_after(after).is_some() {
            return None;
        }
        let frames = merge(self.kept.all_after(after), self.live_only.all_after(after));
        let before = out.len();
        out.extend(frames.take(max).cloned());
        let through =
            if out.len() - before < max { self.head } else { out.last().map_or(self.head, |last| last.offset()) };
        Some(through)
    }

    /// The offset behind which who follows the log should hurry: half of what may be held for it, of either kind,
    /// is newer. 0 while that is not so.
    pub fn halfway(&self) -> Offset {
        self.kept.halfway.max(self.live_only.halfway)
    }

    /// The offset behind which an id is old: a quarter of what is kept is as new or newer. Where nothing is kept any
    /// more, all that was is newer than an old id.
    pub fn old_before(&self) -> Offset {
        let slots = &self.kept.slots;
        slots.get(slots.len() - slots.len().div_ceil(4)).map_or(self.kept.evicted_through, |&(offset, _)| offset)
    }

    /// When the oldest event at this offset or after it was accepted.
    pub fn published_ns(&self, from: Offset) -> Option<u64> {
        let after = from.prev();
        merge(self.kept.after(after), self.live_only.after(after)).next().map(|frame| frame.published_ns())
    }

    /// When the oldest kept event was accepted.
    pub fn oldest_kept_ns(&self) -> Option<u64> {
        self.kept.slots.front().map(|(_, frame)| frame.published_ns())
    }

    /// The frames before an offset, newest first, at most `max` of them: for whoever looks at the log
    /// from outside, a piece at a time.
    pub fn before(&self, before: Offset, max: usize, out: &mut Vec<Arc<Frame>>) {
        let (mut kept, mut live_only) = (self.kept.before(before).peekable(), self.live_only.before(before).peekable());
        let frames = std::iter::from_fn(|| match (kept.peek(), live_only.peek()) {
            (Some(x), Some(y)) if x.offset() < y.offset() => live_only.next(),
            (Some(_), _) => kept.next(),
            (None, _) => live_only.next(),
        });
        out.extend(frames.take(max).cloned());
    }

    /// The part of the last `window_ns` that is still whole, of kept events and of live-only ones.
    pub fn reach_ns(&self, now_ns: u64, window_ns: u64) -> [u64; 2] {
        [&self.kept, &self.live_only].map(|ring| match ring.slots.front() {
            Some((_, oldest)) if ring.evicted_through > Offset::ZERO => {
                now_ns.saturating_sub(oldest.published_ns()).min(window_ns)
            }
            _ => window_ns,
        })
    }

    /// The frames of a window, oldest first, until they are `budget_bytes` or more: what a stream
    /// that is behind takes. It costs O(matches) for a subscription without patterns, and looks at a
    /// bounded number of events for one with.
    pub fn read(
        &self,
        window: &Window<'_>,
        budget_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
        effort: &mut Effort,
    ) -> Read {
        let found = self.candidates(window, budget_bytes, out);
        window.choose(found, out, effort)
    }

    /// As [`Log::read`], but with what [`Window::choose`] will leave out: what has to be done under
    /// a lock, and no more. `out` is empty.
    pub fn candidates(&self, window: &Window<'_>, budget_bytes: usize, out: &mut Vec<Arc<Frame>>) -> Candidates {
        let mut suspects = [Vec::new(), Vec::new()];
        let lost = Read::Lost { kept_through: self.kept.gap_through(), live_through: self.live_only.evicted_through };
        let read = self.window(window, budget_bytes, out, &mut suspects).unwrap_or(lost);
        Candidates { read, lost, suspects }
    }

    /// As [`Log::candidates`], of the live-only events alone. Of what is named, the first is enough.
    pub fn live_only_candidates(&self, window: &Window<'_>, out: &mut Vec<Arc<Frame>>) -> Candidates {
        let &Window { subscription, after, through, .. } = window;
        let mut suspects = Vec::new();
        let lost = Read::Lost { kept_through: Offset::ZERO, live_through: self.live_only.evicted_through };
        let mut read = match self.live_only.lost_after(after, subscription, &mut suspects) {
            Loss::None => Read::Through(through),
            Loss::NoneThrough(whole_through) => Read::Through(through.min(whole_through)),
            Loss::Some => lost,
        };
        if let Read::Through(through) = &mut read {
            let until = *through;
            let is_within = |frame: &&Arc<Frame>| frame.offset() <= until;
            if subscription.patterns().is_empty() {
                let named = self.live_only.named(after, subscription).take_while(is_within).take(EXAMINED_MAX);
                let (mut looked_at, mut last) = (0, after);
                for frame in named {
                    (looked_at, last) = (looked_at + 1, frame.offset());
                    if subscription.takes_named(frame.topics(), frame.private()) {
                        out.push(frame.clone());
                        break;
                    }
                }
                if looked_at == EXAMINED_MAX {
                    *through = last;
                }
            } else {
                out.extend(self.live_only.after(after).take_while(is_within).take(EXAMINED_MAX).cloned());
                if let (EXAMINED_MAX, Some(last)) = (out.len(), out.last()) {
                    *through = last.offset();
                }
            }
        }
        Candidates { read, lost, suspects: [Vec::new(), suspects] }
    }

    /// What a window has, `None` if some of that is lost.
    fn window(
        &self,
        window: &Window<'_>,
        budget_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
        [kept, live_only]: &mut [Vec<Suspect>; 2],
    ) -> Option<Read> {
        let &Window { subscription, after, through, opened_at } = window;
        let live_after = after.max(opened_at);
        let mut through = through;
        let broken = self.break_after(after);
        // Of what was before it nothing is left, wherever the window ends.
        if let Some(Break { at, reason: reason @ GapReason::ForeignEpoch, .. }) = broken {
            return Some(Read::Broken { at, reason });
        }
        let broken = broken.filter(|broken| broken.at <= through);
        for loss in [
            self.kept.lost_after(after, subscription, kept),
            self.live_only.lost_after(live_after, subscription, live_only),
        ] {
            match loss {
                Loss::None => {}
                Loss::NoneThrough(whole_through) => through = through.min(whole_through),
                Loss::Some => return None,
            }
        }
        if let Some(Break { at, reason, .. }) = broken {
            through = through.min(at.prev());
            if after == at.prev() {
                return Some(Read::Broken { at, reason });
            }
        }
        if !subscription.patterns().is_empty() {
            let frames = merge(self.kept.after(after), self.live_only.after(live_after));
            let before = out.len();
            out.extend(frames.take_while(|frame| frame.offset() <= through).take(EXAMINED_MAX).cloned());
            let read = match out.last() {
                Some(last) if out.len() - before == EXAMINED_MAX => Read::Through(last.offset()),
                _ => Read::Through(through),
            };
            return Some(read);
        }
        let (mut bytes, mut passed_over) = (0, 0);
        let frames = merge(self.kept.named(after, subscription), self.live_only.named(live_after, subscription));
        for frame in frames.take_while(|frame| frame.offset() <= through) {
            if !subscription.takes_named(frame.topics(), frame.private()) {
                passed_over += 1;
                if passed_over == EXAMINED_MAX {
                    return Some(Read::Through(frame.offset()));
                }
                continue;
            }
            out.push(frame.clone());
            bytes += frame.wire(Framing::Chunked).len();
            if bytes >= budget_bytes {
                return Some(Read::Through(frame.offset()));
            }
        }
        Some(Read::Through(through))
    }
}

impl Window<'_> {
    /// Chooses what is the window's of what a read has found, until enough is done: one event at least.
    pub fn choose(&self, found: Candidates, frames: &mut Vec<Arc<Frame>>, effort: &mut Effort) -> Read {
        let Candidates { read, lost, suspects } = found;
        let mut whole_through = self.through;
        for suspects in &suspects {
            match index::search(suspects, self.subscription, effort) {
                Loss::None => {}
                Loss::NoneThrough(through) => whole_through = whole_through.min(through),
                Loss::Some => {
                    frames.clear();
                    return lost;
                }
            }
        }
        let Read::Through(through) = read else { return read };
        if self.subscription.patterns().is_empty() {
            return read;
        }
        let mut through = through.min(whole_through);
        frames.retain(|frame| {
            if frame.offset() > through {
                return false;
            }
            let is_wanted = self.subscription.takes(frame.topics(), frame.private(), effort);
            if effort.is_spent() {
                through = frame.offset();
            }
            is_wanted
        });
        Read::Through(through)
    }
}

/// Two rising runs of frames as one.
fn merge<'a>(
    a: impl Iterator<Item = &'a Arc<Frame>>,
    b: impl Iterator<Item = &'a Arc<Frame>>,
) -> impl Iterator<Item = &'a Arc<Frame>> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if x.offset() > y.offset() => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}
