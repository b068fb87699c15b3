//! The segments as an archive.

use crate::engine::archive::{Archive, NoPage, PAGE_BYTES};
use crate::engine::load::drafts;
use crate::engine::offset::{INDEX_BITS, Offset};
use crate::engine::wall::wall_ms;
use crate::exchange::topics::TopicTable;
use crate::hub::archive::{Hole, Page};
use crate::hub::gap::GapReason;
use crate::hub::id::Epoch;

use super::read::{Cause, Item, Readers};

/// What is in segment files.
pub struct Segments {
    /// The files.
    pub readers: Readers,
    /// The log's epoch.
    pub epoch: Epoch,
    /// The topics of this process.
    pub topics: TopicTable,
    /// How long an event is kept, in milliseconds: files keep some for longer.
    pub age_ms: u64,
    /// The time, in nanoseconds.
    pub now_ns: Box<dyn Fn() -> u64 + Send>,
}

impl Archive for Segments {
    fn page(&mut self, first: u64, end: u64) -> Result<Page, NoPage> {
        let (from, through) = (first >> INDEX_BITS, (end - 1) >> INDEX_BITS);
        let number = |sequence| Offset::new(sequence, 0).get();
        let mut page = Page { through: first.saturating_sub(1), ..Page::default() };
        let (mut bytes, mut is_missing) = (0, false);
        // The first sequence of all is 1.
        let mut reader = self.readers.reader(from.max(1));
        while bytes < PAGE_BYTES {
            let (hole, last) = match reader.next()? {
                None => return Ok(page),
                Some(Item::Pack { sequence, .. }) if sequence > through => break,
                Some(Item::Pack { sequence, record }) => {
                    let head = record.head();
                    let age_ms = wall_ms().saturating_sub(head.published_ms);
                    let whole = |reason| Hole {
                        first: number(sequence),
                        last: number(sequence) + head.events as u64 - 1,
                        reason,
                    };
                    let hole = if age_ms > self.age_ms {
                        Some(whole(GapReason::Expired))
                    } else if let Ok(drafts) = drafts(&record, self.epoch, &self.topics) {
                        let published_ns = (self.now_ns)().saturating_sub(age_ms.saturating_mul(1_000_000));
                        for (number, draft) in (number(sequence)..).zip(drafts) {
                            bytes += draft.cost_bytes();
                            page.frames.push(draft.archived(number, self.epoch, published_ns));
                        }
                        None
                    } else {
                        Some(whole(GapReason::Lost))
                    };
                    (hole, sequence)
                }
                Some(Item::Hole(hole)) => {
                    let reason = if hole.cause == Cause::Expired { GapReason::Expired } else { GapReason::Lost };
                    (Some(Hole { first: number(hole.first), last: number(hole.last + 1) - 1, reason }), hole.last)
                }
            };
            // One gap is enough for what is missing together.
            match (page.holes.last_mut(), hole) {
                (Some(before), Some(hole)) if is_missing && before.reason == hole.reason => before.last = hole.last,
                (_, Some(hole)) => page.holes.push(hole),
                (_, None) => {}
            }
            is_missing = hole.is_some();
            page.through = number(last + 1) - 1;
            if page.through + 1 >= end {
                break;
            }
        }
        if bytes < PAGE_BYTES {
            page.through = page.through.max(end - 1);
        }
        page.stays = true;
        Ok(page)
    }
}
