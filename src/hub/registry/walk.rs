//! Walks: what concerns all streams is done for some of them each turn.

use std::ops::Range;

use crate::hub::stream::Socket;

use super::{Registry, StreamKey};

/// A walk over all streams, a part of them a turn. It may leave out those that are opened meanwhile.
#[derive(Debug, Default)]
pub struct Walk {
    next: u32,
}

impl<S: Socket> Registry<S> {
    /// The slots that a walk comes to in this turn.
    pub fn walk_on(&self, walk: &mut Walk) -> Range<u32> {
        let from = walk.next;
        walk.next = from.saturating_add(self.bounds.walked_a_turn).min(self.streams.slots()).max(from);
        from..walk.next
    }

    /// Whether a walk is over.
    pub fn has_walked(&self, walk: &Walk) -> bool {
        walk.next >= self.streams.slots()
    }

    /// The stream in a slot, if there is one.
    pub fn stream_in(&self, slot: u32) -> Option<StreamKey> {
        self.streams.key_of(slot)
    }
}
