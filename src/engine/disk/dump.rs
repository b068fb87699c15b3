//! `sluicegate log dump DIR [--from N] [--json]`: one line for each event.
//!
//! It changes nothing and needs no lock, so it may run beside a gateway.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use super::io::Io;
use super::walk::{Met, walk};
use crate::engine::offset::Offset;
use crate::engine::record::{Event, Head};
use crate::hub::id::EventId;

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people. What would move a terminal's cursor is escaped.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes the events of all packs from this sequence on. What is wrong gets a line of its own. Says whether there is
/// a log.
///
/// # Errors
/// If a file can't be read, or `out` not be written.
pub fn dump(io: &dyn Io, dir: &Path, from: u64, format: Format, out: &mut dyn Write) -> io::Result<bool> {
    let mut found = false;
    let mut epoch = None;
    let mut print = |met: Met<'_>| match (met, format) {
        (Met::Segment { opened, .. }, _) => {
            epoch = Some(opened.header.epoch);
            Ok(())
        }
        (Met::Pack { sequence, record }, format) => {
            for (index, event) in record.events().enumerate() {
                let offset = Offset::new(sequence, index).get();
                let line =
                    Line { sequence, index, offset, id: epoch.map(|epoch| epoch.id(offset)), head: record.head() };
                match format {
                    Format::Text => line.text(out, &event)?,
                    Format::Json => line.json(out, &event)?,
                }
            }
            Ok(())
        }
        (Met::Fault(fault), Format::Text) => writeln!(out, "# {fault}"),
        (Met::Fault(fault), Format::Json) => {
            let (first, last) = fault.lost.unzip();
            write!(out, "{{\"fault\":")?;
            string(out, &fault.what)?;
            write!(out, ",\"file\":")?;
            string(out, &fault.file.to_string_lossy())?;
            write!(out, ",\"byte\":{}", fault.at)?;
            for (name, sequence) in [("lost_first", first), ("lost_last", last)] {
                if let Some(sequence) = sequence {
                    write!(out, ",\"{name}\":{sequence}")?;
                }
            }
            writeln!(out, "}}")
        }
        (Met::Seal, _) => Ok(()),
    };
    walk(io, dir, from, &mut |met| {
        found = true;
        print(met)
    })?;
    Ok(found)
}

/// What a line says of an event beside what is in it.
struct Line<'a> {
    sequence: u64,
    index: usize,
    offset: u64,
    id: Option<EventId>,
    head: Head<'a>,
}

impl Line<'_> {
    fn text(&self, out: &mut dyn Write, event: &Event<'_>) -> io::Result<()> {
        write!(out, "{}/{} {}", self.sequence, self.index, self.head.published_ms)?;
        for topic in event.topics.iter() {
            write!(out, " topic={topic:?}")?;
        }
        for (name, value) in self.fields(event) {
            write!(out, " {name}={value:?}")?;
        }
        if let Some(retry_ms) = event.retry_ms {
            write!(out, " retry={retry_ms}")?;
        }
        writeln!(out, " data={:?}", event.data)
    }

    fn json(&self, out: &mut dyn Write, event: &Event<'_>) -> io::Result<()> {
        let Line { sequence, index, offset, head: Head { published_ms, .. }, .. } = self;
        write!(out, "{{\"offset\":{offset},\"sequence\":{sequence},\"index\":{index},\"published_ms\":{published_ms}")?;
        if let Some(key) = self.head.idempotency_key {
            write!(out, ",\"idempotency_key\":")?;
            string(out, key)?;
        }
        for (i, topic) in event.topics.iter().enumerate() {
            write!(out, "{}", if i == 0 { ",\"topics\":[" } else { "," })?;
            string(out, topic)?;
        }
        write!(out, "]")?;
        for (name, value) in self.fields(event) {
            write!(out, ",\"{name}\":")?;
            string(out, &value)?;
        }
        if let Some(retry_ms) = event.retry_ms {
            write!(out, ",\"retry\":{retry_ms}")?;
        }
        write!(out, ",\"data\":")?;
        string(out, event.data)?;
        writeln!(out, "}}")
    }

    /// The id is the one that the publisher was answered with, and subscribers get.
    fn fields<'e>(&self, event: &Event<'e>) -> impl Iterator<Item = (&'static str, Cow<'e, str>)> {
        let id = event.id.map(Cow::Borrowed).or_else(|| self.id.map(|id| Cow::Owned(id.to_string())));
        let [name, key] = [event.event, event.key].map(|field| field.map(Cow::Borrowed));
        [("event", name), ("id", id), ("key", key)]
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
    }
}

fn string(out: &mut dyn Write, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}
