//! One HTTP/1.1 connection: hyper reads the requests, and a subscription's socket is given away, raw.
//!
//! Whatever the client sends it gets a whole answer: refusals that hyper makes by itself are
//! replaced by problem documents, and after a last answer the socket is closed such that no reset
//! overtakes it.

/// A request's body, and whether it was read to its end.
mod body;
/// How a connection ends.
mod close;
/// What is corrected in hyper.
mod corrections;
/// What a connection waits for, and for how long.
mod course;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::ops::limits::READ_AHEAD_BYTES;

use super::problem::Problem;
use super::sink::Handover;
use super::slots::Slot;
use super::transport::Transport;

pub use body::RequestBody;

use corrections::Io;
use course::{Course, Waits};

/// What hyper reads ahead at most, if the bound on heads isn't larger. hyper asks for 8 KiB at
/// least; more makes large bodies cheaper, and the buffer grows only when it is used.
const READ_AHEAD: usize = READ_AHEAD_BYTES as usize;

/// What a client may take before its request is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The longest request head, in bytes.
    pub head_bytes: usize,
    /// How long a request head may take from its first byte.
    pub head_deadline: Duration,
    /// How long a connection may wait for a request's first byte.
    pub idle: Duration,
}

/// What the handler decided.
#[derive(Debug)]
pub enum Answer<T> {
    /// The request is answered, and the connection goes on.
    Respond(Response<Full<Bytes>>),
    /// The request's answer is written by someone else, who gets the socket and this.
    HandOff(T),
}

/// A connection that was given away, with nothing written for the request yet.
#[derive(Debug)]
pub struct HandedOff<T> {
    /// What the stream is written to.
    pub socket: Handover,
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
/// A request's body is read only if the handler reads it. When `stop` is cancelled an idle
/// connection closes and one in mid-request finishes it first. `refuse` makes the whole answer to a request
/// that no handler saw.
pub async fn serve<S, T, H>(
    stream: S,
    limits: &ConnectionLimits,
    slot: &Slot,
    stop: &CancellationToken,
    handler: H,
    refuse: impl FnOnce(Problem) -> Vec<u8>,
) -> Option<HandedOff<T>>
where
    S: Transport,
    H: AsyncFn(Parts, &mut RequestBody) -> Answer<T>,
{
    let agreed = Cell::new(None);
    let course = Course::begin(limits);
    let mut stop = pin!(stop.cancelled());
    let mut stopping = false;
    let (mut stream, mut read) = (stream, Bytes::new());
    let (io, ended, read_ahead) = loop {
        let service = service_fn(|request| {
            let (agreed, course, handler) = (&agreed, &course, &handler);
            let begun = slot.begin();
            if begun {
                course.wait_for(Waits::Handler);
            }
            async move {
                if !begun {
                    // The connection is to close for another: nothing is done half.
                    return std::future::pending().await;
                }
                let (parts, body) = http::Request::into_parts(request);
                match handler(parts, &mut RequestBody::new(body)).await {
                    Answer::Respond(response) => {
                        course.wait_for(Waits::Request);
                        Ok::<_, Infallible>(response)
                    }
                    Answer::HandOff(with) => {
                        agreed.set(Some(with));
                        std::future::pending().await
                    }
                }
            }
        });
        let mut connection = http1::Builder::new()
            .max_header_size(limits.head_bytes)
            .max_buf_size(limits.head_bytes.max(READ_AHEAD))
            .keep_alive(true)
            // Its own deadline does not tell a slow head from an idle connection.
            .header_read_timeout(None)
            // A client that shuts its writing side after the request (`nc -N`) still gets its answer.
            .half_close(true)
            .serve_connection(TokioIo::new(Io::new(stream, read, &course)), service);
        if stopping {
            Pin::new(&mut connection).graceful_shutdown();
        }

        // `poll_without_shutdown` would report the end while an answer to a half-read request is
        // still in hyper's buffer; `poll` flushes first, and what it shuts down is only our `Io`.
        let mut deadline = pin!(course.deadline());
        let (ended, handed_off) = std::future::poll_fn(|cx| {
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            let polled = Pin::new(&mut connection).poll(cx);
            match (polled, agreed.take()) {
                (Poll::Ready(ended), _) => Poll::Ready((Ended::Hyper(ended), None)),
                (Poll::Pending, Some(with)) => Poll::Ready((Ended::Hyper(Ok(())), Some(with))),
                (Poll::Pending, None) => {
                    if course.take_unstuck() {
                        // While an earlier answer is stuck hyper doesn't poll the handler of a
                        // pipelined request, and 1.12 forgets to once the socket has taken it all.
                        cx.waker().wake_by_ref();
                    }
                    if course.is_idle() && slot.poll_idle(cx).is_ready() {
                        return Poll::Ready((Ended::Evicted, None));
                    }
                    deadline.as_mut().poll(cx).map(|()| (Ended::Deadline, None))
                }
            }
        })
        .await;

        let parts = connection.into_parts();
        let (io, read_ahead) = (parts.io.into_inner(), parts.read_buf);
        if let Some(with) = handed_off {
            if io.is_stuck() {
                // Part of an earlier answer would be left behind in hyper's buffer, and the stream
                // can't follow half an answer. hyper 1.12 polls no handler in that state.
                return None;
            }
            let socket = io.into_stream().into_handover().ok()?;
            return Some(HandedOff { socket, with, read_ahead: read_ahead.len() });
        }
        match io.reads_as_http_1_1(&read_ahead) {
            Some(again) => (stream, read) = (io.into_stream(), again),
            None => break (io, ended, read_ahead),
        }
    };
    let refused = corrections::refused(&ended, &io, &read_ahead);
    let last_words = match (refused, &ended) {
        (_, Ended::Evicted) => return None,
        (Some(reason), ended) => Some(refuse(corrections::explain(reason, limits, ended))),
        (None, Ended::Hyper(Ok(())) | Ended::Deadline) => None,
        // The client went away, or can't be written to.
        (None, Ended::Hyper(Err(_))) => return None,
    };
    end(io.into_stream(), last_words, slot).await;
    None
}

/// Ends a connection, perhaps with last words to a client that is refused.
pub async fn end(stream: impl Transport, last_words: Option<Vec<u8>>, slot: &Slot) {
    // Boxed: no stream comes here, and its connection would be moved along with room for it.
    let closing = Box::pin(close::close(stream, last_words));
    tokio::select! {
        biased;
        () = slot.evicted() => {}
        () = closing => {}
    }
}

/// How a connection came to its end.
enum Ended {
    /// hyper has nothing more to do.
    Hyper(hyper::Result<()>),
    /// The client took too long.
    Deadline,
    /// It is closed for another.
    Evicted,
}
