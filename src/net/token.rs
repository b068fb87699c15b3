//! Where a request may hold a token: in `Authorization`, in a cookie, in the query.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

use crate::access::gate::{Gate, TokenError};
use crate::access::pass::Pass;
use crate::engine::wall::wall_s;
use crate::hub::topic::Denied;
use crate::ops::config::Config;
use crate::ops::metrics::TokenResult;

use super::negotiation::LAST_EVENT_ID;
use super::problem::{Problem, Refusal};
use super::query;
use super::state::State;

/// The parameter that may hold a token.
pub const ACCESS_TOKEN: &str = "access_token";
/// The parameter that may hold a ticket.
const TICKET: &str = "ticket";
const AUTHORIZATION: &str = "authorization";

/// What was shown by whoever sent a request.
pub struct Shown {
    /// What they may do.
    pub pass: Arc<Pass>,
    /// The number of the ticket that it was, and how often that was used.
    pub ticket: Option<(u64, u32)>,
}

/// What whoever asks for a stream may do, by a token or a ticket.
///
/// # Errors
/// As [`pass`].
pub fn shown(state: &State, gate: &Gate, parts: &Parts) -> Result<Shown, Problem> {
    let Some(ticket) = in_query(parts, TICKET)? else {
        return Ok(Shown { pass: pass(state, gate, parts)?, ticket: None });
    };
    if find(&state.config.load(), parts)?.is_some() {
        return Err(malformed(TICKET, "there is a token in this request, too"));
    }
    let agent = parts.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
    let resumes = parts.headers.get(LAST_EVENT_ID).is_some_and(|id| !id.is_empty());
    let admitted = state.tickets.admit(&ticket, agent, resumes, wall_s());
    let admitted = admitted.map_err(|error| {
        state.metrics.token(TokenResult::Refused);
        refused(TICKET, &error)
    })?;
    not_revoked(state, TICKET, &admitted.pass)?;
    state.metrics.token(TokenResult::Remembered);
    Ok(Shown { pass: admitted.pass, ticket: Some((admitted.number, admitted.uses)) })
}

fn not_revoked(state: &State, field: &'static str, pass: &Pass) -> Result<(), Problem> {
    if pass.token.as_ref().is_some_and(|token| state.revoked.covers(token)) {
        state.metrics.token(TokenResult::Refused);
        return Err(refused(field, &TokenError::Revoked));
    }
    Ok(())
}

/// What the query has of a parameter that may be there once.
fn in_query<'a>(parts: &'a Parts, name: &'static str) -> Result<Option<Cow<'a, str>>, Problem> {
    let mut values = query::pairs(parts.uri.query().unwrap_or_default()).filter(|(other, _)| *other == name);
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed(name, "is given twice"));
    }
    Ok(Some(query::decode(value, true).map_err(|reason| malformed(name, reason))?))
}

/// What whoever sent a request may do.
///
/// # Errors
/// 400 if it holds two tokens, or one where none may be; 401 if that is refused.
pub fn pass(state: &State, gate: &Gate, parts: &Parts) -> Result<Arc<Pass>, Problem> {
    let config = state.config.load();
    let Some((field, token)) = find(&config, parts)? else { return Ok(gate.anonymous().clone()) };
    match gate.pass(&token) {
        Ok(known) if known.pass.token.as_ref().is_some_and(|token| state.revoked.covers(token)) => {
            state.metrics.token(TokenResult::Refused);
            Err(refused(field, &TokenError::Revoked))
        }
        Ok(known) => {
            state.metrics.token(if known.again { TokenResult::Remembered } else { TokenResult::Verified });
            Ok(known.pass)
        }
        Err(error) => {
            state.metrics.token(TokenResult::Refused);
            Err(refused(field, &error))
        }
    }
}

fn find<'a>(config: &Config, parts: &'a Parts) -> Result<Option<(&'static str, Cow<'a, str>)>, Problem> {
    let mut found = bearer(&parts.headers)?.map(|token| (AUTHORIZATION, Cow::Borrowed(token)));
    let others = [
        cookie(config, parts)?.map(|token| ("cookie", Cow::Borrowed(token))),
        access_token(config, parts)?.map(|token| (ACCESS_TOKEN, token)),
    ];
    for other in others.into_iter().flatten() {
        if let Some((field, _)) = found.replace(other) {
            return Err(malformed(field, "there is a second token in this request"));
        }
    }
    Ok(found)
}

/// The token in `Authorization`. Another scheme there is somebody else's business.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed(AUTHORIZATION, "is given twice"));
    }
    let text = value.to_str().map_err(|_| malformed(AUTHORIZATION, "isn't ASCII"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    match token.trim_matches(' ') {
        "" => Err(malformed(AUTHORIZATION, "holds no token")),
        token if token.contains([' ', ',']) => Err(malformed(AUTHORIZATION, "holds more than a token")),
        token => Ok(Some(token)),
    }
}

/// The key that a request to the control listener holds.
///
/// # Errors
/// 400 if that is malformed.
pub fn control_key(parts: &Parts) -> Result<Option<&str>, Problem> {
    bearer(&parts.headers)
}

/// The token in the cookie that may hold one. Browsers send cookies with whatever a page of anyone has them ask for: so
/// the page must be one that may.
fn cookie<'a>(config: &Config, parts: &'a Parts) -> Result<Option<&'a str>, Problem> {
    let Some(name) = config.auth.cookie.get() else { return Ok(None) };
    let values = parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut tokens = pairs.filter(|(other, value)| *other == name && !value.is_empty()).map(|(_, value)| value);
    let Some(token) = tokens.next() else { return Ok(None) };
    if tokens.any(|other| other != token) {
        return Err(malformed("cookie", "there is a second token in this request"));
    }
    let may = |origin: &str| config.cors.origins.iter().any(|known| known.as_str() == origin);
    let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let refuse =
        |field| Err(Problem::new(Refusal::Forbidden, "a page of this origin may not use cookies here").about(field));
    match (parts.headers.get(header::ORIGIN), parts.headers.get(header::REFERER)) {
        (Some(_), _) if text(header::ORIGIN).is_some_and(may) => Ok(Some(token)),
        (Some(_), _) => refuse("origin"),
        (None, Some(_)) if text(header::REFERER).and_then(origin_of).is_some_and(may) => Ok(Some(token)),
        (None, Some(_)) => refuse("referer"),
        // No page of another origin can read the answer to this, and it changes nothing.
        (None, None) if parts.method.is_safe() => Ok(Some(token)),
        (None, None) => refuse("origin"),
    }
}

/// The origin of a URL.
fn origin_of(url: &str) -> Option<&str> {
    let host_at = url.find("://")? + 3;
    let end = url[host_at..].find(['/', '?', '#']).map_or(url.len(), |end| host_at + end);
    Some(&url[..end])
}

/// The token in the query.
fn access_token<'a>(config: &Config, parts: &'a Parts) -> Result<Option<Cow<'a, str>>, Problem> {
    match in_query(parts, ACCESS_TOKEN) {
        Ok(None) => Ok(None),
        _ if !config.auth.query => Err(malformed(ACCESS_TOKEN, "a token isn't taken from the query here")),
        found => found,
    }
}

// ===== refusals (RFC 6750, section 3) =====

fn challenge(problem: Problem, challenge: &'static str) -> Problem {
    problem.with(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

fn malformed(field: &'static str, reason: &'static str) -> Problem {
    challenge(Problem::in_field(field, reason), "Bearer error=\"invalid_request\"")
}

fn refused(field: &'static str, error: &impl Display) -> Problem {
    let what = if field == TICKET { "ticket" } else { "token" };
    let problem = Problem::new(Refusal::Unauthorized, format!("the {what} {error}")).about(field);
    challenge(problem, "Bearer error=\"invalid_token\"")
}

/// The refusal of what somebody may not do.
pub fn not_granted(pass: &Pass, field: &'static str, what: &str, may: &str) -> Problem {
    match pass.token {
        None => {
            let detail = format!("{what:?}: {may} only with a token");
            challenge(Problem::new(Refusal::Unauthorized, detail).about(field), "Bearer")
        }
        Some(_) => {
            let detail = format!("{what:?}: the token does not grant it");
            challenge(Problem::new(Refusal::Forbidden, detail).about(field), "Bearer error=\"insufficient_scope\"")
        }
    }
}

/// The refusal of a stream.
pub fn not_subscribed(pass: &Pass, denied: &Denied) -> Problem {
    match denied {
        Denied::Topic(topic) => not_granted(pass, "topic", topic.as_str(), "subscribe"),
        Denied::Pattern(pattern) => not_granted(pass, "match", pattern.as_str(), "subscribe"),
    }
}

/// The refusal of a request to the control listener.
pub fn control_closed(key: Option<&str>) -> Problem {
    match key {
        None => {
            let problem = Problem::new(Refusal::Unauthorized, "this listener asks for a key").about(AUTHORIZATION);
            challenge(problem, "Bearer")
        }
        Some(_) => {
            let problem = Problem::new(Refusal::Unauthorized, "the key is another one").about(AUTHORIZATION);
            challenge(problem, "Bearer error=\"invalid_token\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::problem::document;
    use crate::ops::config::Origin;

    /// A `find` in a request with these fields comes to this.
    #[track_caller]
    fn check(query: bool, request: &str, fields: &[(&str, &str)], expected: Result<Option<&str>, &str>) {
        let mut config = Config::default();
        config.auth.query = query;
        config.auth.cookie = "session".to_owned().try_into().unwrap();
        config.cors.origins = vec![Origin::parse("https://a.example").unwrap()];
        let (method, uri) = request.split_once(' ').unwrap();
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let found = find(&config, &parts).map(|found| found.map(|(_, token)| token.into_owned()));
        let found = found.map_err(|problem| document(problem)["field"].as_str().unwrap().to_owned());
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(|field| &**field), expected, "{uri} {fields:?}");
    }

    #[test]
    fn a_request_holds_one_token_or_none() {
        let (get, auth) = ("GET /events/a", "authorization");
        check(false, get, &[], Ok(None));
        check(false, get, &[(auth, "Bearer x.y.z")], Ok(Some("x.y.z")));
        check(false, get, &[(auth, "bEARER  x")], Ok(Some("x")));
        check(false, get, &[(auth, "Basic x")], Ok(None));
        check(false, get, &[(auth, "Bearer")], Err(auth));
        check(false, get, &[(auth, "Bearer x y")], Err(auth));
        check(false, get, &[(auth, "Bearer x"), (auth, "Bearer x")], Err(auth));
        check(false, get, &[("cookie", "a=b; session=x; c=d")], Ok(Some("x")));
        check(false, get, &[("cookie", "session="), ("cookie", "xsession=x")], Ok(None));
        check(false, get, &[("cookie", "session=x; session=y")], Err("cookie"));
        check(false, get, &[("cookie", "session=x"), (auth, "Bearer x")], Err(auth));
        check(true, "GET /?access_token=x", &[], Ok(Some("x")));
        check(false, "GET /?access_token=x", &[], Err("access_token"));
        check(true, "GET /?access_token=x&access_token=x", &[], Err("access_token"));
        check(true, "GET /?access_token=%", &[], Err("access_token"));
        check(true, "GET /?access_token=x", &[(auth, "Bearer x")], Err(auth));
        check(true, "GET /?access_token=x", &[("cookie", "session=x")], Err("cookie"));
    }

    #[test]
    fn a_cookie_counts_on_the_pages_that_may_use_it() {
        let session = ("cookie", "session=x");
        let check = |request, fields: &[(&str, &str)], expected| {
            check(false, request, &[&[session], fields].concat(), expected)
        };
        for request in ["GET /events/a", "POST /events/a"] {
            check(request, &[("origin", "https://a.example")], Ok(Some("x")));
            check(request, &[("referer", "https://a.example/page?x#y")], Ok(Some("x")));
            check(request, &[("referer", "https://a.example")], Ok(Some("x")));
            check(request, &[("origin", "https://b.example")], Err("origin"));
            check(request, &[("origin", "null")], Err("origin"));
            check(request, &[("origin", "https://b.example"), ("referer", "https://a.example/")], Err("origin"));
            check(request, &[("referer", "https://a.example.b/")], Err("referer"));
            check(request, &[("referer", "https://b/https://a.example")], Err("referer"));
        }
        check("GET /events/a", &[], Ok(Some("x")));
        check("POST /events/a", &[], Err("origin"));
    }
}
