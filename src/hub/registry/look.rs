//! What an operator may see of the streams: the slowest of them, found in one walk.

use std::sync::Arc;

use crate::hub::slab::SlabKey;
use crate::hub::stream::Socket;
use crate::hub::top::Top;
use crate::hub::topic::Subscription;

use super::{Registry, Walk};

/// By what streams are put in order; the largest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// How many events they are behind.
    Lag,
    /// How long they have been open.
    Age,
    /// How long ago they were last written to.
    Written,
}

/// How a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// How many offsets of the log lie between it and where its shard stands; 0 if it is live.
    pub lag: u64,
    /// How long ago it was last written to, in milliseconds.
    pub written_ms: u64,
    /// How long it has been open, in whole seconds.
    pub age_s: u64,
}

impl Standing {
    /// What it is ordered by; of those that are equal, the one that was written to longest ago is first.
    pub fn rank(&self, order: Order) -> (u64, u64) {
        let by = match order {
            Order::Lag => self.lag,
            Order::Age => self.age_s,
            Order::Written => self.written_ms,
        };
        (by, self.written_ms)
    }
}

/// A stream, as an operator sees it.
pub struct Look<'a, S> {
    /// Its slot, a number that no other open stream of the shard has.
    pub slot: u32,
    /// Whether it reads behind the others.
    pub behind: bool,
    /// How it stands.
    pub standing: Standing,
    /// What it subscribes to.
    pub subscription: &'a Arc<Subscription>,
    /// Its socket.
    pub socket: &'a S,
}

/// A look at all streams for the first in an order, a part of them a turn.
pub struct Looking {
    order: Order,
    top: Top<((u64, u64), u64, Standing)>,
    walk: Walk,
}

impl Looking {
    /// A look for the first `max` streams.
    pub fn new(order: Order, max: usize) -> Looking {
        Looking { order, top: Top::new(max), walk: Walk::default() }
    }
}

impl<S: Socket> Registry<S> {
    /// Looks at further streams; says whether that was all.
    pub fn look_on(&self, looking: &mut Looking, now_ms: u64) -> bool {
        let slots = self.walk_on(&mut looking.walk);
        for key in slots.filter_map(|slot| self.stream_in(slot)) {
            let Some(stream) = self.streams.get(key) else { continue };
            let standing = Standing {
                lag: stream.behind().map_or(0, |behind| self.position.since(behind.cursor)),
                written_ms: now_ms.saturating_sub(stream.written_ms()),
                age_s: (now_ms / 1000).saturating_sub(stream.opened_s.into()),
            };
            looking.top.offer((standing.rank(looking.order), key.to_u64(), standing));
        }
        self.has_walked(&looking.walk)
    }

    /// What was seen, but for streams that have gone since.
    pub fn looks(&self, looking: Looking) -> impl Iterator<Item = Look<'_, S>> {
        looking.top.into_sorted().filter_map(|(_, key, standing)| {
            let key = SlabKey::from_u64(key);
            let stream = self.streams.get(key)?;
            let cohort = self.cohorts.get(self.cohorts.key_at(stream.cohort))?;
            let (behind, subscription) = (!stream.is_live(), &cohort.subscription);
            Some(Look { slot: key.index(), behind, standing, subscription, socket: &stream.socket })
        })
    }
}
