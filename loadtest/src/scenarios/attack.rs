//! `attack`: streams of many patterns resume from the beginning of a full history, all at once, beside live streams
//! with events at a steady rate. Each of them has work of its own: no two have a subscription in common.

use std::thread;

use serde::Serialize;

use super::{
    book::Outcome,
    window::{AFTER_NS, Measured, Window, soon},
};
use crate::{
    Result,
    args::AttackArgs,
    clock::{Clock, Schedule},
    fleet::{Fleet, Streams},
    payload::{Event, Layout},
    publisher::{Publisher, Requests},
    report::{Quantiles, grouped},
    server::{Server, Target},
    streams::{Topic, fresh_topic},
    tally::{Expected, Tally},
};

/// Live streams alone, first as warm-up and then to be held against.
const WARM_UP_SECONDS: f64 = 1.0;
const ALONE_SECONDS: u32 = 4;
/// Events in a request that fills the history, and such requests a second.
const BATCH: u32 = 1_000;
const BATCHES_PER_SECOND: f64 = 100.0;
/// What attackers lack so long after the last live event was due counts as lost.
const DRAIN_NS: u64 = 10_000_000_000;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// The live streams' latency before the attack, and while it lasts.
    pub(crate) alone_p99_ms: f64,
    #[serde(flatten)]
    pub(crate) latency: Quantiles,
    /// From the attackers' first connect until each had its response head, and all that is kept for it.
    pub(crate) opened_s: Option<f64>,
    pub(crate) whole_s: Option<f64>,
    pub(crate) missing: u64,
}

/// What became of the attackers.
struct Attack {
    /// `None` if they never were.
    opened_s: Option<f64>,
    whole_s: Option<f64>,
    tally: Tally,
    stayed: Result<()>,
}

pub(crate) fn measure(args: &AttackArgs, target: &Target) -> Result<Outcome<Figures>> {
    let subscribe = target.profile.subscribe.by_patterns(args.patterns, args.depth);
    let subscribe = subscribe.ok_or_else(|| format!("{} has no streams of patterns", target.name()))?;
    let server = target.start()?;
    let clock = Clock::start();
    let prefix = format!("{}/", fresh_topic("attack"));
    fill_history(args, &prefix, &server, clock)?;

    let topic = fresh_topic("live");
    let mut fleet = Fleet::open(&Streams::of(topic.clone(), args.streams, args.size), &server, clock)?;
    let schedule = soon(clock, args.rate, WARM_UP_SECONDS, f64::from(ALONE_SECONDS + args.seconds));
    let measured = Measured::events(schedule, args.streams.into());
    let began_ns = measured.schedule.due_ns(measured.from) + u64::from(ALONE_SECONDS) * 1_000_000_000;
    let attackers = Streams {
        subscribe: Some(subscribe),
        topic: Topic::Own { prefix, topics: args.attackers },
        ..Streams::of(String::new(), args.attackers, args.size)
    };
    let (window, attack) = thread::scope(|scope| {
        let attack = scope.spawn(|| attack(args, &attackers, &server, clock, began_ns));
        let window = Window::take(&server, &mut fleet, clock, &measured, || {
            Publisher::of_events(&server, clock, measured.schedule, &topic, Layout::new(args.size), 0)
        });
        (window, attack.join().map_err(|_| "the attackers' thread panicked".to_owned()).flatten())
    });
    let (window, attack) = (window?, attack?);

    let whole_ns = attack.whole_s.map_or(u64::MAX, |whole_s| began_ns + (whole_s * 1e9) as u64);
    let during = window.latency_between(began_ns, whole_ns);
    let figures = Figures {
        alone_p99_ms: Quantiles::of(&window.latency_between(0, began_ns)).p99_ms,
        latency: Quantiles::of(&during),
        opened_s: attack.opened_s,
        whole_s: attack.whole_s,
        missing: window.tally.faults.missing + attack.tally.faults.missing,
    };
    let said = format!(
        "attack: {} streams of {} patterns resume from the first of {} events; {} live streams of {}, {} events/s\n{}\
         \x20 before it     p99 {:.1} ms\n\
         \x20 while it lasts {}\n\
         \x20 attackers     open after {}, whole after {}\n",
        grouped(u64::from(args.attackers)),
        args.patterns,
        grouped(u64::from(args.kept)),
        grouped(u64::from(args.streams)),
        target.name(),
        args.rate,
        window.said(),
        figures.alone_p99_ms,
        figures.latency,
        seconds(figures.opened_s),
        seconds(figures.whole_s)
    );
    let wrong = attack.tally.faults.complaint().map(|complaint| format!("to those that resumed, {complaint}"));
    let gaps = (attack.tally.gaps > 0)
        .then(|| format!("{} gaps were told to streams of which nothing was lost", attack.tally.gaps));
    let problems = [wrong, gaps].into_iter().flatten().map(Err);
    let verdicts = [fleet.all_still_open(), window.verdict(), attack.stayed];
    Ok(Outcome::new(args, figures, said).with_course(&window).checked(verdicts.into_iter().chain(problems)))
}

fn seconds(after_s: Option<f64>) -> String {
    after_s.map_or("never".to_owned(), |after_s| format!("{after_s:.2} s"))
}

/// Event `n` of the history is for attacker `n % attackers`.
fn fill_history(args: &AttackArgs, prefix: &str, server: &Server, clock: Clock) -> Result<()> {
    let requests = Requests::new(server);
    let layout = Layout::new(args.size);
    let (kept, attackers) = (args.kept, args.attackers);
    let below: String = (0..args.depth).map(|at| format!("s{at}/")).collect();
    let names: Vec<String> = (0..attackers).map(|key| format!("{prefix}{key}/{below}e")).collect();
    let count = kept.div_ceil(BATCH);
    let schedule = Schedule { first_ns: clock.now_ns(), per_second: BATCHES_PER_SECOND, count };
    let write = move |k: u32, due_ns: u64, bytes: &mut Vec<u8>| {
        let numbers = k * BATCH..(k * BATCH + BATCH).min(kept);
        let events = numbers.map(|n| {
            let key = n % attackers;
            (names[key as usize].as_str(), Event { number: n / attackers, due_ns, key })
        });
        requests.batch(events, &layout, bytes).expect("a server of patterns takes batches");
    };
    Publisher::start(server, clock, schedule, write)?.finish()
}

/// Opens the attackers, and waits until each has all that is kept for it.
fn attack(args: &AttackArgs, streams: &Streams, server: &Server, clock: Clock, began_ns: u64) -> Result<Attack> {
    clock.sleep_until(began_ns);
    let mut fleet = Fleet::begin(streams, server, clock)?;
    let kept = u64::from(args.kept);
    fleet
        .read_until(began_ns + u64::from(args.seconds) * 1_000_000_000 + DRAIN_NS, |status| status.delivered >= kept)?;
    let status = fleet.status();
    let after_s = |at_ns: u64| at_ns.saturating_sub(began_ns) as f64 / 1e9;
    fleet.read_until(clock.now_ns() + AFTER_NS, |_| false)?;
    let each = |key: u32| args.kept / args.attackers + u32::from(key < args.kept % args.attackers);
    Ok(Attack {
        opened_s: (status.open == u64::from(args.attackers)).then(|| after_s(status.opened_ns)),
        whole_s: (status.delivered >= kept).then(|| after_s(status.last_arrival_ns)),
        tally: fleet.tally(Expected::ByKey((0..args.attackers).map(each).collect()))?,
        stayed: fleet.all_still_open(),
    })
}
