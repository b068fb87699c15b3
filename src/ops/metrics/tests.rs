use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use strum::VariantArray;

use super::family::Family;
use super::labels::EngineResult;
use super::names::*;
use super::*;
use crate::engine::facts::{Changed, Restart};
use crate::engine::status::Phase;
use crate::engine::wall::wall_ms;
use crate::hub::close::CloseReason;
use crate::hub::gap::GapReason;
use crate::ops::cells::BUCKETS_NANOS;
use crate::ops::cli::{REVISION, VERSION};
use crate::ops::refusal::Refusal;

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
fn the_reference_lists_every_family_as_a_scrape_has_it() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let reference = std::fs::read_to_string(path).unwrap();
    let rows: Vec<_> = FAMILIES
        .iter()
        .map(|family| {
            let kind = format!("{:?}", family.kind).to_lowercase();
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help)
        })
        .collect();
    let listed: Vec<_> = reference.lines().filter(|line| line.starts_with("| `sluicegate_")).collect();
    for row in &rows {
        assert_eq!(listed.iter().filter(|line| *line == row).count(), 1, "docs/metrics.md needs the row {row}");
    }
    assert_eq!(listed.len(), rows.len(), "docs/metrics.md has rows that are no metrics");
}

/// The values of labels are held to the code below, and the reference to these.
#[test]
fn the_reference_lists_every_value_of_a_label() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let reference = std::fs::read_to_string(path).unwrap();
    let check = |family: &Family, values: Vec<&str>| {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        let mut rows = reference.lines().filter(|line| line.contains(&format!("`{}`", family.name)));
        assert!(rows.any(|row| row.ends_with(&format!(" | {} |", values.join(" ")))), "{} {values:?}", family.name);
    };
    check(&STREAMS_CLOSED, CloseReason::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&GAPS, GapReason::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&STREAMS_SHED, Shed::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&EVENTS_PUBLISHED, Source::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&CONNECTIONS, Listener::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&ENGINE_PUBLISHES, EngineResult::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&ENGINE_READER_RESTARTS, Restart::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&ENGINE_EPOCH_CHANGES, Changed::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&TLS_HANDSHAKES, Handshake::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&ENGINE_STATE, Phase::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&REQUESTS_REJECTED, Refusal::VARIANTS.iter().map(AsRef::as_ref).collect());
    check(&PUBLISH_REJECTED, Refusal::VARIANTS.iter().map(AsRef::as_ref).collect());
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
        let series = format!("{}{{{}=\"{label}\"}}", family.name, family.labels[0]);
        assert_eq!(value(&text, &series), 0.0);
    };
    CloseReason::VARIANTS.iter().for_each(|r| zero(&STREAMS_CLOSED, r.as_ref()));
    GapReason::VARIANTS.iter().for_each(|r| zero(&GAPS, r.as_ref()));
    Shed::VARIANTS.iter().for_each(|r| zero(&STREAMS_SHED, r.as_ref()));
    Source::VARIANTS.iter().for_each(|s| zero(&EVENTS_PUBLISHED, s.as_ref()));
    EngineResult::VARIANTS.iter().for_each(|r| zero(&ENGINE_PUBLISHES, r.as_ref()));
    for phase in Phase::VARIANTS {
        let series = format!("sluicegate_engine_state{{state=\"{}\"}}", phase.as_ref());
        assert_eq!(value(&text, &series), f64::from(*phase == Phase::Ready));
    }
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
        "client_gone write_error write_deadline pinned lagged max_events max_seconds rotated token_expired token_revoked superseded drained cut \
         client_data",
    );
    check(GapReason::VARIANTS, "unknown_id expired foreign_epoch lagged conflated lost");
    check(Shed::VARIANTS, "full inbox_full draining");
    check(Source::VARIANTS, "http schedule library");
    check(TokenResult::VARIANTS, "verified remembered refused");
    check(Listener::VARIANTS, "public control health");
    check(EngineResult::VARIANTS, "stored duplicate busy refused too_large key_reused unknown");
    check(Restart::VARIANTS, "silence missing ended stream");
    check(Changed::VARIANTS, "remade rolled_back");
    check(Handshake::VARIANTS, "full resumed plain_http failed late");
    check(Phase::VARIANTS, "connecting loading ready away stale reloading faulted");
    check(
        Refusal::VARIANTS,
        "bad_head uri_too_long head_too_large head_too_slow http_version not_tls bad_field bad_body \
         body_too_large body_too_slow batch_too_large media_type not_found method unauthorized forbidden handler busy shutting_down not_stored \
         key_reused perhaps_stored",
    );
}

#[test]
fn shards_are_summed() {
    let gauges = Gauges {
        log_events: Box::new(|| 7),
        log_bytes: Box::new(|| 700),
        topics: Box::new(|| 9),
        log_oldest_ns: Box::new(|| 3_600_500_000_000),
        timer_entries: Box::new(|| 8),
        shard_lag_ns: Box::new(|shard| shard as u64 * 2_500_000_000),
        ..Gauges::default()
    };
    let metrics = Arc::new(Metrics::new(ShardCells::for_shards(2), gauges));
    for (i, shard) in metrics.shards().iter().enumerate() {
        shard.streams.set(10 + i as u64);
        shard.streams.set(shard.streams.get() - 1);
        shard.deliveries.add(100);
        shard.pinned_bytes.set(1000 * i as u64);
        shard.busy_ns.add(1_500_000);
        shard.streams_closed(CloseReason::Lagged).add(2);
        shard.gaps(GapReason::Expired).add(3);
    }
    metrics.events_published(Source::Schedule, 4);
    metrics.publish_rejected(Refusal::BadBody);
    metrics.request_rejected(Refusal::NotFound);
    metrics.stream_shed(Shed::Full);
    metrics.accept_error();
    metrics.tls_handshake(Handshake::Resumed);
    metrics.tls_certificates(1_700_000_000, false);
    metrics.set_draining();
    let started = wall_ms() as f64 / 1e3;
    metrics.reloaded(false);
    let open = metrics.connection(Listener::Control);
    drop(metrics.connection(Listener::Public));
    let text = rendered(&metrics);
    for (series, expected) in [
        ("sluicegate_streams{shard=\"0\"}", 9.0),
        ("sluicegate_streams{shard=\"1\"}", 10.0),
        ("sluicegate_deliveries_total", 200.0),
        ("sluicegate_tls_handshakes_total{result=\"resumed\"}", 1.0),
        ("sluicegate_tls_handshakes_total{result=\"full\"}", 0.0),
        ("sluicegate_tls_certificate_expiry_timestamp_seconds", 1_700_000_000.0),
        ("sluicegate_tls_certificates_last_read_successful", 0.0),
        ("sluicegate_pinned_bytes{shard=\"1\"}", 1000.0),
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
        ("sluicegate_topics", 9.0),
        ("sluicegate_log_oldest_seconds", 3600.5),
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
