//! Where kept events live beside the log in memory. What an engine must promise:
//!
//! 1. **Order.** Packs, the events of one publish call, have sequences that rise; the events of a pack
//!    are consecutive. All readers see one order, and the log in memory has it.
//! 2. **Whole.** A pack is there with all of its events or not at all.
//! 3. **Durable as far as it says.** What was acknowledged is read by every later process, or a hole
//!    stands in its place that is told to whoever wanted it.
//! 4. **No number twice.** A number that anybody was told never names another event. The epoch is made
//!    with the engine's store, and a new store has a new one.
//! 5. **A failure says what is known**: [`NotStored::Refused`] is for good, [`NotStored::Unknown`] is not.
//! 6. **It never waits for a reader**, and a publisher waits for it no longer than for the store.

pub mod offset;
pub mod record;
pub mod status;
pub mod disk;
pub mod pack;
pub mod committer;
pub mod load;

use std::sync::Arc;

use crate::exchange::bus::Bus;
use crate::hub::frame::Draft;
use crate::hub::id::{Epoch, EventId};
use crate::hub::log::Numbering;
use crate::hub::offset::Offset;

use committer::Committer;
use record::Packed;
use status::{Phase, Status};

/// Where kept events live.
pub enum Engine {
    /// In the log in memory, and nowhere else.
    Memory(Status),
    /// In segment files, too.
    Disk(Committer),
}

/// Why a publish call was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Not now: nothing of it is stored.
    #[error("not stored: {0}")]
    Busy(&'static str),
    /// Nothing of it is stored.
    #[error("{0}")]
    Refused(Arc<str>),
    /// It is unknown whether it is stored.
    #[error("{0}")]
    Unknown(Arc<str>),
}

/// What a publisher is told, on whatever thread.
pub type Answer = Box<dyn FnOnce(Result<Ids, NotStored>) + Send>;

/// The generated ids of a call's events, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    epoch: Epoch,
    next: u64,
    /// Whether events that are live only have numbers as well.
    counts_live_only: bool,
}

impl Ids {
    /// The next event's id, which is none if it is live only.
    pub fn next(&mut self, live_only: bool) -> Option<EventId> {
        let number = self.next;
        if !live_only || self.counts_live_only {
            self.next += 1;
        }
        (!live_only).then(|| self.epoch.id(number))
    }
}

impl Engine {
    /// What it is doing.
    pub fn status(&self) -> &Status {
        match self {
            Engine::Memory(status) => status,
            Engine::Disk(committer) => committer.status(),
        }
    }

    /// Whether kept events need a pack.
    pub fn stores(&self) -> bool {
        matches!(self, Engine::Disk(_))
    }

    /// Publishes drafts that the log has admitted. Says at once what became of them, or, where they
    /// wait for a store, `None`: then the answer is given later.
    pub fn offer<M>(
        &self,
        bus: &Bus<M>,
        drafts: Vec<Draft>,
        pack: Option<Packed>,
        now_ns: u64,
        answer: impl FnOnce() -> Answer,
    ) -> Option<Result<Ids, NotStored>> {
        let epoch = bus.log.epoch();
        match self {
            Engine::Memory(_) => {
                let placed = bus.accept(drafts, Numbering::Own, now_ns);
                Some(Ok(Ids { epoch, next: placed.first.get(), counts_live_only: true }))
            }
            Engine::Disk(committer) => {
                if committer.status().phase() != Phase::Ready {
                    return Some(Err(NotStored::Busy("the engine is not ready")));
                }
                let Some(pack) = pack else {
                    // Nothing of it is kept.
                    bus.accept(drafts, Numbering::Own, now_ns);
                    return Some(Ok(Ids { epoch, next: Offset::ZERO.get(), counts_live_only: false }));
                };
                committer.offer(drafts, pack, answer()).err().map(Err)
            }
        }
    }

    /// Returns when all that was offered has its answer.
    pub fn flush(&self) {
        if let Engine::Disk(committer) = self {
            committer.flush();
        }
    }

    /// Takes nothing any more, and ends its thread.
    pub fn stop(&self) {
        if let Engine::Disk(committer) = self {
            committer.stop();
        }
    }
}
