//! When descriptors run out: who has one keeps being served, and room is made for who speaks.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::fleet::machine;
use crate::support::{Conversation, Launch, Server, within};

/// One thread of each kind. Of 820 descriptors, 190 are the gateway's own, 200 for connections: so 430 are
/// for streams.
const CONFIG: &str = "schedule = []\nshards = 1\nacceptors = 1\n[limits]\nhead_deadline = \"60s\"\nconnections = 200";
const OPEN_FILES: u32 = 820;
const CONNECTIONS: usize = 200;

/// How much CPU the gateway takes while nothing happens, as a part of a core.
fn idle_cpu(server: &Server) -> f64 {
    let (cpu, since) = (server.cpu(), Instant::now());
    std::thread::sleep(Duration::from_millis(1500));
    (server.cpu() - cpu).as_secs_f64() / since.elapsed().as_secs_f64()
}

#[test]
fn who_is_silent_for_longest_makes_room_for_newcomers() {
    let _machine = machine();
    let server = Launch::config(CONFIG).open_files(OPEN_FILES).start();
    let logged = server.log("open files are shared out").expect("a line");
    let logged = ["own", "connections", "streams"].map(|name| logged[name].as_u64());
    assert_eq!(logged, [Some(190), Some(200), Some(430)]);
    let mut streams: Vec<_> = (0..20).map(|_| server.subscribe("/events/t")).collect();
    let mut publisher = server.publisher();
    // Of those that say nothing, or half of something, no more stay than may.
    let mut hoard: Vec<_> = (0..CONNECTIONS + 100).map(|_| server.connect()).collect();
    hoard.iter_mut().step_by(2).for_each(|silent| drop(silent.try_send("GET /events/t HT")));
    let connections = |count: f64| {
        let metrics = server.metrics();
        metrics.get("sluicegate_connections{listener=\"public\"}") == count
            && metrics.get("sluicegate_connections_over_limit_total{listener=\"public\"}") >= 100.0
    };
    assert!(within(Duration::from_secs(5), || connections(CONNECTIONS as f64)), "{}", server.metrics().text);
    assert!(server.open_files() <= OPEN_FILES as usize);
    let warning = "as many connections are open as may be: for each new one the longest idle is closed";
    assert_eq!(server.logs(warning).len(), 1);
    // Who was first is gone, who was last is not, and who speaks is served at once.
    assert!(hoard[0].is_closed_within(Duration::from_secs(5)));
    hoard[CONNECTIONS + 99].send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(hoard[CONNECTIONS + 99].response().body, "ok\n");
    for _ in 0..50 {
        streams.push(server.subscribe("/events/t"));
    }
    publisher.publish("t", "all the same");
    for stream in &mut streams {
        stream.expect_data("all the same");
    }
    let cpu = idle_cpu(&server);
    assert!(cpu < 0.25, "it takes {:.0} % of a core to do nothing", cpu * 100.0);
    // A second crowd is warned of only if there was room in between.
    hoard.clear();
    assert!(within(Duration::from_secs(5), || connections(0.0)));
    hoard.extend((0..CONNECTIONS + 1).map(|_| server.connect()));
    assert!(within(Duration::from_secs(5), || server.logs(warning).len() == 2));
}

/// However many threads and addresses there are: what the gateway takes for itself is what it says.
#[test]
fn its_own_descriptors_are_counted() {
    let _machine = machine();
    let addresses = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0"];
    for threads in [1, 17, 64] {
        let expected = 32 + threads * (2 + 4 + 3 * 2) + 6 + 144 + 6 + 32;
        let config = format!("schedule = []\nshards = {threads}\nacceptors = {threads}\n");
        let launch = addresses.iter().fold(Launch::config(&config).open_files(2_000), |l, a| l.argument(a));
        let server = launch.start();
        let logged = server.log("open files are shared out").expect("a line")["own"].as_u64();
        assert_eq!(logged, Some(expected));
        // All but the connections to the operator's listeners, those that each acceptor may hold, one an address, and
        // what is to spare.
        let taken = server.open_files() as u64;
        assert!(taken + 144 + 32 + 3 * threads + 2 <= expected, "{taken} of {expected}");
        assert!(taken + 144 + 32 + 3 * threads + 2 + 32 >= expected, "{taken} of {expected} is no count");
    }
}

/// The control listener has descriptors of its own, and takes no more than those.
#[test]
fn a_crowd_at_the_control_listener_costs_streams_nothing() {
    let _machine = machine();
    let server = Launch::config(CONFIG).open_files(OPEN_FILES).start();
    let mut streams: Vec<_> = (0..20).map(|_| server.subscribe("/events/t")).collect();
    let before = server.open_files();
    let hoard: Vec<_> =
        (0..OPEN_FILES).map(|_| TcpStream::connect(server.control()).expect("room in the backlog")).collect();
    assert!(within(Duration::from_secs(5), || server.open_files() >= before + 100), "{}", server.open_files());
    // The public listener is as open as ever, and so is this one for who speaks.
    streams.push(server.subscribe("/events/t"));
    server.publish("t", "all the same");
    for stream in &mut streams {
        stream.expect_data("all the same");
    }
    let cpu = idle_cpu(&server);
    assert!(cpu < 0.25, "it takes {:.0} % of a core to wait", cpu * 100.0);
    assert!(server.open_files() <= before + 144, "{} files, {before} before", server.open_files());
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
        let retry = body.strip_prefix("retry: ").and_then(|body| body.strip_suffix("\n"));
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
