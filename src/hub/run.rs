//! A run: the bytes that every member of a cohort is sent, gathered once.

use std::sync::Arc;

use super::frame::{Frame, Framing};
use super::stream::{Begun, Unsent};

/// The bytes that every member of a cohort is sent, and where its frames end.
#[derive(Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    prelude_len: usize,
    ends: Vec<usize>,
    pub(super) published_ns: Vec<u64>,
}

/// Where a write ended within a run.
pub(super) struct Cut {
    /// How many frames were begun,
    pub(super) frames_begun: usize,
    /// and where in the last of them, or in the prelude if none was, it ended in the middle.
    amid: Option<usize>,
}

impl Cut {
    pub(super) fn frames_whole(&self) -> usize {
        self.frames_begun - usize::from(self.frames_begun > 0 && self.amid.is_some())
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

    fn end_of(&self, events: usize) -> usize {
        if events == 0 { self.prelude_len } else { self.ends[events - 1] }
    }

    pub(super) fn cut(&self, len: usize) -> Cut {
        let whole = self.ends.partition_point(|&end| end <= len);
        let begun_at = self.end_of(whole);
        if len > begun_at {
            Cut { frames_begun: whole + 1, amid: Some(len - begun_at) }
        } else {
            Cut { frames_begun: whole, amid: (len < begun_at).then_some(len) }
        }
    }

    /// What of a run that was cut must be finished first; `frame` gives the frame that was begun last.
    pub(super) fn unsent(&self, cut: &Cut, frame: impl FnOnce() -> Arc<Frame>) -> Option<Unsent> {
        let offset = cut.amid?;
        Some(if cut.frames_begun > 0 {
            Unsent { begun: Begun::Frame(frame()), offset }
        } else {
            Unsent { begun: Begun::Bytes(self.bytes[offset..self.prelude_len].into()), offset: 0 }
        })
    }

    /// Gives memory back that is beyond so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::event::Event;
    use crate::hub::frame::Draft;
    use crate::hub::id::Epoch;
    use crate::hub::log::{Evicted, Log, LogLimits, Numbering};
    use crate::hub::offset::Offset;
    use crate::hub::topic::{Topics, handle};

    fn frame() -> Arc<Frame> {
        let mut log = Log::new(Epoch::new(1), LogLimits { events: 9, bytes: 1 << 20, age_ns: u64::MAX });
        let draft = Draft::encode(Topics::one(handle("a")), &Event::new("x"), Epoch::new(1)).unwrap();
        log.append([draft], Numbering::Own, 0, &mut Evicted::default());
        let mut frames = Vec::new();
        log.tail(Offset::ZERO, 1, &mut frames);
        frames.remove(0)
    }

    #[test]
    fn wherever_a_run_is_cut_what_was_begun_is_what_is_unsent() {
        for prelude in [&b""[..], b"prelude"] {
            let (frame, mut run) = (frame(), Run::default());
            let len = frame.wire(Framing::Close).len();
            run.start(prelude);
            (0..3).for_each(|_| run.add(&frame, Framing::Close));
            for sent in 0..run.len() {
                let cut = run.cut(sent);
                let whole = sent.saturating_sub(prelude.len()) / len;
                let amid = sent.saturating_sub(prelude.len()) % len > 0;
                assert_eq!((cut.frames_whole(), cut.frames_begun), (whole, whole + usize::from(amid)), "{sent}");
                let unsent = run.unsent(&cut, || frame.clone());
                let left = unsent.as_ref().map_or(&[][..], |unsent| unsent.bytes(Framing::Close));
                let end = if sent < prelude.len() { prelude.len() } else { prelude.len() + cut.frames_begun * len };
                assert_eq!(left, &run.first(3)[sent..end], "{sent}");
                assert_eq!(unsent.is_some(), !left.is_empty(), "nothing left is nothing to be finished");
            }
        }
    }
}
