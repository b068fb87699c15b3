//! From topics to the cohorts that subscribe to them.
//!
//! Topics named exactly are one look-up by number. Patterns stand in a trie by segment, so that a look-up
//! follows the topic and not the number of patterns. To open or close a cohort costs as much among very
//! many as among few.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::paged::Paged;
use super::topic::{Subscription, TopicHandle};

/// A cohort's slot.
pub type CohortIndex = u32;

/// The topics and patterns of a shard's cohorts.
#[derive(Default)]
pub struct Routes {
    exact: Paged<Cohorts>,
    patterns: Node,
}

/// Cohorts, each once, in no order.
#[derive(Default)]
struct Cohorts {
    list: SmallVec<[CohortIndex; 2]>,
    /// Where each stands in a list that is long.
    slots: Option<Box<Slots>>,
}

/// Boxed as a whole: most lists have none.
struct Slots(HashMap<CohortIndex, u32>);

/// A list that is longer is searched by its index. Below half of that, it has none any more.
const SEARCHED_MAX: usize = 32;

#[derive(Default)]
struct Node {
    literal: Children,
    any: Option<Box<Node>>,
    /// Cohorts whose pattern ends here,
    ends: Cohorts,
    /// or goes on with `**`.
    remaining: Cohorts,
}

/// The nodes below one, by their segment. Most have one or none.
enum Children {
    /// Sorted by segment.
    Few(Vec<(Box<str>, Node)>),
    Many(HashMap<Box<str>, Node>),
}

/// More children than that are hashed, until they are fewer than half as many again.
const SORTED_MAX: usize = 16;

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
            self.exact.get_or_insert_with(topic.number(), Cohorts::default).add(cohort);
        }
        for pattern in subscription.patterns() {
            self.patterns.add(pattern.as_str().split('/'), cohort);
        }
    }

    /// Takes a cohort out; reports each topic that no cohort names any more.
    pub fn remove(&mut self, subscription: &Subscription, cohort: CohortIndex, mut unrouted: impl FnMut(&TopicHandle)) {
        for topic in subscription.topics() {
            let Some(cohorts) = self.exact.get_mut(topic.number()) else { continue };
            cohorts.remove(cohort);
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
            cohorts.list.iter().copied().for_each(&mut found);
        }
        if self.has_patterns() {
            self.patterns.resolve(topic.as_str().split('/'), &mut found);
        }
    }
}

impl Cohorts {
    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn add(&mut self, cohort: CohortIndex) {
        let slot = self.list.len() as u32;
        self.list.push(cohort);
        match &mut self.slots {
            Some(slots) => drop(slots.0.insert(cohort, slot)),
            None if self.list.len() > SEARCHED_MAX => {
                self.slots = Some(Box::new(Slots(self.list.iter().copied().zip(0..).collect())));
            }
            None => {}
        }
    }

    fn remove(&mut self, cohort: CohortIndex) {
        let slot = match &mut self.slots {
            Some(slots) => slots.0.remove(&cohort).map(|slot| slot as usize),
            None => self.list.iter().position(|&other| other == cohort),
        };
        let Some(slot) = slot else { return };
        self.list.swap_remove(slot);
        if let (Some(slots), Some(&moved)) = (&mut self.slots, self.list.get(slot)) {
            slots.0.insert(moved, slot as u32);
        }
        if self.list.len() < SEARCHED_MAX / 2 {
            self.slots = None;
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to_fit();
            if let Some(slots) = &mut self.slots {
                slots.0.shrink_to_fit();
            }
        }
    }
}

impl Default for Children {
    fn default() -> Children {
        Children::Few(Vec::new())
    }
}

impl Children {
    fn is_empty(&self) -> bool {
        match self {
            Children::Few(sorted) => sorted.is_empty(),
            Children::Many(hashed) => hashed.is_empty(),
        }
    }

    fn get(&self, segment: &str) -> Option<&Node> {
        match self {
            Children::Few(sorted) => Self::find(sorted, segment).ok().map(|at| &sorted[at].1),
            Children::Many(hashed) => hashed.get(segment),
        }
    }

    fn get_mut(&mut self, segment: &str) -> Option<&mut Node> {
        match self {
            Children::Few(sorted) => Self::find(sorted, segment).ok().map(|at| &mut sorted[at].1),
            Children::Many(hashed) => hashed.get_mut(segment),
        }
    }

    fn get_or_insert(&mut self, segment: &str) -> &mut Node {
        if let Children::Few(sorted) = self
            && sorted.len() == SORTED_MAX
            && Self::find(sorted, segment).is_err()
        {
            *self = Children::Many(sorted.drain(..).collect());
        }
        match self {
            Children::Few(sorted) => {
                let at = Self::find(sorted, segment).unwrap_or_else(|at| {
                    sorted.insert(at, (segment.into(), Node::default()));
                    at
                });
                &mut sorted[at].1
            }
            // Not `entry`, which would allocate for a segment that is there.
            Children::Many(hashed) => {
                if !hashed.contains_key(segment) {
                    hashed.insert(segment.into(), Node::default());
                }
                hashed.get_mut(segment).expect("it has just been put in")
            }
        }
    }

    fn remove(&mut self, segment: &str) {
        match self {
            Children::Few(sorted) => {
                if let Ok(at) = Self::find(sorted, segment) {
                    sorted.remove(at);
                }
                if sorted.is_empty() {
                    *sorted = Vec::new();
                }
            }
            Children::Many(hashed) => {
                hashed.remove(segment);
                if hashed.len() < SORTED_MAX / 2 {
                    let mut sorted: Vec<_> = hashed.drain().collect();
                    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
                    *self = Children::Few(sorted);
                } else if hashed.len() < hashed.capacity() / 4 {
                    hashed.shrink_to_fit();
                }
            }
        }
    }

    fn find(sorted: &[(Box<str>, Node)], segment: &str) -> Result<usize, usize> {
        sorted.binary_search_by(|(other, _)| (**other).cmp(segment))
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.ends.is_empty() && self.remaining.is_empty()
    }

    fn add<'a>(&mut self, mut segments: impl Iterator<Item = &'a str>, cohort: CohortIndex) {
        match segments.next() {
            None => self.ends.add(cohort),
            Some("**") => self.remaining.add(cohort),
            Some("*") => self.any.get_or_insert_default().add(segments, cohort),
            Some(segment) => self.literal.get_or_insert(segment).add(segments, cohort),
        }
    }

    fn remove<'a>(&mut self, mut segments: impl Iterator<Item = &'a str>, cohort: CohortIndex) {
        match segments.next() {
            None => self.ends.remove(cohort),
            Some("**") => self.remaining.remove(cohort),
            Some("*") => {
                if let Some(node) = &mut self.any {
                    node.remove(segments, cohort);
                }
                self.any.take_if(|node| node.is_empty());
            }
            Some(segment) => {
                let Some(node) = self.literal.get_mut(segment) else { return };
                node.remove(segments, cohort);
                if node.is_empty() {
                    self.literal.remove(segment);
                }
            }
        }
    }

    /// Visits at most the nodes of the trie, however the topic is made.
    fn resolve<'a>(&self, mut segments: impl Iterator<Item = &'a str> + Clone, found: &mut impl FnMut(CohortIndex)) {
        let Some(segment) = segments.next() else {
            return self.ends.list.iter().copied().for_each(found);
        };
        self.remaining.list.iter().copied().for_each(&mut *found);
        if let Some(node) = self.literal.get(segment) {
            node.resolve(segments.clone(), found);
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

    proptest! {
        /// As above, but with so many cohorts and segments that lists have an index and nodes are hashed.
        #[test]
        fn many_routes_equal_covers(
            subs in prop::collection::vec((0..3u8, 0..60u8, any::<bool>()), 1..200),
            // In whatever order, and some come back.
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
            asked in prop::collection::vec(0..60u8, 4),
        ) {
            let subs: Vec<_> = subs.into_iter().map(|(topic, segment, deep)| {
                let pattern = if deep { format!("users/{segment}/**") } else { format!("users/{segment}/*") };
                subscription(&[&format!("t{topic}"), "all"], &[&pattern, "users/*/x"])
            }).collect();
            let mut routes = Routes::default();
            let mut there = vec![true; subs.len()];
            for (index, sub) in subs.iter().enumerate() { routes.add(sub, index as u32); }
            for index in gone {
                let index = index.index(subs.len());
                if there[index] { routes.remove(&subs[index], index as u32, |_| {}) } else { routes.add(&subs[index], index as u32) }
                there[index] = !there[index];
            }
            let texts = asked.iter().flat_map(|n| [format!("users/{n}/x"), format!("users/{n}/x/y"), format!("t{n}"), "all".to_owned()]);
            for text in texts {
                let topic = handle(&text);
                let mut found = Vec::new();
                routes.resolve(&topic, |cohort| found.push(cohort));
                found.sort_unstable();
                found.dedup();
                let expected: Vec<u32> = subs.iter().enumerate()
                    .filter(|(index, sub)| there[*index] && sub.covers(std::slice::from_ref(&topic)))
                    .map(|(index, _)| index as u32).collect();
                prop_assert_eq!(found, expected, "{}", text);
            }
            for (index, sub) in subs.iter().enumerate().filter(|(index, _)| there[*index]) {
                routes.remove(sub, index as u32, |_| {});
            }
            prop_assert!(routes.exact.is_empty() && !routes.has_patterns());
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
