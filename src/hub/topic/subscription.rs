//! What streams subscribe to.

use crate::hub::fault::SubscriptionError;

use super::TOPICS_MAX;
use super::handle::{Numbers, TopicHandle};
use super::name::{Pattern, Topic, is_internal};

/// The most segments that the patterns of one subscription may have together: each takes memory in a
/// shard's routes.
pub const PATTERN_SEGMENTS_MAX: usize = 512;

/// What a stream subscribes to. Two streams that asked for the same things in another order, or
/// twice, have equal subscriptions.
///
/// Invariant: topics are sorted by their texts and patterns by their segments, both are free of doubles and at
/// most [`TOPICS_MAX`] long together; a pattern has a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subscription {
    topics: Box<[TopicHandle]>,
    patterns: Box<[Pattern]>,
}

impl Subscription {
    /// A subscription to these topics and patterns; a pattern without a wildcard is a topic.
    ///
    /// # Errors
    /// If there is none at all, if there are more than [`TOPICS_MAX`], or if the patterns have more than
    /// [`PATTERN_SEGMENTS_MAX`] segments.
    pub fn new(
        mut topics: Vec<Topic>,
        mut patterns: Vec<Pattern>,
        numbers: &impl Numbers,
    ) -> Result<Subscription, SubscriptionError> {
        patterns.retain(|pattern| match pattern.as_topic() {
            Some(topic) => {
                topics.push(topic);
                false
            }
            None => true,
        });
        topics.sort();
        topics.dedup();
        patterns.sort_by(|one, other| one.as_str().split('/').cmp(other.as_str().split('/')));
        patterns.dedup();
        let asked = topics.len() + patterns.len();
        if asked == 0 {
            return Err(SubscriptionError::Empty);
        }
        if asked > TOPICS_MAX {
            return Err(SubscriptionError::TooMany { asked, max: TOPICS_MAX });
        }
        let segments: usize = patterns.iter().map(|pattern| pattern.as_str().split('/').count()).sum();
        if segments > PATTERN_SEGMENTS_MAX {
            return Err(SubscriptionError::TooManySegments { segments, max: PATTERN_SEGMENTS_MAX });
        }
        Ok(Subscription {
            topics: topics.iter().map(|topic| numbers.handle(topic)).collect(),
            patterns: patterns.into(),
        })
    }

    /// A subscription to one topic.
    pub fn to(topic: TopicHandle) -> Subscription {
        Subscription { topics: Box::new([topic]), patterns: Box::default() }
    }

    /// A subscription to nothing: such a stream gets only what is sent to it alone.
    pub fn nothing() -> Subscription {
        Subscription { topics: Box::default(), patterns: Box::default() }
    }

    /// The topics named exactly, sorted by their texts.
    pub fn topics(&self) -> &[TopicHandle] {
        &self.topics
    }

    /// The patterns, sorted by their segments.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether an event with these topics belongs to the subscription.
    pub fn covers(&self, topics: &[TopicHandle]) -> bool {
        topics.iter().any(|topic| {
            self.topics.contains(topic)
                || !is_internal(topic.as_str()) && any_matches(&self.patterns, 0, topic.as_str())
        })
    }

    /// What it costs to hold an event against all of it, in units of a turn's work.
    pub fn event_work(&self) -> usize {
        1 + self.topics.len() / 32 + self.search_work()
    }

    /// What it costs to hold an event against its patterns, in units of a turn's work.
    pub fn search_work(&self) -> usize {
        // A step of the search compares two segments, some 100 ns.
        self.patterns.len().checked_ilog2().map_or(0, |twofold| 3 * (1 + 2 * twofold as usize))
    }
}

/// Whether any of these patterns matches. They are sorted by their segments and agree in their first `at` bytes, which
/// have been matched; `topic` is what is left of the topic. It looks at a few patterns for each segment, however many
/// there are.
fn any_matches(patterns: &[Pattern], at: usize, topic: &str) -> bool {
    fn segment(pattern: &Pattern, at: usize) -> &str {
        pattern.as_str()[at..].split('/').next().unwrap_or_default()
    }
    let (first, left) = topic.split_once('/').map_or((topic, None), |(first, left)| (first, Some(left)));
    ["**", "*", first].into_iter().any(|wanted| {
        let from = patterns.partition_point(|pattern| segment(pattern, at) < wanted);
        let same = &patterns[from..];
        let same = &same[..same.partition_point(|pattern| segment(pattern, at) == wanted)];
        let Some(shortest) = same.first() else { return false };
        let end = at + wanted.len();
        let ends_here = shortest.as_str().len() == end;
        match left {
            _ if wanted == "**" => true,
            None => ends_here,
            Some(left) => any_matches(&same[usize::from(ends_here)..], end + 1, left),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::handle::tests::table;
    use super::*;
    use proptest::prelude::*;

    fn topics(texts: &[&str]) -> Vec<Topic> {
        texts.iter().map(|text| Topic::parse(text).unwrap()).collect()
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn subscriptions_are_canonical() {
        let table = table();
        let one = Subscription::new(topics(&["b", "a", "b"]), patterns(&["x/*"]), &table).unwrap();
        let two = Subscription::new(topics(&["a", "b"]), patterns(&["x/*", "x/*"]), &table).unwrap();
        assert_eq!(one, two);
        let covers = |text: &str| one.covers(&[table.named("z").unwrap(), table.named(text).unwrap()]);
        assert!(covers("a") && covers("x/1") && !covers("x"));
        assert!(Subscription::new(vec![], vec![], &table).is_err());
    }

    proptest! {
        /// It finds what asking every pattern finds.
        #[test]
        fn a_subscription_covers_what_any_of_its_patterns_matches(
            texts in prop::collection::vec("[ab*-]?(/[ab*-]?){0,3}(/\\*\\*)?", 1..12),
            topic in "[ab-]?(/[ab-]?){0,4}",
        ) {
            let table = table();
            let patterns: Vec<_> = texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
            let (Ok(topic), Ok(one)) = (table.named(&topic), Subscription::new(vec![], patterns.clone(), &table)) else {
                return Ok(());
            };
            prop_assert_eq!(one.covers(std::slice::from_ref(&topic)), patterns.iter().any(|pattern| pattern.matches(topic.as_str())));
        }
    }

    #[test]
    fn a_pattern_without_a_wildcard_is_a_topic() {
        let table = table();
        let one = Subscription::new(topics(&["a"]), patterns(&["a", "b/c", "b/*"]), &table).unwrap();
        assert_eq!(one, Subscription::new(topics(&["a", "b/c"]), patterns(&["b/*"]), &table).unwrap());
        assert_eq!(one.topics().len(), 2);
    }

    #[test]
    fn they_are_bounded_once_doubles_are_gone() {
        let table = table();
        for (distinct, ok) in [(TOPICS_MAX - 1, true), (TOPICS_MAX, true), (TOPICS_MAX + 1, false)] {
            let twice = (0..distinct).chain(0..distinct).map(|n| Topic::parse(&format!("t{n}")).unwrap());
            assert_eq!(Subscription::new(twice.collect(), vec![], &table).is_ok(), ok, "{distinct}");
        }
        let long = format!("{}*", "x/".repeat(99));
        assert!(Subscription::new(vec![], vec![Pattern::parse(&long).unwrap(); 100], &table).is_ok());
        let six = (0..6).map(|n| Pattern::parse(&format!("{n}/{long}")).unwrap()).collect();
        let too_many = SubscriptionError::TooManySegments { segments: 606, max: 512 };
        assert_eq!(Subscription::new(vec![], six, &table), Err(too_many));
    }
}
