//! A Prometheus scrapes a gateway under load, and answers everything that the dashboard and the rules ask.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::promql::{answering, selectors};
use super::{RUNBOOK, dashboard, list, of_annotations, of_panels, panels, read, repository, text};
use crate::support::fleet::{Ask, block_on};
use crate::support::{Conversation, Launch, Metrics, Server, tool, within};

/// How long all questions together may take to have an answer.
const PATIENCE: Duration = Duration::from_secs(30);

// ===== a Prometheus =====

/// A Prometheus with our configuration and rules, looking at one gateway every second.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it, if it is installed.
    fn start(gateway: SocketAddr) -> Option<Prometheus> {
        let program = tool("prometheus")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = read("grafana/prometheus.yml");
        let rules = repository().join("grafana/rules/*.yml").display().to_string();
        for (ours, theirs) in [("rules/*.yml", &*rules), ("localhost:8081", &*gateway.to_string()), ("15s", "1s")] {
            assert!(config.contains(ours), "{ours}");
            config = config.replace(ours, theirs);
        }
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("a file in it");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={free}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        let mut prometheus = Prometheus { child, address: free, _folder: folder };
        let ready = within(PATIENCE, || {
            let status = prometheus.child.try_wait().expect("a child of ours");
            assert!(status.is_none(), "prometheus ended: {status:?}");
            std::net::TcpStream::connect(free).is_ok() && prometheus.get("/-/ready").0 == 200
        });
        assert!(ready, "prometheus is not ready");
        Some(prometheus)
    }

    /// In HTTP/1.0, so that the answer is as long as the connection.
    fn get(&self, target: &str) -> (u16, String) {
        let mut conversation = Conversation::to(self.address);
        conversation.send(format!("GET {target} HTTP/1.0\r\nhost: h\r\n\r\n"));
        let status = conversation.head().status;
        (status, String::from_utf8(conversation.read_to_end()).expect("UTF-8"))
    }

    fn api(&self, target: &str) -> Value {
        let (status, body) = self.get(&format!("/api/v1/{target}"));
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!((status, &answer["status"]), (200, &"success".into()), "{target}: {body}");
        answer["data"].clone()
    }

    /// The numbers that an expression has for an answer now.
    fn query(&self, expression: &str) -> Vec<f64> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.api(&format!("query?query={encoded}"));
        let number = |value: &Value| text(&value[1]).parse().unwrap_or_else(|_| panic!("no number: {value}"));
        list(&data["result"]).iter().map(|series| number(&series["value"])).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ===== a gateway under load =====

const CONFIG: &str = "shards = 2\nschedule = []\n[limits]\nstreams = 12\n[history]\nevents = 30\n\
                      [stream]\nheartbeat = \"100ms\"\nwrite_deadline = \"300ms\"";

/// A bit of everything that a gateway meets, again and again, until it is enough.
fn load(server: &Server, enough: &AtomicBool) {
    let mut publisher = server.publisher();
    let first = publisher.publish("t", "the first, soon in the files alone");
    let foreign = format!("{}{}", if first.starts_with('a') { 'b' } else { 'a' }, &first[1..]);
    block_on(async {
        let mut readers = Vec::new();
        for _ in 0..10 {
            readers.push(Ask::target("/events/t").open(server.public()).await);
        }
        for round in 0.. {
            if enough.load(Ordering::Relaxed) {
                break;
            }
            // One that never reads, until it is closed.
            let asleep = Ask::target("/events/large").receive_buffer(2048).connect(server.public()).await;
            for number in 0..30 {
                publisher.publish("t", &format!("event {number}"));
                publisher.publish("large", &"x".repeat(50_000));
                for reader in &mut readers {
                    reader.event().await;
                }
            }
            // One that comes back after more than memory keeps, or from another log, and two more of which one finds no room.
            let id = if round % 2 == 0 { &first } else { &foreign };
            let late = Ask::target("/events/t").after(id).open(server.public()).await;
            for _ in 0..2 {
                let mut further = server.connect();
                further.send("GET /events/t?max_events=1 HTTP/1.1\r\nhost: h\r\n\r\n");
                further.head();
            }
            assert_eq!(publisher.post("/events/t?retry=x", &[], "").status(), 400);
            let mut stranger = server.connect();
            stranger.send("GET /nothing HTTP/1.1\r\nhost: h\r\n\r\n");
            assert_eq!(stranger.response().status(), 404);
            tokio::time::sleep(Duration::from_millis(400)).await;
            drop((asleep, late));
        }
    });
}

/// The load made what it was meant to make.
#[track_caller]
fn assert_was_met(metrics: &Metrics) {
    for sample in [
        "sluicegate_deliveries_total",
        "sluicegate_gaps_total{reason=\"foreign_epoch\"}",
        "sluicegate_streams_closed_total{reason=\"write_deadline\"}",
        "sluicegate_streams_closed_total{reason=\"client_gone\"}",
        "sluicegate_streams_shed_total{reason=\"full\"}",
        "sluicegate_publish_rejected_total{reason=\"bad_field\"}",
        "sluicegate_requests_rejected_total{reason=\"not_found\"}",
        "sluicegate_timer_late_seconds_count",
        "sluicegate_shard_busy_seconds_total{shard=\"1\"}",
        "sluicegate_engine_publish_seconds_count",
    ] {
        assert!(metrics.get(sample) > 0.0, "{sample}");
    }
    assert!(metrics.sum("sluicegate_replay_pages_total") > 0.0, "nothing was read from the files");
}

// ===== the test =====

#[test]
fn every_expression_answers_with_data() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let launch = Launch::config(CONFIG).variable("SLUICEGATE_ENGINE", "disk");
    let launch = launch.argument("--dev-tls").argument("--listen-tls=127.0.0.1:0");
    let server = launch.variable("SLUICEGATE_DISK_DIR", folder.path().join("log").to_str().expect("UTF-8")).start();
    let Some(prometheus) = Prometheus::start(server.control()) else { return };
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| load(&server, &enough));
        // Whatever happens, the load ends, and the scope with it.
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&prometheus, &server)));
        enough.store(true, Ordering::Relaxed);
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_was_met(&server.metrics());
}

fn check(prometheus: &Prometheus, server: &Server) {
    let began = Instant::now();
    let mut rules = Vec::new();
    let evaluated = within(PATIENCE, || {
        let groups = prometheus.api("rules")["groups"].clone();
        rules = list(&groups).iter().flat_map(|group| list(&group["rules"])).cloned().collect();
        rules.iter().all(|rule| rule["health"] != "unknown")
    });
    let ill: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(evaluated && ill.is_empty() && rules.len() > 40, "{} rules, and not in health: {ill:#?}", rules.len());

    let instance = server.control().to_string();
    let chosen = [("$job", "sluicegate"), ("$instance", &*instance), ("$__rate_interval", "15s")];
    let dashboard = dashboard();
    // Panels answer as they are. What an alert or an annotation asks is seldom so, and then has no answer by intent.
    let seldom = |(who, expression): (&str, &str)| {
        let answering = answering(expression).unwrap_or_else(|| panic!("hides what is empty: {expression}"));
        (who.to_owned(), answering)
    };
    let rules_ask = rules.iter().map(|rule| (text(&rule["name"]), text(&rule["query"])));
    let mut open: Vec<_> =
        of_panels(&dashboard).map(|(who, expression)| (who.to_owned(), expression.to_owned())).collect();
    open.extend(of_annotations(&dashboard).chain(rules_ask).map(seldom));
    for (_, expression) in &mut open {
        *expression = chosen.iter().fold(expression.clone(), |text, (variable, value)| text.replace(variable, value));
    }
    assert!(open.len() > 90, "{} questions", open.len());
    every_selector_selects(&open, &rules, &server.metrics());
    runbooks_are_there(&rules);

    // Rates need two scrapes, and rules what other rules recorded.
    let asked = open.len();
    let answers = |expression: &str| prometheus.query(expression).into_iter().any(f64::is_finite);
    let all = within(PATIENCE, || {
        open.retain(|(_, expression)| !answers(expression));
        thread::sleep(Duration::from_millis(200));
        open.is_empty()
    });
    assert!(all, "{} of {asked} have no number for an answer: {open:#?}", open.len());
    eprintln!("{asked} expressions answer, after {:?}", began.elapsed());
}

/// Each metric is exported or recorded, and each value that a label is held against is there: an alternative of
/// several that is misspelt would leave an answer.
#[track_caller]
fn every_selector_selects(asked: &[(String, String)], rules: &[Value], metrics: &Metrics) {
    let names: BTreeSet<_> = metrics.names().map(|name| name.split('{').next().unwrap_or_default()).collect();
    let recorded: BTreeSet<_> = rules.iter().map(|rule| text(&rule["name"])).collect();
    for (who, expression) in asked {
        for selector in selectors(expression) {
            let metric = &*selector.metric;
            // What Prometheus says of each target itself.
            let of_prometheus = matches!(metric, "up" | "ALERTS");
            let known = of_prometheus || names.contains(metric) || recorded.contains(metric);
            assert!(known, "{who:?} asks for {metric}, which nobody exports");
            for matcher in &selector.matchers {
                if of_prometheus || matches!(&*matcher.label, "job" | "instance") {
                    continue;
                }
                for value in matcher.value.split('|') {
                    let pair = format!("{}=\"{value}\"", matcher.label);
                    let there = |name: &str| name.split('{').next() == Some(metric) && name.contains(&pair);
                    assert!(metrics.names().any(there), "{who:?} asks for {metric} with {pair}, which is never so");
                }
            }
        }
    }
}

/// Each alert says how bad it is, what it is, what to do, and where there is more; the runbook has a part on each; and
/// the panels that it sends one to are there.
#[track_caller]
fn runbooks_are_there(rules: &[Value]) {
    let runbook = read(RUNBOOK);
    let parts: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("### Sluicegate")).collect();
    let dashboard = dashboard();
    let titles: BTreeSet<_> = panels(&dashboard).map(|panel| text(&panel["title"])).collect();
    let alerts: Vec<_> = rules.iter().filter(|rule| rule["type"] == "alerting").collect();
    for alert in &alerts {
        let name = text(&alert["name"]);
        assert!(matches!(text(&alert["labels"]["severity"]), "page" | "ticket"), "{name}");
        for annotation in ["summary", "description", "action"] {
            assert!(text(&alert["annotations"][annotation]).len() > 10, "{name}: {annotation}");
        }
        let action = text(&alert["annotations"]["action"]);
        for named in action.split('"').skip(1).step_by(2) {
            assert!(titles.contains(named), "{name}: there is no panel {named}");
        }
        assert_eq!(alert["annotations"]["runbook_url"], format!("{RUNBOOK}#{}", name.to_lowercase()));
    }
    let names = alerts.iter().filter_map(|alert| text(&alert["name"]).strip_prefix("Sluicegate"));
    assert_eq!(parts, names.collect(), "the parts of {RUNBOOK}, and the alerts");
}
