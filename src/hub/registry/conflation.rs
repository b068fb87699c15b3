//! Conflation: a stream that is behind may get the newest event of each key in the place of all.

use std::collections::HashSet;
use std::sync::Arc;

use crate::hub::bounds::Bounds;
use crate::hub::effort::Effort;
use crate::hub::frame::{Frame, Framing};
use crate::hub::log::{Read, Window};
use crate::hub::offset::Offset;
use crate::hub::topic::Subscription;

use super::{History, work};

/// What conflation has chosen.
pub(super) struct Choice {
    /// All up to where it chose from.
    pub(super) read: Read,
    /// Whether any went.
    pub(super) conflated: bool,
}

/// Reads a window for conflation, which must know the newest of each key: all of it, or as much as a stream that is
/// behind may hold, or as one turn may look at. What it leaves out, newer events stand for that it has read as well.
pub(super) fn choose(
    history: &impl History,
    mut window: Window<'_>,
    bounds: &Bounds,
    asked_through: Offset,
    frames: &mut Vec<Arc<Frame>>,
    effort: &mut Effort,
) -> Choice {
    let from = window.after;
    let mut piece = Vec::new();
    let (mut bytes, mut conflated) = (0, false);
    let len = |frames: &[Arc<Frame>]| frames.iter().map(|frame| frame.wire(Framing::Chunked).len()).sum::<usize>();
    loop {
        let read = history.read(&window, bounds.read_bytes, &mut piece, effort);
        let Read::Through(through) = read else {
            if matches!(read, Read::Broken { .. }) && window.after > from {
                conflated |= conflate(frames, window.subscription, asked_through, effort);
                return Choice { read: Read::Through(window.after), conflated };
            }
            frames.clear();
            return Choice { read, conflated: false };
        };
        bytes += len(&piece);
        effort.spend(work::FRAME * piece.len());
        frames.append(&mut piece);
        let is_over = through >= window.through || effort.is_spent();
        if is_over || bytes > bounds.selection_bytes {
            conflated |= conflate(frames, window.subscription, asked_through, effort);
            bytes = len(frames);
        }
        if is_over || bytes > bounds.selection_bytes {
            return Choice { read, conflated };
        }
        window.after = through;
    }
}

/// Keeps, of the frames with a key that were published after `opened_at`, those that are the newest of
/// their key on any topic that they bring to this subscription; what it asked to be replayed is never
/// thinned out. Says whether any went.
fn conflate(frames: &mut Vec<Arc<Frame>>, subscription: &Subscription, opened_at: Offset, effort: &mut Effort) -> bool {
    let before = frames.len();
    let mut seen = HashSet::new();
    let keep: Vec<bool> = frames
        .iter()
        .rev()
        .map(|frame| match frame.key() {
            Some(key) if frame.offset() > opened_at => {
                let topics = frame
                    .topics()
                    .iter()
                    .filter(|topic| subscription.takes(std::slice::from_ref(*topic), frame.private(), effort));
                // Each of them is to be noted.
                topics.filter(|topic| seen.insert((*topic, key))).count() > 0
            }
            _ => true,
        })
        .collect();
    let mut keep = keep.into_iter().rev();
    frames.retain(|_| keep.next().unwrap_or(true));
    frames.len() < before
}
