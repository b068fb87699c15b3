//! The control listener's surface: publishing, metrics, health, and what `admin` shows. It is the operator's door, open to
//! whoever reaches it.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::hub::event::Event;
use crate::hub::frame::{Draft, Topics};
use crate::hub::id::EventId;
use crate::ops::metrics::{CONTENT_TYPE, Source};

use super::problem::{Problem, Refusal};
use super::publish;
use super::response::{self, TEXT};
use super::state::{NotPublished, State};
use super::{admin, negotiation};

pub(super) const READ_METHODS: &str = "GET, HEAD";
const PUBLISH_METHODS: &str = "POST";

/// Answers a request on the control listener.
pub async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let publishes = path == "/events" || path.starts_with("/events/");
    let answer = match (path, request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => Ok(response::ok(state.metrics.render(), CONTENT_TYPE)),
        ("/healthz", &Method::GET | &Method::HEAD) => Ok(response::ok("ok\n", TEXT)),
        ("/readyz", &Method::GET | &Method::HEAD) => ready(state),
        ("/metrics" | "/healthz" | "/readyz", _) => Err(Problem::method(READ_METHODS)),
        (path, _) if path.starts_with(admin::PREFIX) => admin::answer(state, &request).await,
        (_, &Method::POST) if publishes => publish(state, request).await,
        (_, _) if publishes => Err(Problem::method(PUBLISH_METHODS)),
        _ => Err(Problem::not_found()),
    };
    answer.unwrap_or_else(|problem| {
        if publishes {
            state.metrics.publish_rejected(problem.reason());
        } else {
            state.metrics.request_rejected(problem.reason());
        }
        problem.into_response()
    })
}

fn ready(state: &State) -> Result<Response<Full<Bytes>>, Problem> {
    if state.draining.load(Ordering::Relaxed) {
        return Err(Problem::new(Refusal::ShuttingDown, "the gateway is draining"));
    }
    Ok(response::ok("ready\n", TEXT))
}

async fn publish(state: &State, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Problem> {
    refuse_pages(request.headers())?;
    if state.closing.load(Ordering::Relaxed) {
        return Err(closing());
    }
    let topic = negotiation::path_topic(request.uri().path())?;
    let (parts, body) = request.into_parts();
    let limits = state.config.load().limits.clone();
    let body = publish::read_body(body, limits.body_bytes.as_usize(), limits.body_deadline.get()).await?;
    let mut reply = String::new();
    match topic {
        Some(topic) => {
            let event = publish::single(topic, parts.uri.query().unwrap_or_default(), &body)?;
            reply.push_str("{\"id\":");
            accept(state, &[event], &mut reply)?;
            reply.push_str("}\n");
        }
        None => {
            let events =
                publish::batch(parts.headers.get(header::CONTENT_TYPE), &body, limits.batch_events.as_usize())?;
            reply.push_str("{\"ids\":[");
            accept(state, &events, &mut reply)?;
            reply.push_str("]}\n");
        }
    }
    Ok(response::ok(reply, "application/json"))
}

/// A page in the operator's browser could ask here, too. Browsers say where they come from; programs
/// do not.
pub(super) fn refuse_pages(headers: &HeaderMap) -> Result<(), Problem> {
    let fetched = headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    if fetched || headers.contains_key(header::ORIGIN) {
        return Err(
            Problem::new(Refusal::Forbidden, "requests from web pages are refused: ask from a program").about("origin")
        );
    }
    Ok(())
}

fn closing() -> Problem {
    Problem::new(Refusal::ShuttingDown, "the gateway is closing its streams")
}

/// Publishes events, all or none, and writes their ids as a JSON list without its brackets: `null`
/// for an event that is live only and has no id of its own.
fn accept(state: &State, events: &[(Topics, Event<'_>)], ids: &mut String) -> Result<(), Problem> {
    if events.is_empty() {
        return Ok(());
    }
    let epoch = state.bus.log.epoch();
    let drafts = events.iter().map(|(topics, event)| Draft::encode(topics.clone(), event, epoch));
    let drafts = drafts.collect::<Result<Vec<_>, _>>()?;
    let placed = state.publish(drafts, state.clock.now_ns()).map_err(|error| match error {
        NotPublished::Closing => closing(),
        NotPublished::TooLarge(fault) => Problem::new(Refusal::BatchTooLarge, format!("the {fault}")),
    })?;
    state.metrics.events_published(Source::Http, events.len() as u64);
    let mut offset = placed.first;
    for (index, (_, event)) in events.iter().enumerate() {
        if index > 0 {
            ids.push(',');
        }
        write_id(event, state.bus.log.id(offset), ids);
        offset = offset.next();
    }
    Ok(())
}

fn write_id(event: &Event<'_>, generated: EventId, ids: &mut String) {
    // Writing to a string can't fail.
    let _ = match event.id.as_deref() {
        Some(id) => write!(ids, "{}", serde_json::Value::from(id)),
        None if event.live_only => write!(ids, "null"),
        None => write!(ids, "\"{generated}\""),
    };
}
