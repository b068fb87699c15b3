//! A batch of events, as one JSON document or as one on each line, and on which line a fault is.

use http::header::{HeaderName, HeaderValue};
use mediatype::names::{APPLICATION, JSON as JSON_NAME};
use mediatype::{MediaType, Name};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::exchange::topics::TopicTable;
use crate::hub::event::Event;
use crate::hub::topic::Topics;
use crate::net::problem::{Problem, Refusal};

use super::object::{Array, Object, Reader};

/// A batch as one document.
const JSON: MediaType<'_> = MediaType::new(APPLICATION, JSON_NAME);
/// A batch with an event on each line.
const LINES: MediaType<'_> = MediaType::new(APPLICATION, Name::new_unchecked("x-ndjson"));

/// What is wrong with a line that goes on behind its object: curl's `-d` takes the line ends away.
const NOT_ONE: &str = "there is more than one JSON value on this line (curl: --data-binary)";

/// Reads a batch of at most `max_events`: `application/json` holds an object or an array of them,
/// `application/x-ndjson` one on each line that isn't blank. An object has `topic` or `topics`,
/// and `data`: a string is the data, any other value is passed on as it is written. It may have
/// `event`, `id`, `retry`, `key` and `keep`, and nothing else.
///
/// # Errors
/// 400 for the first fault, with its field and line: that of the object for what is wrong with a
/// field. 413 if there are too many events, 415 for any other type.
pub fn batch<'a>(
    content_type: Option<&HeaderValue>,
    body: &'a [u8],
    max_events: usize,
    topics: &TopicTable,
) -> Result<Vec<(Topics, Event<'a>)>, Problem> {
    let given = content_type.and_then(|value| MediaType::parse(value.to_str().ok()?).ok());
    let is = |name| given.as_ref().is_some_and(|given| given.essence() == name);
    let read: fn(&'a str, &mut Reader<'a>) -> Result<(), Problem> = if is(JSON) {
        read_json
    } else if is(LINES) {
        read_lines
    } else {
        let known = "application/json, application/x-ndjson";
        return Err(Problem::new(Refusal::MediaType, format!("a batch is one of {known}"))
            .with(HeaderName::from_static("accept-post"), HeaderValue::from_static(known)));
    };
    let text = std::str::from_utf8(body)
        .map_err(|error| Problem::in_field("body", "isn't UTF-8").line(line_at(body, error.valid_up_to())))?;
    let mut reader = Reader::new(max_events, topics);
    read(text, &mut reader)?;
    Ok(reader.events)
}

fn read_json<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<(), Problem> {
    let is_array = text.trim_ascii_start().starts_with('[');
    let mut json = serde_json::Deserializer::from_str(text);
    let read = if is_array { Array(reader).deserialize(&mut json) } else { Object(reader).deserialize(&mut json) };
    read.and_then(|()| json.end()).map_err(|error| {
        if error.is_data() || reader.fault.is_some() {
            let start = if is_array { element_start(text, reader.events.len()) } else { 0 };
            let blank = text[start..].len() - text[start..].trim_ascii_start().len();
            reader.problem(&error).line(line_at(text.as_bytes(), start + blank))
        } else {
            reader.problem(&error).line(error.line())
        }
    })
}

fn read_lines<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<(), Problem> {
    let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
    reader.events.reserve_exact(lines.min(reader.max_events));
    let mut start = 0;
    for number in 1..=lines {
        let end = memchr::memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |length| start + length);
        let line = text[start..end].trim_ascii();
        start = end + 1;
        if line.is_empty() {
            continue;
        }
        let mut json = serde_json::Deserializer::from_str(line);
        Object(reader).deserialize(&mut json).map_err(|error| reader.problem(&error).line(number))?;
        json.end().map_err(|_| Problem::in_field("body", NOT_ONE).line(number))?;
    }
    Ok(())
}

/// The 1-based line that `offset` is on.
fn line_at(body: &[u8], offset: usize) -> usize {
    memchr::memchr_iter(b'\n', &body[..offset]).count() + 1
}

/// Where the array's element begins: read again, as this is known only to one who asks for the
/// elements' texts.
fn element_start(text: &str, index: usize) -> usize {
    struct Find<'f, 'de> {
        index: usize,
        found: &'f mut Option<&'de RawValue>,
    }

    impl<'de> Visitor<'de> for Find<'_, 'de> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            for _ in 0..=self.index {
                *self.found = seq.next_element()?;
            }
            Ok(())
        }
    }

    let mut found = None;
    // An error only means that the rest wasn't read, which nobody asked for.
    let _ = serde_json::Deserializer::from_str(text).deserialize_seq(Find { index, found: &mut found });
    found.map_or(0, |element| element.get().as_ptr().addr() - text.as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::hub::topic::{TopicHandle, table};
    use crate::net::problem::document;

    fn read<'a>(kind: &'static str, body: &'a str) -> Result<Vec<(Topics, Event<'a>)>, Value> {
        batch(Some(&HeaderValue::from_static(kind)), body.as_bytes(), 5, &table()).map_err(document)
    }

    /// A batch of one event, as JSON, in an array, and as a line.
    #[track_caller]
    fn check(object: &str, topics: &[&str], expected: Event<'_>) {
        let array = format!("\n[ {object} ]\n");
        let lines = format!("\r\n{object}\r\n\n");
        for (kind, body) in [
            ("application/json", object),
            ("Application/JSON; charset=utf-8", &array),
            ("application/x-ndjson", object),
            ("application/x-ndjson", &lines),
        ] {
            let events = read(kind, body).unwrap_or_else(|problem| panic!("{body}: {problem}"));
            let names: Vec<_> = events[0].0.iter().map(TopicHandle::as_str).collect();
            assert_eq!((events.len(), &*names, &events[0].1), (1, topics, &expected), "{body}");
        }
    }

    #[test]
    fn an_object_is_an_event() {
        check(r#"{"topic":"t","data":"x"}"#, &["t"], Event::new("x"));
        check(r#"{"data":"a\nb\u00e4\"","topics":["t","u","t"]}"#, &["t", "u"], Event::new("a\nbä\""));
        check(&format!(r#"{{"data":"x","topics":[{}"t"]}}"#, r#""t","#.repeat(500)), &["t"], Event::new("x"));
        check(r#"{"topic":"\u0074","data":""}"#, &["t"], Event::new(""));
        check(
            r#"{"topic":"t","data":"x","event":"e","id":"i","retry":5,"key":"k\t","keep":false}"#,
            &["t"],
            Event::new("x").event("e").id("i").retry(Duration::from_millis(5)).key("k\t").keep(false),
        );
        for json in ["1.50", "null", "true", r#"{"a": [1, "\n"]}"#, "[]", "-0", r#"["x"]"#] {
            check(&format!(r#"{{"topic":"t","data": {json} }}"#), &["t"], Event::new(json));
        }
    }

    #[test]
    fn texts_are_borrowed_and_equal_topics_shared() {
        let body = "{\"topic\":\"t\",\"data\":\"x\",\"id\":\"i\"}\n{\"topic\":\"t\",\"data\":{}}";
        let events = read("application/x-ndjson", body).unwrap();
        assert!(events.iter().all(|(_, event)| matches!(event.data, Cow::Borrowed(_))));
        assert!(matches!(events[0].1.id, Some(Cow::Borrowed("i"))));
        assert!(std::ptr::eq(events[0].0[0].as_str(), events[1].0[0].as_str()));
    }

    /// The object is refused for this field, and its line is that of the object.
    #[track_caller]
    fn check_refused(object: &str, field: &str) {
        let good = r#"{"topic":"t","data":"x"}"#;
        for (kind, body, line) in [
            ("application/json", format!("\n{object}"), 2),
            ("application/json", format!("[{good},\n{good}\n,\n  {object}, {good}]"), 4),
            ("application/x-ndjson", format!("{good}\n\n{object}\n{good}"), 3),
        ] {
            let problem = read(kind, &body).unwrap_err();
            assert_eq!((&problem["field"], &problem["line"]), (&field.into(), &line.into()), "{body}: {problem}");
            assert_eq!(problem["status"], 400);
            let detail = problem["detail"].as_str().unwrap();
            assert!(!detail.is_empty() && !detail.contains(" line "), "{detail}");
        }
    }

    #[test]
    fn faults_name_field_and_line() {
        check_refused(r#"{"data":"x"}"#, "topic");
        check_refused(r#"{"topic":"","data":"x"}"#, "topic");
        check_refused(r#"{"topic":5,"data":"x"}"#, "topic");
        check_refused(r#"{"topics":[],"data":"x"}"#, "topic");
        check_refused(r#"{"topics":["a","*"],"data":"x"}"#, "topics");
        check_refused(r#"{"topics":"a","data":"x"}"#, "topics");
        check_refused(r#"{"topics":["a"],"topic":"a","data":"x"}"#, "topics");
        let distinct: Vec<String> = (0..129).map(|n| format!("\"{n}\"")).collect();
        check_refused(&format!(r#"{{"topics":[{}],"data":"x"}}"#, distinct.join(",")), "topics");
        check_refused(r#"{"topic":"t"}"#, "data");
        check_refused(r#"{"topic":"t","data":"\ud800"}"#, "data");
        check_refused(r#"{"topic":"t","data":1,"data":2}"#, "data");
        check_refused(r#"{"topic":"t","data":1,"event":null}"#, "event");
        check_refused(r#"{"topic":"t","data":1,"event":"a\rb"}"#, "event");
        check_refused(r#"{"topic":"t","data":1,"id":"earliest"}"#, "id");
        check_refused(r#"{"topic":"t","data":1,"id":7}"#, "id");
        for bad in ["-1", "1.5", "\"1\"", "1e3", "18446744073709551616"] {
            check_refused(&format!(r#"{{"topic":"t","data":1,"retry":{bad}}}"#), "retry");
        }
        check_refused(r#"{"topic":"t","data":1,"keep":1}"#, "keep");
        check_refused(&format!(r#"{{"topic":"t","data":1,"key":"{}"}}"#, "k".repeat(256)), "key");
        check_refused(r#"{"topic":"t","data":1,"dta":2}"#, "dta");
        check_refused("5", "body");
        check_refused("\"x\"", "body");
    }

    /// What isn't JSON at all is refused where the parser stumbles.
    #[track_caller]
    fn check_syntax(kind: &'static str, body: &str, line: usize) {
        let problem = read(kind, body).unwrap_err();
        assert_eq!((&problem["field"], &problem["line"]), (&"body".into(), &line.into()), "{body}: {problem}");
    }

    #[test]
    fn syntax_errors_name_the_line() {
        check_syntax("application/json", "", 1);
        check_syntax("application/json", "[\n{\"topic\":\"t\",\n\"data\":x}]", 3);
        check_syntax("application/json", "[{\"topic\":\"t\",\"data\":1}\n", 2);
        check_syntax("application/json", "{\"topic\":\"t\",\"data\":1}\n{}", 2);
        check_syntax("application/json", "[{\"topic\":\"t\",\"data\":1}]\n]", 2);
        check_syntax("application/x-ndjson", "\n{\"topic\":\"t\",\n\"data\":1}", 2);
        check_syntax("application/x-ndjson", "{\"topic\":\"t\",\"data\":1} {}", 1);
        check_syntax("application/x-ndjson", "{\"topic\":\"t\",\"data\":\"a\tb\"}", 1);
        let invalid = batch(Some(&HeaderValue::from_static("application/x-ndjson")), b"\n\n{\"\xff", 5, &table());
        let invalid = document(invalid.unwrap_err());
        assert_eq!((&invalid["field"], &invalid["line"]), (&"body".into(), &3.into()));
    }

    #[test]
    fn batches_are_bounded_and_typed() {
        let line = "{\"topic\":\"t\",\"data\":1}\n";
        assert_eq!(read("application/x-ndjson", "").unwrap(), []);
        assert_eq!(read("application/json", "[]").unwrap(), []);
        assert_eq!(read("application/x-ndjson", &line.repeat(5)).unwrap().len(), 5);
        let lines = read("application/x-ndjson", &line.repeat(6)).unwrap_err();
        assert_eq!((&lines["status"], &lines["line"]), (&413.into(), &6.into()));
        let array = read("application/json", &format!("[{}]", [line; 6].join(","))).unwrap_err();
        assert_eq!((&array["status"], &array["line"]), (&413.into(), &6.into()));
        for kind in ["text/plain", "application/jsonx", ""] {
            assert_eq!(read(kind, line).unwrap_err()["status"], 415, "{kind}");
        }
        assert_eq!(batch(None, b"", 5, &table()).unwrap_err().reason(), Refusal::MediaType);
    }
}
