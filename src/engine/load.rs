//! A new process fills its log with what the store has kept.

use std::borrow::Cow;

use crate::exchange::log_cell::LogCell;
use crate::exchange::topics::TopicTable;
use crate::hub::event::Event;
use crate::hub::fault::EventError;
use crate::hub::frame::Draft;
use crate::hub::id::Epoch;
use crate::hub::log::{Log, LogLimits, Numbering};
use crate::hub::topic::Topics;

use super::Ids;
use super::disk::read::{Item, ReadError, Reader};
use super::disk::store::Store;
use super::keys::Keys;
use super::offset::Offset;
use super::record::Record;
use super::wall::wall_ms;

/// After so many milliseconds of loading there is a line that says how far it is, again and again.
const PROGRESS_MS: u64 = 2_000;

/// What is to be read.
pub struct Loading {
    reader: Reader,
    /// The first sequence that is read, and the one after the last.
    first: u64,
    end: u64,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Events.
    pub events: u64,
    /// Packs of which nothing could be read.
    pub lost_packs: u64,
}

impl Loading {
    /// Prepares to fill a log of these bounds, and makes the log: what is not read counts as evicted.
    pub fn new(store: &Store, limits: LogLimits) -> (Loading, LogCell) {
        let readers = store.readers();
        let (first, end) = (readers.first_of_newest(limits.events as u64), store.next_sequence());
        let before = (first > 1).then(|| Offset::new(first, 0).get() - 1);
        let log = Log::new(store.epoch(), limits).starting_after(before);
        (Loading { reader: readers.reader(first), first, end }, LogCell::of_engine(log, store.epoch(), limits))
    }

    /// Fills the log, and what is known of idempotency keys.
    ///
    /// # Errors
    /// If a file can't be read, or a newer build wrote it.
    pub fn run(
        mut self,
        log: &LogCell,
        topics: &TopicTable,
        keys: &Keys,
        now_ns: impl Fn() -> u64,
    ) -> Result<Loaded, ReadError> {
        let mut loaded = Loaded::default();
        let mut told_ms = now_ns() / 1_000_000 + PROGRESS_MS;
        let mut next = self.first;
        while let Some(item) = self.reader.next()? {
            match item {
                Item::Pack { sequence, record } => {
                    let age_ns = wall_ms().saturating_sub(record.head().published_ms).saturating_mul(1_000_000);
                    match drafts(&record, log.epoch(), topics) {
                        Ok(drafts) => {
                            loaded.events += drafts.len() as u64;
                            let next = Offset::new(sequence, 0).get();
                            let published_ns = now_ns().saturating_sub(age_ns);
                            log.append(drafts, Numbering::From(next), published_ns);
                            let ids = Ids { epoch: log.epoch(), next, counts_live_only: false };
                            keys.learn(&record, ids, published_ns);
                        }
                        Err(fault) => {
                            tracing::warn!(sequence, %fault, "stored events can't be served");
                            log.lose(Offset::new(sequence + 1, 0).get() - 1);
                            loaded.lost_packs += 1;
                        }
                    }
                    next = sequence + 1;
                }
                Item::Hole(hole) => {
                    tracing::warn!(first = hole.first, last = hole.last, cause = %hole.cause, "stored events are lost");
                    log.lose(Offset::new(hole.last + 1, 0).get() - 1);
                    loaded.lost_packs += hole.last + 1 - hole.first;
                    next = hole.last + 1;
                }
            }
            let now_ms = now_ns() / 1_000_000;
            if now_ms >= told_ms {
                told_ms = now_ms + PROGRESS_MS;
                let (done, of) = (next - self.first, self.end - self.first);
                tracing::info!(done, of, events = loaded.events, "loading what was kept");
            }
        }
        if next < self.end {
            // Ids of these may have been given before a crash that came before the sync.
            log.lose(Offset::new(self.end, 0).get() - 1);
        }
        log.evict(now_ns());
        Ok(loaded)
    }
}

/// Encodes a record's events for the log.
///
/// # Errors
/// A [`EventError`] if one could not be published now.
pub(super) fn drafts(record: &Record<'_>, epoch: Epoch, table: &TopicTable) -> Result<Vec<Draft>, EventError> {
    let draft = |stored: super::record::Event<'_>| {
        let topics = stored.topics.iter().map(|topic| table.named(topic)).collect::<Result<Vec<_>, _>>()?;
        let event = Event {
            data: Cow::Borrowed(stored.data),
            event: stored.event.map(Cow::Borrowed),
            id: stored.id.map(Cow::Borrowed),
            retry_ms: stored.retry_ms,
            key: stored.key.map(Cow::Borrowed),
            live_only: stored.live_only,
            private: stored.private,
        };
        Draft::encode(Topics::new(topics)?, &event, epoch)
    };
    record.events().map(draft).collect()
}
