//! `sluicegate log dump DIR [--from N] [--json]`: one line for each event.
//!
//! It changes nothing and needs no lock, so it may run beside a gateway.

use std::io::{self, Write};
use std::path::Path;

use super::io::Io;
use super::walk::{Met, walk};
use crate::engine::offset::Offset;
use crate::engine::record::{Event, Head};

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people. What would move a terminal's cursor is escaped.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes the events of all packs from this sequence on. What is wrong gets a line of its own.
///
/// # Errors
/// If a file can't be read, or `out` not be written.
pub fn dump(io: &dyn Io, dir: &Path, from: u64, format: Format, out: &mut dyn Write) -> io::Result<()> {
    walk(io, dir, from, &mut |met| match (met, format) {
        (Met::Pack { sequence, record }, format) => {
            for (index, event) in record.events().enumerate() {
                match format {
                    Format::Text => text(out, sequence, index, &record.head(), &event)?,
                    Format::Json => json(out, sequence, index, &record.head(), &event)?,
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
        (Met::Segment { .. } | Met::Seal, _) => Ok(()),
    })
}

fn text(out: &mut dyn Write, sequence: u64, index: usize, head: &Head<'_>, event: &Event<'_>) -> io::Result<()> {
    write!(out, "{sequence}/{index} {}", head.published_ms)?;
    for topic in event.topics.iter() {
        write!(out, " topic={topic:?}")?;
    }
    for (name, value) in fields(event) {
        write!(out, " {name}={value:?}")?;
    }
    if let Some(retry_ms) = event.retry_ms {
        write!(out, " retry={retry_ms}")?;
    }
    writeln!(out, " data={:?}", event.data)
}

fn json(out: &mut dyn Write, sequence: u64, index: usize, head: &Head<'_>, event: &Event<'_>) -> io::Result<()> {
    let offset = Offset::new(sequence, index).get();
    let published_ms = head.published_ms;
    write!(out, "{{\"offset\":{offset},\"sequence\":{sequence},\"index\":{index},\"published_ms\":{published_ms}")?;
    if let Some(key) = head.idempotency_key {
        write!(out, ",\"idempotency_key\":")?;
        string(out, key)?;
    }
    for (i, topic) in event.topics.iter().enumerate() {
        write!(out, "{}", if i == 0 { ",\"topics\":[" } else { "," })?;
        string(out, topic)?;
    }
    write!(out, "]")?;
    for (name, value) in fields(event) {
        write!(out, ",\"{name}\":")?;
        string(out, value)?;
    }
    if let Some(retry_ms) = event.retry_ms {
        write!(out, ",\"retry\":{retry_ms}")?;
    }
    write!(out, ",\"data\":")?;
    string(out, event.data)?;
    writeln!(out, "}}")
}

fn fields<'a>(event: &Event<'a>) -> impl Iterator<Item = (&'static str, &'a str)> {
    let fields = [("event", event.event), ("id", event.id), ("key", event.key)];
    fields.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)))
}

fn string(out: &mut dyn Write, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}
