//! The part every publishing scenario shares: publish on schedule, read, and take what the measured window used.

use crate::{
    Result,
    clock::{Clock, Schedule},
    process::{Cpu, Process},
    publisher::Publisher,
    server::Server,
    streams::{self, Streams},
};

/// From the last stream's head to the first event, so that neither disturbs the other.
pub(crate) const PAUSE_NS: u64 = 500_000_000;
/// How long a delivery may be late once the last event was due…
const DRAIN_NS: u64 = 30_000_000_000;
/// …as long as others still come; with none for so long, the rest is lost.
const QUIET_NS: u64 = 4_000_000_000;

/// What happened between the first measured event's due time and the end of the schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) deliveries: u64,
    /// `None` without a process to read.
    pub(crate) server: Option<Cpu>,
    pub(crate) client: Cpu,
}

impl Window {
    /// Lets the publisher go through its schedule while the streams are read, until `expected` deliveries have come
    /// or no more do.
    pub(crate) fn take(
        server: &Server,
        streams: &mut Streams,
        clock: Clock,
        schedule: Schedule,
        measured_from: u32,
        expected: u64,
        publisher: Publisher,
    ) -> Result<Self> {
        let (from_ns, end_ns) = (schedule.due_ns(measured_from), schedule.end_ns());
        let bar = streams::bar(expected, "deliveries");
        let read_until = |streams: &mut Streams, deadline_ns| {
            streams.read_until(deadline_ns, |streams| {
                bar.set_position(streams.checker.delivered());
                publisher.has_failed() || streams.checker.delivered() >= expected
            })?;
            publisher.check()
        };
        let used = |streams: &Streams| -> Result<(Option<Cpu>, Cpu, u64)> {
            let server = server.process.map(Process::cpu).transpose()?;
            Ok((server, Process::own().cpu()?, streams.checker.delivered()))
        };
        let mut run = || -> Result<_> {
            read_until(streams, from_ns)?;
            let before = used(streams)?;
            read_until(streams, end_ns)?;
            // All may be delivered early; the window is the whole one still.
            clock.sleep_until(end_ns);
            let after = used(streams)?;
            let mut last = (streams.checker.delivered(), clock.now_ns());
            while last.0 < expected && clock.now_ns() < (last.1 + QUIET_NS).min(end_ns + DRAIN_NS) {
                read_until(streams, clock.now_ns() + QUIET_NS / 16)?;
                if streams.checker.delivered() > last.0 {
                    last = (streams.checker.delivered(), clock.now_ns());
                }
            }
            Ok((before, after))
        };
        let outcome = run();
        bar.finish_and_clear();
        let (before, after) = match outcome {
            Ok(outcome) => outcome,
            // If streams were lost, that is the problem to name, rather than what followed from it.
            Err(problem) => return Err(streams.all_still_open().err().unwrap_or(problem)),
        };
        publisher.finish()?;
        Ok(Self {
            seconds: (end_ns - from_ns) as f64 / 1e9,
            deliveries: after.2 - before.2,
            server: after.0.zip(before.0).map(|(after, before)| after.since(before)),
            client: after.1.since(before.1),
        })
    }

    /// Microseconds a delivery.
    pub(crate) fn micros(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.deliveries.max(1) as f64
    }
}
