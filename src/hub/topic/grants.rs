//! What may be had of topics, and what is left of a subscription by that.

use super::handle::{Numbers, TopicHandle};
use super::name::{Pattern, Topic};
use super::sees::{Grant, Sees, first_of};
use super::subscription::Subscription;

/// What somebody may have, by topic: the first pattern that covers a topic says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    listed: Vec<(Pattern, Grant)>,
    otherwise: Grant,
}

/// What is left of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// All of it that is granted.
    pub subscription: Subscription,
    /// Whether a pattern covers topics that are not.
    pub less: bool,
}

/// What of a subscription is not granted at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A topic that it names.
    Topic(Topic),
    /// All that a pattern covers.
    Pattern(Pattern),
}

impl Grants {
    /// What these patterns say, the first that covers a topic, and `otherwise` where none does.
    pub fn new(listed: Vec<(Pattern, Grant)>, otherwise: Grant) -> Grants {
        Grants { listed, otherwise }
    }

    /// What may be had of a topic.
    pub fn of(&self, topic: &str) -> Grant {
        first_of(&self.listed, topic).unwrap_or(self.otherwise)
    }

    /// Whether they may grant something of some topic.
    pub fn grant_something(&self) -> bool {
        self.otherwise != Grant::Nothing || self.listed.iter().any(|(_, grant)| *grant != Grant::Nothing)
    }

    /// What may be had of the topics that a pattern covers: the first of these that covers one of them says so.
    /// What the ones before say of all of them is not repeated.
    fn within(&self, pattern: &Pattern) -> Vec<(Pattern, Grant)> {
        let mut found: Vec<(Pattern, Grant)> = Vec::new();
        for (listed, grant) in &self.listed {
            let Some(both) = pattern.intersection(listed) else { continue };
            if found.iter().any(|(earlier, _)| earlier.covers(&both)) {
                continue;
            }
            let is_all = both == *pattern;
            found.push((both, *grant));
            if is_all {
                return found;
            }
        }
        found.push((pattern.clone(), self.otherwise));
        found
    }
}

impl Subscription {
    /// What is left of it by these grants: exactly the topics that it covers of which they grant something. A topic
    /// that it names must be granted, and of each pattern something.
    ///
    /// # Errors
    /// What of it is not granted.
    pub fn granted(&self, grants: &Grants, numbers: &impl Numbers) -> Result<Granted, Denied> {
        let mut listed = Vec::new();
        for topic in self.topics() {
            match grants.of(topic.as_str()) {
                Grant::Nothing => return Err(Denied::Topic(topic.topic().clone())),
                grant => listed.push((Pattern::of(topic.topic()), grant)),
            }
        }
        let (mut covering, mut less) = (Vec::new(), false);
        for pattern in self.patterns() {
            let within = grants.within(pattern);
            let granting = within.iter().filter(|(_, grant)| *grant != Grant::Nothing);
            let before = covering.len();
            covering.extend(granting.map(|(pattern, _)| pattern.clone()));
            if covering.len() == before {
                return Err(Denied::Pattern(pattern.clone()));
            }
            less |= covering.len() - before < within.len();
            listed.extend(within);
        }
        let sees = Sees::of(listed);
        if !less {
            return Ok(Granted { subscription: self.seeing(sees), less });
        }
        // What another of them covers adds nothing.
        for at in (0..covering.len()).rev() {
            let covers = |(other, pattern): (usize, &Pattern)| {
                other != at && pattern.covers(&covering[at]) && (other < at || !covering[at].covers(pattern))
            };
            if covering.iter().enumerate().any(covers) {
                covering.swap_remove(at);
            }
        }
        let topics = self.topics().iter().map(TopicHandle::topic).cloned().collect();
        let subscription = match Subscription::new(topics, covering, numbers) {
            Ok(subscription) => subscription.seeing(sees),
            // More patterns than a subscription may hold: it looks at all that was asked for.
            Err(_) => self.seeing(sees.listed_for(self, grants)),
        };
        Ok(Granted { subscription, less })
    }
}

impl Sees {
    /// As a list, for a subscription that covers topics of which nothing is granted.
    fn listed_for(self, subscription: &Subscription, grants: &Grants) -> Sees {
        match self {
            Sees::ByTopic(listed) => Sees::ByTopic(listed),
            Sees::Public | Sees::All => {
                let topics = subscription.topics().iter().map(|topic| Pattern::of(topic.topic()));
                let listed = topics.map(|topic| (topic.clone(), grants.of(topic.as_str())));
                let within = subscription.patterns().iter().flat_map(|pattern| grants.within(pattern));
                Sees::ByTopic(listed.chain(within).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::handle::tests::table;
    use super::*;
    use crate::hub::effort::Effort;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn grants(listed: &[(&str, Grant)], otherwise: Grant) -> Grants {
        Grants::new(listed.iter().map(|(text, grant)| (pattern(text), *grant)).collect(), otherwise)
    }

    /// What is left of a subscription to these patterns, by their texts, and whether it is less.
    fn left(asked: &[&str], grants: &Grants) -> Result<(Vec<String>, Sees, bool), Denied> {
        let asked = Subscription::new(vec![], asked.iter().map(|text| pattern(text)).collect(), &table()).unwrap();
        let Granted { subscription, less } = asked.granted(grants, &table())?;
        let topics = subscription.topics().iter().map(|topic| topic.as_str().to_owned());
        let texts = topics.chain(subscription.patterns().iter().map(|pattern| pattern.as_str().to_owned()));
        Ok((texts.collect(), subscription.sees.clone(), less))
    }

    #[test]
    fn a_subscription_is_left_as_far_as_it_is_granted() {
        let own = grants(&[("prices/**", Grant::All), ("chat/42", Grant::All)], Grant::Nothing);
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(left(&["**"], &own), Ok((texts(&["chat/42", "prices/**"]), Sees::All, true)));
        assert_eq!(left(&["*/42"], &own), Ok((texts(&["chat/42", "prices/42"]), Sees::All, true)));
        assert_eq!(left(&["prices/eur"], &own), Ok((texts(&["prices/eur"]), Sees::All, false)));
        assert_eq!(left(&["prices/*/x"], &own), Ok((texts(&["prices/*/x"]), Sees::All, false)));
        assert_eq!(left(&["chat/*/**"], &own), Err(Denied::Pattern(pattern("chat/*/**"))));
        assert_eq!(left(&["chat/43"], &own), Err(Denied::Topic(Topic::parse("chat/43").unwrap())));
        assert_eq!(left(&["prices/*", "chat/43"], &own), Err(Denied::Topic(Topic::parse("chat/43").unwrap())));
        let anyone = grants(&[("prices/**", Grant::Public)], Grant::Public);
        assert_eq!(left(&["prices/*"], &anyone), Ok((texts(&["prices/*"]), Sees::Public, false)));
        // Who asks for one's own alone shares a cohort with whoever may have nothing else.
        let ruled = [("users/7/**", Grant::All), ("users/*/**", Grant::Nothing)];
        let alone = left(&["users/7/**"], &grants(&ruled, Grant::Public)).unwrap();
        assert_eq!(alone, left(&["users/7/**"], &grants(&ruled, Grant::Nothing)).unwrap());
        assert_eq!(alone.1, Sees::All);
    }

    #[test]
    fn what_an_earlier_pattern_denies_is_left_out() {
        let secret = grants(&[("secret/**", Grant::Nothing)], Grant::Public);
        let all = Subscription::new(vec![], vec![pattern("**")], &table()).unwrap().granted(&secret, &table()).unwrap();
        let takes = |topic: &str, private| {
            all.subscription.takes(&[table().named(topic).unwrap()], private, &mut Effort::unbounded())
        };
        assert!(all.less && takes("a", false) && takes("secret", false) && !takes("secret/a", false));
        assert!(!takes("a", true));
        // An event of two topics comes by the one that is granted.
        let both = ["secret/a", "b"].map(|topic| table().named(topic).unwrap());
        assert!(all.subscription.takes(&both, false, &mut Effort::unbounded()));
    }

    #[test]
    fn more_than_a_subscription_holds_is_as_exact() {
        let many: Vec<_> = (0..200).map(|n| (pattern(&format!("t{n}/**")), Grant::All)).collect();
        let all = Subscription::new(vec![], vec![pattern("**")], &table()).unwrap();
        let Granted { subscription, less } = all.granted(&Grants::new(many, Grant::Nothing), &table()).unwrap();
        let takes = |topic: &str| subscription.takes(&[table().named(topic).unwrap()], true, &mut Effort::unbounded());
        assert!(less && takes("t0/a") && takes("t199/a") && !takes("t200/a") && !takes("t0"));
    }

    fn a_pattern() -> impl Strategy<Value = Pattern> {
        "[ab*](/[ab*]){0,2}(/\\*\\*)?|\\*\\*".prop_map(|text| pattern(&text))
    }

    fn a_grant() -> impl Strategy<Value = Grant> {
        prop_oneof![Just(Grant::Nothing), Just(Grant::Public), Just(Grant::All)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Two patterns' intersection covers what both cover.
        #[test]
        fn an_intersection_covers_what_both_do(one in a_pattern(), other in a_pattern(), topic in "[abc](/[abc]){0,4}") {
            let both = one.intersection(&other);
            prop_assert_eq!(both.is_some_and(|both| both.matches(&topic)), one.matches(&topic) && other.matches(&topic));
            if one.covers(&other) {
                prop_assert!(!other.matches(&topic) || one.matches(&topic));
            }
        }

        /// What is left takes exactly what is asked for and granted.
        #[test]
        fn what_is_left_is_what_is_asked_for_and_granted(
            listed in prop::collection::vec((a_pattern(), a_grant()), 0..8),
            otherwise in a_grant(),
            asked in prop::collection::vec(a_pattern(), 1..4),
            topics in prop::collection::vec("[abc](/[abc]){0,3}", 1..3),
        ) {
            let table = table();
            let grants = Grants::new(listed.clone(), otherwise);
            let asked = Subscription::new(vec![], asked, &table).unwrap();
            let handles: Vec<_> = topics.iter().map(|topic| table.named(topic).unwrap()).collect();
            for private in [false, true] {
                let needed = if private { Grant::All } else { Grant::Public };
                let model = |topic: &str| listed.iter().find(|(pattern, _)| pattern.matches(topic)).map_or(otherwise, |(_, grant)| *grant);
                let due = handles.iter().any(|topic| {
                    asked.covers(std::slice::from_ref(topic), &mut Effort::unbounded()) && model(topic.as_str()) >= needed
                });
                match asked.granted(&grants, &table) {
                    Ok(Granted { subscription, less }) => {
                        prop_assert_eq!(subscription.takes(&handles, private, &mut Effort::unbounded()), due);
                        let denied = handles.iter().any(|topic| {
                            asked.covers(std::slice::from_ref(topic), &mut Effort::unbounded()) && model(topic.as_str()) == Grant::Nothing
                        });
                        prop_assert!(less || !denied);
                    }
                    Err(_) => {
                        // Nothing of one part is granted, so that the whole is refused.
                    }
                }
            }
        }
    }
}
