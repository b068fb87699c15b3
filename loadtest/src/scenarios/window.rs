//! The part every publishing scenario shares: publish on schedule, read, and take what the measured window used.

use hdrhistogram::Histogram;

use crate::{
    Result,
    checker::Span,
    clock::{Clock, Schedule},
    fleet::Fleet,
    process::{Cpu, Processes},
    publisher::Publisher,
    record::Moment,
    report::{Quantiles, grouped, ms},
    server::Server,
    streams,
    tally::{Expected, Tally, histogram},
};

/// From the last stream's head to the first event, so that neither disturbs the other.
const PAUSE_NS: u64 = 500_000_000;
/// How long a delivery may be late once the last event was due…
const DRAIN_NS: u64 = 30_000_000_000;
/// …as long as others still come; with none for so long, the rest is lost.
const QUIET_NS: u64 = 4_000_000_000;
/// How long streams are listened to when all has come.
pub(crate) const AFTER_NS: u64 = 1_000_000_000;
/// The course is told in pieces of this length, or longer if there would be more than this many.
const SLICE_NS: u64 = 500_000_000;
const SLICES_MAX: u64 = 240;

/// What is to be published, and what is measured of it.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) schedule: Schedule,
    /// The first request that is no warm-up.
    pub(crate) from: u32,
    /// Deliveries that shall come, over all streams.
    pub(crate) deliveries: u64,
    pub(crate) expected: Expected,
}

/// Requests from soon on: so many seconds that warm up, then so many that are measured, at least one. With the first
/// that is no warm-up.
pub(crate) fn soon(clock: Clock, per_second: f64, warm_s: f64, measured_s: f64) -> (Schedule, u32) {
    let requests = |seconds: f64| (seconds * per_second).round() as u32;
    let warm = requests(warm_s);
    let count = warm + requests(measured_s).max(1);
    (Schedule { first_ns: clock.now_ns() + PAUSE_NS, per_second, count }, warm)
}

impl Measured {
    /// An event a request, for each of so many streams.
    pub(crate) fn events((schedule, from): (Schedule, u32), streams: u64) -> Self {
        let deliveries = u64::from(schedule.count) * streams;
        Self { schedule, from, deliveries, expected: Expected::Each(schedule.count) }
    }
}

/// What happened between the first measured event's due time and the end of the schedule.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// `None` without a process to read.
    pub(crate) server: Option<Cpu>,
    pub(crate) client: Cpu,
    pub(crate) tally: Tally,
    pub(crate) delivered: u64,
    expected: u64,
    span: Span,
    samples: Samples,
}

impl Window {
    /// Lets the publisher go through its schedule while the streams are read, until all deliveries have come or no
    /// more do. `publish` starts it.
    pub(crate) fn take(
        server: &Server,
        fleet: &mut Fleet,
        clock: Clock,
        measured: &Measured,
        publish: impl FnOnce() -> Result<Publisher>,
    ) -> Result<Self> {
        let Measured { schedule, from, deliveries: expected, .. } = *measured;
        let (from_ns, end_ns) = (schedule.due_ns(from), schedule.end_ns());
        let span = Span { from_ns, until_ns: end_ns, slice_ns: SLICE_NS.max((end_ns - from_ns).div_ceil(SLICES_MAX)) };
        fleet.measure(span)?;
        let publisher = publish()?;
        let mut samples = Samples::new(server.processes, span);
        let bar = streams::bar(expected, "deliveries");
        let mut read_until = |fleet: &mut Fleet, deadline_ns| {
            fleet.read_until(deadline_ns, |status| {
                samples.take(clock.now_ns());
                bar.set_position(status.delivered);
                publisher.has_failed() || (clock.now_ns() >= end_ns && status.delivered >= expected)
            })?;
            publisher.check()
        };
        let used = |fleet: &Fleet| -> Result<(Option<Cpu>, Cpu)> {
            Ok((server.processes.map(Processes::cpu).transpose()?, fleet.cpu()?))
        };
        let mut run = || -> Result<_> {
            read_until(fleet, from_ns)?;
            let before = used(fleet)?;
            read_until(fleet, end_ns)?;
            let after = used(fleet)?;
            let mut last = (fleet.status().delivered, clock.now_ns());
            while last.0 < expected && clock.now_ns() < (last.1 + QUIET_NS).min(end_ns + DRAIN_NS) {
                read_until(fleet, clock.now_ns() + QUIET_NS / 16)?;
                let delivered = fleet.status().delivered;
                if delivered > last.0 {
                    last = (delivered, clock.now_ns());
                }
            }
            Ok((before, after))
        };
        let outcome = run();
        bar.finish_and_clear();
        let (before, after) = match outcome {
            Ok(outcome) => outcome,
            // If streams were lost, that is the problem to name, rather than what followed from it.
            Err(problem) => return Err(fleet.all_still_open().err().unwrap_or(problem)),
        };
        publisher.finish()?;
        // Whatever comes twice comes by then.
        fleet.read_until(clock.now_ns() + AFTER_NS, |_| false)?;
        let tally = fleet.tally(measured.expected.clone())?;
        Ok(Self {
            seconds: (end_ns - from_ns) as f64 / 1e9,
            server: after.0.zip(before.0).map(|(after, before)| after.since(before)),
            client: after.1.since(before.1),
            delivered: fleet.status().delivered,
            expected,
            tally,
            span,
            samples,
        })
    }

    /// Microseconds a delivery; `None` where nothing was delivered.
    pub(crate) fn micros(&self, seconds: f64) -> Option<f64> {
        (self.tally.in_span > 0).then(|| seconds * 1e6 / self.tally.in_span as f64)
    }

    pub(crate) fn deliveries_per_second(&self) -> f64 {
        self.tally.in_span as f64 / self.seconds
    }

    /// An error unless every delivery was right.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.tally.faults.complaint() {
            Some(complaint) => Err(complaint),
            None if self.tally.gaps > 0 => Err(format!("readers that kept up were told of {} gaps", self.tally.gaps)),
            None => Ok(()),
        }
    }

    /// The server's memory before, and at its most.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        let first = self.samples.taken.first()?.1;
        Some((first, self.samples.taken.iter().map(|(_, memory)| *memory).max()?))
    }

    /// The latency of what was due from one moment to another, in whole slices: the last one is taken in.
    pub(crate) fn latency_between(&self, from_ns: u64, until_ns: u64) -> Histogram<u64> {
        let begins = |index: usize| self.span.from_ns + index as u64 * self.span.slice_ns;
        let mut latency = histogram();
        for (index, slice) in self.tally.slices.iter().enumerate() {
            if (from_ns..until_ns).contains(&begins(index)) {
                latency += &slice.latency;
            }
        }
        latency
    }

    /// The lines about deliveries, latency and CPU that all scenarios with a window print.
    pub(crate) fn said(&self) -> String {
        let deliveries = [self.delivered, self.expected, self.deliveries_per_second() as u64].map(grouped);
        let mut text = format!("  deliveries    {} of {}, {}/s\n", deliveries[0], deliveries[1], deliveries[2]);
        if !self.tally.latency.is_empty() {
            text += &format!("  latency       {}\n", Quantiles::of(&self.tally.latency));
        }
        let each = |cpu: Cpu| {
            let times = self.micros(cpu.total()).zip(self.micros(cpu.user)).zip(self.micros(cpu.system));
            times.map_or(String::new(), |((total, user), system)| {
                format!("{total:.2} µs per delivery (user {user:.2}, system {system:.2}), ")
            })
        };
        let percent = |cpu: Cpu| cpu.total() * 100.0 / self.seconds;
        if let Some(cpu) = self.server {
            text += &format!("  server CPU    {}{:.0} % of a core\n", each(cpu), percent(cpu));
        }
        text + &format!("  client CPU    {}{:.0} % of a core\n", each(self.client), percent(self.client))
    }

    pub(crate) fn course(&self) -> Vec<Moment> {
        let slice_s = self.span.slice_ns as f64 / 1e9;
        let pieces = (self.span.until_ns - self.span.from_ns).div_ceil(self.span.slice_ns) as usize;
        (0..pieces)
            .map(|index| {
                let slice = self.tally.slices.get(index);
                let latency = slice.map(|slice| &slice.latency).filter(|latency| !latency.is_empty());
                let used = self.samples.taken.get(index).zip(self.samples.taken.get(index + 1));
                Moment {
                    at_s: (index + 1) as f64 * slice_s,
                    deliveries: slice.map_or(0, |slice| slice.deliveries),
                    p50_ms: latency.map(|latency| ms(latency.value_at_quantile(0.5))),
                    p99_ms: latency.map(|latency| ms(latency.value_at_quantile(0.99))),
                    max_ms: latency.map(|latency| ms(latency.max())),
                    cpu_percent: used.map(|(from, to)| to.0.since(from.0).total() * 100.0 / slice_s),
                    memory_bytes: used.map(|(_, to)| to.1),
                }
            })
            .collect()
    }
}

/// CPU and memory of the server at the edges of the span's slices.
#[derive(Clone, Debug)]
struct Samples {
    processes: Option<Processes>,
    span: Span,
    taken: Vec<(Cpu, u64)>,
}

impl Samples {
    fn new(processes: Option<Processes>, span: Span) -> Self {
        Self { processes, span, taken: Vec::new() }
    }

    /// Takes the next one if it is due.
    fn take(&mut self, now_ns: u64) {
        let due_ns = self.span.from_ns + self.taken.len() as u64 * self.span.slice_ns;
        if now_ns >= due_ns
            && due_ns <= self.span.until_ns
            && let Some(processes) = self.processes
            && let (Ok(cpu), Ok(memory)) = (processes.cpu(), processes.pss())
        {
            self.taken.push((cpu, memory));
        }
    }
}
