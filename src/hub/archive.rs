//! What an engine keeps of events that have left the log, a page at a time, and reading a page.
//!
//! Streams that resume there are told by *numbers*, which ids hold, and not by offsets: see
//! [`Numbering`](super::log::Numbering). They go over to the log where it has all that comes next.

use std::sync::Arc;

use super::effort::Effort;
use super::frame::Frame;
use super::gap::GapReason;
use super::id::EventId;
use super::offset::Offset;
use super::topic::Subscription;

/// A part of what an engine keeps: all up to a number.
#[derive(Default)]
pub struct Page {
    /// Its events, by their numbers.
    pub frames: Vec<Arc<Frame>>,
    /// What of it is missing, by its numbers.
    pub holes: Vec<Hole>,
    /// It has all up to this number, from the one on that it was asked for.
    pub through: u64,
    /// Whether it would be the same if it were read again.
    pub stays: bool,
}

/// Events that can't be read, or are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first number,
    pub first: u64,
    /// and the last.
    pub last: u64,
    /// What whoever wants them is told.
    pub reason: GapReason,
}

/// What was taken of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of the subscription up to this number.
    Through(u64),
    /// Nothing: what comes next is missing.
    Hole(Hole),
}

/// How far a stream is that is yet to come to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// It wants the oldest that there is and all after that, and there is nothing up to this number.
    Oldest(u64),
    /// It has everything up to this number.
    After(u64),
}

impl Past {
    /// It has everything up to this number.
    pub fn number(self) -> u64 {
        match self {
            Past::Oldest(number) | Past::After(number) => number,
        }
    }
}

/// Where a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is of an epoch that has ended: the oldest that there is of this one comes after this offset.
    Foreign(Offset),
    /// The log has all that comes after it.
    Here {
        /// What comes after it comes after this offset.
        offset: Offset,
    },
    /// Events after it have left the log.
    Before {
        /// The number of the newest that has,
        newest: u64,
        /// and its offset.
        offset: Offset,
    },
}

/// What became of the wish for a page.
pub enum Wanted {
    /// It is here.
    Here(Arc<Page>),
    /// It comes later, and is told of by this name.
    Later(u64),
}

/// The way to what has left the log.
pub trait Pages {
    /// Where a number stands that a stream was given when the log had all after `cursor`.
    fn reach(&self, number: u64, cursor: Offset) -> Reach;
    /// Up to which of the offsets after one, through another, there is no live-only event of the subscription, and none
    /// was lost; `None` if there is, or was, the first that it finds. It looks until enough is done.
    fn without_live_only(
        &self,
        subscription: &Subscription,
        after: Offset,
        through: Offset,
        effort: &mut Effort,
    ) -> Option<Offset>;
    /// The page with what comes after a number, unless that is of an epoch that has ended: as for [`Pages::reach`].
    /// It never waits.
    fn page(&self, after: u64, cursor: Offset) -> Option<Wanted>;
    /// The id with a number.
    fn numbered(&self, number: u64) -> EventId;
}

impl Page {
    /// Takes the events of a subscription after a number, up to another, until they are `budget_bytes` or more, or enough
    /// is done. Says up to where that is.
    pub fn take(
        &self,
        after: u64,
        until: u64,
        subscription: &Subscription,
        budget_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
        effort: &mut Effort,
    ) -> Taken {
        let until = until.min(self.through);
        let hole = self.holes.iter().find(|hole| hole.last > after && hole.first <= until);
        // It may reach into what is not wanted from here.
        let hole = hole.map(|hole| Hole { last: hole.last.min(until), ..*hole });
        let until = hole.map_or(until, |hole| hole.first.saturating_sub(1).max(after));
        let from = self.frames.partition_point(|frame| frame.number() <= after);
        let mut bytes = 0;
        for frame in self.frames[from..].iter().take_while(|frame| frame.number() <= until) {
            if subscription.takes(frame.topics(), frame.private(), effort) {
                bytes += frame.wire(super::frame::Framing::Chunked).len();
                out.push(frame.clone());
            }
            if bytes >= budget_bytes || effort.is_spent() {
                return Taken::Through(frame.number());
            }
        }
        match hole {
            Some(hole) if out.is_empty() => Taken::Hole(hole),
            _ => Taken::Through(until),
        }
    }

    /// The memory that it takes.
    pub fn cost_bytes(&self) -> usize {
        size_of::<Page>()
            + self.holes.capacity() * size_of::<Hole>()
            + self.frames.iter().map(|frame| frame.cost_bytes()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::event::Event;
    use crate::hub::frame::Draft;
    use crate::hub::id::Epoch;
    use crate::hub::topic::{Topic, Topics, handle, table};

    fn numbers(frames: &[Arc<Frame>]) -> Vec<u64> {
        frames.iter().map(|frame| frame.number()).collect()
    }

    #[test]
    fn a_page_is_read_from_a_number_on_and_what_is_missing_is_told_before_what_follows_it() {
        let frame = |number: u64| {
            let topic = handle(if number.is_multiple_of(2) { "a" } else { "b" });
            Draft::encode(Topics::one(topic), &Event::new("x"), Epoch::new(1)).unwrap().archived(
                number,
                Epoch::new(1),
                0,
            )
        };
        let hole = Hole { first: 5, last: 7, reason: GapReason::Expired };
        let page = Page { frames: [2, 3, 4, 8, 10].map(frame).into(), holes: vec![hole], through: 12, stays: true };
        let a = Subscription::new(vec![Topic::parse("a").unwrap()], vec![], &table()).unwrap();
        let take_some = |after, until, budget, mut effort: Effort| {
            let mut out = Vec::new();
            let taken = page.take(after, until, &a, budget, &mut out, &mut effort);
            (taken, numbers(&out), effort.spent())
        };
        let take = |after, until, budget| take_some(after, until, budget, Effort::unbounded());
        assert_eq!(take(0, 100, usize::MAX), (Taken::Through(4), vec![2, 4], 3));
        assert_eq!(take(2, 100, usize::MAX), (Taken::Through(4), vec![4], 2));
        assert_eq!(take(4, 100, usize::MAX), (Taken::Hole(hole), vec![], 0));
        assert_eq!(take(6, 100, usize::MAX), (Taken::Hole(hole), vec![], 0));
        assert_eq!(take(4, 6, usize::MAX), (Taken::Hole(Hole { last: 6, ..hole }), vec![], 0), "the log has 7");
        assert_eq!(take(7, 100, usize::MAX), (Taken::Through(12), vec![8, 10], 2));
        // No further than it is wanted, and no more at once than that.
        assert_eq!(take(7, 9, usize::MAX), (Taken::Through(9), vec![8], 1));
        assert_eq!(take(0, 4, usize::MAX), (Taken::Through(4), vec![2, 4], 3));
        assert_eq!(take(0, 100, 1), (Taken::Through(2), vec![2], 1));
        assert_eq!(take(10, 100, usize::MAX), (Taken::Through(12), vec![], 0));
        // One that may do little looks at some of them, one at least.
        assert_eq!(take_some(0, 100, usize::MAX, Effort::new(2)), (Taken::Through(3), vec![2], 2));
        assert_eq!(take_some(0, 100, usize::MAX, Effort::new(0)), (Taken::Through(2), vec![2], 1));
    }
}
