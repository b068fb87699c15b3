//! What requests know of the gateway as a whole.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, oneshot};

use crate::access::gate::Gate;
use crate::access::revoked::Revoked;
use crate::access::tickets::Tickets;
use crate::engine::record::EncodeError;
use crate::engine::{Answer, Engine, NotStored, Stored};
use crate::exchange::bus::Bus;
use crate::exchange::topics::TopicTable;
use crate::hub::event::Event;
use crate::hub::fault::TooLarge;
use crate::hub::frame::Draft;
use crate::hub::holder::Revocation;
use crate::hub::topic::{Topic, Topics};
use crate::ops::metrics::{Metrics, Source};
use crate::ops::reload::LiveConfig;

use super::clock::Clock;
use super::command::Command;
use super::console::Console;
use super::elsewhere::Addresses;
use super::handler::Handler;
use super::question::Turns;

/// Shared by the listeners of one gateway.
pub struct State {
    /// The log, the directory and the shards.
    pub bus: Arc<Bus<Command>>,
    /// Where kept events live.
    pub engine: Engine,
    /// The topics that anything names.
    pub topics: TopicTable,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// The settings that run. Not held on to: they may be replaced.
    pub config: Arc<LiveConfig>,
    /// Where the listeners are, once they are there.
    pub addresses: OnceLock<Addresses>,
    /// Who is let in, by those settings.
    pub gate: ArcSwap<Gate>,
    /// Tokens that are refused though they are good.
    pub revoked: Arc<Revoked>,
    /// What opens a stream in the place of a token.
    pub tickets: Tickets,
    /// The topic of `/`.
    pub default_topic: Topic,
    /// How many streams may be open.
    pub streams_max: usize,
    /// A library user's handler.
    pub handler: Option<Handler>,
    /// Who may publish now, each with a body in memory.
    pub publishers: Semaphore,
    /// What keeps the admin endpoints from asking for too much.
    pub admin: Turns,
    /// Who looks at the console.
    pub console: Console,
    /// Readiness fails: the gateway is about to stop.
    pub draining: AtomicBool,
    /// Nothing new is taken in.
    pub closing: AtomicBool,
    /// How many publishes are under way.
    pub publishing: AtomicUsize,
}

/// Why drafts were not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// They do not fit into the log together.
    #[error("{0}")]
    TooLarge(TooLarge),
    /// They do not fit into one of the engine's records.
    #[error("body: {0}")]
    Record(EncodeError),
    /// Nothing new is taken in.
    #[error("the gateway is closing its streams")]
    Closing,
    /// The engine has not taken them, or does not know.
    #[error("{0}")]
    Engine(NotStored),
}

/// The answer to a publish call.
pub enum Offered<R = oneshot::Receiver<Result<Stored, NotStored>>> {
    /// It is there.
    There(Stored),
    /// It comes.
    Comes(R),
}

impl Offered {
    /// Waits for it.
    ///
    /// # Errors
    /// If nothing was published, or that is unknown.
    pub async fn answer(self) -> Result<Stored, NotPublished> {
        match self {
            Offered::There(stored) => Ok(stored),
            Offered::Comes(comes) => {
                comes.await.unwrap_or_else(|_| Err(NotStored::ended())).map_err(NotPublished::Engine)
            }
        }
    }
}

impl State {
    /// Where the listeners are, as far as they are there.
    pub fn addresses(&self) -> Addresses {
        self.addresses.get().copied().unwrap_or(Addresses { public: None, control: None })
    }

    /// Offers drafts of these events to the engine, unless the gateway is closing. If the engine has them
    /// wait, that is `None`, and the answer comes later.
    ///
    /// # Errors
    /// If the drafts do not fit into the log together, or the gateway is closing.
    pub fn offer<'a>(
        &self,
        drafts: Vec<Draft>,
        events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
        key: Option<&str>,
        source: Source,
        answer: impl FnOnce() -> Answer,
    ) -> Result<Option<Stored>, NotPublished> {
        // Counted before it is looked: so whoever closes and then finds none under way knows that
        // no event will be accepted after that.
        self.publishing.fetch_add(1, Ordering::SeqCst);
        let offered = if self.closing.load(Ordering::SeqCst) {
            Err(NotPublished::Closing)
        } else {
            self.offer_open(drafts, events, key, source, answer)
        };
        self.publishing.fetch_sub(1, Ordering::SeqCst);
        offered
    }

    fn offer_open<'a>(
        &self,
        drafts: Vec<Draft>,
        events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
        key: Option<&str>,
        source: Source,
        answer: impl FnOnce() -> Answer,
    ) -> Result<Option<Stored>, NotPublished> {
        self.bus.log.admit(&drafts).map_err(NotPublished::TooLarge)?;
        let packs = self.engine.pack(events.clone(), key).map_err(NotPublished::Record)?;
        let key = key.map(|key| self.engine.key(key, events));
        let now_ns = self.clock.now_ns();
        let events = drafts.len() as u64;
        let count = move |metrics: &Metrics, answer: &Result<Stored, NotStored>, waited_ns| {
            metrics.engine_answered(answer, waited_ns);
            if let Ok(Stored { duplicate: false, .. }) = answer {
                metrics.events_published(source, events);
            }
        };
        let counted = || -> Answer {
            let (answer, metrics, clock) = (answer(), self.metrics.clone(), self.clock);
            Box::new(move |stored| {
                count(&metrics, &stored, Some(clock.now_ns().saturating_sub(now_ns)));
                answer(stored);
            })
        };
        let offered = self.engine.offer(&self.bus, drafts, packs, key, now_ns, counted);
        if let Some(stored) = &offered {
            count(&self.metrics, stored, None);
        }
        offered.transpose().map_err(NotPublished::Engine)
    }

    /// As [`State::offer`], with an answer to wait for.
    ///
    /// # Errors
    /// If nothing was published.
    pub fn publish<'a>(
        &self,
        drafts: Vec<Draft>,
        events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
        key: Option<&str>,
        source: Source,
    ) -> Result<Offered, NotPublished> {
        self.offer_over(drafts, events, key, source, || {
            let (sender, receiver) = oneshot::channel();
            // Who went away needs no answer.
            (Box::new(move |stored| drop(sender.send(stored))), receiver)
        })
    }

    /// As [`State::offer`], and blocks until the answer is there.
    ///
    /// # Errors
    /// If nothing was published, or that is unknown.
    pub fn publish_blocking<'a>(
        &self,
        drafts: Vec<Draft>,
        events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
        source: Source,
    ) -> Result<Stored, NotPublished> {
        let offered = self.offer_over(drafts, events, None, source, || {
            let (sender, receiver) = crossbeam_channel::bounded(1);
            (Box::new(move |stored| drop(sender.send(stored))), receiver)
        })?;
        match offered {
            Offered::There(stored) => Ok(stored),
            Offered::Comes(comes) => {
                comes.recv().unwrap_or_else(|_| Err(NotStored::ended())).map_err(NotPublished::Engine)
            }
        }
    }

    /// As [`State::offer`], with an answer that comes over a channel, of which `channel` makes both ends.
    fn offer_over<'a, R>(
        &self,
        drafts: Vec<Draft>,
        events: impl Iterator<Item = (&'a Topics, &'a Event<'a>)> + Clone,
        key: Option<&str>,
        source: Source,
        channel: impl FnOnce() -> (Answer, R),
    ) -> Result<Offered<R>, NotPublished> {
        let mut comes = None;
        let offered = self.offer(drafts, events, key, source, || {
            let (answer, receiver) = channel();
            comes = Some(receiver);
            answer
        })?;
        match (offered, comes) {
            (Some(stored), _) => Ok(Offered::There(stored)),
            (None, Some(comes)) => Ok(Offered::Comes(comes)),
            (None, None) => Err(NotPublished::Engine(NotStored::ended())),
        }
    }

    /// Ends the streams of whom this is about.
    pub fn end_streams(&self, revocation: Revocation) {
        let revocation = Arc::new(revocation);
        for shard in 0..self.bus.shards() {
            // A full inbox is emptied within a turn; while the gateway closes, all streams end.
            while self.bus.inbox(shard).push(Command::Revoke(revocation.clone())).is_err()
                && !self.closing.load(Ordering::Relaxed)
            {
                std::thread::yield_now();
            }
        }
    }

    /// Takes nothing new in from now on, and returns when what was under way is in the log.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        while self.publishing.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        self.engine.flush();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crossbeam_channel::Receiver;

    use super::*;
    use crate::engine::keys::{KeyLimits, Keys};
    use crate::exchange::inbox::Inbox;
    use crate::exchange::log_cell::LogCell;
    use crate::hub::id::Epoch;
    use crate::hub::log::LogLimits;
    use crate::hub::topic::table;
    use crate::ops::config::Config;
    use crate::ops::metrics::{Gauges, ShardCells};

    /// A gateway's state without its threads, and the shards' ends of their inboxes.
    pub(in crate::net) fn state(shards: usize, events: usize) -> (State, Vec<Receiver<Command>>) {
        let (inboxes, mail) = (0..shards).map(|_| Inbox::new(|| {})).unzip();
        let limits = LogLimits { events, bytes: 1 << 30, age_ns: u64::MAX };
        let state = State {
            bus: Arc::new(Bus::new(LogCell::new(Epoch::new(1), limits), inboxes, None)),
            engine: Engine::memory(Arc::new(Keys::new(KeyLimits { keys: 1, age_ns: u64::MAX }))),
            topics: table(),
            metrics: Arc::new(Metrics::new(ShardCells::for_shards(shards), Gauges::default())),
            clock: Clock::start(),
            config: Arc::new(LiveConfig::from_pointee(Config { admin: true, ..Config::default() })),
            addresses: OnceLock::new(),
            gate: ArcSwap::from_pointee(Gate::new(&Config::default()).unwrap()),
            revoked: Arc::default(),
            tickets: Tickets::default(),
            default_topic: Topic::parse("default").unwrap(),
            streams_max: 1,
            handler: None,
            publishers: tokio::sync::Semaphore::new(1),
            admin: Turns::new(shards),
            console: Console::default(),
            draining: AtomicBool::default(),
            closing: AtomicBool::default(),
            publishing: AtomicUsize::default(),
        };
        (state, mail)
    }
}
