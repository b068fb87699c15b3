//! The event stream grammar as a client reads it: HTML standard, section 9.2.6. Bytes may come in
//! pieces of any size.

use std::collections::VecDeque;

/// An event as it is dispatched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; `message` if none was given.
    pub(crate) event: String,
    pub(crate) data: String,
    /// The last event id at its dispatch, given with this event or an earlier one.
    pub(crate) id: String,
}

/// What a client may notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Event(Event),
    /// A comment, less its colon.
    Comment(String),
    /// A new reconnection time, in milliseconds.
    Retry(u64),
}

/// Reads bytes, gives items.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    begun: bool,
    event: String,
    data: String,
    id: String,
    last_event_id: String,
    items: VecDeque<Item>,
}

impl Parser {
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        if !bytes.is_empty() && std::mem::take(&mut self.after_cr) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(at) = memchr::memchr2(b'\r', b'\n', bytes) {
            self.line.extend_from_slice(&bytes[..at]);
            self.end_line();
            let is_cr = bytes[at] == b'\r';
            self.after_cr = is_cr && at + 1 == bytes.len();
            bytes = &bytes[at + 1..];
            if is_cr {
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.line.extend_from_slice(bytes);
    }

    /// The next item, in order.
    pub(crate) fn next(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// What a client would send as `Last-Event-ID` now: an id counts from its blank line on.
    pub(crate) fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Whether the bytes so far stop in the middle of a line or a block.
    pub(crate) fn is_amid(&self) -> bool {
        !self.line.is_empty() || !self.data.is_empty() || !self.event.is_empty() || self.id != self.last_event_id
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8(bytes).expect("an event stream is UTF-8");
        let first = !std::mem::replace(&mut self.begun, true);
        let line = if first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if line.is_empty() {
            self.dispatch();
        } else if let Some(comment) = line.strip_prefix(':') {
            self.items.push_back(Item::Comment(comment.to_owned()));
        } else {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            self.field(field, value);
        }
    }

    fn field(&mut self, field: &str, value: &str) {
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.items.push_back(Item::Retry(value.parse().expect("a time that fits")));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        self.last_event_id.clone_from(&self.id);
        let (event, mut data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        if data.is_empty() {
            return;
        }
        data.pop();
        let event = if event.is_empty() { "message".to_owned() } else { event };
        self.items.push_back(Item::Event(Event { event, data, id: self.last_event_id.clone() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed whole and byte by byte, the stream gives these events: `type|data|id`.
    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        for step in [1, 3, stream.len().max(1)] {
            let mut parser = Parser::default();
            stream.as_bytes().chunks(step).for_each(|piece| parser.feed(piece));
            let items = std::iter::from_fn(|| parser.next());
            let events: Vec<_> = items
                .map(|item| match item {
                    Item::Event(Event { event, data, id }) => format!("{event}|{data}|{id}"),
                    Item::Comment(text) => format!(":{text}"),
                    Item::Retry(ms) => format!("retry {ms}"),
                })
                .collect();
            assert_eq!(events, expected, "{stream:?} in steps of {step}");
        }
    }

    #[test]
    fn the_standards_examples_are_read_as_it_says() {
        check("data: YHOO\ndata: +2\ndata: 10\n\n", &["message|YHOO\n+2\n10|"]);
        check(
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
            &[": test stream", "message|first event|1", "message|second event|"],
        );
        check("data\n\ndata\ndata\n\ndata:", &["message||", "message|\n|"]);
        check("data:test\n\ndata: test\n\n", &["message|test|", "message|test|"]);
    }

    #[test]
    fn line_ends_fields_and_ids() {
        check("data: a\r\ndata: b\rdata: c\n\r\n", &["message|a\nb\nc|"]);
        check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["message|a|"]);
        check("event: x\n\ndata: a\n\n", &["message|a|"]);
        check("id: 1\n\ndata: a\n\nid: 2\0\ndata: b\n\n", &["message|a|1", "message|b|1"]);
        check("retry: 10\nretry: x\nretry\nData: no\n\n", &["retry 10"]);
        check("event: x\ndata: a: b\n\n", &["x|a: b|"]);
    }
}
