//! Tickets: what opens one client's stream in the place of a token.

use std::time::Duration;

use serde_json::json;

use super::{HS256, ask, bearer, check_refused, now_s, open, token};
use crate::support::publish::post;
use crate::support::{Response, Server, within};

const INVALID: &str = "Bearer error=\"invalid_token\"";
const RULE: &str = "[[rule]]\ntopics = [\"users/{sub}/**\"]\nsubscribe = \"token\"\n";
const AGENT: &str = "user-agent: a browser";

fn asks(server: &Server, fields: &[&str]) -> Response {
    let mut conversation = server.connect();
    conversation.send(post("/tickets", fields, ""));
    conversation.response()
}

#[track_caller]
fn ticket(server: &Server, token: &str) -> String {
    let response = asks(server, &[&bearer(token)]);
    assert_eq!(response.status(), 200, "{}", response.body);
    assert_eq!(response.json()["expires_in"], 30);
    assert_eq!(response.head.field("cache-control"), Some("no-store"));
    response.json()["ticket"].as_str().unwrap().to_owned()
}

#[test]
fn a_ticket_opens_a_stream_and_goes_on_over_its_reconnects() {
    let server = Server::start(&format!("{HS256}{RULE}"));
    let token = token(json!({"sub": "7"}));
    let target = format!("/events/users/7/x?ticket={}", ticket(&server, &token));
    let mut first = open(&server, &target, &[AGENT]);
    first.mark();
    let mut publisher = server.publisher();
    publisher.publish("users/7/x?private=1", "one");
    let id = first.expect_data("one").id;
    // A second client: without an id, or another one.
    for fields in [&[AGENT][..], &[], &["user-agent: another", &format!("last-event-id: {id}")]] {
        check_refused(&server, &target, fields, 401, "ticket", INVALID);
    }
    publisher.publish("users/7/x", "two");
    let resumed = format!("last-event-id: {id}");
    let mut second = open(&server, &target, &[AGENT, &resumed]);
    second.expect_data("two");
    // One at a time.
    first.expect_data("two");
    assert!(first.next_event().is_none(), "the first has ended");
    assert!(within(Duration::from_secs(5), || {
        server.metrics().get("sluicegate_streams_closed_total{reason=\"superseded\"}") == 1.0
    }));
    publisher.publish("users/7/x", "three");
    second.expect_data("three");
    // A revoked token's ticket is none.
    assert_eq!(server.publisher().post("/admin/revoke", &[], "{\"sub\":\"7\"}").status(), 200);
    assert!(second.next_event().is_none());
    check_refused(&server, &target, &[AGENT, &resumed], 401, "ticket", INVALID);
}

#[test]
fn a_ticket_ends_with_its_token_and_grants_no_more() {
    let server = Server::start(&format!("[auth]\nleeway = \"0s\"\n{HS256}{RULE}"));
    let short = ticket(&server, &token(json!({"sub": "7", "exp": now_s() + 2})));
    let good = ticket(&server, &token(json!({"sub": "7"})));
    check_refused(
        &server,
        &format!("/events/users/8/x?ticket={good}"),
        &[],
        403,
        "topic",
        "Bearer error=\"insufficient_scope\"",
    );
    assert!(within(Duration::from_secs(10), || ask(&server, &format!("/events/a?ticket={short}"), &[]).0.status == 401));
}

#[test]
fn what_is_no_ticket_is_refused() {
    let server = Server::start(&format!("{HS256}{RULE}"));
    let token = token(json!({"sub": "7"}));
    let ticket = ticket(&server, &token);
    let mut guess = ticket.clone();
    let last = guess.pop().unwrap();
    guess.push(if last == '0' { '1' } else { '0' });
    for bad in ["", "x", &guess, &ticket.to_uppercase(), &token, &"0".repeat(9000)[..8000]] {
        check_refused(&server, &format!("/events/a?ticket={bad}"), &[], 401, "ticket", INVALID);
    }
    let malformed = "Bearer error=\"invalid_request\"";
    check_refused(&server, &format!("/events/a?ticket={ticket}&ticket={ticket}"), &[], 400, "ticket", malformed);
    check_refused(&server, &format!("/events/a?ticket={ticket}"), &[&bearer(&token)], 400, "ticket", malformed);
    // Who has no token gets none, and a ticket is no token.
    let refused = asks(&server, &[]);
    assert_eq!((refused.status(), refused.head.field("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(asks(&server, &[&bearer("x")]).status(), 401);
    let mut conversation = server.connect();
    conversation.send(post(&format!("/tickets?ticket={ticket}"), &[], ""));
    assert_eq!(conversation.response().status(), 401);
    let mut conversation = server.connect();
    conversation.send("GET /tickets HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(conversation.response().status(), 405);
    // Where there are no tokens, there is nothing.
    let server = Server::start("");
    assert_eq!(asks(&server, &[]).status(), 404);
}
