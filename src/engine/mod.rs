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

pub mod keys;
pub mod offset;
pub mod record;
pub mod status;
pub mod disk;
pub mod pack;
pub mod committer;
pub mod load;

use std::sync::Arc;

use crate::exchange::bus::Bus;
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::id::{Epoch, EventId};
use crate::hub::log::Numbering;
use crate::hub::topic::Topics;

use committer::Committer;
use keys::{Begun, Key, Keys};
use record::Packed;
use status::{Phase, Status};

/// Where kept events live, and which publish calls are known by their keys.
pub struct Engine {
    kind: Kind,
    keys: Arc<Keys>,
}

enum Kind {
    /// In the log in memory, and nowhere else.
    Memory(Arc<Status>),
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
    /// Nothing of it is stored: its idempotency key came with other events before.
    #[error("the idempotency key came with other events before")]
    KeyReused,
    /// It is unknown whether it is stored.
    #[error("{0}")]
    Unknown(Arc<str>),
}

impl NotStored {
    /// What is told where whoever was to answer is gone.
    pub fn ended() -> NotStored {
        NotStored::Unknown("the engine has ended".into())
    }
}

/// What a publisher is told, on whatever thread.
pub type Answer = Box<dyn FnOnce(Result<Stored, NotStored>) + Send>;

/// What became of a publish call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The ids of its events.
    pub ids: Ids,
    /// Whether it was published before, by a call with its idempotency key, and not once more.
    pub duplicate: bool,
}

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
    /// The engine that keeps events in the log alone.
    pub fn memory(keys: Arc<Keys>) -> Engine {
        Engine { kind: Kind::Memory(Arc::new(Status::new(Phase::Ready))), keys }
    }

    /// The engine that keeps them in files.
    pub fn disk(committer: Committer, keys: Arc<Keys>) -> Engine {
        Engine { kind: Kind::Disk(committer), keys }
    }

    /// What it is doing.
    pub fn status(&self) -> &Arc<Status> {
        match &self.kind {
            Kind::Memory(status) => status,
            Kind::Disk(committer) => committer.status(),
        }
    }

    /// Whether kept events need a pack.
    pub fn stores(&self) -> bool {
        matches!(self.kind, Kind::Disk(_))
    }

    /// An idempotency key with what it came with. What is stored says nothing of live-only events, so that they are not
    /// compared where it is stored.
    pub fn key<'k, 'e>(&self, text: &'k str, events: impl Iterator<Item = (&'e Topics, &'e Event<'e>)>) -> Key<'k> {
        let compared = events.filter(|(_, event)| !(self.stores() && event.live_only));
        Key { text, fingerprint: self.keys.fingerprint(compared) }
    }

    /// Publishes drafts that the log has admitted, unless their key is known. Says at once what became of them, or,
    /// where they wait for a store or for a call with the same key, `None`: then the answer is given later.
    pub fn offer<M>(
        &self,
        bus: &Bus<M>,
        drafts: Vec<Draft>,
        pack: Option<Packed>,
        key: Option<Key<'_>>,
        now_ns: u64,
        answer: impl FnOnce() -> Answer,
    ) -> Option<Result<Stored, NotStored>> {
        // What was published before is not known yet while it loads.
        if matches!(&self.kind, Kind::Disk(committer) if committer.status().phase() != Phase::Ready) {
            return Some(Err(NotStored::Busy("the engine is not ready")));
        }
        let (mut answer, mut ticket) = (Some(answer), None);
        let mut answer = || answer.take().expect("Invariant: it is asked for once")();
        if let Some(key) = key {
            match self.keys.begin(key, now_ns, &mut answer) {
                Begun::First(first) => ticket = Some(first),
                Begun::Done(ids) => return Some(Ok(Stored { ids, duplicate: true })),
                Begun::Waits => return None,
                Begun::Other => return Some(Err(NotStored::KeyReused)),
            }
        }
        if let (Kind::Disk(committer), Some(pack)) = (&self.kind, pack) {
            let mut answer = answer();
            if let Some(ticket) = ticket {
                answer = Box::new(move |stored| {
                    ticket.finish(&stored.clone().map(|Stored { ids, .. }| ids));
                    answer(stored);
                });
            }
            committer.offer(drafts, pack, answer);
            return None;
        }
        // In memory, or nothing of it is kept.
        let placed = bus.accept(drafts, Numbering::Own, now_ns);
        let (epoch, in_memory) = (bus.log.epoch(), !self.stores());
        let next = if in_memory { placed.first.get() } else { 0 };
        let ids = Ids { epoch, next, counts_live_only: in_memory };
        if let Some(ticket) = ticket {
            ticket.finish(&Ok(ids));
        }
        Some(Ok(Stored { ids, duplicate: false }))
    }

    /// Returns when all that was offered has its answer.
    pub fn flush(&self) {
        if let Kind::Disk(committer) = &self.kind {
            committer.flush();
        }
    }

    /// Takes nothing any more, and ends its thread.
    pub fn stop(&self) {
        if let Kind::Disk(committer) = &self.kind {
            committer.stop();
        }
    }
}
