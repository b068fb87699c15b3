//! Streams that are behind: slow ones, those that were lapped, and those that are ahead of their shard.

use super::*;

#[test]
fn a_frame_that_was_cut_is_finished_before_the_gap() {
    let mut shard = OneShard::new();
    let peer = shard.open(Asks { room: 5 + 7, ..Asks::default() });
    shard.say(&["one"]);
    shard.pass();
    peer.gets(&["head\n", &event(1, "one")[..7]]);
    shard.say(&["2", "3", "4", "5", "6"]);
    shard.pass();
    // The cut frame itself has left the log by now.
    shard.takes(&peer, usize::MAX);
    peer.gets(&[&event(1, "one")[7..], &gap_event(1, 6, GapReason::Lagged)]);
    assert_eq!(shard.registry.behind(), 0);
    shard.say(&["7"]);
    shard.pass();
    peer.gets(&[&event(7, "7")]);
    assert_eq!(shard.counted.0, 2);
}

#[test]
fn each_byte_at_a_time_makes_the_same_stream() {
    for &slow in SlowPolicy::VARIANTS {
        let mut shard = OneShard::new();
        let peer = shard.open(Asks { slow, room: 0, resume: Resume::Unknown, max_events: 3, ..Asks::default() });
        shard.say(&["one", "two", "three", "four"]);
        shard.pass();
        let mut all = String::new();
        for _ in 0..1000 {
            shard.takes(&peer, 1);
            all += &peer.got();
        }
        assert_eq!(shard.closed(), [(peer.key, CloseReason::MaxEvents)]);
        let start = gap::gap(None, epoch().id(0), GapReason::UnknownId, Some(epoch().id(0)));
        let start = std::str::from_utf8(start.wire(Framing::Close)).unwrap().to_owned();
        assert_eq!(all, "head\n".to_owned() + &start + &event(1, "one") + &event(2, "two") + &event(3, "three"));
        assert_eq!(shard.counted.0, 3);
    }
}

#[test]
fn an_overrun_is_each_streams_own_business() {
    let mut shard = OneShard::new();
    let quiet = shard.open(Asks { topics: &["q"], slow: SlowPolicy::Disconnect, ..Asks::default() });
    shard.publish(&["q"], Event::new("quiet"));
    shard.pass();
    quiet.gets(&["head\n", &event(1, "quiet")]);
    let strict = shard.open(Asks { topics: &["a", "x"], slow: SlowPolicy::Disconnect, ..Asks::default() });
    let skipping = shard.open(Asks::default());
    let mild = shard.open(Asks { topics: &["a", "y"], slow: SlowPolicy::Conflate, ..Asks::default() });
    shard.say(&["2", "3"]);
    shard.publish(&["q"], Event::new("4"));
    shard.say(&["5", "6", "7"]);
    // 2 and 3 are gone, and q has had something in the log all the while.
    shard.pass();
    assert_eq!((shard.registry.behind(), shard.registry.position()), (4, Offset::new(7)));
    shard.serve();
    assert_eq!(shard.closed(), [(strict.key, CloseReason::Lagged)]);
    skipping.gets(&["head\n", &gap_event(1, 7, GapReason::Lagged)]);
    mild.gets(&["head\n", &gap_event(1, 3, GapReason::Lagged), &event(5, "5"), &event(6, "6"), &event(7, "7")]);
    let found = quiet.got();
    assert!(found.is_empty() || found == event(4, "4"), "{found}");
    assert_eq!(shard.registry.behind(), 0);
}

/// The simulation found it: the socket was closed before the response had begun.
#[test]
fn a_stream_that_is_lapped_before_it_is_opened_gets_its_response_head() {
    for takes in [usize::MAX, 2] {
        let mut shard = OneShard::new();
        let asks = Asks { slow: SlowPolicy::Disconnect, room: takes, ..Asks::default() };
        let asked = shard.ask(&asks);
        shard.say(&["1", "2", "3", "4", "5"]);
        shard.pass();
        let peer = shard.admit(asks, asked);
        shard.takes(&peer, usize::MAX);
        peer.gets(&["head\n"]);
        assert_eq!(shard.closed(), [(peer.key, CloseReason::Lagged)]);
    }
}

#[test]
fn a_stream_that_is_ahead_of_its_shard_gets_no_older_event() {
    let mut shard = OneShard::new();
    shard.say(&["old"]);
    let peer = shard.open(Asks::default());
    shard.say(&["new"]);
    assert_eq!(shard.registry.behind(), 1);
    shard.pass();
    shard.serve();
    peer.gets(&["head\n", &event(2, "new")]);
    assert_eq!(shard.registry.behind(), 0);
}

/// The simulation found it: such a stream went live at once, and was given what it was too late for.
#[test]
fn a_stream_that_resumes_behind_a_late_shard_gets_no_live_only_event_of_before_it_was_opened() {
    let mut shard = OneShard::new();
    shard.say(&["one", "two"]);
    shard.publish(&["a"], Event::new("before").keep(false));
    let peer = shard.open(Asks { resume: Resume::After(id(1).into()), ..Asks::default() });
    shard.publish(&["a"], Event::new("after").keep(false));
    shard.pass();
    shard.serve();
    peer.gets(&["head\n", &event(2, "two"), "data: after\n\n"]);
    assert_eq!(shard.registry.behind(), 0);
}

#[test]
fn no_event_is_lost_behind_a_response_head_of_any_length() {
    for len in [Bounds::SHIPPED.read_bytes - 1, Bounds::SHIPPED.read_bytes, Bounds::SHIPPED.read_bytes + 1] {
        let mut shard = OneShard::new();
        shard.say(&["1", "2"]);
        shard.pass();
        let head = "h".repeat(len);
        let peer = shard.open(Asks { resume: Resume::Earliest, head: head.clone(), ..Asks::default() });
        assert!(peer.got() == head + &event(1, "1") + &event(2, "2"));
    }
}

#[test]
fn streams_that_were_ahead_together_leave_no_memory_of_it() {
    let mut shard = OneShard::new();
    shard.say(&["old"]);
    let _peers: Vec<_> = (0..5000).map(|_| shard.open(Asks::default())).collect();
    assert_eq!(shard.registry.ahead.len(), 5000);
    shard.pass();
    while shard.registry.has_ready() {
        shard.serve();
    }
    assert_eq!(shard.registry.behind(), 0);
    assert!(shard.registry.ahead.capacity() <= 1024, "{}", shard.registry.ahead.capacity());
}
