//! What things are called on the server, and the topics that subjects stand for.

use crate::engine::record::Record;

/// A subject that would be longer is not told by topic: a server takes lines of 4 KiB.
const SUBJECT_BYTES_MAX: usize = 1024;

/// The names of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The stream.
    pub(super) stream: String,
    prefix: String,
}

impl Names {
    pub(super) fn new(namespace: &str) -> Names {
        Names { stream: format!("SG_{namespace}"), prefix: format!("sg.{namespace}") }
    }

    /// The subjects that the stream takes.
    pub(super) fn subjects(&self) -> [String; 2] {
        [format!("{}.t.>", self.prefix), self.many()]
    }

    /// Where live-only events go.
    pub(super) fn live(&self) -> String {
        format!("{}.live", self.prefix)
    }

    /// Where packs of several topics go.
    fn many(&self) -> String {
        format!("{}.m", self.prefix)
    }

    /// Where a pack goes: to its topic, if all of its events have that one and no other.
    pub(super) fn subject_of(&self, record: &Record<'_>) -> String {
        let mut topics = record.events().flat_map(|event| event.topics.iter());
        let Some(first) = topics.next() else { return self.many() };
        let subject = self.of_topic(first);
        if subject.len() > SUBJECT_BYTES_MAX || topics.any(|topic| topic != first) { self.many() } else { subject }
    }

    fn of_topic(&self, topic: &str) -> String {
        let mut subject = format!("{}.t", self.prefix);
        for segment in topic.split('/') {
            subject.push('.');
            if segment.is_empty() {
                subject.push('%');
            }
            for &byte in segment.as_bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'~' | b'-' => subject.push(char::from(byte)),
                    byte => subject.push_str(&format!("%{byte:02X}")),
                }
            }
        }
        subject
    }

    /// The topic of a message that no gateway wrote, by its subject.
    pub(super) fn topic_of(&self, subject: &str) -> Option<String> {
        let tokens = subject.strip_prefix(&self.prefix)?.strip_prefix(".t.")?;
        let segments = tokens.split('.').map(|token| {
            let text = if token == "%" {
                "".into()
            } else {
                percent_encoding::percent_decode_str(token).decode_utf8().ok()?
            };
            Some(text.into_owned())
        });
        Some(segments.collect::<Option<Vec<_>>>()?.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pack::pack;
    use crate::hub::event::Event;
    use crate::hub::topic::{Topics, handle};

    fn subject(events: &[&[&str]]) -> String {
        let topics: Vec<_> =
            events.iter().map(|names| Topics::new(names.iter().map(|name| handle(name))).unwrap()).collect();
        let event = Event::new("x");
        let packed = pack(topics.iter().map(|topics| (topics, &event)), 0, None).unwrap().unwrap();
        Names::new("n").subject_of(&Record::decode(packed.bytes()).unwrap())
    }

    #[test]
    fn a_pack_goes_to_its_topic_if_it_has_but_one() {
        assert_eq!(subject(&[&["a"]]), "sg.n.t.a");
        assert_eq!(subject(&[&["a"], &["a"]]), "sg.n.t.a");
        assert_eq!(subject(&[&["a", "b"]]), "sg.n.m");
        assert_eq!(subject(&[&["a"], &["b"]]), "sg.n.m");
        assert_eq!(
            subject(&[&["\u{7f}é".repeat(60).replace('\u{7f}', "é").as_str()]]),
            format!("sg.n.t.{}", "%C3%A9".repeat(120))
        );
    }

    #[test]
    fn topics_are_read_back_from_subjects() {
        let names = Names::new("n");
        for (topic, tokens) in [
            ("prices/eur", "prices.eur"),
            ("a.b/c*d/>", "a%2Eb.c%2Ad.%3E"),
            ("/a//b/", "%.a.%.b.%"),
            ("Straße 7", "Stra%C3%9Fe%207"),
            ("%", "%25"),
        ] {
            let subject = format!("sg.n.t.{tokens}");
            assert_eq!(names.of_topic(topic), subject);
            assert_eq!(names.topic_of(&subject).as_deref(), Some(topic));
        }
        for foreign in ["sg.n.m", "sg.n.t", "sg.other.t.a", "sg.n.t.%FF"] {
            assert_eq!(names.topic_of(foreign), None, "{foreign}");
        }
    }
}
