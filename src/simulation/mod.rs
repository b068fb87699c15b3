//! The core of a gateway as it ships, whole, in one thread and by seed: its shards' turns, the log, the directory, the
//! inboxes and a wheel, under a time that is made up. In one of five seeds an engine numbers the
//! events: it loses some, has its retention end, and is made anew with less. Beside all stands an oracle, written from the
//! rules.
//!
//! A failing seed is printed; `SLUICEGATE_SEED=7 cargo test --lib simulation` plays that one again, and
//! `SLUICEGATE_SEEDS=5000` plays so many.

mod crowd;
mod host;
mod kit;
mod oracle;
mod press;
mod tests;
mod world;
