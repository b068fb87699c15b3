//! Revocation: streams end, and their tokens are refused.

use std::time::Duration;

use serde_json::json;

use super::{HS256, ask, bearer, check_opens, check_refused, now_s, token};
use crate::support::{Conversation, Item, Launch, Server, within};

const INVALID: &str = "Bearer error=\"invalid_token\"";
const RULE: &str = "[[rule]]\ntopics = [\"**\"]\nsubscribe = \"token\"\npublish = \"token\"\n";

/// What the control listener says to this.
fn revoke(server: &Server, body: &str) -> (u16, serde_json::Value) {
    let response = server.publisher().post("/admin/revoke", &[], body);
    (response.status(), response.json())
}

/// Whether a stream ends properly, without an event.
fn ends(stream: &mut Conversation) -> bool {
    loop {
        match stream.item() {
            None => return true,
            Some(Item::Event(_)) => return false,
            Some(_) => {}
        }
    }
}

#[test]
fn a_token_is_refused_by_its_id_its_account_or_its_age() {
    let server = Server::start(&format!("{HS256}{RULE}"));
    let make = |sub: &str, jti: &str, iat: u64| bearer(&token(json!({"sub": sub, "jti": jti, "iat": iat})));
    let (one, two, other) = (make("a", "1", now_s()), make("a", "2", now_s()), make("b", "3", now_s()));
    let open = |fields: &str| {
        let (head, mut stream) = ask(&server, "/events/x", &[fields]);
        assert_eq!(head.status, 200, "{}", head.text);
        stream.beginning();
        stream.mark();
        stream
    };
    let mut streams = [&one, &two, &other].map(|fields| open(fields));
    assert_eq!(revoke(&server, "{\"jti\":\"1\"}").0, 200);
    assert!(ends(&mut streams[0]));
    check_refused(&server, "/events/x", &[&one], 401, "authorization", INVALID);
    check_opens(&server, "/events/x", &[&two]);
    assert_eq!(revoke(&server, "{\"sub\":\"a\"}").0, 200);
    assert!(ends(&mut streams[1]));
    check_refused(&server, "/events/x", &[&two], 401, "authorization", INVALID);
    // Whoever signs in again has a token of another time.
    check_opens(&server, "/events/x", &[&make("a", "4", now_s() + 2)]);
    server.publish("x", "still");
    streams[2].expect_data("still");
    let (status, said) = revoke(&server, &format!("{{\"iat_before\":{}}}", now_s() + 1));
    assert_eq!(status, 200);
    assert!(said["remembered_until"].as_u64().unwrap() > now_s() + 6 * 86_400);
    assert!(ends(&mut streams[2]));
    check_refused(&server, "/events/x", &[&other], 401, "authorization", INVALID);
    check_refused(&server, "/events/x", &[&bearer(&token(json!({"sub": "z"})))], 401, "authorization", INVALID);
    // Nor may they publish.
    let mut conversation = server.connect();
    conversation.send(crate::support::publish::post("/events/x", &[&other], "y"));
    assert_eq!(conversation.response().status(), 401);
    let closed =
        |reason: &str| server.metrics().get(&format!("sluicegate_streams_closed_total{{reason=\"{reason}\"}}"));
    assert!(within(Duration::from_secs(5), || closed("token_revoked") >= 3.0), "{}", closed("token_revoked"));
}

#[test]
fn what_can_not_be_revoked_is_refused_with_its_field() {
    let server = Launch::config(
        "[auth]
control_key = \"a-key-of-some-length\"
",
    )
    .start();
    assert_eq!(revoke(&server, "{\"jti\":\"1\"}").0, 401);
    let server = Server::start(HS256);
    for (body, field) in [
        ("", "body"),
        ("{}", "body"),
        ("[]", "body"),
        ("{\"jti\":1}", "body"),
        ("{\"jti\":\"1\",\"sub\":\"2\"}", "body"),
        ("{\"who\":\"1\"}", "body"),
        ("{\"jti\":\"\"}", "jti"),
        ("{\"sub\":\"\"}", "sub"),
        ("{\"iat_before\":-1}", "body"),
        (&format!("{{\"sub\":\"{}\"}}", "x".repeat(256)), "sub"),
    ] {
        let (status, document) = revoke(&server, body);
        assert_eq!((status, document["field"].as_str()), (400, Some(field)), "{body}");
    }
    assert_eq!(revoke(&server, &format!("{{\"jti\":\"{}\"}}", "x".repeat(5000))).0, 413);
    let mut conversation = server.connect_control();
    conversation.send("GET /admin/revoke HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(conversation.response().status(), 405);
    let mut conversation = server.connect();
    conversation.send(crate::support::publish::post("/admin/revoke", &[], "{\"jti\":\"1\"}"));
    assert_eq!(conversation.response().status(), 404);
}
