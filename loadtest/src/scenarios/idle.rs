//! `idle`: what open streams cost while nothing is published, and what closing them gives back.

use std::{thread, time::Duration};

use serde::Serialize;

use super::{fresh_topic, measured_process};
use crate::{
    Result,
    args::{IdleArgs, Kind},
    checker::{Checker, Keys},
    clock::Clock,
    report::grouped,
    server::Server,
    streams::{self, Plan, Streams, Topic},
};

/// Before the memory of open streams is read.
const SETTLE_NS: u64 = 2_000_000_000;
/// How long memory may take to come back: looks at it, 250 ms apart.
const GIVE_BACK_LOOKS: u32 = 32;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) streams: u32,
    pub(crate) pss_before: u64,
    pub(crate) pss_with: u64,
    pub(crate) pss_after: u64,
    pub(crate) bytes_per_stream: f64,
    pub(crate) given_back_percent: f64,
    pub(crate) seconds: u32,
    pub(crate) cpu_percent: f64,
    pub(crate) heartbeats: u64,
}

pub(crate) fn run(args: &IdleArgs) -> Result<()> {
    let figures = measure(args)?;
    println!("idle: {} streams", grouped(u64::from(figures.streams)));
    println!(
        "  PSS           {} KiB before, {} KiB with, {} KiB after all closed",
        grouped(figures.pss_before / 1024),
        grouped(figures.pss_with / 1024),
        grouped(figures.pss_after / 1024)
    );
    println!("  a stream      {:.0} bytes", figures.bytes_per_stream);
    println!("  given back    {:.0} %", figures.given_back_percent);
    println!(
        "  server CPU    {:.2} % of a core over {} s, with {} heartbeats received",
        figures.cpu_percent,
        figures.seconds,
        grouped(figures.heartbeats)
    );
    Ok(())
}

pub(crate) fn measure(args: &IdleArgs) -> Result<Figures> {
    let server = Server::start(Kind::Gateway, &args.server)?;
    let process = measured_process(&server)?;
    let clock = Clock::start();
    let count = args.streams as usize;
    let checker = Checker::new(count, crate::payload::HEAD, Keys::Shared);

    let pss_before = process.pss()?;
    let plan = Plan::fresh(server.streams, Topic::Shared(fresh_topic("idle")));
    let mut streams = Streams::open(plan, clock, checker, count)?;
    streams.read_until(clock.now_ns() + SETTLE_NS, |_| false)?;
    let pss_with = process.pss()?;

    let (cpu, comments, began_ns) = (process.cpu()?, streams.checker.comments(), clock.now_ns());
    let bar = streams::bar(u64::from(args.seconds), "seconds idle");
    streams.read_until(began_ns + u64::from(args.seconds) * 1_000_000_000, |_| {
        bar.set_position((clock.now_ns() - began_ns) / 1_000_000_000);
        false
    })?;
    bar.finish_and_clear();
    let cpu = process.cpu()?.since(cpu);
    let heartbeats = streams.checker.comments() - comments;
    streams.all_still_open()?;

    drop(streams);
    let grown = pss_with.saturating_sub(pss_before);
    let mut pss_after = pss_with;
    for _ in 0..GIVE_BACK_LOOKS {
        thread::sleep(Duration::from_millis(250));
        pss_after = process.pss()?;
    }
    Ok(Figures {
        streams: args.streams,
        pss_before,
        pss_with,
        pss_after,
        bytes_per_stream: grown as f64 / f64::from(args.streams),
        given_back_percent: pss_with.saturating_sub(pss_after) as f64 * 100.0 / grown.max(1) as f64,
        seconds: args.seconds,
        cpu_percent: cpu.total() * 100.0 / f64::from(args.seconds),
        heartbeats,
    })
}
