//! Bounds of the process as a whole, and of what may be configured. A bound of one thing stands beside
//! that thing.

use std::num::NonZero;
use std::thread;

use super::units::{Count, GIB, KIB, MIB};
use crate::exchange::directory::SHARDS_MAX;
use crate::hub::event::RETRY_MS_MAX;

/// The most shards, and the most acceptors: threads.
pub const THREADS_MAX: u64 = SHARDS_MAX as u64;
/// The most addresses to listen on.
pub const LISTEN_MAX: usize = 64;
/// The most certificates. A client that names its host is held against them one after another.
pub const CERTIFICATES_MAX: usize = 64;
/// The most schedules. Each costs one timer and one topic lookup a tick.
pub const SCHEDULES_MAX: usize = 1024;
/// The most policies. A new subscription is matched against them one after another.
pub const POLICIES_MAX: usize = 1024;
/// The shortest period that may be configured for anything that repeats, in milliseconds.
pub const PERIOD_MS_MIN: u64 = 10;
/// The shortest deadline that may be configured, in milliseconds.
pub const DEADLINE_MS_MIN: u64 = 100;
/// The longest write deadline, in milliseconds: the kernel takes no more (`TCP_USER_TIMEOUT`).
pub const USER_TIMEOUT_MS_MAX: u64 = i32::MAX as u64;
/// The longest mean of a jittered `retry:`, in milliseconds: half as much again is the longest of all.
pub const RETRY_MEAN_MS_MAX: u64 = RETRY_MS_MAX / 3 * 2;
/// The smallest buffer for a request's head, in bytes: hyper refuses less.
pub const HEAD_BYTES_MIN: u64 = 8 * KIB;
/// The largest buffer for a request's head, in bytes.
pub const HEAD_BYTES_MAX: u64 = MIB;
/// The largest request body that may be configured, in bytes.
pub const BODY_BYTES_MAX: u64 = GIB;
/// The least that streams behind may hold outside the log, in bytes: an event of the usual bound.
pub const PINNED_BYTES_MIN: u64 = MIB;
/// The most of that, in bytes.
pub const PINNED_BYTES_MAX: u64 = 1024 * GIB;

/// Requests to publish that are under way at once, each with its body.
pub const PUBLISHERS_MAX: u64 = 128;
/// Connections to the control listener that publishers can't take.
pub const CONTROL_CONNECTIONS_RESERVED: u64 = 16;
/// Connections to the control listener.
pub const CONTROL_CONNECTIONS_MAX: u64 = PUBLISHERS_MAX + CONTROL_CONNECTIONS_RESERVED;
/// Connections to the health listener.
pub const HEALTH_CONNECTIONS_MAX: u64 = 32;
/// The most connections that are no streams, in the configuration.
pub const CONNECTIONS_MAX: u64 = 1_000_000;

/// The longest that an event may be let wait for others, in milliseconds.
pub const PASS_LATENCY_MS_MAX: u64 = 3_600_000;
/// The most events in one batch: the log is locked for that long.
pub const BATCH_EVENTS_MAX: usize = 16_384;

/// Log lines that wait to be written; further ones are dropped and counted.
pub const LOG_LINES_MAX: usize = 4096;
/// The size of a log line, in bytes, rounded up.
pub const LOG_LINE_BYTES: u64 = KIB;

/// User memory of an open stream, in bytes: its record, its position in a cohort, a heartbeat slot and
/// the wheel, rounded up. The kernel's 3 to 4 KB a socket come on top.
pub const STREAM_BYTES: u64 = KIB;
/// What the topics of a subscription take in memory, as a multiple of the head that named them: the
/// names, and what the shard's routes and the directory hold of them.
pub const SUBSCRIPTION_PART: u64 = 5;
/// What hyper may read ahead on a connection, if heads aren't larger.
pub const READ_AHEAD_BYTES: u64 = 64 * KIB;
/// What TLS takes at most of a connection or a stream: its keys, a record that its socket has not taken, and one of the
/// client that is not whole.
pub const TLS_BYTES: u64 = 44 * KIB;
/// The size of a message in an inbox, in bytes, rounded up.
pub const INBOX_MESSAGE_BYTES: u64 = 128;

impl Count<0, THREADS_MAX> {
    /// This many threads, or one per core where the count is 0.
    pub fn or_cores(self) -> usize {
        match self.as_usize() {
            0 => thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX as usize),
            threads => threads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_as_many_as_asked_for_or_as_cores() {
        assert_eq!(Count::<0, THREADS_MAX>::new(3).or_cores(), 3);
        let cores = Count::<0, THREADS_MAX>::new(0).or_cores();
        assert!((1..=64).contains(&cores), "{cores}");
    }
}
