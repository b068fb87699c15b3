//! From topics to the cohorts that subscribe to them.
//!
//! Topics named exactly are one look-up by number. Patterns stand in a trie by segment, so that a look-up
//! follows the topic and not the number of patterns. To open or close a cohort costs as much among very
//! many as among few.

use std::collections::{HashMap, hash_map};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::num::NonZeroU32;

use smallvec::SmallVec;

use super::effort::Effort;
use super::paged::Paged;
use super::topic::{Subscription, TopicHandle, is_internal};

/// A cohort's slot.
pub type CohortIndex = u32;

/// The topics and patterns of a shard's cohorts.
#[derive(Default)]
pub struct Routes {
    exact: Paged<Cohorts>,
    patterns: Node,
    current: Generations,
}

/// Cohorts, each once, in no order.
///
/// A cohort is not searched for in a long list, where each list would be memory that no cache has: it stays as an entry
/// that is stale, until the list has been gone through that far. Whoever comes and whoever goes does a few steps of that.
///
/// Invariant: of a list that is longer than [`SEARCHED_MAX`], at most half is stale.
#[derive(Default)]
struct Cohorts {
    list: SmallVec<[Entry; 2]>,
    stale: u32,
    /// The next entry that is looked at.
    next: u32,
}

/// A list that is no longer is searched instead, and has nothing stale.
const SEARCHED_MAX: usize = 32;
/// How many entries of a list are looked at for each cohort that comes or goes. With 4, stale ones can't become more
/// than the others, even if each that goes is the one that was looked at last.
const LOOKED_AT: usize = 4;

/// A cohort, as long as its slot is of this generation.
#[derive(Clone, Copy)]
struct Entry {
    cohort: CohortIndex,
    generation: NonZeroU32,
}

/// The generations of the cohorts that are there. Slots are used again, and each cohort has a generation of its own.
#[derive(Default)]
struct Generations {
    slots: Paged<NonZeroU32>,
    last: u32,
}

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
    Many(Box<Hashed>),
}

/// Many nodes by their segment. What stands in the table is as small as can be, and it hashes no text again: as it
/// grows, all of it is moved at once, and meanwhile a shard does nothing else.
struct Hashed<B = RandomState> {
    nodes: HashMap<u64, Box<Chained>, BuildHasherDefault<AsItIs>>,
    len: usize,
    hash: B,
}

/// A node, and others whose segments happen to hash alike.
struct Chained {
    segment: Box<str>,
    node: Node,
    next: Option<Box<Chained>>,
}

/// Takes a hash for its own.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a hash is a number");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<B: BuildHasher + Default> Hashed<B> {
    fn new(nodes: impl Iterator<Item = (Box<str>, Node)>) -> Hashed<B> {
        let mut hashed = Hashed { nodes: HashMap::default(), len: 0, hash: B::default() };
        nodes.for_each(|(segment, node)| hashed.insert(segment, node));
        hashed
    }

    fn insert(&mut self, segment: Box<str>, node: Node) {
        self.len += 1;
        let mut new = Box::new(Chained { segment, node, next: None });
        match self.nodes.entry(self.hash.hash_one(&*new.segment)) {
            hash_map::Entry::Vacant(entry) => drop(entry.insert(new)),
            hash_map::Entry::Occupied(mut entry) => {
                new.next = entry.get_mut().next.take();
                entry.get_mut().next = Some(new);
            }
        }
    }

    fn get(&self, segment: &str) -> Option<&Node> {
        let mut chained = self.nodes.get(&self.hash.hash_one(segment));
        while let Some(one) = chained {
            if *one.segment == *segment {
                return Some(&one.node);
            }
            chained = one.next.as_ref();
        }
        None
    }

    fn get_mut(&mut self, segment: &str) -> Option<&mut Node> {
        let mut chained = self.nodes.get_mut(&self.hash.hash_one(segment));
        while let Some(one) = chained {
            if *one.segment == *segment {
                return Some(&mut one.node);
            }
            chained = one.next.as_mut();
        }
        None
    }

    fn remove(&mut self, segment: &str) {
        let hash_map::Entry::Occupied(mut entry) = self.nodes.entry(self.hash.hash_one(segment)) else { return };
        if *entry.get().segment == *segment {
            match entry.get_mut().next.take() {
                Some(next) => drop(entry.insert(next)),
                None => drop(entry.remove()),
            }
            self.len -= 1;
            return;
        }
        let mut before = entry.get_mut();
        while let Some(one) = before.next.take() {
            if *one.segment == *segment {
                before.next = one.next;
                self.len -= 1;
                return;
            }
            before = before.next.insert(one);
        }
    }

    fn drain(&mut self) -> impl Iterator<Item = (Box<str>, Node)> {
        let firsts = std::mem::take(&mut self.nodes).into_values();
        firsts.flat_map(|first| {
            let mut next = Some(first);
            std::iter::from_fn(move || {
                let Chained { segment, node, next: after } = *next.take()?;
                next = after;
                Some((segment, node))
            })
        })
    }
}

/// What it costs to come to a node and look for those below it, in units of a turn's work.
const VISIT: usize = 4;

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
        let (entry, current) = (self.current.begin(cohort), &self.current);
        for topic in subscription.topics() {
            self.exact.get_or_insert_with(topic.number(), Cohorts::default).add(entry, current);
        }
        for pattern in subscription.patterns() {
            self.patterns.add(pattern.as_str().split('/'), entry, current);
        }
    }

    /// Takes a cohort out; reports each topic that no cohort names any more.
    pub fn remove(&mut self, subscription: &Subscription, cohort: CohortIndex, mut unrouted: impl FnMut(&TopicHandle)) {
        self.current.end(cohort);
        let current = &self.current;
        for topic in subscription.topics() {
            let Some(cohorts) = self.exact.get_mut(topic.number()) else { continue };
            cohorts.remove(cohort, current);
            if cohorts.is_empty() {
                self.exact.remove(topic.number());
                unrouted(topic);
            }
        }
        for pattern in subscription.patterns() {
            self.patterns.remove(pattern.as_str().split('/'), cohort, current);
        }
    }

    /// Names the cohorts that subscribe to a topic; one that does so twice is named twice. Each look-up, and each entry
    /// that is gone through, is work.
    pub fn resolve(&self, topic: &TopicHandle, effort: &mut Effort, mut found: impl FnMut(CohortIndex)) {
        effort.spend(1);
        if let Some(cohorts) = self.exact.get(topic.number()) {
            effort.spend(cohorts.list.len());
            cohorts.each(&self.current, &mut found);
        }
        if self.has_patterns() && !is_internal(topic.as_str()) {
            self.patterns.resolve(topic.as_str().split('/'), &self.current, effort, &mut found);
        }
    }
}

impl Generations {
    fn begin(&mut self, cohort: CohortIndex) -> Entry {
        let generation = NonZeroU32::MIN.saturating_add(self.last);
        self.last = self.last.wrapping_add(1);
        *self.slots.get_or_insert_with(cohort, || generation) = generation;
        Entry { cohort, generation }
    }

    fn end(&mut self, cohort: CohortIndex) {
        self.slots.remove(cohort);
    }

    fn have(&self, entry: &Entry) -> bool {
        self.slots.get(entry.cohort) == Some(&entry.generation)
    }
}

impl Cohorts {
    fn is_empty(&self) -> bool {
        self.list.len() == self.stale as usize
    }

    fn each(&self, current: &Generations, found: &mut impl FnMut(CohortIndex)) {
        if self.stale == 0 {
            return self.list.iter().for_each(|entry| found(entry.cohort));
        }
        self.list.iter().filter(|entry| current.have(entry)).for_each(|entry| found(entry.cohort));
    }

    fn add(&mut self, entry: Entry, current: &Generations) {
        self.list.push(entry);
        self.look_on(current);
    }

    /// Takes out a cohort, which is in the list and not current any more.
    fn remove(&mut self, cohort: CohortIndex, current: &Generations) {
        if self.list.len() <= SEARCHED_MAX {
            if let Some(slot) = self.list.iter().position(|entry| entry.cohort == cohort) {
                self.list.swap_remove(slot);
            }
        } else {
            self.stale += 1;
            self.look_on(current);
            if self.list.len() <= SEARCHED_MAX {
                self.list.retain(|entry| current.have(entry));
                self.stale = 0;
            }
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to_fit();
        }
    }

    /// Drops what is stale of the next few entries.
    fn look_on(&mut self, current: &Generations) {
        for _ in 0..LOOKED_AT {
            if self.stale == 0 {
                return;
            }
            let at = if (self.next as usize) < self.list.len() { self.next as usize } else { 0 };
            if current.have(&self.list[at]) {
                self.next = at as u32 + 1;
            } else {
                self.list.swap_remove(at);
                self.stale -= 1;
                self.next = at as u32;
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
            Children::Many(hashed) => hashed.len == 0,
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
            *self = Children::Many(Box::new(Hashed::new(sorted.drain(..))));
        }
        match self {
            Children::Few(sorted) => {
                let at = Self::find(sorted, segment).unwrap_or_else(|at| {
                    sorted.insert(at, (segment.into(), Node::default()));
                    at
                });
                &mut sorted[at].1
            }
            Children::Many(hashed) => {
                if hashed.get(segment).is_none() {
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
                if hashed.len < SORTED_MAX / 2 {
                    let mut sorted: Vec<_> = hashed.drain().collect();
                    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
                    *self = Children::Few(sorted);
                } else if hashed.len < hashed.nodes.capacity() / 4 {
                    hashed.nodes.shrink_to_fit();
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

    fn add<'a>(&mut self, mut segments: impl Iterator<Item = &'a str>, entry: Entry, current: &Generations) {
        match segments.next() {
            None => self.ends.add(entry, current),
            Some("**") => self.remaining.add(entry, current),
            Some("*") => self.any.get_or_insert_default().add(segments, entry, current),
            Some(segment) => self.literal.get_or_insert(segment).add(segments, entry, current),
        }
    }

    fn remove<'a>(&mut self, mut segments: impl Iterator<Item = &'a str>, cohort: CohortIndex, current: &Generations) {
        match segments.next() {
            None => self.ends.remove(cohort, current),
            Some("**") => self.remaining.remove(cohort, current),
            Some("*") => {
                if let Some(node) = &mut self.any {
                    node.remove(segments, cohort, current);
                }
                self.any.take_if(|node| node.is_empty());
            }
            Some(segment) => {
                let Some(node) = self.literal.get_mut(segment) else { return };
                node.remove(segments, cohort, current);
                if node.is_empty() {
                    self.literal.remove(segment);
                }
            }
        }
    }

    /// Visits at most the nodes of the trie, however the topic is made.
    fn resolve<'a>(
        &self,
        mut segments: impl Iterator<Item = &'a str> + Clone,
        current: &Generations,
        effort: &mut Effort,
        found: &mut impl FnMut(CohortIndex),
    ) {
        let Some(segment) = segments.next() else {
            effort.spend(VISIT + self.ends.list.len());
            return self.ends.each(current, found);
        };
        effort.spend(VISIT + self.remaining.list.len());
        self.remaining.each(current, found);
        if let Some(node) = self.literal.get(segment) {
            node.resolve(segments.clone(), current, effort, found);
        }
        if let Some(node) = &self.any {
            node.resolve(segments, current, effort, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::topic::{Pattern, Topic, handle, table};
    use proptest::prelude::*;

    /// By asking each pattern.
    fn covers(subscription: &Subscription, topic: &TopicHandle) -> bool {
        let matches = |pattern: &Pattern| pattern.matches(topic.as_str());
        subscription.topics().contains(topic) || subscription.patterns().iter().any(matches)
    }

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
            routes.resolve(&topic, &mut Effort::unbounded(), |cohort| found.push(cohort));
            found.sort_unstable();
            found.dedup();
            let expected: Vec<u32> = subs.iter().enumerate()
                .filter(|(index, sub)| !gone[*index] && covers(sub, &topic))
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
                routes.resolve(&topic, &mut Effort::unbounded(), |cohort| found.push(cohort));
                found.sort_unstable();
                found.dedup();
                let expected: Vec<u32> = subs.iter().enumerate()
                    .filter(|(index, sub)| there[*index] && covers(sub, &topic))
                    .map(|(index, _)| index as u32).collect();
                prop_assert_eq!(found, expected, "{}", text);
            }
            for (index, sub) in subs.iter().enumerate().filter(|(index, _)| there[*index]) {
                routes.remove(sub, index as u32, |_| {});
            }
            prop_assert!(routes.exact.is_empty() && !routes.has_patterns() && routes.current.slots.is_empty());
        }
    }

    /// The order in which cohorts go that leaves most that is stale: each was looked at just before.
    #[test]
    fn at_most_half_of_a_list_is_stale_whoever_goes() {
        let all = subscription(&["all"], &[]);
        let mut routes = Routes::default();
        (0..1000).for_each(|cohort| routes.add(&all, cohort));
        for left in (1..1000).rev() {
            let list = |routes: &Routes| {
                let list = routes.exact.get(handle("all").number()).unwrap();
                (
                    list.list.iter().map(|entry| entry.cohort).collect::<Vec<_>>(),
                    list.next as usize,
                    list.list.capacity(),
                )
            };
            let (cohorts, next, _) = list(&routes);
            let next = next.min(cohorts.len());
            let there = |at: &usize| routes.current.slots.get(cohorts[*at]).is_some();
            let looked_at_last = (0..next).rev().chain((next..cohorts.len()).rev()).find(there).unwrap();
            routes.remove(&all, cohorts[looked_at_last], |_| panic!("there are others"));
            let (cohorts, _, capacity) = list(&routes);
            assert!(cohorts.len() <= (2 * left).max(SEARCHED_MAX), "{} for {left}", cohorts.len());
            assert!(capacity <= 8 * cohorts.len().max(2), "{capacity} for {}", cohorts.len());
            let mut found = 0;
            routes.resolve(&handle("all"), &mut Effort::unbounded(), |_| found += 1);
            assert_eq!(found, left);
        }
    }

    #[test]
    fn a_slot_that_is_used_again_is_another_cohort() {
        let (all, other) = (subscription(&["all"], &[]), subscription(&["other"], &[]));
        let mut routes = Routes::default();
        (0..100).for_each(|cohort| routes.add(&all, cohort));
        let found = |routes: &Routes, topic: &str| {
            let mut found = Vec::new();
            routes.resolve(&handle(topic), &mut Effort::unbounded(), |cohort| found.push(cohort));
            found.sort_unstable();
            found
        };
        // Nothing has been looked at yet but the first few: the last stays in the list.
        routes.remove(&all, 99, |_| {});
        routes.add(&other, 99);
        assert_eq!((found(&routes, "all"), found(&routes, "other")), ((0..99).collect(), vec![99]));
        routes.remove(&other, 99, |_| {});
        routes.add(&all, 99);
        assert_eq!(found(&routes, "all"), (0..100).collect::<Vec<_>>());
    }

    /// Hashes all segments of a length alike.
    #[derive(Default)]
    struct ByLength(u64);

    impl Hasher for ByLength {
        fn write(&mut self, bytes: &[u8]) {
            self.0 += bytes.len() as u64;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    proptest! {
        #[test]
        fn nodes_whose_segments_hash_alike_are_told_apart(steps in prop::collection::vec((any::<bool>(), "[abc]{1,3}"), 0..200)) {
            let mut hashed = Hashed::<BuildHasherDefault<ByLength>>::new(std::iter::empty());
            let (mut there, mut current) = (std::collections::BTreeMap::new(), Generations::default());
            for (cohort, (comes, segment)) in steps.into_iter().enumerate() {
                match comes {
                    true if !there.contains_key(&segment) => {
                        hashed.insert((*segment).into(), Node::default());
                        hashed.get_mut(&segment).unwrap().ends.add(current.begin(cohort as u32), &current);
                        there.insert(segment, cohort as u32);
                    }
                    true => {}
                    false => {
                        hashed.remove(&segment);
                        there.remove(&segment);
                    }
                }
                prop_assert_eq!(hashed.len, there.len());
                prop_assert!(there.iter().all(|(segment, cohort)| hashed.get(segment).is_some_and(|node| node.ends.list[0].cohort == *cohort)));
            }
            let drained: std::collections::BTreeMap<_, _> = hashed.drain().map(|(segment, node)| (String::from(segment), node.ends.list[0].cohort)).collect();
            prop_assert_eq!(drained, there);
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
