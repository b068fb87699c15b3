//! What it costs to read a batch, an event: by hand, as the gateway does, and by what serde derives.
//!
//! `cargo bench --bench batch`; without cargo's `--bench` flag it runs a hundredth of that, as a test. The ways take turns,
//! and medians are printed, so that a busy machine weighs on all alike.
//!
//! A derived struct does not say which field a value of the wrong type is in, which publishers get to know. Two ways that do are
//! here as well: `serde_path_to_error`, and taking each value as its text first. None of the derived ways checks what an event
//! may hold, as the gateway's does: they cost no less than this.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use http::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;
use sluicegate::internals::hub::event::Event;
use sluicegate::internals::hub::topic::{TopicHandle, Topics};
use sluicegate::internals::publish;
use sluicegate::internals::topics::TopicTable;

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<'a> {
    #[serde(borrow)]
    topic: Option<Text<'a>>,
    topics: Option<Vec<Text<'a>>>,
    data: &'a RawValue,
    event: Option<Text<'a>>,
    id: Option<Text<'a>>,
    retry: Option<u64>,
    key: Option<Text<'a>>,
    keep: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts<'a> {
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    topics: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    retry: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    keep: Option<&'a RawValue>,
}

impl<'a> Texts<'a> {
    fn typed(self) -> Result<Typed<'a>, &'static str> {
        fn read<'a, T: Deserialize<'a>>(
            text: Option<&'a RawValue>,
            field: &'static str,
        ) -> Result<Option<T>, &'static str> {
            text.map(|text| serde_json::from_str(text.get())).transpose().map_err(|_| field)
        }
        Ok(Typed {
            topic: read(self.topic, "topic")?,
            topics: read(self.topics, "topics")?,
            data: self.data.ok_or("data")?,
            event: read(self.event, "event")?,
            id: read(self.id, "id")?,
            retry: read(self.retry, "retry")?,
            key: read(self.key, "key")?,
            keep: read(self.keep, "keep")?,
        })
    }
}

/// What the gateway makes of an object, once it is read.
struct Events<'a> {
    table: &'a TopicTable,
    last: Option<TopicHandle>,
    events: Vec<(Topics, Event<'a>)>,
}

impl<'a> Events<'a> {
    fn topic(&mut self, text: &str) -> TopicHandle {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str() == text) {
            return last.clone();
        }
        let topic = self.table.named(text).expect("a topic");
        self.last = Some(topic.clone());
        topic
    }

    fn add(&mut self, object: Typed<'a>) {
        let topics = match (object.topic, object.topics) {
            (Some(Text(topic)), _) => Topics::one(self.topic(&topic)),
            (None, topics) => {
                let topics: Vec<_> = topics.unwrap_or_default().iter().map(|Text(text)| self.topic(text)).collect();
                Topics::new(topics).expect("topics")
            }
        };
        let json = object.data.get();
        let mut event = match json.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) if !text.contains('\\') => Event::new(text),
            Some(_) => Event::new(serde_json::from_str::<String>(json).expect("a string")),
            None => Event::new(json),
        };
        if let Some(Text(name)) = object.event {
            event = event.event(name);
        }
        if let Some(Text(id)) = object.id {
            event = event.id(id);
        }
        if let Some(Text(key)) = object.key {
            event = event.key(key);
        }
        if let Some(ms) = object.retry {
            event = event.retry(Duration::from_millis(ms));
        }
        self.events.push((topics, event.keep(object.keep.unwrap_or(true))));
    }
}

type Way = fn(&str, &TopicTable) -> usize;

fn by_hand(body: &str, table: &TopicTable) -> usize {
    let kind = HeaderValue::from_static("application/x-ndjson");
    publish::batch(Some(&kind), body.as_bytes(), 16_384, table).unwrap_or_else(|_| panic!("a good batch")).len()
}

fn each_line<'a>(body: &'a str, table: &'a TopicTable, read: impl Fn(&'a str) -> Typed<'a>) -> usize {
    let lines = body.lines().count();
    let mut events = Events { table, last: None, events: Vec::with_capacity(lines) };
    for line in body.lines() {
        events.add(read(line));
    }
    events.events.len()
}

fn derived(body: &str, table: &TopicTable) -> usize {
    each_line(body, table, |line| serde_json::from_str(line).expect("an object"))
}

fn derived_with_paths(body: &str, table: &TopicTable) -> usize {
    each_line(body, table, |line| {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(line)).expect("an object")
    })
}

fn derived_from_texts(body: &str, table: &TopicTable) -> usize {
    each_line(body, table, |line| serde_json::from_str::<Texts<'_>>(line).expect("an object").typed().expect("fields"))
}

/// Nanoseconds an event.
fn once(way: Way, body: &str, table: &TopicTable, events: usize, times: usize) -> f64 {
    #[allow(clippy::disallowed_methods, reason = "a bench")]
    let start = Instant::now();
    for _ in 0..times {
        assert_eq!(black_box(way(black_box(body), table)), events);
    }
    start.elapsed().as_nanos() as f64 / (times * events) as f64
}

fn main() {
    let measure = std::env::args().any(|arg| arg == "--bench");
    let (rounds, events_a_round) = if measure { (101, 50_000) } else { (1, 500) };
    let ways: [(&str, Way); 4] = [
        ("by hand", by_hand),
        ("derived, names no field", derived),
        ("derived, with serde_path_to_error", derived_with_paths),
        ("derived, each value as its text first", derived_from_texts),
    ];
    let table = TopicTable::default();
    for events in [1, 100, 10_000] {
        let line = |n: usize| {
            let data = "x".repeat(80);
            format!("{{\"topic\":\"prices/{}\",\"event\":\"quote\",\"key\":\"k{n}\",\"data\":\"{data}\"}}\n", n / 10)
        };
        let body: String = (0..events).map(line).collect();
        // As they are while streams subscribe to them.
        let _held: Vec<_> = (0..=events / 10).map(|n| table.named(&format!("prices/{n}")).expect("a topic")).collect();
        let times = usize::max(1, events_a_round / events);
        let mut took: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds {
            for (took, (_, way)) in took.iter_mut().zip(&ways) {
                took.push(once(*way, &body, &table, events, times));
            }
        }
        let median = |took: &mut Vec<f64>| {
            took.sort_by(f64::total_cmp);
            took[took.len() / 2]
        };
        let medians = took.each_mut().map(median);
        for ((name, _), ns) in ways.iter().zip(medians) {
            println!("{events:>6} events, {name:<38} {ns:>7.0} ns an event, {:.2} x", ns / medians[0]);
        }
    }
}
