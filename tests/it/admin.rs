//! What an operator may ask for: the slowest streams, and the busiest topics.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Conversation, SOON, Server, within};

const CONFIG: &str = "admin = true\nshards = 2\nschedule = []\n";

#[track_caller]
fn get(server: &Server, path: &str) -> Value {
    let mut client = server.connect_control();
    client.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"));
    let response = client.response();
    assert_eq!(response.status(), 200, "{}", response.body);
    response.json()
}

/// What each item has under this key.
fn each<'a>(document: &'a Value, key: &str) -> Vec<&'a Value> {
    document["items"].as_array().expect("a list").iter().map(|item| &item[key]).collect()
}

/// A stream whose client does not read, behind by at least one event.
fn stalled(server: &Server, target: &str, topic: &str) -> Conversation {
    let mut stream = server.connect();
    stream.send(format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n"));
    stream.head();
    let behind = || server.metrics().get("sluicegate_behind_streams");
    let before = behind();
    while behind() == before {
        server.publish(topic, &"x".repeat(1_000_000));
    }
    stream
}

#[test]
fn it_is_off_until_it_is_turned_on() {
    let server = Server::start("schedule = []");
    for path in ["/admin/streams", "/admin/topics?limit=x", "/admin/nothing"] {
        for method in ["GET", "HEAD", "POST"] {
            let mut client = server.connect_control();
            client.send(format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"));
            assert_eq!(client.head().status, 404);
            let body = String::from_utf8(client.read_to_end()).unwrap();
            assert_eq!(body.contains("admin = true"), method != "HEAD", "{body}");
        }
    }
    assert_eq!(server.metrics().get("sluicegate_requests_rejected_total{reason=\"not_found\"}"), 9.0);
    assert_eq!(server.reload("schedule = []\nadmin = true\n")["applied"], "admin");
    assert_eq!(get(&server, "/admin/streams"), json!({"streams": 0, "sort": "lag", "items": [], "shards_silent": []}));
    // It is the operator's: the public listener knows nothing of it.
    let mut client = server.connect();
    client.send("GET /admin/streams HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(client.response().status(), 404);
}

#[test]
fn the_slowest_streams() {
    let server = Server::start(CONFIG);
    let old = server.subscribe("/events/old");
    thread::sleep(Duration::from_millis(1_100));
    let names: String = (0..20).map(|n| format!("&topic=t{n:02}&match=m{n:02}/*")).collect();
    let many = server.subscribe(&format!("/events?{names}"));
    let slow = stalled(&server, "/events/slow", "slow");
    let slower = stalled(&server, "/events?match=slow/*", "slow/r");
    (0..5).for_each(|_| drop(server.publish("slow/r", "x")));

    let peer = |stream: &Conversation| Value::from(stream.socket().local_addr().unwrap().to_string());
    let order = |document: &Value, streams: &[&Conversation]| {
        let peers: Vec<_> = streams.iter().map(|stream| peer(stream)).collect();
        each(document, "peer").into_iter().eq(peers.iter())
    };
    let document = || get(&server, "/admin/streams?sort=lag&limit=2");
    assert!(within(SOON, || order(&document(), &[&slow, &slower]) || order(&document(), &[&slower, &slow])));
    let lags = || each(&document(), "lag").iter().map(|lag| lag.as_u64().unwrap()).collect::<Vec<_>>();
    assert!(within(SOON, || lags()[1] >= 5), "{:?}", lags());
    let by_lag = get(&server, "/admin/streams");
    assert_eq!((&by_lag["streams"], &by_lag["shards_silent"]), (&json!(4), &json!([])));
    assert_eq!(each(&by_lag, "state"), ["behind", "behind", "live", "live"]);
    assert_eq!(each(&by_lag, "lag")[2..], [0, 0]);

    let by_age = get(&server, "/admin/streams?sort=age&limit=1");
    assert!(order(&by_age, &[&old]), "{by_age}");
    let item = &by_age["items"][0];
    assert!((1..=5).contains(&item["age_seconds"].as_u64().unwrap()), "{by_age}");
    assert!(item["written_seconds"].as_f64().unwrap() >= 1.0, "{by_age}");
    assert_eq!((&item["topics"], &item["patterns"], &item["names"]), (&json!(["old"]), &json!([]), &json!(1)));
    let by_written = get(&server, "/admin/streams?sort=written");
    assert!(order(&by_written, &[&old, &many, &slow, &slower]) || each(&by_written, "written_seconds").len() == 4);
    let of_many = by_written["items"].as_array().unwrap().iter().find(|item| item["peer"] == peer(&many)).unwrap();
    assert_eq!(of_many["names"], 40);
    assert_eq!(of_many["topics"], json!(["t00", "t01", "t02", "t03", "t04", "t05", "t06", "t07"]));
    assert_eq!(of_many["patterns"].as_array().map(Vec::len), Some(8));
    // Each stream is somewhere else.
    let stream = |item: &Value| (item["shard"].as_u64(), item["stream"].as_u64());
    let mut streams: Vec<_> = by_lag["items"].as_array().unwrap().iter().map(stream).collect();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams.len(), 4);
}

#[test]
fn the_busiest_topics() {
    let server = Server::start(&format!("{CONFIG}[history]\nevents = 50\n"));
    let _stream = server.subscribe("/events/busy");
    let mut publisher = server.publisher();
    // More than is kept, so that the rate is over what is left.
    for _ in 0..10 {
        publisher.batch(&"{\"topic\":\"busy\",\"data\":\"x\"}\n".repeat(20));
        publisher.publish("large", &"x".repeat(2_000));
        publisher.publish("live?keep=false", "x");
        thread::sleep(Duration::from_millis(50));
    }
    let by_rate = get(&server, "/admin/topics");
    assert_eq!(each(&by_rate, "topic")[0], "busy");
    let rate = by_rate["items"][0]["rate"].as_f64().unwrap();
    // 20 every 50 ms and a little, as far as it reaches back.
    assert!((100.0..500.0).contains(&rate), "{by_rate}");
    assert_eq!(
        (&by_rate["topics"], &by_rate["topics_with_streams"], &by_rate["complete"]),
        (&json!(3), &json!(1), &json!(true))
    );
    assert!(by_rate["rate_over_seconds"][0].as_f64() < by_rate["rate_over_seconds"][1].as_f64(), "{by_rate}");
    assert_eq!(by_rate["events_counted"], 60);
    let by_bytes = get(&server, "/admin/topics?sort=bytes&limit=2");
    assert_eq!(each(&by_bytes, "topic").len(), 2);
    let by_events = get(&server, "/admin/topics?sort=events");
    assert_eq!(each(&by_events, "topic"), ["busy", "large", "live"]);
    let events: u64 = each(&by_events, "events").iter().map(|events| events.as_u64().unwrap()).sum();
    assert_eq!(events, 50);
    assert_eq!(each(&by_events, "shards"), [1, 0, 0]);
    let bytes: u64 = each(&by_events, "bytes").iter().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert!(bytes > 10_000 && (bytes as f64) < server.metrics().get("sluicegate_log_bytes"));
}

#[test]
fn heads_are_answered_and_nothing_may_store_it() {
    let server = Server::start(CONFIG);
    for path in ["/admin/streams", "/admin/topics"] {
        let mut client = server.connect_control();
        client.send(format!("HEAD {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"));
        let head = client.head();
        assert_eq!(head.status, 200);
        client.expect_end();
        let fields = ["content-type", "cache-control", "x-content-type-options"].map(|name| head.field(name));
        assert_eq!(fields, [Some("application/json"), Some("no-store"), Some("nosniff")]);
        assert_eq!(head.field("access-control-allow-origin"), None);
    }
}

/// One who asks again and again takes nothing from those who stream and publish.
#[test]
fn neighbours_lose_nothing_to_one_who_asks_all_the_time() {
    let server = Server::start(CONFIG);
    let mut streams: Vec<_> = (0..50).map(|n| server.subscribe(&format!("/events?topic=a&topic=own/{n}"))).collect();
    let mut publisher = server.publisher();
    let publishing = thread::spawn(move || (0..2_000).for_each(|n| drop(publisher.publish("a", &n.to_string()))));
    let mut asked = 0;
    while !publishing.is_finished() {
        assert_eq!(each(&get(&server, "/admin/streams?sort=age&limit=100"), "peer").len(), 50);
        get(&server, "/admin/topics");
        asked += 1;
    }
    publishing.join().expect("all were accepted");
    eprintln!("asked {asked} times");
    for stream in &mut streams {
        (0..2_000).for_each(|n| drop(stream.expect_data(&n.to_string())));
    }
}
