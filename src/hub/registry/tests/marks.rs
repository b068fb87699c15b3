//! Who is marked, when, and with what.

use crate::hub::log::Start;

use super::*;

fn mark(seq: u64) -> String {
    format!("id: {}\n\n", id(seq))
}

/// A shard whose streams are marked.
fn marking() -> OneShard {
    let mut shard = OneShard::new();
    shard.registry.set_marks(true);
    shard
}

/// All streams come up for their heartbeats once, in the time of an interval.
fn an_interval_passes(shard: &mut OneShard) {
    for _ in 0..64 {
        shard.now_ms.set(shard.now_ms.get() + 100);
        shard.registry.advance_heartbeats(&shard.log);
        while shard.registry.has_due_heartbeats() {
            shard.registry.send_heartbeats(&shard.log, shard.now_ms.get());
        }
    }
}

#[test]
fn a_stream_is_told_where_it_starts_unless_it_knows() {
    let mut shard = marking();
    shard.say(&["1", "2", "3", "4", "5"]);
    shard.publish(&["a"], Event::new("6").id("own"));
    shard.pass();
    let after = |id: String| Resume::After(id.into());
    let check = |shard: &mut OneShard, resume: Resume, expected: &[&str]| {
        let peer = shard.open(Asks { resume, topics: &["a"], ..Asks::default() });
        peer.gets(&[&["head\n"], expected].concat());
    };
    check(&mut shard, Resume::Now, &[&mark(6)]);
    check(&mut shard, after(id(6)), &[]);
    check(&mut shard, after("own".to_owned()), &[&mark(6)]);
    let own = "id: own\ndata: 6\n\n";
    check(&mut shard, Resume::Earliest, &[&mark(2), &event(3, "3"), &event(4, "4"), &event(5, "5"), own]);
    check(&mut shard, after(id(5)), &[own]);
    // A gap tells it, too.
    let gap = gap::gap(Some(&id(1)), epoch().id(2), GapReason::Expired, Some(epoch().id(2)));
    let gap = std::str::from_utf8(gap.wire(Framing::Close)).unwrap();
    check(&mut shard, after(id(1)), &[gap, &event(3, "3"), &event(4, "4"), &event(5, "5"), own]);
}

#[test]
fn a_mark_is_a_chunk_of_the_one_write_that_has_the_head() {
    let mut shard = marking();
    let peer = shard.open(Asks { framing: Framing::Chunked, ..Asks::default() });
    peer.gets(&["head\n", "1b\r\n", &mark(0), "\r\n"]);
    assert_eq!(shard.registry.take_tally().writes, 1);
}

#[test]
fn quiet_streams_are_marked_when_a_quarter_of_what_is_kept_is_newer() {
    let mut shard = marking();
    let (quiet, busy) = (shard.open(Asks { topics: &["q"], ..Asks::default() }), shard.open(Asks::default()));
    quiet.gets(&["head\n", &mark(0)]);
    an_interval_passes(&mut shard);
    assert!(quiet.got().bytes().all(|byte| byte == b':' || byte == b'\n'), "nothing is newer");
    shard.say(&["1", "2", "3", "4"]);
    shard.pass();
    busy.got();
    an_interval_passes(&mut shard);
    let found = quiet.got();
    assert_eq!(found.matches("id: ").count(), 1, "{found:?}");
    assert!(found.contains(&mark(4)), "{found:?}");
    assert!(!busy.got().contains("id: "), "an event told it");
    // What is live only is newer, but pushes out nothing.
    (0..4).for_each(|_| shard.publish(&["a"], Event::new("live").keep(false)));
    shard.pass();
    an_interval_passes(&mut shard);
    assert!(!quiet.got().contains("id: "));
    // Who is written to, but with nothing that has an id, is marked all the same.
    let live = |shard: &mut OneShard| shard.publish(&["q"], Event::new("live").keep(false));
    shard.say(&["9"]);
    live(&mut shard);
    shard.pass();
    shard.now_ms.set(shard.now_ms.get() + 50);
    an_interval_passes(&mut shard);
    assert!(quiet.got().contains(&mark(10)));
    // Off means at once.
    shard.say(&["11", "12"]);
    shard.pass();
    shard.registry.set_marks(false);
    an_interval_passes(&mut shard);
    assert!(!quiet.got().contains("id: "));
}

#[test]
fn a_mark_names_what_the_shard_has_served_and_no_more() {
    let mut shard = marking();
    let quiet = shard.open(Asks { topics: &["q"], ..Asks::default() });
    shard.say(&["1", "2"]);
    shard.pass();
    shard.publish(&["q"], Event::new("3"));
    quiet.got();
    an_interval_passes(&mut shard);
    let found = quiet.got();
    assert!(found.contains(&mark(2)) && !found.contains(&mark(3)), "{found:?}");
    // One that is behind is told nothing.
    quiet.wire.borrow_mut().room = 0;
    shard.pass();
    assert_eq!(shard.registry.behind(), 1);
    shard.say(&["4", "5", "6"]);
    shard.pass();
    an_interval_passes(&mut shard);
    shard.takes(&quiet, usize::MAX);
    quiet.gets(&[&event(3, "3")]);
}

#[test]
fn a_stream_of_no_topic_is_never_marked() {
    let mut shard = marking();
    let wire = Rc::new(RefCell::new(Wire { room: usize::MAX, ..Wire::default() }));
    let subscribe = Subscribe { framing: Framing::Close, ..Subscribe::to(Arc::new(Subscription::nothing())) };
    let opening = Opening {
        socket: Mock { wire: wire.clone() },
        subscribe: &subscribe,
        slow: SlowPolicy::Skip,
        start: Some(Start::after(Offset::ZERO)),
        search: Search::default(),
        response_head: b"head\n",
    };
    shard.registry.open(opening, &shard.log, 0, &mut shard.counted);
    shard.say(&["1", "2", "3", "4", "5"]);
    shard.pass();
    an_interval_passes(&mut shard);
    let got = std::mem::take(&mut wire.borrow_mut().got);
    assert!(!String::from_utf8(got).unwrap().contains("id: "));
}
