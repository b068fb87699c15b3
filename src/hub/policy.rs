//! What is done with a stream that can't keep up: which policy holds for which topic.
//!
//! A stream whose socket is full reads from the log behind the others. `disconnect` and `skip` say
//! what happens when events that it still has to get leave the log; `conflate` also thins out what it has to catch up.

use strum::{AsRefStr, EnumString, VariantArray};

use super::topic::{Pattern, Subscription};

/// What happens to a stream that missed events. From the strictest to the mildest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, EnumString, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum SlowPolicy {
    /// Close the stream. Its client comes back with the last id it saw, and gets a gap for what it missed.
    #[default]
    Disconnect,
    /// Tell the stream in-band that there is a gap, and go on at the head.
    Skip,
    /// Of the events published while its socket was full, send only the newest of each key, and
    /// tell the stream so. An event without a key is always sent.
    Conflate,
}

impl SlowPolicy {
    /// Reads a policy's name.
    ///
    /// # Errors
    /// If there is no policy of that name.
    pub fn parse(text: &str) -> Result<SlowPolicy, UnknownPolicy> {
        text.parse().map_err(|_| UnknownPolicy(text.to_owned()))
    }
}

/// A text names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no policy {0:?}: disconnect, skip and conflate are known")]
pub struct UnknownPolicy(String);

/// The policies by topic. The first pattern that matches wins; where none does, the policy is
/// [`SlowPolicy::Disconnect`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(Box<[(Pattern, SlowPolicy)]>);

impl Policies {
    /// Policies asked in this order.
    pub fn new(rules: impl IntoIterator<Item = (Pattern, SlowPolicy)>) -> Policies {
        Policies(rules.into_iter().collect())
    }

    /// The policy of a topic.
    pub fn for_topic(&self, topic: &str) -> SlowPolicy {
        self.0.iter().find(|(pattern, _)| pattern.matches(topic)).map(|(_, policy)| *policy).unwrap_or_default()
    }

    /// The policy of a stream: the strictest among those of its topics, and of all topics that its patterns cover.
    pub fn for_subscription(&self, subscription: &Subscription) -> SlowPolicy {
        let topics = subscription.topics().iter().map(|topic| self.for_topic(topic.as_str()));
        let patterns = subscription.patterns().iter().map(|pattern| self.for_pattern(pattern));
        topics.chain(patterns).min().unwrap_or_default()
    }

    /// The strictest policy among those of all topics that a pattern covers.
    ///
    /// One example stands for all that the pattern and a rule have in common at one length: an earlier rule that
    /// covers it covers the others. From one segment more than the longest rule has, all lengths are alike.
    fn for_pattern(&self, pattern: &Pattern) -> SlowPolicy {
        let (least, more) = pattern.segments();
        let longest = self.0.iter().map(|(rule, _)| rule.segments().0).max().unwrap_or(0);
        let lengths = least..=if more { least.max(longest + 1) } else { least };
        let strictest = |other: &Pattern| {
            let examples = lengths.clone().filter_map(|segments| pattern.common_example(other, segments));
            examples.map(|topic| self.for_topic(&topic)).min()
        };
        let policy = strictest(pattern).unwrap_or_default();
        self.0.iter().fold(policy, |policy, (rule, own)| match own {
            own if *own < policy => strictest(rule).map_or(policy, |other| other.min(policy)),
            _ => policy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::topic::{Topic, table};
    use super::*;
    use proptest::prelude::*;

    fn policies(rules: &[(&str, SlowPolicy)]) -> Policies {
        Policies::new(rules.iter().map(|(pattern, policy)| (Pattern::parse(pattern).unwrap(), *policy)))
    }

    #[test]
    fn the_first_match_wins_and_the_default_disconnects() {
        let rules = policies(&[
            ("prices/eur", SlowPolicy::Skip),
            ("prices/*", SlowPolicy::Conflate),
            ("prices/**", SlowPolicy::Skip),
        ]);
        for (topic, expected) in [
            ("prices/eur", SlowPolicy::Skip),
            ("prices/usd", SlowPolicy::Conflate),
            ("prices/usd/spot", SlowPolicy::Skip),
            ("prices", SlowPolicy::Disconnect),
            ("news", SlowPolicy::Disconnect),
        ] {
            assert_eq!(rules.for_topic(topic), expected, "{topic}");
        }
        assert_eq!(Policies::default().for_topic("any"), SlowPolicy::Disconnect);
    }

    #[test]
    fn a_subscription_gets_the_strictest_of_its_parts() {
        let rules = policies(&[("a", SlowPolicy::Skip), ("b/*", SlowPolicy::Conflate), ("c", SlowPolicy::Disconnect)]);
        #[track_caller]
        fn check(rules: &Policies, topics: &[&str], patterns: &[&str], expected: SlowPolicy) {
            let subscription = Subscription::new(
                topics.iter().map(|t| Topic::parse(t).unwrap()).collect(),
                patterns.iter().map(|p| Pattern::parse(p).unwrap()).collect(),
                &table(),
            )
            .unwrap();
            assert_eq!(rules.for_subscription(&subscription), expected, "{topics:?} {patterns:?}");
        }
        check(&rules, &["a"], &[], SlowPolicy::Skip);
        check(&rules, &["b/1"], &[], SlowPolicy::Conflate);
        check(&rules, &[], &["b/*"], SlowPolicy::Conflate);
        check(&rules, &["b/1", "a"], &[], SlowPolicy::Skip);
        check(&rules, &["b/1", "a", "c"], &[], SlowPolicy::Disconnect);
        check(&rules, &["a"], &["b/*"], SlowPolicy::Skip);
        check(&rules, &["a"], &["b/**", "x"], SlowPolicy::Disconnect);
        assert_eq!(rules.for_subscription(&Subscription::nothing()), SlowPolicy::Disconnect);
    }

    #[test]
    fn patterns_are_compared_by_what_they_cover() {
        let rules = policies(&[
            ("prices/eur", SlowPolicy::Disconnect),
            ("prices/*", SlowPolicy::Conflate),
            ("prices/usd", SlowPolicy::Disconnect),
            ("prices/*/**", SlowPolicy::Skip),
            ("*/fr/**", SlowPolicy::Conflate),
        ]);
        for (pattern, expected) in [
            // Some of its topics have a stricter rule of their own.
            ("prices/*", SlowPolicy::Disconnect),
            ("*/usd", SlowPolicy::Disconnect),
            ("prices/*/*", SlowPolicy::Skip),
            ("prices/*/**", SlowPolicy::Skip),
            ("prices/**", SlowPolicy::Disconnect),
            ("news/fr/*", SlowPolicy::Conflate),
            ("*/fr/*", SlowPolicy::Skip),
            // Not all of its topics have a rule.
            ("news/*/x", SlowPolicy::Disconnect),
            ("**", SlowPolicy::Disconnect),
        ] {
            assert_eq!(rules.for_pattern(&Pattern::parse(pattern).unwrap()), expected, "{pattern}");
        }
        // A rule that earlier ones leave nothing is none; several may cover a pattern together.
        let rules = policies(&[
            ("a/*", SlowPolicy::Conflate),
            ("a/x", SlowPolicy::Disconnect),
            ("a/*/**", SlowPolicy::Skip),
            ("**", SlowPolicy::Conflate),
        ]);
        assert_eq!(rules.for_pattern(&Pattern::parse("a/*").unwrap()), SlowPolicy::Conflate);
        assert_eq!(rules.for_pattern(&Pattern::parse("a/**").unwrap()), SlowPolicy::Skip);
        assert_eq!(rules.for_pattern(&Pattern::parse("*").unwrap()), SlowPolicy::Conflate);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// No rule has more than three segments or another letter than `a` and `b`: topics of five segments over
        /// three letters are all the kinds that there are.
        #[test]
        fn a_pattern_has_the_strictest_policy_of_its_topics(
            rules in prop::collection::vec(("(\\*\\*|[ab*](/[ab*]){0,1}(/[ab*]|/\\*\\*)?)", prop::sample::select(SlowPolicy::VARIANTS)), 0..6),
            pattern in "(\\*\\*|[ab*](/[ab*]){0,2}(/\\*\\*)?)",
        ) {
            let rules = Policies::new(rules.iter().map(|(rule, policy)| (Pattern::parse(rule).unwrap(), *policy)));
            let pattern = Pattern::parse(&pattern).unwrap();
            let mut topics = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
            let mut strictest = None;
            for _ in 0..5 {
                let covered = topics.iter().filter(|topic| pattern.matches(topic));
                strictest = strictest.into_iter().chain(covered.map(|topic| rules.for_topic(topic))).min();
                topics = topics.iter().flat_map(|topic| ["a", "b", "c"].map(|next| format!("{topic}/{next}"))).collect();
            }
            prop_assert_eq!(Some(rules.for_pattern(&pattern)), strictest);
        }
    }

    #[test]
    fn names_read_back() {
        for &policy in SlowPolicy::VARIANTS {
            assert_eq!(SlowPolicy::parse(policy.as_ref()), Ok(policy));
        }
        assert_eq!(SlowPolicy::parse("drop"), Err(UnknownPolicy("drop".to_owned())));
    }
}
