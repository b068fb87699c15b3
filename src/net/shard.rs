//! A shard's thread: the epoll set with its streams' sockets, and what else of the world a shard's turn needs.
//!
//! What a shard does, and when, is `hub::shard`'s; here is nothing to decide.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Receiver;
use fastrand::Rng;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use strum::VariantArray;

use crate::access::revoked::Revoked;
use crate::exchange::bus::Bus;
use crate::exchange::inbox::Inbox;
use crate::exchange::log_cell::LogCell;
use crate::exchange::timers::Timers;
use crate::hub::bounds::Bounds;
use crate::hub::close::CloseReason;
use crate::hub::frame::{Chunk, Framing};
use crate::hub::gap::GapReason;
use crate::hub::holder::Holder;
use crate::hub::log::Resume;
use crate::hub::offset::Offset;
use crate::hub::registry::look::Look;
use crate::hub::registry::{Registry, StreamKey, Tally};
use crate::hub::retry::spread;
use crate::hub::shard::{Host, Ready, Settings, ShardTimer, Sleep};
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::TopicHandle;
use crate::hub::wheel::TimerKey;
use crate::ops::cells::ShardCells;
use crate::ops::metrics::Metrics;
use crate::ops::reload::LiveConfig;

use super::clock::{Clock, thread_cpu_ns};
use super::command::{Command, Timer};
use super::question::Question;
use super::sink::{Handover, Sink};
use super::{cors, negotiation};

/// The epoll data of what wakes the shard; no stream's key, whose slots are counted from 0.
const WAKE: u64 = u64::MAX;
/// How many socket events one turn takes.
const SOCKET_EVENTS: usize = 1024;
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The parts of a gateway that a shard works with.
pub struct Parts {
    /// What its inbox writes to, to wake it.
    pub wake: Arc<OwnedFd>,
    /// Its end of the inbox.
    pub mail: Receiver<Command>,
    /// The log, the directory and the inboxes.
    pub bus: Arc<Bus<Command>>,
    /// The wheel.
    pub timers: Arc<Timers<Timer>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// The settings that run.
    pub live: Arc<LiveConfig>,
    /// Tokens that are refused though they are good.
    pub revoked: Arc<Revoked>,
}

/// A shard's surroundings. They live on its thread.
pub struct Shard {
    index: usize,
    seed: u64,
    epoll: OwnedFd,
    parts: Parts,
    /// What sockets have from their listener.
    user_timeout: Duration,
    heads: RefCell<ResponseHeads>,
    scratch: RefCell<Vec<u8>>,
}

impl Shard {
    /// The surroundings of a shard. `seed` spreads its heartbeats.
    ///
    /// # Errors
    /// If the epoll set can't be made.
    pub fn new(index: usize, seed: u64, parts: Parts) -> rustix::io::Result<Shard> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*parts.wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let user_timeout = parts.live.load().stream.write_deadline.get();
        let (heads, scratch) = (RefCell::default(), RefCell::new(vec![0; 16 * 1024]));
        Ok(Shard { index, seed, epoll, parts, user_timeout, heads, scratch })
    }

    /// Serves until it is stopped.
    pub fn run(self) {
        let pinned_bytes = self.parts.live.load().limits.pinned_bytes.as_usize() / self.parts.bus.shards();
        let bounds = Bounds { pinned_bytes, ..Bounds::SHIPPED };
        let mut shard = crate::hub::shard::Shard::new(&self, self.seed, bounds);
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); SOCKET_EVENTS];
        loop {
            let timeout = match shard.turn(&self) {
                Sleep::No => Some(&NO_WAIT),
                Sleep::UntilWoken => None,
                Sleep::ForGood => return,
            };
            let events = match epoll::wait(&self.epoll, &mut buffer[..], timeout) {
                Ok((events, _)) => events,
                Err(rustix::io::Errno::INTR) => continue,
                // A part of the streams would be dead while the rest seems well: its thread ends the process.
                Err(error) => panic!("shard {}: waiting for sockets failed: {error}", self.index),
            };
            for event in events.iter() {
                if event.data.u64() == WAKE {
                    // It is non-blocking, and its count means nothing.
                    let _ = rustix::io::read(&*self.parts.wake, &mut [0; 8]);
                    continue;
                }
                let flags = event.flags;
                let ready = Ready {
                    closed: flags.intersects(EventFlags::HUP | EventFlags::ERR),
                    half_closed: flags.contains(EventFlags::RDHUP),
                    readable: flags.contains(EventFlags::IN),
                    writable: flags.contains(EventFlags::OUT),
                };
                shard.ready(&self, StreamKey::from_u64(event.data.u64()), ready);
            }
        }
    }

    fn inbox(&self) -> &Inbox<Command> {
        self.parts.bus.inbox(self.index)
    }

    fn cells(&self) -> &ShardCells {
        &self.parts.metrics.shards()[self.index]
    }
}

impl Host for Shard {
    type Arriving = Handover;
    type Socket = Sink;
    type Question = Question;
    type History = LogCell;

    fn history(&self) -> &LogCell {
        &self.parts.bus.log
    }

    fn waits(&self, resume: &Resume, since_ns: u64) -> bool {
        self.parts.bus.log.is_to_come(resume, since_ns)
    }

    fn halfway(&self) -> Offset {
        self.parts.bus.log.halfway()
    }

    fn now_ns(&self) -> u64 {
        self.parts.clock.now_ns()
    }

    fn cpu_ns(&self) -> u64 {
        thread_cpu_ns()
    }

    fn arm(&self, due_ms: u64, timer: ShardTimer) -> TimerKey {
        self.parts.timers.arm(due_ms, Timer::Shard(self.index, timer))
    }

    fn cancel(&self, timer: TimerKey) -> bool {
        self.parts.timers.cancel(timer).is_some()
    }

    fn awake(&self) {
        self.inbox().awake();
    }

    fn message(&self) -> Option<Command> {
        self.parts.mail.try_recv().ok()
    }

    fn is_inbox_empty(&self) -> bool {
        self.parts.mail.is_empty()
    }

    fn listen(&self, listens: bool) {
        self.inbox().listen(listens);
    }

    fn take_endangered(&self) -> bool {
        self.inbox().take_endangered()
    }

    fn set_position(&self, position: Offset) {
        self.inbox().set_position(position);
    }

    fn join(&self, topic: &TopicHandle) {
        self.parts.bus.directory.join(topic, self.index);
    }

    fn leave(&self, topic: &TopicHandle) {
        self.parts.bus.directory.leave(topic, self.index);
    }

    fn set_patterned(&self, has_patterns: bool) {
        self.parts.bus.directory.set_patterned(self.index, has_patterns);
    }

    fn settings(&self) -> Settings {
        let config = self.parts.live.load();
        Settings {
            rest_max: config.pass.latency.rest_max(),
            interval_min: config.pass.latency.interval_min(),
            heartbeat: config.stream.heartbeat.get(),
            marks: config.stream.marks,
            write_deadline: config.stream.write_deadline.get(),
            policies: config.policies(),
        }
    }

    fn is_revoked(&self, holder: &Holder) -> bool {
        holder.token.as_ref().is_some_and(|token| self.parts.revoked.covers(token))
    }

    fn response_head(&self, subscribe: &Subscribe, into: &mut Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        let (head, beginning) = heads.get(subscribe.framing, || self.parts.live.load().stream.retry.get());
        let fields = subscribe.head_fields.as_deref();
        match fields.and_then(|fields| Some((fields, memchr::memmem::find(head, cors::ANY.as_bytes())?))) {
            Some((fields, at)) => {
                into.extend_from_slice(&head[..at]);
                into.extend_from_slice(fields.as_bytes());
                into.extend_from_slice(&head[at + cors::ANY.len()..]);
            }
            None => into.extend_from_slice(head),
        }
        if subscribe.less {
            into.extend_from_slice(negotiation::less().wire(subscribe.framing));
        }
        into.extend_from_slice(beginning);
    }

    fn watch(&self, key: StreamKey, socket: &mut Sink, write_deadline: Duration) -> bool {
        // Edge-triggered and for good: no further epoll_ctl while the stream lives. The kernel
        // reports `OUT` only after a send found the socket full.
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(key.to_u64());
        if let Err(error) = socket.with_wire(|wire| epoll::add(&self.epoll, wire, data, interest)) {
            tracing::error!(shard = self.index, %error, "a stream can't be watched");
            return false;
        }
        if write_deadline != self.user_timeout {
            socket.set_user_timeout(write_deadline);
        }
        true
    }

    fn set_write_deadline(&self, socket: &mut Sink, write_deadline: Duration) {
        socket.set_user_timeout(write_deadline);
    }

    fn discard(&self, socket: &mut Sink, max: usize) -> Option<usize> {
        socket.discard(&mut self.scratch.borrow_mut(), max)
    }

    fn closed(&self, socket: Sink, reason: CloseReason) {
        tracing::trace!(shard = self.index, reason = reason.as_ref(), "stream closed");
        if reason.is_proper() {
            socket.close_properly(&mut self.scratch.borrow_mut());
        } else {
            drop(socket);
        }
        self.inbox().stream_gone();
    }

    fn delivered(&self, published_ns: &[u64], streams: u64) {
        let now_ns = self.now_ns();
        for published_ns in published_ns {
            self.cells().delivery.observe_n(now_ns.saturating_sub(*published_ns), streams);
        }
    }

    fn busy(&self, cpu_ns: u64) {
        self.cells().busy_ns.add(cpu_ns);
    }

    fn passed(&self, ns: u64) {
        self.cells().pass.observe(ns);
    }

    fn count(&self, tally: &Tally, streams: &Registry<Sink>) {
        let cells = self.cells();
        cells.streams.set(streams.len() as u64);
        cells.behind_streams.set(streams.behind() as u64);
        cells.paging_streams.set(streams.paging() as u64);
        cells.pinned_bytes.set(streams.pinned_bytes() as u64);
        cells.streams_opened.add(tally.opened);
        cells.deliveries.add(tally.deliveries);
        cells.bytes_written.add(tally.bytes);
        cells.writes.add(tally.writes);
        for &reason in CloseReason::VARIANTS {
            cells.streams_closed(reason).add(tally.closed[reason as usize]);
        }
        for &reason in GapReason::VARIANTS {
            cells.gaps(reason).add(tally.gaps[reason as usize]);
        }
    }

    fn answer<'a>(&self, question: Question, looks: impl Iterator<Item = Look<'a, Sink>>) {
        question.answer(self.index, looks);
    }
}

/// How many `retry:` there are in a second.
const RETRIES: u64 = 16;

/// Response heads, made once a second for their date, and the beginnings of bodies, for their jitter.
#[derive(Default)]
struct ResponseHeads {
    second: u64,
    chunked: Vec<u8>,
    close: Vec<u8>,
    beginnings: Vec<Chunk>,
}

impl ResponseHeads {
    /// A head, and what follows it.
    fn get(&mut self, framing: Framing, retry: impl FnOnce() -> Option<Duration>) -> (&[u8], &[u8]) {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second || self.chunked.is_empty() {
            self.second = second;
            let date = httpdate::fmt_http_date(now);
            self.chunked = negotiation::stream_head(Framing::Chunked, &date);
            self.close = negotiation::stream_head(Framing::Close, &date);
            let random = &mut Rng::new();
            self.beginnings = match retry().map(|mean| mean.as_millis() as u64) {
                Some(mean_ms) => spread(random, mean_ms, RETRIES).map(|ms| negotiation::beginning(Some(ms))).collect(),
                None => vec![negotiation::beginning(None)],
            };
        }
        let head = match framing {
            Framing::Chunked => &self.chunked,
            Framing::Close => &self.close,
        };
        (head, self.beginnings[fastrand::usize(..self.beginnings.len())].wire(framing))
    }
}
