//! Resuming: where a new stream starts.

use crate::hub::gap::GapReason;
use crate::hub::id::Parsed;
use crate::hub::offset::Offset;
use crate::hub::topic::Subscription;

use super::Log;
use super::numbers::Found;

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
}

impl Log {
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
                // several kept events share one, the earliest counts that the stream may have had:
                // rather twice than never.
                let same = self.by_id.get(&**id).into_iter().flatten();
                let mut own = same
                    .filter(|offset| self.kept.get(**offset).is_some_and(|frame| subscription.covers(frame.topics())));
                if let Some(&offset) = own.next() {
                    return after(offset);
                }
                match self.epoch.parse(id) {
                    Parsed::Here(number) => match self.find(number) {
                        Found::Ahead => from_tail(GapReason::UnknownId),
                        Found::At(offset) | Found::BeforeHole(offset) if self.kept.lost_after(offset, subscription) => {
                            from_tail(GapReason::Expired)
                        }
                        Found::At(offset) => after(offset),
                        Found::BeforeHole(offset) => Start { after: offset, gap: Some(GapReason::Lost) },
                    },
                    Parsed::Foreign => from_tail(GapReason::ForeignEpoch),
                    Parsed::Other => from_tail(GapReason::UnknownId),
                }
            }
        }
    }
}
