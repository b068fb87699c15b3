//! Tokens: who signed them, for whom, until when, and where they stand in a request.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
use serde_json::json;

use super::{HS256, SECRET, ask, bearer, check_opens, check_refused, now_s, token};
use crate::support::{Item, Launch, Server, run, within};

const INVALID: &str = "Bearer error=\"invalid_token\"";
const MALFORMED: &str = "Bearer error=\"invalid_request\"";

/// Only who has a token may subscribe.
const RULE: &str = "[[rule]]\ntopics = [\"**\"]\nsubscribe = \"token\"\n";

#[test]
fn a_token_is_signed_for_us_and_in_its_time() {
    let own = "[[auth.jwt]]\nalgorithm = \"HS256\"\nkey = \"a-secret-for-tests-that-is-long-enough\"\n\
               issuer = \"https://issuer\"\naudience = \"us\"\n";
    let server = Server::start(&format!("[auth]\nleeway = \"10s\"\n{own}{RULE}"));
    let good = json!({"iss": "https://issuer", "aud": ["others", "us"], "exp": now_s() + 60, "nbf": now_s()});
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        bearer(&token(claims))
    };
    check_opens(&server, "/events/a", &[&bearer(&token(good.clone()))]);
    check_opens(&server, "/events/a", &[&with("aud", json!("us"))]);
    // Within the leeway.
    check_opens(&server, "/events/a", &[&with("exp", json!(now_s() - 5))]);
    check_opens(&server, "/events/a", &[&with("nbf", json!(now_s() + 5))]);
    for (name, value) in [
        ("exp", json!(now_s() - 20)),
        ("exp", json!("never")),
        ("exp", json!(null)),
        ("exp", json!(-1)),
        ("nbf", json!(now_s() + 20)),
        ("nbf", json!("now")),
        ("iss", json!("https://issuer/")),
        ("iss", json!(null)),
        ("aud", json!("them")),
        ("aud", json!([])),
        ("aud", json!(null)),
        ("sluicegate", json!({"subscribe": "**"})),
        ("sluicegate", json!({"subscribe": ["a*"]})),
    ] {
        check_refused(&server, "/events/a", &[&with(name, value.clone())], 401, "authorization", INVALID);
    }
    let counted = |result: &str| server.metrics().get(&format!("sluicegate_tokens_total{{result=\"{result}\"}}"));
    assert_eq!((counted("refused"), counted("verified"), counted("remembered")), (13.0, 4.0, 0.0));
}

#[test]
fn a_token_is_remembered_no_longer_than_it_is_good() {
    let server = Server::start(&format!("[auth]\nleeway = \"0s\"\n{HS256}{RULE}"));
    let short = bearer(&token(json!({"exp": now_s() + 2})));
    check_opens(&server, "/events/a", &[&short]);
    check_opens(&server, "/events/a", &[&short]);
    assert_eq!(server.metrics().get("sluicegate_tokens_total{result=\"remembered\"}"), 1.0);
    assert!(within(Duration::from_secs(10), || ask(&server, "/events/a", &[&short]).0.status == 401));
    check_refused(&server, "/events/a", &[&short], 401, "authorization", INVALID);
}

#[test]
fn every_algorithm_is_bound_to_its_key() {
    let pairs = [
        (Algorithm::ES256, KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()),
        (Algorithm::ES384, KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()),
        (Algorithm::EdDSA, KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()),
        (Algorithm::RS256, KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()),
        (Algorithm::PS512, KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut config = format!("{HS256}{RULE}");
    for (at, (algorithm, pair)) in pairs.iter().enumerate() {
        let file = folder.path().join(format!("{at}.pem"));
        std::fs::write(&file, format!("{}\n", pair.public_key_pem())).unwrap();
        config += &format!(
            "[[auth.jwt]]\nalgorithm = \"{algorithm:?}\"\nkid = \"k{at}\"\nkey = \"file:{}\"\n",
            file.display()
        );
    }
    let server = Server::start(&config);
    let claims = json!({"exp": now_s() + 60});
    let sign = |algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        bearer(&encode(&header, &claims, key).unwrap())
    };
    let signing = |algorithm: Algorithm, pem: &str| match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
        _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
    };
    for (at, (algorithm, pair)) in pairs.iter().enumerate() {
        let key = signing(*algorithm, &pair.serialize_pem()).unwrap();
        check_opens(&server, "/events/a", &[&sign(*algorithm, Some(&format!("k{at}")), &key)]);
        let refuse = |token: &str| check_refused(&server, "/events/a", &[token], 401, "authorization", INVALID);
        refuse(&sign(*algorithm, Some("another"), &key));
        refuse(&sign(*algorithm, None, &key));
        // The public key as a secret: in PEM, and bare.
        for secret in [
            pair.public_key_pem().into_bytes(),
            pair.subject_public_key_info(),
            rcgen::PublicKeyData::der_bytes(pair).to_vec(),
        ] {
            refuse(&sign(Algorithm::HS256, Some(&format!("k{at}")), &EncodingKey::from_secret(&secret)));
        }
    }
    // One key, another algorithm of its family.
    let rsa = signing(Algorithm::RS256, &pairs[3].1.serialize_pem()).unwrap();
    for algorithm in [Algorithm::RS512, Algorithm::PS256] {
        check_refused(&server, "/events/a", &[&sign(algorithm, Some("k3"), &rsa)], 401, "authorization", INVALID);
    }
    let hs = EncodingKey::from_secret(SECRET.as_bytes());
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        check_refused(&server, "/events/a", &[&sign(algorithm, None, &hs)], 401, "authorization", INVALID);
    }
}

#[test]
fn what_is_no_token_is_refused_whatever_it_is() {
    let server = Server::start(&format!("{HS256}{RULE}"));
    let good = token(json!({"sub": "a"}));
    let mut parts = good.split('.');
    let (head, body, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    // {"alg":"none"}
    let none = "eyJhbGciOiJub25lIn0";
    for bad in [
        "x".to_owned(),
        "..".to_owned(),
        format!("{head}.{body}"),
        format!("{head}.{body}."),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{head}.{body}.{signature}.{signature}"),
        format!("{head}.{body}.{}", signature.chars().rev().collect::<String>()),
        format!("{head}.e30.{signature}"),
        "a".repeat(8 * 1024),
        "a".repeat(8 * 1024 + 1),
        token(json!({"sub": "x".repeat(6 * 1024)})),
    ] {
        check_refused(&server, "/events/a", &[&bearer(&bad)], 401, "authorization", INVALID);
    }
    check_opens(&server, "/events/a", &[&bearer(&good)]);
    // No head has room for it.
    let mut conversation = server.connect();
    conversation
        .send(format!("GET /events/a HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\n\r\n", "a".repeat(16 * 1024)));
    assert_eq!(conversation.head().status, 431);
    check_refused(&server, "/events/a", &[], 401, "topic", "Bearer");
}

#[test]
fn a_token_stands_in_one_place() {
    let server = Server::start(&format!(
        "[auth]\ncookie = \"session\"\nquery = true\n{HS256}{RULE}[cors]\norigins = [\"https://a.example\"]\n"
    ));
    let token = token(json!({"sub": "a"}));
    let (header, cookie, query) =
        (bearer(&token), format!("cookie: x=y; session={token}"), format!("/events/a?access_token={token}"));
    let origin = "origin: https://a.example";
    check_opens(&server, "/events/a", &[&header]);
    check_opens(&server, "/events/a", &[&cookie, origin]);
    check_opens(&server, &query, &[]);
    check_refused(&server, "/events/a", &[&cookie, "origin: https://b.example"], 403, "origin", "");
    check_refused(&server, "/events/a", &[&cookie, "referer: https://b.example/"], 403, "referer", "");
    check_refused(&server, "/events/a", &[&header, &cookie, origin], 400, "authorization", MALFORMED);
    check_refused(&server, &query, &[&header], 400, "authorization", MALFORMED);
    check_refused(&server, &query, &[&cookie, origin], 400, "cookie", MALFORMED);
    check_refused(&server, "/events/a", &[&header, &header], 400, "authorization", MALFORMED);
    // It is in no log line.
    assert!(within(Duration::from_secs(5), || !server.lines().is_empty()));
    let said = server.lines().join("\n");
    assert!(!said.contains(&token[..40]) && !said.contains(SECRET), "{said}");

    let server = Server::start(&format!("{HS256}{RULE}"));
    check_refused(&server, &query, &[], 400, "access_token", MALFORMED);
    check_refused(&server, "/events/a", &[&cookie, origin], 401, "topic", "Bearer");
}

#[test]
fn without_rules_and_keys_nothing_is_a_token() {
    let server = Server::start("");
    check_opens(&server, "/events/a?access_token=x", &["authorization: Bearer x"]);
}

#[test]
fn a_stream_ends_with_its_token() {
    let server = Server::start(&format!("[auth]\nleeway = \"0s\"\n{HS256}{RULE}"));
    let (head, mut stream) = ask(&server, "/events/a", &[&bearer(&token(json!({"exp": now_s() + 2})))]);
    assert_eq!(head.status, 200);
    // A proper end, so that a browser comes back.
    while let Some(item) = stream.item() {
        assert!(!matches!(item, Item::Event(_)), "{item:?}");
    }
    assert!(within(Duration::from_secs(5), || {
        server.metrics().get("sluicegate_streams_closed_total{reason=\"token_expired\"}") == 1.0
    }));
}

#[test]
fn a_refusal_may_be_an_event() {
    let server = Server::start(&format!("[auth]\ndenied = \"event\"\n{HS256}{RULE}"));
    let event_stream = "accept: text/event-stream";
    for (fields, status) in [(vec![event_stream], 401), (vec![event_stream, "authorization: Bearer x"], 401)] {
        let mut conversation = server.connect();
        let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        conversation.send(format!("GET /events/a HTTP/1.1\r\nhost: h\r\n{lines}\r\n"));
        let response = conversation.response();
        assert_eq!(response.status(), 200);
        assert_eq!(response.head.field("content-type"), Some("text/event-stream"));
        let (retry, event) = response.body.split_once("event: denied\ndata: ").unwrap();
        assert!(retry.starts_with("retry: "), "{retry}");
        let document: serde_json::Value = serde_json::from_str(event.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!(document["status"], status);
    }
    // Who asks for something else gets the status, and what is wrong with the request is no refusal.
    check_refused(&server, "/events/a", &[], 401, "topic", "Bearer");
    check_refused(
        &server,
        "/events/a?max_events=0",
        &[event_stream, &bearer(&token(json!({})))],
        400,
        "max_events",
        "",
    );
}

#[test]
fn keys_come_from_where_they_are_and_are_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    for key in [format!("file:{}", file.display()), "env:THE_KEY".to_owned(), SECRET.to_owned()] {
        let config = format!("[[auth.jwt]]\nalgorithm = \"HS256\"\nkey = \"{key}\"\n{RULE}");
        let server = Launch::config(&config).variable("THE_KEY", SECRET).start();
        check_opens(&server, "/events/a", &[&bearer(&token(json!({})))]);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let said = |config: &str, task: &str| {
        std::fs::write(file.path(), config).unwrap();
        let output = run(&["config", task, "--config", file.path().to_str().unwrap()], &[]);
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (good, printed) = said(HS256, "print");
    assert!(good && printed.contains("key = \"hidden\"") && !printed.contains(SECRET), "{printed}");
    for (key, expected) in [
        ("algorithm = \"HS256\"\nkey = \"short\"", "auth.jwt 1: has 5 bytes, HS256 needs 32 at least"),
        ("algorithm = \"HS512\"\nkey = \"a-secret-for-tests-that-is-long-enough\"", "HS512 needs 64 at least"),
        ("algorithm = \"HS256\"\nkey = \"hidden\"", "`config print` shows in the place of a secret"),
        ("algorithm = \"HS256\"\nkey = \"file:/nowhere\"", "auth.jwt 1: cannot read /nowhere"),
        ("algorithm = \"HS256\"\nkey = \"env:NOT_SET_ANYWHERE\"", "the variable NOT_SET_ANYWHERE is not set"),
        ("algorithm = \"HS256\"\nkey = \"-----BEGIN PUBLIC KEY-----\\nabcdefghijklmnopqrstuvwxyz\"", "key in PEM"),
        ("algorithm = \"ES256\"\nkey = \"no pem\"", "is no public key in PEM for ES256"),
        ("algorithm = \"none\"\nkey = \"x\"", "unknown variant `none`"),
    ] {
        let (good, text) = said(&format!("[[auth.jwt]]\n{key}\n"), "check");
        assert!(!good && text.contains(expected), "{key}: {text}");
    }
}

#[test]
fn keys_change_while_the_gateway_runs() {
    let server = Server::start(&format!("{HS256}{RULE}"));
    let old = bearer(&token(json!({})));
    check_opens(&server, "/events/a", &[&old]);
    let another = HS256.replace(SECRET, "another-secret-that-is-as-long-as-it-must");
    let refused = server.reload(&format!("{}{RULE}", HS256.replace(SECRET, "short")));
    assert_eq!(refused["level"], "ERROR");
    check_opens(&server, "/events/a", &[&old]);
    server.reload(&format!("{another}{RULE}"));
    check_refused(&server, "/events/a", &[&old], 401, "authorization", INVALID);
    server.reload("");
    check_opens(&server, "/events/a", &[]);
}
