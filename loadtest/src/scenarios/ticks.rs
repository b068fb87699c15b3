//! `ticks`: a schedule's events to half of the streams, heartbeats to the others: are they on time, and what do they
//! cost?

use std::fs;

use serde::Serialize;

use super::book::Outcome;
use crate::{
    Result,
    args::TicksArgs,
    checker::{Reading, Span},
    clock::Clock,
    fleet::{Fleet, Streams},
    report::{Quantiles, grouped},
    server::{Folder, Target},
    streams::{self, Topic, fresh_topic},
    tally::{Expected, Spread, histogram},
};

/// Before what is measured.
const SETTLE_NS: u64 = 1_000_000_000;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// From the time an event says it was published at, in whole milliseconds, until a stream had it.
    #[serde(flatten)]
    pub(crate) latency: Quantiles,
    /// How far the events' times are from where an even pace would have them.
    pub(crate) uneven_p50_ms: f64,
    pub(crate) uneven_max_ms: f64,
    pub(crate) ticks: u64,
    pub(crate) heartbeats: u64,
    pub(crate) cpu_percent: f64,
}

pub(crate) fn measure(args: &TicksArgs, target: &Target) -> Result<Outcome<Figures>> {
    target.profile.needs("ticks")?;
    let topics = [fresh_topic("ticks"), fresh_topic("silence")];
    let folder = Folder::new()?;
    let config = folder.path().join("ticks.toml");
    let every = format!("{}ms", args.every_ms);
    let text = format!(
        "[stream]\nheartbeat = \"{every}\"\n\n[[schedule]]\ntopic = \"{}\"\nevery = \"{every}\"\ndata = \"{{n}} {{now}}\"\n",
        topics[0]
    );
    fs::write(&config, text).map_err(|error| format!("cannot write {}: {error}", config.display()))?;
    let server = target.with_arguments(&["--config".to_owned(), config.display().to_string()])?.start()?;
    let processes = server.measured()?;
    let clock = Clock::start();
    let streams = Streams {
        topic: Topic::Turns(topics),
        reading: Reading::Ticks { epoch_ns: clock.epoch_ns() },
        ..Streams::of(String::new(), args.streams, 0)
    };
    let mut fleet = Fleet::open(&streams, &server, clock)?;

    let from_ns = clock.now_ns() + SETTLE_NS;
    let until_ns = from_ns + u64::from(args.seconds) * 1_000_000_000;
    fleet.measure(Span { from_ns, until_ns, slice_ns: 1_000_000_000 })?;
    fleet.read_until(from_ns, |_| false)?;
    let (cpu, comments) = (processes.cpu()?, fleet.status().comments);
    let bar = streams::bar(u64::from(args.seconds), "seconds of ticks");
    fleet.read_until(until_ns, |_| {
        bar.set_position(clock.now_ns().saturating_sub(from_ns) / 1_000_000_000);
        false
    })?;
    bar.finish_and_clear();
    let cpu = processes.cpu()?.since(cpu);
    let heartbeats = fleet.status().comments - comments;
    let tally = fleet.tally(Expected::Nothing)?;

    let ticking = u64::from(args.streams.div_ceil(2));
    let whole: Vec<&Spread> = tally.spread.iter().filter(|spread| spread.seen >= ticking).collect();
    let uneven = Quantiles::of(&unevenness(&whole, args.every().as_nanos() as u64));
    let ticks = whole.len() as u64;
    let figures = Figures {
        latency: Quantiles::of(&tally.latency),
        uneven_p50_ms: uneven.p50_ms,
        uneven_max_ms: uneven.max_ms,
        ticks,
        heartbeats,
        cpu_percent: cpu.total() * 100.0 / f64::from(args.seconds),
    };
    let said = format!(
        "ticks: {} streams of {}, half with an event every {} ms, half with a heartbeat\n\
         \x20 ticks         {} that all had; off an even pace p50 {:.1} ms, max {:.1} ms\n\
         \x20 latency       {}\n\
         \x20 heartbeats    {} received\n\
         \x20 server CPU    {:.2} % of a core\n",
        grouped(u64::from(args.streams)),
        target.name(),
        args.every_ms,
        grouped(ticks),
        figures.uneven_p50_ms,
        figures.uneven_max_ms,
        figures.latency,
        grouped(heartbeats),
        figures.cpu_percent
    );
    // The first and the last moments may cut one off.
    let periods = u64::from(args.seconds) * 1_000 / u64::from(args.every_ms);
    let least = |periods: u64| periods.saturating_sub(2).max(1);
    let few_ticks = (ticks < least(periods))
        .then(|| format!("{ticks} events reached all streams in {} s, of {periods} that were due", args.seconds));
    let due = least(periods) * u64::from(args.streams / 2);
    let few_heartbeats = (heartbeats < due).then(|| format!("{heartbeats} heartbeats came, of {due} that were due"));
    let wrong = tally.faults.complaint();
    let problems = [few_ticks, few_heartbeats, wrong].into_iter().flatten().map(Err);
    Ok(Outcome::new(args, figures, said).checked([fleet.all_still_open()].into_iter().chain(problems)))
}

/// How far events are from an even pace: from the earliest line that they could be on.
fn unevenness(ticks: &[&Spread], every_ns: u64) -> hdrhistogram::Histogram<u64> {
    let mut uneven = histogram();
    let late = |(index, tick): (usize, &&Spread)| tick.due_ns as i64 - (index as u64 * every_ns) as i64;
    let earliest = ticks.iter().enumerate().map(late).min().unwrap_or(0);
    for late in ticks.iter().enumerate().map(late) {
        uneven.saturating_record(late.abs_diff(earliest));
    }
    uneven
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_late_once_is_uneven_once() {
        let tick = |due_ms: u64| Spread { due_ns: due_ms * 1_000_000, seen: 1, last_ns: 0 };
        let ticks = [tick(5_000), tick(6_000), tick(7_300), tick(8_000)];
        let uneven = unevenness(&ticks.iter().collect::<Vec<_>>(), 1_000_000_000);
        assert_eq!(uneven.max() / 1_000_000, 300);
        assert_eq!(uneven.value_at_quantile(0.75) / 1_000_000, 0);
    }
}
