//! Topics as this process knows them: each has its text once, and a number, so that nothing on an
//! event's way hashes or compares texts.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, Weak};

use smallvec::{SmallVec, smallvec};

use crate::hub::fault::EventError;

use super::TOPICS_MAX;
use super::name::Topic;

/// Who gives topics their numbers. Equal topics have one number, as long as anything holds it.
pub trait Numbers {
    /// The topic with its number.
    fn handle(&self, topic: &Topic) -> TopicHandle;
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
    source: Arc<dyn Release>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.source.release(&self.topic, self.number);
    }
}

impl TopicHandle {
    /// A handle. `number` goes back to `source` when the last clone is gone.
    pub fn new(topic: Topic, number: u32, source: Arc<dyn Release>) -> TopicHandle {
        TopicHandle { number, entry: Arc::new(Entry { topic, number, source }) }
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
        /// The table of all tests of a thread.
        static TABLE: TopicTable = TopicTable::default();
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
}
