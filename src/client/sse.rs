//! The event stream format (HTML standard, section 9.2), as a client reads it: pieces cut anywhere.

/// How much of an event may wait for its end.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// What a stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event; its id is the stream's last.
    Event {
        /// Its type, `message` if it names none.
        event: String,
        /// Its data.
        data: String,
    },
    /// How long to wait before a reconnect, in milliseconds.
    Retry(u64),
    /// A comment that says something.
    Comment(String),
}

/// An event that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endless;

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    /// The last byte was a CR, which an LF may belong to.
    after_cr: bool,
    begun: bool,
    event: String,
    data: String,
    has_data: bool,
    /// The id that holds from the next blank line on.
    next_id: Option<String>,
    /// The id to come back with; empty if there is none.
    last_id: String,
}

impl Reader {
    /// A stream of one that had come so far.
    pub fn after(last_id: String) -> Reader {
        Reader { last_id, ..Reader::default() }
    }

    /// The id to come back with; empty if there is none.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// Takes the next piece and hands on what it completes, with the last id as it is then.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Item, &str)) -> Result<(), Endless> {
        for &byte in bytes {
            match byte {
                b'\n' if std::mem::take(&mut self.after_cr) => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.take_line(&String::from_utf8_lossy(&line), &mut each);
                }
                _ => {
                    self.after_cr = false;
                    if self.line.len() + self.data.len() >= EVENT_BYTES_MAX {
                        return Err(Endless);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &str, each: &mut impl FnMut(Item, &str)) {
        let line = if std::mem::replace(&mut self.begun, true) { line } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            return self.end_event(each);
        }
        if let Some(comment) = line.strip_prefix(':') {
            let comment = comment.strip_prefix(' ').unwrap_or(comment);
            if !comment.is_empty() {
                each(Item::Comment(comment.to_owned()), &self.last_id);
            }
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.next_id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                if let Ok(ms) = value.parse() {
                    each(Item::Retry(ms), &self.last_id);
                }
            }
            _ => {}
        }
    }

    fn end_event(&mut self, each: &mut impl FnMut(Item, &str)) {
        if let Some(id) = self.next_id.take() {
            self.last_id = id;
        }
        let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        if std::mem::take(&mut self.has_data) {
            let event = if event.is_empty() { "message".to_owned() } else { event };
            each(Item::Event { event, data }, &self.last_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<String>, String) {
        let (mut reader, mut seen) = (Reader::after("before".to_owned()), Vec::new());
        for piece in pieces {
            let mut each = |item: Item, id: &str| {
                seen.push(match item {
                    Item::Event { event, data } => format!("{id} {event} {data:?}"),
                    Item::Retry(ms) => format!("retry {ms}"),
                    Item::Comment(text) => format!("comment {text}"),
                });
            };
            reader.feed(piece, &mut each).unwrap();
        }
        (seen, reader.last_id().to_owned())
    }

    #[test]
    fn a_stream_reads_the_same_wherever_it_is_cut() {
        let body = "\u{feff}:\n: less than asked\nretry: 27\nretry: x\nid: 1\n\ndata: a\ndata:b\n\nevent: gap\r\nid: 2\r\ndata\r\n\r\n\
                    event: unsent\n\nid: 3\rdata:  c\r\rid: 4\ndata: cut";
        let expected = ["comment less than asked", "retry 27", "1 message \"a\\nb\"", "2 gap \"\"", "3 message \" c\""];
        for cut in 0..=body.len() {
            let (one, other) = body.as_bytes().split_at(cut);
            let (seen, last_id) = read(&[one, other]);
            assert_eq!(seen, expected, "cut at {cut}");
            assert_eq!(last_id, "3", "an event that was cut moves nothing");
        }
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 1 << 20];
        let fed = (0..65).map(|_| reader.feed(&piece, |_, _| {})).find(Result::is_err);
        assert_eq!(fed, Some(Err(Endless)));
    }
}
