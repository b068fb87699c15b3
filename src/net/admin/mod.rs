//! `/admin/`: the slowest streams and the busiest topics, for an operator who asks.
//!
//! What a request costs and what it answers is bounded, and of each kind one at a time is under way.

/// What the endpoints are asked for.
mod parameters;
/// Tokens that are refused.
mod revoke;
/// The slowest streams.
mod streams;
/// The busiest topics.
mod topics;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use serde::Serialize;

use super::connection::RequestBody;
use super::problem::{Problem, Refusal};
use super::publish;
use super::response;
use super::state::State;

pub use streams::streams;
pub use topics::topics;

/// The longest body that revokes something, in bytes.
const REVOKE_BYTES_MAX: usize = 4096;

/// The configuration that runs.
pub fn config(state: &State) -> Response<Full<Bytes>> {
    let mut response = shown(state.config.load().to_toml().into_bytes());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/toml; charset=utf-8"));
    response
}

/// Refuses the tokens that the body names from now on, and ends their streams.
///
/// # Errors
/// 400, naming the field; 503 if as many are refused as may be.
pub async fn revoke(state: &State, parts: &Parts, body: &mut RequestBody) -> Result<Response<Full<Bytes>>, Problem> {
    if parts.uri.query().is_some() {
        return Err(Problem::in_field("query", "there is none: what is revoked is in the body"));
    }
    let deadline = state.config.load().limits.body_deadline.get();
    let body = publish::read_body(body, REVOKE_BYTES_MAX, deadline).await?;
    Ok(shown(revoke::revoke(state, &body)?))
}

/// Refuses what is below `/admin/` while it is off.
///
/// # Errors
/// 404.
pub fn must_be_on(state: &State) -> Result<(), Problem> {
    if state.config.load().admin {
        return Ok(());
    }
    Err(Problem::new(Refusal::NotFound, "this is off: `admin = true` in the configuration turns it on"))
}

/// A document, for whoever asked.
pub fn shown(document: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = response::ok(document, "application/json");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn busy() -> Problem {
    Problem::new(Refusal::Busy, "another such request is under way: one at a time")
        .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn json(document: &impl Serialize) -> Vec<u8> {
    // Texts and numbers can't fail to serialize.
    let mut bytes = serde_json::to_vec(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
