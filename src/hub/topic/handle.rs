//! Topics as this process knows them: each has its text once, and a number, so that nothing on an
//! event's way hashes or compares texts.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::Deref;
use std::sync::{Arc, Weak};

use smallvec::{SmallVec, smallvec};

use crate::hub::fault::EventError;

use super::TOPICS_MAX;
use super::name::{Pattern, Topic};

/// How many segments of what topics begin with are told apart by a hash.
const PREFIX_SEGMENTS_MAX: usize = 4;

/// Who gives topics their numbers. Equal topics have one number, as long as anything holds it.
pub trait Numbers {
    /// The topic with its number.
    fn handle(&self, topic: &Topic) -> TopicHandle;
    /// How it hashes names.
    fn hash(&self) -> &NameHash;
}

/// Takes a number back.
pub trait Release: Send + Sync {
    /// Nothing holds the topic with this number any more.
    fn release(&self, topic: &Topic, number: u32);
}

/// A topic, and its number as long as anything holds it. Handles of one source of numbers are equal if
/// their topics are.
///
/// A clone costs one atomic increment.
#[derive(Clone)]
pub struct TopicHandle {
    // Beside the pointer, too: who needs the number alone touches no memory of the topic's.
    number: u32,
    entry: Arc<Entry>,
}

struct Entry {
    topic: Topic,
    number: u32,
    /// Of the topic, and then of what it begins with.
    hashes: SmallVec<[u64; 4]>,
    source: Arc<dyn Release>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.source.release(&self.topic, self.number);
    }
}

impl TopicHandle {
    /// A handle. `number` goes back to `source` when the last clone is gone.
    pub fn new(topic: Topic, number: u32, hash: &NameHash, source: Arc<dyn Release>) -> TopicHandle {
        let hashes = hash.of_topic(&topic);
        TopicHandle { number, entry: Arc::new(Entry { topic, number, hashes, source }) }
    }

    /// Its number: small numbers are given first.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.entry.topic
    }

    /// The topic's text.
    pub fn as_str(&self) -> &str {
        self.entry.topic.as_str()
    }

    /// The hash of the topic, and those of what it begins with: of `a/b/c`, of `a/` and `a/b/`.
    pub(in crate::hub) fn hashes(&self) -> &[u64] {
        &self.entry.hashes
    }

    /// A reference that does not hold the number.
    pub fn downgrade(&self) -> WeakTopic {
        WeakTopic(Arc::downgrade(&self.entry))
    }
}

/// A topic whose number may have been given back.
pub struct WeakTopic(Weak<Entry>);

impl WeakTopic {
    /// The topic, if anything still holds it.
    pub fn upgrade(&self) -> Option<TopicHandle> {
        self.0.upgrade().map(|entry| TopicHandle { number: entry.number, entry })
    }

    /// Whether nothing holds it any more.
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl PartialEq for TopicHandle {
    fn eq(&self, other: &TopicHandle) -> bool {
        self.number == other.number
    }
}

impl Eq for TopicHandle {}

impl PartialOrd for TopicHandle {
    fn partial_cmp(&self, other: &TopicHandle) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TopicHandle {
    fn cmp(&self, other: &TopicHandle) -> Ordering {
        self.entry.topic.cmp(&other.entry.topic)
    }
}

impl Hash for TopicHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl fmt::Debug for TopicHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.entry.topic, f)
    }
}

/// How names are hashed. Clients choose them, so the key is random.
#[derive(Clone, Default)]
pub struct NameHash(RandomState);

impl NameHash {
    fn of_topic(&self, topic: &Topic) -> SmallVec<[u64; 4]> {
        let text = topic.as_str();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at + 1);
        let prefixes = ends.take(PREFIX_SEGMENTS_MAX).map(|end| self.0.hash_one(Name::Prefix(&text[..end])));
        std::iter::once(self.0.hash_one(Name::Topic(text))).chain(prefixes).collect()
    }

    /// The hash of what all topics of a pattern begin with; `None` if that may be anything.
    pub(super) fn of_pattern(&self, pattern: &Pattern) -> Option<u64> {
        let prefix = pattern.prefix(PREFIX_SEGMENTS_MAX);
        (!prefix.is_empty()).then(|| self.0.hash_one(Name::Prefix(prefix)))
    }
}

#[derive(Hash)]
enum Name<'a> {
    Topic(&'a str),
    /// All topics that begin with this, which ends with `/`.
    Prefix(&'a str),
}

/// The topics of an event: nearly always one.
///
/// Invariant: at least one and at most [`TOPICS_MAX`], and none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics(SmallVec<[TopicHandle; 1]>);

impl Topics {
    /// One topic.
    pub fn one(topic: TopicHandle) -> Topics {
        Topics(smallvec![topic])
    }

    /// These topics; those that are named again count once.
    ///
    /// # Errors
    /// If there is none, or more than [`TOPICS_MAX`].
    pub fn new(topics: impl IntoIterator<Item = TopicHandle>) -> Result<Topics, EventError> {
        let mut some: Option<Topics> = None;
        for topic in topics {
            match &mut some {
                None => some = Some(Topics::one(topic)),
                Some(some) => some.add(topic)?,
            }
        }
        some.ok_or(EventError::NoTopic)
    }

    /// Adds a topic, unless it is there.
    ///
    /// # Errors
    /// If that is one too many.
    pub fn add(&mut self, topic: TopicHandle) -> Result<(), EventError> {
        if self.0.contains(&topic) {
            return Ok(());
        }
        if self.0.len() == TOPICS_MAX {
            return Err(EventError::TooManyTopics { max: TOPICS_MAX });
        }
        self.0.push(topic);
        Ok(())
    }
}

impl Deref for Topics {
    type Target = [TopicHandle];

    fn deref(&self) -> &[TopicHandle] {
        &self.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::exchange::topics::TopicTable;

    thread_local! {
        /// The table of all tests of a thread, which tells the topics that they name apart.
        static TABLE: TopicTable = crate::hub::log::table_for(&["a", "b", "c", "c/x", "c/y", "d/e/f"]);
    }

    pub(crate) fn handle(text: &str) -> TopicHandle {
        table().named(text).unwrap()
    }

    pub(crate) fn table() -> TopicTable {
        TABLE.with(TopicTable::clone)
    }

    #[test]
    fn the_topics_of_an_event_are_some_and_each_once() {
        let topics = Topics::new(["b", "a", "b"].map(handle)).unwrap();
        assert_eq!(*topics, ["b", "a"].map(handle));
        assert_eq!(Topics::new([]), Err(EventError::NoTopic));
        for (distinct, ok) in [(TOPICS_MAX - 1, true), (TOPICS_MAX, true), (TOPICS_MAX + 1, false)] {
            let twice = (0..distinct).chain(0..distinct).map(|n| handle(&format!("t{n}")));
            assert_eq!(Topics::new(twice).is_ok(), ok, "{distinct}");
        }
    }

    #[test]
    fn hashes_tell_topics_from_what_they_begin_with() {
        let hash = NameHash::default();
        let of = |text: &str| hash.of_topic(&Topic::parse(text).unwrap());
        let pattern = |text: &str| hash.of_pattern(&Pattern::parse(text).unwrap());
        let long = of("a/b/c/d/e/f");
        assert_eq!((of("a").len(), of("a/b").len(), long.len()), (1, 2, 1 + PREFIX_SEGMENTS_MAX));
        assert_eq!((of("a/")[1], of("a/b")[1], Some(long[1])), (long[1], long[1], pattern("a/*")));
        assert_ne!(of("a/")[0], of("a/")[1]);
        assert_eq!((pattern("a/b/**"), pattern("a/b/*/d/e/*")), (Some(long[2]), Some(long[2])));
        assert_eq!(pattern("a/b/c/d/x/*"), Some(long[4]), "no more are told apart");
        assert_eq!((pattern("**"), pattern("*/b")), (None, None));
    }
}
