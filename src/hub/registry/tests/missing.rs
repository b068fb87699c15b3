//! Events that are missing in the log: see `Log::lose`.

use super::*;
use crate::hub::log::Evicted;

/// A shard whose log an engine fills, with a live stream, one whose socket is full, and one of other topics.
fn of_an_engine() -> (OneShard, [Peer; 3]) {
    let mut shard = OneShard::new();
    let log = Log::new(epoch(), LogLimits { events: 9, bytes: 1 << 30, age_ns: u64::MAX });
    shard.log = Shared(RefCell::new(log.starting_after(None)));
    let slow = SlowPolicy::Disconnect;
    let topics: [&[&str]; 3] = [&["a"], &["a"], &["q"]];
    let peers = topics.map(|topics| shard.open(Asks { topics, slow, ..Asks::default() }));
    peers.iter().for_each(|peer| peer.gets(&["head\n"]));
    peers[1].wire.borrow_mut().room = 3;
    shard.say(&["1", "2"]);
    shard.pass();
    (shard, peers)
}

#[test]
fn a_hole_is_told_to_every_stream_where_it_is() {
    let (mut shard, peers) = of_an_engine();
    shard.log.0.borrow_mut().lose(9);
    let number = |number| Numbering::From(number);
    let draft = Draft::encode(Topics::one(handle("a")), &Event::new("10"), epoch()).unwrap();
    shard.log.0.borrow_mut().append([draft], number(10), 0, &mut Evicted::default());
    shard.pass();
    shard.serve();
    shard.takes(&peers[1], usize::MAX);
    let hole = gap_event(2, 9, GapReason::Lost);
    for peer in &peers[..2] {
        peer.gets(&[&event(1, "1"), &event(2, "2"), &hole, &event(10, "10")]);
    }
    peers[2].gets(&[&hole]);
    assert_eq!((shard.registry.behind(), shard.closed()), (0, vec![]));
    assert_eq!(shard.registry.tally().gaps[GapReason::Lost as usize], 3);
}

#[test]
fn another_epoch_is_told_to_every_stream_and_all_stay() {
    let (mut shard, peers) = of_an_engine();
    let other = Epoch::new(2);
    shard.log.0.borrow_mut().restart(other, Some(4), &mut Evicted::default());
    let draft = Draft::encode(Topics::one(handle("a")), &Event::new("5"), other).unwrap();
    shard.log.0.borrow_mut().append([draft], Numbering::From(5), 0, &mut Evicted::default());
    shard.pass();
    shard.serve();
    shard.takes(&peers[1], usize::MAX);
    let gap = gap::gap(None, other.id(4), GapReason::ForeignEpoch, Some(other.id(4)));
    let gap = std::str::from_utf8(gap.wire(Framing::Close)).unwrap();
    let five = format!("id: {}\ndata: 5\n\n", other.id(5));
    peers[0].gets(&[&event(1, "1"), &event(2, "2"), gap, &five]);
    // What it had begun is finished first.
    peers[1].gets(&[&event(1, "1"), gap, &five]);
    peers[2].gets(&[gap]);
    assert_eq!((shard.registry.behind(), shard.closed()), (0, vec![]));
}

/// As [`of_an_engine`], with streams that conflate, which have passed a hole behind two events of one key.
fn conflating_past_a_hole() -> (OneShard, [Peer; 3]) {
    let (mut shard, peers) = of_an_engine();
    shard.registry.set_policies(Policies::new([(Pattern::parse("**").unwrap(), SlowPolicy::Conflate)]));
    for data in ["3", "4"] {
        shard.publish(&["a"], Event::new(data).key("k"));
    }
    shard.log.0.borrow_mut().lose(9);
    shard.pass();
    shard.serve();
    (shard, peers)
}

#[test]
fn conflation_ends_where_events_are_missing() {
    let (mut shard, peers) = conflating_past_a_hole();
    shard.takes(&peers[1], usize::MAX);
    let conflated = gap_event(1, 4, GapReason::Conflated);
    peers[1].gets(&[&event(1, "1"), &conflated, &event(2, "2"), &event(4, "4"), &gap_event(4, 9, GapReason::Lost)]);
}

#[test]
fn a_hole_thins_out_nothing_for_streams_that_keep_up() {
    let (_shard, peers) = conflating_past_a_hole();
    let each = [event(1, "1"), event(2, "2"), event(3, "3"), event(4, "4"), gap_event(4, 9, GapReason::Lost)];
    peers[0].gets(&each.each_ref().map(String::as_str));
}
