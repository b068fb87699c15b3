//! `idle`: what open streams cost while nothing is published, and what closing them gives back.

use std::{thread, time::Duration};

use serde::Serialize;

use super::book::Outcome;
use crate::{
    Result,
    args::IdleArgs,
    clock::Clock,
    fleet::{Fleet, Streams},
    payload,
    report::grouped,
    server::Target,
    streams::{self, fresh_topic},
};

/// Before the memory of open streams is read.
const SETTLE_NS: u64 = 2_000_000_000;
/// How long memory may take to come back.
const GIVE_BACK: Duration = Duration::from_secs(8);
/// Below this many streams, pages tell nothing of a stream's share in them.
const TELLING_STREAMS: u32 = 1_000;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) memory_before_bytes: u64,
    pub(crate) memory_with_bytes: u64,
    pub(crate) memory_after_bytes: u64,
    /// Growth of the proportional set size.
    pub(crate) bytes_per_stream: f64,
    pub(crate) given_back_percent: f64,
    pub(crate) cpu_percent: f64,
    pub(crate) heartbeats: u64,
}

pub(crate) fn measure(args: &IdleArgs, target: &Target) -> Result<Outcome<Figures>> {
    let server = target.start()?;
    let processes = server.measured()?;
    let clock = Clock::start();

    let memory_before_bytes = processes.pss()?;
    let streams = Streams::of(fresh_topic("idle"), args.streams, payload::HEAD);
    let mut fleet = Fleet::open(&streams, &server, clock)?;
    fleet.read_until(clock.now_ns() + SETTLE_NS, |_| false)?;
    let memory_with_bytes = processes.pss()?;

    let (cpu, comments, began_ns) = (processes.cpu()?, fleet.status().comments, clock.now_ns());
    let bar = streams::bar(u64::from(args.seconds), "seconds idle");
    fleet.read_until(began_ns + u64::from(args.seconds) * 1_000_000_000, |_| {
        bar.set_position((clock.now_ns() - began_ns) / 1_000_000_000);
        false
    })?;
    bar.finish_and_clear();
    let cpu = processes.cpu()?.since(cpu);
    let heartbeats = fleet.status().comments - comments;
    let stayed = fleet.all_still_open();

    drop(fleet);
    thread::sleep(GIVE_BACK);
    let memory_after_bytes = processes.pss()?;
    let grown = memory_with_bytes.saturating_sub(memory_before_bytes);
    let figures = Figures {
        memory_before_bytes,
        memory_with_bytes,
        memory_after_bytes,
        bytes_per_stream: grown as f64 / f64::from(args.streams),
        given_back_percent: memory_with_bytes.saturating_sub(memory_after_bytes) as f64 * 100.0 / grown.max(1) as f64,
        cpu_percent: cpu.total() * 100.0 / f64::from(args.seconds),
        heartbeats,
    };
    let mut said = format!(
        "idle: {} streams of {}\n  PSS           {} KiB before, {} KiB with, {} KiB after all closed\n\
         \x20 a stream      {:.0} bytes\n  given back    {:.0} %\n\
         \x20 server CPU    {:.2} % of a core over {} s, with {} heartbeats received\n",
        grouped(u64::from(args.streams)),
        target.name(),
        grouped(memory_before_bytes / 1024),
        grouped(memory_with_bytes / 1024),
        grouped(memory_after_bytes / 1024),
        figures.bytes_per_stream,
        figures.given_back_percent,
        figures.cpu_percent,
        args.seconds,
        grouped(heartbeats)
    );
    if args.streams < TELLING_STREAMS {
        said += "  (with so few streams, memory per stream is mostly the server's own: take some thousand)\n";
    }
    Ok(Outcome::new(args, figures, said).checked([stayed]))
}
