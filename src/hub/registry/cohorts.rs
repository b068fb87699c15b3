//! Cohorts: the streams of one subscription and framing that a pass writes to together, at most so many.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::hub::frame::Framing;
use crate::hub::offset::Offset;
use crate::hub::policy::SlowPolicy;
use crate::hub::routes::CohortIndex;
use crate::hub::stream::{Socket, State};
use crate::hub::topic::Subscription;

use super::{Effect, Registry};

pub(super) struct Cohort {
    pub(super) subscription: Arc<Subscription>,
    pub(super) framing: Framing,
    /// Whether it takes public events, and private ones, if that is not by topic.
    pub(super) sees: [Option<bool>; 2],
    slow: SlowPolicy,
    /// By which of the registry's policies `slow` was chosen.
    policed: u32,
    pub(super) members: u32,
    /// Of its subscription and framing.
    hash: u64,
    /// Where it stands among those with its hash that can take in another stream.
    pub(super) open_slot: Option<u32>,
    /// The last frame that was found to touch it, by a count of frames.
    pub(super) mark: u64,
    /// Up to which offset its live members have been served, if that is further than the others.
    pub(super) through: Offset,
    /// The newest kept event that its live members have been written in a pass: they have its id.
    pub(super) named: Offset,
    pub(super) live: Vec<u32>,
}

/// The cohorts that can take in another stream, by a hash of what they are for: those of one may share it with others'.
/// A tree, which is never moved as a whole.
#[derive(Default)]
pub(super) struct OpenCohorts {
    lists: BTreeMap<u64, SmallVec<[CohortIndex; 2]>>,
    hash: RandomState,
}

impl OpenCohorts {
    #[cfg(test)]
    pub(super) fn lists(&self) -> impl Iterator<Item = &[CohortIndex]> {
        self.lists.values().map(|open| &open[..])
    }
}

impl<S: Socket> Registry<S> {
    pub(super) fn join(&mut self, subscription: &Arc<Subscription>, framing: Framing, slow: SlowPolicy) -> CohortIndex {
        let hash = self.open_cohorts.hash.hash_one((subscription, framing));
        let open = self.open_cohorts.lists.entry(hash).or_default();
        let is_its = |index: &&CohortIndex| {
            let cohort = self.cohorts.get(self.cohorts.key_at(**index));
            cohort.is_some_and(|cohort| cohort.framing == framing && cohort.subscription == *subscription)
        };
        let index = match open.iter().rev().find(is_its) {
            Some(&index) => index,
            None => {
                let cohort = Cohort {
                    subscription: subscription.clone(),
                    framing,
                    sees: [false, true].map(|private| subscription.sees_all(private)),
                    slow,
                    policed: self.policed,
                    members: 0,
                    hash,
                    open_slot: Some(open.len() as u32),
                    mark: 0,
                    through: self.pass.frames_through,
                    named: Offset::ZERO,
                    live: Vec::new(),
                };
                let index = self.cohorts.insert(cohort).index();
                self.routes.add(subscription, index);
                open.push(index);
                index
            }
        };
        let cohort = self.cohorts.at(index);
        cohort.members += 1;
        if cohort.members == self.bounds.cohort_streams {
            self.close_cohort(hash, index);
        }
        index
    }

    /// A stream is no longer a member.
    pub(super) fn part(&mut self, index: CohortIndex) {
        let cohort = self.cohorts.at(index);
        cohort.members -= 1;
        if cohort.members > 0 {
            if cohort.open_slot.is_none() {
                let open = self.open_cohorts.lists.entry(cohort.hash).or_default();
                cohort.open_slot = Some(open.len() as u32);
                open.push(index);
            }
            return;
        }
        let hash = cohort.hash;
        self.close_cohort(hash, index);
        let Some(gone) = self.cohorts.remove(self.cohorts.key_at(index)) else { return };
        let effects = &mut self.effects;
        self.routes.remove(&gone.subscription, index, |topic| effects.push(Effect::Unrouted(topic.clone())));
    }

    /// A cohort takes in no more streams.
    fn close_cohort(&mut self, hash: u64, index: CohortIndex) {
        let slot = self.cohorts.at(index).open_slot.take();
        if let Entry::Occupied(mut entry) = self.open_cohorts.lists.entry(hash) {
            let open = entry.get_mut();
            if let Some(slot) = slot {
                open.swap_remove(slot as usize);
                if let Some(&moved) = open.get(slot as usize) {
                    self.cohorts.at(moved).open_slot = Some(slot);
                }
            }
            if open.is_empty() {
                entry.remove();
            }
        }
    }

    /// Takes the live member in this slot out.
    pub(super) fn leave_live(&mut self, cohort: CohortIndex, slot: u32) {
        let live = &mut self.cohorts.at(cohort).live;
        live.swap_remove(slot as usize);
        if let Some(&moved) = live.get(slot as usize)
            && let State::Live { slot: moves, .. } = &mut self.streams.at(moved).state
        {
            *moves = slot;
        }
    }

    /// Up to which offset a cohort's live members have been served.
    pub(super) fn served_through(&mut self, cohort: CohortIndex) -> Offset {
        self.position.max(self.cohorts.at(cohort).through)
    }

    /// What happens to this cohort's streams if they are too slow.
    pub(super) fn slow(&mut self, cohort: CohortIndex) -> SlowPolicy {
        let cohort = self.cohorts.at(cohort);
        if cohort.policed != self.policed {
            cohort.slow = self.policies.for_subscription(&cohort.subscription);
            cohort.policed = self.policed;
        }
        cohort.slow
    }
}
