//! Refusals as RFC 9457 problem documents.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::hub::fault::Fault;
pub use crate::ops::refusal::Refusal;

/// A refusal in words for the one who asked.
///
/// The type is `about:blank`, so the title is the status' own phrase; `reason` tells refusals of
/// one status apart, `field` and `line` say where the fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    reason: Refusal,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    line: Option<usize>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A refusal, and the sentence that explains it.
    pub fn new(reason: Refusal, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { reason, detail: detail.into(), field: part(reason).map(Cow::from), line: None, headers: Vec::new() }
    }

    /// A fault in one field of the request: what is wrong with it, such as `is empty`.
    pub fn in_field(field: impl Into<Cow<'static, str>>, reason: impl fmt::Display) -> Problem {
        let field = field.into();
        Problem { field: Some(field.clone()), ..Problem::new(Refusal::BadField, format!("{field}: {reason}")) }
    }

    /// 404.
    pub fn not_found() -> Problem {
        Problem::new(Refusal::NotFound, "there is nothing at this path")
    }

    /// 405, with the methods that the path knows, such as `GET, HEAD, OPTIONS`.
    pub fn method(allow: &str) -> Problem {
        let names = HeaderValue::from_str(allow).expect("Invariant: names of methods are tokens");
        Problem::new(Refusal::Method, format!("this path knows {allow}")).with(header::ALLOW, names)
    }

    /// Explains it by another sentence.
    pub fn saying(mut self, detail: &'static str) -> Problem {
        self.detail = detail.into();
        self
    }

    /// Names the part of the request that it is about.
    pub fn about(mut self, field: &'static str) -> Problem {
        self.field = Some(field.into());
        self
    }

    /// Names the 1-based line of the body that the fault is in.
    pub fn line(mut self, line: usize) -> Problem {
        self.line = Some(line);
        self
    }

    /// Adds a header to the response.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Why it is refused.
    pub fn reason(&self) -> Refusal {
        self.reason
    }

    /// Whether it is that somebody is not known, or may not.
    pub(super) fn is_of_access(&self) -> bool {
        matches!(self.reason, Refusal::Unauthorized | Refusal::Forbidden)
    }

    /// The document.
    pub(super) fn body(&self) -> Bytes {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: &'static str,
            title: &'a str,
            status: u16,
            detail: &'a str,
            reason: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            line: Option<usize>,
        }
        let status = status(self.reason);
        let document = Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: &self.detail,
            reason: self.reason.as_ref(),
            field: self.field.as_deref(),
            line: self.line,
        };
        // Strings and numbers can't fail to serialize.
        let mut body = serde_json::to_vec(&document).unwrap_or_default();
        body.push(b'\n');
        body.into()
    }

    /// The response.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body()));
        *response.status_mut() = status(self.reason);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

impl<F: Fault> From<F> for Problem {
    fn from(fault: F) -> Problem {
        Problem::in_field(fault.field(), fault.reason())
    }
}

impl From<Problem> for Response<Full<Bytes>> {
    fn from(problem: Problem) -> Response<Full<Bytes>> {
        problem.into_response()
    }
}

/// The part of the request that a refusal is about, where it is always the same.
fn part(refusal: Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::BadHead | Refusal::HeadTooLarge | Refusal::HeadTooSlow | Refusal::HttpVersion => Some("head"),
        Refusal::NotTls => Some("scheme"),
        Refusal::UriTooLong => Some("target"),
        Refusal::NotFound => Some("path"),
        Refusal::Method => Some("method"),
        Refusal::MediaType => Some("content-type"),
        Refusal::BadBody | Refusal::BodyTooLarge | Refusal::BodyTooSlow | Refusal::BatchTooLarge => Some("body"),
        Refusal::BadField
        | Refusal::Unauthorized
        | Refusal::Forbidden
        | Refusal::Handler
        | Refusal::Busy
        | Refusal::ShuttingDown => None,
        Refusal::NotStored | Refusal::KeyReused | Refusal::PerhapsStored => None,
    }
}

/// The status that goes with a refusal.
fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::BadHead | Refusal::NotTls | Refusal::BadField | Refusal::BadBody => StatusCode::BAD_REQUEST,
        Refusal::UriTooLong => StatusCode::URI_TOO_LONG,
        Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::HeadTooSlow | Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Refusal::BodyTooLarge | Refusal::BatchTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::NotFound => StatusCode::NOT_FOUND,
        Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
        Refusal::Forbidden => StatusCode::FORBIDDEN,
        Refusal::Handler => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::Busy | Refusal::ShuttingDown | Refusal::NotStored | Refusal::PerhapsStored => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// The document of a problem.
#[cfg(test)]
pub(super) fn document(problem: Problem) -> serde_json::Value {
    serde_json::from_slice(&problem.body()).unwrap()
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;
    use crate::hub::fault::{NameError, TopicError};
    use crate::net::response::into_bytes;

    #[track_caller]
    fn check(problem: Problem, expected: &str) {
        assert_eq!(std::str::from_utf8(&problem.body()).unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn documents_name_what_is_wrong_and_where() {
        check(
            TopicError::Name(NameError::Empty).into(),
            r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"topic: is empty","reason":"bad_field","field":"topic"}"#,
        );
        check(
            Problem::new(Refusal::BodyTooLarge, "at most \"9\" bytes").line(3),
            r#"{"type":"about:blank","title":"Payload Too Large","status":413,"detail":"at most \"9\" bytes","reason":"body_too_large","field":"body","line":3}"#,
        );
    }

    #[test]
    fn responses_carry_what_their_status_asks_for() {
        let response = Problem::method("GET, HEAD").into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");

        let bytes = into_bytes(Problem::not_found().into_response(), "x-a: b\r\n");
        let bytes = String::from_utf8(bytes).unwrap();
        let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert!(head.contains("\r\nconnection: close\r\n") && head.ends_with("\r\nx-a: b"), "{head}");
    }

    #[test]
    fn a_refusal_has_the_status_of_an_error() {
        assert!(Refusal::VARIANTS.iter().all(|refusal| status(*refusal).as_u16() >= 400));
    }
}
