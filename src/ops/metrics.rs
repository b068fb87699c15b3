//! What Prometheus reads: every name, its help and its labels are here.
//!
//! Shards count in their own cells, and a scrape adds those up. The rest, what is not counted once
//! per delivery, is in atomics here. Every label value is there from the start, at 0, so that a
//! rate over its first count is not lost. No label holds a topic, an address or anything else that
//! a client chooses.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};
use strum::{AsRefStr, VariantArray};

use super::cells::{BUCKETS_NANOS, HistogramSum};
pub use super::cells::{Cell, Histogram, ShardCells};
use super::cli::{REVISION, VERSION};
use super::logging;
use super::process::Process;
use super::refusal::Refusal;
use crate::hub::close::CloseReason;
use crate::hub::gap::GapReason;

/// The `content-type` of [`Metrics::render`]'s bytes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

// ===== names =====

/// A family of metrics.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    label: Option<&'static str>,
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::GAUGE, label: None }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::COUNTER, label: None }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::HISTOGRAM, label: None }
}

impl Family {
    const fn by(mut self, label: &'static str) -> Family {
        self.label = Some(label);
        self
    }
}

const STREAMS: Family = gauge("sluicegate_streams", "Open streams.").by("shard");
const BEHIND_STREAMS: Family = gauge("sluicegate_behind_streams", "Open streams that read behind the head of the log.");
const STREAMS_OPENED: Family = counter("sluicegate_streams_opened_total", "Streams opened.");
const STREAMS_CLOSED: Family = counter("sluicegate_streams_closed_total", "Streams closed, by reason.").by("reason");
const STREAMS_SHED: Family =
    counter("sluicegate_streams_shed_total", "Streams refused with a retry and a close, by reason.").by("reason");
const EVENTS_PUBLISHED: Family =
    counter("sluicegate_events_published_total", "Events taken into the log, by source.").by("source");
const PUBLISH_REJECTED: Family =
    counter("sluicegate_publish_rejected_total", "Publish requests refused, by reason.").by("reason");
const REQUESTS_REJECTED: Family =
    counter("sluicegate_requests_rejected_total", "Requests refused that were no publish, by reason.").by("reason");
const DELIVERIES: Family =
    counter("sluicegate_deliveries_total", "Events written to streams: one per event and stream.");
const BYTES_WRITTEN: Family = counter("sluicegate_bytes_written_total", "Bytes written to streams.");
const WRITES: Family = counter("sluicegate_writes_total", "Writes to streams that took at least a byte.");
const GAPS: Family = counter("sluicegate_gaps_total", "Gaps that streams were told of, by reason.").by("reason");
const DELIVERY_SECONDS: Family = histogram(
    "sluicegate_delivery_seconds",
    "Time from an event's publish to the write that carried it, per delivery but for replay, in seconds.",
);
const PASS_SECONDS: Family = histogram(
    "sluicegate_pass_seconds",
    "Length of a shard's passes, rests between their pieces included, in seconds.",
);
const SHARD_LAG_SECONDS: Family = gauge(
    "sluicegate_shard_lag_seconds",
    "Age of the oldest event in the log that waits for the shard's passes, in seconds; 0 when none does.",
)
.by("shard");
const SHARD_BUSY_SECONDS: Family =
    counter("sluicegate_shard_busy_seconds_total", "Processor time that the shard's passes took, in seconds.")
        .by("shard");
const STREAMS_MAX: Family = gauge("sluicegate_streams_max", "Streams that may be open.");
const LOG_EVENTS_MAX: Family = gauge("sluicegate_log_events_max", "Kept events that the log may hold.");
const LOG_BYTES_MAX: Family = gauge("sluicegate_log_bytes_max", "Memory that kept events may take, in bytes.");
const LOG_EVENTS: Family = gauge("sluicegate_log_events", "Events in the log, kept and live-only.");
const LOG_BYTES: Family = gauge("sluicegate_log_bytes", "Memory of the events in the log, in bytes.");
const TIMER_ENTRIES: Family = gauge("sluicegate_timer_entries", "Entries on the timing wheel.");
const TIMER_LATE_SECONDS: Family =
    histogram("sluicegate_timer_late_seconds", "How late the timing wheel's entries expired, in seconds.");
const CONNECTIONS: Family =
    gauge("sluicegate_connections", "Open connections that are no streams, by listener.").by("listener");
const CONNECTIONS_OVER_LIMIT: Family = counter(
    "sluicegate_connections_over_limit_total",
    "Connections that found as many open as may be, so that the longest idle was closed, by listener.",
)
.by("listener");
const ACCEPT_ERRORS: Family = counter("sluicegate_accept_errors_total", "Failures to accept a connection.");
const LOG_LINES_DROPPED: Family =
    counter("sluicegate_log_lines_dropped_total", "Log lines dropped, since stderr did not take them in time.");
const DRAINING: Family = gauge("sluicegate_draining", "1 while the gateway is shutting down, else 0.");
const RELOAD_SUCCESSFUL: Family = gauge(
    "sluicegate_config_last_reload_successful",
    "1 if the configuration was applied when it was last read, 0 if it was refused.",
);
const RELOAD_SUCCESS_TIMESTAMP: Family = gauge(
    "sluicegate_config_last_reload_success_timestamp_seconds",
    "When a configuration was last applied, at the start or since, in seconds since 1970.",
);
const BUILD_INFO: Family = gauge("sluicegate_build_info", "1, with what was built as labels.");

const FAMILIES: [&Family; 31] = [
    &STREAMS,
    &BEHIND_STREAMS,
    &STREAMS_OPENED,
    &STREAMS_CLOSED,
    &STREAMS_SHED,
    &EVENTS_PUBLISHED,
    &PUBLISH_REJECTED,
    &REQUESTS_REJECTED,
    &DELIVERIES,
    &BYTES_WRITTEN,
    &WRITES,
    &GAPS,
    &DELIVERY_SECONDS,
    &PASS_SECONDS,
    &SHARD_LAG_SECONDS,
    &SHARD_BUSY_SECONDS,
    &STREAMS_MAX,
    &LOG_EVENTS_MAX,
    &LOG_BYTES_MAX,
    &LOG_EVENTS,
    &LOG_BYTES,
    &TIMER_ENTRIES,
    &TIMER_LATE_SECONDS,
    &CONNECTIONS,
    &CONNECTIONS_OVER_LIMIT,
    &ACCEPT_ERRORS,
    &LOG_LINES_DROPPED,
    &DRAINING,
    &RELOAD_SUCCESSFUL,
    &RELOAD_SUCCESS_TIMESTAMP,
    &BUILD_INFO,
];

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Source {
    /// A publish request.
    Http,
    /// A schedule.
    Schedule,
    /// A caller in the same process.
    Library,
}

/// Why a stream was shed: answered with a `retry:` and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Shed {
    /// As many streams are open as may be.
    Full,
    /// The shard's inbox was full.
    InboxFull,
    /// The gateway is shutting down.
    Draining,
}

/// Which of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Listener {
    /// The public one, for streams.
    Public,
    /// The operator's.
    Control,
    /// For probes and scrapes.
    Health,
}

// ===== Metrics =====

/// Numbers that are read when Prometheus asks for them.
pub struct Gauges {
    /// How many events the log keeps.
    pub log_events: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How many bytes they are.
    pub log_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How many entries are on the timing wheel.
    pub timer_entries: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How long the oldest event that waits for this shard has been waiting, in nanoseconds.
    pub shard_lag_ns: Box<dyn Fn(usize) -> u64 + Send + Sync>,
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
}

impl Default for Gauges {
    /// Gauges that are always 0.
    fn default() -> Gauges {
        Gauges {
            log_events: Box::new(|| 0),
            log_bytes: Box::new(|| 0),
            timer_entries: Box::new(|| 0),
            shard_lag_ns: Box::new(|_| 0),
            bounds: Bounds::default(),
        }
    }
}

/// All that the process counts. Shared behind an [`Arc`]; any thread may count, except in cells.
pub struct Metrics {
    shards: Arc<[ShardCells]>,
    gauges: Gauges,
    /// How late the wheel's entries expired. For the wheel's thread only.
    pub timer_late: Histogram,
    events_published: [AtomicU64; Source::VARIANTS.len()],
    publish_rejected: [AtomicU64; Refusal::VARIANTS.len()],
    requests_rejected: [AtomicU64; Refusal::VARIANTS.len()],
    streams_shed: [AtomicU64; Shed::VARIANTS.len()],
    connections: [AtomicU64; Listener::VARIANTS.len()],
    connections_over_limit: [AtomicU64; Listener::VARIANTS.len()],
    accept_errors: AtomicU64,
    draining: AtomicBool,
    reload_successful: AtomicBool,
    reload_success_ms: AtomicU64,
    descs: Vec<Desc>,
    process: Process,
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
            streams_shed: Default::default(),
            connections: Default::default(),
            connections_over_limit: Default::default(),
            accept_errors: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            reload_successful: AtomicBool::new(true),
            reload_success_ms: AtomicU64::new(unix_ms()),
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

    /// Counts a stream that was shed.
    pub fn stream_shed(&self, reason: Shed) {
        self.streams_shed[reason as usize].fetch_add(1, Ordering::Relaxed);
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

    /// Says that the gateway is shutting down.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Says what became of a new configuration.
    pub fn reloaded(&self, applied: bool) {
        self.reload_successful.store(applied, Ordering::Relaxed);
        if applied {
            self.reload_success_ms.store(unix_ms(), Ordering::Relaxed);
        }
    }

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

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut late = HistogramSum::default();
        self.timer_late.read_into(&mut late);
        vec![
            STREAMS.values(self.shards.iter().enumerate().map(|(i, shard)| (i.to_string(), shard.streams.get()))),
            BEHIND_STREAMS.value(self.sum(|shard| &shard.behind_streams)),
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
            TIMER_ENTRIES.value((self.gauges.timer_entries)()),
            TIMER_LATE_SECONDS.histogram(&late),
            CONNECTIONS.values(Listener::VARIANTS.iter().map(|l| (l.as_ref(), at(&self.connections, *l as usize)))),
            CONNECTIONS_OVER_LIMIT
                .values(Listener::VARIANTS.iter().map(|l| (l.as_ref(), at(&self.connections_over_limit, *l as usize)))),
            ACCEPT_ERRORS.value(self.accept_errors.load(Ordering::Relaxed)),
            LOG_LINES_DROPPED.value(logging::lines_dropped()),
            DRAINING.value(self.draining.load(Ordering::Relaxed).into()),
            RELOAD_SUCCESSFUL.value(self.reload_successful.load(Ordering::Relaxed).into()),
            RELOAD_SUCCESS_TIMESTAMP.number(self.reload_success_ms.load(Ordering::Relaxed) as f64 / 1e3),
            BUILD_INFO.of(vec![BUILD_INFO.metric(vec![pair("revision", REVISION), pair("version", VERSION)], 1.0)]),
        ]
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn at(counts: &[AtomicU64], index: usize) -> u64 {
    counts[index].load(Ordering::Relaxed)
}

// ===== impl Family =====

impl Family {
    fn desc(&self) -> Desc {
        let labels = match self.name {
            name if name == BUILD_INFO.name => vec!["revision".to_owned(), "version".to_owned()],
            _ => self.label.map(str::to_owned).into_iter().collect(),
        };
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
            .expect("Invariant: names and labels are valid")
    }

    fn of(&self, metrics: Vec<proto::Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }

    fn metric(&self, labels: Vec<LabelPair>, value: f64) -> proto::Metric {
        let mut metric = proto::Metric::from_label(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }

    /// The family with one number and no label.
    fn value(&self, value: u64) -> MetricFamily {
        self.number(value as f64)
    }

    fn number(&self, value: f64) -> MetricFamily {
        self.of(vec![self.metric(Vec::new(), value)])
    }

    /// The family with a number per value of its label.
    fn values<L: AsRef<str>>(&self, values: impl Iterator<Item = (L, u64)>) -> MetricFamily {
        self.labelled(values.map(|(name, value)| (name, value as f64)))
    }

    /// The family with a time, given in nanoseconds, per value of its label.
    fn seconds<L: AsRef<str>>(&self, nanos: impl Iterator<Item = (L, u64)>) -> MetricFamily {
        self.labelled(nanos.map(|(name, nanos)| (name, nanos as f64 / 1e9)))
    }

    fn labelled<L: AsRef<str>>(&self, values: impl Iterator<Item = (L, f64)>) -> MetricFamily {
        let label = self.label.unwrap_or_default();
        self.of(values.map(|(name, value)| self.metric(vec![pair(label, name.as_ref())], value)).collect())
    }

    fn histogram(&self, sum: &HistogramSum) -> MetricFamily {
        let mut histogram = proto::Histogram::default();
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BUCKETS_NANOS.len());
        for (bound, n) in BUCKETS_NANOS.iter().zip(&sum.buckets) {
            count += n;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e9);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        // The count is what the buckets hold, so that +Inf equals it whatever is counted meanwhile.
        histogram.set_sample_count(count + sum.buckets[BUCKETS_NANOS.len()]);
        histogram.set_sample_sum(sum.seconds);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        self.of(vec![metric])
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn metrics(shards: usize) -> Arc<Metrics> {
        Arc::new(Metrics::new(ShardCells::for_shards(shards), Gauges::default()))
    }

    fn rendered(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).unwrap()
    }

    /// The value of a series, written as in the text format.
    #[track_caller]
    fn value(text: &str, series: &str) -> f64 {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = values.next().unwrap_or_else(|| panic!("no {series} in\n{text}"));
        assert_eq!(values.next(), None, "{series} is there twice");
        value.parse().unwrap()
    }

    #[test]
    fn every_family_is_there_once_with_help_and_type() {
        let text = rendered(&metrics(2));
        for family in FAMILIES {
            let name = family.name;
            let kind = format!("{:?}", family.kind).to_lowercase();
            assert_eq!(text.matches(&format!("# HELP {name} {}\n", family.help)).count(), 1, "{name}");
            assert_eq!(text.matches(&format!("# TYPE {name} {kind}\n")).count(), 1, "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(family.help.ends_with('.'), "{name}");
        }
        let ours = text.lines().filter(|line| line.starts_with("# TYPE sluicegate_")).count();
        assert_eq!(ours, FAMILIES.len());
        assert!(text.contains("# TYPE process_resident_memory_bytes gauge"));
        let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(names.is_sorted());
    }

    #[test]
    fn every_label_value_is_there_from_the_start() {
        let text = rendered(&metrics(2));
        for shard in 0..2 {
            for family in ["streams", "shard_lag_seconds", "shard_busy_seconds_total"] {
                assert_eq!(value(&text, &format!("sluicegate_{family}{{shard=\"{shard}\"}}")), 0.0);
            }
        }
        let zero = |family: &Family, label: &str| {
            let series = format!("{}{{{}=\"{label}\"}}", family.name, family.label.unwrap());
            assert_eq!(value(&text, &series), 0.0);
        };
        CloseReason::VARIANTS.iter().for_each(|r| zero(&STREAMS_CLOSED, r.as_ref()));
        GapReason::VARIANTS.iter().for_each(|r| zero(&GAPS, r.as_ref()));
        Shed::VARIANTS.iter().for_each(|r| zero(&STREAMS_SHED, r.as_ref()));
        Source::VARIANTS.iter().for_each(|s| zero(&EVENTS_PUBLISHED, s.as_ref()));
        Refusal::VARIANTS.iter().for_each(|r| zero(&PUBLISH_REJECTED, r.as_ref()));
        Refusal::VARIANTS.iter().for_each(|r| zero(&REQUESTS_REJECTED, r.as_ref()));
        Listener::VARIANTS.iter().for_each(|l| zero(&CONNECTIONS, l.as_ref()));
        let build = format!("sluicegate_build_info{{revision=\"{REVISION}\",version=\"{VERSION}\"}}");
        assert_eq!(value(&text, &build), 1.0);
    }

    /// Dashboards and alerts name them: they are as promised, whatever the variants are called.
    #[test]
    fn the_values_of_labels_are_these() {
        #[track_caller]
        fn check<L: AsRef<str>>(variants: &[L], expected: &str) {
            let values: Vec<_> = variants.iter().map(L::as_ref).collect();
            assert_eq!(values.join(" "), expected);
        }
        check(
            CloseReason::VARIANTS,
            "client_gone write_error write_deadline lagged max_events max_seconds rotated drained cut client_data",
        );
        check(GapReason::VARIANTS, "unknown_id expired foreign_epoch lagged conflated");
        check(Shed::VARIANTS, "full inbox_full draining");
        check(Source::VARIANTS, "http schedule library");
        check(Listener::VARIANTS, "public control health");
        check(
            Refusal::VARIANTS,
            "bad_head uri_too_long head_too_large head_too_slow http_version bad_field bad_body body_too_large \
             body_too_slow batch_too_large media_type not_found method forbidden handler busy shutting_down",
        );
    }

    #[test]
    fn shards_are_summed() {
        let gauges = Gauges {
            log_events: Box::new(|| 7),
            log_bytes: Box::new(|| 700),
            timer_entries: Box::new(|| 8),
            shard_lag_ns: Box::new(|shard| shard as u64 * 2_500_000_000),
            ..Gauges::default()
        };
        let metrics = Arc::new(Metrics::new(ShardCells::for_shards(2), gauges));
        for (i, shard) in metrics.shards().iter().enumerate() {
            shard.streams.set(10 + i as u64);
            shard.streams.set(shard.streams.get() - 1);
            shard.deliveries.add(100);
            shard.busy_ns.add(1_500_000);
            shard.streams_closed(CloseReason::Lagged).add(2);
            shard.gaps(GapReason::Expired).add(3);
        }
        metrics.events_published(Source::Schedule, 4);
        metrics.publish_rejected(Refusal::BadBody);
        metrics.request_rejected(Refusal::NotFound);
        metrics.stream_shed(Shed::Full);
        metrics.accept_error();
        metrics.set_draining();
        let started = unix_ms() as f64 / 1e3;
        metrics.reloaded(false);
        let open = metrics.connection(Listener::Control);
        drop(metrics.connection(Listener::Public));
        let text = rendered(&metrics);
        for (series, expected) in [
            ("sluicegate_streams{shard=\"0\"}", 9.0),
            ("sluicegate_streams{shard=\"1\"}", 10.0),
            ("sluicegate_deliveries_total", 200.0),
            ("sluicegate_shard_lag_seconds{shard=\"0\"}", 0.0),
            ("sluicegate_shard_lag_seconds{shard=\"1\"}", 2.5),
            ("sluicegate_shard_busy_seconds_total{shard=\"1\"}", 0.0015),
            ("sluicegate_streams_closed_total{reason=\"lagged\"}", 4.0),
            ("sluicegate_gaps_total{reason=\"expired\"}", 6.0),
            ("sluicegate_events_published_total{source=\"schedule\"}", 4.0),
            ("sluicegate_publish_rejected_total{reason=\"bad_body\"}", 1.0),
            ("sluicegate_requests_rejected_total{reason=\"not_found\"}", 1.0),
            ("sluicegate_streams_shed_total{reason=\"full\"}", 1.0),
            ("sluicegate_accept_errors_total", 1.0),
            ("sluicegate_draining", 1.0),
            ("sluicegate_connections{listener=\"control\"}", 1.0),
            ("sluicegate_connections{listener=\"public\"}", 0.0),
            ("sluicegate_log_events", 7.0),
            ("sluicegate_log_bytes", 700.0),
            ("sluicegate_timer_entries", 8.0),
        ] {
            assert_eq!(value(&text, series), expected, "{series}");
        }
        let applied = "sluicegate_config_last_reload_success_timestamp_seconds";
        assert_eq!(value(&text, "sluicegate_config_last_reload_successful"), 0.0);
        assert!((started - 60.0..=started).contains(&value(&text, applied)));
        metrics.reloaded(true);
        let text = rendered(&metrics);
        assert_eq!(value(&text, "sluicegate_config_last_reload_successful"), 1.0);
        assert!(value(&text, applied) >= started);
        drop(open);
        assert_eq!(value(&rendered(&metrics), "sluicegate_connections{listener=\"control\"}"), 0.0);
    }

    #[test]
    fn histograms_are_cumulative_and_end_in_the_count() {
        let metrics = metrics(2);
        metrics.shards()[0].delivery.observe_n(60_000, 5);
        metrics.shards()[1].delivery.observe_n(20_000_000_000, 2);
        metrics.shards()[1].delivery.observe(1_000_000);
        metrics.timer_late.observe(1);
        let text = rendered(&metrics);
        let buckets: Vec<f64> = text
            .lines()
            .filter(|line| line.starts_with("sluicegate_delivery_seconds_bucket{le="))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert_eq!(buckets.len(), BUCKETS_NANOS.len() + 1);
        assert!(buckets.is_sorted(), "{buckets:?}");
        for (le, expected) in [("0.00005", 0.0), ("0.0001", 5.0), ("0.001", 6.0), ("10", 6.0), ("+Inf", 8.0)] {
            assert_eq!(value(&text, &format!("sluicegate_delivery_seconds_bucket{{le=\"{le}\"}}")), expected, "{le}");
        }
        assert_eq!(value(&text, "sluicegate_delivery_seconds_count"), 8.0);
        assert!((value(&text, "sluicegate_delivery_seconds_sum") - 40.0013).abs() < 1e-9);
        assert_eq!(value(&text, "sluicegate_timer_late_seconds_count"), 1.0);
    }

    #[test]
    fn a_scrape_while_counting_is_consistent() {
        let metrics = metrics(1);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for i in 0..100_000 {
                    metrics.shards()[0].pass.observe(i * 1000);
                    metrics.events_published(Source::Library, 1);
                }
            });
            while !writer.is_finished() {
                let text = rendered(&metrics);
                let inf = value(&text, "sluicegate_pass_seconds_bucket{le=\"+Inf\"}");
                assert_eq!(inf, value(&text, "sluicegate_pass_seconds_count"));
                assert!(value(&text, "sluicegate_pass_seconds_bucket{le=\"10\"}") <= inf);
            }
        });
        let text = rendered(&metrics);
        assert_eq!(value(&text, "sluicegate_pass_seconds_count"), 100_000.0);
        assert_eq!(value(&text, "sluicegate_events_published_total{source=\"library\"}"), 100_000.0);
    }

    #[test]
    fn it_is_a_collector_that_a_registry_takes() {
        let registry = prometheus::Registry::new();
        let metrics = Metrics::new(ShardCells::for_shards(1), Gauges::default());
        registry.register(Box::new(metrics)).unwrap();
        assert_eq!(registry.gather().len(), FAMILIES.len());
    }

    /// Skipped where there is no promtool, unless `SLUICEGATE_REQUIRE_TOOLS` is set.
    #[test]
    fn promtool_has_nothing_to_say() {
        let spawned = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var_os("SLUICEGATE_REQUIRE_TOOLS").is_none(), "promtool is needed: {error}");
                return eprintln!("skipped: no promtool: {error}");
            }
        };
        child.stdin.take().unwrap().write_all(&metrics(2).render()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
