//! The public listener's surface: streams.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use http_body_util::Full;

use crate::hub::close::CloseReason;
use crate::hub::frame::encode_alone;
use crate::hub::log::Resume;
use crate::hub::subscribe::{Subscribe, TimedEvent};
use crate::hub::topic::Subscription;
use crate::ops::metrics::Shed;

use super::admit::admit;
use super::connection::Answer;
use super::negotiation;
use super::problem::{Problem, Refusal};
use super::reply::{Answering, Request, StreamReply};
use super::response::{self, TEXT};
use super::state::State;

const STREAM_METHODS: &str = "GET, HEAD, OPTIONS";

/// Answers a request on the public listener.
pub fn answer(state: &State, parts: &Parts) -> Answer<Subscribe> {
    let answering = match &state.handler {
        Some(handler) => handler(&Request(parts)).0,
        None => Answering::Routes,
    };
    let answer = match answering {
        Answering::Routes => routes(state, parts),
        Answering::Text(text) => Ok(Answer::Respond(response::ok(text, TEXT))),
        Answering::Stream(reply) => own_stream(parts, reply).map(|asked| open(state, asked)),
    };
    answer.unwrap_or_else(|problem| {
        state.metrics.request_rejected(problem.reason());
        Answer::Respond(problem.into_response())
    })
}

fn routes(state: &State, parts: &Parts) -> Result<Answer<Subscribe>, Problem> {
    let at_root = parts.uri.path() == "/";
    let topic = if at_root { Some(state.default_topic.clone()) } else { negotiation::path_topic(parts.uri.path())? };
    let streams = !at_root || negotiation::accepts_event_stream(&parts.headers);
    match parts.method {
        Method::GET if streams => Ok(open(state, negotiation::subscribe(parts, topic)?)),
        Method::HEAD if streams => {
            negotiation::subscribe(parts, topic)?;
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

fn open(state: &State, asked: Subscribe) -> Answer<Subscribe> {
    match admit(state, asked) {
        Ok(subscribe) => Answer::HandOff(subscribe),
        Err(reason) => Answer::Respond(shed(state, reason)),
    }
}

/// The stream of a library user's handler.
fn own_stream(parts: &Parts, reply: StreamReply) -> Result<Subscribe, Problem> {
    let subscription =
        if reply.topics.is_empty() { Subscription::nothing() } else { Subscription::new(reply.topics, Vec::new())? };
    let timed = match reply.beat {
        Some((every, event)) => Some(TimedEvent { every, chunk: Arc::new(encode_alone(&event)?) }),
        None => None,
    };
    Ok(Subscribe {
        framing: negotiation::framing(parts),
        resume: if subscription.topics().is_empty() { Resume::Now } else { negotiation::resume(parts)? },
        subscription: Arc::new(subscription),
        max_events: None,
        lasts: reply.lasts.map(|time| (time, CloseReason::MaxSeconds)),
        timed,
    })
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
