//! Requests to publish.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::Full;

use crate::access::pass::Pass;
use crate::engine::record::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::engine::{NotStored, Stored};
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::id::EventId;
use crate::hub::topic::{Numbers, Topic, TopicHandle, Topics, is_internal};
use crate::ops::limits::{BATCH_EVENTS_MAX, PUBLISHERS_MAX};
use crate::ops::metrics::Source;

use super::connection::RequestBody;
use super::problem::{Problem, Refusal};
use super::publish;
use super::state::{NotPublished, State};
use super::{query, response, streams, token};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Publishes what a request holds: one event for `topic`, or a batch. With a pass, to topics that it grants only.
///
/// # Errors
/// What is wrong with it, and where; 401 or 403 if it is not granted; 503 while the gateway is closing.
pub async fn publish(
    state: &State,
    pass: Option<&Pass>,
    parts: &Parts,
    body: &mut RequestBody,
    topic: Option<Topic>,
) -> Result<Response<Full<Bytes>>, Problem> {
    if state.closing.load(Ordering::Relaxed) {
        return Err(closing());
    }
    if parts.headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
        return Err(Problem::new(Refusal::MediaType, "bodies are taken as they are").about("content-encoding"));
    }
    if let (Some(pass), Some(topic)) = (pass, &topic) {
        may_publish(pass, topic.as_str())?;
    }
    if let Some(pass) = pass.filter(|pass| !pass.may_publish_something()) {
        // Before it is read.
        return Err(token::not_granted(pass, "method", "POST", "publish"));
    }
    let key = idempotency_key(&parts.headers)?;
    let _turn = state.publishers.try_acquire().map_err(|_| busy())?;
    let limits = state.config.load().limits.clone();
    let body = publish::read_body(body, limits.body_bytes.as_usize(), limits.body_deadline.get()).await?;
    let mut reply = String::new();
    match topic {
        Some(topic) => {
            if is_form_with_files(&parts.headers) {
                let detail = "send the data itself as the body, not a form: curl --data-binary @FILE";
                return Err(Problem::new(Refusal::MediaType, detail));
            }
            // A token in it has been taken.
            let query = query::without(parts.uri.query().unwrap_or_default(), token::ACCESS_TOKEN);
            let event = publish::single(state.topics.handle(&topic), &query, &body)?;
            reply.push_str("{\"id\":");
            let duplicate = accept(state, &[event], key, &mut reply).await?;
            reply.push_str(if duplicate { ",\"duplicate\":true}\n" } else { "}\n" });
        }
        None => {
            let content_type = parts.headers.get(header::CONTENT_TYPE);
            let events = publish::batch(content_type, &body, BATCH_EVENTS_MAX, &state.topics)?;
            if let Some(pass) = pass {
                let topics = events.iter().flat_map(|(topics, _)| topics.iter());
                topics.map(TopicHandle::as_str).try_for_each(|topic| may_publish(pass, topic))?;
            }
            reply.push_str("{\"ids\":[");
            let duplicate = accept(state, &events, key, &mut reply).await?;
            reply.push_str(if duplicate { "],\"duplicate\":true}\n" } else { "]}\n" });
        }
    }
    Ok(response::ok(reply, "application/json"))
}

fn may_publish(pass: &Pass, topic: &str) -> Result<(), Problem> {
    if pass.may_publish(topic) { Ok(()) } else { Err(token::not_granted(pass, "topic", topic, "publish")) }
}

fn busy() -> Problem {
    let detail = format!("{PUBLISHERS_MAX} requests to publish are under way: as many as may be at once");
    Problem::new(Refusal::Busy, detail).with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn closing() -> Problem {
    Problem::new(Refusal::ShuttingDown, "the gateway is closing its streams")
}

/// Whether the body is what `curl -F` sends: the data would have the form's boundaries around it.
fn is_form_with_files(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// Reads the key by which a call is known that comes again.
///
/// # Errors
/// 400 if it can't be one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let refuse = |detail: String| Problem::in_field(IDEMPOTENCY_KEY, detail);
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.any(|other| other != value) {
        return Err(refuse("is given twice".to_owned()));
    }
    // `to_str` lets tabs pass.
    let key = value.to_str().ok().filter(|key| !key.contains('\t'));
    let key = key.ok_or_else(|| refuse("holds other characters than visible ASCII and spaces".to_owned()))?;
    let max = IDEMPOTENCY_KEY_BYTES_MAX;
    if !(1..=max).contains(&key.len()) {
        return Err(refuse(format!("has {} bytes, 1 to {max} are allowed", key.len())));
    }
    Ok(Some(key))
}

/// Publishes events, all or none, and writes their ids as a JSON list without its brackets: `null`
/// for an event that is live only and has no id of its own. Says whether that was done before, for the same key.
async fn accept(
    state: &State,
    events: &[(Topics, Event<'_>)],
    key: Option<&str>,
    ids: &mut String,
) -> Result<bool, Problem> {
    if events.is_empty() {
        return Ok(false);
    }
    if events.iter().any(|(topics, _)| topics.iter().any(|topic| is_internal(topic.as_str()))) {
        return Err(streams::kept_for_the_gateway());
    }
    let epoch = state.bus.log.epoch();
    let drafts = events.iter().map(|(topics, event)| Draft::encode(topics.clone(), event, epoch));
    let drafts = drafts.collect::<Result<Vec<_>, _>>()?;
    let offered = state.publish(drafts, events.iter().map(|(topics, event)| (topics, event)), key, Source::Http);
    let stored = offered.map_err(not_published)?.answer().await;
    let Stored { ids: mut generated, duplicate } = stored.map_err(not_published)?;
    tracing::debug!(events = events.len(), first_topics = ?events[0].0, duplicate, "published");
    for (index, (_, event)) in events.iter().enumerate() {
        if index > 0 {
            ids.push(',');
        }
        write_id(event, generated.next(event.live_only), ids);
    }
    Ok(duplicate)
}

fn not_published(error: NotPublished) -> Problem {
    let later = |problem: Problem| problem.with(header::RETRY_AFTER, HeaderValue::from_static("1"));
    match error {
        NotPublished::Closing => closing(),
        error @ (NotPublished::TooLarge(_) | NotPublished::Record(_)) => {
            Problem::new(Refusal::BatchTooLarge, format!("the {error}"))
        }
        NotPublished::Engine(error @ NotStored::Unknown(_)) => {
            later(Problem::new(Refusal::PerhapsStored, error.to_string()))
        }
        NotPublished::Engine(error @ NotStored::TooLarge(_)) => Problem::new(Refusal::BatchTooLarge, error.to_string()),
        NotPublished::Engine(error @ NotStored::KeyReused) => {
            Problem::new(Refusal::KeyReused, error.to_string()).about(IDEMPOTENCY_KEY)
        }
        NotPublished::Engine(error) => later(Problem::new(Refusal::NotStored, error.to_string())),
    }
}

fn write_id(event: &Event<'_>, generated: Option<EventId>, ids: &mut String) {
    // Writing to a string can't fail.
    let _ = match event.id.as_deref() {
        Some(id) => write!(ids, "{}", serde_json::Value::from(id)),
        None => match generated {
            Some(generated) => write!(ids, "\"{generated}\""),
            None => write!(ids, "null"),
        },
    };
}
