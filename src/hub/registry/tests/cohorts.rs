//! Which streams are a cohort.

use super::*;

/// Each cohort that can take in another stream is in the list of its subscription once, and knows where.
fn check_open_cohorts(shard: &OneShard) {
    let registry = &shard.registry;
    let mut listed = 0;
    for open in registry.open_cohorts.lists() {
        for (slot, index) in open.iter().enumerate() {
            let cohort = registry.cohorts.get(registry.cohorts.key_at(*index)).unwrap();
            assert_eq!(cohort.open_slot, Some(slot as u32));
            listed += 1;
        }
    }
    let most = registry.bounds.cohort_streams;
    assert!(registry.cohorts.iter().all(|(_, cohort)| (1..=most).contains(&cohort.members)));
    let open = registry.cohorts.iter().filter(|(_, cohort)| cohort.members < most).count();
    assert_eq!(listed, open);
    assert_eq!(registry.cohorts.iter().filter(|(_, cohort)| cohort.open_slot.is_some()).count(), open);
}

#[test]
fn streams_that_come_and_go_fill_the_cohorts_that_there_are() {
    let mut shard = OneShard::new();
    let mut random = fastrand::Rng::with_seed(7);
    let topics: [&[&str]; 2] = [&["a"], &["b"]];
    let mut peers = Vec::new();
    for _ in 0..2000 {
        if random.u8(0..100) < 52 {
            peers.push(shard.open(Asks { topics: topics[random.usize(..2)], ..Asks::default() }));
        } else if !peers.is_empty() {
            let peer = peers.swap_remove(random.usize(..peers.len()));
            shard.registry.close(peer.key, CloseReason::ClientGone);
        }
        check_open_cohorts(&shard);
    }
    // What comes takes the seats that are free.
    let cohorts = shard.registry.cohorts.len();
    let free = 2 * cohorts - shard.registry.len();
    assert!(free > 0);
    let seats = |topic: &str, shard: &OneShard| {
        let of = |cohort: &Cohort| cohort.subscription.topics()[0].as_str() == topic && cohort.members == 1;
        shard.registry.cohorts.iter().filter(|(_, cohort)| of(cohort)).count()
    };
    for (topics, name) in [(topics[0], "a"), (topics[1], "b")] {
        for _ in 0..seats(name, &shard) {
            shard.open(Asks { topics, ..Asks::default() });
        }
    }
    assert_eq!(shard.registry.cohorts.len(), cohorts);
    check_open_cohorts(&shard);
}
