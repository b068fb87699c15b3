//! Who may subscribe, who may publish, and who may know: tokens, rules, private events.

mod private;
mod publishing;
mod revoking;
mod rules;
mod tickets;
mod tokens;

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::{Conversation, Head, Response, Server};

/// A secret of 32 bytes and more.
const SECRET: &str = "a-secret-for-tests-that-is-long-enough";

/// `[[auth.jwt]]` with that secret.
const HS256: &str = "[[auth.jwt]]\nalgorithm = \"HS256\"\nkey = \"a-secret-for-tests-that-is-long-enough\"\n";

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token with these claims, which ends in an hour if they do not say when.
fn token(mut claims: Value) -> String {
    let map = claims.as_object_mut().expect("an object");
    map.entry("exp").or_insert_with(|| json!(now_s() + 3600));
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A header line with a token.
fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

/// Asks for a stream, and reads the head of the answer.
#[track_caller]
fn ask(server: &Server, target: &str, fields: &[&str]) -> (Head, Conversation) {
    let mut conversation = server.connect();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    conversation.send(format!("GET {target} HTTP/1.1\r\nhost: h\r\n{fields}\r\n"));
    (conversation.head(), conversation)
}

/// Opens a stream, and reads what it begins with.
#[track_caller]
fn open(server: &Server, target: &str, fields: &[&str]) -> Conversation {
    let (head, mut stream) = ask(server, target, fields);
    assert_eq!(head.status, 200, "{}", head.text);
    stream.beginning();
    stream
}

/// A stream is refused with this status, field and challenge.
#[track_caller]
fn check_refused(
    server: &Server,
    target: &str,
    fields: &[&str],
    status: u16,
    field: &str,
    challenge: &str,
) -> Response {
    let mut conversation = server.connect();
    let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    conversation.send(format!("GET {target} HTTP/1.1\r\nhost: h\r\n{lines}\r\n"));
    let response = conversation.response();
    assert_eq!(response.status(), status, "{target} {fields:?}: {}", response.body);
    assert_eq!(response.json()["field"], field, "{target} {fields:?}: {}", response.body);
    assert_eq!(response.head.field("www-authenticate").unwrap_or_default(), challenge, "{target} {fields:?}");
    response
}

/// A stream opens.
#[track_caller]
fn check_opens(server: &Server, target: &str, fields: &[&str]) {
    let (head, _) = ask(server, target, fields);
    assert_eq!(head.status, 200, "{target} {fields:?}");
}
