//! A raw-socket conversation for each row of the surface, with the bytes as they stand on the wire.

use std::time::{Duration, Instant};

use crate::support::{Conversation, Event, Head, Item, Launch, SOON, Server, within};

/// A stream's head over HTTP/1.1, and its first comment.
const CHUNKED_HEAD: &str = "HTTP/1.1 200 OK\r\n\
    content-type: text/event-stream\r\n\
    cache-control: no-cache, no-store, no-transform\r\n\
    x-accel-buffering: no\r\n\
    access-control-allow-origin: *\r\n\
    date: DATE\r\n\
    connection: close\r\n\
    transfer-encoding: chunked\r\n\
    \r\n";
/// … and for a client that can't read chunks.
const CLOSE_HEAD: &str = "HTTP/1.1 200 OK\r\n\
    content-type: text/event-stream\r\n\
    cache-control: no-cache, no-store, no-transform\r\n\
    x-accel-buffering: no\r\n\
    access-control-allow-origin: *\r\n\
    date: DATE\r\n\
    connection: close\r\n\
    \r\n";

/// Sends a request, and expects this head with the date masked.
#[track_caller]
fn ask(conversation: &mut Conversation, request: &str, head: &str) {
    conversation.send(request);
    assert_eq!(conversation.head().masked(), head);
}

/// A stream whose head and first comment were right.
#[track_caller]
fn chunked(server: &Server, target: &str) -> Conversation {
    let mut stream = server.connect();
    ask(&mut stream, &format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n"), CHUNKED_HEAD);
    stream.beginning();
    if !target.contains("last_event_id") {
        stream.mark();
    }
    stream
}

/// Subscribes to `target` and expects, in this order, what was published to these topics, of all
/// that was published to `all`.
#[track_caller]
fn check_topics(server: &Server, target: &str, all: &[&str], expected: &[&str]) {
    let mut stream = server.subscribe(target);
    let mut publisher = server.publisher();
    for topic in all {
        publisher.publish(topic, topic);
    }
    for topic in expected {
        assert_eq!(stream.event().data, *topic, "{target}");
    }
    stream.expect_nothing(Duration::from_millis(50));
}

// ===== GET /events/{topic} =====

#[test]
fn one_topic_its_bytes() {
    let server = Server::start("");
    let mut stream = chunked(&server, "/events/a");
    let id = server.publish("a", "one\ntwo");
    assert_eq!(id.len(), 21);
    assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'-')), "{id}");
    stream.expect(format!("2f\r\nid: {id}\ndata: one\ndata: two\n\n\r\n"));
}

#[test]
fn a_topic_may_hold_slashes_and_is_percent_decoded() {
    let server = Server::start("");
    let all = ["a/b", "a", "a%2Fb", "%61/b", "a/b/", "%C3%A4%20+"];
    check_topics(&server, "/events/a/b", &all, &["a/b", "a%2Fb", "%61/b"]);
    check_topics(&server, "/events/a%2fb", &all, &["a/b", "a%2Fb", "%61/b"]);
    check_topics(&server, "/events/%c3%a4%20%2B", &all, &["%C3%A4%20+"]);
    check_topics(&server, "/events/a/b/", &all, &["a/b/"]);
}

// ===== GET /events?topic=…&match=… =====

#[test]
fn several_topics_and_patterns() {
    let server = Server::start("");
    let all = ["a", "b", "c", "prices/eur", "prices/eur/spot", "prices", "p/q/r"];
    check_topics(&server, "/events?topic=a&topic=b", &all, &["a", "b"]);
    check_topics(&server, "/events?match=prices/*", &all, &["prices/eur"]);
    check_topics(&server, "/events?match=prices/**", &all, &["prices/eur", "prices/eur/spot"]);
    check_topics(
        &server,
        "/events?match=*/*/r&match=prices/%2A%2A&topic=c",
        &all,
        &["c", "prices/eur", "prices/eur/spot", "p/q/r"],
    );
    check_topics(&server, "/events?match=**", &all, &all);
    check_topics(&server, "/events/a?topic=c", &all, &["a", "c"]);
}

#[test]
fn an_event_of_several_topics_comes_once() {
    let server = Server::start("");
    let mut stream = server.subscribe("/events?topic=a&topic=b&match=*");
    server.publisher().batch("{\"topics\":[\"a\",\"b\",\"c\"],\"data\":\"x\"}\n{\"topic\":\"a\",\"data\":\"y\"}\n");
    stream.expect_data("x");
    stream.expect_data("y");
}

// ===== last_event_id =====

#[test]
fn streams_resume_after_an_id() {
    let server = Server::start("");
    let mut publisher = server.publisher();
    let ids: Vec<_> = (1..=4).map(|n| publisher.publish(if n % 2 == 0 { "b" } else { "a" }, &n.to_string())).collect();
    let topics = "/events?topic=a&topic=b";
    let check = |target: &str, fields: &[&str], expected: &[&str]| {
        let (_, mut stream) = server.open(&format!("{topics}{target}"), fields);
        for data in expected {
            assert_eq!(stream.event().data, *data, "{target} {fields:?}");
        }
        stream.expect_nothing(Duration::from_millis(20));
    };
    let header = |id: &str| format!("last-event-id: {id}");
    check("", &[], &[]);
    check("", &[&header(&ids[1])], &["3", "4"]);
    check("", &[&header(&ids[3])], &[]);
    for name in ["last_event_id", "lastEventId", "lastEventID", "Last-Event-ID", "evs_last_event_id"] {
        check(&format!("&{name}={}", ids[2]), &[], &["4"]);
    }
    check(&format!("&last_event_id={}", ids[0]), &[&header(&ids[2])], &["4"]);
    check(&format!("&last_event_id={}", ids[0]), &["last-event-id:"], &["2", "3", "4"]);
    check("&last_event_id=earliest", &[], &["1", "2", "3", "4"]);
    // A polyfill appends its own to what the page wrote, and an intermediary may write a field twice.
    check(&format!("&last_event_id=earliest&lastEventId={}", ids[2]), &[], &["4"]);
    check("", &[&header(&ids[1]), &header(&ids[1])], &["3", "4"]);
    check("", &[&header("earliest")], &["1", "2", "3", "4"]);
}

#[test]
fn an_unknown_id_gets_a_gap_and_all_that_is_kept() {
    let server = Server::start("");
    let id = server.publish("a", "kept");
    let foreign = "zzzzzzzz-000000000001";
    for (asked, reason) in [("no-such-id", "unknown_id"), (foreign, "foreign_epoch")] {
        let mut stream = server.open("/events/a", &[&format!("last-event-id: {asked}")]).1;
        let gap = stream.event();
        assert_eq!(gap.event, "gap");
        let data: serde_json::Value = serde_json::from_str(&gap.data).unwrap();
        assert_eq!((&data["from"], &data["reason"]), (&asked.into(), &reason.into()));
        assert_eq!(data["to"].as_str(), Some(&*gap.id));
        assert_eq!(stream.expect_data("kept").id, id);
    }
}

// ===== max_events, max_seconds =====

#[test]
fn max_events_ends_the_response_properly() {
    let server = Server::start("");
    let mut stream = chunked(&server, "/events/a?max_events=2");
    let ids = server.publisher().batch(&"{\"topic\":\"a\",\"data\":\"x\"}\n".repeat(3));
    for id in &ids[..2] {
        stream.expect(format!("23\r\nid: {id}\ndata: x\n\n\r\n"));
    }
    stream.expect("0\r\n\r\n");
    stream.expect_end();

    let replayed = format!("/events/a?max_events=1&last_event_id={}", ids[0]);
    let mut stream = server.subscribe(&replayed);
    assert_eq!(stream.event().id, ids[1]);
    assert_eq!(stream.item(), None);
    stream.expect_end();
}

#[test]
fn max_seconds_ends_the_response_properly() {
    let server = Server::start("");
    let mut stream = chunked(&server, "/events/a?max_seconds=1");
    let began = Instant::now();
    stream.expect("0\r\n\r\n");
    let took = began.elapsed();
    stream.expect_end();
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert!(within(SOON, || server.metrics().get("sluicegate_streams_closed_total{reason=\"max_seconds\"}") == 1.0));
}

// ===== POST /events/{topic} =====

#[test]
fn a_single_publish_with_everything() {
    let server = Server::start("");
    let mut stream = chunked(&server, "/events/a");
    let mut publisher = server.publisher();
    let target = "/events/a?event=tick+tock&id=own%2D1&retry=1500&key=k&keep=true";
    let response = publisher.post(target, &["content-type: application/octet-stream"], "one\r\ntwo\rthree\n\nfive");
    assert_eq!(
        response.head.masked(),
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\ndate: DATE\r\n\r\n"
    );
    assert_eq!(response.body, "{\"id\":\"own-1\"}\n");
    let event = "event: tick tock\nid: own-1\nretry: 1500\n\
                 data: one\ndata: two\ndata: three\ndata: \ndata: five\n\n";
    stream.expect(format!("{:x}\r\n{event}\r\n", event.len()));

    // It is kept under its own id, and what is live only is not kept and has no id of ours.
    let response = publisher.post("/events/a?keep=false", &[], "gone");
    assert_eq!(response.body, "{\"id\":null}\n");
    stream.expect("c\r\ndata: gone\n\n\r\n");
    publisher.publish("a", "");
    let mut resumed = server.open("/events/a", &["last-event-id: own-1"]).1;
    resumed.expect_data("");
}

// ===== POST /events =====

/// Posts a batch, and expects this status and the bodies that a subscriber gets.
#[track_caller]
fn check_batch(server: &Server, content_type: &str, body: &str, expected: &[&str]) {
    let mut stream = server.subscribe("/events?match=**");
    let response = server.publisher().post("/events", &[&format!("content-type: {content_type}")], body);
    assert_eq!(response.status(), 200, "{}", response.body);
    let ids = response.json()["ids"].as_array().unwrap().len();
    assert_eq!(ids, expected.len());
    for data in expected {
        assert_eq!(stream.event().data, *data);
    }
    stream.expect_nothing(Duration::from_millis(20));
}

#[test]
fn batches_are_json_or_lines_of_it() {
    let server = Server::start("");
    let check = |content_type: &str, body: &str, expected: &[&str]| check_batch(&server, content_type, body, expected);
    check(
        "application/json",
        "[{\"topic\":\"a\",\"data\":\"1\"},\n{\"topics\":[\"b/c\"],\"data\":\"2\"}]",
        &["1", "2"],
    );
    check("application/json; charset=utf-8", "{\"topic\":\"a\",\"data\":{\"n\": [1]}}", &["{\"n\": [1]}"]);
    check(
        "Application/X-NDJSON",
        "{\"topic\":\"a\",\"data\":1}\r\n\n{\"data\":\"\\u00e4\\n\",\"topic\":\"a\"}",
        &["1", "ä\n"],
    );
    check("application/json", "[]", &[]);
    check("application/x-ndjson", "", &[]);
}

#[test]
fn a_batch_answers_its_ids() {
    let server = Server::start("");
    let body = "[{\"topic\":\"a\",\"data\":\"\",\"id\":\"mine\",\"event\":\"e\",\"retry\":7,\"key\":\"k\",\"keep\":true},\
                {\"topic\":\"a\",\"data\":\"\",\"keep\":false},{\"topic\":\"a\",\"data\":\"\"}]";
    let response = server.publisher().post("/events", &["content-type: application/json"], body);
    let id = response.json()["ids"][2].as_str().unwrap_or_default().to_owned();
    assert_eq!(response.body, format!("{{\"ids\":[\"mine\",null,\"{id}\"]}}\n"));
    assert_eq!(id.len(), 21);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let server = Server::start("");
    let mut stream = server.subscribe("/events?match=**");
    let body =
        "{\"topic\":\"a\",\"data\":\"x\"}\n\n{\"topic\":\"a\",\"data\":\"y\",\"id\":\"a\\nb\"}\n{\"topic\":\"\"}\n";
    let response = server.publisher().post("/events", &["content-type: application/x-ndjson"], body);
    let document = response.json();
    assert_eq!((response.status(), &document["line"], &document["field"]), (400, &3.into(), &"id".into()));
    assert_eq!(server.metrics().get("sluicegate_log_events"), 0.0);
    server.publish("a", "next");
    stream.expect_data("next");
}

// ===== GET / =====

#[test]
fn the_first_minute() {
    let server = Server::start("");
    let mut page = server.connect();
    ask(&mut page, "GET / HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\n\r\n", CHUNKED_HEAD);
    page.beginning();
    page.mark();
    let hello = "22\r\nevent: message\nid: 1\ndata: hello\n\n\r\n";
    page.expect(hello);
    let began = Instant::now();
    page.expect(hello);
    let took = began.elapsed();
    assert!((Duration::from_millis(1_500)..Duration::from_millis(3_500)).contains(&took), "{took:?}");
    // Live only: a browser that comes back is not sent the hellos it missed.
    let mut back = server.open("/", &["accept: text/event-stream", "last-event-id: 1"]).1;
    assert_eq!(back.event().event, "gap");
    let hello = Event { event: "message".to_owned(), data: "hello".to_owned(), id: "1".to_owned() };
    assert_eq!(back.event(), hello);
}

#[test]
fn the_root_says_ok_to_others() {
    let server = Server::start("");
    let mut client = server.connect();
    // A cache must not give it to who asks for a stream.
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nvary: accept\r\ncache-control: no-store\r\n\
                content-length: 3\r\ndate: DATE\r\n\r\n";
    for accept in [
        "",
        "accept: */*\r\n",
        "accept: text/html, text/event-stream;q=0\r\n",
        "accept: text/plain, text/event-stream;q=0.1\r\n",
    ] {
        ask(&mut client, &format!("GET / HTTP/1.1\r\nhost: h\r\n{accept}\r\n"), head);
        client.expect("ok\n");
    }
}

// ===== HEAD, OPTIONS =====

#[test]
fn head_gets_the_head() {
    let server = Server::start("");
    let mut client = server.connect();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-store, no-transform\r\n\
                x-accel-buffering: no\r\naccess-control-allow-origin: *\r\ndate: DATE\r\n\r\n";
    ask(&mut client, "HEAD /events/a HTTP/1.1\r\nhost: h\r\n\r\n", head);
    // Nothing follows, and the connection goes on.
    ask(&mut client, "HEAD / HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\n\r\n", head);
    client.expect_nothing(Duration::from_millis(50));
    assert_eq!(server.metrics().get("sluicegate_streams_opened_total"), 0.0);
}

#[test]
fn options_answers_a_preflight() {
    let server = Server::start("");
    let mut client = server.connect();
    let head = "HTTP/1.1 204 No Content\r\nallow: GET, HEAD, OPTIONS\r\naccess-control-allow-origin: *\r\n\
                access-control-allow-methods: GET, HEAD, OPTIONS\r\n\
                access-control-allow-headers: *, authorization\r\n\
                access-control-max-age: 86400\r\ndate: DATE\r\n\r\n";
    for path in ["/events/a", "/events", "/"] {
        ask(&mut client, &format!("OPTIONS {path} HTTP/1.1\r\nhost: h\r\norigin: http://x\r\n\r\n"), head);
    }
}

/// The value of each of these fields, or none.
#[track_caller]
fn fields<'a>(head: &'a Head, names: &[&str]) -> Vec<Option<&'a str>> {
    names.iter().map(|name| head.field(name)).collect()
}

#[test]
fn named_origins_may_read_with_their_cookies_and_no_others() {
    let server = Server::start("[cors]\norigins = [\"https://a.example\", \"http://localhost:3000\"]\n");
    let names = ["access-control-allow-origin", "access-control-allow-credentials", "vary"];
    let check = |origin: Option<&str>, allowed: bool| {
        let line = origin.map(|origin| format!("origin: {origin}\r\n")).unwrap_or_default();
        let ask = |method: &str, target: &str| {
            let mut client = server.connect();
            client.send(format!(
                "{method} {target} HTTP/1.1\r\nhost: h\r\n{line}access-control-request-headers: x-a, authorization\r\n\r\n"
            ));
            let head = client.head();
            (client, head)
        };
        let expected = if allowed { [origin, Some("true"), Some("origin")] } else { [None, None, Some("origin")] };
        for (method, target, status) in [
            ("GET", "/events/a", 200),
            ("HEAD", "/events/a", 200),
            ("OPTIONS", "/events/a", 204),
            ("GET", "/events/*", 400),
            ("GET", "/nowhere", 404),
        ] {
            let (mut client, head) = ask(method, target);
            assert_eq!(head.status, status);
            assert_eq!(fields(&head, &names), expected, "{method} {target} {origin:?}\n{}", head.text);
            let requested = head.field("access-control-allow-headers");
            assert_eq!(requested, (status == 204 && allowed).then_some("x-a, authorization"));
            if method == "GET" && status == 200 {
                client.beginning();
                client.mark();
                server.publish("a", "x");
                client.expect_data("x");
            }
        }
    };
    check(Some("https://a.example"), true);
    check(Some("http://localhost:3000"), true);
    for origin in ["https://a.example:8443", "http://a.example", "https://b.example", "null", "*"] {
        check(Some(origin), false);
    }
    check(None, false);
    // It changes while the gateway runs; so it does for requests that can't be read.
    let unread = |server: &Server| {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nno colon\r\n\r\n");
        let head = client.head();
        assert_eq!(head.status, 400);
        head.field("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(unread(&server), None);
    assert_eq!(server.reload("")["applied"], "cors.origins");
    let head = server.open("/events/a", &["origin: https://b.example"]).0;
    assert_eq!(fields(&head, &names), [Some("*"), None, None]);
    assert_eq!(unread(&server).as_deref(), Some("*"));
    server.reload("[cors]\norigins = [\"https://a.example\"]\n");
    assert_eq!(unread(&server), None);
}

// ===== what RFC 9110 and 9112 ask =====

#[test]
fn a_later_minor_version_is_served_as_1_1() {
    let server = Server::start("");
    for version in ["1.1", "1.2", "1.9"] {
        let mut client = server.connect();
        // Twice: the connection goes on.
        for _ in 0..2 {
            client.send(format!("GET / HTTP/{version}\r\nhost: h\r\n\r\n"));
            let response = client.response();
            assert_eq!(response.body, "ok\n");
            assert!(response.head.text.starts_with("HTTP/1.1 200 OK\r\n"), "{}", response.head.text);
        }
        ask(&mut client, &format!("GET /events/a HTTP/{version}\r\nhost: h\r\n\r\n"), CHUNKED_HEAD);
    }
    // A body comes along, and what is pipelined behind it.
    let mut publisher = server.connect_control();
    let post = "POST /events/a HTTP/1.2\r\nhost: h\r\ncontent-length: 1\r\n\r\nx";
    publisher.send(format!("{post}{post}"));
    for _ in 0..2 {
        assert_eq!(publisher.response().status(), 200);
    }
}

#[test]
fn options_of_the_server_itself_answers() {
    let server = Launch::config("").argument("--health").argument("127.0.0.1:0").start();
    let mut health = server.connect_health();
    for (client, allow) in [
        (&mut server.connect(), "GET, HEAD, OPTIONS"),
        (&mut server.connect_control(), "POST"),
        (&mut health, "GET, HEAD"),
    ] {
        client.send("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n");
        let head = client.head();
        assert_eq!((head.status, head.field("allow")), (204, Some(allow)));
    }
}

/// An answer before a body was read says that the connection ends, and then it does.
#[test]
fn what_leaves_a_body_unread_says_that_it_closes() {
    let server = Server::start("[limits]\nbody_bytes = \"1KiB\"\n");
    let body = "x".repeat(2000);
    for (public, request, status) in [
        (false, "POST /events/a", 413),
        (false, "POST /nowhere", 404),
        (false, "PUT /events/a", 405),
        (false, "POST /events/a%00", 400),
        (true, "POST /events/a", 403),
        (true, "DELETE /events/a", 405),
        (true, "GET /", 200),
    ] {
        for body in [
            format!("content-length: 2000\r\n\r\n{body}"),
            format!("transfer-encoding: chunked\r\n\r\n7d0\r\n{body}\r\n0\r\n\r\n"),
        ] {
            let mut client = if public { server.connect() } else { server.connect_control() };
            client.send(format!("{request} HTTP/1.1\r\nhost: h\r\n{body}"));
            let response = client.response();
            assert_eq!((response.status(), response.head.field("connection")), (status, Some("close")), "{request}");
            client.expect_end();
        }
        // Without one the connection goes on.
        let mut client = if public { server.connect() } else { server.connect_control() };
        let status = if status == 413 { 200 } else { status };
        for _ in 0..2 {
            client.send(format!("{request} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"));
            let response = client.response();
            assert_eq!((response.status(), response.head.field("connection")), (status, None), "{request}");
        }
    }
    // One that was read whole leaves nothing in the way.
    let mut client = server.connect_control();
    for _ in 0..2 {
        client.send("POST /events/a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
        assert_eq!(client.response().head.field("connection"), None);
    }
}

/// A head has one deadline, and a connection that waits for a request another.
#[test]
fn an_idle_connection_lives_longer_than_a_slow_head() {
    let server = Server::start("[limits]\nhead_deadline = \"300ms\"\nidle = \"3s\"\n");
    let mut idle = server.connect();
    for _ in 0..2 {
        idle.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(idle.response().body, "ok\n");
        idle.expect_nothing(Duration::from_millis(900));
    }
    let began = Instant::now();
    idle.send("GET / HT");
    assert_eq!(idle.response().status(), 408);
    let slow = began.elapsed();
    let mut fresh = server.connect();
    let began = Instant::now();
    fresh.expect_end();
    let waited = began.elapsed();
    assert!(slow < Duration::from_millis(2_500) && waited > Duration::from_millis(2_500), "{slow:?} {waited:?}");
}

// ===== how the connection is used =====

/// The stream after this request is delimited by its close.
#[track_caller]
fn check_close_delimited(server: &Server, request: &str) {
    let mut stream = server.connect();
    ask(&mut stream, request, CLOSE_HEAD);
    stream.expect(":\nretry: ");
    let retry_ms = stream.read_until("\n").trim_end().parse::<u64>().expect("a time");
    assert!((1_500..=4_500).contains(&retry_ms), "{retry_ms}");
    stream.expect("id: ");
    let mark = stream.read_until("\n\n");
    assert_eq!(mark.len(), 21 + 2, "{mark:?}");
    let id = server.publish("a", "x");
    stream.expect(format!("id: {id}\ndata: x\n\n"));
    stream.expect_end();
}

#[test]
fn clients_without_chunks_get_a_stream_that_ends_by_close() {
    let server = Server::start("");
    check_close_delimited(&server, "GET /events/a?max_events=1 HTTP/1.0\r\n\r\n");
    check_close_delimited(&server, "GET /events/a?max_events=1 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    check_close_delimited(&server, "GET /events/a?max_events=1 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
}

#[test]
fn a_kept_connection_may_become_a_stream() {
    let server = Server::start("");
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(client.response().body, "ok\n");
    // Both in one packet: the answer is whole before the stream begins.
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\nGET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(client.response().body, "ok\n");
    assert_eq!(client.head().masked(), CHUNKED_HEAD);
    client.beginning();
    server.publish("a", "x");
    client.expect_data("x");
    assert!(within(SOON, || server.metrics().get("sluicegate_connections{listener=\"public\"}") == 0.0));
}

#[test]
fn what_is_pipelined_after_a_stream_is_ignored() {
    let server = Server::start("");
    let mut stream = server.connect();
    stream.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\nGET /events/b HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(stream.head().masked(), CHUNKED_HEAD);
    stream.beginning();
    stream.mark();
    stream.send("GET /events/c HTTP/1.1\r\n\r\n\0\u{7f}");
    let mut publisher = server.publisher();
    publisher.publish("b", "no");
    publisher.publish("c", "no");
    publisher.publish("a", "yes");
    stream.expect_data("yes");
    assert_eq!(server.metrics().get("sluicegate_streams_opened_total"), 1.0);
}

#[test]
fn later_bytes_are_ignored_up_to_a_bound() {
    const STRAY_BYTES_MAX: usize = 64 * 1024;
    let server = Server::start("");
    let mut stream = server.subscribe("/events/a");
    stream.send(vec![b'x'; STRAY_BYTES_MAX - 1]);
    stream.send("x");
    let mut publisher = server.publisher();
    for n in 0..20 {
        publisher.publish("a", &n.to_string());
        stream.expect_data(&n.to_string());
    }
    stream.send("x");
    assert!(stream.is_closed_within(SOON));
    let closed = "sluicegate_streams_closed_total{reason=\"client_data\"}";
    assert!(within(SOON, || server.metrics().get(closed) == 1.0));
}

/// How fast a client sends must not matter: it is cut off once it is over the bound, even if there
/// is always more to read.
#[test]
fn a_flood_of_later_bytes_is_cut_off_and_costs_others_nothing() {
    const MIB: usize = 1 << 20;
    let server = Server::start("shards = 1");
    let mut healthy = server.subscribe("/events/a");
    let mut publisher = server.publisher();
    for round in 0..30 {
        let floods: Vec<_> = (0..3)
            .map(|_| {
                let mut stream = server.subscribe("/events/b");
                std::thread::spawn(move || (1..=256).find(|_| stream.try_send(vec![b'x'; MIB]).is_err()))
            })
            .collect();
        publisher.publish("a", "x");
        let began = Instant::now();
        healthy.expect_data("x");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        for flood in floods {
            // The kernel's buffers on both sides may hold 10 MiB of it, and the last piece is cut.
            let refused_at_mib = flood.join().unwrap().expect("it is cut off");
            assert!(refused_at_mib <= 16, "round {round}: cut off in its {refused_at_mib}th MiB");
        }
    }
}

#[test]
fn heartbeats_come_to_the_idle_only() {
    let server = Server::start("[stream]\nheartbeat = \"800ms\"\n");
    let mut idle = server.subscribe("/events/idle");
    let mut busy = server.subscribe("/events/busy");
    let writer = std::thread::spawn({
        let mut publisher = server.publisher();
        move || {
            for n in 0..24 {
                publisher.publish("busy", &n.to_string());
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    });
    let mut last = Instant::now();
    for _ in 0..3 {
        // Others' events may make it a mark.
        let chunk = String::from_utf8(idle.chunk()).expect("UTF-8");
        assert!(chunk == ":\n" || chunk.starts_with("id: ") && chunk.len() == 27, "{chunk:?}");
        let idled = last.elapsed();
        // Up to a quarter early, for spreading; late by no more than a busy machine makes it.
        assert!((Duration::from_millis(550)..Duration::from_millis(1_600)).contains(&idled), "{idled:?}");
        last = Instant::now();
    }
    writer.join().unwrap();
    for n in 0..24 {
        let data = n.to_string();
        assert!(matches!(busy.item(), Some(Item::Event(event)) if event.data == data), "a heartbeat before {n}");
    }
    assert_eq!(busy.item(), Some(Item::Comment(String::new())));
}

/// A client that shuts its writing side still reads; one that closes is found at once, by the same FIN and
/// one heartbeat.
#[test]
fn half_a_close_is_none() {
    let server = Server::start("[stream]\nheartbeat = \"60s\"\n");
    let gone = |server: &Server| server.metrics().get("sluicegate_streams_closed_total{reason=\"client_gone\"}");
    let mut stream = server.subscribe("/events/a");
    stream.shut_write();
    assert_eq!(stream.item(), Some(Item::Comment(String::new())), "the heartbeat that asks");
    for data in ["1", "2"] {
        server.publish("a", data);
        stream.expect_data(data);
    }
    stream.expect_nothing(Duration::from_millis(100));
    // Shut in the same packet as the request, and before it is answered.
    let mut early = server.connect();
    early.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
    early.shut_write();
    assert_eq!(early.head().status, 200);
    server.publish("a", "3");
    for stream in [&mut stream, &mut early] {
        stream.expect_data("3");
    }
    assert_eq!(gone(&server), 0.0);
    let others: Vec<_> = (0..50).map(|_| server.subscribe("/events/b")).collect();
    drop(others);
    assert!(within(SOON, || gone(&server) == 50.0));
    // They have no FIN left to send: the next write finds them.
    drop((stream, early));
    server.publish("a", "4");
    assert!(within(SOON, || gone(&server) == 52.0));
    // A request that is no stream is answered, too.
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    client.shut_write();
    assert_eq!(client.response().body, "ok\n");
    client.expect_end();
}

#[test]
fn health_and_readiness() {
    let server = Launch::config("").argument("--health").argument("127.0.0.1:0").start();
    for mut operator in [server.connect_control(), server.connect_health()] {
        for (path, body) in [("/healthz", "ok"), ("/readyz", "ready")] {
            operator.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
            let response = operator.response();
            let (first, rest) = response.body.split_once('\n').unwrap();
            assert_eq!((response.status(), first), (200, body));
            assert_eq!(rest.starts_with("engine ready since 2"), path == "/readyz", "{rest}");
        }
        operator.send("GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n");
        assert!(operator.response().body.contains("sluicegate_streams"));
    }
    // The health listener reads, whatever it is called, and nothing else.
    let mut probe = server.connect_health();
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/events/a", 404),
        ("POST", "/events/a", 404),
        ("GET", "/admin/streams", 404),
        ("POST", "/healthz", 405),
        ("GET", "/healthz", 200),
    ] {
        probe.send(format!("{method} {path} HTTP/1.1\r\nhost: gate.example.com\r\ncontent-length: 0\r\n\r\n"));
        let response = probe.response();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.head.field("access-control-allow-origin"), None);
    }
    let metrics = server.metrics();
    assert_eq!(metrics.get("sluicegate_connections{listener=\"health\"}"), 1.0);
    // It is off unless it is given.
    let server = Server::start("");
    assert!(server.log("health and metrics are served").is_none());
}

/// As many publishers as may be keep their connections, and one more of each kind comes in.
#[test]
fn publishers_that_keep_their_connections_shut_out_nobody() {
    let server = Launch::config("").argument("--health").argument("127.0.0.1:0").start();
    let mut publishers: Vec<_> = (0..160).map(|_| server.publisher()).collect();
    for publisher in publishers.iter_mut().skip(16) {
        publisher.publish("a", "x");
    }
    for mut probe in [server.connect_control(), server.connect_health()] {
        probe.send("GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(probe.response().body, "ok\n");
    }
    // The one that was used last still is.
    publishers[159].publish("a", "x");
    assert!(server.metrics().get("sluicegate_connections{listener=\"control\"}") <= 144.0);
}

/// Requests to publish that never come to an end, as many as there may be connections: each has a body
/// in memory, so there is a bound on them, below that on connections.
#[test]
fn slow_publishers_shut_out_no_probe() {
    let server = Launch::config("").argument("--health").argument("127.0.0.1:0").start();
    let slow = |_| {
        let mut client = server.connect_control();
        client.send("POST /events/a HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf");
        client
    };
    let _slow: Vec<_> = (0..128).map(slow).collect();
    let busy = || {
        let mut client = slow(0);
        // Who is refused is answered at once; who is not waits for its body.
        let refused = !client.is_silent_for(Duration::from_millis(50));
        refused.then(|| client.response())
    };
    let mut refusal = None;
    assert!(within(SOON, || {
        refusal = busy();
        refusal.is_some()
    }));
    let refusal = refusal.expect("there was one");
    assert_eq!((refusal.status(), refusal.head.field("retry-after")), (503, Some("1")));
    assert_eq!(refusal.json()["reason"], "busy");
    let more: Vec<_> = (0..100).map(slow).collect();
    for mut probe in [server.connect_control(), server.connect_health()] {
        probe.send("GET /readyz HTTP/1.1\r\nhost: h\r\n\r\n");
        assert!(probe.response().body.starts_with("ready\n"));
    }
    drop(more);
}

// ===== how a stream begins, and its cursor marks =====

#[test]
fn a_stream_that_breaks_before_its_first_event_resumes_exactly() {
    let server = Server::start("schedule = []");
    let before = server.publish("other", "before");
    let mut stream = server.connect();
    stream.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
    stream.head();
    stream.beginning();
    let mark = stream.mark();
    assert_eq!(mark, before, "the id of the newest event of all, which is another topic's");
    drop(stream);
    server.publish("a", "missed");
    let (_, mut stream) = server.open("/events/a", &[&format!("Last-Event-ID: {mark}")]);
    // It needs no further mark, and gets no gap.
    stream.expect_data("missed");
}

#[test]
fn a_live_only_event_leaves_a_client_the_id_of_the_mark() {
    let server = Server::start("schedule = []");
    let mut stream = server.connect();
    stream.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
    stream.head();
    stream.beginning();
    let mark = stream.mark();
    server.publish("a?keep=false", "live");
    assert_eq!(stream.expect_data("live").id, mark);
}

#[test]
fn a_quiet_stream_is_marked_in_the_place_of_a_heartbeat() {
    let server = Server::start("schedule = []\n[history]\nevents = 4\n[stream]\nheartbeat = \"300ms\"\n");
    let mut quiet = server.subscribe("/events/quiet");
    let ids: Vec<_> = (0..8).map(|n| server.publish("busy", &n.to_string())).collect();
    let mark = loop {
        let chunk = String::from_utf8(quiet.chunk()).expect("UTF-8");
        match chunk.strip_prefix("id: ") {
            Some(id) => break id.trim_end().to_owned(),
            None => assert_eq!(chunk, ":\n"),
        }
    };
    assert!(ids.contains(&mark), "{mark} of {ids:?}");
    // Its first id is no longer known; this one is.
    let (_, mut stream) = server.open("/events?topic=quiet&topic=new", &[&format!("Last-Event-ID: {}", ids[7])]);
    server.publish("new", "x");
    stream.expect_data("x");
}

#[test]
fn marks_and_retry_can_be_turned_off() {
    let server = Server::start("schedule = []\n[stream]\nmarks = false\nretry = \"0s\"\n");
    let mut stream = server.connect();
    stream.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(stream.head().masked(), CHUNKED_HEAD);
    stream.expect("2\r\n:\n\r\n");
    let id = server.publish("a", "x");
    stream.expect(format!("23\r\nid: {id}\ndata: x\n\n\r\n"));
}

#[test]
fn streams_begin_with_times_to_come_back_that_differ() {
    let server = Server::start("[stream]\nretry = \"1s\"\n");
    let mut times = std::collections::HashSet::new();
    for _ in 0..50 {
        let mut stream = server.connect();
        stream.send("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n");
        stream.head();
        stream.item();
        let Some(Item::Retry(ms)) = stream.item() else { panic!("no retry") };
        assert!((500..=1_500).contains(&ms), "{ms}");
        times.insert(ms);
    }
    // 16 a second at least, and of those 50 times some.
    assert!(times.len() >= 8, "{times:?}");
}
