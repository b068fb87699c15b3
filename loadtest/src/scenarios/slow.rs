//! `slow`: some readers stall. What do the others notice, how much memory does it take, and what becomes of the
//! stalled ones when they read on: caught up, cut off, or robbed of events without a word?

use serde::Serialize;

use super::{
    book::Outcome,
    window::{Measured, Window, soon},
};
use crate::{
    Result,
    args::SlowArgs,
    clock::Clock,
    fleet::{Fleet, Streams},
    payload::Layout,
    publisher::Publisher,
    report::{Quantiles, grouped},
    server::Target,
    streams::fresh_topic,
    tally::Faults,
};

/// How long those who read on may take to catch up…
const CATCH_UP_NS: u64 = 20_000_000_000;
/// …as long as something comes.
const QUIET_NS: u64 = 2_000_000_000;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// Of the readers that keep up, if there are any.
    #[serde(flatten)]
    pub(crate) latency: Option<Quantiles>,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) stalled: u64,
    /// Closed by the server.
    pub(crate) stalled_closed: u64,
    /// Events that stalled readers never got, though their streams are still open.
    pub(crate) missing: u64,
    /// Gaps that they were told of.
    pub(crate) gaps: u64,
    /// The most the server's memory grew, while events were published.
    pub(crate) grown_bytes: Option<u64>,
    /// That, for each stalled reader.
    pub(crate) stalled_bytes_per_stream: Option<f64>,
}

pub(crate) fn measure(args: &SlowArgs, target: &Target) -> Result<Outcome<Figures>> {
    target.profile.needs("slow")?;
    let load = &args.load;
    let server = target.start()?;
    let clock = Clock::start();
    let topic = fresh_topic("slow");
    let streams = Streams {
        processes: load.processes,
        stalled: args.stalled,
        ..Streams::of(topic.clone(), load.streams, load.size)
    };
    let mut fleet = Fleet::open(&streams, &server, clock)?;

    let stalled = (f64::from(load.streams) * args.stalled) as u64;
    let schedule = soon(clock, load.rate, load.warmup.into(), load.seconds.into());
    let measured = Measured::events(schedule, u64::from(load.streams) - stalled);
    let window = Window::take(&server, &mut fleet, clock, &measured, || {
        Publisher::of_events(&server, clock, measured.schedule, &topic, Layout::new(load.size), 0)
    })?;
    let healthy = window.verdict();

    fleet.wake_stalled()?;
    let deadline_ns = clock.now_ns() + CATCH_UP_NS;
    let all = u64::from(measured.schedule.count) * u64::from(load.streams);
    fleet.read_until(deadline_ns, |status| {
        status.delivered >= all || clock.now_ns() > status.last_arrival_ns.max(measured.schedule.end_ns()) + QUIET_NS
    })?;
    let tally = fleet.tally(measured.expected)?;
    let status = fleet.status();

    let grown_bytes = window.memory().map(|(before, most)| most.saturating_sub(before));
    let figures = Figures {
        latency: (!window.tally.latency.is_empty()).then(|| Quantiles::of(&window.tally.latency)),
        cpu_us: window.server.and_then(|cpu| window.micros(cpu.total())),
        stalled,
        stalled_closed: status.stalled_closed,
        missing: tally.faults.missing,
        gaps: tally.gaps,
        grown_bytes,
        stalled_bytes_per_stream: grown_bytes.map(|bytes| bytes as f64 / stalled.max(1) as f64),
    };
    let said = format!(
        "slow: {} streams of {}, {} of them stalled, {} events/s of {} bytes, {} s\n{}\
         \x20 stalled       {} closed by the server, {} caught up when they read on, {} events missing, {} gaps told\n\
         \x20 memory        grew by {} KiB\n",
        grouped(u64::from(load.streams)),
        target.name(),
        grouped(stalled),
        load.rate,
        load.size,
        load.seconds,
        window.said(),
        grouped(status.stalled_closed),
        grouped(stalled.saturating_sub(status.stalled_closed)),
        grouped(tally.faults.missing),
        grouped(tally.gaps),
        grown_bytes.map_or("?".to_owned(), |bytes| grouped(bytes / 1024)),
    );
    // Who was told of a gap knows; who was not has lost events in silence.
    let silent = Faults { missing: tally.missing_untold, ..tally.faults };
    let silent = match silent.complaint() {
        Some(complaint) if healthy.is_ok() => Err(format!("stalled readers that read on: {complaint}")),
        _ => Ok(()),
    };
    Ok(Outcome::new(args, figures, said).with_course(&window).checked([fleet.all_still_open(), healthy, silent]))
}
