//! What a publisher sends: one event as a body with query parameters, or a batch of JSON objects.
//!
//! Texts are borrowed from the request wherever they can be, and a topic equal to the one before
//! is shared with it, as a batch costs its publisher's core and nobody else's.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Body;
use mediatype::names::{APPLICATION, JSON as JSON_NAME};
use mediatype::{MediaType, Name};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::{Problem, Refusal};
use super::query::{self, quoted};
use crate::exchange::topics::TopicTable;
use crate::hub::event::{self, Event};
use crate::hub::fault::Fault;
use crate::hub::topic::{TopicHandle, Topics};
use crate::ops::units::boolean;

/// A batch as one document.
const JSON: MediaType<'_> = MediaType::new(APPLICATION, JSON_NAME);
/// A batch with an event on each line.
const LINES: MediaType<'_> = MediaType::new(APPLICATION, Name::new_unchecked("x-ndjson"));

/// Reads a body of at most `limit` bytes that arrives within `deadline`. How many are held at once is
/// bounded by the connections of the control listener.
///
/// # Errors
/// 413 if it is longer, known before the first byte is read where the length is announced; 408 if
/// it is slow; 400 if it breaks off or its framing is malformed.
pub async fn read_body<B>(body: B, limit: usize, deadline: Duration) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
{
    let too_large = || Problem::new(Refusal::BodyTooLarge, format!("the body is longer than {limit} bytes"));
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > limit) {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let read = async {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::new(Refusal::BadBody, "the body is malformed or broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - first.len().max(all.len()) {
                return Err(too_large());
            }
            if first.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    };
    tokio::time::timeout(deadline, read).await.unwrap_or_else(|_| {
        let detail = format!("the body took longer than {}", humantime::format_duration(deadline));
        Err(Problem::new(Refusal::BodyTooSlow, detail))
    })
}

/// Reads one event: the body is its data, the query holds `event`, `id`, `retry`, `key`, `keep`.
/// Any other parameter is refused, as a typo would change what is published.
///
/// # Errors
/// 400, naming the parameter, or `body` if that isn't UTF-8.
pub fn single<'a>(topic: TopicHandle, query: &'a str, body: &'a [u8]) -> Result<(Topics, Event<'a>), Problem> {
    let data = std::str::from_utf8(body).map_err(|_| Problem::in_field("body", "isn't UTF-8"))?;
    let mut event = Event::new(data);
    let mut seen = Seen::default();
    for (name, value) in query::pairs(query) {
        let field = query::decode(name, true).ok().and_then(|name| Field::parse(&name));
        let Some(field @ (Field::Event | Field::Id | Field::Retry | Field::Key | Field::Keep)) = field else {
            return Err(Problem::in_field(quoted(name), "isn't known: event, id, retry, key and keep are"));
        };
        let refuse = |reason: &'static str| Problem::in_field(field.name(), reason);
        if !seen.insert(field) {
            return Err(refuse("is given twice"));
        }
        let text = query::decode(value, true).map_err(refuse)?;
        event = match field {
            Field::Event => event.event(text),
            Field::Id => event.id(text),
            Field::Key => event.key(text),
            Field::Retry => {
                // `parse` would take a plus sign, too.
                let ms = if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
                event.retry(Duration::from_millis(ms.ok_or_else(|| refuse("isn't a number of milliseconds"))?))
            }
            _ => event.keep(boolean(&text).map_err(refuse)?),
        };
    }
    event::check(&event)?;
    Ok((Topics::one(topic), event))
}

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
    let mut reader =
        Reader { max_events, topics: topics.clone(), events: Vec::new(), last: None, field: None, fault: None };
    read(text, &mut reader)?;
    Ok(reader.events)
}

fn read_json<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<(), Problem> {
    let is_array = text.trim_ascii_start().starts_with('[');
    let mut json = serde_json::Deserializer::from_str(text);
    let read = if is_array { json.deserialize_seq(Array(reader)) } else { Object(reader).deserialize(&mut json) };
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
        let read = Object(reader).deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|error| reader.problem(&error).line(number))?;
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

/// The fields of an event, as publishers name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Topics,
    Data,
    Event,
    Id,
    Retry,
    Key,
    Keep,
}

impl Field {
    fn parse(name: &str) -> Option<Field> {
        Some(match name {
            "topic" => Field::Topic,
            "topics" => Field::Topics,
            "data" => Field::Data,
            "event" => Field::Event,
            "id" => Field::Id,
            "retry" => Field::Retry,
            "key" => Field::Key,
            "keep" => Field::Keep,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Field::Topic => "topic",
            Field::Topics => "topics",
            Field::Data => "data",
            Field::Event => "event",
            Field::Id => "id",
            Field::Retry => "retry",
            Field::Key => "key",
            Field::Keep => "keep",
        }
    }
}

/// The fields seen so far.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    /// `false` if the field was there already.
    fn insert(&mut self, field: Field) -> bool {
        let bit = 1 << field as u8;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }
}

/// What serde_json says, less the position: the line has a place of its own in the document.
fn without_position(error: &serde_json::Error) -> String {
    let mut detail = error.to_string();
    detail.truncate(detail.rfind(" at line ").unwrap_or(detail.len()));
    detail
}

/// What is known in the middle of a batch.
struct Reader<'a> {
    max_events: usize,
    topics: TopicTable,
    events: Vec<(Topics, Event<'a>)>,
    last: Option<TopicHandle>,
    /// The field whose value is being read.
    field: Option<Field>,
    /// What we, and not serde_json, found wrong.
    fault: Option<Problem>,
}

impl Reader<'_> {
    fn fail<E: serde::de::Error>(&mut self, fault: Problem) -> E {
        self.fault = Some(fault);
        E::custom("")
    }

    fn topic<E: serde::de::Error>(&mut self, text: &str) -> Result<TopicHandle, E> {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str() == text) {
            return Ok(last.clone());
        }
        let topic = self.topics.named(text).map_err(|fault| {
            let field = self.field.map_or(fault.field(), Field::name);
            self.fail::<E>(Problem::in_field(field, fault.reason()))
        })?;
        self.last = Some(topic.clone());
        Ok(topic)
    }

    fn problem(&mut self, error: &serde_json::Error) -> Problem {
        self.fault.take().unwrap_or_else(|| {
            let field = self.field.filter(|_| error.is_data()).map_or("body", Field::name);
            Problem::in_field(field, without_position(error))
        })
    }
}

/// A text, borrowed unless it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object's key: a known field or the reader's fault.
struct Key<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Key<'_, 'de> {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, 'de> {
    type Value = Field;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Field, E> {
        Field::parse(name).ok_or_else(|| {
            let known = "isn't known: topic, topics, data, event, id, retry, key and keep are";
            self.0.fail(Problem::in_field(quoted(name), known))
        })
    }
}

/// The value of `topics`.
struct TopicList<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for TopicList<'_, 'de> {
    type Value = Option<Topics>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Topics>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for TopicList<'_, 'de> {
    type Value = Option<Topics>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of topics")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Topics>, A::Error> {
        let mut topics: Option<Topics> = None;
        while let Some(Text(text)) = seq.next_element()? {
            let topic = self.0.topic(&text)?;
            match &mut topics {
                None => topics = Some(Topics::one(topic)),
                Some(topics) => topics.add(topic).map_err(|fault| self.0.fail(fault.into()))?,
            }
        }
        Ok(topics)
    }
}

/// One event's object.
struct Object<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reader = self.0;
        if reader.events.len() == reader.max_events {
            let detail = format!("the batch holds more than {} events", reader.max_events);
            return Err(reader.fail(Problem::new(Refusal::BatchTooLarge, detail)));
        }
        let mut seen = Seen::default();
        let mut topics = None;
        let mut event = Event::default();
        while let Some(field) = map.next_key_seed(Key(reader))? {
            reader.field = Some(field);
            if !seen.insert(field) {
                return Err(reader.fail(Problem::in_field(field.name(), "is given twice")));
            }
            match field {
                Field::Topic => {
                    let Text(text) = map.next_value()?;
                    topics = Some(Topics::one(reader.topic(&text)?));
                }
                Field::Topics => topics = map.next_value_seed(TopicList(reader))?,
                Field::Data => {
                    event.data = data(map.next_value()?)
                        .map_err(|error| reader.fail(Problem::in_field("data", without_position(&error))))?;
                }
                Field::Event => event = event.event(map.next_value::<Text<'_>>()?.0),
                Field::Id => event = event.id(map.next_value::<Text<'_>>()?.0),
                Field::Retry => event = event.retry(Duration::from_millis(map.next_value()?)),
                Field::Key => event = event.key(map.next_value::<Text<'_>>()?.0),
                Field::Keep => event = event.keep(map.next_value()?),
            }
            reader.field = None;
        }
        let (topic, topics_too) = (!seen.insert(Field::Topic), !seen.insert(Field::Topics));
        let faultless = match (topics, topic && topics_too, seen.insert(Field::Data)) {
            (_, true, _) => Err(Problem::in_field("topics", "is given along with topic")),
            (None, _, _) if topics_too => Err(Problem::in_field("topic", "an event needs at least one topic")),
            (None, _, _) => Err(Problem::in_field("topic", "is missing")),
            (Some(_), _, true) => Err(Problem::in_field("data", "is missing")),
            (Some(topics), _, false) => event::check(&event).map(|()| topics).map_err(Problem::from),
        };
        let topics = faultless.map_err(|fault| reader.fail(fault))?;
        reader.events.push((topics, event));
        Ok(())
    }
}

/// An array of events' objects.
struct Array<'r, 'a>(&'r mut Reader<'a>);

impl<'de> Visitor<'de> for Array<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(()) = seq.next_element_seed(Object(&mut *self.0))? {}
        Ok(())
    }
}

/// The text of a string, and any other value as it is written.
fn data(value: &RawValue) -> serde_json::Result<Cow<'_, str>> {
    let json = value.get();
    match json.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) if memchr::memchr(b'\\', text.as_bytes()).is_none() => Ok(Cow::Borrowed(text)),
        Some(_) => serde_json::from_str(json).map(Cow::Owned),
        None => Ok(Cow::Borrowed(json)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Frame, SizeHint};
    use serde_json::Value;

    use super::*;
    use crate::hub::topic::{handle, table};

    fn document(problem: Problem) -> Value {
        serde_json::from_slice(&problem.into_response().into_body().into_inner().unwrap()).unwrap()
    }

    #[track_caller]
    fn check_single(query: &str, expected: Event<'_>) {
        let (topics, event) = single(handle("t"), query, b"x\ny").unwrap();
        assert_eq!((&*topics, event), (&[handle("t")][..], expected), "{query}");
    }

    #[track_caller]
    fn check_single_refused(query: &str, field: &str) {
        let document = document(single(handle("t"), query, b"").unwrap_err());
        assert_eq!((&document["field"], &document["status"]), (&field.into(), &400.into()), "{query}");
    }

    #[test]
    fn one_event_is_a_body_with_parameters() {
        let event = || Event::new("x\ny");
        check_single("", event());
        check_single("event=a+b&id=%2B1", event().event("a b").id("+1"));
        check_single("retry=0010&key=k&keep=0", event().retry(Duration::from_millis(10)).key("k").keep(false));
        check_single("keep=true&", event());
        check_single("keep=1&event=", event().event(""));
        check_single("keep=false", event().keep(false));
        for bad in ["keep=yes", "keep=", "keep", "keep=1&keep=1"] {
            check_single_refused(bad, "keep");
        }
        for bad in ["retry=", "retry=+1", "retry=-1", "retry=1.5", "retry=99999999999999999999"] {
            // Nothing but digits, and a number of them.
            check_single_refused(bad, "retry");
        }
        check_single_refused("id=%0a", "id");
        check_single_refused("id=", "id");
        check_single_refused("id=%", "id");
        check_single_refused("event=%ff", "event");
        check_single_refused("ID=1", "ID");
        check_single_refused("topic=x", "topic");
        check_single_refused("data=x", "data");
        check_single_refused(&"x".repeat(1000), &"x".repeat(64));
        assert_eq!(document(single(handle("t"), "", b"\xff").unwrap_err())["field"], "body");
    }

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

    /// A body of these parts. `None` is a pause that never ends.
    struct Parts {
        parts: VecDeque<Option<&'static str>>,
        announced: Option<u64>,
    }

    impl Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if let Some(None) = self.parts.front() {
                return Poll::Pending;
            }
            let part = self.parts.pop_front().flatten();
            Poll::Ready(part.map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))))
        }

        fn size_hint(&self) -> SizeHint {
            self.announced.map(SizeHint::with_exact).unwrap_or_default()
        }
    }

    #[test]
    fn bodies_are_bounded_in_size_and_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let check = |parts: &[Option<&'static str>], announced, expected: Result<&str, Refusal>| {
            let body = Parts { parts: parts.iter().copied().collect(), announced };
            let read = runtime.block_on(read_body(body, 5, Duration::from_millis(20)));
            assert_eq!(read.as_deref().map_err(|p| p.reason()), expected.map(str::as_bytes), "{parts:?}");
        };
        check(&[], None, Ok(""));
        check(&[Some("ab"), Some(""), Some("cd"), Some("e")], None, Ok("abcde"));
        check(&[Some("abcde")], Some(5), Ok("abcde"));
        check(&[None], Some(6), Err(Refusal::BodyTooLarge));
        check(&[None], Some(u64::MAX), Err(Refusal::BodyTooLarge));
        check(&[Some("abcdef")], None, Err(Refusal::BodyTooLarge));
        check(&[Some("abc"), Some("def"), None], None, Err(Refusal::BodyTooLarge));
        check(&[Some("abc"), None], None, Err(Refusal::BodyTooSlow));
    }
}
