//! Who may publish, on the public listener and on the control listener.

use serde_json::json;

use super::{HS256, bearer, check_refused, token};
use crate::support::publish::post;
use crate::support::{Conversation, Launch, Response, Server};

/// What a request to publish on the public listener comes to.
#[track_caller]
fn publish(server: &Server, target: &str, fields: &[&str], body: &str) -> Response {
    let mut conversation = server.connect();
    conversation.send(post(target, fields, body));
    conversation.response()
}

#[track_caller]
fn check(server: &Server, target: &str, fields: &[&str], body: &str, status: u16, field: &str, challenge: &str) {
    let response = publish(server, target, fields, body);
    assert_eq!(response.status(), status, "{target}: {}", response.body);
    assert_eq!(response.json()["field"], field, "{target}");
    assert_eq!(response.head.field("www-authenticate").unwrap_or_default(), challenge, "{target}");
}

#[test]
fn who_has_a_token_that_grants_it_may_publish_beside_the_streams() {
    let rules = "[[rule]]\ntopics = [\"chat/{sub}\"]\npublish = \"token\"\nsubscribe = \"token\"\n\
                 [[rule]]\ntopics = [\"wall/*\"]\npublish = \"anyone\"\n";
    let key = "[[auth.key]]\nname = \"ci\"\nkey = \"a-key-of-some-length\"\npublish = [\"builds/**\"]\n";
    let server = Server::start(&format!("[auth]\nquery = true\n{HS256}{key}{rules}"));
    let seven = bearer(&token(json!({"sub": "7", "sluicegate": {"publish": ["extra"]}})));
    let mut stream = server.subscribe("/events?topic=extra&match=wall/*&match=builds/*");
    let good = |target: &str, fields: &[&str], body: &str| {
        let response = publish(&server, target, fields, body);
        assert_eq!(response.status(), 200, "{target}: {}", response.body);
    };
    good("/events/wall/a", &[], "anyone");
    good("/events/extra", &[&seven], "own");
    good("/events/builds/1", &["authorization: Bearer a-key-of-some-length"], "key");
    let query = format!("/events/extra?event=e&access_token={}", token(json!({"sluicegate": {"publish": ["extra"]}})));
    good(&query, &[], "query");
    for data in ["anyone", "own", "key", "query"] {
        stream.expect_data(data);
    }
    let ndjson = "content-type: application/x-ndjson";
    good(
        "/events",
        &[&seven, ndjson],
        "{\"topic\":\"extra\",\"data\":1}\n{\"topics\":[\"wall/b\",\"extra\"],\"data\":2}",
    );
    good("/events/chat/7", &[&seven], "chat");
    // The same with a key comes back, and is not published again.
    let keyed = publish(&server, "/events/extra", &[&seven, "idempotency-key: k"], "x");
    let again = publish(&server, "/events/extra", &[&seven, "idempotency-key: k"], "x");
    assert_eq!((keyed.status(), again.json()["duplicate"].as_bool()), (200, Some(true)));
    assert_eq!(keyed.json()["id"], again.json()["id"]);

    let scope = "Bearer error=\"insufficient_scope\"";
    check(&server, "/events/other", &[], "x", 401, "topic", "Bearer");
    check(&server, "/events/other", &[&seven], "x", 403, "topic", scope);
    check(&server, "/events/chat/8", &[&seven], "x", 403, "topic", scope);
    check(
        &server,
        "/events/wall",
        &["authorization: Bearer a-key-of-some-lengtH"],
        "x",
        401,
        "authorization",
        "Bearer error=\"invalid_token\"",
    );
    // All or nothing.
    check(
        &server,
        "/events",
        &[&seven, ndjson],
        "{\"topic\":\"extra\",\"data\":1}\n{\"topics\":[\"extra\",\"other\"],\"data\":2}",
        403,
        "topic",
        scope,
    );
    for data in ["1", "2", "x"] {
        stream.expect_data(data);
    }
    assert_eq!(server.metrics().get("sluicegate_publish_rejected_total{reason=\"forbidden\"}"), 3.0);
    assert_eq!(server.metrics().get("sluicegate_publish_rejected_total{reason=\"unauthorized\"}"), 2.0);
    // A key that is a token has no grants of streams but its own.
    check_refused(&server, "/events/chat/7", &["authorization: Bearer a-key-of-some-length"], 403, "topic", scope);
}

#[test]
fn who_may_publish_nothing_sends_no_body() {
    let server = Server::start(HS256);
    for (fields, status) in [("", 401), ("authorization: Bearer TOKEN\r\n", 403)] {
        let mut conversation = server.connect();
        let fields = fields.replace("TOKEN", &token(json!({})));
        conversation.send(format!(
            "POST /events HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n{fields}\r\n"
        ));
        assert_eq!(conversation.response().status(), status);
    }
    // Without keys and rules, publishing is where it was.
    let server = Server::start("");
    let response = publish(&server, "/events/a", &[], "x");
    assert_eq!((response.status(), response.json()["reason"].as_str()), (403, Some("forbidden")));
}

#[test]
fn pages_may_publish_where_they_may_read() {
    let server = Server::start(&format!("{HS256}[cors]\norigins = [\"https://a.example\"]\n"));
    let own = bearer(&token(json!({"sluicegate": {"publish": ["a"]}})));
    let mut conversation = server.connect();
    conversation.send(
        "OPTIONS /events/a HTTP/1.1\r\nhost: h\r\norigin: https://a.example\r\naccess-control-request-method: POST\r\n\
         access-control-request-headers: authorization\r\n\r\n",
    );
    let head = conversation.head();
    assert_eq!(head.field("access-control-allow-methods"), Some("GET, HEAD, POST, OPTIONS"));
    assert_eq!(head.field("access-control-allow-headers"), Some("authorization"));
    let response = publish(&server, "/events/a", &[&own, "origin: https://a.example"], "x");
    assert_eq!(
        (response.status(), response.head.field("access-control-allow-origin")),
        (200, Some("https://a.example"))
    );
    let response = publish(&server, "/events/a", &[&own, "origin: https://b.example"], "x");
    assert_eq!((response.status(), response.head.field("access-control-allow-origin")), (200, None));
}

#[test]
fn the_control_listener_may_ask_for_a_key() {
    let server = Launch::config("admin = true\n[auth]\ncontrol_key = \"a-key-of-some-length\"\n").start();
    let ask = |request: String| {
        let mut conversation = Conversation::to(server.control());
        conversation.send(request);
        conversation.response()
    };
    let publish =
        |fields: &str| ask(format!("POST /events/a HTTP/1.1\r\nhost: h\r\n{fields}content-length: 1\r\n\r\nx"));
    let key = "authorization: Bearer a-key-of-some-length\r\n";
    assert_eq!(publish(key).status(), 200);
    assert_eq!(ask(format!("GET /admin/streams HTTP/1.1\r\nhost: h\r\n{key}\r\n")).status(), 200);
    let refused = publish("");
    assert_eq!((refused.status(), refused.head.field("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(publish("authorization: Bearer a-key-of-some-lengtH\r\n").status(), 401);
    assert_eq!(publish("authorization: Bearer\r\n").status(), 400);
    assert_eq!(ask("GET /admin/streams HTTP/1.1\r\nhost: h\r\n\r\n".to_owned()).status(), 401);
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(format!("GET {open} HTTP/1.1\r\nhost: h\r\n\r\n")).status(), 200, "{open}");
    }
    // Beyond loopback that is worth a warning no more.
    let warned = |config: &str| {
        let server = Launch::config(config)
            .own_addresses()
            .argument("--listen=127.0.0.1:0")
            .argument("--control=0.0.0.0:0")
            .start();
        server.log("whoever reaches the control listener may publish: it is not on loopback").is_some()
    };
    assert!(warned("") && !warned("[auth]\ncontrol_key = \"a-key-of-some-length\"\n"));
}
