//! Readers that do not read: what they cost the others (nothing), and what becomes of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::fleet::{Ask, End, Stream, block_on, machine};
use crate::support::publish::Publisher;
use crate::support::{Event, Server, within};

const HEALTHY: usize = 100;
const STALLED: usize = 300;
const EVENTS: u32 = 250;
const PERIOD: Duration = Duration::from_millis(12);

/// Publishes at a fixed rate to healthy readers, beside so many stalled ones. Answers the 99th
/// percentile of the time from when an event was due until a healthy reader had it.
fn p99_beside(server: &Server, stalled: usize) -> Duration {
    let (public, control) = (server.public(), server.control());
    let latencies = Arc::new(Mutex::new(Vec::new()));
    block_on(async {
        let mut asleep = Vec::new();
        for _ in 0..stalled {
            asleep.push(Ask::target("/events/t").receive_buffer(2048).connect(public).await.expect("a connection"));
        }
        let mut readers = Vec::new();
        let start = Instant::now() + Duration::from_millis(500);
        for _ in 0..HEALTHY {
            let mut stream = Ask::target("/events/t").open(public).await;
            let latencies = latencies.clone();
            readers.push(tokio::spawn(async move {
                for number in 0..EVENTS {
                    let event = stream.event().await;
                    let due = start + PERIOD * number;
                    latencies.lock().push(due.elapsed());
                    let got = event.data.split(' ').next().and_then(|number| number.parse().ok());
                    assert_eq!(got, Some(number), "a healthy reader gets all, in order");
                }
            }));
        }
        let publishing = tokio::task::spawn_blocking(move || {
            let mut publisher = Publisher::to(control);
            for number in 0..EVENTS {
                thread::sleep((start + PERIOD * number).saturating_duration_since(Instant::now()));
                publisher.publish("t", &format!("{number} {}", "x".repeat(1500)));
            }
        });
        for reader in readers {
            reader.await.expect("a healthy reader");
        }
        publishing.await.expect("the publisher");
        let gone = || server.metrics().get("sluicegate_streams_closed_total{reason=\"write_deadline\"}");
        assert!(
            within(Duration::from_secs(10), || gone() >= stalled as f64),
            "{} of {stalled} stalled streams are gone",
            gone()
        );
        drop(asleep);
    });
    let mut latencies = latencies.lock();
    latencies.sort();
    latencies[latencies.len() * 99 / 100]
}

#[test]
fn stalled_readers_go_and_healthy_ones_feel_nothing() {
    let _machine = machine();
    let config = "schedule = []\nshards = 1\n[stream]\nwrite_deadline = \"1s\"\n[history]\nbytes = \"4MiB\"";
    let alone = p99_beside(&Server::start(config), 0);
    let server = Server::start(config);
    let before = server.status("VmRSS");
    let beside = p99_beside(&server, STALLED);
    let after = server.status("VmRSS");
    eprintln!("p99 alone {alone:?}, beside {STALLED} stalled readers {beside:?}; RSS {before} KiB, then {after} KiB");
    assert!(beside < alone * 4 + Duration::from_millis(150), "p99 {beside:?}, alone {alone:?}");
    assert!(after < before + 24 * 1024, "RSS {before} KiB, then {after} KiB");
    let metrics = server.metrics();
    assert_eq!(
        metrics.nonzero("sluicegate_streams_closed_total").iter().find(|line| line.contains("write_deadline")),
        Some(&format!("reason=\"write_deadline\" {STALLED}"))
    );
    assert!(
        within(Duration::from_secs(10), || server.metrics().sum("sluicegate_streams") == 0.0),
        "streams are left behind"
    );
    assert_eq!(server.metrics().get("sluicegate_behind_streams"), 0.0);
}

#[test]
fn a_reader_that_trickles_is_slow_but_alive() {
    let server = Server::start("schedule = []\n[stream]\nwrite_deadline = \"1s\"");
    let mut publisher = server.publisher();
    block_on(async {
        let mut stream = Ask::target("/events/t").receive_buffer(4096).open(server.public()).await;
        for number in 0..100 {
            publisher.publish("t", &format!("{number} {}", "x".repeat(2000)));
        }
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(4) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.sip(512).await;
        }
        assert_eq!(server.metrics().get("sluicegate_behind_streams"), 1.0, "4 s are too short for 200 KB");
        for number in 0..100 {
            assert!(stream.event().await.data.starts_with(&format!("{number} ")), "event {number}");
        }
        publisher.publish("t", "last");
        assert_eq!(stream.event().await.data, "last");
    });
}

/// Its socket takes some bytes well within each deadline, but far too few.
#[test]
fn a_reader_that_trickles_too_little_is_closed() {
    const DEADLINE: Duration = Duration::from_secs(20);
    let server = Server::start("schedule = []\n[stream]\nwrite_deadline = \"20s\"\nnotsent_lowat = \"1KiB\"");
    let mut publisher = server.publisher();
    block_on(async {
        let mut stream = Ask::target("/events/t").receive_buffer(2048).open(server.public()).await;
        for number in 0..100 {
            publisher.publish("t", &format!("{number} {}", "x".repeat(2000)));
        }
        let closed = || server.metrics().get("sluicegate_streams_closed_total{reason=\"write_deadline\"}");
        let since = Instant::now();
        let mut taken = vec![(Duration::ZERO, server.metrics().get("sluicegate_bytes_written_total"))];
        while closed() == 0.0 {
            assert!(since.elapsed() < DEADLINE * 4, "it stays open: {taken:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            // 200 bytes a second.
            stream.sip(40).await;
            let bytes = server.metrics().get("sluicegate_bytes_written_total");
            if bytes > taken[taken.len() - 1].1 {
                taken.push((since.elapsed(), bytes));
            }
        }
        let silent = since.elapsed() - taken[taken.len() - 1].0;
        assert!(silent < DEADLINE * 3 / 4, "it took nothing for {silent:?}: {taken:?}");
    });
}

/// Streams that have begun events which have left the log since hold no more of them than they may.
#[test]
fn what_stalled_readers_hold_outside_the_log_is_bounded() {
    let server = Server::start(
        "schedule = []\nshards = 1\n[limits]\npinned_bytes = \"1MiB\"\n[history]\nevents = 1\nbytes = \"2MiB\"",
    );
    let mut publisher = server.publisher();
    block_on(async {
        let mut stalled = Vec::new();
        for number in 0..3 {
            let topic = format!("/events/t{number}");
            stalled.push(Ask::target(&topic).receive_buffer(2048).open(server.public()).await);
        }
        // More than a socket takes at once.
        for number in 0..3 {
            publisher.publish(&format!("t{number}"), &"x".repeat(500_000));
            let is_behind = || server.metrics().get("sluicegate_behind_streams") == f64::from(number + 1);
            assert!(within(Duration::from_secs(10), is_behind), "it takes it all");
        }
        let mut nudge = Ask::target("/events/large").open(server.public()).await;
        let pinned = || server.metrics().get("sluicegate_streams_closed_total{reason=\"pinned\"}");
        for _ in 0..8 {
            publisher.publish("large", &"x".repeat(900_000));
            nudge.event().await;
        }
        assert!(within(Duration::from_secs(10), || pinned() == 1.0), "{} were closed", pinned());
        let held = server.metrics().get("sluicegate_pinned_bytes{shard=\"0\"}");
        assert!((1_000_000.0..=1_048_576.0).contains(&held), "{held} bytes are held");
        assert_eq!(server.metrics().get("sluicegate_pinned_bytes_max"), 1_048_576.0);
        // The oldest has gone; the others get theirs.
        for stream in &mut stalled[1..] {
            assert_eq!(stream.event().await.data.len(), 500_000);
        }
        assert_eq!(stalled[0].next().await, None, "it was closed");
        assert!(within(Duration::from_secs(10), || {
            publisher.publish("large", "x");
            server.metrics().get("sluicegate_pinned_bytes{shard=\"0\"}") == 0.0
        }));
    });
}

// ===== policies =====

/// A stream that is stalled while events of 1 KB each go by, and then reads.
struct Stalled {
    server: Server,
    publisher: Publisher,
    stream: Stream,
    published: Vec<String>,
}

impl Stalled {
    async fn behind(policy: &str, history_events: u32, events: usize, query: &str) -> Stalled {
        let server = Server::start(&format!(
            "schedule = []\npolicy = [{{topic = \"t\", slow = \"{policy}\"}}]\n\
             [history]\nevents = {history_events}"
        ));
        let mut publisher = server.publisher();
        let stream = Ask::target("/events/t").receive_buffer(2048).open(server.public()).await;
        let padding = "x".repeat(1000);
        let mut published = Vec::new();
        for number in 0..events {
            let target = format!("t{}", query.replace("NUMBER", &(number % 5).to_string()));
            published.push(publisher.publish(&target, &format!("{number} {padding}")));
        }
        let is_behind = || server.metrics().get("sluicegate_behind_streams") == 1.0;
        assert!(events == 0 || within(Duration::from_secs(5), is_behind), "it is not behind");
        Stalled { server, publisher, stream, published }
    }

    /// Where an event that came was published.
    #[track_caller]
    fn position(&self, event: &Event) -> usize {
        let number = event.data.split(' ').next().and_then(|number| number.parse().ok());
        let number = number.unwrap_or_else(|| panic!("not one of ours: {event:?}"));
        assert_eq!(self.published[number], event.id);
        number
    }

    /// Reads what was on its way when the stream stalled: events without a hole. Answers the last
    /// one's id, and what came after: `None` if the stream ended.
    async fn prefix(&mut self) -> (usize, Option<Event>) {
        let mut count = 0;
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.stream.next()).await.expect("within time");
            match next {
                Some(event) if event.event == "message" => {
                    assert_eq!(self.position(&event), count);
                    count += 1;
                }
                other => return (count, other),
            }
        }
    }
}

#[test]
fn disconnect_closes_who_fell_off_the_log() {
    block_on(async {
        let mut stalled = Stalled::behind("disconnect", 50, 400, "").await;
        let (count, then) = stalled.prefix().await;
        assert_eq!(then, None, "the stream ends");
        assert!((1..300).contains(&count), "{count} events came");
        assert_eq!(stalled.stream.end(), Some(End::Cut), "not as if all had been sent");
        assert!(!stalled.stream.is_amid(), "frames are never cut");
        let metrics = stalled.server.metrics();
        assert_eq!(metrics.nonzero("sluicegate_streams_closed_total"), ["reason=\"lagged\" 1"]);
        assert_eq!(metrics.nonzero("sluicegate_gaps_total"), [""; 0]);
        // Who comes back gets a gap for what it missed.
        let last = &stalled.published[count - 1];
        let mut back = Ask::target("/events/t").after(last).open(stalled.server.public()).await;
        let gap = back.event().await;
        assert_eq!((&*gap.event, &*gap.id), ("gap", &*stalled.published[349]));
        for number in 350..400 {
            assert_eq!(stalled.position(&back.event().await), number);
        }
    });
}

#[test]
fn skip_tells_of_the_gap_and_goes_on() {
    block_on(async {
        let mut stalled = Stalled::behind("skip", 50, 400, "").await;
        let (count, then) = stalled.prefix().await;
        let gap = then.expect("a gap, not an end");
        assert_eq!(gap.event, "gap");
        assert!((1..300).contains(&count), "{count} events came");
        let gap_data: Value = serde_json::from_str(&gap.data).expect("JSON");
        assert_eq!(gap_data, json!({"from": stalled.published[count - 1], "to": gap.id, "reason": "lagged"}));
        assert_eq!(gap.id, stalled.published[399], "it goes on at the head");
        for number in 0..3 {
            stalled.publisher.publish("t", &format!("new {number}"));
            assert_eq!(stalled.stream.event().await.data, format!("new {number}"));
        }
        let metrics = stalled.server.metrics();
        assert_eq!(metrics.nonzero("sluicegate_gaps_total"), ["reason=\"lagged\" 1"]);
        assert_eq!(metrics.get("sluicegate_behind_streams"), 0.0);
    });
}

#[test]
fn conflate_sends_the_newest_of_each_key() {
    block_on(async {
        let mut stalled = Stalled::behind("conflate", 1000, 400, "?key=key-NUMBER").await;
        let (mut count, mut then) = stalled.prefix().await;
        assert!((1..300).contains(&count), "{count} events came");
        let mut newest = HashMap::new();
        let mut came = 0;
        // What the socket takes at a time is conflated at a time: each gap says from where to where.
        loop {
            let gap = then.take().expect("a gap, not an end");
            assert_eq!(gap.event, "gap");
            let gap_data: Value = serde_json::from_str(&gap.data).expect("JSON");
            assert_eq!(gap_data["reason"], "conflated");
            assert_eq!(gap_data["from"], stalled.published[count - 1]);
            assert_eq!(gap.id, stalled.published[count - 1], "the client's cursor stays: it would resume in full");
            loop {
                let event = stalled.stream.event().await;
                if event.event == "gap" {
                    then = Some(event);
                    break;
                }
                let position = stalled.position(&event);
                assert!(position >= count, "order is kept");
                count = position + 1;
                newest.insert(position % 5, position);
                came += 1;
                if count == 400 {
                    break;
                }
            }
            if count == 400 {
                break;
            }
        }
        assert_eq!(newest, (0..5).map(|key| (key, 395 + key)).collect(), "the newest of each key came");
        assert!(came <= 15, "{came} events came after the gap");
        stalled.publisher.publish("t?key=key-0", "new");
        assert_eq!(stalled.stream.event().await.data, "new");
    });
}

/// Live-only events have a small history of their own: a stream that missed some gets a gap.
#[test]
fn what_is_live_only_is_missed_out_loud() {
    block_on(async {
        let mut stalled = Stalled::behind("skip", 200, 0, "").await;
        let padding = "x".repeat(1000);
        for number in 0..400 {
            stalled.publisher.publish("t?keep=false", &format!("{number} {padding}"));
        }
        let mut count = 0;
        let gap = loop {
            let event = stalled.stream.event().await;
            if event.event == "gap" {
                break event;
            }
            assert!(event.data.starts_with(&format!("{count} ")), "{:.20}", event.data);
            count += 1;
        };
        assert!((1..350).contains(&count), "{count} events came");
        assert_eq!(serde_json::from_str::<Value>(&gap.data).expect("JSON")["reason"], "lagged");
        stalled.publisher.publish("t?keep=false", "new");
        assert_eq!(stalled.stream.event().await.data, "new");
    });
}
