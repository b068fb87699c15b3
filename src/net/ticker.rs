//! The ticker: the one thread that turns the wheel. It knows no sockets; what expires for a stream
//! or a shard is a message in that shard's inbox.

use std::sync::Arc;
use std::time::SystemTime;

use crate::exchange::bus::Bus;
use crate::exchange::timers::Timers;
use crate::hub::close::CloseReason;
use crate::hub::frame::{Draft, Topics};
use crate::hub::registry::StreamKey;
use crate::hub::topic::Topic;
use crate::ops::metrics::{Metrics, Source};
use crate::ops::schedule::Schedule;

use super::clock::Clock;
use super::shard::Command;

/// What can expire.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Something of one shard.
    Shard(usize, ShardTimer),
    /// Events may have become too old.
    Retention,
    /// A schedule is due.
    Schedule(usize),
}

/// What can expire in a shard.
#[derive(Clone, Copy, Debug)]
pub enum ShardTimer {
    /// The rest between two passes is over.
    Rest,
    /// The heartbeats' next slot is due.
    Heartbeat,
    /// The next streams are to be drained.
    Drain,
    /// A stream may have made no progress for too long.
    Progress(StreamKey),
    /// A stream has lasted as long as it may.
    End(StreamKey, CloseReason),
    /// A stream's own event is due.
    Beat(StreamKey),
}

/// A schedule that runs.
pub struct Running {
    /// What it publishes, and how often.
    pub schedule: Schedule,
    /// Where to.
    pub topic: Topic,
}

/// How long an expiry waits before it knocks again at a full inbox.
const KNOCK_AGAIN_MS: u64 = 1;

/// Turns the wheel until it is stopped.
pub fn run(timers: &Timers<Timer>, clock: Clock, bus: &Bus<Command>, metrics: &Arc<Metrics>, schedules: &[Running]) {
    let retention_ms = bus.retention_step_ms();
    let mut counts = vec![0u64; schedules.len()];
    if let Some(step_ms) = retention_ms {
        timers.arm(clock.now_ms() + step_ms, Timer::Retention);
    }
    for (index, running) in schedules.iter().enumerate() {
        timers.arm(clock.now_ms() + running.schedule.every().as_millis() as u64, Timer::Schedule(index));
    }
    let mut expired = Vec::new();
    while timers.wait(|| clock.now_ms(), |ms| clock.instant_of_ms(ms), &mut expired) {
        for entry in expired.drain(..) {
            let now_ns = clock.now_ns();
            metrics.timer_late.observe(now_ns.saturating_sub(entry.due_ms * 1_000_000));
            match entry.item {
                Timer::Shard(shard, timer) => {
                    // Nothing that expired is lost, and a full inbox holds up nobody else.
                    if bus.inbox(shard).push(Command::Timer(timer)).is_err() && !bus.is_stopped() {
                        timers.arm(now_ns / 1_000_000 + KNOCK_AGAIN_MS, entry.item);
                    }
                }
                Timer::Retention => {
                    bus.log.evict(now_ns);
                    if let Some(step_ms) = retention_ms {
                        timers.arm(now_ns / 1_000_000 + step_ms, Timer::Retention);
                    }
                }
                Timer::Schedule(index) => {
                    let Running { schedule, topic } = &schedules[index];
                    counts[index] += 1;
                    let event = schedule.event(SystemTime::now(), counts[index]);
                    let draft = Draft::encode(Topics::from_elem(topic.clone(), 1), &event, bus.log.epoch());
                    match draft.and_then(|draft| bus.publish(vec![draft], now_ns)) {
                        Ok(_) => metrics.events_published(Source::Schedule, 1),
                        Err(fault) => tracing::error!(topic = topic.as_str(), %fault, "schedule not published"),
                    }
                    // From the due time, so that the period does not drift; beats that were missed
                    // while the machine slept merge into one.
                    let every_ms = schedule.every().as_millis() as u64;
                    timers.arm((entry.due_ms + every_ms).max(now_ns / 1_000_000), Timer::Schedule(index));
                }
            }
        }
    }
}
