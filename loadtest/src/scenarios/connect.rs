//! `connect`: streams opened as fast as the server takes them.

use serde::Serialize;

use super::book::Outcome;
use crate::{
    Result,
    args::ConnectArgs,
    clock::Clock,
    fleet::{Fleet, Streams},
    payload,
    report::grouped,
    server::Target,
    streams::fresh_topic,
};

/// The streams are held for so long, to see that they stay.
const HOLD_NS: u64 = 1_000_000_000;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) wall_s: f64,
    pub(crate) connects_per_second: f64,
    /// Microseconds of server CPU per connection.
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
}

pub(crate) fn measure(args: &ConnectArgs, target: &Target) -> Result<Outcome<Figures>> {
    let server = target.start()?;
    let processes = server.measured()?;
    let clock = Clock::start();
    let streams =
        Streams { in_flight: args.in_flight, ..Streams::of(fresh_topic("connect"), args.streams, payload::HEAD) };

    let before = processes.cpu()?;
    let mut fleet = Fleet::open(&streams, &server, clock)?;
    let cpu = processes.cpu()?.since(before);
    fleet.read_until(clock.now_ns() + HOLD_NS, |_| false)?;

    let wall_s = fleet.opened_in.as_secs_f64();
    let micros = |seconds: f64| seconds * 1e6 / f64::from(args.streams);
    let figures = Figures {
        wall_s,
        connects_per_second: f64::from(args.streams) / wall_s,
        cpu_us: micros(cpu.total()),
        user_us: micros(cpu.user),
        system_us: micros(cpu.system),
    };
    let said = format!(
        "connect: {} streams of {} in {wall_s:.2} s, {}/s\n  server CPU    {:.1} µs per connection (user {:.1}, system {:.1})",
        grouped(u64::from(args.streams)),
        target.name(),
        grouped(figures.connects_per_second as u64),
        figures.cpu_us,
        figures.user_us,
        figures.system_us
    );
    Ok(Outcome::new(args, figures, said).checked([fleet.all_still_open()]))
}
