//! Ordinary answers.

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
