//! When descriptors run out: who has one keeps being served, who has none waits.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::fleet::machine;
use crate::support::{Conversation, Item, Launch, Server, within};

/// Of 820 descriptors, 256 are the gateway's own and 512 for connections: so 52 are for streams.
const OPEN_FILES: u32 = 820;
const SOCKETS: usize = 564;

/// How much CPU the gateway takes while nothing happens, as a part of a core.
fn idle_cpu(server: &Server) -> f64 {
    let (cpu, since) = (server.cpu(), Instant::now());
    std::thread::sleep(Duration::from_millis(1500));
    (server.cpu() - cpu).as_secs_f64() / since.elapsed().as_secs_f64()
}

#[test]
fn when_all_sockets_are_taken_newcomers_wait_and_the_others_are_served() {
    let _machine = machine();
    let server = Launch::config("schedule = []\n[limits]\nhead_deadline = \"60s\"").open_files(OPEN_FILES).start();
    assert_eq!(server.log("open files are shared out").expect("a line")["streams"], 52);
    let mut streams: Vec<_> = (0..20).map(|_| server.subscribe("/events/t")).collect();
    let mut publisher = server.publisher();
    // Connections that say nothing take all that is left.
    let mut hoard: Vec<_> = (0..SOCKETS + 100).map(|_| TcpStream::connect(server.public()).expect("room")).collect();
    let sockets = || {
        let metrics = server.metrics();
        metrics.sum("sluicegate_streams") + metrics.get("sluicegate_connections{listener=\"public\"}")
    };
    assert!(within(Duration::from_secs(5), || sockets() >= SOCKETS as f64), "{} sockets", sockets());
    // An acceptor whose backlog was empty had looked for room before: each may take one more.
    hoard.extend((0..30).map(|_| TcpStream::connect(server.public()).expect("room")));
    assert!(server.open_files() <= OPEN_FILES as usize);
    let mut waiting = server.connect();
    waiting.send("GET /events/t HTTP/1.1\r\nhost: h\r\n\r\n");
    // Streams go on, the operator's door too, and waiting costs nothing.
    publisher.publish("t", "all the same");
    for stream in &mut streams {
        stream.expect_data("all the same");
    }
    let cpu = idle_cpu(&server);
    assert!(cpu < 0.25, "it takes {:.0} % of a core to wait", cpu * 100.0);
    waiting.expect_nothing(Duration::from_millis(100));
    // Others close, and who waited is served.
    hoard.clear();
    assert_eq!(waiting.head().status, 200);
    assert_eq!(waiting.item(), Some(Item::Comment(String::new())));
    publisher.publish("t", "to the one who waited");
    for stream in streams.iter_mut().chain([&mut waiting]) {
        stream.expect_data("to the one who waited");
    }
}

/// The operator's door has descriptors of its own, and takes no more than those.
#[test]
fn a_crowd_at_the_operators_door_costs_streams_nothing() {
    let _machine = machine();
    let server = Launch::config("schedule = []\n[limits]\nhead_deadline = \"60s\"").open_files(OPEN_FILES).start();
    let mut streams: Vec<_> = (0..20).map(|_| server.subscribe("/events/t")).collect();
    let mut publisher = server.publisher();
    let before = server.open_files();
    let hoard: Vec<_> =
        (0..OPEN_FILES).map(|_| TcpStream::connect(server.control()).expect("room in the backlog")).collect();
    assert!(within(Duration::from_secs(5), || server.open_files() >= before + 100), "{}", server.open_files());
    // The public door is as open as ever.
    streams.push(server.subscribe("/events/t"));
    publisher.publish("t", "all the same");
    for stream in &mut streams {
        stream.expect_data("all the same");
    }
    let cpu = idle_cpu(&server);
    assert!(cpu < 0.25, "it takes {:.0} % of a core to wait", cpu * 100.0);
    assert!(server.open_files() <= before + 130, "{} files, {before} before", server.open_files());
    drop(hoard);
    assert!(within(Duration::from_secs(5), || server.open_files() <= before + 5), "{} files", server.open_files());
    assert_eq!(server.metrics().get("sluicegate_accept_errors_total"), 0.0);
}

#[test]
fn who_is_one_too_many_is_told_when_to_come_back() {
    let server = Server::start("schedule = []\n[limits]\nstreams = 3\n[drain]\nretry = \"2s\"");
    let mut streams: Vec<_> = (0..3).map(|_| server.subscribe("/events/t")).collect();
    let mut retries = Vec::new();
    for _ in 0..8 {
        let mut shed: Conversation = server.connect();
        shed.send("GET /events/t HTTP/1.1\r\nhost: h\r\n\r\n");
        let head = shed.head();
        assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
        assert_eq!(head.field("connection"), Some("close"));
        let body = String::from_utf8(shed.read_to_end()).expect("UTF-8");
        let retry = body.strip_prefix("retry: ").and_then(|body| body.strip_suffix("\n\n"));
        let retry: u64 = retry.and_then(|ms| ms.parse().ok()).unwrap_or_else(|| panic!("{body:?}"));
        assert!((1000..=3000).contains(&retry), "{retry}");
        retries.push(retry);
    }
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 4, "{retries:?} are jittered");
    assert_eq!(server.metrics().nonzero("sluicegate_streams_shed_total"), ["reason=\"full\" 8"]);
    server.publish("t", "to those who are in");
    for stream in &mut streams {
        stream.expect_data("to those who are in");
    }
    // One goes, one may come.
    streams.pop();
    assert!(within(Duration::from_secs(5), || server.metrics().sum("sluicegate_streams") == 2.0));
    server.subscribe("/events/t");
}
