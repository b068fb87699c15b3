//! Every refusal, through one check: it is a problem document that names the field, changes
//! nothing, is counted, and costs a neighbour nothing.

use std::time::Duration;

use crate::support::publish::{Publisher, post};
use crate::support::{Conversation, Metrics, Response, SOON, Server, within};

const CONFIG: &str = "\
admin = true
schedule = []
[limits]
head_bytes = \"8KiB\"
head_deadline = \"400ms\"
idle = \"400ms\"
body_bytes = \"1KiB\"
body_deadline = \"400ms\"
";

const JSON: &str = "content-type: application/json";
const LINES: &str = "content-type: application/x-ndjson";

/// Which listener is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    Public,
    Control,
}
use Listener::{Control, Public};

/// A gateway, and a stream of everything beside the refusals.
struct Gate {
    server: Server,
    neighbour: Conversation,
    published: u64,
    opened: u64,
}

impl Gate {
    fn open() -> Gate {
        let server = Server::start(CONFIG);
        let neighbour = server.subscribe("/events?match=ok/*&match=a&match=*/**&topic=b");
        let mut gate = Gate { server, neighbour, published: 0, opened: 0 };
        gate.wait_for_open();
        gate
    }

    /// A stream counts a moment after its head was read.
    fn wait_for_open(&mut self) {
        self.opened += 1;
        let opened = "sluicegate_streams_opened_total";
        assert!(within(SOON, || self.server.metrics().get(opened) == self.opened as f64));
    }

    /// A new connection each time: one that idles for longer than `head_deadline` is closed.
    fn publisher(&self) -> Publisher {
        self.server.publisher()
    }

    /// The request is refused with this status; the document names this field, or none for `""`.
    #[track_caller]
    fn check(&mut self, listener: Listener, request: impl AsRef<[u8]>, status: u16, field: &str) -> Response {
        let refused = |metrics: &Metrics| {
            let mut counts = metrics.nonzero("sluicegate_publish_rejected_total");
            counts.extend(metrics.nonzero("sluicegate_requests_rejected_total"));
            counts
        };
        let shown = String::from_utf8_lossy(&request.as_ref()[..request.as_ref().len().min(300)]).into_owned();
        let before = self.server.metrics();
        let mut client = match listener {
            Public => self.server.connect(),
            Control => self.server.connect_control(),
        };
        // An early answer may come before all was sent.
        let _ = client.try_send(&request);
        let response = client.response();

        assert_eq!(response.status(), status, "{shown}\n{}", response.body);
        assert_eq!(response.head.field("content-type"), Some("application/problem+json"), "{shown}");
        let document = response.json();
        assert_eq!(document["type"], "about:blank");
        assert_eq!(document["status"], status);
        assert!(document["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{document}");
        assert_eq!(document["field"].as_str().unwrap_or_default(), field, "{shown}\n{document}");

        // It is counted once, by its reason.
        let reason = document["reason"].as_str().expect("a reason");
        let after = self.server.metrics();
        let families = ["publish_rejected", "requests_rejected"];
        let rise = |family: &str, reason: &str| {
            let sample = format!("sluicegate_{family}_total{{reason=\"{reason}\"}}");
            after.get(&sample) - before.get(&sample)
        };
        assert_eq!(families.map(|family| rise(family, reason)).iter().sum::<f64>(), 1.0, "{shown}\n{document}");
        let rises: f64 = families
            .map(|family| {
                let family = format!("sluicegate_{family}_total");
                after.sum(&family) - before.sum(&family)
            })
            .iter()
            .sum();
        assert_eq!(rises, 1.0, "{:?} {:?}", refused(&before), refused(&after));

        // Nothing was published, nothing opened.
        assert_eq!(after.get("sluicegate_log_events"), self.published as f64, "{shown}");
        assert_eq!(after.get("sluicegate_streams_opened_total"), self.opened as f64, "{shown}");
        // Nothing was delivered, and the neighbour goes on: what it gets next is this.
        self.published += 1;
        let marker = self.published.to_string();
        self.publisher().publish("ok/marker", &marker);
        self.neighbour.expect_data(&marker);
        response
    }

    /// `GET target` on the public listener is refused.
    #[track_caller]
    fn get(&mut self, target: &str, status: u16, field: &str) -> Response {
        self.check(Public, format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n"), status, field)
    }

    /// A post of this body to the control listener is refused.
    #[track_caller]
    fn post(&mut self, target: &str, fields: &[&str], body: impl AsRef<[u8]>, status: u16, field: &str) -> Response {
        self.check(Control, post(target, fields, body), status, field)
    }

    /// A batch is refused with this status, field and line (0 for none).
    #[track_caller]
    fn batch(&mut self, fields: &[&str], body: impl AsRef<[u8]>, status: u16, field: &str, line: u64) {
        let response = self.post("/events", fields, body, status, field);
        assert_eq!(response.json()["line"].as_u64().unwrap_or_default(), line, "{}", response.body);
    }

    /// A post is accepted, and the neighbour gets this data.
    #[track_caller]
    fn accepted(&mut self, target: &str, fields: &[&str], body: impl AsRef<[u8]>, data: &[&str]) {
        let response = self.publisher().post(target, fields, body);
        assert_eq!(response.status(), 200, "{}", response.body);
        for data in data {
            self.neighbour.expect_data(data);
        }
        self.published += data.len() as u64;
    }

    /// `GET target` opens a stream.
    #[track_caller]
    fn opens(&mut self, target: &str, fields: &[&str]) -> Conversation {
        let stream = self.server.open(target, fields).1;
        self.wait_for_open();
        stream
    }
}

/// A name of this many bytes.
fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[test]
fn topics() {
    let mut gate = Gate::open();
    for bad in ["", "*", "a/*/b", "a/**", "a%00b", "a%0Ab", "a%7f", "%C2%85"] {
        gate.get(&format!("/events/{bad}"), 400, "topic");
        gate.get(&format!("/events?topic={bad}"), 400, "topic");
        gate.post(&format!("/events/{bad}"), &[], "x", 400, "topic");
    }
    for bad in ["", "a*", "**/a", "a/b**", "a%00"] {
        gate.get(&format!("/events?match={bad}"), 400, "match");
    }
    gate.get("/events", 400, "topic");
    gate.get("/events?max_events=1", 400, "topic");
    gate.get("/events?topic=a&topic=", 400, "topic");
}

#[test]
fn malformed_escapes_and_utf8() {
    let mut gate = Gate::open();
    for bad in ["50%", "%4", "%zz", "%+4", "%ff", "%C3", "a%ED%A0%80"] {
        gate.get(&format!("/events/{bad}"), 400, "topic");
        gate.get(&format!("/events?topic={bad}"), 400, "topic");
        gate.get(&format!("/events?match={bad}"), 400, "match");
        gate.post(&format!("/events/{bad}"), &[], "x", 400, "topic");
        gate.post(&format!("/events/a?id={bad}"), &[], "x", 400, "id");
        gate.post(&format!("/events/a?event={bad}"), &[], "x", 400, "event");
    }
    gate.get("/events/a?max_events=%", 400, "max_events");
    gate.get("/events/a?last_event_id=%zz", 400, "last_event_id");
}

#[test]
fn topics_at_their_bounds() {
    let mut gate = Gate::open();
    for length in [254, 255] {
        gate.opens(&format!("/events/{}", long(length)), &[]);
        gate.opens(&format!("/events?match={}", long(length)), &[]);
        gate.accepted(&format!("/events/{}", long(length)), &[], "x", &[]);
        gate.published += 1;
    }
    // The bound is on bytes, after decoding.
    gate.opens(&format!("/events/{}x", "%C3%A4".repeat(127)), &[]);
    gate.get(&format!("/events/{}", "%C3%A4".repeat(128)), 400, "topic");
    gate.get(&format!("/events/{}", long(256)), 400, "topic");
    gate.get(&format!("/events?match={}", long(256)), 400, "match");
    gate.post(&format!("/events/{}", long(256)), &[], "x", 400, "topic");

    let topics = |count: usize| (0..count).map(|n| format!("topic={n}&")).collect::<String>();
    for count in [127, 128] {
        gate.opens(&format!("/events?{}", topics(count)), &[]);
    }
    gate.opens(&format!("/events/0?{}match=*", topics(126)), &[]);
    gate.get(&format!("/events?{}", topics(129)), 400, "topic");
    gate.get(&format!("/events?{}match=*", topics(128)), 400, "topic");

    let event = |count: usize| {
        let topics: Vec<_> = (0..count).map(|n| format!("\"a{n}\"")).collect();
        format!("{{\"data\":\"\",\"topics\":[{}]}}", topics.join(","))
    };
    for count in [127, 128] {
        gate.accepted("/events", &[JSON], event(count), &[]);
        gate.published += 1;
    }
    gate.batch(&[JSON], event(129), 400, "topics", 1);
    gate.batch(&[JSON], event(0), 400, "topic", 1);
}

#[test]
fn ids_event_names_and_keys() {
    let mut gate = Gate::open();
    for field in ["id", "event"] {
        for bad in ["a%0Db", "a%0Ab", "a%00b", "%0A", &long(129)] {
            gate.post(&format!("/events/a?{field}={bad}"), &[], "x", 400, field);
        }
        for bad in ["a\\rb", "a\\nb", "a\\u0000b", &long(129)] {
            gate.batch(&[JSON], format!("{{\"topic\":\"a\",\"data\":\"\",\"{field}\":\"{bad}\"}}"), 400, field, 1);
        }
        for length in [127, 128] {
            gate.accepted(&format!("/events/a?{field}={}", long(length)), &[], "x", &["x"]);
        }
    }
    gate.post("/events/a?id=", &[], "x", 400, "id");
    gate.post("/events/a?id=earliest", &[], "x", 400, "id");
    for length in [254, 255] {
        gate.accepted(&format!("/events/a?key={}", long(length)), &[], "x", &["x"]);
    }
    gate.post(&format!("/events/a?key={}", long(256)), &[], "x", 400, "key");
    // An id of our own form would name an offset that the event does not have.
    let ours = gate.publisher().publish("a", "x");
    gate.neighbour.expect_data("x");
    gate.published += 1;
    gate.post(&format!("/events/a?id={ours}"), &[], "x", 400, "id");
}

#[test]
fn other_parameters() {
    let mut gate = Gate::open();
    // Clients that count in 32 bits would come back at once.
    for bad in ["", "x", "-1", "%2B1", "1.5", "1e3", "2147483648", "99999999999999999999", "%C2%B2"] {
        gate.post(&format!("/events/a?retry={bad}"), &[], "x", 400, "retry");
    }
    for bad in ["\"1\"", "-1", "1.5", "null", "2147483648", "99999999999999999999"] {
        gate.batch(&[JSON], format!("{{\"topic\":\"a\",\"data\":\"\",\"retry\":{bad}}}"), 400, "retry", 1);
    }
    gate.accepted("/events/a?retry=2147483647", &[], "x", &["x"]);
    for bad in ["maybe", "", "TRUE"] {
        gate.post(&format!("/events/a?keep={bad}"), &[], "x", 400, "keep");
    }
    gate.post("/events/a?id=1&id=2", &[], "x", 400, "id");
    gate.post("/events/a?ide=1", &[], "x", 400, "ide");
    for field in ["max_events", "max_seconds"] {
        for bad in ["0", "00", "-1", "x", "", "1.5", "4294967296"] {
            gate.get(&format!("/events/a?{field}={bad}"), 400, field);
        }
        gate.get(&format!("/events/a?{field}=1&{field}=1"), 400, field);
    }
    gate.opens("/events/a?max_events=1&max_seconds=4294967295", &[]);
}

#[test]
fn bodies() {
    let mut gate = Gate::open();
    for length in [1023, 1024] {
        gate.accepted("/events/a", &[], long(length), &[&long(length)]);
    }
    gate.post("/events/a", &[], long(1025), 413, "body");
    let chunked = format!(
        "POST /events/a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        long(1025)
    );
    gate.check(Control, chunked, 413, "body");
    // Nobody waits for what is announced.
    let announced = "POST /events/a HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999\r\n\r\n";
    gate.check(Control, announced, 413, "body");
    gate.check(
        Control,
        "POST /events HTTP/1.1\r\nhost: h\r\ncontent-length: 1025\r\nexpect: 100-continue\r\n\r\n",
        413,
        "body",
    );
    gate.check(Control, "POST /events/a HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nslow", 408, "body");
    gate.check(Control, "POST /events/a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "body");

    for bad in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80"] {
        gate.post("/events/a", &[], bad, 400, "body");
    }
    gate.batch(&[LINES], b"\n\n{\"topic\":\"a\",\"data\":\"\xff\"}", 400, "body", 3);
    // Data may hold anything that is UTF-8.
    gate.accepted("/events/a", &[], "\0\u{feff}\u{2028}\r\rx", &["\0\u{feff}\u{2028}\n\nx"]);
}

#[test]
fn batches() {
    let mut gate = Gate::open();
    let good = "{\"topic\":\"a\",\"data\":\"x\"}";
    for bad in ["", "{", "x", "{\"topic\":\"a\",\"data\":\"x\"", "{\"topic\":\"a\",\"data\":\"\n\"}"] {
        gate.batch(&[JSON], bad, 400, "body", 1);
    }
    gate.batch(&[JSON], format!("[{good},\n{good},\n{{]"), 400, "body", 3);
    gate.batch(&[JSON], format!("[{good},\n{good}"), 400, "body", 2);
    gate.batch(&[JSON], format!("{good}\n{good}"), 400, "body", 2);
    gate.batch(&[LINES], format!("{good}\n{good} x\n"), 400, "body", 2);
    gate.batch(&[LINES], format!("{good}\n\n[{good}]\n"), 400, "body", 3);
    for (bad, field) in [
        ("{\"data\":\"\"}", "topic"),
        ("{\"topic\":\"a\"}", "data"),
        ("{\"topic\":\"a\",\"topics\":[\"a\"],\"data\":\"\"}", "topics"),
        ("{\"topic\":7,\"data\":\"\"}", "topic"),
        ("{\"topics\":\"a\",\"data\":\"\"}", "topics"),
        ("{\"topics\":[\"*\"],\"data\":\"\"}", "topics"),
        ("{\"topic\":\"a\",\"data\":\"\",\"keep\":1}", "keep"),
        ("{\"topic\":\"a\",\"data\":\"\",\"data\":\"\"}", "data"),
        ("{\"topic\":\"a\",\"date\":\"\"}", "date"),
        ("{\"topic\":\"a\",\"data\":\"\\ud800\"}", "data"),
    ] {
        gate.batch(&[LINES], format!("{good}\n{bad}\n{good}"), 400, field, 2);
        gate.batch(&[JSON], format!("[{good},\n{bad},\n{good}]"), 400, field, 2);
    }
    for count in [2, 3] {
        gate.accepted("/events", &[LINES], format!("{good}\n").repeat(count), &["x"].repeat(count));
    }
    for form in ["content-type: multipart/form-data; boundary=x", "content-type: Multipart/mixed"] {
        gate.post("/events/a", &[form], good, 415, "content-type");
    }
    for fields in [&[][..], &["content-type: text/plain"], &["content-type: application/jsonx"], &["content-type:"]] {
        let response = gate.post("/events", fields, good, 415, "content-type");
        assert_eq!(response.head.field("accept-post"), Some("application/json, application/x-ndjson"));
    }
}

#[test]
fn methods_and_paths() {
    let mut gate = Gate::open();
    let request =
        |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
    for (listener, method, path, allow) in [
        (Public, "PUT", "/events/a", "GET, HEAD, OPTIONS"),
        (Public, "DELETE", "/events?topic=a", "GET, HEAD, OPTIONS"),
        (Public, "POST", "/", "GET, HEAD, OPTIONS"),
        (Public, "BREW", "/events/a", "GET, HEAD, OPTIONS"),
        (Control, "GET", "/events/a", "POST"),
        (Control, "PUT", "/events", "POST"),
        (Control, "POST", "/metrics", "GET, HEAD"),
        (Control, "POST", "/healthz", "GET, HEAD"),
        (Control, "DELETE", "/readyz", "GET, HEAD"),
    ] {
        let response = gate.check(listener, request(method, path), 405, "method");
        assert_eq!(response.head.field("allow"), Some(allow), "{method} {path}");
    }
    gate.check(Public, post("/events/a", &[], "x"), 403, "method");
    gate.check(Public, post("/events", &[JSON], "{\"topic\":\"a\",\"data\":\"\"}"), 403, "method");
    gate.post("/events/a", &["origin: http://evil.example"], "x", 403, "origin");
    gate.post("/events/a", &["content-encoding: gzip"], "x", 415, "content-encoding");
    gate.post("/events", &[JSON, "content-encoding: br"], "[]", 415, "content-encoding");
    let two = gate.post("/events", &[LINES], "{\"topic\":\"a\",\"data\":1}{\"topic\":\"a\",\"data\":2}", 400, "body");
    assert!(two.json()["detail"].as_str().unwrap().contains("--data-binary"), "{}", two.body);
    for path in ["/eventsa", "/nothing", "/metrics", "/.well-known/mercure", "/event"] {
        gate.get(path, 404, "path");
    }
    gate.check(Control, request("GET", "/"), 404, "path");
    gate.check(Control, post("/", &[], "x"), 404, "path");
}

#[test]
fn heads() {
    let mut gate = Gate::open();
    let padded = |target: &str, length: usize| {
        let head = format!("GET {target} HTTP/1.1\r\nhost: h\r\nx: \r\n\r\n");
        head.replace("x: ", &format!("x: {}", long(length.saturating_sub(head.len()))))
    };
    for length in [8191, 8192] {
        let mut client = gate.server.connect();
        client.send(padded("/", length));
        assert_eq!(client.response().status(), 200, "{length} bytes");
    }
    gate.check(Public, padded("/events/a", 8193), 431, "head");
    gate.check(Control, padded("/healthz", 8193), 431, "head");
    gate.check(Public, padded("/events/a", 1 << 20), 431, "head");
    let fields: String = (0..200).map(|n| format!("x{n}: y\r\n")).collect();
    gate.check(Public, format!("GET /events/a HTTP/1.1\r\n{fields}\r\n"), 431, "head");
    gate.get(&format!("/events/{}", long(20_000)), 414, "target");

    for slow in ["GET", "GET /events/a HTTP/1.1\r\nhost: h\r\n", "GET /events/a HTTP/1.1\r\nx: "] {
        gate.check(Public, slow, 408, "head");
    }
    gate.check(Control, "POST /events/a HTTP/1.1\r\n", 408, "head");
    for bad in [
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET /events/a HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /events/a HTTP/1.1\r\na\0: b\r\n\r\n",
        "GET /events/a\0 HTTP/1.1\r\n\r\n",
        "GET /events/a HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n",
    ] {
        gate.check(Public, bad, 400, "head");
    }
    gate.check(Public, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "head");
}

#[test]
fn hosts() {
    let mut gate = Gate::open();
    for (listener, line) in
        [(Public, "GET /events/a HTTP/1.1"), (Control, "GET /healthz HTTP/1.1"), (Control, "POST /events/a HTTP/1.1")]
    {
        gate.check(listener, format!("{line}\r\ncontent-length: 0\r\n\r\n"), 400, "host");
        gate.check(listener, format!("{line}\r\nhost: h\r\nhost: h\r\ncontent-length: 0\r\n\r\n"), 400, "host");
        for bad in ["a b", "u@h", "h:x", "[::1", "http://h", "h/", "\u{e4}"] {
            gate.check(listener, format!("{line}\r\nhost: {bad}\r\ncontent-length: 0\r\n\r\n"), 400, "host");
        }
    }
    // HTTP/1.0 may go without, but not be ambiguous.
    gate.check(Public, "GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", 400, "host");
    for good in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
        "GET http://x/ HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut client = gate.server.connect();
        client.send(good);
        assert_eq!(client.response().status(), 200, "{good}");
    }
}

/// All of the control listener is for programs. What it refuses, no page may read.
#[test]
fn pages_at_the_control_listener() {
    let mut gate = Gate::open();
    for (line, body) in [
        ("GET /healthz", ""),
        ("GET /readyz", ""),
        ("GET /metrics", ""),
        ("POST /events/a", "content-length: 0\r\n"),
        ("POST /events", "content-length: 0\r\n"),
        ("GET /admin/streams", ""),
        ("GET /nowhere", ""),
    ] {
        for (field, named) in [
            ("host: h\r\norigin: http://evil.example", "origin"),
            ("host: h\r\norigin: null", "origin"),
            ("host: h\r\nsec-fetch-site: same-site", "origin"),
            ("host: evil.example:8081", "host"),
        ] {
            let response = gate.check(Control, format!("{line} HTTP/1.1\r\n{field}\r\n{body}\r\n"), 403, named);
            assert_eq!(response.head.field("access-control-allow-origin"), None, "{line}");
        }
    }
    // A target that names a host wins over the field.
    for target in ["http://evil.example/healthz", "http://evil.example:8081/events/a"] {
        gate.check(Control, format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"), 403, "host");
    }
    let mut client = gate.server.connect_control();
    client.send("GET http://localhost/healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let unread = gate.check(Control, "nonsense\r\n\r\n", 400, "head");
    assert_eq!(unread.head.field("access-control-allow-origin"), None);
    let public = gate.check(Public, "nonsense\r\n\r\n", 400, "head");
    assert_eq!(public.head.field("access-control-allow-origin"), Some("*"));
}

/// Nothing is answered where nothing was asked: a port scan or a probe that connects and waits.
#[test]
fn a_connection_that_says_nothing_is_closed() {
    let gate = Gate::open();
    let mut silent = gate.server.connect();
    silent.expect_end();
    assert_eq!(gate.server.metrics().sum("sluicegate_requests_rejected_total"), 0.0);
}

/// A browser gives up for ever on an error, so whatever it sends as its last id gets a stream.
#[test]
fn a_malformed_last_event_id_is_an_unknown_one() {
    let mut gate = Gate::open();
    let id = gate.publisher().publish("a", "kept");
    gate.neighbour.expect_data("kept");
    gate.published += 1;
    let check = |gate: &mut Gate, target: &str, field: &[u8], reason: &str| {
        let mut stream = gate.server.connect();
        let request = [format!("GET {target} HTTP/1.1\r\nhost: h\r\n").as_bytes(), field, b"\r\n\r\n"].concat();
        stream.send(request);
        assert_eq!(stream.head().status, 200);
        let gap = stream.event();
        let data: serde_json::Value = serde_json::from_str(&gap.data).unwrap();
        assert_eq!((&*gap.event, &data["reason"]), ("gap", &reason.into()), "{target} {field:?}");
        assert_eq!(stream.expect_data("kept").id, id);
    };
    let long = |length| [b"last-event-id: ", long(length).as_bytes()].concat();
    for length in [127, 128, 129, 4000] {
        check(&mut gate, "/events/a", &long(length), "unknown_id");
    }
    check(&mut gate, "/events/a", b"last-event-id: \xff\xfe", "unknown_id");
    check(&mut gate, "/events/a", b"last-event-id: \"():<>?@[\\]{}", "unknown_id");
    check(&mut gate, "/events/a", b"last-event-id: 1\r\nlast-event-id: 2", "unknown_id");
    check(&mut gate, "/events/a?last_event_id=%ff", b"x: y", "unknown_id");
    check(&mut gate, "/events/a?last_event_id=a%0Ab", b"x: y", "unknown_id");
    // An id of ours, with an offset that no event has yet.
    let future = format!("{}zzzzzzzzzz", &id[..9]);
    check(&mut gate, "/events/a", format!("last-event-id: {future}").as_bytes(), "unknown_id");
    assert_eq!(gate.server.metrics().sum("sluicegate_requests_rejected_total"), 0.0);
}

/// A body that never ends holds its publisher, and nobody else.
#[test]
fn a_publisher_that_breaks_off_changes_nothing() {
    let mut gate = Gate::open();
    let mut client = gate.server.connect_control();
    client.send("POST /events/a HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nhalf");
    drop(client);
    let connections = "sluicegate_connections{listener=\"control\"}";
    // The scrape itself.
    assert!(within(SOON, || gate.server.metrics().get(connections) == 1.0));
    assert_eq!(gate.server.metrics().get("sluicegate_log_events"), 0.0);
    gate.accepted("/events/a", &[], "next", &["next"]);
    gate.neighbour.expect_nothing(Duration::from_millis(20));
}

#[test]
fn what_an_operator_may_not_ask() {
    let mut gate = Gate::open();
    let ask = |method: &str, path: &str, fields: &str| format!("{method} {path} HTTP/1.1\r\n{fields}\r\n");
    for (path, field) in [
        ("/admin/streams?limit=0", "limit"),
        ("/admin/streams?limit=101", "limit"),
        ("/admin/streams?limit=x", "limit"),
        ("/admin/topics?limit=-1", "limit"),
        ("/admin/streams?sort=rate", "sort"),
        ("/admin/topics?sort=lag", "sort"),
        ("/admin/topics?sort=rate&sort=rate", "sort"),
        ("/admin/streams?n=5", "n"),
        ("/admin/topics?limit=%zz", "limit"),
    ] {
        gate.check(Control, ask("GET", path, "host: h\r\n"), 400, field);
    }
    let sorts = gate.check(Control, ask("GET", "/admin/streams?sort=x", "host: h\r\n"), 400, "sort");
    assert_eq!(sorts.json()["detail"], "sort: is one of lag, age, written");
    for path in ["/admin/streams", "/admin/topics"] {
        for method in ["POST", "DELETE", "OPTIONS"] {
            gate.check(Control, ask(method, path, "host: h\r\ncontent-length: 0\r\n"), 405, "method");
        }
        gate.check(Control, ask("GET", path, "host: h\r\norigin: http://evil.example\r\n"), 403, "origin");
        gate.check(Control, ask("GET", path, "host: h\r\nsec-fetch-site: cross-site\r\n"), 403, "origin");
        gate.check(Control, ask("GET", path, "host: evil.example:8081\r\n"), 403, "host");
    }
    for path in ["/admin", "/admin/", "/admin/streams/", "/admin/secrets"] {
        gate.check(Control, ask("GET", path, "host: h\r\n"), 404, "path");
    }
}

#[test]
fn a_batch_has_a_most_of_events() {
    let server = Server::start("schedule = []");
    let mut publisher = server.publisher();
    let most = "{\"topic\":\"a\",\"data\":\"x\"}\n".repeat(16_384);
    let response = publisher.post("/events", &[LINES], format!("{most}{{\"topic\":\"a\",\"data\":\"x\"}}\n"));
    let problem = response.json();
    assert_eq!((response.status(), &problem["field"], &problem["line"]), (413, &"body".into(), &16_385.into()));
    assert_eq!(server.metrics().get("sluicegate_publish_rejected_total{reason=\"batch_too_large\"}"), 1.0);
    assert_eq!(server.metrics().get("sluicegate_events_published_total{source=\"http\"}"), 0.0);
    assert_eq!(server.publisher().batch(&most).len(), 16_384);
}

/// What two readers in a row could cut apart differently: by one of them a second request hides in the first. There is
/// one answer, the connection ends, and the second request is never done.
#[test]
fn requests_hide_no_second_request() {
    let server = Server::start("schedule = []");
    let hidden = "POST /events/hidden HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nhidden";
    let head = "POST /events/a HTTP/1.1\r\nhost: h\r\n";
    let published = || server.metrics().get("sluicegate_log_events");
    for ambiguous in [
        "content-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "content-length: 1, 2\r\n\r\nx",
        "content-length: +1\r\n\r\nx",
        "content-length: 0x1\r\n\r\nx",
        "content-length : 1\r\n\r\nx",
        "content-length: 1\rtransfer-encoding: chunked\r\n\r\nx",
        "content-length:\r\n 1\r\n\r\nx",
        "transfer-encoding: chunked, identity\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n",
    ] {
        let mut client = server.connect_control();
        let _ = client.try_send(format!("{head}{ambiguous}{hidden}"));
        let response = client.response();
        assert_eq!(response.status(), 400, "{ambiguous:?}: {}", response.body);
        assert_eq!(client.read_to_end(), b"", "{ambiguous:?}: one answer, and the end");
    }
    assert_eq!(published(), 0.0);
    // RFC 9112, section 6.3: chunks count, not the length, and the connection ends.
    for both in ["content-length: 4\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 4"] {
        let before = published();
        let mut client = server.connect_control();
        let _ = client.try_send(format!("{head}{both}\r\n\r\n1\r\nx\r\n0\r\n\r\n{hidden}"));
        assert_eq!(client.response().status(), 200, "{both}");
        assert_eq!(client.read_to_end(), b"", "{both}: one answer, and the end");
        assert_eq!(published(), before + 1.0, "{both}");
    }
}
