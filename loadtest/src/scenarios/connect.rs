//! `connect`: streams opened as fast as the server takes them.

use serde::Serialize;

use super::{fresh_topic, measured_process};
use crate::{
    Result,
    args::{ConnectArgs, Kind},
    checker::{Checker, Keys},
    clock::Clock,
    report::grouped,
    server::Server,
    streams::{Plan, Streams, Topic},
};

/// The streams are held for so long, to see that they stay.
const HOLD_NS: u64 = 1_000_000_000;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) streams: u32,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
}

pub(crate) fn run(args: &ConnectArgs) -> Result<()> {
    let figures = measure(args)?;
    println!(
        "connect: {} streams in {:.2} s, {}/s",
        grouped(u64::from(figures.streams)),
        figures.seconds,
        grouped(figures.per_second as u64)
    );
    println!(
        "  server CPU    {:.1} µs a connect (user {:.1}, system {:.1})",
        figures.cpu_us, figures.user_us, figures.system_us
    );
    Ok(())
}

pub(crate) fn measure(args: &ConnectArgs) -> Result<Figures> {
    let server = Server::start(Kind::Gateway, &args.server)?;
    let process = measured_process(&server)?;
    let clock = Clock::start();
    let count = args.streams as usize;
    let checker = Checker::new(count, crate::payload::HEAD, Keys::Shared);
    let topic = Topic::Shared(fresh_topic("connect"));
    let plan = Plan { in_flight: args.in_flight as usize, ..Plan::fresh(server.streams, topic) };

    let before = process.cpu()?;
    let mut streams = Streams::open(plan, clock, checker, count)?;
    let cpu = process.cpu()?.since(before);
    streams.read_until(clock.now_ns() + HOLD_NS, |_| false)?;
    streams.all_still_open()?;

    let seconds = streams.opened_in.as_secs_f64();
    let micros = |seconds: f64| seconds * 1e6 / f64::from(args.streams);
    Ok(Figures {
        streams: args.streams,
        seconds,
        per_second: f64::from(args.streams) / seconds,
        cpu_us: micros(cpu.total()),
        user_us: micros(cpu.user),
        system_us: micros(cpu.system),
    })
}
