//! What streams hold of events that have left the log.

use super::*;

/// Three streams that have each begun an event of their own, which have left the log, and what such an event costs.
fn holding(pinned_bytes: impl FnOnce(usize) -> usize) -> (OneShard, [Peer; 3]) {
    let mut shard = OneShard::new();
    ["a", "b", "c"].into_iter().for_each(|topic| shard.publish(&[topic], Event::new("one")));
    let mut frames = Vec::new();
    shard.log.tail(Offset::ZERO, 1, &mut frames);
    let pinned_bytes = pinned_bytes(frames[0].cost_bytes());
    shard.registry = Registry::new(Offset::ZERO, 6400, 1, Bounds { pinned_bytes, ..Bounds::SMALL });
    shard.pass();
    let topics: [&[&str]; 3] = [&["a"], &["b"], &["c"]];
    let peers = topics.map(|topics| {
        let peer = shard.open(Asks { topics, resume: Resume::Earliest, room: 5 + 7, ..Asks::default() });
        assert_eq!(peer.got().len(), 12, "it has begun its event");
        peer
    });
    shard.registry.unpin(&shard.log);
    assert_eq!((shard.registry.pinned_bytes(), shard.closed()), (0, vec![]), "they are in the log");
    (0..4).for_each(|_| shard.publish(&["x"], Event::new("other")));
    shard.registry.unpin(&shard.log);
    assert_eq!(shard.registry.pinned_bytes(), shard.registry.recounted_pinned_bytes());
    (shard, peers)
}

#[test]
fn over_the_bound_the_oldest_event_that_was_begun_goes_with_its_stream() {
    for (over, closes) in [(-1_isize, 1), (0, 0), (1, 0)] {
        let (mut shard, peers) = holding(|cost| (3 * cost).saturating_add_signed(over));
        let oldest: Vec<_> = peers[..closes].iter().map(|peer| (peer.key, CloseReason::Pinned)).collect();
        assert_eq!(shard.closed(), oldest, "{over} over three events");
        assert!(!shard.registry.is_overpinned());
        // The others go on where they were.
        for peer in &peers[closes..] {
            shard.takes(peer, usize::MAX);
            assert!(peer.got().ends_with("data: one\n\n"));
        }
        assert_eq!(shard.registry.pinned_bytes(), 0);
    }
    let (mut shard, peers) = holding(|_| 0);
    assert_eq!(shard.closed().len(), peers.len());
    assert_eq!(shard.registry.pinned_bytes(), 0);
}

#[test]
fn an_event_counts_once_however_many_have_begun_it() {
    let mut shard = OneShard::new();
    shard.say(&["one"]);
    let mut frames = Vec::new();
    shard.log.tail(Offset::ZERO, 1, &mut frames);
    shard.pass();
    let peers = [(); 3].map(|()| shard.open(Asks { resume: Resume::Earliest, room: 5 + 7, ..Asks::default() }));
    (0..4).for_each(|_| shard.publish(&["x"], Event::new("other")));
    for (peer, cost) in peers.iter().zip([1, 1, 0]) {
        shard.registry.unpin(&shard.log);
        assert_eq!(shard.registry.pinned_bytes(), frames[0].cost_bytes());
        shard.registry.close(peer.key, CloseReason::ClientGone);
        assert_eq!(shard.registry.pinned_bytes(), cost * frames[0].cost_bytes());
    }
}

/// A conflating stream that has begun the first of its three events, when these have left the log, and the other two
/// are chosen. What it gets then, or why it was closed.
fn chosen(pinned_bytes: impl FnOnce(usize, usize) -> usize) -> (String, Vec<(StreamKey, CloseReason)>) {
    let mut shard = OneShard::new();
    shard.say(&["1", "2", "3"]);
    let mut frames = Vec::new();
    shard.log.tail(Offset::ZERO, 1, &mut frames);
    let (cost, entry) = (frames[0].cost_bytes(), 48);
    let pinned_bytes = pinned_bytes(cost, entry);
    shard.registry = Registry::new(Offset::ZERO, 6400, 1, Bounds { pinned_bytes, ..Bounds::SMALL });
    shard.pass();
    let resume = Resume::Earliest;
    let peer = shard.open(Asks { slow: SlowPolicy::Conflate, resume, room: 0, ..Asks::default() });
    shard.takes(&peer, 5 + 7);
    peer.gets(&["head\n", &event(1, "1")[..7]]);
    shard.registry.unpin(&shard.log);
    (0..4).for_each(|_| shard.publish(&["x"], Event::new("other")));
    shard.registry.unpin(&shard.log);
    shard.registry.unpin(&shard.log);
    assert_eq!(shard.registry.pinned_bytes(), shard.registry.recounted_pinned_bytes());
    let closed = shard.closed();
    if closed.is_empty() {
        shard.takes(&peer, usize::MAX);
        shard.pass();
        shard.takes(&peer, usize::MAX);
    }
    assert_eq!(shard.registry.pinned_bytes(), 0);
    (peer.got(), closed)
}

#[test]
fn over_the_bound_what_was_chosen_is_dropped_and_told() {
    let rest = event(1, "1")[7..].to_owned();
    let all = rest.clone() + &event(2, "2") + &event(3, "3");
    // It reads again from its cursor, and what has gone is told.
    let told = rest + &gap_event(1, 3, GapReason::Lagged);
    for (over, expected) in [(-1_isize, &told), (0, &all), (1, &all)] {
        let (got, closed) = chosen(|cost, entry| (3 * cost + 2 * entry).saturating_add_signed(over));
        assert_eq!((&got, closed), (expected, vec![]), "{over} over what it holds");
    }
    assert_eq!(chosen(|cost, _| cost), (told, vec![]));
    let (_, closed) = chosen(|cost, _| cost - 1);
    assert_eq!(closed.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), [CloseReason::Pinned]);
}

/// A stream that is ended when 20 events of 100 bytes and more wait for a pass, of which its socket takes nothing. How
/// many are kept for replay, and what it may hold; what it holds then, what it gets, and why it was closed.
fn ended(kept: usize, bounds: Bounds) -> (usize, String, CloseReason) {
    let limits = LogLimits { events: kept, bytes: 1 << 30, age_ns: u64::MAX };
    let mut shard = OneShard::with(limits);
    shard.log = Shared(RefCell::new(Log::new(epoch(), limits).with_live_events(20)));
    shard.registry = Registry::new(Offset::ZERO, 6400, 1, bounds);
    let peer = shard.open(Asks::default());
    peer.wire.borrow_mut().room = 0;
    (0..20).for_each(|_| shard.say(&[&"x".repeat(100)]));
    shard.end(peer.key, CloseReason::MaxSeconds, None);
    // Others push all of it out.
    (0..40).for_each(|_| shard.publish(&["x"], Event::new("other")));
    shard.registry.unpin(&shard.log);
    assert_eq!(shard.registry.pinned_bytes(), shard.registry.recounted_pinned_bytes());
    let pinned_bytes = shard.registry.pinned_bytes();
    shard.takes(&peer, usize::MAX);
    assert_eq!(shard.registry.pinned_bytes(), 0);
    let closed = shard.closed();
    assert_eq!(closed.len(), 1);
    (pinned_bytes, peer.got(), closed[0].1)
}

#[test]
fn an_end_holds_no_more_than_conflation_may_and_reads_the_others_from_the_log() {
    let each = event(1, &"x".repeat(100)).len();
    let bounds = Bounds { selection_bytes: 5 * each, ..Bounds::SMALL };
    let (pinned_bytes, got, reason) = ended(100, bounds);
    assert!(pinned_bytes <= 5 * 48, "the log has them: {pinned_bytes}");
    assert_eq!((got.matches("data: x").count(), reason), (20, CloseReason::MaxSeconds));
    let (pinned_bytes, got, _) = ended(1, bounds);
    assert!((1..5 * (each + 400)).contains(&pinned_bytes), "{pinned_bytes}");
    // What is gone is told.
    assert_eq!((got.matches("data: x").count(), got.matches("event: gap").count()), (5, 1));
}

#[test]
fn over_the_bound_what_an_end_holds_is_dropped_and_told() {
    let (pinned_bytes, got, reason) = ended(1, Bounds { pinned_bytes: 1000, ..Bounds::SMALL });
    assert!(pinned_bytes <= 1000, "{pinned_bytes}");
    assert_eq!((got.matches("data: x").count(), got.matches("event: gap").count()), (0, 1));
    assert_eq!(reason, CloseReason::MaxSeconds);
}
