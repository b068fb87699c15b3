//! What a subscriber asks for, and the heads of the answers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use http_body_util::Full;
use mediatype::names::{_STAR, PLAIN, TEXT};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams};

use super::cors;
use super::problem::Problem;
use super::query::{self, BAD_ESCAPE};
use crate::hub::close::CloseReason;
use crate::hub::event::ID_BYTES_MAX;
use crate::hub::frame::{Chunk, Framing, HEARTBEAT};
use crate::hub::log::Resume;
use crate::hub::retry;
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::{Numbers, Pattern, Subscription, Topic};

/// What the client had last.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What an id is called in a query: by us, and by polyfills and libraries, which can't set a header.
const ID_PARAMETERS: [&str; 5] = ["last_event_id", "lastEventId", "lastEventID", "Last-Event-ID", "evs_last_event_id"];
const EVENT_STREAM: Name<'_> = Name::new_unchecked("event-stream");
const Q: Name<'_> = Name::new_unchecked("q");
const CONTENT_TYPE: &str = "text/event-stream";
const CACHE_CONTROL: &str = "no-cache, no-store, no-transform";
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The topic in a path. An encoded slash is a slash like any other.
///
/// # Errors
/// 400 if it is none.
pub fn path_topic(text: Option<&str>) -> Result<Option<Topic>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let text = query::decode(text, false).map_err(|reason| Problem::in_field("topic", reason))?;
    Ok(Some(Topic::parse(&text)?))
}

/// Reads a subscribe request. The stream carries the path's topic and also what the query names
/// with `topic=` and `match=`, each as often as needed.
///
/// Parameters that mean nothing here are passed over, as polyfills and
/// cache busters add some.
///
/// # Errors
/// 400, naming the parameter.
pub fn subscribe(parts: &Parts, path_topic: Option<Topic>, numbers: &impl Numbers) -> Result<Subscribe, Problem> {
    let mut topics = Vec::from_iter(path_topic);
    let mut patterns = Vec::new();
    let (mut max_events, mut max_seconds) = (None, None);
    for (name, value) in query::pairs(parts.uri.query().unwrap_or_default()) {
        let Ok(name) = query::decode(name, true) else { continue };
        let text = |field| query::decode(value, true).map_err(|reason| Problem::in_field(field, reason));
        match &*name {
            "topic" => topics.push(Topic::parse(&text("topic")?)?),
            "match" => patterns.push(Pattern::parse(&text("match")?)?),
            "max_events" => set_bound(&mut max_events, "max_events", &text("max_events")?)?,
            "max_seconds" => set_bound(&mut max_seconds, "max_seconds", &text("max_seconds")?)?,
            _ => {}
        }
    }
    let lasts = max_seconds.map(|seconds| (Duration::from_secs(seconds.get().into()), CloseReason::MaxSeconds));
    Ok(Subscribe {
        subscription: Arc::new(Subscription::new(topics, patterns, numbers)?),
        less: false,
        holder: None,
        framing: framing(parts),
        head_fields: None,
        resume: resume(parts)?,
        max_events,
        lasts,
        timed: None,
    })
}

/// Where the client wants to go on. The header `Last-Event-ID` wins over the query, as it is what the
/// client saw last; of several ids in the query the last wins, as polyfills append theirs to what the
/// page wrote. An empty one is none.
///
/// # Errors
/// 400, naming the parameter, if its escapes are malformed.
pub fn resume(parts: &Parts) -> Result<Resume, Problem> {
    let from_header = Resume::from_header(&parts.headers);
    if from_header != Resume::Now {
        return Ok(from_header);
    }
    let mut last = Resume::Now;
    for (name, value) in query::pairs(parts.uri.query().unwrap_or_default()) {
        if query::decode(name, true).is_ok_and(|name| ID_PARAMETERS.contains(&&*name)) {
            let value = query::decode_bytes(value, true).map_err(|_| Problem::in_field("last_event_id", BAD_ESCAPE))?;
            match Resume::after(&value) {
                Resume::Now => {}
                resume => last = resume,
            }
        }
    }
    Ok(last)
}

impl Resume {
    pub(super) fn after(id: &[u8]) -> Resume {
        match std::str::from_utf8(id) {
            Ok("") => Resume::Now,
            Ok("earliest") => Resume::Earliest,
            Ok(id) if id.len() <= ID_BYTES_MAX && !id.contains(['\r', '\n', '\0']) => Resume::After(id.into()),
            _ => Resume::Unknown,
        }
    }

    fn from_header(headers: &HeaderMap) -> Resume {
        let mut values = headers.get_all(LAST_EVENT_ID).iter();
        match values.next() {
            None => Resume::Now,
            // Some intermediaries write a field twice.
            Some(id) if values.all(|other| other == id) => Resume::after(id.as_bytes()),
            Some(_) => Resume::Unknown,
        }
    }
}

fn set_bound(bound: &mut Option<NonZeroU32>, field: &'static str, text: &str) -> Result<(), Problem> {
    if bound.is_some() {
        return Err(Problem::in_field(field, "is given twice"));
    }
    *bound =
        Some(query::number(text).ok_or_else(|| Problem::in_field(field, "isn't a whole number from 1 to 4294967295"))?);
    Ok(())
}

/// How the response must mark its end, by what the client speaks and asked for.
pub fn framing(parts: &Parts) -> Framing {
    let asked_to_close = || {
        let values = parts.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
    };
    if parts.version < Version::HTTP_11 || asked_to_close() { Framing::Close } else { Framing::Chunked }
}

/// Whether the client wants an event stream: it asks for one by name (`*/*` alone, which everything
/// sends, doesn't count), and for plain text no more than for that.
pub fn accepts_event_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<_> = values.flat_map(MediaTypeList::new).flatten().collect();
    let weight = |ty, subty| {
        let range = ranges.iter().find(|range| range.ty == ty && range.subty == subty && range.suffix.is_none())?;
        Some(quality(range))
    };
    let text = weight(TEXT, PLAIN).or_else(|| weight(TEXT, _STAR)).or_else(|| weight(_STAR, _STAR));
    weight(TEXT, EVENT_STREAM).is_some_and(|stream| stream > 0 && stream >= text.unwrap_or(0))
}

/// The weight of a media range, in thousandths. One that is malformed is 0.
fn quality(range: &MediaType<'_>) -> u16 {
    let Some(value) = range.get_param(Q) else { return 1000 };
    let text = value.as_str();
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let is_weight = matches!(whole, "0" | "1") && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
    let thousandths = if is_weight { format!("{whole}{digits:0<3}").parse().unwrap_or(0) } else { 0 };
    if thousandths > 1000 { 0 } else { thousandths }
}

/// The head of a stream and its first comment, to be written to a raw socket at once. `date` is
/// an HTTP date.
pub fn stream_head(framing: Framing, date: &str) -> Vec<u8> {
    let encoding = match framing {
        Framing::Chunked => "transfer-encoding: chunked\r\n",
        Framing::Close => "",
    };
    let any = cors::ANY;
    format!(
        "HTTP/1.1 200 OK\r\n\
         content-type: {CONTENT_TYPE}\r\n\
         cache-control: {CACHE_CONTROL}\r\n\
         x-accel-buffering: no\r\n\
         {any}\
         date: {date}\r\n\
         connection: close\r\n\
         {encoding}\r\n"
    )
    .into_bytes()
}

/// What the body of a stream begins with that is less than was asked for.
pub fn less() -> Chunk {
    Chunk::new(": this is less than was asked for, as far as it is granted\n")
}

/// What a stream's body begins with: a comment, so that what is on the way passes the head on, and how long its client
/// shall wait before it comes back.
pub fn beginning(retry_ms: Option<u64>) -> Chunk {
    Chunk::new(&retry_ms.map_or(HEARTBEAT.to_owned(), |ms| HEARTBEAT.to_owned() + &retry::line(ms)))
}

/// Whether this field of a stream's head is what makes it a stream.
pub fn is_of_streams(name: &HeaderName) -> bool {
    [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::CACHE_CONTROL,
        header::DATE,
        X_ACCEL_BUFFERING,
    ]
    .contains(name)
}

/// The answer to HEAD: what the stream's head would say about its content.
pub fn head_response() -> Response<Full<Bytes>> {
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// The answer to OPTIONS, a CORS preflight mostly. `methods` is a list such as `GET, HEAD, POST`.
pub fn preflight(methods: &str) -> Response<Full<Bytes>> {
    let methods = HeaderValue::from_str(methods).expect("Invariant: names of methods are tokens");
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, methods.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    // The one that "*" does not cover.
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::hub::topic::{TopicHandle, table};

    fn open(uri: &str, headers: &[(&str, &str)]) -> Result<Subscribe, String> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let text = |problem: Problem| {
            let body = problem.into_response().into_body();
            let bytes = body.into_inner().unwrap();
            let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            document["field"].as_str().unwrap_or("-").to_owned()
        };
        let topic = path_topic(parts.uri.path().strip_prefix("/events/")).map_err(text)?;
        subscribe(&parts, topic, &table()).map_err(text)
    }

    /// `uri` subscribes to these topics and patterns, joined by spaces.
    #[track_caller]
    fn check(uri: &str, expected: &str) {
        let subscription = open(uri, &[]).unwrap().subscription;
        let topics = subscription.topics().iter().map(TopicHandle::as_str);
        let all: Vec<_> = topics.chain(subscription.patterns().iter().map(Pattern::as_str)).collect();
        assert_eq!(all.join(" "), expected, "{uri}");
    }

    #[track_caller]
    fn check_refused(uri: &str, field: &str) {
        assert_eq!(open(uri, &[]).err().as_deref(), Some(field), "{uri}");
    }

    #[test]
    fn topics_come_from_path_and_query() {
        check("/events/a", "a");
        check("/events/a/b%2Fc%20d+e", "a/b/c d+e");
        check("/events/%C3%A4", "ä");
        check("/events//a", "/a");
        check("/events/a/", "a/");
        check("/events?topic=a&topic=b&match=prices/*", "a b prices/*");
        check("/events/a?topic=b+c&match=%2A%2A&topic=a", "a b c **");
        check("/events?to%70ic=a&_=50%&x", "a");
        check("/events?topic=a%26b%3Dc", "a&b=c");
    }

    #[test]
    fn malformed_requests_name_the_field() {
        check_refused("/events", "topic");
        check_refused("/events/", "topic");
        check_refused("/events/50%", "topic");
        check_refused("/events/%ff", "topic");
        check_refused("/events/a%00", "topic");
        check_refused("/events/a/*", "topic");
        check_refused("/events?topic=%4", "topic");
        check_refused("/events?topic=a&topic=", "topic");
        check_refused("/events?match=%ff", "match");
        check_refused("/events?match=a**", "match");
        check_refused("/events/a?last_event_id=%zz", "last_event_id");
        for bad in ["0", "-1", "+1", "1.5", "", "4294967296", "x", "%F0%9F"] {
            check_refused(&format!("/events/a?max_events={bad}"), "max_events");
            check_refused(&format!("/events/a?max_seconds={bad}"), "max_seconds");
        }
        check_refused("/events/a?max_events=1&max_events=1", "max_events");
    }

    #[test]
    fn bounds_are_read() {
        let subscribe = open("/events/a?max_events=4294967295&max_seconds=007", &[]).unwrap();
        assert_eq!(subscribe.max_events, NonZeroU32::new(u32::MAX));
        assert_eq!(subscribe.lasts, Some((Duration::from_secs(7), CloseReason::MaxSeconds)));
    }

    #[track_caller]
    fn check_resume(query: &str, header: Option<&str>, expected: Resume) {
        let headers: Vec<_> = header.map(|id| ("last-event-id", id)).into_iter().collect();
        assert_eq!(open(&format!("/events/a?{query}"), &headers).unwrap().resume, expected, "{query} {header:?}");
    }

    #[test]
    fn the_header_wins_and_empty_is_none() {
        let after = |id: &str| Resume::After(id.into());
        check_resume("", None, Resume::Now);
        check_resume("last_event_id=", Some(""), Resume::Now);
        check_resume("last_event_id=a+b", None, after("a b"));
        check_resume("lastEventId=x", None, after("x"));
        check_resume("lastEventID=x", None, after("x"));
        check_resume("last_event_id=&lastEventID=x", None, after("x"));
        check_resume("last_event_id=x", Some("y"), after("y"));
        check_resume("last_event_id=x", Some(""), after("x"));
        check_resume("last_event_id=earliest", None, Resume::Earliest);
        check_resume("", Some("earliest"), Resume::Earliest);
        check_resume("", Some("ä"), after("ä"));
        check_resume("", Some(&"x".repeat(128)), after(&"x".repeat(128)));
        check_resume("last_event_id=x", Some(&"x".repeat(129)), Resume::Unknown);
        check_resume("last_event_id=%ff", None, Resume::Unknown);
        check_resume("last_event_id=a%0Ab", None, Resume::Unknown);
        check_resume("evs_last_event_id=x", None, after("x"));
        check_resume("Last-Event-ID=x", None, after("x"));
        // The page's, and behind it the polyfill's.
        check_resume("last_event_id=x&lastEventId=y", None, after("y"));
        check_resume("lastEventId=x&lastEventId=y&last_event_id=", None, after("y"));
        check_resume("last_event_id=earliest&Last-Event-ID=%ff", None, Resume::Unknown);
        let twice = |one, other| open("/events/a", &[("last-event-id", one), ("last-event-id", other)]).unwrap().resume;
        assert_eq!(twice("1", "2"), Resume::Unknown);
        assert_eq!(twice("1", "1"), after("1"));
        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(Resume::from_header(&headers), Resume::Unknown);
    }

    #[test]
    fn framing_fits_the_client() {
        let framed = |version, connection: &str| {
            let request = Request::builder().version(version).header("connection", connection);
            framing(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(framed(Version::HTTP_11, "keep-alive"), Framing::Chunked);
        assert_eq!(framed(Version::HTTP_11, "keep-alive, Close"), Framing::Close);
        assert_eq!(framed(Version::HTTP_10, "keep-alive"), Framing::Close);
    }

    #[test]
    fn an_event_stream_must_be_asked_for_by_name() {
        let check = |accept: &'static str, expected| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts_event_stream(&headers), expected, "{accept}");
        };
        check("text/event-stream", true);
        check("text/html, Text/Event-Stream;q=0.1", true);
        check("text/event-stream; charset=utf-8; Q=1", true);
        check("text/event-stream;q=0.000", false);
        check("text/event-stream;q=x", false);
        check("text/event-stream;q=1.001", false);
        check("text/event-stream;q=2", false);
        check("text/event-stream;q=0.0001", false);
        check("text/event-stream;q=0.001", true);
        check("text/event-stream;q=1.000", true);
        check("text/event-stream;q=1.", true);
        // It is weighed against what `/` says otherwise, plain text; the more precise range counts.
        check("text/plain, text/event-stream;q=0.1", false);
        check("text/event-stream;q=0.1, text/plain;q=0.2", false);
        check("text/event-stream;q=0.2, text/plain;q=0.1", true);
        check("text/event-stream, text/plain", true);
        check("text/*, text/event-stream;q=0.5", false);
        check("*/*, text/event-stream;q=0.9", false);
        check("text/event-stream, */*;q=0.1", true);
        check("*/*, text/event-stream", true);
        check("text/*, text/plain;q=0.1, text/event-stream;q=0.2", true);
        check("text/event-stream;x=\", text/plain\";q=0.5, image/png , text/plain;q=0.4", true);
        check("*/*", false);
        check("text/*", false);
        check("text/event-streams", false);
        check("", false);
        assert!(!accepts_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn heads_are_exact() {
        let date = "Thu, 01 Jan 1970 00:00:00 GMT";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-store, no-transform\r\n\
            x-accel-buffering: no\r\naccess-control-allow-origin: *\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
            connection: close\r\n";
        assert_eq!(stream_head(Framing::Close, date), format!("{head}\r\n").as_bytes());
        assert_eq!(stream_head(Framing::Chunked, date), format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes());
        for (retry_ms, chunked, close) in
            [(None, "2\r\n:\n\r\n", ":\n"), (Some(2715), "e\r\n:\nretry: 2715\n\r\n", ":\nretry: 2715\n")]
        {
            assert_eq!(beginning(retry_ms).wire(Framing::Chunked), chunked.as_bytes());
            assert_eq!(beginning(retry_ms).wire(Framing::Close), close.as_bytes());
        }
        for (name, value) in head_response().headers() {
            assert!(head.contains(&format!("\r\n{name}: {}\r\n", value.to_str().unwrap())), "{name}");
        }
        assert_eq!(preflight("GET, HEAD").status(), 204);
        assert_eq!(preflight("GET, HEAD").headers()["access-control-allow-methods"], "GET, HEAD");
    }
}
