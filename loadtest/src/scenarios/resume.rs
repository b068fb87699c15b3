//! `resume`: every stream drops at once, misses events, and comes back with the last id it saw.

use std::{thread, time::Duration};

use serde::Serialize;

use super::{fresh_topic, measured_process};
use crate::{
    Result,
    args::{Kind, ResumeArgs},
    checker::{Checker, Faults, Keys},
    clock::{Clock, Schedule},
    publisher::Publisher,
    report::grouped,
    server::Server,
    streams::{Plan, Streams, Topic},
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
    pub(crate) streams: u32,
    pub(crate) missed: u32,
    /// From the first reconnect until the last stream had all it missed.
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) faults: Faults,
    #[serde(skip)]
    closed: Result<()>,
}

pub(crate) fn run(args: &ResumeArgs) -> Result<()> {
    let figures = measure(args)?;
    println!(
        "resume: {} streams came back for {} missed events each",
        grouped(u64::from(figures.streams)),
        figures.missed
    );
    println!("  wall          {:.2} s from the first connect to the last event", figures.seconds);
    println!(
        "  server CPU    {:.2} s (user {:.2}, system {:.2})",
        figures.cpu_seconds, figures.user_seconds, figures.system_seconds
    );
    figures.verdict()
}

pub(crate) fn measure(args: &ResumeArgs) -> Result<Figures> {
    let server = Server::start(Kind::Gateway, &args.server)?;
    let process = measured_process(&server)?;
    let clock = Clock::start();
    let topic = fresh_topic("resume");
    let count = args.streams as usize;
    let checker = Checker::new(count, args.size, Keys::Shared);
    let layout = checker.layout().clone();
    let publish = |first, events| {
        let schedule = Schedule { first_ns: clock.now_ns(), per_second: RATE, count: events };
        Publisher::of_events(&server, clock, schedule, &topic, layout.clone(), first)
    };
    let read_all = |streams: &mut Streams, events: u32| {
        let expected = u64::from(events) * count as u64;
        streams.read_until(clock.now_ns() + PATIENCE_NS, |streams| streams.checker.delivered() >= expected)
    };

    let plan = Plan { keep_ids: true, ..Plan::fresh(server.streams, Topic::Shared(topic.clone())) };
    let mut streams = Streams::open(plan.clone(), clock, checker, count)?;
    let publisher = publish(0, SEEN)?;
    read_all(&mut streams, SEEN)?;
    publisher.finish()?;
    streams.all_still_open()?;
    let (checker, ids) = streams.close();
    if let Some(complaint) = checker.faults(|_| SEEN).complaint() {
        return Err(format!("before the drop, {complaint}"));
    }
    if let Some(without) = ids.iter().position(Vec::is_empty) {
        return Err(format!("stream {without} got events without an id, and cannot resume"));
    }

    thread::sleep(AWAY);
    publish(SEEN, args.missed)?.finish()?;

    let before = process.cpu()?;
    let began_ns = clock.now_ns();
    let plan = Plan { keep_ids: false, resume_after: ids, ..plan };
    let mut streams = Streams::open(plan, clock, checker, count)?;
    read_all(&mut streams, SEEN + args.missed)?;
    let seconds = (clock.now_ns() - began_ns) as f64 / 1e9;
    let cpu = process.cpu()?.since(before);
    // Whatever comes twice comes now.
    streams.read_until(clock.now_ns() + 1_000_000_000, |_| false)?;
    Ok(Figures {
        streams: args.streams,
        missed: args.missed,
        seconds,
        cpu_seconds: cpu.total(),
        user_seconds: cpu.user,
        system_seconds: cpu.system,
        faults: streams.checker.faults(|_| SEEN + args.missed),
        closed: streams.all_still_open(),
    })
}

impl Figures {
    pub(crate) fn verdict(&self) -> Result<()> {
        self.closed.clone()?;
        self.faults.complaint().map_or(Ok(()), Err)
    }
}
