//! The ticker: the one thread that turns the wheel. It knows no sockets; what expires for a stream
//! or a shard is a message in that shard's inbox.

use std::time::{Duration, SystemTime};

use crate::engine::Answer;
use crate::engine::status::Phase;
use crate::engine::wall::wall_ms;
use crate::exchange::timers::Timers;
use crate::exchange::topics::TopicTable;
use crate::hub::event::Event;
use crate::hub::frame::Draft;
use crate::hub::shard::ShardTimer;
use crate::hub::slab::Slab;
use crate::hub::topic::{Numbers, TopicHandle, Topics};
use crate::hub::wheel::TimerKey;
use crate::ops::config::{Config, WhileAway};
use crate::ops::metrics::Source;
use crate::ops::schedule::Schedule;

use super::command::{Command, Timer};
use super::state::{NotPublished, State};

/// How long an expiry that found a full inbox waits before it tries again.
const RETRY_MS: u64 = 1;

/// Turns the wheel until it is stopped.
pub fn run(timers: &Timers<Timer>, state: &State) {
    let State { bus, topics, metrics, clock, config, .. } = state;
    timers.arm(clock.now_ms() + bus.retention_step_ms(), Timer::Retention);
    let mut schedules = Schedules(Slab::default(), state.engine.is_shared());
    schedules.follow(&config.load(), topics, timers, clock.now_ms());
    let mut away = Away::default();
    let mut expired = Vec::new();
    while timers.wait(|| clock.now_ms(), |ms| clock.instant_of_ms(ms), &mut expired) {
        for entry in expired.drain(..) {
            let now_ns = clock.now_ns();
            let now_ms = now_ns / 1_000_000;
            metrics.timer_late.observe(now_ns.saturating_sub(entry.due_ms * 1_000_000));
            match entry.item {
                Timer::Shard(shard, timer) => {
                    // Nothing that expired is lost, and a full inbox holds up nobody else.
                    if bus.inbox(shard).push(Command::Timer(timer)).is_err() && !bus.is_stopped() {
                        timers.arm(now_ms + RETRY_MS, entry.item);
                    }
                }
                Timer::Retention => {
                    away.look(state);
                    timers.arm(now_ms + bus.evict(now_ns), Timer::Retention);
                }
                Timer::Schedule(key) => {
                    let Some(running) = schedules.0.get_mut(key) else { continue };
                    let due_ms = if running.is_shared {
                        // All gateways publish it, with one key for each tick of the wall clock: one of them counts.
                        let wall_ms = wall_ms();
                        if let Some(tick) = running.tick(wall_ms) {
                            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(tick * running.every_ms());
                            publish(&running.topic, &running.schedule.event(at, tick), Some(&running.key(tick)), state);
                        }
                        running.next_tick_ms(now_ms, wall_ms)
                    } else {
                        running.count += 1;
                        publish(&running.topic, &running.schedule.event(SystemTime::now(), running.count), None, state);
                        // From the due time, so that the period does not drift; events that were missed
                        // while the machine slept merge into one.
                        (entry.due_ms + running.every_ms()).max(now_ms)
                    };
                    running.timer = Some(timers.arm(due_ms, Timer::Schedule(key)));
                }
                Timer::Reload => {
                    schedules.follow(&config.load(), topics, timers, now_ms);
                    for shard in 0..bus.shards() {
                        timers.arm(now_ms, Timer::Shard(shard, ShardTimer::Settings));
                    }
                }
            }
        }
    }
}

/// Which shards were told to end their streams, since the engine has been away for too long.
#[derive(Default)]
struct Away(Vec<bool>);

impl Away {
    fn look(&mut self, state: &State) {
        let State { bus, config, engine, .. } = state;
        let config = config.load();
        if engine.status().phase() != Phase::Stale || config.cluster.away == WhileAway::Keep {
            self.0.clear();
            return;
        }
        if self.0.is_empty() {
            tracing::warn!(streams = bus.streams(), "the engine stays away: streams are ended, to come back elsewhere");
        }
        self.0.resize(bus.shards(), false);
        let (window, retry) = (config.drain.window(), config.drain.retry.get());
        for (shard, is_told) in self.0.iter_mut().enumerate().filter(|(_, is_told)| !**is_told) {
            // One whose inbox is full is told a step later.
            *is_told = bus.inbox(shard).push(Command::Drain { window, retry, for_good: false }).is_ok();
        }
    }
}

/// Publishes a schedule's event, unless the gateway is closing; whatever stores it is not waited for.
fn publish(topic: &TopicHandle, event: &Event<'_>, key: Option<&str>, state: &State) {
    let refused = |topic: &TopicHandle, error: &dyn std::fmt::Display| {
        tracing::error!(topic = topic.as_str(), %error, "schedule not published");
    };
    let topics = Topics::one(topic.clone());
    let draft = match Draft::encode(topics.clone(), event, state.bus.log.epoch()) {
        Ok(draft) => draft,
        Err(fault) => return refused(topic, &fault),
    };
    let answer = || -> Answer {
        let topic = topic.clone();
        Box::new(move |stored| {
            if let Err(error) = stored {
                refused(&topic, &error);
            }
        })
    };
    match state.offer(vec![draft], [(&topics, event)].into_iter(), key, Source::Schedule, answer) {
        Ok(_) | Err(NotPublished::Closing) => {}
        Err(error) => refused(topic, &error),
    }
}

/// The schedules that run, and whether other gateways have the same events.
#[derive(Default)]
struct Schedules(Slab<Running>, bool);

struct Running {
    schedule: Schedule,
    topic: TopicHandle,
    /// How often it has run, or if all gateways run it, the tick of the wall clock that was last.
    count: u64,
    timer: Option<TimerKey>,
    /// Its events are kept where all gateways keep theirs.
    is_shared: bool,
}

impl Running {
    fn every_ms(&self) -> u64 {
        self.schedule.every().as_millis() as u64
    }

    /// When the wall clock's next tick is. Both clocks are cut to milliseconds, so that it is one later than it seems.
    fn next_tick_ms(&self, now_ms: u64, wall_ms: u64) -> u64 {
        now_ms + self.every_ms() - wall_ms % self.every_ms() + 1
    }

    /// The wall clock's tick, if that has not been: a clock that goes back has none until it is where it was.
    fn tick(&mut self, wall_ms: u64) -> Option<u64> {
        let tick = wall_ms / self.every_ms();
        let is_new = tick > self.count;
        self.count = self.count.max(tick);
        is_new.then_some(tick)
    }

    /// The idempotency key of a tick: the same at every gateway that has the same schedule.
    fn key(&self, tick: u64) -> String {
        let (topic, text) = (self.topic.as_str(), toml::to_string(&self.schedule).unwrap_or_default());
        format!("sched/{:08x}{:08x}/{tick}", crc32fast::hash(topic.as_bytes()), crc32fast::hash(text.as_bytes()))
    }
}

impl Schedules {
    /// Runs what is configured from now on. A schedule that ran before goes on with its phase and count.
    fn follow(&mut self, config: &Config, topics: &TopicTable, timers: &Timers<Timer>, now_ms: u64) {
        let mut starting: Vec<_> = config.schedule.iter().collect();
        for key in self.0.keys().collect::<Vec<_>>() {
            let Some(running) = self.0.get(key) else { continue };
            if let Some(at) = starting.iter().position(|schedule| **schedule == running.schedule) {
                starting.remove(at);
            } else if let Some(timer) = self.0.remove(key).and_then(|dropped| dropped.timer) {
                // Should it have expired by now, its key finds nothing.
                timers.cancel(timer);
            }
        }
        for schedule in starting {
            let topic = topics.handle(&schedule.topic(&config.default_topic));
            let is_shared = self.1 && schedule.keeps();
            let key = self.0.insert(Running { schedule: schedule.clone(), topic, count: 0, timer: None, is_shared });
            if let Some(running) = self.0.get_mut(key) {
                let due_ms = if is_shared {
                    let wall_ms = wall_ms();
                    running.tick(wall_ms);
                    running.next_tick_ms(now_ms, wall_ms)
                } else {
                    now_ms + running.every_ms()
                };
                running.timer = Some(timers.arm(due_ms, Timer::Schedule(key)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "ticks.toml".as_ref()).unwrap()
    }

    #[test]
    fn a_tick_of_the_wall_clock_runs_once_and_never_before_its_time() {
        let config = config("[[schedule]]\nevery = \"1s\"\ndata = \"x\"\n");
        let topic = TopicTable::default().handle(&config.schedule[0].topic(&config.default_topic));
        let schedule = config.schedule[0].clone();
        let mut running = Running { schedule, topic, count: 0, timer: None, is_shared: true };
        assert_eq!(running.tick(41_500), Some(41), "it begins in the midst of one");
        // Up to the end of that millisecond on both clocks.
        assert_eq!([41_500, 41_999, 42_000].map(|wall_ms| running.next_tick_ms(7_000, wall_ms)), [7_501, 7_002, 8_001]);
        let ticks = [41_999, 42_000, 42_001, 41_000, 43_500, 46_000].map(|wall_ms| running.tick(wall_ms));
        assert_eq!(ticks, [None, Some(42), None, None, Some(43), Some(46)]);
    }

    #[test]
    fn schedules_that_stay_keep_their_phase_and_count() {
        let (topics, timers) = (TopicTable::default(), Timers::new(0));
        let mut schedules = Schedules::default();
        let [a, b, c] = ["a", "b", "c"].map(|data| format!("[[schedule]]\nevery = \"1s\"\ndata = \"{data}\"\n"));
        // One of the two that are equal goes.
        schedules.follow(&config(&[&*a, &a, &b].concat()), &topics, &timers, 0);
        assert_eq!(timers.len(), 3);
        let keys: Vec<_> = schedules.0.keys().collect();
        let phase = |schedules: &Schedules, key| schedules.0.get(key).map(|running| (running.count, running.timer));
        for &key in &keys {
            schedules.0.get_mut(key).unwrap().count = 7;
        }
        let before: Vec<_> = keys.iter().map(|&key| phase(&schedules, key)).collect();
        schedules.follow(&config(&[&*c, &b, &a].concat()), &topics, &timers, 500);
        let after: Vec<_> = keys.iter().map(|&key| phase(&schedules, key)).collect();
        assert_eq!(after, [before[0], None, before[2]]);
        assert_eq!((timers.len(), schedules.0.len()), (3, 3));
        schedules.follow(&config("schedule = []"), &topics, &timers, 600);
        assert!(timers.is_empty() && schedules.0.is_empty());
    }
}
