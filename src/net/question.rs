//! What the shards are asked by an operator, and who may ask.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::hub::registry::look::{Look, Standing};
use crate::hub::topic::Subscription;

use super::sink::Sink;

/// Who may ask now.
pub struct Turns {
    pub(super) streams: Semaphore,
    pub(super) topics: Arc<Semaphore>,
    /// A shard that has not answered is not asked again, so that questions don't fill its inbox.
    pub(super) shards: Box<[Arc<Semaphore>]>,
}

impl Turns {
    /// Turns for so many shards.
    pub fn new(shards: usize) -> Turns {
        let turn = || Semaphore::new(1);
        Turns { streams: turn(), topics: Arc::new(turn()), shards: (0..shards).map(|_| Arc::new(turn())).collect() }
    }
}

/// Who asks a shard, and awaits the answer.
pub struct Question {
    pub(super) answer: mpsc::Sender<(usize, Vec<Seen>)>,
    /// Given back as the shard answers, or when it never will.
    pub(super) turn: OwnedSemaphorePermit,
}

/// A stream that was seen.
pub(super) struct Seen {
    pub(super) shard: usize,
    pub(super) stream: u32,
    pub(super) behind: bool,
    pub(super) standing: Standing,
    pub(super) subscription: Arc<Subscription>,
    pub(super) peer: Option<SocketAddr>,
}

impl Question {
    /// Answers for a shard.
    pub fn answer<'a>(self, shard: usize, looks: impl Iterator<Item = Look<'a, Sink>>) {
        let Question { answer, turn } = self;
        let seen = looks.map(|look| Seen {
            shard,
            stream: look.slot,
            behind: look.behind,
            standing: look.standing,
            subscription: look.subscription.clone(),
            peer: look.socket.peer(),
        });
        let seen = seen.collect();
        // Before the answer: who has it may ask again at once.
        drop(turn);
        // There is room for each shard's answer; who asked may have gone.
        let _ = answer.try_send((shard, seen));
    }
}
