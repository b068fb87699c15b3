//! The disk engine: what was acknowledged is there after any end of the process, once and in order.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Signal;
use sluicegate::{Builder, Config, Event, Gateway, PublishError};

use crate::support::publish::post;
use crate::support::{Conversation, Launch, Server, run, within};

pub(crate) fn config(dir: &Path) -> String {
    format!("schedule = []\nengine = \"disk\"\n[disk]\ndir = {dir:?}\n")
}

pub(crate) fn start(dir: &Path) -> Server {
    Launch::config(&config(dir)).start()
}

/// The body of an answer, which must be 200; `None` if it does not come whole.
pub(crate) fn answer(socket: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if socket.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if let Some(value) = head[from..].strip_prefix("content-length: ") {
            length = value.trim_end().parse().expect("a number");
        }
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(Some(String::from_utf8(body).expect("UTF-8")))
}

/// Publishes until the gateway is gone, with the number of each event as its data. Notes what was
/// acknowledged, and what was sent at last.
fn publish_until_the_end(server: &Server, topic: &str, from: u64, acknowledged: &Mutex<Vec<(String, u64)>>) -> u64 {
    let mut socket = BufReader::new(TcpStream::connect(server.control()).expect("it runs"));
    for number in from.. {
        let request = post(&format!("/events/{topic}"), &[], number.to_string());
        let sent = socket.get_mut().write_all(&request);
        let Ok(Some(body)) = sent.and_then(|()| answer(&mut socket)) else { return number + 1 };
        let id = serde_json::from_str::<serde_json::Value>(&body).expect("JSON")["id"].clone();
        acknowledged.lock().push((id.as_str().expect("it is kept").to_owned(), number));
    }
    unreachable!("the gateway is killed before");
}

/// Reads the events that a stream is sent which resumes here, up to this id.
#[track_caller]
pub(crate) fn replay(server: &Server, topic: &str, after: &str, through: &str) -> Vec<(String, u64)> {
    let (_, mut stream) = server.open(&format!("/events/{topic}"), &[&format!("last-event-id: {after}")]);
    let mut got = Vec::new();
    while got.last().is_none_or(|(id, _): &(String, u64)| id != through) {
        let event = stream.event();
        assert_ne!(event.event, "gap", "{event:?}");
        got.push((event.id, event.data.parse().expect("a number")));
    }
    got
}

#[test]
fn twenty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    const TOPICS: [&str; 2] = ["a", "b"];
    let mut told: HashMap<&str, Vec<(String, u64)>> = HashMap::new();
    let mut next = [0; 2];
    let mut server = start(&dir);
    let first = TOPICS.map(|topic| server.publish(topic, "0"));
    for (topic, id) in TOPICS.into_iter().zip(&first) {
        told.insert(topic, vec![(id.clone(), 0)]);
    }
    next = next.map(|n| n + 1);
    let mut random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "kills");
    eprintln!("seed {random}");
    for round in 0..20 {
        let acknowledged = TOPICS.map(|_| Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let publishers: Vec<_> = (0..2)
                .map(|i| {
                    let (server, acknowledged) = (&server, &acknowledged[i]);
                    scope.spawn(move || publish_until_the_end(server, TOPICS[i], next[i], acknowledged))
                })
                .collect();
            let busy = || acknowledged.iter().all(|acknowledged| !acknowledged.lock().is_empty());
            assert!(within(Duration::from_secs(20), busy), "round {round}: nothing is acknowledged");
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            thread::sleep(Duration::from_micros(random % 50_000));
            server.signal(Signal::KILL);
            for (i, publisher) in publishers.into_iter().enumerate() {
                next[i] = publisher.join().unwrap();
            }
        });
        server = start(&dir);
        for (i, topic) in TOPICS.into_iter().enumerate() {
            let told = told.get_mut(topic).unwrap();
            let before = told.last().unwrap().0.clone();
            told.extend(acknowledged[i].lock().drain(..));
            // One more, so that there is an end to read to.
            let last = server.publish(topic, &next[i].to_string());
            let got = replay(&server, topic, &before, &last);
            let from = told.iter().position(|(id, _)| *id == before).unwrap() + 1;
            // The last of a round may be there without having been acknowledged, and nothing else.
            let unknown: Vec<_> = got[..got.len() - 1].iter().filter(|event| !told.contains(event)).cloned().collect();
            assert!(unknown.len() <= 1, "round {round}, {topic}: {unknown:?}");
            assert!(unknown.iter().all(|(_, number)| *number == next[i] - 1), "round {round}, {topic}: {unknown:?}");
            told.extend(unknown);
            told.push((last, next[i]));
            next[i] += 1;
            assert_eq!(got, told[from..], "round {round}, {topic}");
        }
    }
    for (i, topic) in TOPICS.into_iter().enumerate() {
        let told = &told[topic];
        assert_eq!(replay(&server, topic, &first[i], &told.last().unwrap().0), told[1..], "from the very first");
    }
}

#[test]
fn an_end_in_order_keeps_ids_topics_and_batches() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let mut server = start(&dir);
    let ids = server.publisher().batch(
        "{\"topic\":\"a\",\"data\":\"1\"}\n{\"topic\":\"a\",\"data\":\"2\",\"keep\":false}\n\
         {\"topics\":[\"b\",\"a\"],\"data\":\"3\",\"event\":\"e\"}\n{\"topic\":\"a\",\"data\":\"4\",\"id\":\"own\"}",
    );
    assert_eq!((ids.len(), &*ids[1], &*ids[3]), (4, "", "own"));
    server.signal(Signal::TERM);
    assert!(server.wait(Duration::from_secs(20)).success());

    let verified = run(&["log", "verify", dir.to_str().unwrap()], &[]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let dumped = run(&["log", "dump", "--json", dir.to_str().unwrap()], &[]);
    let dumped = String::from_utf8(dumped.stdout).unwrap();
    let datas: Vec<_> = dumped.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
    assert_eq!(datas.iter().map(|event| event["data"].as_str().unwrap()).collect::<Vec<_>>(), ["1", "3", "4"]);
    // By the ids that the publisher was answered with.
    assert_eq!(
        datas.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(),
        [&*ids[0], &*ids[2], "own"]
    );
    let dumped = run(&["log", "dump", dir.to_str().unwrap()], &[]);
    assert!(String::from_utf8(dumped.stdout).unwrap().contains(&format!(" id={:?} ", ids[2])));

    let server = start(&dir);
    let (_, mut stream) = server.open("/events/a", &[&format!("last-event-id: {}", ids[0])]);
    let event = stream.event();
    assert_eq!((&*event.id, &*event.data, &*event.event), (&*ids[2], "3", "e"));
    assert_eq!(stream.event().id, "own");
    let (_, mut stream) = server.open("/events/a", &["last-event-id: own"]);
    let next = server.publish("a", "5");
    assert_eq!(stream.event().id, next);
    // An id that is yet to come is not known.
    let (epoch, number) = next.split_once('-').unwrap();
    let ahead = format!("{epoch}-{}", number.replacen('0', "1", 1));
    let (_, mut stream) = server.open("/events/a", &[&format!("last-event-id: {ahead}")]);
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("unknown_id"), "{gap:?}");
}

/// What a client would resume with whose stream breaks before its first event.
fn mark(server: &Server, topic: &str) -> String {
    server.subscribe(&format!("/events/{topic}")).last_event_id().to_owned()
}

/// The next event that a stream is sent which resumes here.
#[track_caller]
fn next_after(server: &Server, topic: &str, id: &str) -> crate::support::Event {
    server.open(&format!("/events/{topic}"), &[&format!("last-event-id: {id}")]).1.event()
}

#[test]
fn a_mark_resumes_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let server = start(&dir);
    let empty = mark(&server, "a");
    let first = server.publish("a", "1");
    let quiet = mark(&server, "b");
    assert_eq!(quiet, first);
    let second = server.publish("b", "2");
    server.signal(Signal::KILL);
    drop(server);
    let server = start(&dir);
    assert_eq!(next_after(&server, "a", &empty).id, first);
    assert_eq!(next_after(&server, "b", &quiet).id, second);

    // Where numbers are left out, who was there before gets a gap, and who comes then is not.
    drop(server);
    let launch = || Launch::config(&config(&dir)).variable("SLUICEGATE_DISK_SYNC", "interval");
    let server = launch().start();
    server.publish("a", "3");
    let before = mark(&server, "b");
    server.signal(Signal::KILL);
    drop(server);
    let server = launch().start();
    let since = mark(&server, "b");
    let next = server.publish("b", "4");
    let gap = next_after(&server, "b", &before);
    assert!(gap.event == "gap" && gap.data.contains("\"lost\""), "{gap:?}");
    assert_eq!(next_after(&server, "b", &since).id, next);
}

#[test]
fn with_an_interval_a_kill_loses_nothing_but_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let launch = || Launch::config(&config(&dir)).variable("SLUICEGATE_DISK_SYNC", "interval");
    let server = launch().start();
    let ids: Vec<_> = (0..50).map(|n| server.publish("a", &n.to_string())).collect();
    server.signal(Signal::KILL);
    drop(server);
    let server = launch().start();
    let (_, mut stream) = server.open("/events/a", &[&format!("last-event-id: {}", ids[9])]);
    for id in &ids[10..] {
        assert_eq!(&stream.event().id, id);
    }
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("\"lost\""), "{gap:?}");
    let next = server.publish("a", "next");
    assert!(ids.iter().all(|id| *id < next), "{next}");
    assert_eq!(stream.event().id, next);
}

#[test]
fn what_can_not_be_looked_at_has_codes_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let missing = folder.path().join("missing");
    for command in ["verify", "dump"] {
        let looked = |arguments: &[&str]| run(&[&["log", command], arguments].concat(), &[]);
        let said = |looked: &std::process::Output| {
            String::from_utf8_lossy(&[&*looked.stdout, &looked.stderr].concat()).into_owned()
        };
        let empty = looked(&[dir]);
        assert_eq!(empty.status.code(), Some(5), "{empty:?}");
        assert!(said(&empty).contains("no log: there is no segment in "), "{empty:?}");
        for arguments in [&[missing.to_str().unwrap()][..], &[], &["--what", dir]] {
            let failed = looked(arguments);
            assert_eq!(failed.status.code(), Some(4), "{failed:?}");
            assert_ne!(said(&failed), "");
        }
    }
}

#[test]
fn a_dump_whose_reader_goes_away_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let server = start(&dir);
    for _ in 0..4 {
        server.publish("a", &"x".repeat(500_000));
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["log", "dump", dir.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn a_directory_that_can_not_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let server = start(&dir);
    let refused = |dir: &Path, expected: &str| {
        let arguments = ["--listen=127.0.0.1:0", "--control=127.0.0.1:0", "--engine=disk"];
        let variables = [("SLUICEGATE_DISK_DIR", dir.to_str().unwrap())];
        let ended = run(&arguments, &variables);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
        said
    };
    refused(&dir, &format!("{} is in use by process {}", dir.display(), server.pid()));
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(&file, &format!("{} is to be the log's directory, but is none", file.display()));
    refused(&folder.path().join("no/log"), "does not exist");
    refused(Path::new(""), "engine and disk.dir disagree");
    // What there is takes no directory, and why is said once.
    let said = refused(Path::new("/proc/log"), "can't make /proc/log: ");
    assert!(!said.contains("does not exist") && said.matches("os error").count() == 1, "{said}");
    // What a check can see without the lock, it sees.
    let checked = |dir: &Path| {
        let checked = run(&["config", "check", "--engine=disk", "--disk-dir", dir.to_str().unwrap()], &[]);
        (checked.status.code(), String::from_utf8_lossy(&checked.stderr).into_owned())
    };
    let (code, said) = checked(&file);
    assert!(code == Some(1) && said.contains("is to be the log's directory, but is none"), "{said}");
    let (code, said) = checked(&folder.path().join("no/log"));
    assert!(code == Some(1) && said.contains("/no does not exist"), "{said}");
    let (code, said) = checked(&folder.path().join("new"));
    assert!(code == Some(0) && !folder.path().join("new").exists(), "{said}");
    assert_eq!(checked(&dir).0, Some(0), "a gateway has it, and may");
    // The first goes on.
    assert!(!server.publish("a", "x").is_empty());
}

#[test]
fn what_is_too_old_is_not_there_after_a_restart_and_its_readers_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let launch = || Launch::config(&config(&dir)).variable("SLUICEGATE_HISTORY_AGE", "1s");
    let server = launch().start();
    let ids = ["1", "2"].map(|data| server.publish("a", data));
    server.signal(Signal::KILL);
    drop(server);
    thread::sleep(Duration::from_millis(1_100));
    let server = launch().start();
    let (_, mut stream) = server.open("/events/a", &[&format!("last-event-id: {}", ids[0])]);
    let gap = stream.event();
    assert!(gap.event == "gap" && gap.data.contains("expired"), "{gap:?}");
    let next = server.publish("a", "3");
    assert_eq!(stream.event().id, next);
}

#[test]
fn a_librarys_publisher_and_schedules_are_stored_too() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let start = |schedule: &str| {
        let addresses = "listen = [\"127.0.0.1:0\"]\ncontrol = \"127.0.0.1:0\"";
        let text = format!("schedule = [{schedule}]\n{addresses}\nengine = \"disk\"\n[disk]\ndir = {dir:?}\n");
        Builder::from_config(Config::parse(&text, Path::new("library.toml")).unwrap()).start().unwrap()
    };
    let open = |gateway: &Gateway, target: &str, field: &str| {
        let mut stream = Conversation::to(gateway.addresses()[0]);
        stream.send(format!("GET {target} HTTP/1.1\r\nhost: h\r\n{field}\r\n"));
        assert_eq!(stream.head().status, 200);
        stream
    };
    let gateway = start("{ topic = \"s\", every = \"20ms\", data = \"tick {n}\", keep = true }");
    let publisher = gateway.publisher();
    let events = [Event::new("1"), Event::new("live").keep(false), Event::new("2")];
    let ids = publisher.publish_batch(events.map(|event| ("a", event))).unwrap();
    let tick = open(&gateway, "/events/s", "last-event-id: earliest\r\n").event();
    assert_eq!(tick.data, "tick 1");
    // One thread has many under way, where it would wait for each.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let many = runtime.block_on(async {
        let publish = |n: usize| {
            let publisher = publisher.clone();
            tokio::spawn(async move { publisher.publish_async("many", Event::new(n.to_string())).await })
        };
        let mut ids = Vec::new();
        for publishes in (0..100).map(publish).collect::<Vec<_>>() {
            ids.push(publishes.await.unwrap().unwrap().unwrap().to_string());
        }
        ids
    });
    gateway.drain();
    assert_eq!(publisher.publish("a", Event::new("late")), Err(PublishError::Closing));
    assert_eq!(runtime.block_on(publisher.publish_async("a", Event::new("late"))), Err(PublishError::Closing));

    let gateway = start("");
    let mut stream = open(&gateway, "/events/a", "last-event-id: earliest\r\n");
    for (id, data) in [(ids[0], "1"), (ids[2], "2")] {
        let event = stream.event();
        assert_eq!((event.id, &*event.data), (id.unwrap().to_string(), data));
    }
    assert_eq!(ids[1], None);
    assert_eq!(open(&gateway, "/events/s", "last-event-id: earliest\r\n").event(), tick);
    // Those of one thread are stored in the order of their calls.
    let mut stream = open(&gateway, "/events/many", "last-event-id: earliest\r\n");
    for (n, id) in many.into_iter().enumerate() {
        let event = stream.event();
        assert_eq!((event.id, event.data), (id, n.to_string()));
    }
}
