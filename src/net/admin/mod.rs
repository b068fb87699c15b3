//! `/admin/`: the slowest streams and the busiest topics, for an operator who asks.
//!
//! What a request costs and what it answers is bounded, and of each kind one at a time is under way.

/// What the endpoints are asked for.
mod parameters;
/// The slowest streams.
mod streams;
/// The busiest topics.
mod topics;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use serde::Serialize;

use super::control::{READ_METHODS, refuse_pages};
use super::problem::{Problem, Refusal};
use super::response;
use super::state::State;

/// What the paths begin with.
pub const PREFIX: &str = "/admin/";

/// Answers a request below [`PREFIX`].
///
/// # Errors
/// 404 while it is off, or for another path; 405; 403 for a web page; 400, naming the parameter; 503
/// while another request of the kind is under way.
pub async fn answer<B>(state: &State, request: &Request<B>) -> Result<Response<Full<Bytes>>, Problem> {
    if !state.config.load().admin {
        return Err(Problem::new(Refusal::NotFound, "this is off: `admin = true` in the configuration turns it on"));
    }
    let path = &request.uri().path()[PREFIX.len()..];
    if !["streams", "topics"].contains(&path) {
        return Err(Problem::not_found());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method(READ_METHODS));
    }
    refuse_pages(request.headers())?;
    refuse_names(request.headers())?;
    let query = request.uri().query().unwrap_or_default();
    let document =
        if path == "streams" { streams::streams(state, query).await? } else { topics::topics(state, query).await? };
    let mut response = response::ok(document, "application/json");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// A page whose own name is made to resolve to this address is of one origin with it, and its browser
/// need not say where it comes from. But it asks for that name.
fn refuse_names(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let authority = Authority::try_from(host.as_bytes()).ok();
    let ours = authority
        .as_ref()
        .map(Authority::host)
        .is_some_and(|name| name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() || !name.contains('.'));
    if ours {
        return Ok(());
    }
    let detail = "a name with dots may be a web page's: ask for an address, localhost or a name without dots";
    Err(Problem::new(Refusal::Forbidden, detail).about("host"))
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
