//! `Idempotency-Key`: a call that comes again is answered as before, and published once.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::durability::{answer, config, replay, start};
use crate::support::publish::post;
use crate::support::{Launch, Server, within};

const LINES: &str = "content-type: application/x-ndjson";

/// Publishes with a key, which must be accepted.
#[track_caller]
fn publish(server: &Server, target: &str, key: &str, body: &str) -> Value {
    let response = server.publisher().post(target, &[&format!("idempotency-key: {key}"), LINES], body);
    assert_eq!(response.status(), 200, "{}", response.body);
    response.json()
}

/// The data of all that is kept of a topic, up to an event that is published for this.
#[track_caller]
fn kept(server: &Server, topic: &str) -> Vec<String> {
    server.publish(topic, "end");
    let (_, mut stream) = server.open(&format!("/events/{topic}"), &["last-event-id: earliest"]);
    std::iter::from_fn(|| Some(stream.event().data).filter(|data| data != "end")).collect()
}

/// What a key does while its call is remembered, whatever the engine.
#[track_caller]
fn check_answers(server: &Server, on_disk: bool) {
    let first = publish(server, "/events/a?event=e", "one", "x");
    let id = first["id"].clone();
    assert_eq!(first, json!({ "id": id }));
    let again = json!({ "id": id, "duplicate": true });
    assert_eq!(publish(server, "/events/a?event=e", "one", "x"), again);
    // Another key, or none, is another call.
    assert_ne!(publish(server, "/events/a?event=e", "two", "x")["id"], id);
    server.publish("a", "x");
    // An intermediary may have written it twice.
    let twice = server.publisher().post("/events/a?event=e", &["Idempotency-Key: one", "idempotency-key: one"], "x");
    assert_eq!(twice.json(), again);

    let batch = "{\"topic\":\"a\",\"data\":\"1\",\"keep\":false}\n{\"topic\":\"a\",\"data\":\"2\"}\n\
                 {\"topic\":\"a\",\"data\":\"3\",\"id\":\"own\"}\n{\"topic\":\"a\",\"data\":\"4\"}";
    let first = publish(server, "/events", "many", batch);
    let (second, fourth) = (first["ids"][1].as_str().unwrap(), first["ids"][3].as_str().unwrap());
    assert_eq!(first, json!({ "ids": [null, second, "own", fourth] }));
    let again = publish(server, "/events", "many", batch);
    assert_eq!(again, json!({ "ids": [null, second, "own", fourth], "duplicate": true }));
    let live = publish(server, "/events/a?keep=false", "live", "x");
    assert_eq!(live, json!({ "id": null }));
    assert_eq!(publish(server, "/events/a?keep=false", "live", "x"), json!({ "id": null, "duplicate": true }));

    let published = server.metrics().get("sluicegate_events_published_total{source=\"http\"}");
    assert_eq!(published, 8.0, "those that came again count once");
    assert_eq!(kept(server, "a"), ["x", "x", "x", "2", "3", "4"]);

    // The same key with other events says what is wrong, and publishes nothing.
    for (target, body) in [("/events/a?event=e", "y"), ("/events/a", "x"), ("/events/b?event=e", "x")] {
        let refused = server.publisher().post(target, &["idempotency-key: one"], body);
        let problem = refused.json();
        assert_eq!((refused.status(), &problem["field"]), (422, &json!("idempotency-key")), "{problem}");
        assert_eq!(problem["reason"], "key_reused");
    }
    assert_eq!(kept(server, "b"), [""; 0]);

    let metrics = server.metrics();
    let results = ["stored", "duplicate", "key_reused"]
        .map(|result| metrics.get(&format!("sluicegate_engine_publishes_total{{result=\"{result}\"}}")));
    assert_eq!(results, [7.0, 4.0, 3.0]);
    // The batch, "one", "two" and the three without a key; one call holds nothing that is kept.
    let stored = if on_disk { 6.0 } else { 0.0 };
    assert_eq!(metrics.get("sluicegate_engine_publish_seconds_count"), stored);
}

#[test]
fn a_call_that_comes_again_is_answered_as_before() {
    check_answers(&Server::start("schedule = []\n"), false);
    let folder = tempfile::tempdir().unwrap();
    check_answers(&start(&folder.path().join("log")), true);
}

#[test]
fn a_key_that_can_be_none_is_refused_and_a_refused_call_uses_none_up() {
    let server = Server::start("schedule = []\n");
    let long = "x".repeat(129);
    for (fields, found) in [
        (vec!["idempotency-key:".to_owned()], "has 0 bytes, 1 to 128 are allowed"),
        (vec![format!("idempotency-key: {long}")], "has 129 bytes, 1 to 128 are allowed"),
        (vec!["idempotency-key: a\tb".to_owned()], "holds other characters than visible ASCII and spaces"),
        (vec!["idempotency-key: \u{e9}".to_owned()], "holds other characters than visible ASCII and spaces"),
        (vec!["idempotency-key: a".to_owned(), "idempotency-key: b".to_owned()], "is given twice"),
    ] {
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        for target in ["/events/a", "/events"] {
            let refused = server.publisher().post(target, &fields, "{\"topic\":\"a\",\"data\":\"\"}");
            let problem = refused.json();
            assert_eq!((refused.status(), &problem["field"]), (400, &json!("idempotency-key")), "{problem}");
            assert_eq!(problem["detail"], format!("idempotency-key: {found}"));
        }
    }
    assert_eq!(kept(&server, "a"), [""; 0]);

    let longest = format!("\"{} ~\"", "k".repeat(124));
    let refused = server.publisher().post("/events/b?id=%00", &[&format!("idempotency-key: {longest}")], "x");
    assert_eq!((refused.status(), &refused.json()["field"]), (400, &json!("id")));
    let taken = publish(&server, "/events/b", &longest, "x");
    assert_eq!(taken, json!({ "id": taken["id"] }));
    assert_eq!(publish(&server, "/events/b", &longest, "x"), json!({ "id": taken["id"], "duplicate": true }));
}

#[test]
fn as_many_keys_are_remembered_as_may_be_and_for_as_long() {
    let is_new = |server: &Server, key: &str| publish(server, "/events/a", key, "x")["duplicate"].is_null();
    let server = Server::start("schedule = []\n[history]\nkeys = 2\n");
    let found = ["1", "2", "2", "3", "1", "3"].map(|key| is_new(&server, key));
    assert_eq!(found, [true, true, false, true, true, false]);
    let server = Server::start("schedule = []\n[history]\nkeys_age = \"1s\"\n");
    assert!(is_new(&server, "1"));
    assert!(within(Duration::from_secs(20), || is_new(&server, "1")));
}

/// All of these come at once, and one of them is published.
#[track_caller]
fn check_crowd(server: &Server) {
    for round in 0..20 {
        const CALLS: usize = 12;
        let (barrier, answers) = (Barrier::new(CALLS), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..CALLS {
                scope.spawn(|| {
                    let mut publisher = server.publisher();
                    let key = format!("idempotency-key: {round}");
                    barrier.wait();
                    let response = publisher.post("/events/a", &[&key], round.to_string());
                    assert_eq!(response.status(), 200, "{}", response.body);
                    answers.lock().push(response.json());
                });
            }
        });
        let answers = answers.into_inner();
        assert!(
            answers.iter().all(|answer| answer["id"].is_string() && answer["id"] == answers[0]["id"]),
            "{answers:?}"
        );
        assert_eq!(answers.iter().filter(|answer| answer["duplicate"].is_null()).count(), 1, "{answers:?}");
    }
    assert_eq!(kept(server, "a"), (0..20).map(|round| round.to_string()).collect::<Vec<_>>());
}

#[test]
fn of_a_crowd_with_one_key_one_is_published_and_all_have_its_id() {
    check_crowd(&Server::start("schedule = []\n"));
    let folder = tempfile::tempdir().unwrap();
    check_crowd(&start(&folder.path().join("log")));
}

/// Publishes until the gateway is gone, each event with a key of its own; that which has no answer is the next once more.
/// Notes ids and numbers of what was acknowledged.
fn publish_until_the_end(server: &Server, acknowledged: &Mutex<Vec<(String, u64)>>, again: &mut u64) {
    let mut socket = BufReader::new(TcpStream::connect(server.control()).expect("it runs"));
    loop {
        let number = acknowledged.lock().len() as u64;
        let request = post("/events/a", &[&format!("idempotency-key: {number}")], number.to_string());
        let sent = socket.get_mut().write_all(&request);
        let Ok(Some(body)) = sent.and_then(|()| answer(&mut socket)) else { return };
        let answer = serde_json::from_str::<Value>(&body).expect("JSON");
        *again += u64::from(answer["duplicate"] == true);
        acknowledged.lock().push((answer["id"].as_str().expect("it is kept").to_owned(), number));
    }
}

#[test]
fn who_repeats_what_a_kill_left_unanswered_publishes_each_event_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let (acknowledged, mut again) = (Mutex::new(Vec::new()), 0);
    for round in 0..20 {
        let server = start(&dir);
        let before = acknowledged.lock().len();
        thread::scope(|scope| {
            let publisher = scope.spawn(|| publish_until_the_end(&server, &acknowledged, &mut again));
            let busy = || acknowledged.lock().len() > before + round;
            assert!(within(Duration::from_secs(20), busy), "round {round}: nothing is acknowledged");
            server.signal(Signal::KILL);
            publisher.join().unwrap();
        });
    }
    let server = start(&dir);
    let acknowledged = acknowledged.into_inner();
    let answer = publish(&server, "/events/a", "0", "0");
    assert_eq!(answer, json!({ "id": acknowledged[0].0, "duplicate": true }), "it is known from 20 processes ago");
    // One with a key of its own may be stored without an answer: the publisher would have come again.
    let next = acknowledged.len() as u64;
    let next = (publish(&server, "/events/a", &next.to_string(), &next.to_string()), next);
    let next = (next.0["id"].as_str().unwrap().to_owned(), next.1);
    let got = replay(&server, "a", &acknowledged[0].0, &next.0);
    assert_eq!(got, [&acknowledged[1..], &[next]].concat());
    eprintln!("{} events, {again} of them were stored without an answer", acknowledged.len());
}

#[test]
fn keys_of_what_the_next_process_keeps_no_more_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let launch = |dir: &Path| Launch::config(&config(dir)).variable("SLUICEGATE_HISTORY_KEYS_AGE", "1s").start();
    let server = launch(&dir);
    let first = publish(&server, "/events/a", "k", "x");
    server.signal(Signal::KILL);
    drop(server);
    thread::sleep(Duration::from_millis(1_100));
    let second = publish(&launch(&dir), "/events/a", "k", "x");
    assert!(second["duplicate"].is_null() && second["id"] != first["id"], "{second}");
}

#[test]
fn a_new_process_knows_the_call_by_what_was_stored_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let server = start(&dir);
    let batch =
        "{\"topic\":\"a\",\"data\":\"1\",\"keep\":false}\n{\"topics\":[\"b\",\"a\"],\"data\":\"2\",\"key\":\"k\"}";
    let first = publish(&server, "/events", "k", batch);
    server.signal(Signal::KILL);
    drop(server);
    let server = start(&dir);
    let again = publish(&server, "/events", "k", batch);
    assert_eq!(again, json!({ "ids": first["ids"], "duplicate": true }));
    let refused = server.publisher().post("/events", &["idempotency-key: k", LINES], batch.replace('2', "3"));
    assert_eq!(refused.status(), 422, "{}", refused.body);
}
