//! Bounds of the process as a whole, and the memory that all bounds together allow. A bound of one
//! thing stands beside that thing.

use std::fmt;
use std::num::NonZero;
use std::thread;

use super::config::Config;
use super::descriptors::Plan;
use super::units::{Count, GIB, KIB, MIB};
use crate::exchange::directory::SHARDS_MAX;
use crate::exchange::inbox::INBOX_MESSAGES;

/// The most shards, and the most acceptors: threads.
pub const THREADS_MAX: u64 = SHARDS_MAX as u64;
/// The most addresses to listen on.
pub const LISTEN_MAX: usize = 64;
/// The most schedules. Each costs one timer and one topic lookup a tick.
pub const SCHEDULES_MAX: usize = 1024;
/// The most policies. A new subscription is matched against them one after another.
pub const POLICIES_MAX: usize = 1024;
/// The shortest period that may be configured for anything that repeats, in milliseconds.
pub const PERIOD_MS_MIN: u64 = 10;
/// The shortest deadline that may be configured, in milliseconds.
pub const DEADLINE_MS_MIN: u64 = 100;
/// The smallest buffer for a request's head, in bytes: hyper refuses less.
pub const HEAD_BYTES_MIN: u64 = 8 * KIB;
/// The largest buffer for a request's head, in bytes.
pub const HEAD_BYTES_MAX: u64 = MIB;
/// The largest request body that may be configured, in bytes.
pub const BODY_BYTES_MAX: u64 = GIB;

/// Descriptors that are no client's: listeners, epoll, eventfds, the log, and room to spare.
pub const DESCRIPTORS_RESERVED: u64 = 256;
/// Sockets that are never streams, so that requests are answered, and clients sent away politely,
/// when as many streams are open as may be.
pub const CONNECTIONS_RESERVED: u64 = 512;
/// Connections to the control listener; further ones wait. They come out of the reserved descriptors.
pub const CONTROL_CONNECTIONS_MAX: u64 = 128;

/// User memory of an open stream, in bytes: its record, its place in a cohort, a heartbeat slot and
/// the wheel, rounded up. The kernel's 3 to 4 KB a socket come on top.
pub const STREAM_BYTES: u64 = KIB;
/// What the topics of a subscription take in memory, as a multiple of the head that named them: the
/// names, and their places in the shard's routes and in the directory.
pub const SUBSCRIPTION_PART: u64 = 5;
/// What hyper may read ahead on a connection, if heads aren't larger.
pub const READ_AHEAD_BYTES: u64 = 64 * KIB;
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

/// The memory that the bounds allow, a term each: the most that clients could drive it to. What the
/// process itself needs, a few MB, the kernel's socket buffers, and the frames that streams behind
/// still hold after these have left the log (at most one each, or a conflated selection) are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySum {
    /// The terms.
    pub terms: Vec<MemoryTerm>,
}

/// One term of a [`MemorySum`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryTerm {
    /// What takes the memory.
    pub name: &'static str,
    /// How the bytes come about, in terms of settings.
    pub from: String,
    /// How much it may take at most, in bytes.
    pub bytes: u64,
}

impl MemorySum {
    /// Adds up the memory for these descriptors and so many shards.
    pub fn new(config: &Config, plan: &Plan, shards: usize) -> MemorySum {
        let Plan { streams, sockets, .. } = *plan;
        let history = config.history.bytes.get();
        let head = config.limits.head_bytes;
        let body = config.limits.body_bytes;
        let term = |name, from: String, bytes| MemoryTerm { name, from, bytes };
        let terms = vec![
            term("history", format!("history.bytes = {}", config.history.bytes), history),
            term("live-only events", "history.bytes again".to_owned(), history),
            term("streams", format!("{streams} x {STREAM_BYTES} bytes"), streams.saturating_mul(STREAM_BYTES)),
            term(
                "subscriptions",
                format!("{streams} x {SUBSCRIPTION_PART} x limits.head_bytes, if each has the most topics of its own"),
                streams.saturating_mul(SUBSCRIPTION_PART * head.get()),
            ),
            term(
                "inboxes",
                format!("{shards} shards x {INBOX_MESSAGES} messages x {INBOX_MESSAGE_BYTES} bytes"),
                (shards * INBOX_MESSAGES) as u64 * INBOX_MESSAGE_BYTES,
            ),
            term(
                "request heads",
                format!("{sockets} sockets x the larger of limits.head_bytes and {} KiB", READ_AHEAD_BYTES / KIB),
                sockets.saturating_mul(head.get().max(READ_AHEAD_BYTES)),
            ),
            term(
                "request bodies",
                format!("{CONTROL_CONNECTIONS_MAX} control connections x limits.body_bytes = {body}"),
                CONTROL_CONNECTIONS_MAX.saturating_mul(body.get()),
            ),
        ];
        MemorySum { terms }
    }

    /// The sum, in bytes.
    pub fn bytes(&self) -> u64 {
        self.terms.iter().fold(0, |sum, term| sum.saturating_add(term.bytes))
    }

    /// Logs the sum, with a field for its terms.
    pub fn log(&self) {
        tracing::info!(bytes = self.bytes(), terms = %self, "memory that the bounds allow");
    }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{} {} ({})", term.name, Mib(term.bytes), term.from)?;
        }
        Ok(())
    }
}

/// A number of bytes, in MiB with one digit.
struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / MIB as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_sum_has_a_term_for_each_bound() {
        let config = Config::default();
        let sum = MemorySum::new(&config, &Plan::new(20_768, &config.limits), 2);
        let bytes: Vec<_> = sum.terms.iter().map(|term| (term.name, term.bytes)).collect();
        let expected = [
            ("history", 64 * MIB),
            ("live-only events", 64 * MIB),
            ("streams", 20_000 * KIB),
            ("subscriptions", 20_000 * 80 * KIB),
            ("inboxes", MIB),
            ("request heads", 20_512 * 64 * KIB),
            ("request bodies", 128 * MIB),
        ];
        assert_eq!(bytes, expected);
        assert_eq!(sum.bytes(), expected.iter().map(|(_, bytes)| bytes).sum::<u64>());
        assert!(sum.to_string().starts_with("history 64.0 MiB (history.bytes = 64MiB); live-only events 64.0 MiB"));
    }

    #[test]
    fn threads_are_as_many_as_asked_for_or_as_cores() {
        assert_eq!(Count::<0, THREADS_MAX>::new(3).or_cores(), 3);
        let cores = Count::<0, THREADS_MAX>::new(0).or_cores();
        assert!((1..=64).contains(&cores), "{cores}");
    }
}
