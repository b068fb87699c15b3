//! What an operator may see of the streams: the slowest of them, found in one walk.

use std::sync::Arc;

use crate::hub::stream::Socket;
use crate::hub::top::Top;
use crate::hub::topic::Subscription;

use super::Registry;

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

impl<S: Socket> Registry<S> {
    /// The first `max` streams in this order.
    pub fn look(&self, order: Order, max: usize, now_ms: u64) -> impl Iterator<Item = Look<'_, S>> {
        let mut top = Top::new(max);
        for (key, stream) in self.streams.iter() {
            let standing = Standing {
                lag: stream.behind().map_or(0, |behind| self.position.since(behind.cursor)),
                written_ms: now_ms.saturating_sub(stream.written_ms()),
                age_s: (now_ms / 1000).saturating_sub(stream.opened_s.into()),
            };
            top.offer((standing.rank(order), key.index(), standing));
        }
        top.into_sorted().filter_map(|(_, slot, standing)| {
            let stream = self.streams.get(self.streams.key_at(slot))?;
            let cohort = self.cohorts.get(self.cohorts.key_at(stream.cohort))?;
            let (behind, subscription) = (!stream.is_live(), &cohort.subscription);
            Some(Look { slot, behind, standing, subscription, socket: &stream.socket })
        })
    }
}
