//! The newest of each key in the place of all.

use super::*;

fn conflating() -> (OneShard, Peer) {
    let mut shard = OneShard::with(LogLimits { events: 8, bytes: 1 << 30, age_ns: u64::MAX });
    let asks = Asks { topics: &["a", "b"], slow: SlowPolicy::Conflate, room: 5, ..Asks::default() };
    let peer = shard.open(asks);
    peer.gets(&["head\n"]);
    (shard, peer)
}

#[test]
fn a_slow_stream_gets_the_newest_of_each_key_and_all_without_one() {
    let (mut shard, peer) = conflating();
    for (topic, key, data) in [
        ("a", Some("k"), "k1"),
        ("a", None, "plain"),
        ("a", Some("l"), "l1"),
        ("b", Some("k"), "b's k"),
        ("a", Some("k"), "k2"),
        ("a", None, "plain"),
        ("a", Some("k"), "k3"),
    ] {
        let event = Event::new(data);
        shard.publish(&[topic], key.into_iter().fold(event, |event, key| event.key(key)));
        shard.pass();
    }
    shard.takes(&peer, usize::MAX);
    let expected = [event(2, "plain"), event(3, "l1"), event(4, "b's k"), event(6, "plain"), event(7, "k3")].concat();
    peer.gets(&[&gap_event(0, 7, GapReason::Conflated), &expected]);
    assert_eq!(shard.registry.behind(), 0);
    // It is live again: nothing is conflated.
    for data in ["k4", "k5"] {
        shard.publish(&["a"], Event::new(data).key("k"));
    }
    shard.pass();
    peer.gets(&[&event(8, "k4"), &event(9, "k5")]);
}

#[test]
fn an_event_of_several_topics_goes_only_when_it_is_old_on_each_that_the_stream_has() {
    let k = |data| Event::new(data).key("k");
    let (mut shard, peer) = conflating();
    shard.publish(&["a", "b"], k("1"));
    shard.publish(&["a"], k("2"));
    shard.pass();
    shard.takes(&peer, usize::MAX);
    peer.gets(&[&event(1, "1"), &event(2, "2")]);

    // One that is old on each, by whichever events; a topic that the stream does not have, `x`, is none of its.
    let (mut shard, peer) = conflating();
    for (topics, data) in [(&["x", "a", "b"][..], "1"), (&["b", "x"], "2"), (&["x"], "3"), (&["c/y", "a"], "4")] {
        shard.publish(topics, k(data));
    }
    shard.pass();
    shard.takes(&peer, usize::MAX);
    peer.gets(&[&gap_event(0, 4, GapReason::Conflated), &event(2, "2"), &event(4, "4")]);

    // A pattern brings topics as their names do.
    let mut shard = OneShard::new();
    let peer = shard.open(Asks { patterns: &["c/*"], slow: SlowPolicy::Conflate, room: 5, ..Asks::default() });
    shard.publish(&["c/x", "c/y"], k("1"));
    shard.publish(&["c/y", "a"], k("2"));
    shard.publish(&["c/y"], k("3"));
    shard.publish(&["a"], k("4"));
    shard.pass();
    shard.takes(&peer, usize::MAX);
    peer.gets(&["head\n", &gap_event(0, 4, GapReason::Conflated), &event(1, "1"), &event(3, "3"), &event(4, "4")]);
}

#[test]
fn conflation_that_is_cut_at_its_bound_tells_of_what_it_left_out_and_no_more() {
    let mut shard = OneShard::with(LogLimits { events: 100, bytes: 1 << 30, age_ns: u64::MAX });
    let bounds = Bounds { selection_bytes: 1500, read_bytes: 400, ..Bounds::SMALL };
    shard.registry = Registry::new(Offset::ZERO, 6400, 1, bounds);
    let peer = shard.open(Asks { slow: SlowPolicy::Conflate, room: 5, ..Asks::default() });
    // The newest of `k` comes only after the bound.
    shard.publish(&["a"], Event::new("k1").key("k"));
    shard.publish(&["a"], Event::new("k2").key("k"));
    (0..20).for_each(|_| shard.publish(&["a"], Event::new("x".repeat(100))));
    shard.publish(&["a"], Event::new("k3").key("k"));
    shard.pass();
    shard.takes(&peer, usize::MAX);
    let got = peer.got();
    let to = got.split("\"to\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a gap");
    assert!(to < id(23).as_str() && to > id(2).as_str(), "{got}");
    // What was left out has a newer event in the range that the gap names, and so k2 came.
    assert!(got.contains(&event(2, "k2")) && !got.contains("data: k1"), "{got}");
    assert_eq!((got.matches("event: gap").count(), got.matches("data: x").count()), (1, 20));
    assert!(got.ends_with(&event(23, "k3")), "{got}");
}

#[test]
fn nothing_conflated_is_no_gap() {
    let (mut shard, peer) = conflating();
    shard.publish(&["a"], Event::new("k").key("k"));
    shard.publish(&["b"], Event::new("k").key("k"));
    shard.publish(&["a"], Event::new("l").key("l"));
    shard.pass();
    shard.takes(&peer, usize::MAX);
    peer.gets(&[&event(1, "k"), &event(2, "k"), &event(3, "l")]);
}

#[test]
fn a_conflating_stream_that_is_lapped_goes_on_with_the_oldest_that_is_kept() {
    let (mut shard, peer) = conflating();
    for n in 1..=11 {
        shard.publish(&["a"], Event::new(n.to_string()).key((n % 3).to_string()));
    }
    shard.pass();
    shard.takes(&peer, usize::MAX);
    let expected = [event(9, "9"), event(10, "10"), event(11, "11")].concat();
    peer.gets(&[&gap_event(0, 3, GapReason::Lagged), &gap_event(3, 11, GapReason::Conflated), &expected]);
}
