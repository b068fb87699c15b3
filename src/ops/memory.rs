//! The memory that all bounds together allow.

use std::fmt;

use super::config::{Config, EngineKind};
use super::descriptors::Plan;
use super::limits::{
    CONTROL_CONNECTIONS_MAX, HEALTH_CONNECTIONS_MAX, INBOX_MESSAGE_BYTES, LOG_LINE_BYTES, LOG_LINES_MAX,
    PUBLISHERS_MAX, READ_AHEAD_BYTES, STREAM_BYTES, SUBSCRIPTION_PART, TLS_BYTES,
};
use super::units::{KIB, MIB};
use crate::engine::archive::{PAGE_BYTES, PAGES_BYTES};
use crate::engine::keys::KEY_BYTES;
use crate::engine::waiting::WAITING_BYTES_MAX;
use crate::exchange::inbox::INBOX_MESSAGES;
use crate::hub::log::{REMEMBERED_NUMBERS_BYTES, remembered_bytes};

/// The memory that the bounds allow, a term each: the most that clients could drive it to. What the
/// process itself needs, a few MB, and the kernel's socket buffers are not in it.
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
        let Plan { streams, connections, .. } = *plan;
        let connections = connections + CONTROL_CONNECTIONS_MAX + HEALTH_CONNECTIONS_MAX;
        let history = config.history.bytes.get();
        let head = config.limits.head_bytes;
        let body = config.limits.body_bytes;
        let term = |name, from: String, bytes| MemoryTerm { name, from, bytes };
        let mut terms = vec![
            term("history", format!("history.bytes = {}", config.history.bytes), history),
            term("live-only events", "history.bytes again".to_owned(), history),
            term(
                "topics of which no event is kept any more",
                "2 x a quarter of history.bytes".to_owned(),
                2 * remembered_bytes(history as usize) as u64,
            ),
            term(
                "events that streams behind hold",
                format!("limits.pinned_bytes = {}", config.limits.pinned_bytes),
                config.limits.pinned_bytes.get(),
            ),
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
                format!(
                    "{connections} connections x the larger of limits.head_bytes and {} KiB",
                    READ_AHEAD_BYTES / KIB
                ),
                connections.saturating_mul(head.get().max(READ_AHEAD_BYTES)),
            ),
            term(
                "request bodies",
                format!("{PUBLISHERS_MAX} publishers x limits.body_bytes = {body}"),
                PUBLISHERS_MAX.saturating_mul(body.get()),
            ),
            term(
                "idempotency keys",
                format!("history.keys = {} x {KEY_BYTES} bytes", config.history.keys.get()),
                config.history.keys.get().saturating_mul(KEY_BYTES),
            ),
            term(
                "log lines",
                format!("{LOG_LINES_MAX} lines x {LOG_LINE_BYTES} bytes"),
                LOG_LINES_MAX as u64 * LOG_LINE_BYTES,
            ),
        ];
        if !config.tls.addresses().is_empty() {
            let connections = plan.connections + streams;
            terms.push(term(
                "TLS",
                format!("{connections} streams and connections x {} KiB", TLS_BYTES / KIB),
                connections.saturating_mul(TLS_BYTES),
            ));
        }
        let waiting = WAITING_BYTES_MAX as u64;
        match config.engine {
            EngineKind::Memory => {}
            EngineKind::Disk => terms.push(term(
                "publishes that wait for the disk",
                format!("{} MiB, and of one call events, pack and write: 3 x history.bytes", waiting / MIB),
                history.saturating_mul(3).saturating_add(waiting),
            )),
            EngineKind::Nats => terms.push(term(
                "publishes that wait for the servers",
                format!(
                    "as packs, joined and in messages: 3 x {} MiB, and of one call 3 x history.bytes",
                    waiting / MIB
                ),
                history.saturating_add(waiting).saturating_mul(3),
            )),
        }
        if config.engine != EngineKind::Memory {
            terms.extend([
                term(
                    "pages of events that have left the log",
                    format!(
                        "{} MiB, and two pages of {} MiB and a call",
                        PAGES_BYTES as u64 / MIB,
                        PAGE_BYTES as u64 / MIB
                    ),
                    (PAGES_BYTES + 2 * PAGE_BYTES) as u64 + 2 * history,
                ),
                term(
                    "numbers of events that have left the log",
                    format!("{} KiB", REMEMBERED_NUMBERS_BYTES as u64 / KIB),
                    REMEMBERED_NUMBERS_BYTES as u64,
                ),
            ]);
        }
        MemorySum { terms }
    }

    /// The sum, in bytes.
    pub fn bytes(&self) -> u64 {
        self.terms.iter().fold(0, |sum, term| sum.saturating_add(term.bytes))
    }

    /// Logs the sum, and for who wants to know, its terms.
    pub fn log(&self) {
        tracing::info!(bytes = self.bytes(), "memory that the bounds allow");
        tracing::debug!(terms = %self, "memory that the bounds allow, term by term");
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
    use crate::ops::descriptors::Own;

    #[test]
    fn the_memory_sum_has_a_term_for_each_bound() {
        let config = Config::default();
        let own = Own { shards: 2, acceptors: 2, addresses: 1, control: true, health: true };
        let sum = MemorySum::new(&config, &Plan::new(20_748, &own, &config.limits).unwrap(), 2);
        let bytes: Vec<_> = sum.terms.iter().map(|term| (term.name, term.bytes)).collect();
        let expected = [
            ("history", 64 * MIB),
            ("live-only events", 64 * MIB),
            ("topics of which no event is kept any more", 32 * MIB),
            ("events that streams behind hold", 64 * MIB),
            ("streams", 20_000 * KIB),
            ("subscriptions", 20_000 * 80 * KIB),
            ("inboxes", MIB),
            ("request heads", (512 + 144 + 32) * 64 * KIB),
            ("request bodies", 128 * MIB),
            ("idempotency keys", 28 * MIB),
            ("log lines", 4 * MIB),
        ];
        assert_eq!(bytes, expected);
        assert_eq!(sum.bytes(), expected.iter().map(|(_, bytes)| bytes).sum::<u64>());
        let disk = Config { engine: EngineKind::Disk, ..config.clone() };
        let with_disk = MemorySum::new(&disk, &Plan::new(20_748, &own, &config.limits).unwrap(), 2);
        assert_eq!(with_disk.bytes(), sum.bytes() + (4 * 64 + 32 + 2 * 4 + 2 * 64 + 1) * MIB);
        let nats = Config { engine: EngineKind::Nats, ..config.clone() };
        let with_nats = MemorySum::new(&nats, &Plan::new(20_748, &own, &config.limits).unwrap(), 2);
        assert_eq!(with_nats.bytes(), sum.bytes() + (6 * 64 + 32 + 2 * 4 + 2 * 64 + 1) * MIB);
        assert!(sum.to_string().starts_with("history 64.0 MiB (history.bytes = 64MiB); live-only events 64.0 MiB"));
    }
}
