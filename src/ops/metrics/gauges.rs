//! What is looked up when it is asked for.

use std::sync::Arc;

use crate::engine::facts::Facts;
use crate::engine::status::Phase;

/// Numbers that are read when Prometheus asks for them.
pub struct Gauges {
    /// How many events the log keeps.
    pub log_events: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How many bytes they are.
    pub log_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How old the oldest kept event is, in nanoseconds.
    pub log_oldest_ns: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How many topics there are.
    pub topics: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How many entries are on the timing wheel.
    pub timer_entries: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How long the oldest event that waits for this shard has been waiting, in nanoseconds.
    pub shard_lag_ns: Box<dyn Fn(usize) -> u64 + Send + Sync>,
    /// What the engine is doing.
    pub engine_phase: Box<dyn Fn() -> Phase + Send + Sync>,
    /// What there is to know of an engine that others share.
    pub engine_facts: Arc<Facts>,
    /// How many pages of what has left the log were read, and how often one was there already.
    pub pages: Box<dyn Fn() -> [u64; 2] + Send + Sync>,
    /// The bounds, to hold the others against.
    pub bounds: Bounds,
}

/// Bounds that are shown beside what they bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// How many streams may be open.
    pub streams: u64,
    /// How many kept events the log may hold.
    pub log_events: u64,
    /// How many bytes they may take.
    pub log_bytes: u64,
    /// How much streams behind may hold of events that have left it.
    pub pinned_bytes: u64,
}

impl Default for Gauges {
    /// Gauges that are always 0, of an engine that is ready.
    fn default() -> Gauges {
        Gauges {
            log_events: Box::new(|| 0),
            log_bytes: Box::new(|| 0),
            log_oldest_ns: Box::new(|| 0),
            topics: Box::new(|| 0),
            timer_entries: Box::new(|| 0),
            shard_lag_ns: Box::new(|_| 0),
            engine_phase: Box::new(|| Phase::Ready),
            engine_facts: Arc::default(),
            pages: Box::new(|| [0, 0]),
            bounds: Bounds::default(),
        }
    }
}
