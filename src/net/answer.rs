//! The one road from a request to its answer, for all listeners.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use hyper::body::Body;

use crate::engine::status::Phase;
use crate::hub::subscribe::Subscribe;
use crate::ops::metrics::CONTENT_TYPE;

use super::connection::{Answer, RequestBody};
use super::context::Context;
use super::cors::Reader;
use super::handler::{Handled, Handler};
use super::problem::{Problem, Refusal};
use super::reply::Request;
use super::response::{self, TEXT};
use super::route::{self, Allows, Route};
use super::state::State;
use super::{admin, console, host, negotiation, publishing, streams, tickets, token, try_page};

/// What can be asked of all listeners. A test replays its examples.
const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// Answers a request.
pub async fn answer(state: &State, context: &Context, parts: Parts, body: &mut RequestBody) -> Answer<Subscribe> {
    let allows = allowed(state, context);
    let publishes = route::publishes(allows, &parts.method, parts.uri.path());
    let reader = Reader::of(&state.config.load().cors, &parts.headers);
    // What few requests come to has a box of its own: else all would be moved along with room for it.
    let answered = match (check_host(state, context, &parts), &state.handler) {
        (Err(problem), _) => Err(problem),
        (Ok(()), Some(handler)) if context.allows.streams => {
            Box::pin(ask(state, context, allows, handler, parts, body)).await
        }
        (Ok(()), _) => follow(state, context, allows, &parts, body).await,
    };
    let mut response = match answered {
        Ok(Answer::HandOff(mut subscribe)) => {
            subscribe.head_fields = match context.allows.streams {
                true => reader.head_fields(subscribe.head_fields),
                // No page of another origin reads what is for the operator.
                false => Some("".into()),
            };
            log_stream(context, &subscribe);
            return Answer::HandOff(subscribe);
        }
        Ok(Answer::Respond(response)) => response,
        Err(problem) => refuse(state, context, publishes, problem),
    };
    if !context.allows.streams {
        response.headers_mut().remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    } else {
        reader.settle(response.headers_mut());
    }
    if !body.is_end_stream() {
        // What is left of the body stands in the way of the next request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Answer::Respond(response)
}

/// The whole answer to a request that was not understood, and so has no fields to go by.
pub fn refusal(state: &State, context: &Context, problem: Problem) -> Vec<u8> {
    state.metrics.request_rejected(problem.reason());
    let mut response = problem.into_response();
    if !context.allows.streams || !state.config.load().cors.origins.is_empty() {
        response.headers_mut().remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    }
    response::into_bytes(response, "")
}

/// For who wonders why an event did not arrive.
fn log_stream(context: &Context, subscribe: &Subscribe) {
    let Context { listener, peer, .. } = context;
    let (topics, patterns) = (subscribe.subscription.topics(), subscribe.subscription.patterns());
    tracing::debug!(listener = listener.as_ref(), %peer, ?topics, ?patterns, resume = ?subscribe.resume, "stream asked for");
}

fn refuse(state: &State, context: &Context, publishes: bool, problem: Problem) -> Response<Full<Bytes>> {
    let reason = problem.reason();
    if publishes {
        state.metrics.publish_rejected(reason);
    } else {
        state.metrics.request_rejected(reason);
    }
    let Context { listener, local, peer, protocol, .. } = context;
    let (listener, reason) = (listener.as_ref(), reason.as_ref());
    tracing::debug!(listener, %local, %peer, ?protocol, reason, "request refused");
    problem.into_response()
}

/// Has a library user's handler decide.
async fn ask(
    state: &State,
    context: &Context,
    allows: Allows,
    handler: &Handler,
    parts: Parts,
    body: &mut RequestBody,
) -> Result<Answer<Subscribe>, Problem> {
    let request = Request::new(parts, context.peer);
    match handler.answer(&request, &state.topics).await? {
        Handled::Routes => follow(state, context, allows, request.parts(), body).await,
        Handled::Respond(response) => Ok(Answer::Respond(response)),
        Handled::Stream(asked) => Ok(streams::open(state, asked)),
    }
}

fn check_host(state: &State, context: &Context, parts: &Parts) -> Result<(), Problem> {
    let host = host::read(parts)?;
    if context.allows.pages {
        return Ok(());
    }
    host::refuse_pages(&parts.method, &parts.headers, host, context.allows.admin && state.config.load().admin)
}

/// Answers as the gateway does by itself.
async fn follow(
    state: &State,
    context: &Context,
    allows: Allows,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<Answer<Subscribe>, Problem> {
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    if context.allows.admin && route::is_admin(path) {
        must_have_key(state, parts)?;
        if path != route::REVOKE {
            admin::must_be_on(state)?;
        }
    }
    let response = match route::route(allows, &parts.method, path)? {
        route @ (Route::Root | Route::Stream(_)) => match subscribe(state, parts, route) {
            Ok(answer) => return Ok(answer),
            Err(problem) => match streams::deny(state, parts, &problem) {
                Some(response) => {
                    state.metrics.request_rejected(problem.reason());
                    response
                }
                None => return Err(problem),
            },
        },
        Route::Publish(topic) => {
            let topic = negotiation::path_topic(topic)?;
            let pass = if context.allows.publish {
                must_have_key(state, parts)?;
                None
            } else {
                Some(token::pass(state, &state.gate.load(), parts)?)
            };
            let mut response = Box::pin(publishing::publish(state, pass.as_deref(), parts, body, topic)).await?;
            // The control listener takes it off again.
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            response
        }
        Route::Try => try_page::response(),
        Route::StreamElsewhere => return Err(state.addresses().stream()),
        Route::PublishElsewhere => return Err(state.addresses().publish(context)),
        Route::Tickets => tickets::issue(state, parts)?,
        Route::AdminRevoke => Box::pin(admin::revoke(state, parts, body)).await?,
        Route::Options(methods) => negotiation::preflight(methods),
        Route::Health => response::ok("ok\n", TEXT),
        Route::Ready => ready(state)?,
        Route::Metrics => response::ok(state.metrics.render(), CONTENT_TYPE),
        Route::OpenApi => response::ok(OPENAPI, "application/json"),
        Route::AdminStreams => admin::shown(Box::pin(admin::streams(state, query)).await?),
        Route::AdminConfig => admin::config(state),
        Route::Console(path) => console::file(path).ok_or_else(Problem::not_found)?,
        Route::ConsoleEvents => return streams::console(state, parts),
        Route::AdminTopics => admin::shown(Box::pin(admin::topics(state, query)).await?),
    };
    Ok(Answer::Respond(response))
}

fn subscribe(state: &State, parts: &Parts, route: Route<'_>) -> Result<Answer<Subscribe>, Problem> {
    let gate = state.gate.load();
    let shown = if gate.is_on() { Some(token::shown(state, &gate, parts)?) } else { None };
    match route {
        Route::Stream(topic) => streams::stream(state, shown.as_ref(), parts, negotiation::path_topic(topic)?),
        _ => streams::root(state, shown.as_ref(), parts),
    }
}

/// What requests may be for: where people may have tokens, those who do may publish beside the streams.
fn allowed(state: &State, context: &Context) -> Allows {
    let publish = context.allows.publish || context.allows.streams && state.gate.load().is_on();
    Allows { publish, ..context.allows }
}

/// Whoever reaches the control listener may do all, unless it asks for a key.
fn must_have_key(state: &State, parts: &Parts) -> Result<(), Problem> {
    let gate = state.gate.load();
    if !gate.guards_control() {
        return Ok(());
    }
    let key = token::control_key(parts)?;
    if gate.opens_control(key) { Ok(()) } else { Err(token::control_closed(key)) }
}

fn ready(state: &State) -> Result<Response<Full<Bytes>>, Problem> {
    if state.draining.load(Ordering::Relaxed) {
        return Err(Problem::new(Refusal::ShuttingDown, "the gateway is draining"));
    }
    let (phase, since) = state.engine.status().since();
    let since = humantime::format_rfc3339_seconds(since);
    let engine = format!("engine {} since {since}", phase.as_ref());
    match phase {
        Phase::Ready | Phase::Away => Ok(response::ok(format!("ready\n{engine}\n"), TEXT)),
        Phase::Connecting | Phase::Loading | Phase::Stale | Phase::Reloading | Phase::Faulted => {
            Err(Problem::new(Refusal::NotStored, engine))
        }
    }
}
