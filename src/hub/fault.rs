//! Why an input is refused.

use std::error::Error;

/// Why an input is refused. Displayed, it names the field and the reason: `topic: is empty`.
pub trait Fault: Error {
    /// The field, as publishers and subscribers write it: `topic`, `id`, `retry` …
    fn field(&self) -> &'static str;
    /// What is wrong with it.
    fn reason(&self) -> String;
}

/// Why a text can be neither a topic nor a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It is too long.
    #[error("is {bytes} bytes long, at most {max} are allowed")]
    #[non_exhaustive]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// It holds a control character.
    #[error("holds a control character")]
    ControlCharacter,
}

/// Why a text is no topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.field(), self.reason())]
#[non_exhaustive]
pub enum TopicError {
    /// No name can be so.
    Name(NameError),
    /// A segment is `*` or `**`.
    Wildcard,
}

impl Fault for TopicError {
    fn field(&self) -> &'static str {
        "topic"
    }

    fn reason(&self) -> String {
        match self {
            TopicError::Name(error) => error.to_string(),
            TopicError::Wildcard => "the segments * and ** are kept for patterns (match=)".to_owned(),
        }
    }
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.field(), self.reason())]
#[non_exhaustive]
pub enum PatternError {
    /// No name can be so.
    Name(NameError),
    /// `**` is not the last segment.
    RestNotLast,
    /// A wildcard is only a part of its segment.
    PartOfSegment,
}

impl Fault for PatternError {
    fn field(&self) -> &'static str {
        "match"
    }

    fn reason(&self) -> String {
        match self {
            PatternError::Name(error) => error.to_string(),
            PatternError::RestNotLast => "** stands for the rest, so it must be the last segment".to_owned(),
            PatternError::PartOfSegment => "a wildcard must be a whole segment: * or **".to_owned(),
        }
    }
}

/// Why nothing can be subscribed to these topics and patterns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.field(), self.reason())]
#[non_exhaustive]
pub enum SubscriptionError {
    /// There is none.
    Empty,
    /// There are too many.
    TooMany {
        /// How many there are.
        asked: usize,
        /// How many there may be.
        max: usize,
    },
    /// The patterns have too many segments.
    TooManySegments {
        /// How many they have.
        segments: usize,
        /// How many they may have.
        max: usize,
    },
}

impl Fault for SubscriptionError {
    fn field(&self) -> &'static str {
        match self {
            SubscriptionError::Empty | SubscriptionError::TooMany { .. } => "topic",
            SubscriptionError::TooManySegments { .. } => "match",
        }
    }

    fn reason(&self) -> String {
        match self {
            SubscriptionError::Empty => "a subscription needs at least one topic= or match=".to_owned(),
            SubscriptionError::TooMany { asked, max } => {
                format!("{asked} topics asked for, at most {max} are allowed")
            }
            SubscriptionError::TooManySegments { segments, max } => {
                format!("{segments} segments in all patterns, at most {max} are allowed")
            }
        }
    }
}

/// Why an event can't be published as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.field(), self.reason())]
#[non_exhaustive]
pub enum EventError {
    /// It has no topic.
    NoTopic,
    /// One of its topics is none.
    Topic(#[from] TopicError),
    /// It has too many topics.
    #[non_exhaustive]
    TooManyTopics {
        /// How many it may have.
        max: usize,
    },
    /// Its type is too long.
    #[non_exhaustive]
    TypeTooLong {
        /// How long it is, in bytes.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// Its type holds CR, LF or NUL.
    TypeLine,
    /// Its type is `gap`.
    TypeGap,
    /// Its id is empty: that would reset a client's last id.
    IdEmpty,
    /// Its id is too long.
    #[non_exhaustive]
    IdTooLong {
        /// How long it is, in bytes.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// Its id holds CR, LF or NUL.
    IdLine,
    /// Its id can't come back in a header field.
    IdHeader,
    /// Its id is `earliest`.
    IdEarliest,
    /// Its id could be one that the log generates.
    IdGenerated,
    /// Its retry is too long.
    #[non_exhaustive]
    RetryTooLong {
        /// How long it may be, in milliseconds.
        max_ms: u64,
    },
    /// Its key is too long.
    #[non_exhaustive]
    KeyTooLong {
        /// How long it may be, in bytes.
        max: usize,
    },
}

impl Fault for EventError {
    fn field(&self) -> &'static str {
        match self {
            EventError::NoTopic => "topic",
            EventError::Topic(error) => error.field(),
            EventError::TooManyTopics { .. } => "topics",
            EventError::TypeTooLong { .. } | EventError::TypeLine | EventError::TypeGap => "event",
            EventError::IdEmpty | EventError::IdTooLong { .. } | EventError::IdLine => "id",
            EventError::IdHeader | EventError::IdEarliest | EventError::IdGenerated => "id",
            EventError::RetryTooLong { .. } => "retry",
            EventError::KeyTooLong { .. } => "key",
        }
    }

    fn reason(&self) -> String {
        let fixed = match self {
            EventError::Topic(error) => return error.reason(),
            EventError::TooManyTopics { max } => return format!("holds more than {max} topics"),
            EventError::TypeTooLong { bytes, max } | EventError::IdTooLong { bytes, max } => {
                return format!("is {bytes} bytes long, at most {max} are allowed");
            }
            EventError::RetryTooLong { max_ms } => {
                return format!("is too long, at most {max_ms} milliseconds are allowed");
            }
            EventError::KeyTooLong { max } => return format!("is too long, at most {max} bytes are allowed"),
            EventError::NoTopic => "an event needs at least one topic",
            EventError::TypeLine | EventError::IdLine => "holds CR, LF or NUL, which would end or spoil the line",
            EventError::TypeGap => "the name gap is kept for the gateway's own events",
            EventError::IdEmpty => "is empty",
            EventError::IdHeader => "holds a control character, or blanks at an end, which no header field brings back",
            EventError::IdEarliest => "the word earliest is kept for last_event_id",
            EventError::IdGenerated => "has the form of the ids that the log generates",
        };
        fixed.to_owned()
    }
}

/// Why the log has no room for events that are published together, whatever else is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// There are too many.
    #[error("body: holds {events} {} events, the log holds at most {max}", kind(*.live_only))]
    Events {
        /// How many there are.
        events: usize,
        /// Whether it is those that are live only.
        live_only: bool,
        /// How many there may be.
        max: usize,
    },
    /// They take too much memory.
    #[error("body: its {} events take {bytes} bytes in memory, the log holds at most {max}", kind(*.live_only))]
    Bytes {
        /// How much they take.
        bytes: usize,
        /// Whether it is those that are live only.
        live_only: bool,
        /// How much they may take.
        max: usize,
    },
}

fn kind(live_only: bool) -> &'static str {
    if live_only { "live-only" } else { "kept" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_names_its_field_and_what_is_wrong() {
        let check = |error: &dyn Fault, text: &str| {
            assert_eq!(error.to_string(), text);
            assert_eq!(format!("{}: {}", error.field(), error.reason()), text);
        };
        let too_long = NameError::TooLong { bytes: 256, max: 255 };
        check(&TopicError::Name(NameError::Empty), "topic: is empty");
        check(&TopicError::Name(too_long.clone()), "topic: is 256 bytes long, at most 255 are allowed");
        check(&TopicError::Wildcard, "topic: the segments * and ** are kept for patterns (match=)");
        check(&PatternError::Name(too_long), "match: is 256 bytes long, at most 255 are allowed");
        check(&PatternError::RestNotLast, "match: ** stands for the rest, so it must be the last segment");
        check(&PatternError::PartOfSegment, "match: a wildcard must be a whole segment: * or **");
        check(&SubscriptionError::Empty, "topic: a subscription needs at least one topic= or match=");
        let many = SubscriptionError::TooMany { asked: 129, max: 128 };
        check(&many, "topic: 129 topics asked for, at most 128 are allowed");
        let segments = SubscriptionError::TooManySegments { segments: 513, max: 512 };
        check(&segments, "match: 513 segments in all patterns, at most 512 are allowed");
        let topic = EventError::Topic(TopicError::Name(NameError::ControlCharacter));
        check(&topic, "topic: holds a control character");
        check(&EventError::NoTopic, "topic: an event needs at least one topic");
        check(&EventError::TooManyTopics { max: 128 }, "topics: holds more than 128 topics");
        let id = EventError::IdTooLong { bytes: 129, max: 128 };
        check(&id, "id: is 129 bytes long, at most 128 are allowed");
        let name = EventError::TypeTooLong { bytes: 129, max: 128 };
        check(&name, "event: is 129 bytes long, at most 128 are allowed");
        check(&EventError::IdLine, "id: holds CR, LF or NUL, which would end or spoil the line");
        check(&EventError::TypeLine, "event: holds CR, LF or NUL, which would end or spoil the line");
        check(&EventError::TypeGap, "event: the name gap is kept for the gateway's own events");
        check(&EventError::IdEmpty, "id: is empty");
        let header = "id: holds a control character, or blanks at an end, which no header field brings back";
        check(&EventError::IdHeader, header);
        check(&EventError::IdEarliest, "id: the word earliest is kept for last_event_id");
        check(&EventError::IdGenerated, "id: has the form of the ids that the log generates");
        check(&EventError::RetryTooLong { max_ms: 9 }, "retry: is too long, at most 9 milliseconds are allowed");
        check(&EventError::KeyTooLong { max: 255 }, "key: is too long, at most 255 bytes are allowed");
    }

    #[test]
    fn what_is_too_large_names_the_bound() {
        let events = TooLarge::Events { events: 3, live_only: false, max: 2 };
        assert_eq!(events.to_string(), "body: holds 3 kept events, the log holds at most 2");
        let bytes = TooLarge::Bytes { bytes: 9, live_only: true, max: 8 };
        assert_eq!(bytes.to_string(), "body: its live-only events take 9 bytes in memory, the log holds at most 8");
    }
}
