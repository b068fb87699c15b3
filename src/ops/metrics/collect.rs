//! What was counted, as a scrape reads it.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, TextEncoder};
use strum::VariantArray;

use super::counts::Metrics;
use super::family::pair;
use super::labels::{EngineResult, Handshake, Listener, Shed, Source, TokenResult};
use super::names::*;
use crate::engine::facts::{Changed, Restart};
use crate::engine::status::Phase;
use crate::hub::close::CloseReason;
use crate::hub::gap::GapReason;
use crate::ops::cells::{Cell, Histogram, HistogramSum, ShardCells};
use crate::ops::cli::{REVISION, VERSION};
use crate::ops::logging;
use crate::ops::refusal::Refusal;

/// The `content-type` of [`Metrics::render`]'s bytes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Metrics {
    /// All metrics in the text format 0.0.4, sorted by name; see [`CONTENT_TYPE`].
    pub fn render(&self) -> Vec<u8> {
        let mut families = self.collect();
        families.extend(self.process.collect());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&families, &mut text).expect("Invariant: every family has a name and a metric");
        text
    }

    fn sum(&self, cell: impl Fn(&ShardCells) -> &Cell) -> u64 {
        self.shards.iter().map(|shard| cell(shard).get()).sum()
    }

    fn sum_histogram(&self, histogram: impl Fn(&ShardCells) -> &Histogram) -> HistogramSum {
        let mut sum = HistogramSum::default();
        self.shards.iter().for_each(|shard| histogram(shard).read_into(&mut sum));
        sum
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut late = HistogramSum::default();
        self.timer_late.read_into(&mut late);
        let mut engine_publish = HistogramSum::default();
        self.engine_publish.lock().read_into(&mut engine_publish);
        let phase = (self.gauges.engine_phase)();
        let facts = &self.gauges.engine_facts;
        vec![
            STREAMS.values(self.shards.iter().enumerate().map(|(i, shard)| (i.to_string(), shard.streams.get()))),
            BEHIND_STREAMS.value(self.sum(|shard| &shard.behind_streams)),
            PINNED_BYTES
                .values(self.shards.iter().enumerate().map(|(i, shard)| (i.to_string(), shard.pinned_bytes.get()))),
            PINNED_BYTES_MAX.value(self.gauges.bounds.pinned_bytes),
            STREAMS_OPENED.value(self.sum(|shard| &shard.streams_opened)),
            STREAMS_CLOSED
                .values(CloseReason::VARIANTS.iter().map(|r| (r.as_ref(), self.sum(|shard| shard.streams_closed(*r))))),
            STREAMS_SHED.values(Shed::VARIANTS.iter().map(|r| (r.as_ref(), at(&self.streams_shed, *r as usize)))),
            EVENTS_PUBLISHED
                .values(Source::VARIANTS.iter().map(|s| (s.as_ref(), at(&self.events_published, *s as usize)))),
            PUBLISH_REJECTED
                .values(Refusal::VARIANTS.iter().map(|r| (r.as_ref(), at(&self.publish_rejected, *r as usize)))),
            REQUESTS_REJECTED
                .values(Refusal::VARIANTS.iter().map(|r| (r.as_ref(), at(&self.requests_rejected, *r as usize)))),
            TOKENS.values(TokenResult::VARIANTS.iter().map(|r| (r.as_ref(), at(&self.tokens, *r as usize)))),
            ENGINE_STATE.values(Phase::VARIANTS.iter().map(|p| (p.as_ref(), u64::from(*p == phase)))),
            ENGINE_PUBLISHES
                .values(EngineResult::VARIANTS.iter().map(|r| (r.as_ref(), at(&self.engine_publishes, *r as usize)))),
            ENGINE_PUBLISH_SECONDS.histogram(&engine_publish),
            ENGINE_HEAD_SEQ.value(facts.head()),
            ENGINE_LAST_SEQ.value(facts.last()),
            ENGINE_LAG_SECONDS.number(facts.lag_ms() as f64 / 1e3),
            ENGINE_SILENCE_SECONDS.number(facts.silence_ms() as f64 / 1e3),
            ENGINE_READER_RESTARTS.values(Restart::VARIANTS.iter().map(|r| (r.as_ref(), facts.restarts(*r)))),
            ENGINE_EPOCH_CHANGES.values(Changed::VARIANTS.iter().map(|r| (r.as_ref(), facts.epochs(*r)))),
            ENGINE_HOLES.value(facts.holes()),
            ENGINE_UNREADABLE.value(facts.unreadable()),
            DELIVERIES.value(self.sum(|shard| &shard.deliveries)),
            BYTES_WRITTEN.value(self.sum(|shard| &shard.bytes_written)),
            WRITES.value(self.sum(|shard| &shard.writes)),
            GAPS.values(GapReason::VARIANTS.iter().map(|r| (r.as_ref(), self.sum(|shard| shard.gaps(*r))))),
            DELIVERY_SECONDS.histogram(&self.sum_histogram(|shard| &shard.delivery)),
            PASS_SECONDS.histogram(&self.sum_histogram(|shard| &shard.pass)),
            SHARD_LAG_SECONDS
                .seconds((0..self.shards.len()).map(|shard| (shard.to_string(), (self.gauges.shard_lag_ns)(shard)))),
            SHARD_BUSY_SECONDS
                .seconds(self.shards.iter().enumerate().map(|(i, shard)| (i.to_string(), shard.busy_ns.get()))),
            STREAMS_MAX.value(self.gauges.bounds.streams),
            LOG_EVENTS_MAX.value(self.gauges.bounds.log_events),
            LOG_BYTES_MAX.value(self.gauges.bounds.log_bytes),
            LOG_EVENTS.value((self.gauges.log_events)()),
            LOG_BYTES.value((self.gauges.log_bytes)()),
            LOG_OLDEST_SECONDS.number((self.gauges.log_oldest_ns)() as f64 / 1e9),
            TOPICS.value((self.gauges.topics)()),
            REPLAY_PAGES.values(["engine", "memory"].into_iter().zip((self.gauges.pages)())),
            REPLAY_WAITING.value(self.sum(|shard| &shard.paging_streams)),
            TIMER_ENTRIES.value((self.gauges.timer_entries)()),
            TIMER_LATE_SECONDS.histogram(&late),
            CONNECTIONS.values(Listener::VARIANTS.iter().map(|l| (l.as_ref(), at(&self.connections, *l as usize)))),
            CONNECTIONS_OVER_LIMIT
                .values(Listener::VARIANTS.iter().map(|l| (l.as_ref(), at(&self.connections_over_limit, *l as usize)))),
            ACCEPT_ERRORS.value(self.accept_errors.load(Ordering::Relaxed)),
            TLS_HANDSHAKES
                .values(Handshake::VARIANTS.iter().map(|r| (r.as_ref(), at(&self.tls_handshakes, *r as usize)))),
            TLS_CERTIFICATE_EXPIRY.value(self.tls_certificate_expiry_s.load(Ordering::Relaxed)),
            TLS_CERTIFICATES_SUCCESSFUL.value(self.tls_certificates_successful.load(Ordering::Relaxed).into()),
            LOG_LINES_DROPPED.value(logging::lines_dropped()),
            DRAINING.value(self.draining.load(Ordering::Relaxed).into()),
            RELOAD_SUCCESSFUL.value(self.reload_successful.load(Ordering::Relaxed).into()),
            RELOAD_SUCCESS_TIMESTAMP.number(self.reload_success_ms.load(Ordering::Relaxed) as f64 / 1e3),
            BUILD_INFO.of(vec![BUILD_INFO.metric(vec![pair("revision", REVISION), pair("version", VERSION)], 1.0)]),
        ]
    }
}

fn at(counts: &[AtomicU64], index: usize) -> u64 {
    counts[index].load(Ordering::Relaxed)
}
