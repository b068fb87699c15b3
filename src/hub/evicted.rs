//! How far each topic's events have left the log, in memory that does not grow with the topics.
//!
//! Two rows of offsets are indexed by a hash of the topic, and of each of its first few prefixes, which
//! patterns begin with. A slot holds the newest evicted offset of all names that share it, so that an
//! answer may be too late an offset, but only if others share both of a name's slots; it is never too early.

use std::hash::{BuildHasher, RandomState};

use super::offset::Offset;
use super::topic::{Pattern, Topic};

/// The fewest slots of a row, and the most: 128 KiB.
const SLOTS: std::ops::RangeInclusive<usize> = 4096..=16384;
/// How many segments of a prefix are told apart.
const PREFIX_SEGMENTS_MAX: usize = 4;

/// The newest evicted offset of each name, or a later one.
pub(super) struct Evicted {
    rows: [Box<[Offset]>; 2],
    // Clients choose the names, so the key is random.
    key: RandomState,
}

/// What is told apart.
#[derive(Clone, Copy, Hash)]
enum Name<'a> {
    Topic(&'a str),
    /// All topics that begin with this, which ends with `/`.
    Prefix(&'a str),
}

impl Evicted {
    /// For a log that holds about so many events.
    pub(super) fn new(events: usize) -> Evicted {
        let slots = events.clamp(*SLOTS.start(), *SLOTS.end()).next_power_of_two();
        let row = || vec![Offset::ZERO; slots].into_boxed_slice();
        Evicted { rows: [row(), row()], key: RandomState::new() }
    }

    /// An event of this topic was evicted: the newest so far.
    pub(super) fn mark(&mut self, topic: &Topic, offset: Offset) {
        let text = topic.as_str();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at + 1);
        let prefixes = ends.take(PREFIX_SEGMENTS_MAX).map(|end| Name::Prefix(&text[..end]));
        for name in std::iter::once(Name::Topic(text)).chain(prefixes) {
            let [x, y] = self.slots(name);
            self.rows[0][x] = offset;
            self.rows[1][y] = offset;
        }
    }

    /// Up to which offset events of this topic may have been evicted.
    pub(super) fn of_topic(&self, topic: &Topic) -> Offset {
        self.get(Name::Topic(topic.as_str()))
    }

    /// Up to which offset events that the pattern covers may have been evicted; `None` if it says
    /// nothing about where topics begin.
    pub(super) fn of_pattern(&self, pattern: &Pattern) -> Option<Offset> {
        let text = pattern.as_str();
        if !pattern.has_wildcard() {
            return Some(self.get(Name::Topic(text)));
        }
        let literal = text.split_inclusive('/').take_while(|segment| !segment.starts_with('*'));
        let end: usize = literal.take(PREFIX_SEGMENTS_MAX).map(str::len).sum();
        (end > 0).then(|| self.get(Name::Prefix(&text[..end])))
    }

    fn get(&self, name: Name<'_>) -> Offset {
        let [x, y] = self.slots(name);
        self.rows[0][x].min(self.rows[1][y])
    }

    fn slots(&self, name: Name<'_>) -> [usize; 2] {
        let hash = self.key.hash_one(name);
        [hash, hash >> 32].map(|part| part as usize & (self.rows[0].len() - 1))
    }
}

#[cfg(test)]
impl Evicted {
    /// Whether any two of these topics, or of their prefixes, can't be told apart.
    pub(super) fn confuses(&self, topics: &[&str]) -> bool {
        let mut names: Vec<(bool, &str)> = topics.iter().map(|text| (false, *text)).collect();
        for text in topics {
            names.extend(text.match_indices('/').map(|(at, _)| (true, &text[..=at])));
        }
        names.sort();
        names.dedup();
        let mut seen = std::collections::HashSet::new();
        names.iter().any(|&(is_prefix, text)| {
            !seen.insert(self.slots(if is_prefix { Name::Prefix(text) } else { Name::Topic(text) }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_what_patterns_begin_with_are_told_apart() {
        let names = ["a/", "a/b", "a/b/c/d/e/f", "c"];
        let mut evicted = loop {
            let evicted = Evicted::new(1);
            if !evicted.confuses(&names) {
                break evicted;
            }
        };
        let topic = |text: &str| Topic::parse(text).unwrap();
        evicted.mark(&topic("a/b"), Offset::new(3));
        evicted.mark(&topic("a/b/c/d/e/f"), Offset::new(7));
        for (text, expected) in [("a/b", 3), ("a/b/c/d/e/f", 7), ("a/", 0), ("a", 0), ("c", 0)] {
            assert_eq!(evicted.of_topic(&topic(text)), Offset::new(expected), "{text}");
        }
        for (text, expected) in [
            ("a/*", Some(7)),
            ("a/**", Some(7)),
            ("a/b/**", Some(7)),
            ("a/b", Some(3)),
            ("a/b/c/d/e/*", Some(7)),
            ("a/b/c/d/x/*", Some(7)),
            ("a/b/c/x/*", Some(0)),
            ("c/*", Some(0)),
            ("a/c/*/b", Some(0)),
            ("**", None),
            ("*/b", None),
        ] {
            assert_eq!(evicted.of_pattern(&Pattern::parse(text).unwrap()), expected.map(Offset::new), "{text}");
        }
    }
}
