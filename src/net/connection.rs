//! One plain HTTP/1.1 connection: hyper reads the requests, and a subscription's socket is given
//! away, raw.
//!
//! Whatever the client sends it gets a whole answer: refusals that hyper makes by itself are
//! replaced by problem documents, and after a last answer the socket is closed such that no reset
//! overtakes it.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::ops::limits::READ_AHEAD_BYTES;

use super::problem::{Problem, Refusal};

/// What hyper reads ahead at most, if the bound on heads isn't larger. hyper asks for 8 KiB at
/// least; more makes large bodies cheaper, and the buffer grows only when it is used.
const READ_AHEAD: usize = READ_AHEAD_BYTES as usize;
/// How long, and for how many bytes, a closing connection still takes what the client sends.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 16 * 1024 * 1024);
/// How an HTTP/2 client with prior knowledge starts.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// What a client may take before its request is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The longest request head, in bytes.
    pub head_bytes: usize,
    /// How long a request head may take from its first moment, and so how long a connection may
    /// idle between requests.
    pub head_deadline: Duration,
}

/// What the handler decided.
#[derive(Debug)]
pub enum Answer<T> {
    /// The request is answered, and the connection goes on.
    Respond(Response<Full<Bytes>>),
    /// The request's answer is written by someone else, who gets the socket and this.
    HandOff(T),
}

/// A socket that was given away, with nothing written for the request yet.
#[derive(Debug)]
pub struct HandedOff<T> {
    /// The socket, non-blocking, in no runtime.
    pub socket: std::net::TcpStream,
    /// What the handler gave along.
    pub with: T,
    /// Bytes that were read past the request and are gone: they are dropped on purpose, as the
    /// socket is never reused. They are pipelined requests, and what of a body that nobody asked
    /// for hyper hasn't taken up (it takes up a first piece unasked, unless the client expects a
    /// 100). What comes later is unread in the socket.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests look at it"))]
    pub read_ahead: usize,
}

/// Serves requests until the connection ends (`None`) or one is handed off.
///
/// A request's body is read only if the handler reads it. When `shutdown` is cancelled an idle
/// connection closes and one in mid-request finishes it first. `on_refused` is told of the
/// requests that no handler saw, for counting.
pub async fn serve<T, H, F>(
    socket: TcpStream,
    limits: &ConnectionLimits,
    shutdown: CancellationToken,
    handler: H,
    on_refused: impl FnOnce(Refusal),
) -> Option<HandedOff<T>>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer<T>>,
{
    let slot = Cell::new(None);
    let unstuck = Cell::new(false);
    let service = service_fn(|request| {
        let answer = handler(request);
        let slot = &slot;
        async move {
            match answer.await {
                Answer::Respond(response) => Ok::<_, Infallible>(response),
                Answer::HandOff(with) => {
                    slot.set(Some(with));
                    std::future::pending().await
                }
            }
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_deadline)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(READ_AHEAD))
        .keep_alive(true)
        // A client that shuts its writing side after the request (`nc -N`) still gets its answer.
        .half_close(true)
        .serve_connection(Io::new(socket, &unstuck), service);

    // `poll_without_shutdown` would report the end while an answer to a half-read request is
    // still in hyper's buffer; `poll` flushes first, and what it shuts down is only our `Io`.
    let mut stop = pin!(shutdown.cancelled());
    let mut stopping = false;
    let (ended, handed_off) = std::future::poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        let polled = Pin::new(&mut connection).poll(cx);
        match (polled, slot.take()) {
            (Poll::Ready(ended), _) => Poll::Ready((ended, None)),
            (Poll::Pending, Some(with)) => Poll::Ready((Ok(()), Some(with))),
            (Poll::Pending, None) => {
                if unstuck.take() {
                    // While an earlier answer is stuck hyper doesn't poll the handler of a
                    // pipelined request, and 1.12 forgets to once the socket has taken it all.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    })
    .await;

    let parts = connection.into_parts();
    let (io, read_ahead) = (parts.io, parts.read_buf);
    if let Some(with) = handed_off {
        if io.stuck {
            // Part of an earlier answer would be left behind in hyper's buffer, and the stream
            // can't follow half an answer. hyper 1.12 polls no handler in that state.
            return None;
        }
        let socket = io.socket.into_inner().into_std().ok()?;
        return Some(HandedOff { socket, with, read_ahead: read_ahead.len() });
    }
    let last_words = match ended {
        Ok(()) => None,
        Err(error) => {
            // Else the client went away, idled too long, or can't be written to.
            let reason = refusal(&error, &io, &read_ahead)?;
            on_refused(reason);
            Some(explain(reason, limits, &error))
        }
    };
    close(io, last_words).await;
    None
}

/// Why the request under way is refused, if it is and the client can be told.
fn refusal(error: &hyper::Error, io: &Io<'_>, unread: &[u8]) -> Option<Refusal> {
    if io.stuck {
        return None;
    }
    let head = unread.trim_ascii_start();
    match io.refused {
        // hyper counts a target that doesn't fit as a head that doesn't fit.
        Some(431) if !head.contains(&b'\n') => Some(Refusal::UriTooLong),
        Some(431) => Some(Refusal::HeadTooLarge),
        Some(414) => Some(Refusal::UriTooLong),
        Some(_) => Some(Refusal::BadHead),
        None if error.is_timeout() && !head.is_empty() => Some(Refusal::HeadTooSlow),
        None if head.starts_with(H2_PREFACE) => Some(Refusal::HttpVersion),
        None => None,
    }
}

fn explain(reason: Refusal, limits: &ConnectionLimits, error: &hyper::Error) -> Problem {
    let detail = match reason {
        Refusal::UriTooLong => "the request's target is too long".into(),
        Refusal::HeadTooLarge => {
            format!("the request head is longer than {} bytes or has more than 100 fields", limits.head_bytes)
        }
        Refusal::HeadTooSlow => {
            format!("the request head took longer than {}", humantime::format_duration(limits.head_deadline))
        }
        Refusal::HttpVersion => "this port speaks HTTP/1.1, not HTTP/2".into(),
        _ => format!("the request head can't be read: {error}"),
    };
    Problem::new(reason, detail)
}

/// Writes the last words, and closes without a reset: closing a socket that has unread input
/// makes the kernel send one, and it would take the answer from under the client's eyes.
async fn close(io: Io<'_>, last_words: Option<Problem>) {
    let mut socket = io.socket.into_inner();
    let linger = async {
        if let Some(problem) = last_words {
            socket.write_all(&problem.into_bytes()).await?;
        }
        socket.shutdown().await?;
        let mut scratch = vec![0; 16 * 1024];
        let mut drained = 0;
        while drained < LINGER.1 {
            match socket.read(&mut scratch).await? {
                0 => break,
                read => drained += read,
            }
        }
        io::Result::Ok(())
    };
    // Nothing can be done about a failure, nor about a client that never ends.
    let _ = tokio::time::timeout(LINGER.0, linger).await;
}

/// The socket as hyper sees it. It takes the empty answers that hyper gives by itself out of the
/// stream, and leaves shutting down to us.
struct Io<'a> {
    socket: TokioIo<TcpStream>,
    /// The status of hyper's own answer.
    refused: Option<u16>,
    /// The socket didn't take all of hyper's last write.
    stuck: bool,
    /// Set when the socket has taken the rest.
    unstuck: &'a Cell<bool>,
}

impl<'a> Io<'a> {
    fn new(socket: TcpStream, unstuck: &'a Cell<bool>) -> Io<'a> {
        Io { socket: TokioIo::new(socket), refused: None, stuck: false, unstuck }
    }

    fn wrote(&mut self, offered: usize, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let stuck = !matches!(written, Poll::Ready(Ok(count)) if count == offered);
        if self.stuck && !stuck {
            self.unstuck.set(true);
        }
        self.stuck = stuck;
        written
    }
}

/// The status, if these bytes are an answer that hyper made by itself: it is whole and empty, and
/// unlike all of ours has no content type.
fn hypers_own(bytes: &[u8]) -> Option<u16> {
    let status = match bytes.strip_prefix(b"HTTP/1.")?.get(1..6)? {
        b" 400 " => 400,
        b" 414 " => 414,
        b" 431 " => 431,
        _ => return None,
    };
    let head_only = memchr::memmem::find(bytes, b"\r\n\r\n") == Some(bytes.len() - 4);
    (head_only && memchr::memmem::find(bytes, b"\r\ncontent-type:").is_none()).then_some(status)
}

impl Read for Io<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl Write for Io<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(status) = hypers_own(buf) {
            self.refused = Some(status);
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.wrote(buf.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.wrote(offered, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Instant;

    use http::{Method, StatusCode};
    use tokio::io::{AsyncRead, AsyncWrite};

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { head_bytes: 8192, head_deadline: Duration::from_millis(300) };

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
            let handler = async |request: Request<Incoming>| {
                let path = request.uri().path().to_owned();
                seen.borrow_mut().push(path.clone());
                match path.as_str() {
                    "/slow" => tokio::time::sleep(Duration::from_millis(100)).await,
                    "/early" => return Answer::Respond(Response::new(vec![b'x'; 8_000_000].into())),
                    "/asks" => {
                        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
                        return Answer::HandOff(path);
                    }
                    path if path.starts_with("/events") && request.method() == Method::GET => {
                        return Answer::HandOff(path.to_owned());
                    }
                    _ => {}
                }
                Answer::Respond(Response::new(Bytes::from(path).into()))
            };
            let serve = serve(inner, &limits, shutdown.clone(), handler, |reason| refused.set(Some(reason)));
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
        assert_eq!(document["reason"], reason.as_str());
    }

    /// The socket was handed off, and what is written to it is the first thing the client reads.
    #[track_caller]
    fn check_handed_off(sent: &str, read_ahead: usize) {
        let (outcome, mut client) = with_client(LIMITS, async |mut socket, _| {
            say(&mut socket, sent).await;
            socket.into_std().unwrap()
        });
        let mut handed_off = outcome.handed_off.expect("handed off");
        assert_eq!(handed_off.with, "/events/a");
        assert_eq!(handed_off.read_ahead, read_ahead);
        assert_eq!(
            io::Read::read(&mut handed_off.socket, &mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "it is still non-blocking"
        );
        io::Write::write_all(&mut handed_off.socket, b"stream").unwrap();
        drop(handed_off);
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
        let limits = ConnectionLimits { head_deadline: Duration::from_secs(60), ..LIMITS };
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
}
