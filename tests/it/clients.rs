//! Third-party clients, against the binary: `curl`, node's `eventsource` and `undici`, Python's
//! `httpx-sse`, and a browser. Their scripts, and how they are installed, are in `tests/clients/`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, tool, tool::absent};

/// How long a client may take for all of it. Browsers start slowly on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A program that ends with the test, and those that it has started too.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(command: &mut Command) -> (Program, Receiver<String>) {
        use std::os::unix::process::CommandExt;
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a tool that is there starts");
        let (tell, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                eprintln!("client: {line}");
            }
        });
        (Program(child), lines)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.0.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Lines of JSON, until there are so many events and opens.
fn lines_until(lines: &Receiver<String>, events: usize) -> Vec<Value> {
    let gives_up = Instant::now() + PATIENCE;
    let mut came: Vec<Value> = Vec::new();
    while came.iter().filter(|line| line["type"] != "open").count() < events {
        let left = gives_up.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).unwrap_or_else(|error| panic!("{error}, after {came:#?}"));
        came.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")));
    }
    came
}

/// Clients come back soon.
const CONFIG: &str = "schedule = []\n[stream]\nretry = \"100ms\"\n";
const BEFORE: usize = 5;
const AFTER: usize = 4;

fn publish(server: &Server, numbers: std::ops::Range<usize>) -> Vec<Value> {
    let mut publisher = server.publisher();
    let publish = |number| {
        // The first says how soon to come back; some are of another type, and one has an id of its own.
        let data = format!("event {number}\n\n  grüße, \"€\" 🦀: {}", "x".repeat(number * 100));
        let query = match number {
            0 => "?retry=50",
            2 => "?id=own-2",
            3 | 6 => "?event=tick",
            _ => "",
        };
        let id = publisher.publish(&format!("prices/eur{query}"), &data);
        let kind = if matches!(number, 3 | 6) { "tick" } else { "message" };
        json!({"type": kind, "id": id, "data": data})
    };
    numbers.map(publish).collect()
}

fn target(server: &Server) -> String {
    target_at(server.public())
}

fn target_at(address: SocketAddr) -> String {
    // The gateway ends each response after two events, so that the client has to come back; the
    // header that it sends then goes before the parameter.
    format!("http://{address}/events?match=prices/*&max_events=2&last_event_id=earliest")
}

/// Two gateways that share a nats-server, and an address where each connection goes to the other one than the last.
#[cfg(feature = "nats")]
struct Pair {
    gateways: [Server; 2],
    address: SocketAddr,
    _nats: crate::support::nats::Nats,
}

#[cfg(feature = "nats")]
impl Pair {
    fn start() -> Option<Pair> {
        let nats = crate::support::nats::Nats::start(1)?;
        let text = format!("{}[stream]\nretry = \"100ms\"\n", crate::cluster::config(&nats, 1));
        let gateways = [(); 2].map(|()| Server::start(&text));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, to) = (listener.local_addr().expect("an address"), [gateways[0].public(), gateways[1].public()]);
        thread::spawn(move || {
            for (at, client) in listener.incoming().map_while(Result::ok).enumerate() {
                thread::spawn(move || pass_on(client, to[at % 2]));
            }
        });
        Some(Pair { gateways, address, _nats: nats })
    }
}

/// Passes bytes on in both directions until the gateway ends.
#[cfg(feature = "nats")]
fn pass_on(client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let gateway = TcpStream::connect(to)?;
    let (mut from_client, mut to_gateway) = (client.try_clone()?, gateway.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_gateway);
        let _ = to_gateway.shutdown(std::net::Shutdown::Write);
    });
    std::io::copy(&mut &gateway, &mut &client)?;
    client.shutdown(std::net::Shutdown::Both)
}

/// The client comes back at another gateway each time, with the id that the one before gave it.
#[cfg(feature = "nats")]
fn check_hops(name: &str, start: impl Fn(&str, usize) -> (Program, Receiver<String>)) {
    let Some(pair) = Pair::start() else { return };
    let [one, other] = &pair.gateways;
    let mut expected = publish(one, 0..BEFORE);
    let (_program, lines) = start(&target_at(pair.address), BEFORE + AFTER);
    let mut came = lines_until(&lines, BEFORE);
    expected.extend(publish(other, BEFORE..BEFORE + AFTER));
    came.extend(lines_until(&lines, AFTER));
    check_came(name, &came, &expected);
    for gateway in &pair.gateways {
        assert!(gateway.metrics().get("sluicegate_streams_opened_total") >= 2.0, "{name} was at both");
    }
}

/// The client gets what was published before it came and what is published while it is there, each
/// once, whole and in order, over several connections.
fn check(name: &str, start: impl Fn(&str, usize) -> (Program, Receiver<String>)) {
    let server = Server::start(CONFIG);
    let mut expected = publish(&server, 0..BEFORE);
    let (_program, lines) = start(&target(&server), BEFORE + AFTER);
    let mut came = lines_until(&lines, BEFORE);
    expected.extend(publish(&server, BEFORE..BEFORE + AFTER));
    came.extend(lines_until(&lines, AFTER));
    check_came(name, &came, &expected);
    check_marks(name, start);
}

/// A mark is no event to the client, and moves its last id: an event without one has that of the mark. Node's
/// `eventsource` drops an id that comes without data.
fn check_marks(name: &str, start: impl Fn(&str, usize) -> (Program, Receiver<String>)) {
    let server = Server::start(CONFIG);
    let mark = server.publish("other", "x");
    let (_program, lines) = start(&format!("http://{}/events/quiet", server.public()), 1);
    assert!(crate::support::within(PATIENCE, || server.metrics().get("sluicegate_streams_opened_total") >= 1.0));
    server.publish("quiet?keep=false", "live");
    let came = lines_until(&lines, 1);
    let events: Vec<_> = came.iter().filter(|line| line["type"] != "open").collect();
    let id = if name == "eventsource" { String::new() } else { mark };
    assert_eq!(events, [&json!({"type": "message", "id": id, "data": "live"})], "{name}");
}

#[track_caller]
fn check_came(name: &str, came: &[Value], expected: &[Value]) {
    let is_open = |line: &&Value| line["type"] == "open";
    let events: Vec<_> = came.iter().filter(|line| !is_open(line)).collect();
    assert_eq!(events, expected.iter().collect::<Vec<_>>(), "{name}");
    let opens = came.iter().filter(is_open).count();
    assert!(opens >= (BEFORE + AFTER).div_ceil(2), "{name} came back: {opens} connections");
}

#[test]
fn eventsource_in_node() {
    check_in_node("eventsource");
}

#[test]
fn undici_in_node() {
    check_in_node("undici");
}

fn check_in_node(package: &str) {
    let Some(node) = tool("node") else { return };
    if !clients().join("node_modules").join(package).is_dir() {
        return absent(&format!("node's package {package} (npm ci --prefix tests/clients)"));
    }
    let script = clients().join(format!("{package}.js"));
    let start = |url: &str, count: usize| {
        Program::start(Command::new(&node).args(["--no-warnings"]).arg(&script).args([url, &count.to_string()]))
    };
    check(package, start);
    #[cfg(feature = "nats")]
    check_hops(package, start);
}

#[test]
fn httpx_sse_in_python() {
    let Some(python) = tool("python3") else { return };
    let modules = clients().join("python_modules");
    if !modules.join("httpx_sse").is_dir() {
        return absent("Python's package httpx-sse (pip install --target tests/clients/python_modules)");
    }
    check("httpx-sse", |url, count| {
        let script = clients().join("httpx_sse_client.py");
        let mut command = Command::new(&python);
        command.env("PYTHONPATH", &modules).env("PYTHONDONTWRITEBYTECODE", "1");
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        Program::start(command.arg(script).args([url, &count.to_string()]))
    });
}

#[test]
fn curl_prints_events_as_they_come() {
    let Some(curl) = tool("curl") else { return };
    let server = Server::start("schedule = []");
    let curl = |arguments: &[&str]| {
        let mut command = Command::new(&curl);
        command.args(["--no-progress-meter", "--noproxy", "*", "--no-buffer"]).args(arguments);
        Program::start(&mut command)
    };
    let line = |lines: &Receiver<String>| lines.recv_timeout(PATIENCE).expect("a line");
    let id = server.publish("t", "one");
    // As the README has it: a stream that lasts.
    let url = format!("http://{}/events/t", server.public());
    let (_program, lines) = curl(&[&url, "--header", "Last-Event-ID: earliest"]);
    let first: Vec<_> = (0..7).map(|_| line(&lines)).collect();
    assert!(first[1].starts_with("retry: ") && first[2].starts_with("id: "), "{first:?}");
    assert_eq!([&*first[0], &*first[3]], [":", ""]);
    assert_eq!(first[4..], [format!("id: {id}"), "data: one".to_owned(), String::new()]);
    let id = server.publish("t?event=tick", "two\nlines");
    let second: Vec<_> = (0..5).map(|_| line(&lines)).collect();
    let id_line = format!("id: {id}");
    assert!(second.contains(&id_line) && second.contains(&"event: tick".to_owned()), "{second:?}");
    assert!(second.ends_with(&["data: two".to_owned(), "data: lines".to_owned(), String::new()]), "{second:?}");
    // Responses that end, in HTTP/1.1 and 1.0: curl finds the end proper.
    for version in ["--http1.1", "--http1.0"] {
        let (mut program, lines) = curl(&[version, "--fail", &format!("{url}?max_events=2&last_event_id=earliest")]);
        let all: Vec<_> = std::iter::from_fn(|| lines.recv_timeout(PATIENCE).ok()).collect();
        assert_eq!(all.iter().filter(|line| line.starts_with("data: ")).count(), 3, "{all:?}");
        assert!(program.0.wait().expect("a child of ours").success(), "{version}");
    }
    // And publishing, as the README has it.
    let publish = format!("http://{}/events/t", server.control());
    let (mut program, answer) = curl(&["--data-binary", "three", &publish]);
    assert!(line(&answer).starts_with("{\"id\":\""));
    assert!(program.0.wait().expect("a child of ours").success());
    assert!((0..3).any(|_| line(&lines) == "data: three"));
}

// ===== a browser =====

/// Serves a page at `/page?` from an origin of its own, and takes what it posts to `/result`.
pub(crate) fn serve_page(page: String) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, results) = mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (page, tell) = (page.clone(), tell.clone());
            thread::spawn(move || answer_page(socket, &page, &tell));
        }
    });
    (address, results)
}

fn answer_page(mut socket: TcpStream, page: &str, tell: &mpsc::Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (status, answer) = match request.split(' ').collect::<Vec<_>>()[..] {
        ["POST", "/result", _] => {
            tell.send(String::from_utf8(body).ok()?).ok()?;
            ("200 OK", "")
        }
        ["GET", target, _] if target.starts_with("/page?") => ("200 OK", page),
        _ => ("404 Not Found", ""),
    };
    let length = answer.len();
    let head = "content-type: text/html; charset=utf-8\r\nconnection: close";
    write!(socket, "HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {length}\r\n\r\n{answer}").ok()
}

/// A browser without a window that opens this page, with a profile of its own.
pub(crate) fn browser(chromium: &Path, profile: &TempDir, url: &str) -> Command {
    let mut command = Command::new(chromium);
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .env("HOME", profile.path());
    command
}

#[test]
fn a_browsers_own_eventsource() {
    let Some(chromium) = tool("chromium") else { return };
    let server = Server::start(CONFIG);
    check_in_browser(&chromium, &target(&server), &[&server]);
    #[cfg(feature = "nats")]
    if let Some(pair) = Pair::start() {
        let [one, other] = &pair.gateways;
        check_in_browser(&chromium, &target_at(pair.address), &[one, other]);
    }
}

/// The first of these gateways gets what is there before the browser comes, and the last what comes while it is there.
fn check_in_browser(chromium: &Path, target: &str, gateways: &[&Server]) {
    let (first, last) = (gateways[0], gateways[gateways.len() - 1]);
    let mut expected = publish(first, 0..BEFORE);
    let (page, results) = serve_page(std::fs::read_to_string(clients().join("page.html")).expect("the page"));
    let profile = tempfile::tempdir().expect("a temporary folder");
    let url: String = target.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let url = format!("http://{page}/page?url={url}&count={}", BEFORE + AFTER);
    let (_browser, _lines) = Program::start(&mut browser(chromium, &profile, &url));
    // It has read all but the last event that was there, and waits for a second one to come.
    let opened =
        || -> f64 { gateways.iter().map(|gateway| gateway.metrics().get("sluicegate_streams_opened_total")).sum() };
    let opens = BEFORE.div_ceil(2) as f64;
    assert!(crate::support::within(PATIENCE, || opened() >= opens), "{} streams", opened());
    expected.extend(publish(last, BEFORE..BEFORE + AFTER));
    let result = results.recv_timeout(PATIENCE).expect("the page's result");
    let came: Vec<Value> = serde_json::from_str(&result).expect("JSON");
    check_came("chromium", &came, &expected);
}
