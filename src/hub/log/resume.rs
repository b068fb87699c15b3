//! Resuming: where a new stream starts.

use std::sync::Arc;

use crate::hub::archive::Past;
use crate::hub::effort::Effort;
use crate::hub::frame::Frame;
use crate::hub::gap::GapReason;
use crate::hub::id::Parsed;
use crate::hub::offset::Offset;
use crate::hub::topic::Subscription;

use super::index::{self, Loss, Suspect};
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

/// A search for where a stream starts. It goes in steps, each of which looks at a bounded part of the log: the log's
/// lock is let go between them, and a stream may have its search gone on with in a later turn.
pub struct Search {
    /// The log's head when it began.
    head: Option<Offset>,
    /// Those with the id, in part, that have yet to be looked at.
    pub(super) same: Vec<Arc<Frame>>,
    /// All with the id were looked at up to here,
    same_through: Offset,
    /// and so many are left that may be.
    pub(super) same_left: usize,
    /// Topics of which something was evicted, in part, that have yet to be looked at,
    suspects: Vec<Suspect>,
    /// where it starts if one of them is the subscription's,
    lost: Start,
    /// and where if none is, unless there are more.
    whole: Option<Start>,
    /// Nothing of the subscription was evicted up to here.
    whole_through: Offset,
}

impl Default for Search {
    fn default() -> Search {
        Search {
            head: None,
            same: Vec::new(),
            same_through: Offset::ZERO,
            same_left: SAME_ID_MAX,
            suspects: Vec::new(),
            lost: Start::after(Offset::ZERO),
            whole: None,
            whole_through: Offset::ZERO,
        }
    }
}

impl Search {
    /// The log's head when it began: there is one once a step was taken.
    pub fn head(&self) -> Offset {
        self.head.unwrap_or_default()
    }

    /// Looks at what the step has found, which needs no lock, until enough is done: one event at least.
    pub fn choose(&mut self, subscription: &Subscription, effort: &mut Effort) -> Option<Start> {
        // What it does not come to is not held until it goes on.
        let mut same = std::mem::take(&mut self.same).into_iter();
        while let Some(frame) = same.next() {
            if subscription.takes(frame.topics(), frame.private(), effort) {
                return Some(Start::after(frame.offset()));
            }
            if effort.is_spent() && !same.as_slice().is_empty() {
                self.same_left += same.len();
                self.same_through = frame.offset();
                return None;
            }
        }
        let suspects = std::mem::take(&mut self.suspects);
        match index::search(&suspects, subscription, effort) {
            Loss::Some => return Some(self.lost),
            Loss::NoneThrough(through) => self.whole_through = through,
            Loss::None => {
                if let Some(&Suspect { evicted_through: through, .. }) = suspects.last() {
                    self.whole_through = through;
                    return self.whole;
                }
            }
        }
        None
    }
}

impl Log {
    /// Takes a step of a search for where a stream with this subscription starts if it wants to go on from `resume`. Where
    /// it does not say, [`Search::choose`] may.
    pub fn search(&self, search: &mut Search, resume: &Resume, subscription: &Subscription) -> Option<Start> {
        search.head.get_or_insert(self.head);
        let oldest = self.kept.gap_through();
        let after = |after| Some(Start::after(after));
        let from_oldest = |reason| Some(Start { gap: Some(reason), ..Start::after(oldest) });
        let id = match resume {
            Resume::Now => return after(self.head),
            Resume::Earliest => return self.begin(search, subscription, Offset::ZERO, Past::Oldest(0), None),
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
        self.begin(search, subscription, offset, Past::After(number), Some(GapReason::Expired))
    }

    /// Where a stream starts that wants what comes after an offset: there, if nothing of that has left the log; else
    /// before the log, or if nobody has what was there, with the oldest that is left and this gap.
    fn begin(
        &self,
        search: &mut Search,
        subscription: &Subscription,
        after: Offset,
        past: Past,
        gap: Option<GapReason>,
    ) -> Option<Start> {
        let oldest = self.kept.gap_through();
        if gap.is_none() && !self.has_archive {
            return Some(Start::after(oldest));
        }
        search.lost = match self.has_archive {
            true => Start { archive: Some(past), ..Start::after(oldest) },
            false => Start { gap, ..Start::after(oldest) },
        };
        let whole = Some(Start::after(if gap.is_none() { oldest } else { after }));
        match self.kept.lost_after(after.max(search.whole_through), subscription, &mut search.suspects) {
            Loss::Some => return Some(search.lost),
            Loss::None if search.suspects.is_empty() => return whole,
            Loss::None => search.whole = whole,
            Loss::NoneThrough(_) => search.whole = None,
        }
        None
    }

    /// Where a stream with this subscription starts if it wants to go on from `resume`.
    #[cfg(test)]
    pub fn start(&self, resume: &Resume, subscription: &Subscription) -> Start {
        let mut search = Search::default();
        loop {
            if let Some(start) = self
                .search(&mut search, resume, subscription)
                .or_else(|| search.choose(subscription, &mut Effort::unbounded()))
            {
                return start;
            }
        }
    }
}
