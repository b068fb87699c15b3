//! An event's JSON object, read by visitors of our own: docs/adr/0007-batch-parsing.md has what a derive would cost.
//!
//! Texts are borrowed from the request wherever they can be, and a topic equal to the one before
//! is shared with it, as a batch costs its publisher's core and nobody else's.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::exchange::topics::TopicTable;
use crate::hub::event::{self, Event};
use crate::hub::fault::Fault;
use crate::hub::topic::{TopicHandle, Topics};
use crate::net::problem::{Problem, Refusal};
use crate::net::query::quoted;

use super::field::{Field, Seen};

/// What serde_json says, less the position: the document says the line by itself.
fn without_position(error: &serde_json::Error) -> String {
    let mut detail = error.to_string();
    detail.truncate(detail.rfind(" at line ").unwrap_or(detail.len()));
    detail
}

/// What is known in the middle of a batch.
pub(super) struct Reader<'a> {
    pub(super) max_events: usize,
    topics: TopicTable,
    pub(super) events: Vec<(Topics, Event<'a>)>,
    last: Option<TopicHandle>,
    /// The field whose value is being read.
    field: Option<Field>,
    /// What we, and not serde_json, found wrong.
    pub(super) fault: Option<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of at most so many events.
    pub(super) fn new(max_events: usize, topics: &TopicTable) -> Reader<'a> {
        Reader { max_events, topics: topics.clone(), events: Vec::new(), last: None, field: None, fault: None }
    }

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

    /// The error as a problem that names the field.
    pub(super) fn problem(&mut self, error: &serde_json::Error) -> Problem {
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
        name.parse().map_err(|_| {
            let known = "isn't known: topic, topics, data, event, id, retry, key, keep and private are";
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
pub(super) struct Object<'r, 'a>(pub(super) &'r mut Reader<'a>);

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
                Field::Private => event = event.private(map.next_value()?),
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
pub(super) struct Array<'r, 'a>(pub(super) &'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Array<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

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
