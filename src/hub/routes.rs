//! From topics to the cohorts that subscribe to them.
//!
//! Topics named exactly are one look-up by number. Patterns stand in a trie by segment, so that a look-up
//! follows the topic and not the number of patterns.

use smallvec::SmallVec;

use super::paged::Paged;
use super::topic::{Subscription, TopicHandle};

/// A cohort's slot.
pub type CohortIndex = u32;

/// The topics and patterns of a shard's cohorts.
#[derive(Default)]
pub struct Routes {
    exact: Paged<SmallVec<[CohortIndex; 2]>>,
    patterns: Node,
}

#[derive(Default)]
struct Node {
    /// Sorted by segment. Not a map: most nodes have one child or none.
    literal: Vec<(Box<str>, Box<Node>)>,
    any: Option<Box<Node>>,
    /// Cohorts whose pattern ends here,
    ends: Vec<CohortIndex>,
    /// or goes on with `**`.
    rest: Vec<CohortIndex>,
}

impl Routes {
    /// Whether any cohort names this topic exactly.
    pub fn names(&self, topic: &TopicHandle) -> bool {
        self.exact.get(topic.number()).is_some()
    }

    /// Whether any cohort has a pattern.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Adds a cohort.
    pub fn add(&mut self, subscription: &Subscription, cohort: CohortIndex) {
        for topic in subscription.topics() {
            self.exact.get_or_insert_with(topic.number(), SmallVec::new).push(cohort);
        }
        for pattern in subscription.patterns() {
            self.patterns.add(pattern.as_str().split('/'), cohort);
        }
    }

    /// Takes a cohort out; reports each topic that no cohort names any more.
    pub fn remove(&mut self, subscription: &Subscription, cohort: CohortIndex, mut unrouted: impl FnMut(&TopicHandle)) {
        for topic in subscription.topics() {
            let Some(cohorts) = self.exact.get_mut(topic.number()) else { continue };
            take_out(cohorts.as_slice(), cohort).map(|at| cohorts.swap_remove(at));
            if cohorts.is_empty() {
                self.exact.remove(topic.number());
                unrouted(topic);
            }
        }
        for pattern in subscription.patterns() {
            self.patterns.remove(pattern.as_str().split('/'), cohort);
        }
    }

    /// Names the cohorts that subscribe to a topic; one that does so twice is named twice.
    pub fn resolve(&self, topic: &TopicHandle, mut found: impl FnMut(CohortIndex)) {
        if let Some(cohorts) = self.exact.get(topic.number()) {
            cohorts.iter().copied().for_each(&mut found);
        }
        if self.has_patterns() {
            self.patterns.resolve(topic.as_str().split('/'), &mut found);
        }
    }
}

fn take_out(cohorts: &[CohortIndex], cohort: CohortIndex) -> Option<usize> {
    cohorts.iter().position(|&other| other == cohort)
}

impl Node {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.ends.is_empty() && self.rest.is_empty()
    }

    fn add<'a>(&mut self, mut segments: impl Iterator<Item = &'a str>, cohort: CohortIndex) {
        match segments.next() {
            None => self.ends.push(cohort),
            Some("**") => self.rest.push(cohort),
            Some("*") => self.any.get_or_insert_default().add(segments, cohort),
            Some(segment) => {
                let at = self.find(segment).unwrap_or_else(|at| {
                    self.literal.insert(at, (segment.into(), Box::default()));
                    at
                });
                self.literal[at].1.add(segments, cohort);
            }
        }
    }

    fn remove<'a>(&mut self, mut segments: impl Iterator<Item = &'a str>, cohort: CohortIndex) {
        match segments.next() {
            None => drop(take_out(&self.ends, cohort).map(|at| self.ends.swap_remove(at))),
            Some("**") => drop(take_out(&self.rest, cohort).map(|at| self.rest.swap_remove(at))),
            Some("*") => {
                if let Some(node) = &mut self.any {
                    node.remove(segments, cohort);
                }
                self.any.take_if(|node| node.is_empty());
            }
            Some(segment) => {
                let Ok(at) = self.find(segment) else { return };
                let node = &mut self.literal[at].1;
                node.remove(segments, cohort);
                if node.is_empty() {
                    self.literal.remove(at);
                    if self.literal.is_empty() {
                        self.literal = Vec::new();
                    }
                }
            }
        }
    }

    fn find(&self, segment: &str) -> Result<usize, usize> {
        self.literal.binary_search_by(|(other, _)| (**other).cmp(segment))
    }

    /// Visits at most the nodes of the trie, however the topic is made.
    fn resolve<'a>(&self, mut segments: impl Iterator<Item = &'a str> + Clone, found: &mut impl FnMut(CohortIndex)) {
        let Some(segment) = segments.next() else {
            return self.ends.iter().copied().for_each(found);
        };
        self.rest.iter().copied().for_each(&mut *found);
        if let Ok(at) = self.find(segment) {
            self.literal[at].1.resolve(segments.clone(), found);
        }
        if let Some(node) = &self.any {
            node.resolve(segments, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::topic::{Pattern, Topic, handle, table};
    use proptest::prelude::*;

    fn subscription(topics: &[&str], patterns: &[&str]) -> Subscription {
        Subscription::new(
            topics.iter().map(|t| Topic::parse(t).unwrap()).collect(),
            patterns.iter().map(|p| Pattern::parse(p).unwrap()).collect(),
            &table(),
        )
        .unwrap()
    }

    proptest! {
        /// The trie finds what asking every subscription finds, also after some have gone.
        #[test]
        fn routes_equal_covers(
            subs in prop::collection::vec((prop::collection::vec("[ab](/[ab]){0,2}", 0..3), prop::collection::vec("([ab*])(/[ab*]){0,2}(/\\*\\*)?", 1..3)), 1..8),
            gone in prop::collection::vec(any::<bool>(), 8),
            topic in "[ab](/[ab]){0,3}",
        ) {
            let subs: Vec<_> = subs.iter().map(|(topics, patterns)| subscription(
                &topics.iter().map(String::as_str).collect::<Vec<_>>(),
                &patterns.iter().map(String::as_str).collect::<Vec<_>>(),
            )).collect();
            let mut routes = Routes::default();
            for (index, sub) in subs.iter().enumerate() { routes.add(sub, index as u32); }
            for (index, sub) in subs.iter().enumerate().filter(|(index, _)| gone[*index]) {
                routes.remove(sub, index as u32, |_| {});
            }
            let topic = handle(&topic);
            let mut found = Vec::new();
            routes.resolve(&topic, |cohort| found.push(cohort));
            found.sort_unstable();
            found.dedup();
            let expected: Vec<u32> = subs.iter().enumerate()
                .filter(|(index, sub)| !gone[*index] && sub.covers(std::slice::from_ref(&topic)))
                .map(|(index, _)| index as u32).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn nothing_is_left_behind() {
        let mut routes = Routes::default();
        let (one, two) = (subscription(&["a", "b"], &["x/*/**", "x/y"]), subscription(&["b"], &[]));
        routes.add(&one, 1);
        routes.add(&two, 2);
        let mut unrouted = Vec::new();
        routes.remove(&one, 1, |topic| unrouted.push(topic.as_str().to_owned()));
        assert_eq!(unrouted, ["a", "x/y"]);
        assert!(!routes.has_patterns() && routes.names(&handle("b")));
        routes.remove(&two, 2, |_| {});
        assert!(routes.exact.is_empty());
    }
}
