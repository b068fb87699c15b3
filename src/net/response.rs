//! Ordinary answers.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;

/// The media type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// 200 with a body of this type.
pub fn ok(body: impl Into<Bytes>, content_type: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A last response as bytes, for a socket that no HTTP stack looks after any more. `fields` are more of its head,
/// each a whole line.
pub fn into_bytes(response: Response<Full<Bytes>>, fields: &str) -> Vec<u8> {
    let (mut parts, body) = response.into_parts();
    let body = body.into_inner().unwrap_or_default();
    let date = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now()));
    parts.headers.insert(header::DATE, date.expect("Invariant: a date is ASCII"));
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(fields.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}
