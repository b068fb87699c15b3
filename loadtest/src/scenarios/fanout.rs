//! `fanout` and `floor`: one topic, all streams, a fixed rate.

use serde::Serialize;

use super::{
    fresh_topic,
    window::{PAUSE_NS, Window},
};
use crate::{
    Result,
    args::{FanoutArgs, Kind, Load, ServerArgs},
    checker::{Checker, Faults, Keys},
    clock::{Clock, Schedule},
    publisher::Publisher,
    report::{Quantiles, grouped},
    server::Server,
    streams::{Plan, Streams, Topic},
};

/// What one run measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) server: Kind,
    pub(crate) streams: u32,
    pub(crate) rate: f64,
    pub(crate) seconds: u32,
    pub(crate) size: usize,
    pub(crate) opened_per_second: f64,
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) latency: Quantiles,
    /// From due until the last stream had it, per event.
    pub(crate) to_last: Quantiles,
    /// Microseconds of server CPU a delivery; `None` without a process to read.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) user_us: Option<f64>,
    pub(crate) system_us: Option<f64>,
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) client_us: f64,
    pub(crate) faults: Faults,
    #[serde(skip)]
    closed: Result<()>,
}

pub(crate) fn run(kind: Kind, args: &FanoutArgs) -> Result<()> {
    if args.with_floor && kind == Kind::Gateway {
        let floor = measure(Kind::Floor, &args.load, &args.server)?;
        floor.print();
        floor.verdict()?;
    }
    let figures = measure(kind, &args.load, &args.server)?;
    figures.print();
    figures.verdict()
}

/// One run against a server of its own.
pub(crate) fn measure(kind: Kind, load: &Load, server: &ServerArgs) -> Result<Figures> {
    let server = Server::start(kind, server)?;
    let clock = Clock::start();
    let topic = fresh_topic("fanout");
    let count = load.streams as usize;
    let plan = Plan::fresh(server.streams, Topic::Shared(topic.clone()));
    let mut streams = Streams::open(plan, clock, Checker::new(count, load.size, Keys::Shared), count)?;

    let events = |seconds: u32| (f64::from(seconds) * load.rate).round() as u32;
    let (warm, measured) = (events(load.warmup), events(load.seconds).max(1));
    let schedule = Schedule { first_ns: clock.now_ns() + PAUSE_NS, per_second: load.rate, count: warm + measured };
    streams.checker.measure_from(schedule.due_ns(warm));
    let layout = streams.checker.layout().clone();
    let publisher = Publisher::of_events(&server, clock, schedule, &topic, layout, 0)?;
    let expected = u64::from(schedule.count) * count as u64;
    let window = Window::take(&server, &mut streams, clock, schedule, warm, expected, publisher)?;

    let micros = |seconds: f64| window.micros(seconds);
    Ok(Figures {
        server: kind,
        streams: load.streams,
        rate: load.rate,
        seconds: load.seconds,
        size: load.size,
        opened_per_second: f64::from(load.streams) / streams.opened_in.as_secs_f64(),
        delivered: streams.checker.delivered(),
        expected,
        deliveries_per_second: window.deliveries as f64 / window.seconds,
        latency: Quantiles::of(streams.checker.latency()),
        to_last: Quantiles::of(&streams.checker.time_to_last()),
        cpu_us: window.server.map(|cpu| micros(cpu.total())),
        user_us: window.server.map(|cpu| micros(cpu.user)),
        system_us: window.server.map(|cpu| micros(cpu.system)),
        cpu_percent: window.server.map(|cpu| cpu.total() * 100.0 / window.seconds),
        client_us: micros(window.client.total()),
        faults: streams.checker.faults(|_| schedule.count),
        closed: streams.all_still_open(),
    })
}

impl Figures {
    pub(crate) fn print(&self) {
        let name = match self.server {
            Kind::Gateway => "gateway",
            Kind::Floor => "floor",
        };
        println!(
            "{name}: {} streams, {} events/s of {} bytes, {} s",
            grouped(u64::from(self.streams)),
            self.rate,
            self.size,
            self.seconds
        );
        println!("  opened        {} streams/s", grouped(self.opened_per_second as u64));
        println!(
            "  deliveries    {} of {}, {}/s",
            grouped(self.delivered),
            grouped(self.expected),
            grouped(self.deliveries_per_second as u64)
        );
        let Quantiles { p50_ms, p99_ms, p999_ms, max_ms } = self.latency;
        println!("  latency       p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, p99.9 {p999_ms:.1} ms, max {max_ms:.1} ms");
        println!("  to the last   p50 {:.1} ms, p99 {:.1} ms", self.to_last.p50_ms, self.to_last.p99_ms);
        if let (Some(cpu), Some(user), Some(system), Some(percent)) =
            (self.cpu_us, self.user_us, self.system_us, self.cpu_percent)
        {
            println!(
                "  server CPU    {cpu:.2} µs a delivery (user {user:.2}, system {system:.2}), {percent:.0} % of a core"
            );
        }
        println!("  client CPU    {:.2} µs a delivery", self.client_us);
    }

    /// An error if any stream missed anything.
    pub(crate) fn verdict(&self) -> Result<()> {
        self.closed.clone()?;
        self.faults.complaint().map_or(Ok(()), Err)
    }
}
