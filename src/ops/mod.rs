//! What an operator meets: configuration, logs, metrics, limits, start and stop. Never the hot path.

/// Counters that cost a plain load and a plain store.
pub mod cells;
/// The command line.
pub mod cli;
/// Settings: defaults, file, environment, flags.
pub mod config;
/// How many descriptors there are, and so how many streams.
pub mod descriptors;
/// Every bound.
pub mod limits;
/// Log lines: readable on a terminal, JSON elsewhere.
pub mod logging;
/// The memory that all bounds allow.
pub mod memory;
/// What Prometheus reads.
pub mod metrics;
/// A new configuration for a gateway that runs.
pub mod reload;
/// Why requests are refused.
pub mod refusal;
/// Events on a timer, as configured.
pub mod schedule;
/// SIGTERM, SIGINT and SIGHUP.
pub mod shutdown;
/// Threads that the gateway can't do without.
pub mod threads;
/// Quantities with a unit, as written in configuration.
pub mod units;
