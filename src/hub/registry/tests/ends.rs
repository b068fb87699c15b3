//! How streams end.

use super::*;

fn bye() -> Arc<Chunk> {
    Arc::new(Chunk::new("data: bye\n\n"))
}

#[test]
fn a_live_stream_is_ended_at_once_with_its_farewell() {
    for (framing, expected) in
        [(Framing::Chunked, "b\r\ndata: bye\n\n\r\n0\r\n\r\n"), (Framing::Close, "data: bye\n\n")]
    {
        let mut shard = OneShard::new();
        let peer = shard.open(Asks { framing, ..Asks::default() });
        shard.end(peer.key, CloseReason::Drained, Some(&bye()));
        peer.gets(&["head\n", expected]);
        assert_eq!(shard.closed(), [(peer.key, CloseReason::Drained)]);
    }
}

#[test]
fn an_end_brings_the_stream_what_was_published_and_makes_no_pass() {
    for reason in [CloseReason::Drained, CloseReason::Rotated, CloseReason::MaxSeconds] {
        let mut shard = OneShard::new();
        let (peer, other) = (shard.open(Asks::default()), shard.open(Asks::default()));
        shard.say(&["1", "2"]);
        shard.publish(&["b"], Event::new("3"));
        shard.publish(&["a"], Event::new("live").keep(false));
        shard.end(peer.key, reason, Some(&bye()));
        peer.gets(&["head\n", &event(1, "1"), &event(2, "2"), "data: live\n\n", "data: bye\n\n"]);
        assert_eq!(shard.closed(), [(peer.key, reason)]);
        other.gets(&["head\n"]);
        // A key that is stale by now asks for nothing.
        shard.end(peer.key, reason, None);
        other.gets(&[]);
        shard.pass();
        other.gets(&[&event(1, "1"), &event(2, "2"), "data: live\n\n"]);
        assert_eq!(shard.counted.0, 6);
    }
}

/// Streams that end together, each held against much, must not hold up the others of their shard.
#[test]
fn an_end_is_work_like_any_other() {
    let mut shard = OneShard::with(LogLimits { events: 1000, bytes: 1 << 30, age_ns: u64::MAX });
    let patterns = &["x/*", "y/*", "z/*"];
    let peers = [(); 3].map(|()| shard.open(Asks { topics: &[], patterns, ..Asks::default() }));
    (0..100).for_each(|_| shard.say(&["another's"]));
    shard.registry.bounds.work_a_turn = 1_500;
    shard.registry.begin_turn();
    shard.end(peers[0].key, CloseReason::MaxSeconds, None);
    assert!(!shard.registry.is_spent() && shard.registry.work >= 300);
    shard.end(peers[1].key, CloseReason::MaxSeconds, None);
    assert!(shard.registry.is_spent());
    assert_eq!(shard.closed().len(), 1, "what is left of the turn is too little for the second");
    shard.registry.begin_turn();
    shard.serve();
    assert_eq!(shard.closed().len(), 1);
    shard.registry.begin_turn();
    shard.end(peers[2].key, CloseReason::MaxSeconds, None);
    assert_eq!(shard.closed().len(), 1);
}

#[test]
fn an_end_brings_what_a_short_history_no_longer_keeps() {
    let mut shard = OneShard::with(LogLimits { events: 1, bytes: 1 << 30, age_ns: u64::MAX });
    let log = Log::new(epoch(), LogLimits { events: 1, bytes: 1 << 30, age_ns: u64::MAX }).with_live_events(10);
    shard.log = Shared(RefCell::new(log));
    let peer = shard.open(Asks { slow: SlowPolicy::Disconnect, ..Asks::default() });
    shard.say(&["1", "2", "3"]);
    shard.end(peer.key, CloseReason::Rotated, None);
    peer.gets(&["head\n", &event(1, "1"), &event(2, "2"), &event(3, "3")]);
    assert_eq!(shard.closed(), [(peer.key, CloseReason::Rotated)]);
}

#[test]
fn a_stream_that_is_behind_is_ended_when_it_has_caught_up() {
    for cut in [0, 1, 20] {
        let mut shard = OneShard::new();
        let peer = shard.open(Asks { room: 5, framing: Framing::Chunked, ..Asks::default() });
        shard.say(&["1"]);
        shard.pass();
        shard.end(peer.key, CloseReason::Drained, Some(&bye()));
        // What comes before it has caught up is still its own, and no second end is.
        shard.say(&["2"]);
        shard.pass();
        shard.end(peer.key, CloseReason::Rotated, None);
        shard.takes(&peer, cut);
        assert_eq!(shard.closed(), []);
        shard.takes(&peer, usize::MAX);
        let frames = [1, 2].map(|seq| {
            let event = event(seq, &seq.to_string());
            format!("{:x}\r\n{event}\r\n", event.len())
        });
        peer.gets(&["head\n", &frames.concat(), "b\r\ndata: bye\n\n\r\n0\r\n\r\n"]);
        assert_eq!(shard.closed(), [(peer.key, CloseReason::Drained)]);
    }
}

#[test]
fn an_end_that_can_be_resumed_waits_for_no_catching_up() {
    for reason in [CloseReason::Rotated, CloseReason::MaxSeconds] {
        let mut shard = OneShard::new();
        let peer = shard.open(Asks { room: 6, ..Asks::default() });
        shard.say(&["1"]);
        shard.say(&["2"]);
        shard.pass();
        shard.end(peer.key, reason, None);
        shard.takes(&peer, usize::MAX);
        // The frame that was begun is finished, and no further one is begun.
        peer.gets(&["head\n", &event(1, "1")]);
        assert_eq!(shard.closed(), [(peer.key, reason)]);
    }
}

#[test]
fn an_end_that_is_cut_is_finished_and_nothing_follows_it() {
    let mut shard = OneShard::new();
    let peer = shard.open(Asks { framing: Framing::Chunked, ..Asks::default() });
    peer.wire.borrow_mut().room = 2;
    shard.end(peer.key, CloseReason::Drained, None);
    shard.say(&["late"]);
    shard.pass();
    shard.registry.send_timed(peer.key, &bye(), 0);
    shard.takes(&peer, 1);
    assert_eq!(shard.closed(), []);
    shard.takes(&peer, 2);
    peer.gets(&["head\n", "0\r\n\r\n"]);
    assert_eq!(shard.closed(), [(peer.key, CloseReason::Drained)]);
}

#[test]
fn the_last_event_of_max_events_may_fall_anywhere() {
    for (replayed, passed) in [(0, 4), (2, 2), (4, 0)] {
        for max_events in [1, 2, 3, 4] {
            let mut shard = OneShard::new();
            (0..replayed).for_each(|_| shard.say(&["x"]));
            shard.pass();
            let asks = Asks { resume: Resume::Earliest, max_events, framing: Framing::Chunked, ..Asks::default() };
            let peer = shard.open(asks);
            (0..passed).for_each(|_| shard.say(&["x"]));
            shard.pass();
            let got = peer.got();
            assert_eq!(got.matches("data: x\n").count(), max_events as usize);
            assert!(got.ends_with("\r\n0\r\n\r\n"));
            assert_eq!(shard.closed(), [(peer.key, CloseReason::MaxEvents)]);
            // The simulation found it: all events of the run were observed.
            assert_eq!(shard.counted.0, u64::from(max_events).saturating_sub(replayed), "replay is no latency");
            assert_eq!(shard.registry.take_tally().deliveries, u64::from(max_events));
        }
    }
}

#[test]
fn stray_bytes_are_borne_up_to_the_bound() {
    for (bytes, closes) in [(STRAY_BYTES_MAX - 1, false), (STRAY_BYTES_MAX, false), (STRAY_BYTES_MAX + 1, true)] {
        for parts in [&[bytes as usize][..], &[10, bytes as usize - 10]] {
            let mut shard = OneShard::new();
            let peer = shard.open(Asks::default());
            parts.iter().for_each(|&part| shard.registry.stray(peer.key, part));
            let expected: &[_] = if closes { &[(peer.key, CloseReason::ClientData)] } else { &[] };
            assert_eq!(shard.closed(), expected, "{bytes}");
        }
    }
    let mut shard = OneShard::new();
    let peer = shard.open(Asks::default());
    (0..2).for_each(|_| shard.registry.stray(peer.key, usize::MAX));
    assert_eq!(shard.closed().len(), 1);
}
