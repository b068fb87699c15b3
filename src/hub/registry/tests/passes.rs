//! Passes, also in pieces.

use super::*;

/// In a pause of a pass that comes in batches, a stream takes the slot of the last cohort. What it is then sent of 30
/// events of before, if it opens so.
fn opened_in_a_pause(resume: Resume) -> usize {
    let mut shard = OneShard::with(LogLimits { events: 1000, bytes: 1 << 30, age_ns: u64::MAX });
    let topics: [&[&str]; 4] = [&["a", "u0"], &["a", "u1"], &["a", "u2"], &["a", "u3"]];
    let peers = topics.map(|topics| shard.open(Asks { topics, ..Asks::default() }));
    (1..=30).for_each(|n| shard.publish(&["a"], Event::new(format!("e{n}"))));
    shard.registry.pass(true, &shard.log, 0, &mut shard.counted);
    assert!(shard.registry.is_passing(), "paused");
    shard.registry.close(peers[3].key, CloseReason::ClientGone);
    shard.closed();
    let new = shard.open(Asks { topics: &["a", "v"], resume, ..Asks::default() });
    assert_eq!(shard.registry.behind(), 0, "live");
    while shard.registry.position() < Offset::new(30) {
        shard.registry.pass(true, &shard.log, 0, &mut shard.counted);
        shard.serve();
    }
    for peer in &peers[..3] {
        assert_eq!(peer.got().matches("data: e").count(), 30);
    }
    new.got().matches("data: e").count()
}

#[test]
fn a_stream_in_the_slot_of_a_cohort_that_went_in_a_pause_gets_no_event_of_before() {
    assert_eq!(opened_in_a_pause(Resume::Now), 0);
}

#[test]
fn a_stream_in_the_slot_of_a_cohort_that_went_in_a_pause_gets_its_replay_once() {
    assert_eq!(opened_in_a_pause(Resume::Earliest), 30);
}

#[test]
fn a_long_run_is_sent_in_parts_and_one_that_falls_behind_in_any_part_loses_nothing() {
    let frame = event(1, &"x".repeat(10_000)).len();
    for parts in [0, 1, 25, 26, 30, 50] {
        let mut shard = OneShard::with(LogLimits { events: 100, bytes: 1 << 30, age_ns: u64::MAX });
        let (fast, slow) =
            (shard.open(Asks::default()), shard.open(Asks { room: 5 + frame * parts, ..Asks::default() }));
        let data = "x".repeat(10_000);
        (0..60).for_each(|_| shard.say(&[&data]));
        shard.pass();
        let expected: String = (1..=60).map(|seq| event(seq, &data)).collect();
        assert!(fast.got() == "head\n".to_owned() + &expected);
        assert_eq!(shard.registry.behind(), 1);
        shard.takes(&slow, usize::MAX);
        assert!(slow.got() == "head\n".to_owned() + &expected, "{parts}");
    }
}
