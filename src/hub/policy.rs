//! What is done with a stream that can't keep up: which policy holds for which topic.
//!
//! A stream whose socket is full reads from the log behind the others. `disconnect` and `skip` say
//! what happens when it falls off the log's tail; `conflate` also thins out what it has to catch up.

use strum::{AsRefStr, EnumString, VariantArray};

use super::fault::Fault;
use super::topic::{Pattern, Subscription};

/// What happens to a stream that missed events. From the strictest to the mildest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, EnumString, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SlowPolicy {
    /// Close the stream. Its client comes back with the last id it saw, and is told what it missed.
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
    /// A [`Fault`] in `slow` if there is no policy of that name.
    pub fn parse(text: &str) -> Result<SlowPolicy, Fault> {
        text.parse()
            .map_err(|_| Fault::new("slow", format!("no policy {text:?}: disconnect, skip and conflate are known")))
    }
}

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

    /// The policy of a stream: the strictest among those of its parts. A pattern's own text is
    /// looked up as if it were a topic.
    pub fn for_subscription(&self, subscription: &Subscription) -> SlowPolicy {
        let topics = subscription.topics().iter().map(|topic| self.for_topic(topic.as_str()));
        let patterns = subscription.patterns().iter().map(|pattern| self.for_topic(pattern.as_str()));
        topics.chain(patterns).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::topic::{Topic, table};
    use super::*;

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
    fn names_read_back() {
        for &policy in SlowPolicy::VARIANTS {
            assert_eq!(SlowPolicy::parse(policy.as_ref()), Ok(policy));
        }
        assert_eq!(SlowPolicy::parse("drop").unwrap_err().field, "slow");
    }
}
