//! The public listener's surface: streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use http_body_util::Full;

use crate::hub::close::CloseReason;
use crate::hub::frame::{Chunk, encode_alone};
use crate::hub::log::Resume;
use crate::hub::topic::Subscription;
use crate::ops::metrics::Shed;

use super::connection::Answer;
use super::negotiation::{self, Opening};
use super::problem::{Problem, Refusal};
use super::reply::{Answering, Request, StreamReply};
use super::response::{self, TEXT};
use super::state::State;

const STREAM_METHODS: &str = "GET, HEAD, OPTIONS";

/// A stream that was agreed on; what is missing is its socket.
pub struct Agreed {
    /// What the client asked for.
    pub opening: Opening,
    /// How long it lasts, and why no longer.
    pub lasts: Option<(Duration, CloseReason)>,
    /// An event of its own.
    pub beat: Option<(Duration, Arc<Chunk>)>,
}

/// Answers a request on the public listener.
pub fn answer(state: &State, parts: &Parts) -> Answer<Agreed> {
    let answering = match &state.handler {
        Some(handler) => handler(&Request(parts)).0,
        None => Answering::Routes,
    };
    let answer = match answering {
        Answering::Routes => routes(state, parts),
        Answering::Text(text) => Ok(Answer::Respond(response::ok(text, TEXT))),
        Answering::Stream(reply) => own_stream(parts, reply).and_then(|agreed| admit(state, agreed)),
    };
    answer.unwrap_or_else(|problem| {
        state.metrics.request_rejected(problem.reason());
        Answer::Respond(problem.into_response())
    })
}

fn routes(state: &State, parts: &Parts) -> Result<Answer<Agreed>, Problem> {
    let at_root = parts.uri.path() == "/";
    let topic = if at_root { Some(state.default_topic.clone()) } else { negotiation::path_topic(parts.uri.path())? };
    let streams = !at_root || negotiation::accepts_event_stream(&parts.headers);
    match parts.method {
        Method::GET if streams => {
            let opening = negotiation::opening(parts, topic)?;
            admit(state, Agreed { opening, lasts: None, beat: None })
        }
        Method::HEAD if streams => {
            negotiation::opening(parts, topic)?;
            Ok(Answer::Respond(negotiation::head_response()))
        }
        Method::GET | Method::HEAD => Ok(Answer::Respond(response::ok("ok", TEXT))),
        Method::OPTIONS => Ok(Answer::Respond(negotiation::preflight(STREAM_METHODS))),
        Method::POST if !at_root => {
            Err(Problem::new(Refusal::Forbidden, "publishing is on the control listener").about("method"))
        }
        _ => Err(Problem::method(STREAM_METHODS)),
    }
}

/// Agrees to a stream, unless there are as many as there may be.
fn admit(state: &State, mut agreed: Agreed) -> Result<Answer<Agreed>, Problem> {
    if state.closing.load(Ordering::Relaxed) {
        return Ok(Answer::Respond(shed(state, Shed::Draining)));
    }
    if state.bus.streams() >= state.streams_max {
        return Ok(Answer::Respond(shed(state, Shed::Full)));
    }
    let asked = agreed.opening.max_seconds.map(|seconds| Duration::from_secs(seconds.get().into()));
    let config = state.config.load();
    let rotated = config.stream.max_age.get().map(|age| {
        let part = state.jitter().below(1024) as f64 / 1024.0;
        (age.mul_f64(1.0 - config.stream.max_age_jitter.get() * part), CloseReason::Rotated)
    });
    let bounds = [agreed.lasts, asked.map(|time| (time, CloseReason::MaxSeconds)), rotated];
    agreed.lasts = bounds.into_iter().flatten().min_by_key(|(time, _)| *time);
    Ok(Answer::HandOff(agreed))
}

/// The stream of a library user's handler.
fn own_stream(parts: &Parts, reply: StreamReply) -> Result<Agreed, Problem> {
    let subscription =
        if reply.topics.is_empty() { Subscription::nothing() } else { Subscription::new(reply.topics, Vec::new())? };
    let beat = match reply.beat {
        Some((period, event)) => Some((period, Arc::new(encode_alone(&event)?))),
        None => None,
    };
    let opening = Opening {
        framing: negotiation::framing(parts),
        resume: if subscription.topics().is_empty() { Resume::Now } else { negotiation::resume(parts)? },
        subscription,
        max_events: None,
        max_seconds: None,
    };
    Ok(Agreed { opening, lasts: reply.lasts.map(|time| (time, CloseReason::MaxSeconds)), beat })
}

/// A stream that ends at once, with the time after which to come back. A native EventSource gives
/// up for ever on any status but 200, so this is how load is shed.
fn shed(state: &State, reason: Shed) -> Response<Full<Bytes>> {
    state.metrics.stream_shed(reason);
    let mut response = negotiation::head_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    *response.body_mut() = Full::from(come_back(state));
    response
}

/// `retry:` with a jittered delay.
pub fn come_back(state: &State) -> String {
    let retry = state.config.load().drain.retry.get();
    format!("retry: {}\n\n", state.jitter().around(retry.as_millis() as u64))
}
