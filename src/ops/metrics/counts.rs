//! All that is counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus::core::Desc;
use strum::VariantArray;

use super::gauges::Gauges;
use super::labels::{EngineResult, Handshake, Listener, Shed, Source, TokenResult};
use super::names::FAMILIES;
use super::process::Process;
use crate::engine::wall::wall_ms;
use crate::engine::{NotStored, Stored};
use crate::ops::cells::{Histogram, ShardCells};
use crate::ops::refusal::Refusal;

/// All that the process counts. Shared behind an [`Arc`]; any thread may count, except in cells.
pub struct Metrics {
    pub(super) shards: Arc<[ShardCells]>,
    pub(super) gauges: Gauges,
    /// How late the wheel's entries expired. For the wheel's thread only.
    pub timer_late: Histogram,
    pub(super) events_published: [AtomicU64; Source::VARIANTS.len()],
    pub(super) publish_rejected: [AtomicU64; Refusal::VARIANTS.len()],
    pub(super) requests_rejected: [AtomicU64; Refusal::VARIANTS.len()],
    pub(super) tokens: [AtomicU64; TokenResult::VARIANTS.len()],
    pub(super) engine_publishes: [AtomicU64; EngineResult::VARIANTS.len()],
    /// Answers are given on several threads, one at a time.
    pub(super) engine_publish: Mutex<Histogram>,
    pub(super) streams_shed: [AtomicU64; Shed::VARIANTS.len()],
    pub(super) connections: [AtomicU64; Listener::VARIANTS.len()],
    pub(super) connections_over_limit: [AtomicU64; Listener::VARIANTS.len()],
    pub(super) accept_errors: AtomicU64,
    pub(super) tls_handshakes: [AtomicU64; Handshake::VARIANTS.len()],
    pub(super) tls_certificate_expiry_s: AtomicU64,
    pub(super) tls_certificates_successful: AtomicBool,
    pub(super) draining: AtomicBool,
    pub(super) reload_successful: AtomicBool,
    pub(super) reload_success_ms: AtomicU64,
    pub(super) descs: Vec<Desc>,
    pub(super) process: Process,
}

impl Metrics {
    /// Metrics over these shards' cells.
    pub fn new(shards: Arc<[ShardCells]>, gauges: Gauges) -> Metrics {
        let descs = FAMILIES.iter().map(|family| family.desc()).collect();
        Metrics {
            shards,
            gauges,
            timer_late: Histogram::default(),
            events_published: Default::default(),
            publish_rejected: Default::default(),
            requests_rejected: Default::default(),
            tokens: Default::default(),
            engine_publishes: Default::default(),
            engine_publish: Mutex::default(),
            streams_shed: Default::default(),
            connections: Default::default(),
            connections_over_limit: Default::default(),
            accept_errors: AtomicU64::new(0),
            tls_handshakes: Default::default(),
            tls_certificate_expiry_s: AtomicU64::new(0),
            tls_certificates_successful: AtomicBool::new(true),
            draining: AtomicBool::new(false),
            reload_successful: AtomicBool::new(true),
            reload_success_ms: AtomicU64::new(wall_ms()),
            descs,
            process: Process::new(),
        }
    }

    /// The cells of each shard.
    pub fn shards(&self) -> &Arc<[ShardCells]> {
        &self.shards
    }

    /// Counts events taken into the log.
    pub fn events_published(&self, source: Source, events: u64) {
        self.events_published[source as usize].fetch_add(events, Ordering::Relaxed);
    }

    /// Counts a publish request that was refused.
    pub fn publish_rejected(&self, reason: Refusal) {
        self.publish_rejected[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was refused, other than to publish.
    pub fn request_rejected(&self, reason: Refusal) {
        self.requests_rejected[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what the engine made of a publish call, which waited for it so long, if it did.
    pub fn engine_answered(&self, answer: &Result<Stored, NotStored>, waited_ns: Option<u64>) {
        self.engine_publishes[EngineResult::of(answer) as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(waited_ns) = waited_ns {
            self.engine_publish.lock().observe(waited_ns);
        }
    }

    /// Counts a stream that was shed.
    pub fn stream_shed(&self, reason: Shed) {
        self.streams_shed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a token that was shown.
    pub fn token(&self, result: TokenResult) {
        self.tokens[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as open until the guard is dropped: when it is closed, or has become a
    /// stream.
    pub fn connection(self: &Arc<Self>, listener: Listener) -> ConnectionGuard {
        self.connections[listener as usize].fetch_add(1, Ordering::Relaxed);
        ConnectionGuard { metrics: Arc::clone(self), listener }
    }
    /// Counts a connection that found no room.
    pub fn connection_over_limit(&self, listener: Listener) {
        self.connections_over_limit[listener as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure to accept.
    pub fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a TLS handshake.
    pub fn tls_handshake(&self, result: Handshake) {
        self.tls_handshakes[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Says when the first of the certificates expires, and whether all could be used when they were last read.
    pub fn tls_certificates(&self, expiry_s: u64, successful: bool) {
        self.tls_certificate_expiry_s.store(expiry_s, Ordering::Relaxed);
        self.tls_certificates_successful.store(successful, Ordering::Relaxed);
    }

    /// Says that the gateway is shutting down.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Says what became of a new configuration.
    pub fn reloaded(&self, applied: bool) {
        self.reload_successful.store(applied, Ordering::Relaxed);
        if applied {
            self.reload_success_ms.store(wall_ms(), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

/// An open connection, as counted by [`Metrics::connection`].
#[derive(Debug)]
pub struct ConnectionGuard {
    metrics: Arc<Metrics>,
    listener: Listener,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.metrics.connections[self.listener as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
