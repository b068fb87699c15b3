//! Requests for tickets.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use http_body_util::Full;

use crate::access::tickets::{FIRST_USE_S, Full as TooMany, TICKETS_MAX};
use crate::engine::wall::wall_s;

use super::problem::{Problem, Refusal};
use super::state::State;
use super::{response, token};

/// Gives whoever has a token a ticket for a stream.
///
/// # Errors
/// 401 without a token, or with one that is not good; 503 if there are as many tickets as may be.
pub fn issue(state: &State, parts: &Parts) -> Result<Response<Full<Bytes>>, Problem> {
    let pass = token::pass(state, &state.gate.load(), parts)?;
    if pass.token.is_none() {
        return Err(token::not_granted(&pass, "authorization", "a ticket", "that is"));
    }
    let id = state.tickets.issue(pass, wall_s()).map_err(|TooMany| {
        let detail = format!("{TICKETS_MAX} tickets are under way: as many as may be at once");
        Problem::new(Refusal::Busy, detail).with(header::RETRY_AFTER, HeaderValue::from_static("30"))
    })?;
    let document = format!("{{\"ticket\":\"{id}\",\"expires_in\":{FIRST_USE_S}}}\n");
    let mut response = response::ok(document, "application/json");
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}
