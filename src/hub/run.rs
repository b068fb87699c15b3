//! A run: the bytes that every member of a cohort is sent, gathered once.

use super::frame::{Frame, Framing};

/// The bytes that every member of a cohort is sent, and where its frames end.
#[derive(Default)]
pub(super) struct Run {
    pub(super) bytes: Vec<u8>,
    pub(super) prelude_len: usize,
    pub(super) ends: Vec<usize>,
    pub(super) published_ns: Vec<u64>,
}

/// Where a write ended within a run.
pub(super) struct Cut {
    /// How many frames were begun,
    pub(super) frames_begun: usize,
    /// and where in the last of them it ended, if in the middle.
    pub(super) offset: Option<usize>,
}

impl Cut {
    pub(super) fn frames_whole(&self) -> usize {
        self.frames_begun - usize::from(self.offset.is_some())
    }
}

impl Run {
    pub(super) fn start(&mut self, prelude: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(prelude);
        self.prelude_len = prelude.len();
        self.ends.clear();
        self.published_ns.clear();
    }

    pub(super) fn add(&mut self, frame: &Frame, framing: Framing) {
        self.bytes.extend_from_slice(frame.wire(framing));
        self.ends.push(self.bytes.len());
        self.published_ns.push(frame.published_ns());
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of the prelude and the first `events` frames.
    pub(super) fn first(&self, events: usize) -> &[u8] {
        &self.bytes[..self.end_of(events)]
    }

    pub(super) fn end_of(&self, events: usize) -> usize {
        if events == 0 { self.prelude_len } else { self.ends[events - 1] }
    }

    pub(super) fn cut(&self, len: usize) -> Cut {
        let whole = self.ends.partition_point(|&end| end <= len);
        let begun_at = self.end_of(whole);
        if len > begun_at {
            Cut { frames_begun: whole + 1, offset: Some(len - begun_at) }
        } else {
            Cut { frames_begun: whole, offset: None }
        }
    }

    /// Gives memory back that is beyond so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes);
    }
}
