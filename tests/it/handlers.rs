//! What a library's handler may answer, and what that costs others.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use sluicegate::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, HeaderValue, SET_COOKIE};
use sluicegate::http::{self, Method, StatusCode};
use sluicegate::{Builder, Event, Gateway, Pattern, Reply, Request, StreamReply, Topic};

use crate::support::{Conversation, Head, Item, Metrics, SOON, within};

const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn builder() -> Builder {
    Gateway::builder().listen(ANY_PORT.into()).control(ANY_PORT.into())
}

fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap()
}

/// Sends a request with these further header lines, and reads the answer's head.
#[track_caller]
fn ask(address: SocketAddr, request: &str, headers: &str) -> (Conversation, Head) {
    let mut client = Conversation::to(address);
    client.send(format!("{request} HTTP/1.1\r\nhost: h\r\n{headers}\r\n"));
    let head = client.head();
    (client, head)
}

/// The status, some fields, and the body of the answer to a request on a connection of its own.
#[track_caller]
fn answer(address: SocketAddr, request: &str) -> (u16, Head, String) {
    let (mut client, head) = ask(address, request, "connection: close\r\n");
    let body = String::from_utf8(client.read_to_end()).unwrap();
    (head.status, head, body)
}

#[track_caller]
fn open(address: SocketAddr, target: &str, headers: &str) -> Conversation {
    let (stream, head) = ask(address, &format!("GET {target}"), headers);
    assert_eq!(head.status, 200);
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    stream
}

#[test]
fn a_request_is_the_handlers_own() {
    let tell = async |request: Request| {
        // It lives on through other work of the runtime.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let header = request.headers().get("x-name").and_then(|value| value.to_str().ok()).unwrap_or("-");
        let accepts = request.accepts_event_stream();
        format!("{} {} {header} {} {accepts}", request.method(), request.uri(), request.peer_addr())
    };
    let gateway = builder().on_request(tell).start().unwrap();
    let mut client = Conversation::to(gateway.addresses()[0]);
    let own = client.socket().local_addr().unwrap();
    client.send("GET /a?b=c HTTP/1.1\r\nhost: h\r\nx-name: n\r\naccept: text/event-stream\r\n\r\n");
    assert_eq!(client.response().body, format!("GET /a?b=c n {own} true"));
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(client.response().body, format!("GET / - {own} false"), "on the same connection");
}

#[test]
fn answers_have_a_status_headers_and_a_body() {
    let answers = async |request: Request| -> Reply {
        match request.uri().path() {
            "/text" => "text".into(),
            "/string" => String::from("string").into(),
            "/status" => StatusCode::BAD_REQUEST.into(),
            "/teapot" => (StatusCode::IM_A_TEAPOT, "short").into(),
            "/found" => Err::<&str, _>((StatusCode::NOT_FOUND, format!("no {}", request.uri()))).into(),
            _ => http::Response::builder()
                .status(302)
                .header("location", "/x")
                .header("content-type", "text/html")
                .body(vec![b'h', b'i'])
                .unwrap()
                .into(),
        }
    };
    let gateway = builder().on_request(answers).start().unwrap();
    let address = gateway.addresses()[0];
    for (path, status, kind, body) in [
        ("/text", 200, "text/plain; charset=utf-8", "text"),
        ("/string", 200, "text/plain; charset=utf-8", "string"),
        // hyper makes such an empty 400 by itself, where a head can't be read; this one is the handler's.
        ("/status", 400, "text/plain; charset=utf-8", ""),
        ("/teapot", 418, "text/plain; charset=utf-8", "short"),
        ("/found", 404, "text/plain; charset=utf-8", "no /found"),
        ("/other", 302, "text/html", "hi"),
    ] {
        let (found, head, text) = answer(address, &format!("GET {path}"));
        assert_eq!((found, head.field("content-type"), &*text), (status, Some(kind), body), "{path}");
        assert_eq!(head.field("location"), (path == "/other").then_some("/x"), "{path}");
    }
}

#[test]
fn an_empty_error_without_a_type_is_the_handlers_own() {
    let bare = async |_: Request| http::Response::builder().status(400).body("").unwrap();
    let gateway = builder().on_request(bare).start().unwrap();
    let (status, _, body) = answer(gateway.addresses()[0], "GET /");
    assert_eq!((status, &*body), (400, ""));
}

#[test]
fn a_handler_is_asked_for_get_and_head_unless_it_says_otherwise() {
    let both = async |request: Request| match request.uri().path() {
        "/stream" => Reply::from(StreamReply::new().topic(topic("a"))),
        _ => Reply::text(format!("{} text", request.method())),
    };
    let gateway = builder().on_request(both).start().unwrap();
    let address = gateway.addresses()[0];
    assert_eq!(answer(address, "GET /").2, "GET text");
    // The head that GET has, and no body.
    let (status, head, body) = answer(address, "HEAD /");
    assert_eq!((status, head.field("content-length"), &*body), (200, Some("9"), ""));
    let (status, head, body) = answer(address, "HEAD /stream");
    assert_eq!((status, head.field("content-type"), &*body), (200, Some("text/event-stream"), ""));
    let (status, head, body) = answer(address, "OPTIONS /stream");
    assert_eq!((status, head.field("access-control-allow-methods"), &*body), (204, Some("GET, HEAD, OPTIONS"), ""));
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
        let (status, head, body) = answer(address, &format!("{method} /stream"));
        assert_eq!((status, head.field("allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
        assert!(body.contains("\"field\":\"method\""), "{body}");
    }
    assert_eq!(gateway.streams(), 0);

    let posts = builder().on_request(both).methods([Method::POST]).start().unwrap();
    let address = posts.addresses()[0];
    assert_eq!(answer(address, "POST /").2, "POST text");
    assert_eq!(answer(address, "GET /").0, 405);
    assert_eq!(answer(address, "HEAD /").0, 405);
    assert_eq!(answer(address, "OPTIONS /").1.field("allow"), Some("OPTIONS, POST"));
    let (mut stream, head) = ask(address, "POST /stream", "");
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    assert!(within(SOON, || posts.streams() == 1));
    posts.publisher().publish(topic("a"), Event::new("x")).unwrap();
    stream.expect_data("x");

    let all = builder().on_request(both).methods([Method::GET, Method::OPTIONS]).start().unwrap();
    assert_eq!(answer(all.addresses()[0], "OPTIONS /").2, "OPTIONS text");
}

#[test]
fn a_stream_takes_topics_patterns_and_bounds() {
    let stream = async |request: Request| {
        let stream = StreamReply::new().topics([topic("a"), topic("b")]).pattern(Pattern::parse("c/*").unwrap());
        match request.uri().path() {
            "/two" => stream.max_events(NonZeroU32::new(2).unwrap()),
            "/short" => stream.lasts(Duration::from_millis(200)),
            _ => stream,
        }
    };
    let gateway = builder().on_request(stream).start().unwrap();
    let address = gateway.addresses()[0];
    let publisher = gateway.publisher();
    let (mut all, mut two, mut short) =
        (open(address, "/", ""), open(address, "/two", ""), open(address, "/short", ""));
    assert!(within(SOON, || gateway.streams() == 3));
    for on in ["a", "d", "c/1", "c/1/2", "b"] {
        publisher.publish(topic(on), Event::new(on)).unwrap();
    }
    let data = |stream: &mut Conversation| stream.next_event().map(|event| event.data);
    assert_eq!([(); 3].map(|()| data(&mut all).unwrap()), ["a", "c/1", "b"]);
    assert_eq!([(); 3].map(|()| data(&mut two)), [Some("a".into()), Some("c/1".into()), None]);
    two.expect_end();
    while short.next_event().is_some() {}
    short.expect_end();
}

#[test]
fn a_stream_resumes_where_the_request_or_the_handler_says() {
    let stream = async |request: Request| {
        let stream = StreamReply::new().topic(topic("a"));
        match request.uri().path() {
            "/live" => stream.live(),
            "/earliest" => stream.from_earliest(),
            "/after" => stream.after(request.uri().query().unwrap_or_default()),
            _ => stream,
        }
    };
    let gateway = builder().on_request(stream).start().unwrap();
    let address = gateway.addresses()[0];
    let publisher = gateway.publisher();
    let ids: Vec<_> =
        (0..3).map(|n| publisher.publish(topic("a"), Event::new(n.to_string())).unwrap().unwrap()).collect();
    let second = format!("last-event-id: {}\r\n", ids[1]);
    let after = format!("/after?{}", ids[0]);
    let mut streams = [
        ("", open(address, "/", "")),
        ("2", open(address, "/", &second)),
        ("", open(address, "/live", &second)),
        ("012", open(address, "/earliest", &second)),
        ("12", open(address, &after, &second)),
    ];
    assert!(within(SOON, || gateway.streams() == 5));
    publisher.publish(topic("a"), Event::new("end")).unwrap();
    for (expected, stream) in &mut streams {
        let mut seen = String::new();
        loop {
            match stream.event().data.as_str() {
                "end" => break,
                data => seen.push_str(data),
            }
        }
        assert_eq!(seen, *expected);
    }
    let mut unknown = open(address, "/after?nonsense", "");
    assert_eq!(unknown.event().event, "gap");
    // What the client says wrongly is its own fault, also here.
    assert_eq!(answer(address, "GET /?last_event_id=%zz").0, 400);
}

/// The lines of a head that have this name, in any order.
fn values(head: &Head, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    head.text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

#[test]
fn a_streams_head_takes_fields() {
    let fields = async |request: Request| {
        let stream = StreamReply::new().header(SET_COOKIE, HeaderValue::from_static("a=b"));
        let origin = HeaderValue::from_static("https://page.test");
        match request.uri().path() {
            "/own" => stream.header(ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            "/wrong" => stream.header(CONNECTION, HeaderValue::from_static("keep-alive")),
            _ => stream.header(SET_COOKIE, HeaderValue::from_static("c=d")),
        }
    };
    let start = |settings: &str| {
        let mut config = sluicegate::Config::parse(settings, "fields.toml".as_ref()).unwrap();
        config.listen = toml::Value::try_from(["127.0.0.1:0"]).unwrap().try_into().unwrap();
        config.control = ANY_PORT.into();
        Builder::from_config(config).on_request(fields).start().unwrap()
    };
    let known = start("[cors]\norigins = [\"https://known.test\"]");
    let any = start("");
    for method in ["GET", "HEAD"] {
        for (gateway, path, origin, cookies) in [
            (&any, "/", "*", &["a=b", "c=d"][..]),
            (&any, "/own", "https://page.test", &["a=b"]),
            (&known, "/", "https://known.test", &["a=b", "c=d"]),
            (&known, "/own", "https://page.test", &["a=b"]),
        ] {
            let request = format!("{method} {path}");
            let (_client, head) = ask(gateway.addresses()[0], &request, "origin: https://known.test\r\n");
            assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
            assert_eq!(values(&head, "access-control-allow-origin"), [origin], "{request}: {}", head.text);
            assert_eq!(values(&head, "set-cookie"), cookies, "{request}: {}", head.text);
            assert_eq!(values(&head, "content-type").len(), 1);
        }
        assert_eq!(answer(any.addresses()[0], &format!("{method} /wrong")).0, 500);
    }
    let mut stream = open(any.addresses()[0], "/", "");
    stream.beginning();
}

#[test]
fn a_handler_that_panics_costs_its_request() {
    let panics = async |request: Request| {
        assert!(request.uri().path() != "/now", "this test panics on purpose");
        tokio::task::yield_now().await;
        assert!(request.uri().path() != "/later", "this test panics on purpose");
        Reply::text("fine")
    };
    let gateway = builder().on_request(panics).start().unwrap();
    let mut client = Conversation::to(gateway.addresses()[0]);
    for (path, status) in [("/now", 500), ("/", 200), ("/later", 500), ("/", 200)] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
        assert_eq!(client.response().status(), status, "{path}");
    }
    let plain = builder().on_request(|request: Request| {
        assert!(request.uri().path() != "/now", "this test panics on purpose");
        std::future::ready("fine")
    });
    let plain = plain.start().unwrap();
    assert_eq!(answer(plain.addresses()[0], "GET /now").0, 500);
    assert_eq!(answer(plain.addresses()[0], "GET /").2, "fine");
    let metrics = Metrics::of(gateway.control_address().unwrap());
    assert_eq!(metrics.get("sluicegate_requests_rejected_total{reason=\"handler\"}"), 2.0);
}

#[test]
fn a_stream_that_can_not_be_is_the_handlers_fault() {
    let wrong = async |request: Request| match request.uri().path() {
        "/event" => StreamReply::new().every(Duration::from_secs(1), Event::new("x").event("a\nb")),
        _ => StreamReply::new().topics((0..1_000).map(|n| topic(&n.to_string()))),
    };
    let gateway = builder().on_request(wrong).start().unwrap();
    for path in ["/event", "/topics"] {
        let (status, _, body) = answer(gateway.addresses()[0], &format!("GET {path}"));
        assert_eq!(status, 500, "{path}");
        assert!(body.contains("\"reason\":\"handler\""), "{body}");
    }
}

#[test]
fn a_slow_handler_holds_up_nobody_else() {
    let slow = async |request: Request| {
        if request.uri().path() == "/slow" {
            std::future::pending::<()>().await;
        }
        "quick"
    };
    // One acceptor, so that both are its work.
    let mut config = sluicegate::Config::parse("acceptors = 1", "one.toml".as_ref()).unwrap();
    config.listen = toml::Value::try_from(["127.0.0.1:0"]).unwrap().try_into().unwrap();
    config.control = ANY_PORT.into();
    let gateway = Builder::from_config(config).on_request(slow).start().unwrap();
    let mut waiting = Conversation::to(gateway.addresses()[0]);
    waiting.send("GET /slow HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(answer(gateway.addresses()[0], "GET /").2, "quick");
    waiting.expect_nothing(Duration::from_millis(50));
}

#[allow(dead_code, reason = "its `main` is for those who run it")]
#[path = "../../examples/dashboard.rs"]
mod dashboard;

#[test]
fn the_dashboard_shows_what_a_thread_publishes() {
    let gateway = dashboard::dashboard().listen(ANY_PORT.into()).start().unwrap();
    let address = gateway.addresses()[0];
    let (status, head, page) = answer(address, "GET /");
    assert_eq!((status, head.field("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.contains("new EventSource('/live')"), "{page}");
    assert_eq!(answer(address, "GET /other").0, 404);
    let mut stream = open(address, "/live", "");
    let publisher = gateway.publisher();
    let publishing = std::thread::spawn(move || dashboard::publish_load(&publisher).unwrap_err().to_string());
    for _ in 0..2 {
        let event = stream.event();
        assert_eq!(event.event, "load");
        assert!(event.data.parse::<f64>().is_ok_and(|load| load >= 0.0), "{}", event.data);
    }
    drop(gateway);
    assert_eq!(publishing.join().unwrap(), "the gateway is closing its streams");
}

/// What an event of the stream's own is, and when it comes.
#[test]
fn a_timed_event_comes_once_a_period() {
    let period = Duration::from_millis(40);
    let timed = move |_| async move { StreamReply::new().every(period, Event::new("tick").id("7")) };
    let gateway = builder().on_request(timed).start().unwrap();
    let began = Instant::now();
    let mut stream = open(gateway.addresses()[0], "/whatever", "");
    for _ in 0..5 {
        let event = stream.event();
        assert_eq!((&*event.data, &*event.id), ("tick", "7"));
    }
    // The gateway's time is in whole milliseconds.
    assert!(began.elapsed() + Duration::from_millis(1) >= 5 * period, "{:?}", began.elapsed());
    assert!(!matches!(stream.item(), Some(Item::Retry(_)) | None));
}
