//! What requests know of the gateway as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::exchange::bus::Bus;
use crate::exchange::topics::TopicTable;
use crate::hub::fault::Fault;
use crate::hub::frame::Draft;
use crate::hub::log::Placed;
use crate::hub::topic::Topic;
use crate::ops::metrics::Metrics;
use crate::ops::reload::LiveConfig;

use super::clock::Clock;
use super::command::Command;
use super::handler::Handler;
use super::question::Turns;

/// Shared by the listeners of one gateway.
pub struct State {
    /// The log, the directory and the shards.
    pub bus: Arc<Bus<Command>>,
    /// The topics that anything names.
    pub topics: TopicTable,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// The settings that run. Not held on to: they may be replaced.
    pub config: Arc<LiveConfig>,
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
    /// Readiness fails: the gateway is about to stop.
    pub draining: AtomicBool,
    /// Nothing new is taken in.
    pub closing: AtomicBool,
    /// How many publishes are under way.
    pub publishing: AtomicUsize,
}

/// Why drafts were not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPublished {
    /// They do not fit into the log together.
    TooLarge(Fault),
    /// Nothing new is taken in.
    Closing,
}

impl State {
    /// Publishes, unless the gateway is closing.
    ///
    /// # Errors
    /// If the drafts do not fit into the log together, or the gateway is closing.
    pub fn publish(&self, drafts: Vec<Draft>, now_ns: u64) -> Result<Placed, NotPublished> {
        // Counted before it is looked: so whoever closes and then finds none under way knows that
        // no event will be accepted after that.
        self.publishing.fetch_add(1, Ordering::SeqCst);
        let placed = if self.closing.load(Ordering::SeqCst) {
            Err(NotPublished::Closing)
        } else {
            self.bus.publish(drafts, now_ns).map_err(NotPublished::TooLarge)
        };
        self.publishing.fetch_sub(1, Ordering::SeqCst);
        placed
    }

    /// Takes nothing new in from now on, and returns when what was under way has its place.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        while self.publishing.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crossbeam_channel::Receiver;

    use super::*;
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
            topics: table(),
            metrics: Arc::new(Metrics::new(ShardCells::for_shards(shards), Gauges::default())),
            clock: Clock::start(),
            config: Arc::new(LiveConfig::from_pointee(Config { admin: true, ..Config::default() })),
            default_topic: Topic::parse("default").unwrap(),
            streams_max: 1,
            handler: None,
            publishers: tokio::sync::Semaphore::new(1),
            admin: Turns::new(shards),
            draining: AtomicBool::default(),
            closing: AtomicBool::default(),
            publishing: AtomicUsize::default(),
        };
        (state, mail)
    }
}
