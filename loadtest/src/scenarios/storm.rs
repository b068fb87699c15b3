//! `storm`: every stream drops at once, misses events, and comes back with the last id it saw.

use std::{thread, time::Duration};

use serde::Serialize;

use super::{book::Outcome, window::AFTER_NS};
use crate::{
    Result,
    args::StormArgs,
    clock::{Clock, Schedule},
    fleet::{Fleet, Streams},
    payload::Layout,
    process::Processes,
    publisher::Publisher,
    report::grouped,
    server::Target,
    streams::{self, fresh_topic},
    tally::Expected,
};

/// Events seen before the drop, so that every stream has an id to come back with.
const SEEN: u32 = 10;
/// Events a second, before and during the absence.
const RATE: f64 = 100.0;
/// For the server to notice that all have gone.
const AWAY: Duration = Duration::from_secs(1);
/// How long reading may take, before the drop and after the return.
const PATIENCE_NS: u64 = 60_000_000_000;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// From the first reconnect until the last stream had all it missed.
    pub(crate) whole_s: f64,
    /// From the first reconnect until the last stream had its response head.
    pub(crate) reconnected_s: f64,
    pub(crate) cpu_s: Option<f64>,
    pub(crate) user_s: Option<f64>,
    pub(crate) system_s: Option<f64>,
    /// Pages that our gateway read of what had left its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pages: Option<u64>,
}

pub(crate) fn measure(args: &StormArgs, target: &Target) -> Result<Outcome<Figures>> {
    target.profile.needs("replay")?;
    let server = target.start()?;
    let clock = Clock::start();
    let topic = fresh_topic("storm");
    let layout = Layout::new(args.size);
    let publish = |first, events| {
        let schedule = Schedule { first_ns: clock.now_ns(), per_second: RATE, count: events };
        Publisher::of_events(&server, clock, schedule, &topic, layout.clone(), first)
    };
    let read_all = |fleet: &mut Fleet, events: u32| {
        let expected = u64::from(events) * u64::from(args.streams);
        let bar = streams::bar(expected, "deliveries");
        fleet.read_until(clock.now_ns() + PATIENCE_NS, |status| {
            bar.set_position(status.delivered);
            status.delivered >= expected
        })?;
        bar.finish_and_clear();
        Ok::<_, String>(())
    };

    let streams =
        Streams { keep_ids: true, in_flight: args.in_flight, ..Streams::of(topic.clone(), args.streams, args.size) };
    let mut fleet = Fleet::open(&streams, &server, clock)?;
    let publisher = publish(0, SEEN)?;
    read_all(&mut fleet, SEEN)?;
    publisher.finish()?;
    fleet.all_still_open()?;
    if let Some(complaint) = fleet.tally(Expected::Each(SEEN))?.faults.complaint() {
        return Err(format!("before the drop, {complaint}"));
    }
    fleet.drop_all()?;
    thread::sleep(AWAY);
    publish(SEEN, args.missed)?.finish()?;

    let used = || server.processes.map(Processes::cpu).transpose();
    let before = used()?;
    let began_ns = clock.now_ns();
    fleet.resume_all()?;
    read_all(&mut fleet, SEEN + args.missed)?;
    let cpu = used()?.zip(before).map(|(after, before)| after.since(before));
    let whole_ns = fleet.status().last_arrival_ns;
    fleet.read_until(clock.now_ns() + AFTER_NS, |_| false)?;
    let tally = fleet.tally(Expected::Each(SEEN + args.missed))?;

    let figures = Figures {
        whole_s: whole_ns.saturating_sub(began_ns) as f64 / 1e9,
        reconnected_s: fleet.opened_in.as_secs_f64(),
        cpu_s: cpu.map(|cpu| cpu.total()),
        user_s: cpu.map(|cpu| cpu.user),
        system_s: cpu.map(|cpu| cpu.system),
        pages: server.counter("sluicegate_replay_pages_total{source=\"engine\"}"),
    };
    let mut said = format!(
        "storm: {} streams of {} came back for {} missed events each\n\
         \x20 whole         {:.2} s from the first connect to the last event ({:.2} s to the last response head)\n",
        grouped(u64::from(args.streams)),
        target.name(),
        args.missed,
        figures.whole_s,
        figures.reconnected_s
    );
    if let Some(cpu) = cpu {
        said += &format!("  server CPU    {:.2} s (user {:.2}, system {:.2})\n", cpu.total(), cpu.user, cpu.system);
    }
    if let Some(pages) = figures.pages.filter(|pages| *pages > 0) {
        said += &format!("  pages         {pages} of what had left memory\n");
    }
    let verdict = tally.faults.complaint().map_or(Ok(()), Err);
    Ok(Outcome::new(args, figures, said).checked([fleet.all_still_open(), verdict]))
}
