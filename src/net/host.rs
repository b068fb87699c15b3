//! The host that a request asks for, by RFC 9112, and whether a web page may be behind it.

use std::net::{IpAddr, Ipv6Addr};

use http::Version;
use http::header::{self, HeaderMap};
use http::request::Parts;

use super::problem::{Problem, Refusal};

/// Top-level domains in which nobody can register a name: kept for private use, and Kubernetes' short form.
const PRIVATE_DOMAINS: [&str; 4] = ["localhost", "local", "internal", "svc"];

/// Reads the one `Host` that a request must have; HTTP/1.0 may go without. Without the port, and an
/// IPv6 address without its brackets.
///
/// # Errors
/// 400 if it is missing, there more than once, or malformed.
pub fn read(parts: &Parts) -> Result<Option<&str>, Problem> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let refuse = |detail| Err(Problem::new(Refusal::BadHead, detail).about("host"));
    match (hosts.next(), hosts.next()) {
        (None, _) if parts.version < Version::HTTP_11 => Ok(None),
        (None, _) => refuse("an HTTP/1.1 request names a host"),
        (Some(_), Some(_)) => refuse("a request names one host"),
        (Some(host), None) => match host.to_str().ok().and_then(parse) {
            Some(host) => Ok(Some(host)),
            None => refuse("isn't a host and a port"),
        },
    }
}

/// `uri-host [ ":" port ]`, RFC 9110, section 7.2.
fn parse(text: &str) -> Option<&str> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(literal) => {
            let (address, rest) = literal.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            is_reg_name(name).then_some((name, rest))?
        }
    };
    let port = if rest.is_empty() { "" } else { rest.strip_prefix(':')? };
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(host)
}

/// RFC 3986, section 3.2.2.
fn is_reg_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|digit| digit.is_some_and(|d| d.is_ascii_hexdigit())),
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// Refuses what a page in the operator's browser could ask. Browsers say where they come from;
/// programs do not. A page whose own name is made to resolve to this address is of one origin with it,
/// and its browser need not say so; but it asks for that name.
///
/// # Errors
/// 403.
pub fn refuse_pages(headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
    let fetched = headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    if fetched || headers.contains_key(header::ORIGIN) {
        return Err(
            Problem::new(Refusal::Forbidden, "requests from web pages are refused: ask from a program").about("origin")
        );
    }
    if host.is_some_and(may_be_a_page) {
        let detail = "a name with dots may be a web page's: ask for an address, a name without dots, or one that ends in \
                      .localhost, .local, .internal or .svc";
        return Err(Problem::new(Refusal::Forbidden, detail).about("host"));
    }
    Ok(())
}

fn may_be_a_page(host: &str) -> bool {
    let Some((_, last)) = host.rsplit_once('.') else { return false };
    let is_private = PRIVATE_DOMAINS.iter().any(|domain| last.eq_ignore_ascii_case(domain));
    !is_private && host.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    /// The one `Host` with this value.
    #[track_caller]
    fn check(value: &str, expected: Option<&str>) {
        let host = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let parts = Request::get("/").header("host", host).body(()).unwrap().into_parts().0;
        assert_eq!(read(&parts).ok().flatten(), expected, "{value}");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        check("h", Some("h"));
        check("example.com:80", Some("example.com"));
        check("127.0.0.1:8081", Some("127.0.0.1"));
        check("[::1]:8081", Some("::1"));
        check("[::1]", Some("::1"));
        check("a_b-c.d~e:", Some("a_b-c.d~e"));
        check("a%2fb", Some("a%2fb"));
        // The form that a target without an authority asks for.
        check("", Some(""));
        for bad in ["a b", "a/b", "http://a", "u@h", "a:b", "a:1:2", "::1", "[::1", "[::1]x", "[h]", "a%zz", "ä", "a?b"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let read = |version, hosts: &[&'static str]| {
            let mut request = Request::get("/").version(version);
            for host in hosts {
                request = request.header("host", *host);
            }
            super::read(&request.body(()).unwrap().into_parts().0).is_ok()
        };
        assert!(read(Version::HTTP_11, &["h"]) && read(Version::HTTP_10, &["h"]) && read(Version::HTTP_10, &[]));
        assert!(!read(Version::HTTP_11, &[]) && !read(Version::HTTP_11, &["h", "h"]));
        assert!(!read(Version::HTTP_10, &["h", "g"]));
    }

    #[test]
    fn a_name_that_may_be_a_page_is_refused() {
        let refused = |host| refuse_pages(&HeaderMap::new(), host).is_err();
        for host in [
            "127.0.0.1",
            "::1",
            "::ffff:1.2.3.4",
            "localhost",
            "gateway",
            "10.0.0.7",
            "",
            "gate.default.svc",
            "gate.default.svc.cluster.local",
            "gate.corp.Internal",
            "gate.localhost",
        ] {
            assert!(!refused(Some(host)), "{host}");
        }
        for host in ["evil.example", "localhost.", "127.0.0.1.nip.io", "1.2.3.4.5", "local.example", "svc.", "a.xlocal"]
        {
            assert!(refused(Some(host)), "{host}");
        }
        assert!(!refused(None));
    }
}
