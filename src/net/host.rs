//! The host that a request asks for, by RFC 9112, and whether a web page may be behind it.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Version};

use super::problem::{Problem, Refusal};

/// Top-level domains in which nobody can register a name: kept for private use, and Kubernetes' short form.
const PRIVATE_DOMAINS: [&str; 4] = ["localhost", "local", "internal", "svc"];

/// Reads the host that a request asks for: the one of its target, where that names one, and else that of the one
/// `Host` that it must have; HTTP/1.0 may go without. Without the port, and an IPv6 address without its brackets.
///
/// # Errors
/// 400 if `Host` is missing, there more than once, or malformed, or the target's host is.
pub fn read(parts: &Parts) -> Result<Option<&[u8]>, Problem> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let refuse = |detail| Err(Problem::new(Refusal::BadHead, detail).about("host"));
    let named = match (hosts.next(), hosts.next()) {
        (None, _) if parts.version < Version::HTTP_11 => None,
        (None, _) => return refuse("an HTTP/1.1 request names a host"),
        (Some(_), Some(_)) => return refuse("a request names one host"),
        (Some(host), None) => match parse(host.as_bytes()) {
            Some(host) => Some(host),
            None => return refuse("isn't a host and a port"),
        },
    };
    // RFC 9112, section 3.2.2: with a target that names a host, the field counts for nothing.
    match parts.uri.authority().map(|authority| parse(authority.as_str().as_bytes())) {
        None => Ok(named),
        Some(Some(host)) => Ok(Some(host)),
        Some(None) => Err(Problem::new(Refusal::BadHead, "isn't a host and a port").about("target")),
    }
}

/// Whether a byte may stand in a registered name as it is: RFC 3986, section 3.2.2.
const IN_NAMES: [bool; 256] = {
    let (mut allowed, marks) = ([false; 256], b"-._~!$&'()*+,;=");
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        allowed[marks[at] as usize] = true;
        at += 1;
    }
    allowed
};

/// `uri-host [ ":" port ]`, RFC 9110, section 7.2.
fn parse(text: &[u8]) -> Option<&[u8]> {
    let (host, rest) = match text.strip_prefix(b"[") {
        Some(literal) => {
            let end = literal.iter().position(|byte| *byte == b']')?;
            let (address, rest) = (&literal[..end], &literal[end + 1..]);
            std::str::from_utf8(address).ok()?.parse::<Ipv6Addr>().ok()?;
            (address, rest)
        }
        None => text.split_at(reg_name(text)?),
    };
    let port = if rest.is_empty() { rest } else { rest.strip_prefix(b":")? };
    port.iter().all(u8::is_ascii_digit).then_some(host)
}

/// How long the registered name is that this begins with. What follows it is a port or nothing.
fn reg_name(text: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        end += text[end..].iter().take_while(|byte| IN_NAMES[usize::from(**byte)]).count();
        match text[end..] {
            [] | [b':', ..] => return Some(end),
            [b'%', one, other, ..] if one.is_ascii_hexdigit() && other.is_ascii_hexdigit() => end += 3,
            _ => return None,
        }
    }
}

/// Refuses what a page in the operator's browser could ask, but for our own page, if there is
/// one. Browsers say where they come from;
/// programs do not. A page whose own name is made to resolve to this address is of one origin with it,
/// and its browser need not say so; but it asks for that name. That somebody follows a link to here is no page's
/// doing, and shows that page nothing.
///
/// # Errors
/// 403.
pub fn refuse_pages(method: &Method, headers: &HeaderMap, host: Option<&[u8]>, has_page: bool) -> Result<(), Problem> {
    let says = |name, value: &str| headers.get(name).is_some_and(|said| said == value);
    let follows_link = [Method::GET, Method::HEAD].contains(method)
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document");
    let own = says("sec-fetch-site", "none") || (has_page && says("sec-fetch-site", "same-origin"));
    let fetched = headers.contains_key("sec-fetch-site") && !own && !follows_link;
    if fetched || headers.contains_key(header::ORIGIN) && !(has_page && is_own_origin(headers)) {
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

/// Whether `Origin` is this listener as it was asked for. Whoever lays TLS around it is to be asked by programs only.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.as_bytes().strip_prefix(b"http://"));
    origin.is_some_and(|origin| headers.get(header::HOST).is_some_and(|host| host.as_bytes() == origin))
}

fn may_be_a_page(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return true };
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
        assert_eq!(read(&parts).ok().flatten(), expected.map(str::as_bytes), "{value}");
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
    fn the_host_of_the_target_wins() {
        let read = |target: &str, host: &str| {
            let parts = Request::get(target).header("host", host).body(()).unwrap().into_parts().0;
            super::read(&parts).map(|host| String::from_utf8(host.unwrap().to_vec()).unwrap()).ok()
        };
        assert_eq!(read("http://evil.example/healthz", "localhost").as_deref(), Some("evil.example"));
        assert_eq!(read("http://localhost:8081/", "evil.example").as_deref(), Some("localhost"));
        assert_eq!(read("http://[::1]:8081/", "h").as_deref(), Some("::1"));
        assert_eq!(read("http://user@localhost/", "localhost"), None);
        // The field has to be one all the same.
        assert_eq!(read("http://localhost/", "a b"), None);
    }

    #[test]
    fn a_name_that_may_be_a_page_is_refused() {
        let refused =
            |host: Option<&str>| refuse_pages(&Method::GET, &HeaderMap::new(), host.map(str::as_bytes), true).is_err();
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

    #[test]
    fn a_page_is_refused_unless_it_is_our_own_or_somebody_follows_a_link() {
        let refused_with = |has_page, method: Method, fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:8081"))]);
            for (name, value) in fields {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            refuse_pages(&method, &headers, Some(b"localhost"), has_page).is_err()
        };
        let refused = |method, fields: &[_]| refused_with(true, method, fields);
        let site = |site| ("sec-fetch-site", site);
        assert!(!refused(Method::POST, &[]), "a program");
        assert!(!refused(Method::GET, &[site("none")]), "an address that was typed");
        let own = ("origin", "http://localhost:8081");
        assert!(!refused(Method::POST, &[site("same-origin"), own]) && !refused(Method::POST, &[own]));
        assert!(refused_with(false, Method::GET, &[site("same-origin")]) && refused_with(false, Method::POST, &[own]));
        for other in ["cross-site", "same-site", "what"] {
            assert!(refused(Method::GET, &[site(other)]) && refused(Method::POST, &[site(other), own]), "{other}");
        }
        for origin in
            ["http://localhost:80", "http://localhost", "https://localhost:8081", "null", "http://evil.example"]
        {
            assert!(refused(Method::POST, &[("origin", origin)]), "{origin}");
            assert!(refused(Method::POST, &[site("same-origin"), ("origin", origin)]), "{origin}");
        }
        let (navigates, document) = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"));
        assert!(!refused(Method::GET, &[site("cross-site"), navigates, document]));
        assert!(refused(Method::POST, &[site("cross-site"), navigates, document]));
        assert!(refused(Method::GET, &[site("cross-site"), navigates, ("sec-fetch-dest", "iframe")]));
    }
}
