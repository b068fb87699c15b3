//! `/console` on the control listener: a page for the operator, and the streams that it reads.
//!
//! The page's own data are events of the topics `$sys/…`, which are published while somebody looks, reach this
//! gateway's streams alone, and which no pattern matches. Everything here is off unless `admin = true`.

/// What is published for the page.
mod feed;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use tokio::sync::Notify;

use super::response;

pub use feed::feed;

const PAGE: &str = include_str!("console.html");
const SCRIPT: &str = include_str!("console.js");
const STYLE: &str = include_str!("console.css");
/// The page has nothing from elsewhere, and stands in no other page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What the page's streams and what is published for them know of each other.
#[derive(Debug, Default)]
pub struct Console {
    opened: Notify,
}

impl Console {
    /// A stream of the page opens.
    pub fn opens(&self) {
        self.opened.notify_one();
    }
}

/// The file at this path below `/console`, if there is one.
pub fn file(path: &str) -> Option<Response<Full<Bytes>>> {
    let (text, content_type) = match path {
        "" | "/" => (PAGE, "text/html; charset=utf-8"),
        "/console.js" => (SCRIPT, "text/javascript; charset=utf-8"),
        "/console.css" => (STYLE, "text/css; charset=utf-8"),
        _ => return None,
    };
    let mut file = response::ok(text, content_type);
    let headers = file.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_from_elsewhere_and_nothing_inline() {
        for text in [PAGE, SCRIPT, STYLE] {
            assert!(!text.contains("://") && !text.contains("style=\""), "{text}");
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert!(PAGE.contains("<script src=\"/console/console.js\" defer></script>") && !PAGE.contains("<style"));
    }

    #[test]
    fn every_element_that_the_script_names_is_on_the_page() {
        let names = SCRIPT.split("$('").skip(1).filter_map(|rest| rest.split('\'').next());
        let missing: Vec<_> = names.filter(|name| !PAGE.contains(&format!("id=\"{name}\""))).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
