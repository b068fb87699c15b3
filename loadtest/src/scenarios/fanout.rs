//! `fanout` and `floor`: one topic, all streams, a fixed rate.

use serde::Serialize;

use super::fresh_topic;
use crate::{
    Result,
    args::{FanoutArgs, Kind, Load, ServerArgs},
    checker::{Checker, Faults, Keys},
    clock::{Clock, Schedule},
    payload::Event,
    process::{Cpu, Process},
    publisher::{self, Publisher, Replies},
    report::{Quantiles, grouped},
    server::Server,
    streams::{self, Plan, Streams, Topic},
};

/// From the last stream's head to the first event, so that neither disturbs the other.
const PAUSE_NS: u64 = 500_000_000;
/// How long a delivery may be late once the last event was due.
const DRAIN_NS: u64 = 15_000_000_000;

/// What one run measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) server: Kind,
    pub(crate) streams: u32,
    pub(crate) rate: f64,
    pub(crate) seconds: u32,
    pub(crate) size: usize,
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
    let plan = Plan {
        server: server.streams,
        topic: Topic::Shared(topic.clone()),
        in_flight: 256,
        keep_ids: false,
        resume_after: Vec::new(),
    };
    let mut streams = Streams::open(plan, clock, Checker::new(count, load.size, Keys::Shared), count)?;

    let events = |seconds: u32| (f64::from(seconds) * load.rate).round() as u32;
    let (warm, measured) = (events(load.warmup), events(load.seconds).max(1));
    let schedule = Schedule { first_ns: clock.now_ns() + PAUSE_NS, per_second: load.rate, count: warm + measured };
    let from_ns = schedule.due_ns(warm);
    streams.checker.measure_from(from_ns);
    let layout = streams.checker.layout().clone();
    let replies = if kind == Kind::Floor { Replies::None } else { Replies::Http };
    let publisher = Publisher::start(server.control, clock, schedule, replies, move |number, due_ns, bytes| {
        let event = Event { number, due_ns, key: 0 };
        match replies {
            Replies::None => {
                layout.write(event, bytes);
                bytes.push(b'\n');
            }
            Replies::Http => {
                publisher::post(&format!("/events/{topic}"), "text/plain", bytes, |body| layout.write(event, body));
            }
        }
    })?;

    let bar = streams::bar(u64::from(schedule.count), "events");
    let all = u64::from(schedule.count) * count as u64;
    let read_until = |streams: &mut Streams, deadline_ns| {
        streams.read_until(deadline_ns, |streams| {
            bar.set_position(streams.checker.delivered() / count as u64);
            publisher.has_failed() || streams.checker.delivered() >= all
        })?;
        publisher.check()
    };
    let used = || -> Result<(Cpu, Cpu)> {
        Ok((server.process.map_or(Ok(Cpu::default()), Process::cpu)?, Process::own().cpu()?))
    };
    let mut read = || -> Result<_> {
        read_until(&mut streams, from_ns)?;
        let before = (used()?, streams.checker.delivered());
        read_until(&mut streams, schedule.end_ns())?;
        // With all delivered the window is still the whole one.
        clock.sleep_until(schedule.end_ns());
        let after = (used()?, streams.checker.delivered());
        read_until(&mut streams, schedule.end_ns() + DRAIN_NS)?;
        Ok((before, after))
    };
    let read = read();
    bar.finish_and_clear();
    let ((cpu_before, delivered_before), (cpu_after, delivered_after)) = match read {
        Ok(read) => read,
        // If the streams were lost, that is the problem to name, rather than what followed from it.
        Err(problem) => return Err(streams.all_still_open().err().unwrap_or(problem)),
    };
    publisher.finish()?;

    let deliveries = delivered_after - delivered_before;
    let cpu = cpu_after.0.since(cpu_before.0);
    let micros = |seconds: f64| seconds * 1e6 / deliveries.max(1) as f64;
    let of_server = |value: f64| server.process.map(|_| value);
    let seconds = (schedule.end_ns() - from_ns) as f64 / 1e9;
    Ok(Figures {
        server: kind,
        streams: load.streams,
        rate: load.rate,
        seconds: load.seconds,
        size: load.size,
        delivered: streams.checker.delivered(),
        expected: all,
        deliveries_per_second: deliveries as f64 / seconds,
        latency: Quantiles::of(streams.checker.latency()),
        to_last: Quantiles::of(&streams.checker.time_to_last()),
        cpu_us: of_server(micros(cpu.total())),
        user_us: of_server(micros(cpu.user)),
        system_us: of_server(micros(cpu.system)),
        cpu_percent: of_server(cpu.total() * 100.0 / seconds),
        client_us: micros(cpu_after.1.since(cpu_before.1).total()),
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
