//! A connection, and a client that hides nothing.
#![cfg(test)]

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::corrections::hypers_own;
use super::*;
use crate::hub::stream::{Sent, Socket};
use crate::net::clock::Clock;
use crate::net::problem::Refusal;
use crate::net::response::into_bytes;
use crate::net::slots::Slots;
use crate::ops::metrics::{Gauges, Listener, Metrics, ShardCells};

const LIMITS: ConnectionLimits =
    ConnectionLimits { head_bytes: 8192, head_deadline: Duration::from_millis(300), idle: Duration::from_millis(600) };

/// What came of one connection.
struct Outcome {
    handed_off: Option<HandedOff<String>>,
    refused: Option<Refusal>,
    seen: Vec<String>,
}

/// Serves one connection while `client` talks to it. `GET /events…` is handed off, `POST /early`
/// is answered with 8 MB before its body is read, `/slow` takes 100 ms.
fn with_client<C, F, R>(limits: ConnectionLimits, client: C) -> (Outcome, R)
where
    C: FnOnce(TcpStream, CancellationToken) -> F,
    F: Future<Output = R>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (inner, _) = listener.accept().await.unwrap();
        let shutdown = CancellationToken::new();
        let (seen, refused) = (RefCell::new(Vec::new()), Cell::new(None));
        let handler = async |parts: Parts, body: &mut RequestBody| {
            let path = parts.uri.path().to_owned();
            seen.borrow_mut().push(path.clone());
            match path.as_str() {
                "/slow" => tokio::time::sleep(Duration::from_millis(100)).await,
                "/early" => return Answer::Respond(Response::new(vec![b'x'; 8_000_000].into())),
                "/asks" => {
                    let _ = http_body_util::BodyExt::collect(body).await;
                    return Answer::HandOff(path);
                }
                path if path.starts_with("/events") && parts.method == Method::GET => {
                    return Answer::HandOff(path.to_owned());
                }
                _ => {}
            }
            Answer::Respond(Response::new(Bytes::from(path).into()))
        };
        let metrics = Arc::new(Metrics::new(ShardCells::for_shards(1), Gauges::default()));
        let slot = Slots::new(Listener::Public, 1, metrics, Clock::start()).take().await;
        let refuse = |problem: Problem| {
            refused.set(Some(problem.reason()));
            into_bytes(problem.into_response(), "")
        };
        let serve = serve(inner, &limits, &slot, &shutdown, handler, refuse);
        let both = async { tokio::join!(serve, client(outer, shutdown.clone())) };
        let (handed_off, result) = tokio::time::timeout(Duration::from_secs(10), both).await.expect("hangs");
        (Outcome { handed_off, refused: refused.get(), seen: seen.into_inner() }, result)
    })
}

async fn read_to_end(mut socket: impl AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    socket.read_to_end(&mut text).await.expect("a clean end, no reset");
    String::from_utf8(text).unwrap()
}

async fn say(socket: &mut (impl AsyncWrite + Unpin), text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
}

/// Sends `sent` as a whole and reads to the end.
fn exchange(sent: &str) -> (Outcome, String) {
    with_client(LIMITS, async |mut socket, _| {
        say(&mut socket, sent).await;
        read_to_end(socket).await
    })
}

/// The one answer is a problem document with this status.
#[track_caller]
fn check_refused(sent: &str, status: StatusCode, reason: Refusal) {
    let (outcome, answer) = exchange(sent);
    check_problem(&answer, status, reason);
    assert_eq!(outcome.refused, Some(reason));
    assert!(outcome.seen.is_empty());
}

#[track_caller]
fn check_problem(answer: &str, status: StatusCode, reason: Refusal) {
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", status.as_str())), "{answer}");
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    assert!(head.contains("connection: close"), "{answer}");
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["status"], status.as_u16());
    assert_eq!(document["reason"], reason.as_ref());
}

/// The socket was handed off, and what is written to it is the first thing the client reads.
#[track_caller]
fn check_handed_off(sent: &str, read_ahead: usize) {
    let (outcome, mut client) = with_client(LIMITS, async |mut socket, _| {
        say(&mut socket, sent).await;
        socket.into_std().unwrap()
    });
    let handed_off = outcome.handed_off.expect("handed off");
    assert_eq!(handed_off.with, "/events/a");
    assert_eq!(handed_off.read_ahead, read_ahead);
    let Handover::Plain(mut wire) = handed_off.socket else { panic!("another kind of socket") };
    let fd = std::os::fd::AsFd::as_fd(&wire);
    assert!(rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    assert_eq!(wire.send(b"stream"), Sent::Wrote(6));
    drop(wire);
    client.set_nonblocking(false).unwrap();
    let mut text = String::new();
    io::Read::read_to_string(&mut client, &mut text).unwrap();
    assert_eq!(text, "stream");
}

#[test]
fn a_subscription_is_handed_off() {
    check_handed_off("GET /events/a HTTP/1.1\r\nhost: h\r\n\r\n", 0);
    check_handed_off("GET /events/a HTTP/1.0\r\n\r\n", 0);
    check_handed_off("GET /events/a HTTP/1.1\r\nconnection: close\r\n\r\n", 0);
}

#[test]
fn pipelined_bytes_are_counted_and_dropped() {
    let next = "GET /next HTTP/1.1\r\n\r\n";
    check_handed_off(&format!("GET /events/a HTTP/1.1\r\n\r\n{next}"), next.len());
}

#[test]
fn a_subscriptions_body_is_ignored() {
    check_handed_off("GET /events/a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello", 0);
    check_handed_off("GET /events/a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\n", 0);
}

#[test]
fn expect_gets_no_continue_before_a_stream() {
    check_handed_off("GET /events/a HTTP/1.1\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n", 0);
    check_handed_off("GET /events/a HTTP/1.1\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nhello", 5);
    check_handed_off("GET /events/a HTTP/1.1\r\nexpect: 100-continue\r\n\r\n", 0);
}

#[test]
fn a_continue_that_was_asked_for_goes_out_before_the_hand_off() {
    let (outcome, client) = with_client(LIMITS, async |mut socket, _| {
        say(&mut socket, "PUT /asks HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
        let mut read = [0; 25];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"HTTP/1.1 100 Continue\r\n\r\n");
        say(&mut socket, "ok").await;
        socket
    });
    assert!(outcome.handed_off.is_some());
    drop(client);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let (outcome, ()) = with_client(LIMITS, async |mut socket, _| {
        for byte in "\r\nGET /events/a HTTP/1.1\r\nhost: h\r\n\r\n".chars() {
            say(&mut socket, byte.encode_utf8(&mut [0; 4])).await;
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        std::mem::forget(socket.into_std());
    });
    assert_eq!(outcome.handed_off.unwrap().with, "/events/a");
}

#[test]
fn a_connection_is_kept_alive_until_its_hand_off() {
    let (outcome, answers) = with_client(LIMITS, async |mut socket, _| {
        let mut answers = String::new();
        for path in ["/one", "/two"] {
            say(&mut socket, &format!("GET {path} HTTP/1.1\r\n\r\n")).await;
            let mut buf = [0; 1000];
            let n = socket.read(&mut buf).await.unwrap();
            answers.push_str(std::str::from_utf8(&buf[..n]).unwrap());
        }
        say(&mut socket, "GET /events/a HTTP/1.1\r\n\r\n").await;
        answers
    });
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(outcome.seen, ["/one", "/two", "/events/a"]);
    assert_eq!(outcome.handed_off.unwrap().read_ahead, 0);
}

#[test]
fn pipelined_requests_are_answered_before_the_hand_off() {
    let (outcome, mut client) = with_client(LIMITS, async |mut socket, _| {
        say(&mut socket, "GET /one HTTP/1.1\r\n\r\nGET /two HTTP/1.1\r\n\r\nGET /events/a HTTP/1.1\r\n\r\n").await;
        socket.into_std().unwrap()
    });
    assert_eq!(outcome.seen, ["/one", "/two", "/events/a"]);
    drop(outcome);
    client.set_nonblocking(false).unwrap();
    let mut text = String::new();
    io::Read::read_to_string(&mut client, &mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(text.ends_with("/two"), "{text}");
}

#[test]
fn an_answer_that_is_read_late_is_whole_before_the_hand_off() {
    let requests = "POST /early HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
        GET /events/a HTTP/1.1\r\n\r\n";
    let start = Instant::now();
    let (outcome, read) = with_client(LIMITS, async |mut socket, _| {
        say(&mut socket, requests).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut read = vec![0; 8_000_000];
        socket.read_exact(&mut read).await.unwrap();
        (read, socket)
    });
    assert!(start.elapsed() < Duration::from_secs(5), "the second request was forgotten");
    assert!(read.0.starts_with(b"HTTP/1.1 200 OK"));
    let head = memchr::memmem::find(&read.0, b"\r\n\r\n").unwrap() + 4;
    drop(outcome.handed_off.expect("handed off"));
    let mut rest = read.1.into_std().unwrap();
    rest.set_nonblocking(false).unwrap();
    let mut tail = Vec::new();
    io::Read::read_to_end(&mut rest, &mut tail).unwrap();
    assert_eq!(tail.len(), head, "the answer is whole and nothing follows");
}

#[test]
fn heads_that_cant_be_read_get_a_document() {
    for garbage in [
        "garbage\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/3.7\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
    ] {
        check_refused(garbage, StatusCode::BAD_REQUEST, Refusal::BadHead);
    }
    check_refused(
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0",
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Refusal::HttpVersion,
    );
}

#[test]
fn heads_that_are_too_long_get_a_document() {
    let field = format!("x-long: {}\r\n", "x".repeat(1000));
    let whole = format!("GET / HTTP/1.1\r\n{}\r\n", field.repeat(9));
    check_refused(&whole, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Refusal::HeadTooLarge);
    // So long that the client is still writing when it is refused.
    let endless = format!("GET / HTTP/1.1\r\n{}", field.repeat(5000));
    check_refused(&endless, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Refusal::HeadTooLarge);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    check_refused(&many, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Refusal::HeadTooLarge);
    let target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    check_refused(&target, StatusCode::URI_TOO_LONG, Refusal::UriTooLong);
}

#[test]
fn a_target_longer_than_hyper_takes_gets_a_document() {
    let limits = ConnectionLimits { head_bytes: 200_000, ..LIMITS };
    let (outcome, answer) = with_client(limits, async |mut socket, _| {
        say(&mut socket, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000))).await;
        read_to_end(socket).await
    });
    check_problem(&answer, StatusCode::URI_TOO_LONG, Refusal::UriTooLong);
    assert_eq!(outcome.refused, Some(Refusal::UriTooLong));
}

#[test]
fn a_bad_second_request_is_refused_after_the_first_is_answered() {
    for first in ["GET", "HEAD"] {
        let (outcome, answers) = exchange(&format!("{first} /one HTTP/1.1\r\n\r\ngarbage\r\n\r\n"));
        let (ok, problem) = answers.split_at(answers.rfind("HTTP/1.1 ").unwrap());
        assert!(ok.starts_with("HTTP/1.1 200 OK"), "{answers}");
        check_problem(problem, StatusCode::BAD_REQUEST, Refusal::BadHead);
        assert_eq!(outcome.refused, Some(Refusal::BadHead));
    }
}

#[test]
fn a_slow_head_is_refused_and_an_idle_connection_just_closed() {
    for (sent, refused) in [("GET / HTTP/1.1\r\nhos", Some(Refusal::HeadTooSlow)), ("\r\n", None), ("", None)] {
        let start = Instant::now();
        let (outcome, answer) = exchange(sent);
        assert!(start.elapsed() >= LIMITS.head_deadline);
        assert_eq!(outcome.refused, refused, "{sent:?}");
        match refused {
            Some(reason) => check_problem(&answer, StatusCode::REQUEST_TIMEOUT, reason),
            None => assert_eq!(answer, ""),
        }
    }
    // After an answer, too.
    let (outcome, answers) = exchange("GET /one HTTP/1.1\r\n\r\n");
    assert!(answers.ends_with("/one") && outcome.refused.is_none());
    let (outcome, answers) = exchange("GET /one HTTP/1.1\r\n\r\nGET");
    assert!(outcome.refused == Some(Refusal::HeadTooSlow) && answers.contains(" 408 "), "{answers}");
}

#[test]
fn a_client_that_shuts_its_side_gets_its_answer() {
    for request in ["GET /slow HTTP/1.1\r\n\r\n", "POST /slow HTTP/1.1\r\ncontent-length: 2\r\n\r\nab"] {
        let (_, answer) = with_client(LIMITS, async |mut socket, _| {
            say(&mut socket, request).await;
            socket.shutdown().await.unwrap();
            read_to_end(socket).await
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("/slow"), "{answer}");
    }
}

#[test]
fn an_answer_before_the_body_arrives_whole() {
    let (outcome, answer) = with_client(LIMITS, async |socket, _| {
        let (reader, mut writer) = socket.into_split();
        let send = async {
            say(&mut writer, "POST /early HTTP/1.1\r\ncontent-length: 3000000\r\n\r\n").await;
            let mut sent = 0;
            while sent < 3_000_000 {
                sent += writer.write(&[b'x'; 50_000]).await.expect("no reset");
            }
        };
        let receive = async {
            // The answer must outlive everything that is still sent.
            tokio::time::sleep(Duration::from_millis(200)).await;
            read_to_end(reader).await
        };
        tokio::join!(send, receive).1
    });
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{}", &answer[..100]);
    assert!(answer.len() > 8_000_000, "{} bytes", answer.len());
    assert_eq!(outcome.refused, None);
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let (_, answer) = exchange("GET /one HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with("/one"), "{answer}");
}

#[test]
fn shutdown_closes_an_idle_connection_at_once() {
    let limits = ConnectionLimits { idle: Duration::from_secs(60), ..LIMITS };
    for requests in ["", "GET /one HTTP/1.1\r\n\r\n"] {
        let start = Instant::now();
        let (_, answer) = with_client(limits.clone(), async |mut socket, shutdown| {
            say(&mut socket, requests).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            shutdown.cancel();
            read_to_end(socket).await
        });
        assert_eq!(answer.is_empty(), requests.is_empty());
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn shutdown_lets_a_request_finish() {
    let (_, answer) = with_client(LIMITS, async |mut socket, shutdown| {
        say(&mut socket, "GET /slow HTTP/1.1\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        shutdown.cancel();
        read_to_end(socket).await
    });
    assert!(answer.contains("connection: close") && answer.ends_with("/slow"), "{answer}");
}

#[test]
fn only_hypers_own_answers_are_replaced() {
    let check = |bytes: &str, expected| assert_eq!(hypers_own(bytes.as_bytes()), expected, "{bytes}");
    check("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", Some(400));
    check("HTTP/1.0 431 X\r\nconnection: close\r\ndate: x\r\n\r\n", Some(431));
    check("HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\r\n", None);
    check("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None);
    check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None);
    check("", None);
}
