//! One id resumes a stream over any number of topics: nothing lost, nothing twice, in order.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::fleet::{Ask, block_on, machine};
use crate::support::publish::Publisher;
use crate::support::{Event, Server, within};

/// Random numbers. The seed is printed, and shown if the test fails.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn new(purpose: &str) -> Random {
        let seed = RandomState::new().hash_one(purpose) | 1;
        eprintln!("{purpose}: seed {seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn fork(&mut self) -> Random {
        Random(self.next() | 1)
    }
}

/// What a publisher sent, and the id it was answered: empty for an event that is live only.
#[derive(Clone, Debug)]
struct Published {
    id: String,
    topics: Vec<&'static str>,
    data: String,
}

const TOPICS: [&str; 4] = ["a", "b/1", "b/2", "c/x/y"];

/// Publishes singles and batches, kept and live only, until it is stopped.
fn publish(control: SocketAddr, name: usize, mut random: Random, stop: &AtomicBool) -> Vec<Published> {
    let mut publisher = Publisher::to(control);
    let (mut sent, mut number) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let single = random.below(2) == 0;
        let mut events: Vec<(Vec<&str>, String, bool)> = Vec::new();
        for _ in 0..if single { 1 } else { 1 + random.below(8) } {
            let mut topics = vec![TOPICS[random.below(4) as usize]];
            if !single && random.below(5) == 0 {
                topics.push(TOPICS[random.below(4) as usize]);
                topics.dedup();
            }
            let keep = random.below(4) > 0;
            number += 1;
            // Most are small; some fill sockets, so that streams fall behind.
            let padding = "x".repeat(if random.below(50) == 0 { 8_000 } else { random.below(100) as usize });
            let kind = if keep { "kept" } else { "live" };
            events.push((topics, format!("{name} {number} {kind} {padding}"), keep));
        }
        let ids = if single {
            let (topics, data, keep) = &events[0];
            vec![publisher.publish(&format!("{}?keep={keep}", topics[0]), data)]
        } else {
            let lines: Vec<_> = events
                .iter()
                .map(|(topics, data, keep)| json!({"topics": topics, "data": data, "keep": keep}).to_string())
                .collect();
            publisher.batch(&lines.join("\n"))
        };
        assert_eq!(ids.len(), events.len());
        sent.extend(ids.into_iter().zip(events).map(|(id, (topics, data, _))| Published { id, topics, data }));
        thread::sleep(Duration::from_micros(1_000 + random.below(4_000)));
    }
    sent
}

/// Reads until the event `end`. Until `cuts_end`, it drops the connection at random moments and comes
/// back with the last id it saw. Answers what it saw and how often it was cut.
async fn read_with_cuts(
    to: SocketAddr,
    target: &str,
    mut random: Random,
    cuts_end: Instant,
    opened: &AtomicUsize,
) -> (Vec<Event>, u32) {
    let (mut seen, mut cuts, mut last_id) = (Vec::new(), 0, String::new());
    loop {
        let first = if last_id.is_empty() { "&last_event_id=earliest" } else { "" };
        let mut stream = Ask::target(&format!("{target}{first}")).after(&last_id).open(to).await;
        if cuts == 0 {
            opened.fetch_add(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        let cut_at = match now < cuts_end {
            true if random.below(8) == 0 => now,
            true => now + Duration::from_micros(random.below(60_000)),
            false => now + Duration::from_secs(20),
        };
        while let Ok(next) = tokio::time::timeout_at(cut_at, stream.next()).await {
            let event = next.unwrap_or_else(|| panic!("the gateway ended the stream: {:?}", stream.end()));
            if !event.id.is_empty() {
                last_id.clone_from(&event.id);
            }
            if event.event == "end" {
                return (seen, cuts);
            }
            seen.push(event);
        }
        assert!(now < cuts_end, "no end came within time");
        cuts += 1;
        if random.below(2) == 0 {
            stream.reset();
        }
    }
}

#[track_caller]
fn check_seen(who: &str, seen: &[Event], published: &[Published], covers: fn(&str) -> bool) {
    assert!(seen.iter().all(|event| event.event == "message"), "{who}: {seen:?}");
    let is_kept = |data: &str| data.split(' ').nth(2) == Some("kept");
    let mine = || published.iter().filter(|event| event.topics.iter().any(|topic| covers(topic)));
    // Generated ids are of fixed width, and their digits are in ASCII's order.
    let mut expected: Vec<_> = mine().filter(|event| is_kept(&event.data)).map(|e| (&e.id, &e.data)).collect();
    expected.sort();
    let kept: Vec<_> = seen.iter().filter(|event| is_kept(&event.data)).map(|e| (&e.id, &e.data)).collect();
    for (at, (seen, expected)) in kept.iter().zip(&expected).enumerate() {
        assert!(seen == expected, "{who}: kept event {at} is {seen:?} and should be {expected:?}");
    }
    assert_eq!(kept.len(), expected.len(), "{who}: kept events");
    let mut numbers: HashMap<&str, u64> = HashMap::new();
    for event in seen {
        let (publisher, rest) = event.data.split_once(' ').expect("our data");
        let number = rest.split(' ').next().and_then(|number| number.parse().ok()).expect("our data");
        let before = numbers.insert(publisher, number).unwrap_or_default();
        assert!(before < number, "{who}: publisher {publisher}'s {rest:.20} came after its {before}");
    }
}

#[test]
fn random_cuts_over_several_topics_lose_and_double_nothing() {
    type Covers = fn(&str) -> bool;
    const READERS: [(&str, Covers); 5] = [
        ("/events?topic=a&match=b/*&topic=c/x/y", |_| true),
        ("/events?match=**", |_| true),
        ("/events?topic=a&topic=c/x/y", |topic| matches!(topic, "a" | "c/x/y")),
        ("/events/a?topic=b/1", |topic| matches!(topic, "a" | "b/1")),
        ("/events?match=b/*&match=c/**", |topic| topic != "a"),
    ];
    let server = Server::start("schedule = []");
    let mut random = Random::new("random cuts");
    let stop = Arc::new(AtomicBool::new(false));
    let watched = Arc::new(Barrier::new(4));
    let publishers: Vec<_> = (0..3)
        .map(|name| {
            let (control, random, stop) = (server.control(), random.fork(), stop.clone());
            let server_is_watched = watched.clone();
            thread::spawn(move || {
                server_is_watched.wait();
                publish(control, name, random, &stop)
            })
        })
        .collect();
    let opened = Arc::new(AtomicUsize::new(0));
    let (public, control) = (server.public(), server.control());
    let (readers, published) = block_on(async {
        let cuts_end = Instant::now() + Duration::from_secs(6);
        let mut readers = Vec::new();
        for reader in 0..25 {
            let (target, covers) = READERS[reader % READERS.len()];
            // One of each kind is never cut, and so sees what is live only as well.
            let cut = reader >= READERS.len();
            let (random, cuts_end) = (random.fork(), if cut { cuts_end } else { Instant::now() });
            let opened = opened.clone();
            let reading = async move { read_with_cuts(public, target, random, cuts_end, &opened).await };
            let reading = tokio::spawn(reading);
            readers.push((format!("reader {reader} of {target}"), covers, cut, reading));
        }
        while opened.load(Ordering::Relaxed) < readers.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::task::spawn_blocking(move || watched.wait()).await.expect("the publishers start");
        tokio::time::sleep_until(cuts_end).await;
        let published = tokio::task::spawn_blocking(move || {
            stop.store(true, Ordering::Relaxed);
            let published = publishers.into_iter().flat_map(|publisher| publisher.join().expect("a publisher"));
            let published: Vec<_> = published.collect();
            Publisher::to(control).batch(&json!({"topics": TOPICS, "event": "end", "data": ""}).to_string());
            published
        });
        let published = published.await.expect("the publishers");
        let mut done = Vec::new();
        for (who, covers, cut, reading) in readers {
            let (seen, cuts) = reading.await.expect("a reader");
            done.push((who, covers, cut, seen, cuts));
        }
        (done, published)
    });
    let mut all_cuts = 0;
    for (who, covers, cut, seen, cuts) in readers {
        check_seen(&who, &seen, &published, covers);
        // The uncut are open before anything is published, and see what is live only as well.
        if !cut {
            let mine = published.iter().filter(|event| event.topics.iter().any(|topic| covers(topic)));
            assert_eq!(seen.len(), mine.count(), "{who}: events, live only included");
        }
        all_cuts += cuts;
    }
    assert!(published.len() > 1_000, "{} events", published.len());
    eprintln!("{} events, {all_cuts} cuts", published.len());
    assert!(all_cuts > 200, "{all_cuts} cuts");
}

/// Streams resume from old ids while events keep coming: where replay ends and live begins, nothing
/// is lost or doubled.
#[test]
fn replay_meets_live_without_a_seam() {
    let _machine = machine();
    let server = Server::start("schedule = []");
    let mut random = Random::new("the seam");
    // Position in the topic → id.
    let ids = Arc::new(Mutex::new(Vec::<String>::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (mut publisher, ids, stop) = (server.publisher(), ids.clone(), stop.clone());
        thread::spawn(move || {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(3));
                let count = match number {
                    ..2_000 => 500,
                    2_000..5_000 => 2,
                    // A busy machine takes long to open the streams: it shall not have ever more to bring them.
                    _ => continue,
                };
                let lines: Vec<_> = (0..count)
                    .flat_map(|of| {
                        let mine = json!({"topic": "seam/1", "data": format!("{} {}", number + of, "x".repeat(150))});
                        [mine.to_string(), json!({"topic": "other", "data": "other"}).to_string()]
                    })
                    .collect();
                let answered = publisher.batch(&lines.join("\n"));
                ids.lock().extend(answered.into_iter().step_by(2));
                number += count;
            }
            publisher.batch(&json!({"topic": "seam/1", "event": "end", "data": number.to_string()}).to_string());
        })
    };
    assert!(within(Duration::from_secs(20), || ids.lock().len() >= 2_000));
    let public = server.public();
    block_on(async {
        let mut streams = Vec::new();
        for stream in 0..120 {
            let known = ids.lock().len();
            // Far back, a little back, and hardly at all.
            let back = 1 + random.below([known as u64, 200, 5][stream % 3]) as usize;
            let (from, id) = (known - back, ids.lock()[known - back].clone());
            let target = ["/events/seam/1", "/events?match=seam/*", "/events?topic=seam/1&topic=none"][stream % 2];
            streams.push(tokio::spawn(async move {
                let mut stream = Ask::target(target).after(&id).open(public).await;
                let mut expected = from + 1;
                loop {
                    let event = stream.event().await;
                    if event.event == "end" {
                        assert_eq!(event.data, expected.to_string(), "events until the end");
                        return;
                    }
                    let number = event.data.split(' ').next().and_then(|number| number.parse().ok());
                    assert_eq!(number, Some(expected), "after {from}, resumed {back} back on {target}");
                    expected += 1;
                }
            }));
            tokio::time::sleep(Duration::from_millis(random.below(50))).await;
        }
        stop.store(true, Ordering::Relaxed);
        for stream in streams {
            stream.await.expect("a stream without a seam");
        }
    });
    publisher.join().expect("the publisher");
}

// ===== gaps =====

#[track_caller]
fn check_gap(server: &Server, target: &str, id: &str, from: Value, reason: &str, kept: &[String]) {
    let (_, mut stream) = server.open(target, &[&format!("last-event-id: {id}")]);
    let gap = stream.event();
    assert_eq!(gap.event, "gap", "{gap:?}");
    let data: Value = serde_json::from_str(&gap.data).expect("JSON");
    assert_eq!(data, json!({"from": from, "to": gap.id, "reason": reason}));
    for data in kept {
        stream.expect_data(data);
    }
    // Who comes back with the gap's own id gets no further gap.
    let (_, mut again) = server.open(target, &[&format!("last-event-id: {}", gap.id)]);
    for data in kept {
        assert_eq!(again.expect_data(data).event, "message");
    }
    server.publish("t", &format!("after {reason}"));
    stream.expect_data(&format!("after {reason}"));
    again.expect_data(&format!("after {reason}"));
}

fn data(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("event {number}")).collect()
}

#[test]
fn unknown_and_foreign_ids_get_a_gap_and_then_all_that_is_kept() {
    for (id, from, reason) in [
        ("nope", json!("nope"), "unknown_id"),
        ("00000000-0000000000zz", json!("00000000-0000000000zz"), "foreign_epoch"),
        // Too long, and not UTF-8: they are not repeated.
        (&"x".repeat(129), Value::Null, "unknown_id"),
    ] {
        let server = Server::start("schedule = []");
        for text in data(0..10) {
            server.publish("t", &text);
        }
        check_gap(&server, "/events/t", id, from.clone(), reason, &data(0..10));
        let server = Server::start("schedule = []");
        for text in data(0..10) {
            server.publish("t", &text);
        }
        check_gap(&server, "/events?match=*", id, from, reason, &data(0..10));
        let gaps = server.metrics().get(&format!("sluicegate_gaps_total{{reason=\"{reason}\"}}"));
        assert_eq!(gaps, 1.0, "{reason}");
    }
}

#[test]
fn an_id_from_the_future_is_unknown() {
    let server = Server::start("schedule = []");
    let id = server.publish("t", "event 0");
    let future = format!("{}-zz00000000", id.split('-').next().expect("an epoch"));
    check_gap(&server, "/events/t", &future, json!(future), "unknown_id", &data(0..1));
}

#[test]
fn ids_that_are_too_old_get_a_gap_and_then_all_that_is_kept() {
    let server = Server::start("schedule = []\n[history]\nevents = 10");
    let mut publisher = server.publisher();
    let ids: Vec<_> = data(0..30).iter().map(|text| publisher.publish("t", text)).collect();
    check_gap(&server, "/events/t", &ids[0], json!(ids[0]), "expired", &data(20..30));
    // That published one more event, so that event 20 has gone: its id is the last that needs no gap.
    let (_, mut stream) = server.open("/events/t", &[&format!("last-event-id: {}", ids[20])]);
    assert_eq!(stream.event().data, "event 21");
    let (_, mut stream) = server.open("/events/t", &[&format!("last-event-id: {}", ids[19])]);
    assert_eq!(stream.event().event, "gap");
    let (_, mut stream) = server.open("/events/t?last_event_id=earliest", &[]);
    assert_eq!(stream.event().data, "event 21");
}

#[test]
fn a_topic_that_lost_nothing_has_no_gap_though_others_did() {
    let server = Server::start("schedule = []\n[history]\nevents = 10");
    let mut publisher = server.publisher();
    let first = publisher.publish("quiet", "quiet 0");
    for text in data(0..5) {
        publisher.publish("loud", &text);
    }
    publisher.publish("quiet", "quiet 1");
    for text in data(5..13) {
        publisher.publish("loud", &text);
    }
    let (_, mut stream) = server.open("/events/quiet", &[&format!("last-event-id: {first}")]);
    assert_eq!(stream.event().data, "quiet 1");
}

#[test]
fn publishers_own_ids_resume_too() {
    let server = Server::start("schedule = []");
    let mut publisher = server.publisher();
    for number in 0..6 {
        let topic = ["t", "u"][number % 2];
        let id = publisher.publish(&format!("{topic}?id=own-{number}"), &format!("event {number}"));
        assert_eq!(id, format!("own-{number}"));
    }
    publisher.publish("t", "event 6");
    for target in ["/events?topic=t&topic=u", "/events?match=*"] {
        let (_, mut stream) = server.open(target, &["last-event-id: own-3"]);
        assert_eq!(stream.event(), Event { event: "message".into(), data: "event 4".into(), id: "own-4".into() });
        assert_eq!(stream.expect_data("event 5").id, "own-5");
        stream.expect_data("event 6");
        let last = stream.last_event_id().to_owned();
        publisher.publish("u", "event 7");
        stream.expect_data("event 7");
        let (_, mut again) = server.open(target, &[&format!("last-event-id: {last}")]);
        again.expect_data("event 7");
    }
    // Where two events share an id, the earlier counts: rather twice than never.
    publisher.publish("t?id=own-3", "event 3 again");
    let (_, mut stream) = server.open("/events?topic=t&topic=u", &["last-event-id: own-3"]);
    stream.expect_data("event 4");
    // That of another topic says nothing of what the stream had: it gets a gap, and all that is kept.
    let kept = ["event 0", "event 2", "event 4", "event 6", "event 3 again"].map(str::to_owned);
    check_gap(&server, "/events/t", "own-5", json!("own-5"), "unknown_id", &kept);
}

#[test]
fn open_streams_get_everything_however_little_is_kept() {
    let server = Server::start("schedule = []\nshards = 1\n[history]\nevents = 1");
    let mut publisher = server.publisher();
    let (_, mut stream) = server.open("/events/t", &[]);
    for round in 0..3 {
        let lines: String = (0..1000).map(|n| format!("{{\"topic\":\"t\",\"data\":\"{round} {n}\"}}\n")).collect();
        publisher.batch(&lines);
        (0..1000).for_each(|n| drop(stream.expect_data(&format!("{round} {n}"))));
    }
    // And one event is kept.
    let (_, mut late) = server.open("/events/t", &["last-event-id: earliest"]);
    late.expect_data("2 999");
    assert_eq!(server.metrics().get("sluicegate_streams_closed_total{reason=\"lagged\"}"), 0.0);
}
