//! Thousands of streams opened and closed, again and again, with nothing left behind.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::fleet::{Ask, block_on, machine};
use crate::support::{Server, within};

const STREAMS: usize = 10_000;
const ROUNDS: usize = 3;

/// Whether this is a response's head and the two chunks that a stream begins with: a comment with a `retry:`, and where
/// it is.
fn has_begun(response: &[u8]) -> bool {
    let text = std::str::from_utf8(response).expect("ASCII");
    let Some((_, body)) = text.split_once("\r\n\r\n") else { return false };
    let Some((first, mark)) = body.split_once("\n\r\n") else { return false };
    assert!(first.starts_with("e\r\n:\nretry: "), "{first:?}");
    mark.starts_with("1b\r\nid: ") && mark.ends_with("\n\n\r\n")
}

/// Opens a stream and reads its head and what it begins with.
async fn open(server: std::net::SocketAddr, number: usize) -> TcpStream {
    // An address has some 28,000 ports, and those of closed connections rest for a minute.
    let from = Ipv4Addr::new(127, 0, 1, 2 + (number / 2_500) as u8);
    // Some share a topic, some have one of their own, some a pattern.
    let target = match number % 3 {
        0 => "/events/storm".to_owned(),
        1 => format!("/events?topic=storm&topic=storm/{number}"),
        _ => format!("/events?topic=storm&match=storm/{number}/*&max_seconds=600"),
    };
    let mut socket = Ask::target(&target).from(from).connect(server).await.expect("a connection");
    let mut head = Vec::with_capacity(512);
    while !has_begun(&head) {
        let count = socket.read_buf(&mut head).await.expect("a head");
        assert!(count > 0, "ended in its head: {:?}", String::from_utf8_lossy(&head));
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&head));
    socket
}

async fn open_all(server: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
    let under_way = Arc::new(Semaphore::new(200));
    let mut opening = JoinSet::new();
    for number in 0..count {
        let under_way = under_way.clone();
        opening.spawn(async move {
            let _permit = under_way.acquire().await;
            open(server, number).await
        });
    }
    opening.join_all().await
}

#[test]
fn a_storm_of_streams_leaves_nothing_behind() {
    let _machine = machine();
    let limit = rlimit::increase_nofile_limit(rlimit::INFINITY).expect("a limit") as usize;
    // Each of both processes needs one descriptor a stream, and other tests run beside this.
    let streams = STREAMS.min(limit.saturating_sub(1_500));
    let server = Server::start("schedule = []\n[stream]\nheartbeat = \"5s\"");
    let mut resident = Vec::new();
    // Threads, the allocator and the runtime have what they keep for ever after a first few.
    drop(block_on(open_all(server.public(), 100)));
    let is_empty = || server.metrics().sum("sluicegate_streams") == 0.0;
    assert!(within(Duration::from_secs(10), is_empty));
    let (files, timers) = (server.open_files(), server.metrics().get("sluicegate_timer_entries"));
    for round in 0..ROUNDS {
        let sockets = block_on(open_all(server.public(), streams));
        let metrics = server.metrics();
        assert_eq!(metrics.sum("sluicegate_streams"), streams as f64);
        assert!(server.open_files() >= streams);
        assert!(metrics.get("sluicegate_timer_entries") > timers, "max_seconds is on the wheel");
        let delivered = metrics.get("sluicegate_deliveries_total");
        server.publish("storm", "to all");
        assert!(
            within(Duration::from_secs(10), || {
                server.metrics().get("sluicegate_deliveries_total") == delivered + streams as f64
            }),
            "round {round}: not all got the event"
        );
        // None has read it, so that closing resets the connections; half of them say goodbye first.
        for socket in sockets.iter().step_by(2) {
            let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write);
        }
        drop(sockets);
        assert!(within(Duration::from_secs(10), is_empty), "round {round}: streams are left");
        let is_back = || server.open_files() <= files + 2;
        assert!(
            within(Duration::from_secs(5), is_back),
            "round {round}: {} files, {files} before",
            server.open_files()
        );
        let metrics = server.metrics();
        let entries = metrics.get("sluicegate_timer_entries");
        assert!(entries <= timers + 2.0, "round {round}: {entries} timers, {timers} before");
        assert_eq!(metrics.get("sluicegate_behind_streams"), 0.0);
        assert_eq!(metrics.get("sluicegate_connections{listener=\"public\"}"), 0.0);
        resident.push(server.status("VmRSS"));
    }
    eprintln!("RSS after each round: {resident:?} KiB");
    // The allocator keeps some megabytes, now more, now less; a leak of 10,000 streams would show as ten.
    let (earlier, last) = (resident[..ROUNDS - 1].iter().max().unwrap(), resident[ROUNDS - 1]);
    assert!(last < earlier + 6 * 1024, "memory grows round over round: {resident:?} KiB");
    let metrics = server.metrics();
    let opened = metrics.get("sluicegate_streams_opened_total");
    assert_eq!(opened, (100 + ROUNDS * streams) as f64);
    assert_eq!(metrics.sum("sluicegate_streams_closed_total"), opened);
    // Of the topics that streams had named nothing is left that would still get events.
    let writes = metrics.get("sluicegate_writes_total");
    server.publish("storm", "to nobody");
    assert_eq!(server.metrics().get("sluicegate_writes_total"), writes);
}
