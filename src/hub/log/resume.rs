//! Resuming: where a new stream starts.

use std::sync::Arc;

use crate::hub::archive::Past;
use crate::hub::frame::Frame;
use crate::hub::gap::GapReason;
use crate::hub::id::Parsed;
use crate::hub::offset::Offset;
use crate::hub::topic::Subscription;

use super::index::Loss;
use super::numbers::Found;
use super::{EXAMINED_MAX, Log};

/// Of how many events that share an own id the log looks for one of the stream's: beyond that, the id is unknown.
const SAME_ID_MAX: usize = 16 * 1024;

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
    /// It gets what comes after this offset.
    pub after: Offset,
    /// Whether, and why, it must be told of a gap that ends at `after`.
    pub gap: Option<GapReason>,
    /// It begins before the log.
    pub archive: Option<Past>,
}

impl Start {
    /// After an offset, with nothing missing.
    pub fn after(after: Offset) -> Start {
        Start { after, gap: None, archive: None }
    }
}

/// What a search for where a stream starts came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// Where it starts,
    pub start: Start,
    /// the log's head at that moment,
    pub head: Offset,
    /// and what the search has cost, in units of an event held against a pattern.
    pub work: usize,
}

/// A search for where a stream starts. It goes in steps, each of which looks at a bounded part of the log: the log's
/// lock is let go between them.
pub struct Search<'a> {
    resume: &'a Resume,
    subscription: &'a Subscription,
    /// Those with the id, in part, that have yet to be looked at.
    pub(super) same: Vec<Arc<Frame>>,
    /// All with the id were looked at up to here,
    same_through: Offset,
    /// and so many are left that may be.
    same_left: usize,
    /// Nothing of the subscription was evicted up to here.
    whole_through: Offset,
    work: usize,
}

impl<'a> Search<'a> {
    /// Where a stream with this subscription starts if it wants to go on from `resume`.
    pub fn new(resume: &'a Resume, subscription: &'a Subscription) -> Search<'a> {
        Search {
            resume,
            subscription,
            same: Vec::new(),
            same_through: Offset::ZERO,
            same_left: SAME_ID_MAX,
            whole_through: Offset::ZERO,
            work: 0,
        }
    }

    /// Looks at what the step has found, which needs no lock.
    pub fn choose(&mut self) -> Option<Start> {
        let same = std::mem::take(&mut self.same);
        self.work += same.len() * self.subscription.event_work();
        let own = same.iter().find(|frame| self.subscription.covers(frame.topics()));
        own.map(|frame| Start::after(frame.offset()))
    }

    /// What it has cost so far, in units of an event held against a pattern.
    pub fn work(&self) -> usize {
        self.work
    }
}

impl Log {
    /// Takes a step of a search. Where it does not say where the stream starts, [`Search::choose`] may.
    pub fn search(&self, search: &mut Search<'_>) -> Option<Start> {
        let oldest = self.kept.gap_through();
        let after = |after| Some(Start::after(after));
        let from_oldest = |reason| Some(Start { gap: Some(reason), ..Start::after(oldest) });
        let id = match search.resume {
            Resume::Now => return after(self.head),
            Resume::Earliest => return self.begin(search, Offset::ZERO, Past::Oldest(0), None),
            Resume::Unknown => return from_oldest(GapReason::UnknownId),
            Resume::After(id) => id,
        };
        // A publisher may pass on ids of another log, so its own ids come first. Where several kept events share one,
        // the earliest counts that the stream may have had: rather twice than never.
        let mut same = self.own_ids.after(id, search.same_through).peekable();
        if same.peek().is_some() {
            if search.same_left == 0 {
                return from_oldest(GapReason::UnknownId);
            }
            for offset in same.take(EXAMINED_MAX.min(search.same_left)) {
                search.same_through = offset;
                search.same_left -= 1;
                let frame = self.kept.get(offset).filter(|frame| frame.own_id() == Some(id));
                search.same.extend(frame.cloned());
            }
            return None;
        }
        let number = match self.epoch.parse(id) {
            Parsed::Here(number) => number,
            Parsed::Foreign => return from_oldest(GapReason::ForeignEpoch),
            Parsed::Other => return from_oldest(GapReason::UnknownId),
        };
        let offset = match self.find(number) {
            Found::Ahead => return from_oldest(GapReason::UnknownId),
            Found::At(offset) => offset,
        };
        self.begin(search, offset, Past::After(number), Some(GapReason::Expired))
    }

    /// Where a stream starts that wants what comes after an offset: there, if nothing of that has left the log; else
    /// before the log, or if nobody has what was there, with the oldest that is left and this gap.
    fn begin(&self, search: &mut Search<'_>, after: Offset, past: Past, gap: Option<GapReason>) -> Option<Start> {
        let oldest = self.kept.gap_through();
        if gap.is_none() && !self.has_archive {
            return Some(Start::after(oldest));
        }
        match self.kept.lost_after(after.max(search.whole_through), search.subscription) {
            Loss::Some if self.has_archive => Some(Start { archive: Some(past), ..Start::after(oldest) }),
            Loss::Some => Some(Start { gap, ..Start::after(oldest) }),
            Loss::NoneThrough(through) => {
                search.whole_through = through;
                search.work += EXAMINED_MAX * search.subscription.event_work();
                None
            }
            Loss::None => Some(Start::after(if gap.is_none() { oldest } else { after })),
        }
    }

    /// Where a stream with this subscription starts if it wants to go on from `resume`.
    #[cfg(test)]
    pub fn start(&self, resume: &Resume, subscription: &Subscription) -> Start {
        let mut search = Search::new(resume, subscription);
        loop {
            if let Some(start) = self.search(&mut search).or_else(|| search.choose()) {
                return start;
            }
        }
    }
}
