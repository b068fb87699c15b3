//! A page to try streams on: it asks nobody but this listener, and has nothing from elsewhere.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;

use crate::engine::entropy::random;

use super::response;

const PAGE: &str = include_str!("try.html");
/// Stands in the page where the nonce goes.
const NONCE: &str = "NONCE";

/// The page.
pub fn response() -> Response<Full<Bytes>> {
    let nonce = format!("{:016x}{:016x}", random(), random());
    let policy = format!(
        "default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut page = response::ok(PAGE.replace(NONCE, &nonce), "text/html; charset=utf-8");
    let policy = HeaderValue::try_from(policy).expect("Invariant: a policy is ASCII");
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    page.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_and_style_of_the_page_has_the_nonce_of_its_policy() {
        let page = response();
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        let body = page.into_body().into_inner().unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert_eq!(text.matches("<script").count() + text.matches("<style").count(), 2);
        assert_eq!(text.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        assert!(!text.contains(NONCE) && !text.contains("://"), "nothing from elsewhere");
    }
}
