//! What Prometheus reads.
//!
//! Shards count in their own cells, and a scrape adds those up. The rest, what is not counted once
//! per delivery, is in atomics. Every label value is there from the start, at 0, so that a rate over
//! its first count is not lost. No label holds a topic, an address or anything else that a client
//! chooses.

mod collect;
mod counts;
mod family;
mod gauges;
mod labels;
mod names;
mod process;
#[cfg(test)]
mod tests;

pub use super::cells::ShardCells;
pub use collect::CONTENT_TYPE;
pub use counts::{ConnectionGuard, Metrics};
pub use gauges::{Bounds, Gauges};
pub use labels::{Handshake, Listener, Shed, Source, TokenResult};
