//! What streams subscribe to.

use crate::hub::effort::Effort;
use crate::hub::fault::SubscriptionError;

use super::TOPICS_MAX;
use super::handle::{Numbers, TopicHandle};
use super::name::{Pattern, Topic, is_internal};
use super::sees::Sees;

/// The most segments that the patterns of one subscription may have together: each takes memory in a
/// shard's routes.
pub const PATTERN_SEGMENTS_MAX: usize = 512;

/// What a stream subscribes to. Two streams that asked for the same things in another order, or
/// twice, have equal subscriptions.
///
/// It takes public events; what is left of it by somebody's [`Grants`](super::Grants) takes what they say.
///
/// Invariant: topics are sorted by their texts and patterns by their segments, both are free of doubles and at
/// most [`TOPICS_MAX`] long together; a pattern has a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subscription {
    topics: Box<[TopicHandle]>,
    patterns: Box<[Pattern]>,
    pub(super) sees: Sees,
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
            sees: Sees::Public,
        })
    }

    /// A subscription to one topic.
    pub fn to(topic: TopicHandle) -> Subscription {
        Subscription { topics: Box::new([topic]), patterns: Box::default(), sees: Sees::Public }
    }

    /// A subscription to nothing: such a stream gets only what is sent to it alone.
    pub fn nothing() -> Subscription {
        Subscription { topics: Box::default(), patterns: Box::default(), sees: Sees::Public }
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
    pub fn covers(&self, topics: &[TopicHandle], effort: &mut Effort) -> bool {
        topics.iter().any(|topic| {
            effort.spend(1 + self.topics.len() / 32);
            self.topics.contains(topic)
                || !is_internal(topic.as_str()) && any_matches(&self.patterns, 0, topic.as_str(), effort)
        })
    }

    /// Whether an event with these topics, private or not, is for the subscription: on a topic that it covers and sees it of.
    pub fn takes(&self, topics: &[TopicHandle], private: bool, effort: &mut Effort) -> bool {
        match (&self.sees, private) {
            (Sees::Public, false) | (Sees::All, _) => self.covers(topics, effort),
            (Sees::Public, true) => false,
            (Sees::ByTopic(listed), _) => topics.iter().any(|topic| {
                effort.spend(listed.len());
                self.sees.sees(topic.as_str(), private) && self.covers(std::slice::from_ref(topic), effort)
            }),
        }
    }

    /// The same for an event of which it names a topic.
    pub fn takes_named(&self, topics: &[TopicHandle], private: bool) -> bool {
        match (&self.sees, private) {
            (Sees::Public, private) => !private,
            (Sees::All, _) => true,
            (Sees::ByTopic(_), _) => self.takes(topics, private, &mut Effort::unbounded()),
        }
    }

    /// Whether it takes events, private or not, that come by a topic which it covers.
    pub fn sees(&self, topic: &TopicHandle, private: bool) -> bool {
        self.sees.sees(topic.as_str(), private)
    }

    /// Whether it takes all events, private or not, on the topics that it covers, or none; `None` if that is by topic.
    pub fn sees_all(&self, private: bool) -> Option<bool> {
        match &self.sees {
            Sees::Public => Some(!private),
            Sees::All => Some(true),
            Sees::ByTopic(_) => None,
        }
    }

    /// The same, which takes private events, too.
    pub fn with_private(&self) -> Subscription {
        self.seeing(Sees::All)
    }

    pub(super) fn seeing(&self, sees: Sees) -> Subscription {
        Subscription { sees, ..self.clone() }
    }
}

/// Whether any of these patterns matches. They are sorted by their segments and agree in their first `at` bytes, which
/// have been matched; `topic` is what is left of the topic.
///
/// It goes on with those that have `*` next, and with those that have the topic's segment: with many such patterns
/// that are many ways, though never more than there are patterns for each segment. Each pattern that is looked at
/// is work.
fn any_matches(patterns: &[Pattern], at: usize, topic: &str, effort: &mut Effort) -> bool {
    let mut split = |patterns: &[Pattern], is_before: &dyn Fn(&str) -> bool| {
        patterns.partition_point(|pattern| {
            effort.spend(1);
            is_before(segment(pattern, at))
        })
    };
    let (first, left) = topic.split_once('/').map_or((topic, None), |(first, left)| (first, Some(left)));
    let (before, from_any) = patterns.split_at(split(patterns, &|segment| segment < "*"));
    let (any, after) = from_any.split_at(split(from_any, &|segment| segment == "*"));
    // It sorts right behind `*`.
    if after.first().is_some_and(|pattern| segment(pattern, at) == "**") {
        return true;
    }
    let named = if first < "*" { before } else { after };
    let named = &named[split(named, &|segment| segment < first)..];
    let named = &named[..split(named, &|segment| segment == first)];
    [(any, 1), (named, first.len())].into_iter().any(|(same, len)| {
        let Some(shortest) = same.first() else { return false };
        let end = at + len;
        let ends_here = shortest.as_str().len() == end;
        match left {
            None => ends_here,
            Some(left) => any_matches(&same[usize::from(ends_here)..], end + 1, left, effort),
        }
    })
}

/// A pattern's segment that begins there.
fn segment(pattern: &Pattern, at: usize) -> &str {
    pattern.as_str()[at..].split('/').next().unwrap_or_default()
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
        let covers =
            |text: &str| one.covers(&[table.named("z").unwrap(), table.named(text).unwrap()], &mut Effort::unbounded());
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
            prop_assert_eq!(one.covers(std::slice::from_ref(&topic), &mut Effort::unbounded()), patterns.iter().any(|pattern| pattern.matches(topic.as_str())));
        }
    }

    /// How many beginnings of the patterns match a beginning of the topic: so many nodes a search must come to that finds
    /// nothing, however it is made.
    fn nodes(patterns: &[Pattern], topic: &Topic) -> usize {
        let topic: Vec<_> = topic.as_str().split('/').collect();
        let mut nodes = std::collections::HashSet::new();
        for pattern in patterns {
            let segments: Vec<_> = pattern.as_str().split('/').collect();
            let same =
                segments.iter().zip(&topic).take_while(|(wanted, segment)| *wanted == *segment || **wanted == "*");
            nodes.extend((1..=same.count()).map(|depth| segments[..depth].to_vec()));
        }
        nodes.len()
    }

    fn spent(patterns: Vec<Pattern>, topic: &Topic) -> Option<usize> {
        let table = table();
        let one = Subscription::new(vec![], patterns, &table).ok()?;
        let mut effort = Effort::unbounded();
        (!one.covers(&[table.handle(topic)], &mut effort)).then_some(effort.spent())
    }

    proptest! {
        /// What a search without a find has counted is no less than what any must do, and no more than a few looks at each
        /// pattern for each of the topic's segments.
        #[test]
        fn a_search_counts_what_it_does(
            texts in prop::collection::vec("[ab*](/[ab*]){0,7}", 1..60),
            topic in "[ab](/[ab]){0,7}",
        ) {
            let patterns: Vec<_> = texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
            let topic = Topic::parse(&topic).unwrap();
            let segments = topic.as_str().split('/').count();
            if let Some(spent) = spent(patterns.clone(), &topic) {
                prop_assert!(spent >= nodes(&patterns, &topic), "{spent}");
                prop_assert!(spent <= 1 + 6 * segments * patterns.len(), "{spent}");
            }
        }
    }

    #[test]
    fn a_search_in_patterns_that_all_match_but_at_their_end_counts_each_of_them() {
        let patterns: Vec<_> = (0..64)
            .map(|number| {
                let segments = (0..6).map(|at| if number >> at & 1 == 0 { "*".to_owned() } else { format!("s{at}") });
                Pattern::parse(&format!("{}/zz", segments.collect::<Vec<_>>().join("/"))).unwrap()
            })
            .collect();
        let topic = Topic::parse("s0/s1/s2/s3/s4/s5/s6").unwrap();
        assert_eq!(nodes(&patterns, &topic), 2 + 4 + 8 + 16 + 32 + 64);
        let deep = spent(patterns, &topic).unwrap();
        assert!((126..=6 * 7 * 64).contains(&deep), "{deep}");
        // Where the first segment decides, it is not.
        let patterns = (0..64).map(|number| Pattern::parse(&format!("{number}/*/*/zz")).unwrap()).collect();
        let flat = spent(patterns, &topic).unwrap();
        assert!(flat < 40, "{flat}");
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
