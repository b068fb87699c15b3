//! Many open streams read by one thread: epoll, one shared read buffer, and as little work per delivery as can be,
//! since the client shares its machine with the server it measures.
//!
//! Two things keep a delivery cheap. Edge-triggered readiness and a buffer larger than any socket's: one `recv` per
//! wake-up, and a short read means "empty". And a memory of the last read: a server under test sends the same bytes
//! to every subscriber, so when the bytes equal those just checked on another stream that stood at the same number,
//! one compare is the whole check.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use socket2::{Domain, Socket, Type};

use crate::{Result, checker::Checker, clock::Clock, http::Reader, payload::Event};

const READ_BYTES: usize = 256 * 1024;
/// Reads between two looks at the clock; bounds the error of a latency to the time they take.
const READS_PER_BATCH: usize = 128;
/// Reads longer than this are parsed each time.
const REPEAT_BYTES_MAX: usize = 32 * 1024;
/// Streams from one source address; the kernel has 28,232 ports for each.
const STREAMS_PER_SOURCE: u32 = 5_000;
/// Descriptors that are not streams.
const SPARE_DESCRIPTORS: u64 = 64;
/// With no stream opening for so long, opening has failed.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);

/// Which topic a stream asks for.
#[derive(Clone, Debug)]
pub(crate) enum Topic {
    Shared(String),
    /// Stream `i` asks for `{prefix}{i}`.
    Own(String),
}

impl Topic {
    pub(crate) fn of(&self, stream: usize) -> String {
        match self {
            Self::Shared(topic) => topic.clone(),
            Self::Own(prefix) => format!("{prefix}{stream}"),
        }
    }
}

/// Streams to open.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    pub(crate) topic: Topic,
    /// Connects and requests not yet answered, at most.
    pub(crate) in_flight: usize,
    /// Remember each stream's last id.
    pub(crate) keep_ids: bool,
    /// The ids to resume after, one per stream; empty for a fresh start.
    pub(crate) resume_after: Vec<Vec<u8>>,
}

impl Plan {
    /// Streams that start with what is published from now on.
    pub(crate) fn fresh(server: SocketAddr, topic: Topic) -> Self {
        Self { server, topic, in_flight: 256, keep_ids: false, resume_after: Vec::new() }
    }
}

struct Stream {
    socket: Option<OwnedFd>,
    requested: bool,
    reader: Reader,
}

/// The last read that was parsed, and what it held.
#[derive(Default)]
struct Repeat {
    bytes: Vec<u8>,
    /// The number at which a stream must stand for the bytes to mean the same to it; `None`: nothing remembered.
    next: Option<u32>,
    events: Vec<Event>,
    /// Streams that got the same bytes since the events were last counted.
    streams: u64,
}

/// All streams, their reader and their checks.
pub(crate) struct Streams {
    plan: Plan,
    clock: Clock,
    epoll: OwnedFd,
    streams: Vec<Stream>,
    started: usize,
    open: usize,
    closed: usize,
    first_close: Option<String>,
    ready: Vec<epoll::Event>,
    buffer: Vec<u8>,
    repeat: Repeat,
    ids: Vec<Vec<u8>>,
    pub(crate) checker: Checker,
    /// How long opening took.
    pub(crate) opened_in: Duration,
}

/// Raises the limit of open files to its hard maximum, for us and the servers we start.
pub(crate) fn raise_descriptor_limit() -> Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX).map_err(|error| format!("cannot read the limit of open files: {error}"))
}

impl Streams {
    /// Opens all streams and returns when each has its response head.
    pub(crate) fn open(plan: Plan, clock: Clock, checker: Checker, count: usize) -> Result<Self> {
        let limit = raise_descriptor_limit()?;
        let needed = count as u64 + SPARE_DESCRIPTORS;
        if needed > limit {
            return Err(format!(
                "{count} streams need {needed} open files and the limit is {limit}: raise it (ulimit -Hn) or lower --streams"
            ));
        }
        let mut this = Self {
            clock,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?,
            streams: (0..count).map(|_| Stream { socket: None, requested: false, reader: Reader::default() }).collect(),
            started: 0,
            open: 0,
            closed: 0,
            first_close: None,
            ready: Vec::with_capacity(READS_PER_BATCH),
            buffer: vec![0; READ_BYTES],
            repeat: Repeat::default(),
            ids: vec![Vec::new(); if plan.keep_ids { count } else { 0 }],
            checker,
            opened_in: Duration::ZERO,
            plan,
        };
        this.open_all()?;
        Ok(this)
    }

    /// Reads until `done` or the deadline, whichever is first. An error if every stream is gone.
    pub(crate) fn read_until(&mut self, deadline_ns: u64, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        while !done(self) {
            let now_ns = self.clock.now_ns();
            if now_ns >= deadline_ns {
                return Ok(());
            }
            if self.closed == self.streams.len() {
                return self.all_still_open();
            }
            self.turn(Duration::from_nanos(deadline_ns - now_ns).min(Duration::from_millis(50)))?;
        }
        Ok(())
    }

    /// One line about streams that the server has closed, if any.
    pub(crate) fn all_still_open(&self) -> Result<()> {
        match &self.first_close {
            Some(first) => {
                Err(format!("the server closed {} of {} streams; the first: {first}", self.closed, self.streams.len()))
            }
            None => Ok(()),
        }
    }

    /// Closes all streams, and gives the checks and ids back.
    pub(crate) fn close(self) -> (Checker, Vec<Vec<u8>>) {
        (self.checker, self.ids)
    }

    // ===== opening =====

    fn open_all(&mut self) -> Result<()> {
        let bar = bar(self.streams.len() as u64, "streams opened");
        let began = Instant::now();
        let (mut open, mut progress) = (0, Instant::now());
        while self.open < self.streams.len() {
            while self.started < self.streams.len() && self.started - self.open < self.plan.in_flight {
                self.start_one()?;
            }
            self.turn(Duration::from_millis(50))?;
            self.all_still_open()?;
            bar.set_position(self.open as u64);
            if self.open > open {
                (open, progress) = (self.open, Instant::now());
            } else if progress.elapsed() > OPEN_PATIENCE {
                return Err(format!(
                    "only {open} of {} streams opened, and none in the last {} s",
                    self.streams.len(),
                    OPEN_PATIENCE.as_secs()
                ));
            }
        }
        self.opened_in = began.elapsed();
        bar.finish_and_clear();
        Ok(())
    }

    fn start_one(&mut self) -> Result<()> {
        let index = self.started;
        self.started += 1;
        let connect = || -> std::io::Result<OwnedFd> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
            socket.bind(&SocketAddr::from(SocketAddrV4::new(next_source(), 0)).into())?;
            match socket.connect(&self.plan.server.into()) {
                Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
                _ => Ok(socket.into()),
            }
        };
        let socket = connect().map_err(|error| format!("cannot connect to {}: {}", self.plan.server, plain(&error)))?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), flags)
            .map_err(|error| format!("epoll: {error}"))?;
        self.streams[index].socket = Some(socket);
        Ok(())
    }

    fn request(&mut self, index: usize) -> Result<()> {
        let stream = &mut self.streams[index];
        let Some(socket) = &stream.socket else { return Ok(()) };
        if let Ok(Err(error)) = rustix::net::sockopt::socket_error(socket) {
            return Err(format!("cannot connect to {}: {}", self.plan.server, plain(&error.into())));
        }
        let mut request = format!(
            "GET /events/{} HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n",
            self.plan.topic.of(index),
            self.plan.server
        )
        .into_bytes();
        if let Some(id) = self.plan.resume_after.get(index) {
            request.extend_from_slice(b"last-event-id: ");
            request.extend_from_slice(id);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        match rustix::net::send(socket, &request, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == request.len() => {
                stream.requested = true;
                Ok(())
            }
            // Not connected yet: there will be another edge.
            Err(Errno::AGAIN | Errno::NOTCONN) => Ok(()),
            Ok(_) => Err("a request did not fit a fresh socket's buffer".to_owned()),
            Err(error) => Err(format!("cannot send a request to {}: {}", self.plan.server, plain(&error.into()))),
        }
    }

    // ===== reading =====

    fn turn(&mut self, wait: Duration) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for event in &ready {
            let index = event.data.u64() as usize;
            if !self.streams[index].requested {
                self.request(index)?;
            }
            let flags = event.flags;
            if flags.intersects(
                epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR,
            ) {
                self.read(index, flags.contains(epoll::EventFlags::RDHUP))?;
            }
        }
        self.count_repeats();
        self.checker.settle(self.clock.now_ns());
        self.ready = ready;
        Ok(())
    }

    fn read(&mut self, index: usize, hung_up: bool) -> Result<()> {
        loop {
            let Some(socket) = &self.streams[index].socket else { return Ok(()) };
            match rustix::net::recv(socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => {
                    let how = if self.streams[index].reader.has_ended() { "proper end of the body" } else { "cut off" };
                    self.lose(index, how);
                    return Ok(());
                }
                Ok((length, _)) => {
                    self.parse(index, length)?;
                    if self.streams[index].reader.has_ended() {
                        self.lose(index, "proper end of the body");
                    }
                    // A short read has emptied the socket; after a hang-up the end is still to be read.
                    if length < READ_BYTES && !hung_up {
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) if self.streams[index].requested => {
                    self.lose(index, &plain(&error.into()));
                    return Ok(());
                }
                Err(error) => return Err(format!("cannot connect to {}: {}", self.plan.server, plain(&error.into()))),
            }
        }
    }

    fn parse(&mut self, index: usize, length: usize) -> Result<()> {
        let next = self.checker.next(index);
        // Bytes of another topic would pass for this one's: the short way is for streams of one topic.
        let at_rest = self.streams[index].reader.is_at_rest() && !self.plan.keep_ids && self.checker.shares_topic();
        if at_rest && self.repeat.next == Some(next) && self.buffer[..length] == self.repeat.bytes[..] {
            self.checker.take_again(index, self.repeat.events.len() as u32);
            self.repeat.streams += 1;
            return Ok(());
        }
        // Only what holds nothing but events, all of them expected, may be remembered.
        let mut repeat = None;
        if at_rest && length <= REPEAT_BYTES_MAX {
            self.count_repeats();
            self.repeat.next = None;
            self.repeat.events.clear();
            repeat = Some(&mut self.repeat);
        }
        let stream = &mut self.streams[index];
        let was_open = stream.reader.is_open();
        let (checker, ids) = (&mut self.checker, &mut self.ids);
        let mut only_expected = true;
        stream
            .reader
            .feed(&self.buffer[..length], &mut |frame| {
                let event = checker.take(index, &frame);
                match (&mut repeat, event) {
                    (Some(repeat), Some(event)) => repeat.events.push(event),
                    _ => only_expected = false,
                }
                if let (Some(kept), Some(id)) = (ids.get_mut(index), frame.id) {
                    kept.clear();
                    kept.extend_from_slice(id);
                }
            })
            .map_err(|problem| format!("GET /events/{}: {problem}", self.plan.topic.of(index)))?;
        if !was_open && stream.reader.is_open() {
            self.open += 1;
        }
        if only_expected
            && stream.reader.is_at_rest()
            && let Some(repeat) = repeat
        {
            repeat.bytes.clear();
            repeat.bytes.extend_from_slice(&self.buffer[..length]);
            repeat.next = Some(next);
        }
        Ok(())
    }

    fn count_repeats(&mut self) {
        if self.repeat.streams > 0 {
            for &event in &self.repeat.events {
                self.checker.arrive(event, self.repeat.streams);
            }
            self.repeat.streams = 0;
        }
    }

    fn lose(&mut self, index: usize, how: &str) {
        self.streams[index].socket = None;
        self.closed += 1;
        self.first_close.get_or_insert_with(|| {
            format!(
                "{how} after {} events, {:.1} s into the run",
                self.checker.next(index),
                self.clock.now_ns() as f64 / 1e9
            )
        });
    }
}

/// A source address that has ports left: loopback has 16 million, so none is used for long enough to run out.
fn next_source() -> Ipv4Addr {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let source = STARTED.fetch_add(1, Ordering::Relaxed) / STREAMS_PER_SOURCE;
    let run = (std::process::id() % 250) as u8 + 1;
    Ipv4Addr::new(127, run, (source / 250) as u8, (source % 250) as u8 + 2)
}

/// The system's words without its "(os error 111)".
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// A progress bar on the terminal; draws nothing where there is none.
pub(crate) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("the template is a constant");
    ProgressBar::new(length).with_style(style).with_message(what)
}
