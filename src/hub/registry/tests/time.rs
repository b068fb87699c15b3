//! Heartbeats, timed events and deadlines.

use super::*;

#[test]
fn a_stream_is_never_silent_for_longer_than_an_interval() {
    let mut shard = OneShard::new();
    let (busy, idle) = (shard.open(Asks::default()), shard.open(Asks { topics: &["b"], ..Asks::default() }));
    let (mut heartbeats, mut last_ms) = (0, 0);
    let step_ms = shard.registry.heartbeat_step_ms();
    busy.got();
    idle.got();
    for now_ms in (0..10 * 6400).step_by(step_ms as usize) {
        shard.now_ms.set(now_ms);
        shard.registry.advance_heartbeats(&shard.log);
        while shard.registry.has_due_heartbeats() {
            shard.registry.send_heartbeats(&shard.log, now_ms);
        }
        if now_ms % 3000 == 0 {
            shard.say(&["x"]);
            shard.pass();
        }
        assert!(!busy.got().contains(":\n"), "one that is written to needs none");
        match &*idle.got() {
            "" => assert!(now_ms - last_ms <= 6400, "silent since {last_ms} at {now_ms}"),
            ":\n" => {
                assert!(now_ms - last_ms >= 6400 / 2, "too early: {} ms", now_ms - last_ms);
                (heartbeats, last_ms) = (heartbeats + 1, now_ms);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((10..=13).contains(&heartbeats), "{heartbeats}");
}

#[test]
fn a_heartbeat_that_meets_a_full_socket_makes_the_stream_wait_like_any_write() {
    let mut shard = OneShard::new();
    let peer = shard.open(Asks { room: 5 + 1, ..Asks::default() });
    for step in 0..70 {
        shard.registry.advance_heartbeats(&shard.log);
        shard.registry.send_heartbeats(&shard.log, step * 100);
    }
    assert_eq!(shard.registry.behind(), 1);
    shard.publish(&["a"], Event::new("live").keep(false));
    shard.say(&["2"]);
    shard.pass();
    shard.takes(&peer, usize::MAX);
    peer.gets(&["head\n", ":\n", "data: live\n\n", &event(2, "2")]);
}

#[test]
fn many_heartbeats_that_are_due_at_once_come_in_portions() {
    let mut shard = OneShard::new();
    shard.registry = Registry::new(Offset::ZERO, 64, 1, Bounds { heartbeats_a_turn: 3, ..Bounds::SMALL });
    let peers: Vec<_> = (0..10).map(|_| shard.open(Asks::default())).collect();
    (0..64).for_each(|_| shard.registry.advance_heartbeats(&shard.log));
    let written = |shard: &mut OneShard| shard.registry.take_tally().writes;
    written(&mut shard);
    shard.registry.close(peers[9].key, CloseReason::ClientGone);
    shard.registry.close(peers[4].key, CloseReason::ClientGone);
    // It takes the slot of one that was due, and is not.
    let new = shard.open(Asks::default());
    written(&mut shard);
    let mut portions = Vec::new();
    while shard.registry.has_due_heartbeats() {
        shard.registry.send_heartbeats(&shard.log, 1_000);
        portions.push(written(&mut shard));
    }
    assert_eq!(portions.iter().sum::<u64>(), 8, "{portions:?}");
    assert!(portions.iter().all(|&portion| portion <= 3), "{portions:?}");
    new.gets(&["head\n"]);
}

#[test]
fn of_the_timed_events_that_fall_due_meanwhile_the_last_follows_the_catch_up() {
    let mut shard = OneShard::new();
    let peer = shard.open(Asks { room: 5, ..Asks::default() });
    shard.say(&["1"]);
    shard.pass();
    for n in 1..=3 {
        shard.registry.send_timed(peer.key, &Arc::new(Chunk::new(&format!("data: timed {n}\n\n"))), 0);
    }
    shard.takes(&peer, usize::MAX);
    peer.gets(&["head\n", &event(1, "1"), "data: timed 3\n\n"]);
}

#[test]
fn the_write_deadline_counts_from_the_last_byte_that_was_taken() {
    let mut shard = OneShard::new();
    let peer = shard.open(Asks { room: 0, head: "h".repeat(100), ..Asks::default() });
    shard.now_ms.set(50);
    shard.takes(&peer, 25);
    assert_eq!(shard.registry.progress_due(peer.key, 100, 100), Some(150));
    assert_eq!(shard.registry.progress_due(peer.key, 100, 149), Some(150));
    assert_eq!(shard.registry.progress_due(peer.key, 100, 150), None);
    assert_eq!(shard.closed(), [(peer.key, CloseReason::WriteDeadline)]);

    // One that is not full makes progress.
    let peer = shard.open(Asks::default());
    assert_eq!(shard.registry.progress_due(peer.key, 100, 1000), None);
    assert_eq!(shard.closed(), []);
}

#[test]
fn progress_is_256_bytes_a_second() {
    for (bytes, is_enough) in [(7_679, false), (7_680, true), (7_681, true)] {
        let mut shard = OneShard::new();
        let peer = shard.open(Asks { room: 0, head: "h".repeat(100_000), ..Asks::default() });
        shard.now_ms.set(29_000);
        shard.takes(&peer, bytes);
        assert_eq!(shard.registry.progress_due(peer.key, 30_000, 29_999), Some(30_000));
        assert_eq!(shard.registry.progress_due(peer.key, 30_000, 30_000), is_enough.then_some(59_000));
        assert_eq!(shard.closed().is_empty(), is_enough, "{bytes} bytes in 30 s");
    }
}

/// Whether a client is still there after ten minutes that takes so many bytes every so often.
fn survives(bytes: usize, every_s: u64) -> bool {
    let mut shard = OneShard::new();
    let peer = shard.open(Asks { room: 0, head: "h".repeat(1 << 20), ..Asks::default() });
    let mut due_ms = 30_000;
    for now_s in 1..=600 {
        shard.now_ms.set(now_s * 1000);
        if now_s % every_s == 0 {
            shard.takes(&peer, bytes);
        }
        if shard.now_ms.get() >= due_ms {
            match shard.registry.progress_due(peer.key, 30_000, shard.now_ms.get()) {
                Some(later_ms) => due_ms = later_ms,
                None => return false,
            }
        }
    }
    true
}

#[test]
fn a_line_of_a_kilobyte_a_second_survives_and_a_trickle_does_not() {
    for (bytes, every_s) in [(1024, 1), (8 * 1024, 8), (16 * 1024, 16), (28 * 1024, 28)] {
        assert!(survives(bytes, every_s), "{bytes} bytes every {every_s} s");
    }
    for (bytes, every_s) in [(1, 29), (1, 1), (200, 1), (4000, 29)] {
        assert!(!survives(bytes, every_s), "{bytes} bytes every {every_s} s");
    }
}
