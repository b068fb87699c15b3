//! The log at its bounds, and against a list with a window.

use super::ring::LIVE_AGE_NS;
use super::*;
use crate::hub::effort::Effort;
use crate::hub::event::Event;
use crate::hub::frame::Framing;
use crate::hub::gap::GapReason;
use crate::hub::topic::Subscription;
use crate::hub::topic::{Pattern, Topic, Topics, handle, table};
use proptest::prelude::*;

const TOPICS: [&str; 4] = ["a", "b", "c/x", "c/y"];
const NO_BOUNDS: LogLimits = LogLimits { events: 1 << 20, bytes: 1 << 40, age_ns: u64::MAX };

fn epoch() -> Epoch {
    Epoch::new(1)
}

fn to(topics: &[&str], patterns: &[&str]) -> Subscription {
    let patterns = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Subscription::new(topics.iter().map(|text| Topic::parse(text).unwrap()).collect(), patterns, &table()).unwrap()
}

fn draft(topics: &[&str], event: Event<'_>) -> Draft {
    Draft::encode(Topics::new(topics.iter().map(|text| handle(text))).unwrap(), &event, epoch()).unwrap()
}

fn kept(on: &str) -> Draft {
    draft(&[on], Event::new("x"))
}

fn live(on: &str) -> Draft {
    draft(&[on], Event::new("x").keep(false))
}

fn log(limits: LogLimits) -> Log {
    Log::new(epoch(), limits)
}

fn append(log: &mut Log, drafts: impl IntoIterator<Item = Draft>) -> Placed {
    log.append(drafts, Numbering::Own, 0, &mut Evicted::default())
}

fn one_by_one(log: &mut Log, count: u64, make: fn(&str) -> Draft) {
    for _ in 0..count {
        append(log, [make("a")]);
    }
}

const fn at(number: u64) -> Offset {
    Offset::new(number)
}

fn starts(after: u64, gap: Option<GapReason>) -> Start {
    Start { gap, ..Start::after(at(after)) }
}

fn reached(offset: u64) -> Read {
    Read::Through(at(offset))
}

fn gone(kept_through: u64, live_through: u64) -> Read {
    Read::Lost { kept_through: at(kept_through), live_through: at(live_through) }
}

fn placed(first: u64, last: u64, halfway: u64) -> Placed {
    Placed { first: at(first), last: at(last), halfway: at(halfway) }
}

fn numbers(frames: &[Arc<Frame>]) -> Vec<u64> {
    frames.iter().map(|frame| frame.offset().get()).collect()
}

/// How many kept events the index has of a topic.
fn kept_of(log: &Log, text: &str) -> usize {
    log.kept.by_topic.events(&handle(text))
}

fn tail(log: &Log, after: u64) -> Option<Vec<u64>> {
    let mut out = Vec::new();
    log.tail(at(after), usize::MAX, &mut out).map(|_| numbers(&out))
}

fn read(log: &Log, subscription: &Subscription, after: u64, opened_at: u64) -> (Read, Vec<u64>) {
    let mut out = Vec::new();
    let (after, opened_at) = (at(after), at(opened_at));
    let window = Window { subscription, after, through: log.head(), opened_at };
    let read = log.read(&window, usize::MAX, &mut out, &mut Effort::unbounded());
    (read, numbers(&out))
}

// ===== the bounds, at n-1, n and n+1 =====

#[test]
fn the_bound_of_events_is_met_exactly() {
    for (count, oldest) in [(2, 1), (3, 1), (4, 2)] {
        let mut log = log(LogLimits { events: 3, ..NO_BOUNDS });
        one_by_one(&mut log, count, kept);
        assert_eq!(tail(&log, oldest - 1), Some((oldest..=count).collect()), "{count}");
        assert_eq!(oldest == 1, tail(&log, 0).is_some(), "{count}");
    }
}

#[test]
fn the_bound_of_bytes_is_met_exactly() {
    let three = 3 * kept("a").cost_bytes();
    for (bytes, events) in [(three - 1, 2), (three, 3), (three + 1, 3)] {
        let mut log = log(LogLimits { bytes, ..NO_BOUNDS });
        one_by_one(&mut log, 4, kept);
        assert_eq!((log.events(), log.bytes()), (events, events * three / 3), "{bytes}");
    }
}

#[test]
fn the_bound_of_age_is_met_exactly() {
    for (now_ns, left) in [(109, 2), (110, 2), (111, 1)] {
        let mut log = log(LogLimits { age_ns: 10, ..NO_BOUNDS });
        let mut evicted = Evicted::default();
        log.append([kept("a"), live("a")], Numbering::Own, 100, &mut evicted);
        log.append([kept("a"), live("a")], Numbering::Own, 105, &mut evicted);
        log.evict(now_ns, usize::MAX, &mut evicted);
        assert_eq!((log.events(), evicted.frames.len()), (2 * left, 4 - 2 * left), "{now_ns}");
    }
}

#[test]
fn what_is_too_old_goes_in_parts_and_what_is_over_a_bound_at_once() {
    let mut log = log(LogLimits { age_ns: 10, events: 6, ..NO_BOUNDS });
    let mut evicted = Evicted::default();
    log.append((0..5).map(|_| kept("a")), Numbering::Own, 0, &mut evicted);
    for (more, left) in [(true, 3), (true, 1), (false, 0)] {
        assert_eq!((log.evict(11, 2, &mut evicted), log.events()), (more, left));
    }
    log.append((0..6).map(|_| kept("a")), Numbering::Own, 20, &mut evicted);
    log.append((0..6).map(|_| kept("a")), Numbering::Own, 20, &mut evicted);
    assert_eq!((log.events(), numbers(&evicted.frames)), (6, (1..=11).collect()));
}

#[test]
fn the_time_that_is_whole_begins_with_the_oldest_once_some_are_evicted() {
    let mut log = log(LogLimits { events: 2, ..NO_BOUNDS });
    assert_eq!(log.reach_ns(1_000, 100), [100, 100]);
    for now_ns in [910, 940, 970] {
        assert_eq!(log.reach_ns(1_000, 100), [100, 100]);
        log.append([kept("a")], Numbering::Own, now_ns, &mut Evicted::default());
    }
    log.append([live("a")], Numbering::Own, 980, &mut Evicted::default());
    assert_eq!(log.reach_ns(1_000, 100), [60, 100]);
    assert_eq!(log.reach_ns(1_000, 50), [50, 50]);
    assert_eq!(
        (log.published_ns(at(1)), log.published_ns(at(3)), log.published_ns(at(4))),
        (Some(940), Some(970), Some(980))
    );
    assert_eq!(log.published_ns(at(5)), None);
}

#[test]
fn what_a_call_may_bring_is_bounded_exactly() {
    #[track_caller]
    fn check(limits: LogLimits, drafts: &[Draft], expected: Result<(), &str>) {
        let found = limits.admit(drafts);
        match expected {
            Ok(()) => assert!(found.is_ok(), "{found:?}"),
            Err(words) => assert!(found.unwrap_err().to_string().contains(words)),
        }
    }
    let many = |count, make: fn(&str) -> Draft| (0..count).map(|_| make("a")).collect::<Vec<_>>();
    let eight = LogLimits { events: 8, ..NO_BOUNDS };
    check(eight, &many(7, kept), Ok(()));
    check(eight, &many(8, kept), Ok(()));
    check(eight, &many(9, kept), Err("9 kept events"));
    check(eight, &many(8, live), Ok(()));
    check(eight, &many(9, live), Err("9 live-only events"));
    // Both kinds at their bounds.
    check(eight, &many(8, kept).into_iter().chain(many(8, live)).collect::<Vec<_>>(), Ok(()));
    let cost = kept("a").cost_bytes();
    for (bytes, count) in [(3 * cost - 1, 2), (3 * cost, 3), (3 * cost + 1, 3)] {
        let limits = LogLimits { bytes, ..NO_BOUNDS };
        check(limits, &many(count, kept), Ok(()));
        check(limits, &many(count + 1, kept), Err("bytes in memory"));
    }
}

#[test]
fn a_read_examines_a_bounded_number_of_events() {
    let mut log = log(NO_BOUNDS);
    let part = EXAMINED_MAX as u64;
    one_by_one(&mut log, 3 * part, kept);
    for (after, last) in [(0, part), (1, part + 1), (2 * part - 1, 3 * part - 1), (2 * part, 3 * part)] {
        // None of it matches, so that only what was examined is told.
        assert_eq!(read(&log, &to(&[], &["b/*"]), after, 0), (reached(last), vec![]), "{after}");
    }
    // However many patterns there are: they are looked at outside the lock.
    let patterns: Vec<String> = (0..100).map(|number| format!("b/{number}/*")).collect();
    let many = to(&[], &patterns.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(read(&log, &many, 0, 0), (reached(part), vec![]));
    // Exact topics are looked up, not searched for.
    assert_eq!(read(&log, &to(&["b"], &[]), 0, 0), (reached(3 * part), vec![]));
}

#[test]
fn a_flood_of_live_only_events_evicts_no_kept_one() {
    let mut log = log(LogLimits { events: 8, ..NO_BOUNDS });
    append(&mut log, (0..8).map(|_| kept("a")));
    one_by_one(&mut log, 100, live);
    assert_eq!(log.events(), 8 + 8);
    assert_eq!(read(&log, &to(&["a"], &[]), 0, log.head().get()).1, (1..=8).collect::<Vec<_>>());
    assert_eq!(log.start(&Resume::Earliest, &to(&["a"], &[])), starts(0, None));
}

#[test]
fn a_flood_of_live_only_events_costs_slow_streams_of_other_topics_nothing() {
    let mut log = log(LogLimits { events: 8, ..NO_BOUNDS });
    append(&mut log, [kept("a"), live("a")]);
    one_by_one(&mut log, 100, |_| live("b"));
    append(&mut log, [live("a")]);
    assert_eq!(read(&log, &Subscription::nothing(), 0, 0), (reached(103), vec![]));
    assert!(matches!(read(&log, &to(&["b"], &[]), 0, 0).0, Read::Lost { .. }));
    assert!(matches!(read(&log, &to(&["c"], &[]), 102, 0).0, Read::Through(_)));
}

#[test]
fn where_own_ids_are_the_same_a_stream_resumes_after_the_earliest_that_is_kept() {
    let mut log = log(LogLimits { events: 4, ..NO_BOUNDS });
    let own = || draft(&["a"], Event::new("x").id("same"));
    append(&mut log, [kept("a"), own(), own(), kept("a")]);
    let resume = |log: &Log| log.start(&Resume::After("same".into()), &to(&["a"], &[]));
    assert_eq!(resume(&log), starts(2, None));
    append(&mut log, [kept("a"), kept("a")]);
    assert_eq!(resume(&log), starts(3, None));
    append(&mut log, [kept("a")]);
    assert_eq!(resume(&log), starts(3, Some(GapReason::UnknownId)));
    assert!(log.own_ids.is_empty());
}

#[test]
fn an_own_id_of_another_topic_is_not_the_streams() {
    let own = |on: &[&str], keep| draft(on, Event::new("x").id("7").keep(keep));
    let seven = Resume::After("7".into());
    let unknown = |after| starts(after, Some(GapReason::UnknownId));
    let mut log = log(LogLimits { events: 6, ..NO_BOUNDS });
    append(&mut log, [kept("a"), own(&["b"], true), kept("a"), own(&["a", "c/x"], true), own(&["a"], true)]);
    assert_eq!(log.start(&seven, &to(&["a"], &[])), starts(4, None));
    assert_eq!(log.start(&seven, &to(&["b"], &[])), starts(2, None));
    assert_eq!(log.start(&seven, &to(&["a", "b"], &[])), starts(2, None));
    assert_eq!(log.start(&seven, &to(&[], &["c/*"])), starts(4, None));
    assert_eq!(log.start(&seven, &to(&["c/y"], &[])), unknown(0));
    // That of `c/y` is live only, and that of `b` leaves the log.
    append(&mut log, [own(&["c/y"], false), kept("c/y"), kept("c/y"), kept("c/y")]);
    assert_eq!(log.start(&seven, &to(&["c/y"], &[])), unknown(2));
    assert_eq!(log.start(&seven, &to(&["b"], &[])), unknown(2));
    assert_eq!(log.start(&seven, &to(&["a", "b"], &[])), starts(4, None));
}

#[test]
fn an_event_that_names_a_topic_twice_counts_once() {
    let mut log = log(LogLimits { events: 2, ..NO_BOUNDS });
    append(&mut log, [draft(&["a", "b", "a"], Event::new("x")), kept("b")]);
    assert_eq!(read(&log, &to(&["a", "b"], &[]), 0, 0), (reached(2), vec![1, 2]));
    append(&mut log, [kept("b")]);
    assert_eq!((kept_of(&log, "a"), kept_of(&log, "b"), log.kept.by_topic.len()), (0, 2, (2, 1)));
}

#[test]
fn a_loss_is_told_only_to_those_who_have_lost_something() {
    let mut log = log(LogLimits { events: 4, ..NO_BOUNDS });
    append(&mut log, [kept("a"), kept("b"), kept("b"), kept("a")]);
    append(&mut log, [kept("b"), kept("b")]);
    // 1 and 2 are gone.
    let lost = gone(2, 0);
    assert_eq!(read(&log, &to(&["a"], &[]), 0, 0).0, lost);
    assert_eq!(read(&log, &to(&["a"], &[]), 1, 0), (reached(6), vec![4]));
    assert_eq!(read(&log, &to(&["b"], &[]), 1, 0).0, lost);
    assert_eq!(read(&log, &to(&["b"], &[]), 2, 0), (reached(6), vec![3, 5, 6]));
    assert_eq!(read(&log, &to(&["a", "b"], &[]), 1, 0).0, lost);
    assert_eq!(read(&log, &to(&[], &["*"]), 1, 0).0, lost);
    assert_eq!(read(&log, &to(&[], &["*"]), 2, 0), (reached(6), vec![3, 4, 5, 6]));
    assert_eq!(read(&log, &to(&[], &["b/*", "*/a"]), 0, 0), (reached(6), vec![]));
    // All of a's go.
    append(&mut log, [kept("b"), kept("b")]);
    assert_eq!(read(&log, &to(&["a"], &[]), 3, 0).0, gone(4, 0));
    assert_eq!(read(&log, &to(&["a"], &[]), 4, 0), (reached(8), vec![]));
}

#[test]
fn a_topic_on_which_nothing_is_published_is_never_lost() {
    let mut log = log(LogLimits { events: 4, ..NO_BOUNDS });
    append(&mut log, [kept("c/y"), live("c/y")]);
    append(&mut log, (0..8).map(|n| if n % 2 == 0 { kept("a") } else { live("c/x") }));
    append(&mut log, (0..8).map(|n| if n % 2 == 0 { kept("a") } else { live("c/x") }));
    for quiet in [to(&["b"], &[]), to(&["b"], &["d/**", "a/*"]), to(&[], &["b"]), to(&[], &["c/*/x", "*/z"])] {
        assert_eq!(read(&log, &quiet, 0, 0), (reached(18), vec![]));
        let first = Resume::After(epoch().id(0).as_str().into());
        assert_eq!(log.start(&first, &quiet), starts(0, None));
    }
    let lost = gone(9, 10);
    for busy in [to(&["a", "b"], &[]), to(&["b"], &["c/*"]), to(&[], &["c/x"]), to(&[], &["*/x"])] {
        assert_eq!(read(&log, &busy, 0, 0), (lost, vec![]));
    }
}

#[test]
fn halfway_is_the_later_of_both_rings() {
    let mut log = log(LogLimits { events: 4, ..NO_BOUNDS });
    assert_eq!(append(&mut log, [kept("a")]), placed(1, 1, 0));
    assert_eq!(append(&mut log, [kept("a"), kept("a"), kept("a")]).halfway, at(3));
    assert_eq!(append(&mut log, [live("a")]).halfway, at(3));
    assert_eq!(append(&mut log, [live("a")]).halfway, at(5));
    let aged = LogLimits { age_ns: 10, ..NO_BOUNDS };
    let sized = LogLimits { bytes: 2 * kept("a").cost_bytes(), ..NO_BOUNDS };
    for (limits, second_ns, halfway) in [(aged, 4, 0), (aged, 5, 1), (sized, 0, 2)] {
        let mut log = Log::new(epoch(), limits);
        log.append([kept("a")], Numbering::Own, 0, &mut Evicted::default());
        // However many come at once: only what is old is in danger.
        let drafts = (0..if limits.age_ns == 10 { 100 } else { 1 }).map(|_| kept("a"));
        let placed = log.append(drafts, Numbering::Own, second_ns, &mut Evicted::default());
        assert_eq!(placed.halfway, at(halfway), "{limits:?}");
    }
}

#[test]
fn who_follows_the_log_is_in_danger_by_what_is_held_for_it_and_not_by_what_is_kept() {
    for (kept_events, live_events) in [(1, 8), (3, 8), (8, 1), (8, 0)] {
        let mut log = log(LogLimits { events: kept_events, ..NO_BOUNDS }).with_live_events(live_events);
        let halfway: Vec<u64> = (0..6).map(|_| append(&mut log, [kept("a")]).halfway.get()).collect();
        assert_eq!(halfway, [0, 0, 0, 1, 2, 3], "{kept_events} and {live_events}");
    }
    let mut log = log(LogLimits { events: 1, age_ns: 1, ..NO_BOUNDS }).with_live_events(8);
    append(&mut log, [kept("a"), kept("a")]);
    for (now_ns, halfway) in [(LIVE_AGE_NS / 2 - 1, 0), (LIVE_AGE_NS / 2, 2)] {
        log.evict(now_ns, usize::MAX, &mut Evicted::default());
        assert_eq!((log.halfway(), tail(&log, 0)), (at(halfway), Some(vec![1, 2])));
    }
}

#[test]
fn who_follows_the_log_gets_more_than_what_is_kept() {
    let mut log = log(LogLimits { events: 1, ..NO_BOUNDS }).with_live_events(4);
    append(&mut log, [kept("a")]);
    append(&mut log, [kept("a"), kept("a"), live("a"), live("a")]);
    assert_eq!(tail(&log, 0), Some(vec![1, 2, 3, 4, 5]));
    // Nothing of it is replayed.
    assert_eq!(log.start(&Resume::Earliest, &to(&["a"], &[])), starts(2, None));
    assert_eq!(read(&log, &to(&["a"], &[]), 0, 0), (gone(2, 4), vec![]));
    append(&mut log, [kept("a"), kept("a")]);
    assert_eq!((tail(&log, 0), tail(&log, 1)), (None, Some(vec![2, 3, 4, 5, 6, 7])));
    let bytes = 4 * kept("a").cost_bytes() + 2 * live("a").cost_bytes();
    assert_eq!((log.events(), log.bytes()), (6, bytes), "four kept ones, and both that are live only");
}

#[test]
fn what_is_held_for_who_follows_has_bounds_of_its_own() {
    let three = 3 * kept("a").cost_bytes();
    let mut log = log(LogLimits { events: 1, bytes: three, ..NO_BOUNDS }).with_live_events(LIVE_EVENTS);
    let mut evicted = Evicted::default();
    log.append((0..4).map(|_| kept("a")), Numbering::Own, 5, &mut evicted);
    assert_eq!((tail(&log, 0), tail(&log, 1)), (None, Some(vec![2, 3, 4])), "four are over the bound of memory");
    log.evict(5 + LIVE_AGE_NS, usize::MAX, &mut evicted);
    assert_eq!(numbers(&evicted.frames), [1]);
    log.evict(6 + LIVE_AGE_NS, usize::MAX, &mut evicted);
    assert_eq!((numbers(&evicted.frames), tail(&log, 3)), (vec![1, 2, 3], Some(vec![4])));
}

#[test]
fn a_loss_of_patterns_is_looked_for_in_parts_and_live_only_events_are_read_between_them() {
    let part = EXAMINED_MAX as u64;
    let mut log = log(LogLimits { events: 3, ..NO_BOUNDS });
    append(&mut log, [live("mine/1")]);
    for number in 0..3 * part {
        append(&mut log, [kept(&format!("t/{number}"))]);
    }
    append(&mut log, [live("mine/1"), kept("mine/1")]);
    let head = 3 * part + 3;
    for (after, through, found) in
        [(0, 1 + part, vec![1]), (1 + part, 1 + 2 * part, vec![]), (1 + 2 * part, head, vec![head - 1, head])]
    {
        assert_eq!(read(&log, &to(&[], &["mine/*"]), after, 0), (reached(through), found), "{after}");
    }
    // One that resumes is told nothing of it, in as many steps.
    let resume = Resume::After(epoch().id(1).as_str().into());
    let mine = to(&[], &["mine/*"]);
    assert_eq!(log.start(&resume, &mine), starts(1, None));
    let (mut search, mut effort) = (Search::default(), Effort::unbounded());
    let step = || log.search(&mut search, &resume, &mine).or_else(|| search.choose(&mine, &mut effort));
    assert_eq!(std::iter::repeat_with(step).take_while(Option::is_none).count(), 2);
    assert!(effort.spent() >= 2 * EXAMINED_MAX);
    // In as many as there are topics of which nothing is left, if each may do next to nothing.
    let mut search = Search::default();
    let step = || log.search(&mut search, &resume, &mine).or_else(|| search.choose(&mine, &mut Effort::new(1)));
    assert_eq!(std::iter::repeat_with(step).take_while(Option::is_none).count(), 3 * EXAMINED_MAX - 2);
    assert_eq!(log.start(&resume, &to(&[], &["*/7"])), starts(3 * part - 1, Some(GapReason::Expired)));
}

#[test]
fn an_own_id_that_many_events_share_is_looked_for_in_parts_and_not_for_ever() {
    const SHARED: usize = 50_000;
    let own = |on: &str| draft(&[on], Event::new("x").id("same"));
    let mut log = log(NO_BOUNDS);
    append(&mut log, (0..SHARED).map(|number| own(if number == 1_000 { "t/1000" } else { "other" })));
    let others: Vec<String> = (0..126).map(|number| format!("u/{number}/*")).collect();
    let mut patterns: Vec<&str> = others.iter().map(String::as_str).collect();
    patterns.push("t/*");
    let resume = Resume::After("same".into());
    let find = |subscription: &Subscription| {
        let (mut search, mut effort) = (Search::default(), Effort::unbounded());
        let mut steps = 0;
        loop {
            steps += 1;
            let found = log.search(&mut search, &resume, subscription);
            assert!(search.same.len() <= EXAMINED_MAX, "what one lock is held for");
            if let Some(start) = found.or_else(|| search.choose(subscription, &mut effort)) {
                let examined = 16_384 - search.same_left;
                assert!(effort.spent() >= examined, "{} is counted", effort.spent());
                return (start, steps, examined);
            }
        }
    };
    assert_eq!(find(&to(&[], &patterns)), (starts(1_001, None), 4, 4 * EXAMINED_MAX));
    // It looked at 16,384, and what it did not look at may be among the rest.
    let unknown = (starts(0, Some(GapReason::UnknownId)), 16_384 / EXAMINED_MAX + 1, 16_384);
    assert_eq!((find(&to(&[], &patterns[..126])), find(&to(&["t/0"], &[]))), (unknown, unknown));
}

#[test]
fn quiet_topics_and_patterns_lose_nothing_among_very_many_topics() {
    let mut log = log(LogLimits { events: 100, bytes: 64 << 20, age_ns: u64::MAX });
    append(&mut log, [kept("quiet/1"), kept("quiet/2/eur")]);
    let topics: Vec<TopicHandle> = (0..50_000).map(|number| handle(&format!("prices/{number}/usd"))).collect();
    for topic in &topics {
        let draft = Draft::encode(Topics::one(topic.clone()), &Event::new("x"), epoch()).unwrap();
        append(&mut log, [draft]);
    }
    let after = |offset| Resume::After(epoch().id(offset).as_str().into());
    for quiet in
        [to(&["quiet/1"], &[]), to(&[], &["*/*/eur"]), to(&[], &["prices/*/eur"]), to(&["never"], &["quiet/**"])]
    {
        assert_eq!(log.start(&after(2), &quiet), starts(2, None), "{quiet:?}");
    }
    for lost in [to(&["prices/49000/usd"], &[]), to(&[], &["prices/*/usd"]), to(&[], &["*/49000/*"])] {
        assert_eq!(log.start(&after(2), &lost), starts(49_902, Some(GapReason::Expired)), "{lost:?}");
    }
}

// ===== the log equals a list with a window =====

/// An event as the plain list knows it.
#[derive(Clone, Debug)]
struct Plain {
    offset: u64,
    topics: Vec<&'static str>,
    own_id: Option<String>,
    live_only: bool,
    cost: usize,
    wire: usize,
    at_ns: u64,
    gone: bool,
    /// Not even held for who follows the log.
    gone_for_all: bool,
}

/// The list, and nothing but.
struct Model {
    limits: LogLimits,
    live_events: usize,
    events: Vec<Plain>,
}

impl Model {
    fn all(&self, live_only: bool) -> impl Iterator<Item = &Plain> {
        self.events.iter().filter(move |event| event.live_only == live_only)
    }

    fn evicted_through(&self, live_only: bool) -> u64 {
        self.all(live_only).filter(|event| event.gone).map(|event| event.offset).max().unwrap_or(0)
    }

    fn append(&mut self, new: Vec<Plain>, now_ns: u64) {
        self.events.extend(new);
        self.evict(now_ns);
    }

    fn evict(&mut self, now_ns: u64) {
        for live_only in [false, true] {
            let LogLimits { events, bytes, .. } = self.limits;
            loop {
                let held = || self.all(live_only).filter(|event| !event.gone);
                let Some(oldest) = held().next() else { break };
                let over = held().count() > events || held().map(|event| event.cost).sum::<usize>() > bytes;
                if !over && now_ns - oldest.at_ns <= self.limits.age_ns {
                    break;
                }
                let at = oldest.offset as usize - 1;
                self.events[at].gone = true;
            }
            loop {
                let passed = self.all(live_only).filter(|event| event.gone && !event.gone_for_all);
                let held = self.all(live_only).filter(|event| !event.gone_for_all).count();
                let held_bytes: usize =
                    self.all(live_only).filter(|event| !event.gone_for_all).map(|event| event.cost).sum();
                let Some(oldest) = passed.map(|event| event.offset).next() else { break };
                if held <= self.live_events && held_bytes <= bytes {
                    break;
                }
                self.events[oldest as usize - 1].gone_for_all = true;
            }
        }
    }

    /// The newest event that is on half of its way out.
    fn halfway(&self, now_ns: u64) -> u64 {
        let LogLimits { events, bytes, age_ns } = self.limits;
        let is_half_way = |event: &&Plain| {
            let newer = || self.all(event.live_only).filter(|other| other.offset >= event.offset);
            2 * newer().map(|event| event.cost).sum::<usize>() >= bytes
                || (2 * newer().count() >= events || now_ns - event.at_ns >= age_ns / 2)
                    && 2 * newer().count() >= self.live_events
        };
        self.events.iter().filter(is_half_way).map(|event| event.offset).max().unwrap_or(0)
    }

    fn covers(&self, subscription: &Subscription, event: &Plain) -> bool {
        let matches = |text: &str| subscription.patterns().iter().any(|pattern| pattern.matches(text));
        event.topics.iter().any(|text| subscription.topics().contains(&handle(text)) || matches(text))
    }

    /// Whether events of a kind were lost.
    fn lost(&self, after: u64, subscription: &Subscription, live_only: bool) -> bool {
        self.all(live_only).any(|event| event.gone && event.offset > after && self.covers(subscription, event))
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<(Vec<&'static str>, bool, Option<u8>, usize)>),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let topics = prop::collection::vec(prop::sample::select(&TOPICS[..]), 1..4);
    let event = (topics, prop::bool::weighted(0.3), prop::option::weighted(0.3, 0..3u8), 0..200usize);
    prop_oneof![
        6 => prop::collection::vec(event, 1..5).prop_map(Op::Append),
        1 => (0..30u64).prop_map(Op::Wait),
    ]
}

fn limits() -> impl Strategy<Value = LogLimits> {
    let age_ns = prop_oneof![Just(u64::MAX), 0..40u64];
    (1..16usize, prop_oneof![Just(1 << 30), 500..6000usize], age_ns).prop_map(|(events, bytes, age_ns)| LogLimits {
        events,
        bytes,
        age_ns,
    })
}

fn compare(log: &Log, model: &Model, subscriptions: &[Subscription]) {
    let head = model.events.len() as u64;
    let held = || model.events.iter().filter(|event| !event.gone);
    assert_eq!(log.head(), at(head));
    let in_memory = || model.events.iter().filter(|event| !event.gone_for_all);
    assert_eq!((log.events(), log.bytes()), (in_memory().count(), in_memory().map(|event| event.cost).sum()));
    let [kept_through, live_through] = [false, true].map(|live_only| model.evicted_through(live_only));
    for topic in TOPICS {
        let names = |event: &&Plain| !event.live_only && event.topics.contains(&topic);
        assert_eq!(held().filter(names).count(), kept_of(log, topic));
    }
    for after in 0..=head {
        for max in [1, 3, usize::MAX] {
            let mut out = Vec::new();
            let through = log.tail(at(after), max, &mut out);
            let followed = || model.events.iter().filter(|event| !event.gone_for_all);
            let gone_through = model.events.iter().filter(|event| event.gone_for_all).map(|event| event.offset).max();
            let all: Vec<u64> =
                followed().map(|event| event.offset).filter(|&offset| offset > after).take(max).collect();
            let expected = if all.len() < max { head } else { all[max - 1] };
            assert_eq!(through, (after >= gone_through.unwrap_or(0)).then_some(at(expected)));
            assert_eq!(numbers(&out), if through.is_some() { all } else { vec![] });
        }
    }
    for before in [0, 1, head / 2, head, head + 1, u64::MAX] {
        let mut out = Vec::new();
        log.before(at(before), 5, &mut out);
        let mut all: Vec<u64> = held().map(|event| event.offset).filter(|&offset| offset < before).collect();
        all.reverse();
        all.truncate(5);
        assert_eq!(numbers(&out), all);
    }
    for subscription in subscriptions {
        for after in 0..=head {
            for (through, opened_at, budget) in
                [(head, 0, usize::MAX), (head - head / 4, head, 1), (head, after + 2, 150)]
            {
                let mut out = Vec::new();
                let window = Window { subscription, after: at(after), through: at(through), opened_at: at(opened_at) };
                let found = log.read(&window, budget, &mut out, &mut Effort::unbounded());
                let live_after = after.max(opened_at);
                if model.lost(after, subscription, false) || model.lost(live_after, subscription, true) {
                    assert_eq!((found, numbers(&out)), (gone(kept_through, live_through), vec![]), "after {after}");
                    continue;
                }
                // A search by patterns is bounded by what it looks at instead.
                let budget = if subscription.patterns().is_empty() { budget } else { usize::MAX };
                let (mut expected, mut bytes, mut expected_through) = (Vec::new(), 0, through);
                for event in held() {
                    let since = if event.live_only { live_after } else { after };
                    if event.offset <= since || event.offset > through || !model.covers(subscription, event) {
                        continue;
                    }
                    expected.push(event.offset);
                    bytes += event.wire;
                    if bytes >= budget {
                        expected_through = event.offset;
                        break;
                    }
                }
                assert_eq!((found, numbers(&out)), (reached(expected_through), expected));
            }
        }
        compare_starts(log, model, subscription);
    }
}

fn compare_starts(log: &Log, model: &Model, subscription: &Subscription) {
    let (head, tail) = (log.head().get(), model.evicted_through(false));
    let check = |resume: Resume, after, gap| {
        assert_eq!(log.start(&resume, subscription), starts(after, gap), "{resume:?}");
    };
    check(Resume::Now, head, None);
    check(Resume::Earliest, tail, None);
    check(Resume::Unknown, tail, Some(GapReason::UnknownId));
    check(Resume::After("nobody's".into()), tail, Some(GapReason::UnknownId));
    check(Resume::After(epoch().id(head + 1).as_str().into()), tail, Some(GapReason::UnknownId));
    check(Resume::After(Epoch::new(2).id(1).as_str().into()), tail, Some(GapReason::ForeignEpoch));
    for own_id in 0..3 {
        let own_id = format!("own {own_id}");
        let is_its =
            |event: &&Plain| !event.gone && event.own_id.as_ref() == Some(&own_id) && model.covers(subscription, event);
        let earliest = model.all(false).find(is_its);
        let gap = earliest.is_none().then_some(GapReason::UnknownId);
        check(Resume::After(own_id.into()), earliest.map_or(tail, |event| event.offset), gap);
    }
    for after in 0..=head {
        let resume = Resume::After(epoch().id(after).as_str().into());
        if model.lost(after, subscription, false) {
            check(resume, tail, Some(GapReason::Expired));
        } else {
            check(resume, after, None);
        }
    }
}

proptest! {
    #[test]
    fn the_log_equals_a_list_with_a_window(limits in limits(), live_events in prop_oneof![Just(0), 0..24usize], ops in prop::collection::vec(op(), 1..14)) {
        let subscriptions = [
            to(&["a"], &[]),
            to(&["c/x"], &[]),
            to(&["a", "b", "c/y"], &[]),
            to(&[], &["c/*"]),
            to(&["a"], &["c/*", "**"]),
            to(&[], &["*/x"]),
            to(&["b"], &["c/*/x", "*"]),
            Subscription::nothing(),
        ];
        let mut log = log(limits).with_live_events(live_events);
        let mut model = Model { limits, live_events, events: Vec::new() };
        let mut now_ns = 0;
        for op in ops {
            let mut evicted = Evicted::default();
            match op {
                Op::Wait(ns) => {
                    now_ns += ns;
                    log.evict(now_ns, usize::MAX, &mut evicted);
                    model.evict(now_ns);
                }
                Op::Append(events) => {
                    let (mut drafts, mut plain) = (Vec::new(), Vec::new());
                    for (topics, live_only, own_id, len) in events {
                        let own_id = own_id.map(|own_id| format!("own {own_id}"));
                        let event = Event::new("x".repeat(len)).keep(!live_only);
                        let event = own_id.iter().fold(event, |event, id| event.id(id.clone()));
                        let draft = draft(&topics, event);
                        let cost = draft.cost_bytes();
                        let offset = model.events.len() as u64 + plain.len() as u64 + 1;
                        plain.push(Plain { offset, topics, own_id, live_only, cost, wire: 0, at_ns: now_ns, gone: false, gone_for_all: false });
                        drafts.push(draft);
                    }
                    if limits.admit(&drafts).is_err() {
                        continue;
                    }
                    let mut placed = Vec::new();
                    log.append(drafts, Numbering::Own, now_ns, &mut evicted);
                    log.tail(at(plain[0].offset - 1), usize::MAX, &mut placed);
                    for (plain, frame) in plain.iter_mut().zip(&placed) {
                        plain.wire = frame.wire(Framing::Chunked).len();
                    }
                    prop_assert_eq!(placed.len(), plain.len(), "what a call brings is not evicted by it");
                    model.append(plain, now_ns);
                }
            }
            prop_assert_eq!(log.halfway(), at(model.halfway(now_ns)));
            compare(&log, &model, &subscriptions);
        }
    }
}

#[test]
fn no_append_moves_more_than_its_own_part_however_much_is_kept() {
    const CALL: u64 = 1000;
    let mut log = log(LogLimits { events: 250_000, ..NO_BOUNDS });
    let mut appended: Vec<u64> = (0..300)
        .map(|call| {
            let own = |number| draft(&["a"], Event::new("x").id(format!("own-{}", call * CALL + number)));
            let drafts: Vec<_> = (0..CALL).map(own).collect();
            let mut evicted = Evicted::default();
            let info = allocation_counter::measure(|| {
                log.append(drafts, Numbering::Own, 0, &mut evicted);
            });
            info.bytes_total
        })
        .collect();
    appended.sort_unstable();
    let (median, most) = (appended[150], appended[299]);
    assert!(most <= 4 * median, "{most} bytes at once, {median} mostly");
    assert_eq!(log.start(&Resume::After("own-299998".into()), &to(&["a"], &[])), starts(299_999, None));
}
