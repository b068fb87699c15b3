//! `fanout`: one topic, all streams, a fixed rate.

use serde::Serialize;

use super::{
    book::{Book, Outcome},
    window::{Measured, Window, soon},
};
use crate::{
    Result,
    args::{FanoutArgs, Load},
    clock::Clock,
    fleet::{Fleet, Streams},
    payload::Layout,
    publisher::Publisher,
    report::{Quantiles, grouped},
    server::Target,
    streams::fresh_topic,
};

/// A rate is held if every delivery is right and 99 % are no later than this.
const HELD_P99_MS: f64 = 1_000.0;

/// What one run measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) opened_per_second: f64,
    pub(crate) delivered: u64,
    pub(crate) deliveries_per_second: f64,
    #[serde(flatten)]
    pub(crate) latency: Quantiles,
    /// From due until the last stream had it, per event; none if no event reached them all.
    pub(crate) to_last_p50_ms: Option<f64>,
    pub(crate) to_last_p99_ms: Option<f64>,
    /// Microseconds of server CPU per delivery; `None` without a process to read.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) user_us: Option<f64>,
    pub(crate) system_us: Option<f64>,
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) client_cpu_us: Option<f64>,
    pub(crate) missing: u64,
}

pub(crate) fn run(args: &FanoutArgs, target: &Target, book: &mut Book) -> Result<()> {
    if args.with_floor {
        let floor = Target::built_in("floor")?;
        book.take("fanout", &floor, measure(&args.load, &floor));
    }
    book.take("fanout", target, measure(&args.load, target));
    Ok(())
}

pub(crate) fn is_held(outcome: &Outcome<Figures>) -> bool {
    outcome.is_right() && outcome.figures.latency.p99_ms <= HELD_P99_MS
}

/// One run against a server of its own.
pub(crate) fn measure(load: &Load, target: &Target) -> Result<Outcome<Figures>> {
    let server = target.start()?;
    let clock = Clock::start();
    let topic = fresh_topic("fanout");
    let streams = Streams { processes: load.processes, ..Streams::of(topic.clone(), load.streams, load.size) };
    let mut fleet = Fleet::open(&streams, &server, clock)?;

    let schedule = soon(clock, load.rate, load.warmup.into(), load.seconds.into());
    let measured = Measured::events(schedule, load.streams.into());
    let window = Window::take(&server, &mut fleet, clock, &measured, || {
        Publisher::of_events(&server, clock, measured.schedule, &topic, Layout::new(load.size), 0)
    })?;

    let times = window.tally.time_to_last(load.streams.into());
    let to_last = (!times.is_empty()).then(|| Quantiles::of(&times));
    let micros = |seconds: f64| window.micros(seconds);
    let figures = Figures {
        opened_per_second: f64::from(load.streams) / fleet.opened_in.as_secs_f64(),
        delivered: window.delivered,
        deliveries_per_second: window.deliveries_per_second(),
        latency: Quantiles::of(&window.tally.latency),
        to_last_p50_ms: to_last.map(|times| times.p50_ms),
        to_last_p99_ms: to_last.map(|times| times.p99_ms),
        cpu_us: window.server.and_then(|cpu| micros(cpu.total())),
        user_us: window.server.and_then(|cpu| micros(cpu.user)),
        system_us: window.server.and_then(|cpu| micros(cpu.system)),
        cpu_percent: window.server.map(|cpu| cpu.total() * 100.0 / window.seconds),
        client_cpu_us: micros(window.client.total()),
        missing: window.tally.faults.missing,
    };
    let mut said = format!(
        "{}: {} streams, {} events/s of {} bytes, {} s\n  opened        {} streams/s\n{}",
        target.name(),
        grouped(u64::from(load.streams)),
        load.rate,
        load.size,
        load.seconds,
        grouped(figures.opened_per_second as u64),
        window.said()
    );
    if let Some(Quantiles { p50_ms, p99_ms, .. }) = to_last {
        said += &format!("  to the last   p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms\n");
    }
    Ok(Outcome::new(load, figures, said).with_course(&window).checked([fleet.all_still_open(), window.verdict()]))
}
