//! The public listener's surface: streams.

use std::net::SocketAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use http_body_util::Full;

use crate::hub::subscribe::Subscribe;
use crate::ops::metrics::Shed;

use super::admit::admit;
use super::connection::Answer;
use super::handler::{Handled, Handler};
use super::negotiation;
use super::problem::{Problem, Refusal};
use super::reply::Request;
use super::response::{self, TEXT};
use super::state::State;

const STREAM_METHODS: &str = "GET, HEAD, OPTIONS";

/// Answers a request on the public listener.
pub async fn answer(state: &State, parts: Parts, peer: SocketAddr) -> Answer<Subscribe> {
    let answer = match &state.handler {
        Some(handler) => handled(state, handler, Request::new(parts, peer)).await,
        None => routes(state, &parts),
    };
    answer.unwrap_or_else(|problem| {
        state.metrics.request_rejected(problem.reason());
        Answer::Respond(problem.into_response())
    })
}

async fn handled(state: &State, handler: &Handler, request: Request) -> Result<Answer<Subscribe>, Problem> {
    Ok(match handler.answer(&request).await? {
        Handled::Routes => routes(state, request.parts())?,
        Handled::Respond(response) => Answer::Respond(response),
        Handled::Stream(asked) => open(state, asked),
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
