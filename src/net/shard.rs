//! A shard: one thread that owns a share of the streams, their sockets and their epoll set.
//!
//! All that can happen to it is a [`Command`] in its inbox, an event of a socket, or the log's head
//! moving. Each turn of its loop takes what has come, makes at most one pass, serves some of the
//! streams that are behind, and tells its counts.

use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Receiver;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::exchange::bus::Bus;
use crate::exchange::timers::Timers;
use crate::hub::close::CloseReason;
use crate::hub::frame::{Chunk, Framing};
use crate::hub::gap::GapReason;
use crate::hub::jitter::Jitter;
use crate::hub::log::Resume;
use crate::hub::policy::Policies;
use crate::hub::registry::{Effect, Observer, Opening, Registry, STRAY_BYTES_MAX, StreamKey};
use crate::hub::stream::StreamTimer;
use crate::hub::subscribe::{Subscribe, TimedEvent};
use crate::hub::wheel::TimerKey;
use crate::ops::cells::ShardCells;
use crate::ops::config::Config;
use crate::ops::metrics::Metrics;
use crate::ops::reload::LiveConfig;

use super::clock::{Clock, thread_cpu_ns};
use super::command::{Command, ShardTimer, Timer};
use super::pace::{Pace, Passed};
use super::wire::Wire;

/// The epoll data of the bell; no stream's key, whose slots are counted from 0.
const BELL: u64 = u64::MAX;
/// How many socket events one turn takes.
const SOCKET_EVENTS: usize = 1024;
/// How many messages one turn takes,
const MESSAGES_A_TURN: usize = 1024;
/// and how many streams that are behind it serves.
const SERVED_A_TURN: usize = 64;
/// How often a draining shard ends its next streams.
const DRAIN_STEP_MS: u64 = 20;
/// A heartbeat so rare is none.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// One shard's state; it lives on the shard's thread.
pub struct Shard {
    index: usize,
    registry: Registry<Wire>,
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    mail: Receiver<Command>,
    bus: Arc<Bus<Command>>,
    timers: Arc<Timers<Timer>>,
    metrics: Arc<Metrics>,
    clock: Clock,
    live: Arc<LiveConfig>,
    config: Arc<Config>,
    policies: Policies,
    /// What sockets have from their listener.
    user_timeout: Duration,
    heartbeats: Option<TimerKey>,
    pace: Pace,
    /// When the pass that is paused began.
    pass_began_ns: Option<u64>,
    /// The last pass left events to another: nobody will ring for those again.
    passes_on: bool,
    beats: std::collections::HashMap<StreamKey, (Duration, Arc<Chunk>)>,
    drain: Option<Drain>,
    /// The directory has it among the shards with patterns.
    patterned: bool,
    heads: ResponseHeads,
    scratch: Vec<u8>,
    stopping: bool,
}

struct Drain {
    left: Vec<StreamKey>,
    ends_ms: u64,
    retry_ms: u64,
    jitter: Jitter,
}

impl Shard {
    /// A shard with an empty registry. `bell` is what its inbox rings.
    ///
    /// # Errors
    /// If the epoll set can't be made.
    #[allow(clippy::too_many_arguments, reason = "called once, by the gateway that puts the parts together")]
    pub fn new(
        index: usize,
        seed: u64,
        bell: Arc<OwnedFd>,
        mail: Receiver<Command>,
        bus: Arc<Bus<Command>>,
        timers: Arc<Timers<Timer>>,
        metrics: Arc<Metrics>,
        clock: Clock,
        live: Arc<LiveConfig>,
    ) -> rustix::io::Result<Shard> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*bell, EventData::new_u64(BELL), EventFlags::IN)?;
        let config = live.load_full();
        Ok(Shard {
            index,
            registry: Registry::new(0, heartbeat_ms(&config), seed),
            epoll,
            bell,
            mail,
            bus,
            timers,
            metrics,
            clock,
            pace: Pace::new(config.pass.rest.get(), config.pass.interval_min.get()),
            pass_began_ns: None,
            passes_on: false,
            policies: config.policies(),
            user_timeout: config.stream.write_deadline.get(),
            heartbeats: None,
            live,
            config,
            beats: Default::default(),
            drain: None,
            patterned: false,
            heads: ResponseHeads::default(),
            scratch: vec![0; 16 * 1024],
            stopping: false,
        })
    }

    /// Serves until it is told to stop.
    pub fn run(mut self) {
        self.arm_heartbeats();
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); SOCKET_EVENTS];
        while !self.stopping {
            let passes_on = self.passes_on && !self.pace.rests();
            let timeout = (passes_on || self.registry.has_ready() || !self.mail.is_empty()).then_some(&NO_WAIT);
            let events = match epoll::wait(&self.epoll, &mut buffer[..], timeout) {
                Ok((events, _)) => events,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(shard = self.index, %error, "waiting for sockets failed");
                    break;
                }
            };
            for event in events.iter() {
                self.socket_event(event.data.u64(), event.flags);
            }
            self.inbox().awake();
            for _ in 0..MESSAGES_A_TURN {
                let Ok(command) = self.mail.try_recv() else { break };
                self.command(command);
            }
            let endangered = self.inbox().take_endangered();
            if (endangered || !self.pace.rests()) && self.bus.log.head() > self.registry.position() {
                self.pass(true);
            }
            if self.registry.has_ready() {
                let now_ms = self.clock.now_ms();
                let mut observer = Delivered { cells: &self.metrics.shards()[self.index], clock: self.clock };
                self.registry.serve_ready(SERVED_A_TURN, &self.bus.log, now_ms, &mut observer);
            }
            self.carry_out();
            self.tell();
        }
        for key in self.registry.keys().collect::<Vec<_>>() {
            self.registry.close(key, CloseReason::Cut);
        }
        self.carry_out();
        self.tell();
    }

    fn inbox(&self) -> &crate::exchange::inbox::Inbox<Command> {
        self.bus.inbox(self.index)
    }

    fn cells(&self) -> &ShardCells {
        &self.metrics.shards()[self.index]
    }

    fn arm_ms(&self, after_ms: u64, timer: ShardTimer) -> TimerKey {
        self.timers.arm(self.clock.now_ms().saturating_add(after_ms), Timer::Shard(self.index, timer))
    }

    // ===== what can happen =====

    fn socket_event(&mut self, data: u64, flags: EventFlags) {
        if data == BELL {
            let mut count = [0; 8];
            // It is non-blocking, and its count means nothing.
            let _ = rustix::io::read(&*self.bell, &mut count);
            return;
        }
        let key = StreamKey::from_u64(data);
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            return self.registry.close(key, CloseReason::ClientGone);
        }
        if flags.contains(EventFlags::IN) {
            let Some(wire) = self.registry.socket_mut(key) else { return };
            match wire.discard(&mut self.scratch, STRAY_BYTES_MAX as usize + 1) {
                Some(bytes) => self.registry.stray(key, bytes),
                None => return self.registry.close(key, CloseReason::ClientGone),
            }
        }
        if flags.contains(EventFlags::OUT) {
            self.registry.writable(key);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Open { socket, subscribe } => self.open(socket, subscribe),
            Command::Timer(timer) => self.timer(timer),
            Command::Drain { window, retry } => self.start_drain(window, retry),
            Command::Look(question) => question.answer(self.index, &self.registry, self.clock.now_ms()),
            Command::Stop => self.stopping = true,
        }
    }

    fn timer(&mut self, timer: ShardTimer) {
        let now_ms = self.clock.now_ms();
        match timer {
            ShardTimer::Rest => {
                self.pace.wakes();
                // After this, publishers wake it; what they appended before is seen in this turn.
                self.inbox().listen(true);
            }
            ShardTimer::Heartbeat => {
                self.registry.heartbeat(now_ms);
                self.arm_heartbeats();
            }
            ShardTimer::Drain => self.drain_step(),
            ShardTimer::Reload => self.reload(),
            ShardTimer::Progress(key) => {
                let deadline_ms = self.write_deadline_ms();
                if let Some(due_ms) = self.registry.progress_due(key, deadline_ms, now_ms) {
                    self.arm_stream(key, StreamTimer::Progress, due_ms, ShardTimer::Progress(key));
                }
            }
            ShardTimer::End(key, reason) => {
                self.registry.set_timer(key, StreamTimer::End, None);
                self.end(key, reason, None);
            }
            ShardTimer::Beat(key) => {
                let Some((every, chunk)) = self.beats.get(&key) else { return };
                let (every_ms, chunk) = (every.as_millis() as u64, chunk.clone());
                self.registry.set_timer(key, StreamTimer::Beat, None);
                self.registry.push(key, &chunk, now_ms);
                self.arm_stream(key, StreamTimer::Beat, now_ms.saturating_add(every_ms), ShardTimer::Beat(key));
            }
        }
    }

    /// Arms the next step of the heartbeats, if there are any.
    fn arm_heartbeats(&mut self) {
        let step_ms = self.registry.heartbeat_step_ms();
        self.heartbeats = self.config.stream.heartbeat.get().map(|_| self.arm_ms(step_ms, ShardTimer::Heartbeat));
    }

    fn write_deadline_ms(&self) -> u64 {
        self.config.stream.write_deadline.get().as_millis() as u64
    }

    /// Takes over what has changed in the configuration.
    fn reload(&mut self) {
        let before = std::mem::replace(&mut self.config, self.live.load_full());
        if self.config.policy != before.policy {
            self.policies = self.config.policies();
            self.registry.set_policies(self.policies.clone());
        }
        if self.config.stream.write_deadline != before.stream.write_deadline {
            for key in self.registry.keys().collect::<Vec<_>>() {
                let Some(wire) = self.registry.socket_mut(key) else { continue };
                wire.set_user_timeout(self.config.stream.write_deadline.get());
            }
        }
        if self.config.stream.heartbeat != before.stream.heartbeat {
            self.registry.set_heartbeat(heartbeat_ms(&self.config));
            // A step that is on its way to the inbox already arms the next.
            if self.heartbeats.is_none_or(|timer| self.timers.cancel(timer).is_some()) {
                self.arm_heartbeats();
            }
        }
    }

    fn open(&mut self, socket: TcpStream, subscribe: Subscribe) {
        let Subscribe { subscription, framing, resume, max_events, lasts, timed } = subscribe;
        // Entered before the head is read: see `Directory`.
        for topic in subscription.topics() {
            if !self.registry.routes().names(topic) {
                self.bus.directory.join(topic, self.index);
            }
        }
        if !subscription.patterns().is_empty() && !self.registry.routes().has_patterns() {
            self.bus.directory.set_patterned(self.index, true);
            self.patterned = true;
        }
        let (start, head) = self.bus.log.start(&resume, &subscription);
        let opening = Opening {
            socket: Wire(socket),
            slow: self.policies.for_subscription(&subscription),
            subscription,
            framing,
            start,
            asked_for: if let Resume::After(id) = &resume { Some(id) } else { None },
            head,
            max_events,
            response_head: self.heads.get(framing),
        };
        let now_ms = self.clock.now_ms();
        let mut observer = Delivered { cells: &self.metrics.shards()[self.index], clock: self.clock };
        let key = self.registry.open(opening, &self.bus.log, now_ms, &mut observer);
        let Some(wire) = self.registry.socket_mut(key) else { return };
        // Edge-triggered and for good: no further epoll_ctl while the stream lives. The kernel
        // reports `OUT` only after a send found the socket full.
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = epoll::add(&self.epoll, &wire.0, EventData::new_u64(key.to_u64()), interest) {
            tracing::error!(shard = self.index, %error, "a stream can't be watched");
            return self.registry.close(key, CloseReason::WriteError);
        }
        let write_deadline = self.config.stream.write_deadline.get();
        if write_deadline != self.user_timeout {
            wire.set_user_timeout(write_deadline);
        }
        if let Some((after, reason)) = lasts {
            let due_ms = now_ms.saturating_add(after.as_millis() as u64);
            self.arm_stream(key, StreamTimer::End, due_ms, ShardTimer::End(key, reason));
        }
        if let Some(TimedEvent { every, chunk }) = timed {
            let due_ms = now_ms.saturating_add(every.as_millis() as u64);
            self.arm_stream(key, StreamTimer::Beat, due_ms, ShardTimer::Beat(key));
            self.beats.insert(key, (every, chunk));
        }
        if let Some(drain) = &mut self.drain {
            drain.left.push(key);
        }
    }

    fn arm_stream(&mut self, key: StreamKey, kind: StreamTimer, due_ms: u64, timer: ShardTimer) {
        let armed = self.timers.arm(due_ms, Timer::Shard(self.index, timer));
        if !self.registry.set_timer(key, kind, Some(armed)) {
            self.timers.cancel(armed);
        }
    }

    /// Ends a stream once it has what was published so far.
    fn end(&mut self, key: StreamKey, reason: CloseReason, farewell: Option<&Arc<Chunk>>) {
        if self.bus.log.head() > self.registry.position() {
            self.pass(false);
        }
        self.registry.end(key, reason, farewell, self.clock.now_ms());
    }

    // ===== passes =====

    /// Makes a pass, or a piece of one if it `may_pause`.
    fn pass(&mut self, may_pause: bool) {
        let started_ns = self.clock.now_ns();
        // A pass that rests while the log moves on would be lapped, and its streams with it.
        let may_pause = may_pause && self.registry.position() >= self.bus.log.halfway();
        let head = self.bus.log.head();
        let (before, cpu_before_ns) = (self.registry.tally(), thread_cpu_ns());
        let mut observer = Delivered { cells: &self.metrics.shards()[self.index], clock: self.clock };
        self.registry.pass(may_pause, &self.bus.log, started_ns / 1_000_000, &mut observer);
        self.passes_on = self.registry.position() < head;
        self.inbox().set_position(self.registry.position());
        let now_ns = self.clock.now_ns();
        let began_ns = self.pass_began_ns.take().unwrap_or(started_ns);
        let is_over = !self.registry.is_passing();
        if is_over {
            self.cells().pass.observe(now_ns - began_ns);
        } else {
            self.pass_began_ns = Some(began_ns);
        }
        let cpu_ns = thread_cpu_ns() - cpu_before_ns;
        self.cells().busy_ns.add(cpu_ns);
        let after = self.registry.tally();
        let passed = Passed {
            began_ns,
            started_ns,
            ended_ns: now_ns,
            cpu_ns,
            deliveries: after.deliveries - before.deliveries,
            writes: after.writes - before.writes,
            is_over,
        };
        if !self.pace.rests()
            && let Some(until_ms) = self.pace.passed(passed)
        {
            self.inbox().listen(false);
            self.timers.arm(until_ms, Timer::Shard(self.index, ShardTimer::Rest));
        }
    }

    /// Does what the registry asks for.
    fn carry_out(&mut self) {
        while let Some(effect) = self.registry.take_effect() {
            match effect {
                Effect::AwaitProgress(key) => {
                    let due_ms = self.clock.now_ms() + self.write_deadline_ms();
                    self.arm_stream(key, StreamTimer::Progress, due_ms, ShardTimer::Progress(key));
                }
                Effect::Closed { key, socket, reason, timers } => {
                    for timer in timers.into_iter().flatten() {
                        self.timers.cancel(timer);
                    }
                    self.beats.remove(&key);
                    tracing::trace!(shard = self.index, reason = reason.as_str(), "stream closed");
                    match reason {
                        CloseReason::MaxEvents
                        | CloseReason::MaxSeconds
                        | CloseReason::Rotated
                        | CloseReason::Drained => socket.close_properly(&mut self.scratch),
                        _ => drop(socket),
                    }
                    self.inbox().stream_gone();
                }
                Effect::Unrouted(topic) => {
                    // Another stream may have named it again since.
                    if !self.registry.routes().names(&topic) {
                        self.bus.directory.leave(&topic, self.index);
                    }
                }
            }
        }
        if self.patterned && !self.registry.routes().has_patterns() {
            self.patterned = false;
            self.bus.directory.set_patterned(self.index, false);
        }
    }

    /// Tells the counts of this turn.
    fn tell(&mut self) {
        let tally = self.registry.take_tally();
        let (streams, behind) = (self.registry.len() as u64, self.registry.behind() as u64);
        let cells = self.cells();
        cells.streams.set(streams);
        cells.behind_streams.set(behind);
        cells.streams_opened.add(tally.opened);
        cells.deliveries.add(tally.deliveries);
        cells.bytes_written.add(tally.bytes);
        cells.writes.add(tally.writes);
        for reason in CloseReason::ALL {
            cells.streams_closed(reason).add(tally.closed[reason as usize]);
        }
        for reason in GapReason::ALL {
            cells.gaps(reason).add(tally.gaps[reason as usize]);
        }
    }

    // ===== the end =====

    fn start_drain(&mut self, window: Duration, retry: Duration) {
        let mut jitter = Jitter::new(self.clock.now_ns());
        let mut left: Vec<_> = self.registry.keys().collect();
        // In random order, so that neighbours in time of opening do not come back together.
        for at in (1..left.len()).rev() {
            left.swap(at, jitter.below(at as u64 + 1) as usize);
        }
        let ends_ms = self.clock.now_ms() + window.as_millis() as u64;
        self.drain = Some(Drain { left, ends_ms, retry_ms: retry.as_millis() as u64, jitter });
        self.drain_step();
    }

    fn drain_step(&mut self) {
        let now_ms = self.clock.now_ms();
        let Some(drain) = &mut self.drain else { return };
        let steps_left = drain.ends_ms.saturating_sub(now_ms) / DRAIN_STEP_MS + 1;
        let count = drain.left.len().div_ceil(steps_left as usize);
        let ended: Vec<_> = drain.left.drain(drain.left.len() - count..).collect();
        for key in ended {
            let Some(drain) = &mut self.drain else { return };
            let retry_ms = drain.jitter.around(drain.retry_ms);
            let farewell = Arc::new(Chunk::new(&format!("retry: {retry_ms}\n\n")));
            self.end(key, CloseReason::Drained, Some(&farewell));
        }
        self.arm_ms(DRAIN_STEP_MS, ShardTimer::Drain);
    }
}

fn heartbeat_ms(config: &Config) -> u64 {
    config.stream.heartbeat.get().unwrap_or(NEVER).as_millis() as u64
}

const NO_WAIT: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };

/// Notes how long events were under way.
struct Delivered<'a> {
    cells: &'a ShardCells,
    clock: Clock,
}

impl Observer for Delivered<'_> {
    fn delivered(&mut self, published_ns: &[u64], streams: u64) {
        let now_ns = self.clock.now_ns();
        for published_ns in published_ns {
            self.cells.delivery.observe_n(now_ns.saturating_sub(*published_ns), streams);
        }
    }
}

/// Response heads, made once a second for their date.
#[derive(Default)]
struct ResponseHeads {
    second: u64,
    chunked: Vec<u8>,
    close: Vec<u8>,
}

impl ResponseHeads {
    fn get(&mut self, framing: Framing) -> &[u8] {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second || self.chunked.is_empty() {
            self.second = second;
            let date = httpdate::fmt_http_date(now);
            self.chunked = super::negotiation::stream_head(Framing::Chunked, &date);
            self.close = super::negotiation::stream_head(Framing::Close, &date);
        }
        match framing {
            Framing::Chunked => &self.chunked,
            Framing::Close => &self.close,
        }
    }
}
