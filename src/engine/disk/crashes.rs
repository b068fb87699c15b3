//! Logs whose process is killed, whose machine loses power, and whose disk fails, at every operation
//! and for many seeds. The oracle is a list of what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use super::kit::{Met, open, options, pack, read_all};
use super::segment::Sync;
use super::sim::{Fault, Rng, Sim};
use super::store::{AppendError, Store};

/// What the rules say of a log.
struct Oracle {
    sync: Sync,
    /// Packs that must be there: they were acknowledged as durable, or read after a restart.
    must: BTreeMap<u64, String>,
    /// Packs that may be lost or not, by sequence: acknowledged before the sync, or never.
    may: BTreeMap<u64, BTreeSet<String>>,
    /// All sequences that somebody was told.
    told: BTreeSet<u64>,
    /// Packs of which somebody was told that they are not stored.
    refused: BTreeSet<String>,
    packs: u64,
    /// The newest events that retention leaves.
    keep: u64,
}

impl Oracle {
    fn new(sync: Sync) -> Oracle {
        let (must, may) = (BTreeMap::new(), BTreeMap::new());
        Oracle { sync, must, may, told: BTreeSet::new(), refused: BTreeSet::new(), packs: 0, keep: u64::MAX }
    }

    fn texts(&mut self, packs: u64) -> Vec<String> {
        let from = self.packs;
        self.packs += packs;
        (from..self.packs).map(|n| format!("pack {n}")).collect()
    }

    /// Appends a group. Says whether the process may go on.
    fn append(&mut self, store: &mut Store, packs: u64) -> bool {
        let texts = self.texts(packs);
        let group: Vec<_> = texts.iter().map(|text| pack(text, 1 + text.len() % 3)).collect();
        let next = store.next_sequence();
        match store.append(&group) {
            Ok(sequences) => {
                assert_eq!(sequences, next..=next + packs - 1);
                for (sequence, text) in sequences.zip(texts) {
                    assert!(!self.must.contains_key(&sequence), "sequence {sequence} is given twice");
                    if self.sync == Sync::Interval {
                        assert!(self.told.insert(sequence), "sequence {sequence} was told before");
                    }
                    self.may.entry(sequence).or_default().insert(text);
                }
                true
            }
            Err(AppendError::Refused { .. }) => {
                self.refused.extend(texts);
                true
            }
            Err(AppendError::Failed { .. }) => {
                for (sequence, text) in (next..).zip(texts) {
                    self.may.entry(sequence).or_default().insert(text);
                }
                assert!(matches!(store.append(&group[..1]), Err(AppendError::Poisoned(_))));
                assert!(matches!(store.sync(), Err(AppendError::Poisoned(_))));
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Syncs. What it confirms must be there from now on.
    fn sync(&mut self, store: &mut Store) -> bool {
        match store.sync() {
            Ok(through) => {
                let rest = self.may.split_off(&(through + 1));
                let before = std::mem::replace(&mut self.may, rest);
                for (sequence, texts) in before {
                    // Of several tries for one sequence, the last is the one that was confirmed.
                    let newest = texts.into_iter().max_by_key(|text| number(text)).unwrap();
                    self.must.entry(sequence).or_insert(newest);
                }
                true
            }
            Err(AppendError::Failed { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Holds what is there after a restart against the rules.
    fn check(&mut self, store: &Store) {
        let met = read_all(store);
        let mut next = 1;
        let mut seen = BTreeMap::new();
        let mut expired = false;
        for met in met {
            match met {
                Met::Pack(sequence, text, events) => {
                    assert_eq!(sequence, next, "each sequence once, in order");
                    assert_eq!(events, 1 + text.len() % 3);
                    assert!(!self.refused.contains(&text), "{text} was refused");
                    match self.must.get(&sequence) {
                        Some(expected) => assert_eq!(&text, expected),
                        None => assert!(self.may.get(&sequence).is_some_and(|texts| texts.contains(&text)), "{text}"),
                    }
                    seen.insert(sequence, text);
                    next += 1;
                }
                Met::Hole(1, last, "expired") => {
                    assert_eq!(next, 1);
                    self.must = self.must.split_off(&(last + 1));
                    next = last + 1;
                    expired = true;
                }
                Met::Hole(first, last, cause) => {
                    assert_eq!((first, self.sync, cause), (next, Sync::Interval, "missing"));
                    assert_eq!(self.must.range(first..=last).next(), None, "what was synced is lost");
                    next = last + 1;
                }
            }
        }
        for (sequence, text) in &self.must {
            assert_eq!(seen.get(sequence), Some(text), "an acknowledged pack is lost");
        }
        let left: u64 = seen.values().map(|text| 1 + text.len() as u64 % 3).sum();
        assert!(!expired || left >= self.keep, "{left} events are left of {}", self.keep);
        assert!(next <= store.next_sequence());
        // From now on these are served.
        self.must = seen;
        self.may.clear();
    }
}

fn number(text: &str) -> u64 {
    text.strip_prefix("pack ").unwrap().parse().unwrap()
}

/// A few groups, rolls and syncs. Says whether the process got to the end.
fn script(oracle: &mut Oracle, store: &mut Store) -> bool {
    for packs in [1, 3, 2, 1, 4, 1] {
        if !oracle.append(store, packs) || !oracle.sync(store) {
            return false;
        }
    }
    oracle.append(store, 2) && oracle.append(store, 2) && oracle.sync(store)
}

#[test]
fn every_operation_fails_in_turn() {
    let mut cases = 0;
    for sync in [Sync::Always, Sync::Interval] {
        for fault in [Fault::Fail, Fault::Short, Fault::Full, Fault::PowerLoss] {
            for at in 0.. {
                let mut reached = false;
                for seed in 0..12 {
                    let mut rng = Rng(seed);
                    let sim = Sim::new();
                    let mut oracle = Oracle::new(sync);
                    sim.fail_at(at, fault);
                    if let Ok((mut store, _)) = open(&sim, options(sync, 400)) {
                        let went_on = script(&mut oracle, &mut store);
                        if went_on && seed % 2 == 0 {
                            let _ = store.close();
                        }
                    }
                    reached |= sim.operations() > at;
                    sim.heal();
                    sim.room(None);
                    // A process that is killed, then power that is lost, and the other way round.
                    for power in [seed % 4 < 2 || fault == Fault::PowerLoss, true, false, true] {
                        if power {
                            sim.lose_power(&mut rng)
                        } else {
                            sim.kill()
                        }
                        let (mut store, _) = open(&sim, options(sync, 400)).unwrap();
                        oracle.check(&store);
                        assert!(oracle.append(&mut store, 2) && oracle.sync(&mut store));
                    }
                    cases += 1;
                }
                if !reached {
                    break;
                }
            }
        }
    }
    assert!(cases > 3_000, "{cases}");
}

/// A log's life by a seed. Any number of faults, one after another, some while it recovers.
fn life(seed: u64) {
    let mut rng = Rng(seed);
    let sync = if rng.chance(2) { Sync::Always } else { Sync::Interval };
    let segment_bytes = 100 + rng.below(1_500);
    let sim = Sim::new();
    let mut oracle = Oracle::new(sync);
    if sync == Sync::Always && rng.chance(2) {
        oracle.keep = rng.below(30);
    }
    for _ in 0..2 + rng.below(10) {
        let fault = [Fault::Fail, Fault::Short, Fault::Full, Fault::PowerLoss][rng.below(4) as usize];
        if !rng.chance(4) {
            sim.fail_at(rng.below(60), fault);
        }
        if rng.chance(3) {
            sim.room(Some(rng.below(2_000) as usize));
        }
        let mut options = options(sync, segment_bytes);
        options.random = rng.next();
        options.limits.events = oracle.keep;
        if let Ok((mut store, _)) = open(&sim, options) {
            oracle.check(&store);
            for _ in 0..rng.below(40) {
                let packs = 1 + rng.below(5);
                let sync_now = sync == Sync::Always && !rng.chance(4) || rng.chance(5);
                if !oracle.append(&mut store, packs) || sync_now && !oracle.sync(&mut store) {
                    break;
                }
                if rng.chance(10) {
                    sim.room(None);
                }
                if oracle.keep < u64::MAX && rng.chance(5) && matches!(store.retain(0), Err(AppendError::Failed { .. }))
                {
                    break;
                }
            }
            if rng.chance(3) {
                let _ = store.close();
            }
        }
        sim.heal();
        sim.room(None);
        if rng.chance(2) || sim.is_off() {
            sim.lose_power(&mut rng);
        } else {
            sim.kill();
        }
    }
    let (store, _) = open(&sim, options(sync, segment_bytes)).unwrap();
    oracle.check(&store);
}

#[test]
fn lives_by_seed() {
    let seeds = std::env::var("SLUICEGATE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    for seed in 0..seeds {
        if let Err(panic) = std::panic::catch_unwind(|| life(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
