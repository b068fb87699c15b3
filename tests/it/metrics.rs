//! What Prometheus reads: that it is all there, and moves as it should.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Metrics, SOON, Server, tool, within};

/// Every family that is promised, with a label where it has one.
const PROMISED: [&str; 45] = [
    "sluicegate_streams{shard=\"0\"}",
    "sluicegate_streams_opened_total",
    "sluicegate_streams_closed_total{reason=\"client_gone\"}",
    "sluicegate_events_published_total{source=\"http\"}",
    "sluicegate_publish_rejected_total{reason=\"bad_field\"}",
    "sluicegate_engine_state{state=\"ready\"}",
    "sluicegate_engine_publishes_total{result=\"stored\"}",
    "sluicegate_engine_publish_seconds_count",
    "sluicegate_engine_head_seq",
    "sluicegate_engine_last_seq",
    "sluicegate_engine_lag_seconds",
    "sluicegate_engine_silence_seconds",
    "sluicegate_engine_reader_restarts_total{reason=\"silence\"}",
    "sluicegate_engine_epoch_changes_total{reason=\"rolled_back\"}",
    "sluicegate_engine_holes_total",
    "sluicegate_engine_unreadable_total",
    "sluicegate_deliveries_total",
    "sluicegate_bytes_written_total",
    "sluicegate_writes_total",
    "sluicegate_behind_streams",
    "sluicegate_pinned_bytes{shard=\"0\"}",
    "sluicegate_pinned_bytes_max",
    "sluicegate_gaps_total{reason=\"unknown_id\"}",
    "sluicegate_delivery_seconds_count",
    "sluicegate_delivery_seconds_bucket{le=\"0.00005\"}",
    "sluicegate_pass_seconds_sum",
    "sluicegate_shard_lag_seconds{shard=\"0\"}",
    "sluicegate_shard_busy_seconds_total{shard=\"0\"}",
    "sluicegate_log_events",
    "sluicegate_log_bytes",
    "sluicegate_timer_entries",
    "sluicegate_timer_late_seconds_count",
    "sluicegate_connections{listener=\"health\"}",
    "sluicegate_connections_over_limit_total{listener=\"public\"}",
    "sluicegate_connections{listener=\"public\"}",
    "sluicegate_connections{listener=\"control\"}",
    "sluicegate_log_lines_dropped_total",
    "sluicegate_config_last_reload_successful",
    "sluicegate_config_last_reload_success_timestamp_seconds",
    "sluicegate_build_info",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

/// What is asserted comes true soon; if not, the whole scrape is shown.
#[track_caller]
fn eventually(server: &Server, expected: &[(&str, f64)]) {
    let holds = |metrics: &Metrics| expected.iter().all(|(sample, value)| metrics.get(sample) == *value);
    if !within(SOON, || holds(&server.metrics())) {
        let metrics = server.metrics();
        let came: Vec<_> = expected.iter().map(|(sample, value)| (sample, metrics.get(sample), *value)).collect();
        panic!("(sample, is, should be): {came:#?}");
    }
}

#[test]
fn all_that_is_promised_is_there_from_the_start() {
    let server = Server::start("shards = 1");
    let metrics = server.metrics();
    for sample in PROMISED {
        let found = metrics.names().any(|name| name == sample || name.starts_with(&format!("{sample}{{")));
        assert!(found, "no {sample} in\n{}", metrics.text);
    }
    assert_eq!(metrics.sum("sluicegate_build_info"), 1.0);
    assert!(metrics.text.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")));
    // The scrape itself takes a few.
    let (metric, counted) = (metrics.get("process_open_fds"), server.open_files() as f64);
    assert!((metric - counted).abs() <= 5.0, "{metric} {counted}");
    // No label holds what a client chooses.
    server.publish("secret/topic", "x");
    assert!(!server.metrics().text.contains("secret"));
}

#[test]
fn processor_time_is_told_to_less_than_a_hundredth_of_a_second() {
    let server = Server::start("schedule = []");
    // As the kernel counts it, in ticks of 10 ms; to start takes a tick or more, and far less than a second.
    assert!(within(SOON, || {
        let (before, metric) = (server.cpu(), server.metrics().get("process_cpu_seconds_total"));
        let after = server.cpu();
        let (low, high) = (before.as_secs_f64() - 0.02, after.as_secs_f64() + 0.02);
        assert!((low..=high).contains(&metric), "{metric} is not from {low} to {high}");
        metric.fract() != 0.0 && metric > 0.0
    }));
}

#[test]
fn there_is_a_gauge_for_each_shard() {
    let server = Server::start("shards = 3");
    let _streams: Vec<_> = (0..6).map(|_| server.subscribe("/events/a")).collect();
    // The least loaded shard takes each new one.
    eventually(
        &server,
        &[
            ("sluicegate_streams{shard=\"0\"}", 2.0),
            ("sluicegate_streams{shard=\"1\"}", 2.0),
            ("sluicegate_streams{shard=\"2\"}", 2.0),
        ],
    );
}

#[test]
fn a_small_scenario_is_counted() {
    let server = Server::start("shards = 1\nschedule = []\n[stream]\nheartbeat = \"0s\"\n");
    let mut first = server.subscribe("/events/a");
    let mut second = server.subscribe("/events?topic=a&topic=b");
    let elsewhere = server.subscribe("/events/c");
    eventually(
        &server,
        &[
            ("sluicegate_streams{shard=\"0\"}", 3.0),
            ("sluicegate_streams_opened_total", 3.0),
            ("sluicegate_connections{listener=\"public\"}", 0.0),
            // The scrape itself.
            ("sluicegate_connections{listener=\"control\"}", 1.0),
            ("sluicegate_writes_total", 3.0),
            ("sluicegate_deliveries_total", 0.0),
        ],
    );
    let mut publisher = server.publisher();
    publisher.batch("{\"topic\":\"a\",\"data\":\"1\"}\n{\"topics\":[\"a\",\"b\"],\"data\":\"2\"}\n");
    publisher.publish("b", "3");
    publisher.publish("nobody", "4");
    assert_eq!(publisher.post("/events/a?retry=x", &[], "").status(), 400);
    drop(publisher);
    for data in ["1", "2"] {
        first.expect_data(data);
    }
    for data in ["1", "2", "3"] {
        second.expect_data(data);
    }
    eventually(
        &server,
        &[
            ("sluicegate_events_published_total{source=\"http\"}", 4.0),
            ("sluicegate_events_published_total{source=\"schedule\"}", 0.0),
            ("sluicegate_publish_rejected_total{reason=\"bad_field\"}", 1.0),
            ("sluicegate_log_events", 4.0),
            ("sluicegate_deliveries_total", 5.0),
            ("sluicegate_delivery_seconds_count", 5.0),
            ("sluicegate_delivery_seconds_bucket{le=\"+Inf\"}", 5.0),
            ("sluicegate_behind_streams", 0.0),
        ],
    );
    let metrics = server.metrics();
    assert!(metrics.get("sluicegate_log_bytes") > 0.0);
    assert!(metrics.get("sluicegate_delivery_seconds_sum") > 0.0);
    assert!((1.0..=4.0).contains(&metrics.get("sluicegate_pass_seconds_count")));
    assert!((5.0..=8.0).contains(&metrics.get("sluicegate_writes_total")), "three heads, one to three runs each");

    let gap = server.open("/events/a", &["last-event-id: nothing"]).1;
    let bounded = server.subscribe("/events/a?max_events=1&last_event_id=earliest");
    drop((first, second, elsewhere, gap));
    eventually(
        &server,
        &[
            ("sluicegate_streams{shard=\"0\"}", 0.0),
            ("sluicegate_streams_opened_total", 5.0),
            ("sluicegate_streams_closed_total{reason=\"client_gone\"}", 4.0),
            ("sluicegate_streams_closed_total{reason=\"max_events\"}", 1.0),
            ("sluicegate_gaps_total{reason=\"unknown_id\"}", 1.0),
        ],
    );
    drop(bounded);
    let metrics = server.metrics();
    assert_eq!(metrics.sum("sluicegate_streams_closed_total"), metrics.get("sluicegate_streams_opened_total"));
    assert_eq!(metrics.get("sluicegate_deliveries_total"), 8.0);
    assert_eq!(metrics.get("sluicegate_delivery_seconds_count"), 5.0, "what is replayed has no latency");
}

/// A shard that may pass only every two seconds is late for that long, as one that is stuck would be
/// for ever. One that has nothing to take is not late, whatever is published for others.
#[test]
fn a_shard_that_does_not_take_its_events_lags() {
    let server = Server::start("shards = 2\nschedule = []\n[stream]\nheartbeat = \"0s\"\n[pass]\nlatency = \"2s\"\n");
    let lags =
        || [0, 1].map(|shard| server.metrics().get(&format!("sluicegate_shard_lag_seconds{{shard=\"{shard}\"}}")));
    let mut stream = server.subscribe("/events/a");
    server.publish("nobody", "x");
    // It would be late from the moment at which the publisher had its answer.
    assert_eq!(lags(), [0.0, 0.0]);
    server.publish("a", "1");
    stream.expect_data("1");
    assert!(within(SOON, || lags() == [0.0, 0.0]));
    let asked = Instant::now();
    server.publish("a", "2");
    server.publish("nobody", "x");
    assert!(within(SOON, || asked.elapsed() > Duration::from_millis(500)));
    let (least, [lag, other], most) = (asked.elapsed(), lags(), asked.elapsed());
    // The event was published after the clock was read, and some time before its answer came.
    let range = least.as_secs_f64() - 0.4..=most.as_secs_f64();
    assert!(range.contains(&lag) && other == 0.0, "{lag} {other} {range:?}");
    stream.expect_data("2");
    assert!(within(SOON, || lags() == [0.0, 0.0]));
    let busy = server.metrics().get("sluicegate_shard_busy_seconds_total{shard=\"0\"}");
    assert!(busy > 0.0 && busy < 0.1, "{busy}");
}

#[test]
fn bytes_written_are_what_clients_read() {
    let server = Server::start("schedule = []");
    let mut stream = server.connect();
    stream.send("GET /events/a?max_events=3 HTTP/1.1\r\nhost: h\r\n\r\n");
    assert!(within(SOON, || server.metrics().get("sluicegate_streams_opened_total") == 1.0));
    server.publish("a", "one");
    server.publish("a", &"two".repeat(10_000));
    server.publish("a", "three");
    let read = stream.read_to_end().len();
    eventually(&server, &[("sluicegate_bytes_written_total", read as f64), ("sluicegate_deliveries_total", 3.0)]);
}

/// A stream that wants one event more, and a pass that carries three.
#[test]
fn each_delivery_is_timed_once() {
    let server = Server::start("shards = 1\nschedule = []");
    let mut stream = server.subscribe("/events/a?max_events=1");
    server.publisher().batch(&"{\"topic\":\"a\",\"data\":\"x\"}\n".repeat(3));
    stream.expect_data("x");
    assert_eq!(stream.item(), None);
    eventually(&server, &[("sluicegate_deliveries_total", 1.0), ("sluicegate_delivery_seconds_count", 1.0)]);
}

#[test]
fn schedules_timers_and_their_lateness_are_counted() {
    let server = Server::start("shards = 1\n[[schedule]]\nevery = \"20ms\"\ndata = \"{n}\"\n");
    let mut stream = server.open("/", &["accept: text/event-stream"]).1;
    let first: u64 = stream.event().data.parse().unwrap();
    for n in 1..=5 {
        stream.expect_data(&(first + n).to_string());
    }
    // The schedule, the shard's heartbeats, retention: one of them may just be off the wheel.
    let at_least = [
        ("sluicegate_events_published_total{source=\"schedule\"}", 6.0),
        ("sluicegate_timer_late_seconds_count", 6.0),
        ("sluicegate_timer_entries", 2.0),
        ("sluicegate_deliveries_total", 6.0),
    ];
    let reached = |metrics: &Metrics| at_least.iter().all(|(sample, least)| metrics.get(sample) >= *least);
    assert!(within(SOON, || reached(&server.metrics())), "{}", server.metrics().text);
}

#[test]
fn promtool_has_no_complaint() {
    let Some(promtool) = tool("promtool") else { return };
    let server = Server::start("");
    server.publish("a", "x");
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool starts");
    child.stdin.take().expect("a pipe").write_all(server.metrics().text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    assert!(output.status.success(), "{output:?}");
}
