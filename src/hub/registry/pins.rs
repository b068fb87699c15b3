//! What streams that are behind hold of the log's events: counted, and bounded once these have left the log.
//!
//! A stream holds the frame that it has begun, which must be finished, and what was chosen for it, by conflation or
//! for its end. While these are in the log that costs the entries alone; then they are memory that nothing else needs.
//! A frame counts once for a shard, however many of its streams hold it.
//!
//! Invariant: `bytes` is the cost of the frames held that are known to have left the log, and of the entries of those
//! that were chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::hub::close::CloseReason;
use crate::hub::frame::Frame;
use crate::hub::offset::Offset;
use crate::hub::stream::{Begun, Behind, Socket};

use super::{History, Registry, StreamKey};

/// What the entry of a chosen frame takes: in the selection, and in the count here.
const ENTRY_BYTES: usize = 48;

/// How a stream holds a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// A part of it is written.
    Begun,
    /// Conflation has chosen it, or its end has.
    Chosen,
}

/// What the streams of a shard hold.
pub(super) struct Pins {
    /// How many hold a frame, and what it costs: kept frames, those that are live only, and those that were read from
    /// an archive, by their numbers.
    frames: [BTreeMap<Offset, (u32, usize)>; 3],
    begun: BTreeSet<(Offset, u32)>,
    chosen: BTreeSet<(Offset, u32)>,
    /// Up to which offset frames have left the log, as far as is known.
    gone: [Offset; 3],
    bytes: usize,
}

impl Default for Pins {
    fn default() -> Pins {
        Pins {
            frames: Default::default(),
            begun: BTreeSet::new(),
            chosen: BTreeSet::new(),
            // What comes from an archive has gone before.
            gone: [Offset::ZERO, Offset::ZERO, Offset::MAX],
            bytes: 0,
        }
    }
}

/// By what a frame is counted, and its kind.
fn place(frame: &Frame) -> (Offset, usize) {
    match frame.offset() {
        Offset::ZERO => (Offset::new(frame.number()), 2),
        offset => (offset, usize::from(frame.live_only())),
    }
}

impl Pins {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.chosen.is_empty()
    }

    fn holders(&mut self, hold: Hold) -> &mut BTreeSet<(Offset, u32)> {
        match hold {
            Hold::Begun => &mut self.begun,
            Hold::Chosen => &mut self.chosen,
        }
    }

    pub(super) fn take(&mut self, stream: u32, hold: Hold, frame: &Frame) {
        let (offset, kind) = place(frame);
        let is_new = self.holders(hold).insert((offset, stream));
        debug_assert!(is_new, "held once");
        let (holders, cost) = self.frames[kind].entry(offset).or_insert_with(|| (0, frame.cost_bytes()));
        *holders += 1;
        if *holders == 1 && offset <= self.gone[kind] {
            self.bytes += *cost;
        }
        if hold == Hold::Chosen {
            self.bytes += ENTRY_BYTES;
        }
    }

    pub(super) fn release(&mut self, stream: u32, hold: Hold, frame: &Frame) {
        let (offset, kind) = place(frame);
        let was_held = self.holders(hold).remove(&(offset, stream));
        debug_assert!(was_held, "released once");
        if hold == Hold::Chosen {
            self.bytes -= ENTRY_BYTES;
        }
        let Some((holders, cost)) = self.frames[kind].get_mut(&offset) else { return };
        *holders -= 1;
        if *holders == 0 {
            if offset <= self.gone[kind] {
                self.bytes -= *cost;
            }
            self.frames[kind].remove(&offset);
        }
    }

    /// All that a stream holds is released with it.
    pub(super) fn release_all(&mut self, stream: u32, behind: &Behind) {
        if let Some(Begun::Frame(frame)) = behind.unsent.as_ref().map(|unsent| &unsent.begun) {
            self.release(stream, Hold::Begun, frame);
        }
        behind.selection.iter().for_each(|frame| self.release(stream, Hold::Chosen, frame));
    }

    /// Frames up to these offsets have left the log.
    fn have_gone(&mut self, through: [Offset; 2]) {
        for (kind, through) in through.into_iter().enumerate() {
            let before = self.gone[kind];
            if through > before {
                let newly = self.frames[kind].range((Bound::Excluded(before), Bound::Included(through)));
                self.bytes += newly.map(|(_, (_, cost))| cost).sum::<usize>();
                self.gone[kind] = through;
            }
        }
    }

    /// The oldest pin: a stream that holds the oldest of the frames that have left the log. If all held are in the
    /// log, whose entries alone count, it is the oldest that was chosen.
    fn oldest(&self) -> Option<(u32, Hold)> {
        let oldest = self.frames.iter().zip(self.gone).filter_map(|(frames, gone)| {
            let (&offset, _) = frames.first_key_value()?;
            (offset <= gone).then_some(offset)
        });
        let Some(offset) = oldest.min() else { return self.chosen.first().map(|&(_, stream)| (stream, Hold::Chosen)) };
        let of = |holders: &BTreeSet<(Offset, u32)>| {
            holders.range((offset, 0)..=(offset, u32::MAX)).next().map(|&(_, stream)| stream)
        };
        of(&self.chosen)
            .map(|stream| (stream, Hold::Chosen))
            .or_else(|| of(&self.begun).map(|stream| (stream, Hold::Begun)))
    }
}

impl<S: Socket> Registry<S> {
    /// What its streams hold outside the log, in bytes.
    pub fn pinned_bytes(&self) -> usize {
        self.pins.bytes()
    }

    /// Whether that is more than they may.
    pub fn is_overpinned(&self) -> bool {
        self.pins.bytes() > self.bounds.pinned_bytes
    }

    /// Frees what streams hold outside the log over the bound, a bounded part of it, the oldest first. A selection is
    /// dropped: its stream reads again from its cursor. A frame that was begun can't be left unfinished: its stream is
    /// closed, once it has no selection. A shard that sleeps looks when it is woken, at a progress deadline at the latest;
    /// what leaves the log until then was within the log's bounds.
    pub fn unpin(&mut self, history: &impl History) {
        if self.pins.is_empty() {
            return;
        }
        self.pins.have_gone(history.gone_through());
        for _ in 0..self.bounds.served_a_turn {
            if !self.is_overpinned() {
                return;
            }
            let Some((index, hold)) = self.pins.oldest() else { return };
            match hold {
                // What was chosen comes after what was begun, and may be enough.
                Hold::Begun if !self.drop_selection(index) => {
                    self.close(self.streams.key_at(index), CloseReason::Pinned);
                }
                Hold::Begun => {}
                Hold::Chosen => {
                    self.drop_selection(index);
                }
            }
        }
    }

    /// What was chosen for the end of a stream and its socket has not taken is cut to what conflation may choose at
    /// once: what comes after that, the stream reads from the log.
    pub(super) fn cut_selection(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let framing = self.cohorts.at(stream.cohort).framing;
        let Some(behind) = stream.behind_mut() else { return };
        let mut bytes = 0;
        let within = behind.selection.iter().take_while(|frame| {
            let fits = bytes < self.bounds.selection_bytes;
            bytes += frame.wire(framing).len();
            fits
        });
        let kept = within.count();
        for frame in behind.selection.drain(kept..) {
            behind.selected_through = behind.selected_through.min(frame.offset().prev());
            self.pins.release(key.index(), Hold::Chosen, &frame);
        }
        behind.selection.shrink_to_fit();
    }

    /// Says whether there was one.
    fn drop_selection(&mut self, index: u32) -> bool {
        let Some(behind) = self.streams.at(index).behind_mut() else { return false };
        let selection = std::mem::take(&mut behind.selection);
        selection.iter().for_each(|frame| self.pins.release(index, Hold::Chosen, frame));
        !selection.is_empty()
    }

    /// What it should have counted, from what each stream holds.
    #[cfg(test)]
    pub(crate) fn recounted_pinned_bytes(&self) -> usize {
        let behind = || self.streams.iter().filter_map(|(_, stream)| stream.behind());
        let chosen = || behind().flat_map(|behind| &behind.selection);
        let begun = behind().filter_map(|behind| match &behind.unsent.as_ref()?.begun {
            Begun::Frame(frame) => Some(frame),
            _ => None,
        });
        let gone = |frame: &&std::sync::Arc<Frame>| place(frame).0 <= self.pins.gone[place(frame).1];
        let frames: BTreeMap<_, _> =
            begun.chain(chosen()).filter(gone).map(|frame| (place(frame), frame.cost_bytes())).collect();
        frames.values().sum::<usize>() + ENTRY_BYTES * chosen().count()
    }
}
