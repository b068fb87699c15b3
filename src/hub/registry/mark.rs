//! Cursor marks: they say how far a stream is, without an event.
//!
//! A client resumes after the last id that it saw. A stream that has none yet, or only one that is old, gets a mark: at
//! its start, so that it resumes exactly should it break before its first event, and again when a good part of what is
//! kept is newer than its id, so that the id never outlives what the log knows of it.
//!
//! Invariant: a mark names no offset beyond what its stream has been given, and none before an id that it had.

use std::sync::Arc;

use crate::hub::frame::{self, Chunk};
use crate::hub::id::EventId;
use crate::hub::log::Resume;
use crate::hub::offset::Offset;
use crate::hub::stream::Socket;
use crate::hub::topic::Subscription;

use super::{History, Registry};

/// What a shard needs for its marks.
#[derive(Default)]
pub(super) struct Marks {
    are_on: bool,
    /// Ids of offsets before this are old.
    old_before: Offset,
    /// The last one made: most streams are at the same offset.
    made: Option<(Offset, Arc<Chunk>)>,
}

impl Marks {
    /// Finds out which ids are old.
    pub(super) fn look(&mut self, history: &impl History) {
        if self.are_on {
            self.old_before = history.old_before();
        }
    }

    /// The mark of an offset.
    pub(super) fn at(&mut self, offset: Offset, history: &impl History) -> Arc<Chunk> {
        match &self.made {
            Some((made, chunk)) if *made == offset => chunk.clone(),
            _ => {
                let chunk = Arc::new(frame::mark(history.id(offset)));
                self.made = Some((offset, chunk.clone()));
                chunk
            }
        }
    }
}

impl<S: Socket> Registry<S> {
    /// Turns marks on or off, for all streams.
    pub fn set_marks(&mut self, are_on: bool) {
        self.cursor_marks.are_on = are_on;
    }

    /// Whether a stream that starts after the offset with this id, and has no gap, begins with a mark.
    pub(super) fn marks_at_start(
        &self,
        resume: &Resume,
        subscription: &Subscription,
        id: impl FnOnce() -> EventId,
    ) -> bool {
        let has_it = matches!(resume, Resume::After(asked) if **asked == *id().as_str());
        self.cursor_marks.are_on && !has_it && has_topics(subscription)
    }

    /// The mark that a live stream gets now, if its id is old.
    pub(super) fn mark_due(&mut self, index: u32, history: &impl History) -> Option<Arc<Chunk>> {
        let stream = self.streams.at(index);
        let (marked, cohort) = (stream.marked, stream.cohort);
        let through = self.served_through(cohort);
        let cohort = self.cohorts.at(cohort);
        if !self.cursor_marks.are_on || !has_topics(&cohort.subscription) {
            return None;
        }
        // Fewer than 2^32 events come between two marks of a stream.
        let had = marked.not_after(through).max(cohort.named);
        if had >= self.cursor_marks.old_before || had >= through {
            return None;
        }
        self.streams.at(index).marked = through.low_half();
        Some(self.cursor_marks.at(through, history))
    }
}

fn has_topics(subscription: &Subscription) -> bool {
    !subscription.topics().is_empty() || !subscription.patterns().is_empty()
}
