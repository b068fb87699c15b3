//! Where kept events live beside the log in memory. What an engine must promise:
//!
//! 1. **Order.** Packs, the events of one publish call, have sequences that rise; the events of a pack
//!    are consecutive. All readers see one order, and the log in memory has it.
//! 2. **Whole.** A pack is there with all of its events or not at all.
//! 3. **Durable as far as it says.** What was acknowledged is read by every later process, or a hole
//!    stands in its place that is told to whoever wanted it.
//! 4. **No number twice.** A number that anybody was told never names another event of its epoch. The epoch is made
//!    with the engine's store; a new store, or one that is not what it was, has a new one.
//! 5. **A failure says what is known**: [`NotStored::Refused`] is for good, [`NotStored::Unknown`] is not.
//! 6. **It never waits for a reader**, and a publisher waits for it no longer than for the store.

pub mod entropy;
pub mod wall;
pub mod keys;
pub mod offset;
pub mod record;
pub mod status;
pub mod disk;
pub mod pack;
pub mod committer;
pub mod waiting;
pub mod load;
pub mod facts;
#[cfg(feature = "nats")]
pub mod nats;
pub mod archive;

use std::sync::Arc;

use crate::exchange::bus::Bus;
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::id::{Epoch, EventId};
use crate::hub::log::Numbering;
use crate::hub::topic::Topics;

use committer::Committer;
use facts::Facts;
use keys::{Begun, Key, Keys};
#[cfg(feature = "nats")]
use nats::Cluster;
use pack::{Packs, pack};
use record::EncodeError;
use status::{Phase, Status};
use wall::wall_ms;

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
    /// In a stream of NATS servers, too, that other gateways share.
    #[cfg(feature = "nats")]
    Nats(Cluster),
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
    /// Nothing of it is stored: it is larger than the engine takes.
    #[error("{0}")]
    TooLarge(Arc<str>),
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

    /// The engine that shares them with other gateways.
    #[cfg(feature = "nats")]
    pub fn nats(cluster: Cluster, keys: Arc<Keys>) -> Engine {
        Engine { kind: Kind::Nats(cluster), keys }
    }

    /// What it is doing.
    pub fn status(&self) -> &Arc<Status> {
        match &self.kind {
            Kind::Memory(status) => status,
            Kind::Disk(committer) => committer.status(),
            #[cfg(feature = "nats")]
            Kind::Nats(cluster) => cluster.status(),
        }
    }

    /// What is counted, of an engine that others share.
    pub fn facts(&self) -> Arc<Facts> {
        match &self.kind {
            Kind::Memory(_) | Kind::Disk(_) => Arc::default(),
            #[cfg(feature = "nats")]
            Kind::Nats(cluster) => cluster.facts().clone(),
        }
    }

    /// Whether events need packs.
    pub fn stores(&self) -> bool {
        !matches!(self.kind, Kind::Memory(_))
    }

    /// Whether other gateways have the same events.
    pub fn is_shared(&self) -> bool {
        !matches!(self.kind, Kind::Memory(_) | Kind::Disk(_))
    }

    /// What it needs of a call's events.
    ///
    /// # Errors
    /// An [`EncodeError`] that names the bound which they are over.
    pub fn pack<'a>(
        &self,
        events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
        key: Option<&str>,
    ) -> Result<Packs, EncodeError> {
        if !self.stores() {
            return Ok(Packs::default());
        }
        let live_only = if self.is_shared() { pack::pack_live_only(events.clone(), wall_ms())? } else { None };
        Ok(Packs { kept: pack(events, wall_ms(), key)?, live_only })
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
        packs: Packs,
        key: Option<Key<'_>>,
        now_ns: u64,
        answer: impl FnOnce() -> Answer,
    ) -> Option<Result<Stored, NotStored>> {
        // What was published before is not known yet while it loads.
        if self.stores() && self.status().phase() != Phase::Ready {
            return Some(Err(NotStored::Busy(match self.status().phase() {
                Phase::Away | Phase::Stale => "the engine is away",
                Phase::Faulted => "the engine has a fault",
                _ => "the engine is not ready",
            })));
        }
        let text = key.map(|key| key.text);
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
        let waits = self.is_shared() || matches!((&self.kind, &packs.kept), (Kind::Disk(_), Some(_)));
        if waits {
            let mut answer = answer();
            if let Some(ticket) = ticket {
                answer = Box::new(move |stored| {
                    ticket.finish(&stored.clone().map(|Stored { ids, .. }| ids));
                    answer(stored);
                });
            }
            match (&self.kind, packs) {
                (Kind::Disk(committer), Packs { kept: Some(pack), .. }) => committer.offer(drafts, pack, answer),
                #[cfg(feature = "nats")]
                (Kind::Nats(cluster), packs) => cluster.offer(packs, text, answer),
                _ => unreachable!("Invariant: it waits for a store"),
            }
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
        match &self.kind {
            Kind::Memory(_) => {}
            Kind::Disk(committer) => committer.flush(),
            #[cfg(feature = "nats")]
            Kind::Nats(cluster) => cluster.flush(),
        }
    }

    /// Takes nothing any more, and ends its thread.
    pub fn stop(&self) {
        match &self.kind {
            Kind::Memory(_) => {}
            Kind::Disk(committer) => committer.stop(),
            #[cfg(feature = "nats")]
            Kind::Nats(cluster) => cluster.stop(),
        }
    }
}
