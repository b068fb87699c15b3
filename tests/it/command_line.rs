//! The commands that a person types beside serving.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use serde_json::Value;

use crate::support::{Launch, SOON, Server, run, within};

const BINARY: &str = env!("CARGO_BIN_EXE_sluicegate");

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn url(address: impl std::fmt::Display) -> String {
    format!("http://{address}")
}

/// A command that runs, and the lines that it has printed.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut command = Command::new(BINARY);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Running::lines(child.stdout.take().unwrap());
        let said = Running::lines(child.stderr.take().unwrap());
        Running { child, lines, said }
    }

    fn lines(from: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = lines.clone();
        thread::spawn(move || {
            BufReader::new(from).lines().map_while(Result::ok).for_each(|line| into.lock().push(line));
        });
        lines
    }

    #[track_caller]
    fn expect_line(&self, part: &str) {
        let there = within(SOON, || self.lines.lock().iter().any(|line| line.contains(part)));
        assert!(there, "no line with {part:?}: {:?}, said {:?}", self.lines.lock(), self.said.lock());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn what_is_published_is_shown() {
    let server = Server::start("");
    let (control, public) = (url(server.control()), url(server.public()));
    let tail = Running::start(&["tail", "news", "prices/*", "--url", &public, "--since", "earliest"]);

    let published = run(&["publish", "news", "hello there", "--event", "greeting", "--url", &control], &[]);
    assert!(published.status.success(), "{published:?}");
    let id = text(&published.stdout).trim();
    tail.expect_line(&format!("{id}  greeting  hello there"));

    // Standard input as it is, line ends included.
    let whole = with_input(&["publish", "prices/eur", "-", "--url", &control], "1.08\n1.09");
    assert!(whole.status.success(), "{whole:?}");
    tail.expect_line("  1.08");
    tail.expect_line("    1.09");

    let many: String = (0..2500).map(|n| format!("line {n}\n")).collect();
    let lines = with_input(&["publish", "news", "--lines", "--url", &control], &many);
    assert!(lines.status.success(), "{lines:?}");
    assert_eq!(text(&lines.stdout).lines().count(), 2500);
    tail.expect_line("line 2499");
    let shown = tail.lines.lock().iter().filter(|line| line.contains("  line ")).count();
    assert_eq!(shown, 2500);

    // From the beginning, and no more than asked for.
    let some = run(&["tail", "news", "--since", "earliest", "-n", "2", "--json", "--url", &public], &[]);
    assert!(some.status.success(), "{some:?}");
    let events: Vec<Value> = text(&some.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["id"], &events[0]["event"]), (&id.into(), &"greeting".into()));
    assert_eq!(events[1]["data"], "line 0");
}

#[test]
fn a_tail_goes_on_where_it_was_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let launch = |public: &str, control: &str| {
        let disk = format!("engine = \"disk\"\n[disk]\ndir = {:?}\n[stream]\nretry = \"100ms\"\n", dir.path());
        Launch::config(&format!("listen = {public:?}\ncontrol = {control:?}\n{disk}")).own_addresses().start()
    };
    let server = launch("127.0.0.1:0", "127.0.0.1:0");
    let (public, control) = (server.public().to_string(), server.control().to_string());
    let tail = Running::start(&["tail", "a", "--url", &public]);
    assert!(within(SOON, || server.metrics().sum("sluicegate_streams") == 1.0));
    server.publish("a", "one");
    tail.expect_line("one");
    drop(server);
    let server = launch(&public, &control);
    server.publish("a", "two");
    tail.expect_line("two");
    server.publish("a", "three");
    tail.expect_line("three");
    assert_eq!(tail.lines.lock().len(), 3, "once each, and no gap: {:?}", tail.lines.lock());
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let server = Server::start("");
    let (control, public) = (url(server.control()), url(server.public()));
    // A port that was free a moment ago.
    let nobody = url(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let check = |arguments: &[&str], expected: &str| {
        let output = run(arguments, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("sluicegate: ") && said.contains(expected), "said {said:?}\nwanted {expected:?}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    for command in [&["publish", "a", "b"][..], &["tail", "a"], &["top"], &["healthcheck"]] {
        check(&[command, &["--url", &nobody]].concat(), "is the gateway running?");
    }
    check(&["publish", "a", "b", "--url", &public], &format!("publishing is on the control listener: {control}"));
    check(&["tail", "a", "--url", &control], &format!("streams are on the public listener: {public}"));
    check(&["publish", "a/*", "b", "--url", &control], "topic: the segments * and ** are kept for patterns");
    check(&["publish", "a", "b", "--retry", "soon", "--url", &control], "retry: ");
    check(&["tail", "a**", "--url", &public], "match: a wildcard must be a whole segment");

    let bad = run(&["tail", "a", "--url", "https://gate"], &[]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
}

#[test]
fn a_gateway_is_seen_at_a_glance() {
    let server = Server::start("admin = true\n");
    let mut stream = server.subscribe("/events/prices");
    server.publish("prices", "1");
    stream.expect_data("1");
    let seen = run(&["top", "--once", "--url", &url(server.control())], &[]);
    assert!(seen.status.success(), "{seen:?}");
    let screen = text(&seen.stdout);
    for part in ["1 of ", "slowest streams", "busiest topics", "  prices", "engine ready"] {
        assert!(screen.contains(part), "no {part:?} in\n{screen}");
    }
    assert!(!screen.contains('\x1b'), "no terminal, no colours: {screen}");
    let healthy = run(&["healthcheck", "--url", &url(server.control())], &[]);
    assert!(healthy.status.success() && text(&healthy.stdout).starts_with("ready\n"), "{healthy:?}");
}

#[test]
fn the_configuration_says_where_the_gateway_is() {
    let server = Server::start("");
    let variables = [("SLUICEGATE_CONTROL", server.control().to_string())];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let published = run(&["publish", "a", "b"], &variables);
    assert!(published.status.success(), "{published:?}");
    let control = server.control().to_string();
    assert!(run(&["healthcheck", "--control", &control], &[]).status.success());
}

#[test]
fn what_a_shell_needs_is_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell], &[]);
        assert!(script.status.success() && text(&script.stdout).contains("healthcheck"), "{shell}");
    }
    let page = run(&["man"], &[]);
    assert!(page.status.success() && text(&page.stdout).starts_with(".ie"), "{page:?}");
    let defaults = run(&["config", "default"], &[]);
    let read: toml::Table = text(&defaults.stdout).parse().unwrap();
    assert_eq!(read["control"].as_str(), Some("127.0.0.1:8081"));
}

/// A page of the gateway's own, which may load nothing from elsewhere.
#[test]
fn there_is_a_page_to_try_on() {
    let server = Server::start("");
    let mut client = server.connect();
    client.send("GET /try HTTP/1.1\r\nhost: h\r\n\r\n");
    let page = client.response();
    assert_eq!(page.status(), 200);
    assert!(page.body.contains("new EventSource(url)") && page.body.ends_with("</html>\n"), "{}", page.body);
}
