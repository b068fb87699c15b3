//! Requests for streams.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use http_body_util::Full;

use crate::hub::holder::{Holder, Revocation};
use crate::hub::retry;
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::{INTERNAL, Topic, is_internal};
use crate::ops::config::DeniedAs;
use crate::ops::metrics::Shed;

use super::admit::{admit, grant};
use super::connection::Answer;
use super::negotiation;
use super::problem::Problem;
use super::response::{self, TEXT};
use super::state::State;
use super::token::{self, Shown};

/// Answers at `/`: with a stream of the default topic for who asks for one by name, else with `ok`.
///
/// # Errors
/// As [`stream`].
pub fn root(state: &State, shown: Option<&Shown>, parts: &Parts) -> Result<Answer<Subscribe>, Problem> {
    if negotiation::accepts_event_stream(&parts.headers) {
        return stream(state, shown, parts, Some(state.default_topic.clone()));
    }
    let mut ok = response::ok("ok\n", TEXT);
    // A cache that kept it would give it to an EventSource, which then never asks again.
    ok.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    ok.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Answer::Respond(ok))
}

/// Answers GET with a stream, and HEAD with its head.
///
/// # Errors
/// 400, naming the parameter; 401 or 403 if it is not granted.
pub fn stream(
    state: &State,
    shown: Option<&Shown>,
    parts: &Parts,
    topic: Option<Topic>,
) -> Result<Answer<Subscribe>, Problem> {
    let mut asked = negotiation::subscribe(parts, topic, &state.topics)?;
    if asked.subscription.topics().iter().any(|topic| is_internal(topic.as_str())) {
        return Err(kept_for_the_gateway());
    }
    if let Some(Shown { pass, ticket }) = shown {
        asked = grant(pass, asked, &state.topics).map_err(|denied| token::not_subscribed(pass, &denied))?;
        if let Some(token) = &pass.token {
            let holder = Holder { token: Some(token.clone()), ticket: *ticket, held: Vec::new() };
            asked.holder = Some(Arc::new(holder));
        }
        if let Some((number, uses)) = *ticket
            && uses > 1
        {
            // One at a time: the client has given the other up.
            state.end_streams(Revocation::Ticket { number, uses });
        }
    }
    answer(state, parts, asked)
}

/// The same for the console, which may ask for what the gateway publishes about itself, too.
///
/// # Errors
/// As [`stream`].
pub fn console(state: &State, parts: &Parts) -> Result<Answer<Subscribe>, Problem> {
    let asked = negotiation::subscribe(parts, None, &state.topics)?;
    state.console.opens();
    answer(state, parts, asked)
}

/// The refusal of a topic on which the gateway publishes about itself.
pub fn kept_for_the_gateway() -> Problem {
    Problem::in_field("topic", format!("topics that begin with {INTERNAL} are kept for the gateway's console"))
}

fn answer(state: &State, parts: &Parts, asked: Subscribe) -> Result<Answer<Subscribe>, Problem> {
    if parts.method == Method::HEAD {
        return Ok(Answer::Respond(negotiation::head_response()));
    }
    Ok(open(state, asked))
}

/// Opens a stream, or says when to come back.
pub fn open(state: &State, asked: Subscribe) -> Answer<Subscribe> {
    match admit(state, asked) {
        Ok(subscribe) => Answer::HandOff(subscribe),
        Err(reason) => Answer::Respond(shed(state, reason)),
    }
}

/// A stream that ends at once, with the time after which to come back. A native EventSource gives
/// up for ever on any status but 200, so this is how load is shed.
fn shed(state: &State, reason: Shed) -> Response<Full<Bytes>> {
    state.metrics.stream_shed(reason);
    tracing::debug!(reason = reason.as_ref(), "stream sent away for a while");
    ended(come_back(state))
}

/// A stream that is this and no more.
fn ended(body: String) -> Response<Full<Bytes>> {
    let mut response = negotiation::head_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    *response.body_mut() = Full::from(body);
    response
}

/// The same for a stream whose request has been answered for by these fields of its head, and whose socket no HTTP
/// stack looks after any more.
pub fn shed_late(state: &State, reason: Shed, head_fields: Option<&str>) -> Vec<u8> {
    let mut response = shed(state, reason);
    if head_fields.is_some() {
        response.headers_mut().remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    }
    response::into_bytes(response, head_fields.unwrap_or_default())
}

/// The answer to a stream that is refused, for a client that would give up for ever on a status, and show its page
/// nothing. `None` for any other, and for a refusal for another reason.
pub fn deny(state: &State, parts: &Parts, problem: &Problem) -> Option<Response<Full<Bytes>>> {
    let is_asked_for = state.config.load().auth.denied == DeniedAs::Event && problem.is_of_access();
    if !is_asked_for || parts.method != Method::GET || !negotiation::accepts_event_stream(&parts.headers) {
        return None;
    }
    // A document is one line.
    let document = problem.body();
    let document = String::from_utf8_lossy(&document);
    Some(ended(format!("{}event: denied\ndata: {}\n\n", come_back(state), document.trim_end())))
}

/// `retry:` with a jittered delay.
fn come_back(state: &State) -> String {
    let mean = state.config.load().drain.retry.get();
    retry::line(retry::around(&mut Rng::new(), mean.as_millis() as u64))
}
