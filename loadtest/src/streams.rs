//! Many open streams read by one thread: epoll, one shared read buffer, and as little work per delivery as can be,
//! since the client shares its machine with the server it measures.
//!
//! Two things keep a delivery cheap. Edge-triggered readiness and a buffer larger than any socket's: one `recv` per
//! wake-up, and a short read means "empty". And a memory of the last read: a server under test sends the same bytes
//! to every subscriber, so when the bytes equal those just checked on another stream that stood at the same number,
//! one compare is the whole check.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::{
    Result,
    checker::{Checker, Keys, Reading},
    clock::Clock,
    http::Reader,
    payload::Event,
    profile::Subscribe,
    tally::Status,
    tls::{self, Tls},
};

const READ_BYTES: usize = 256 * 1024;
/// Reads between two looks at the clock; bounds the error of a latency to the time they take.
const READS_PER_BATCH: usize = 128;
/// Reads longer than this are parsed each time.
const REPEAT_BYTES_MAX: usize = 32 * 1024;
/// Streams from one source address; the kernel has 28,232 ports for each.
const STREAMS_PER_SOURCE: u32 = 5_000;
/// Descriptors that are not streams.
pub(crate) const SPARE_DESCRIPTORS: u64 = 64;
/// What a stalled reader's kernel takes in for it: as little as there can be.
const STALLED_BUFFER_BYTES: usize = 2_048;

/// Which topic a stream asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Topic {
    Shared(String),
    /// Stream `i` asks for `{prefix}{i % topics}`.
    Own {
        prefix: String,
        topics: u32,
    },
    /// Streams with an even number ask for the first, the others for the second.
    Turns([String; 2]),
}

impl Topic {
    fn of(&self, stream: u32) -> String {
        match self {
            Self::Shared(topic) => topic.clone(),
            Self::Own { prefix, topics } => format!("{prefix}{}", stream % topics),
            Self::Turns(both) => both[stream as usize % 2].clone(),
        }
    }

    fn keys(&self) -> Keys {
        match self {
            Self::Shared(_) | Self::Turns(_) => Keys::Shared,
            Self::Own { topics, .. } => Keys::ByTopic(*topics),
        }
    }
}

/// A topic that no other run has used, so that a server that already runs has no history of it.
pub(crate) fn fresh_topic(name: &str) -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("load/{name}-{since:x}-{}", USED.fetch_add(1, Ordering::Relaxed))
}

/// Streams to open.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Plan {
    pub(crate) clock: Clock,
    pub(crate) server: SocketAddr,
    pub(crate) subscribe: Subscribe,
    pub(crate) topic: Topic,
    /// The number of the first stream, and how many there are.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Connects and requests not yet answered, at most.
    pub(crate) in_flight: u32,
    pub(crate) reading: Reading,
    /// Remember each stream's last id, to resume after it.
    pub(crate) keep_ids: bool,
    /// The part of the streams that read nothing after the response's head, 0 to 1.
    pub(crate) stalled: f64,
    /// Source addresses are 127.n.x.y.
    pub(crate) source: u8,
}

impl Plan {
    /// Whether a stream stalls: so many of them, evenly spread.
    fn stalls(&self, stream: u32) -> bool {
        let before = |stream: u32| (f64::from(stream) * self.stalled) as u32;
        before(stream + 1) > before(stream)
    }
}

#[derive(Default)]
struct Stream {
    socket: Option<OwnedFd>,
    tls: Option<Tls>,
    requested: bool,
    reader: Reader,
    stalled: bool,
    /// The last id it saw.
    id: Option<Rc<[u8]>>,
}

/// The last read that was parsed, and what it held.
#[derive(Default)]
struct Repeat {
    bytes: Vec<u8>,
    /// The number at which a stream must stand for the bytes to mean the same to it; `None`: nothing remembered.
    next: Option<u32>,
    /// The number at which it stands after them.
    after: u32,
    events: Vec<Event>,
    last_id: Option<Rc<[u8]>>,
    /// Streams that got the same bytes since the events were last counted.
    streams: u64,
}

/// Streams that are closed and opened again, one after another.
struct Churn {
    from_ns: u64,
    per_second: f64,
    done: u64,
    next: usize,
}

/// All streams, their reader and their checks.
pub(crate) struct Streams {
    plan: Plan,
    clock: Clock,
    epoll: OwnedFd,
    streams: Vec<Stream>,
    /// Streams to open; those being opened are no longer in it.
    pending: VecDeque<usize>,
    opening: u32,
    connects: u32,
    churn: Option<Churn>,
    ready: Vec<epoll::Event>,
    buffer: Vec<u8>,
    /// For streams over TLS: what they share, and what was decrypted last.
    tls: Option<Arc<ClientConfig>>,
    opened: Vec<u8>,
    repeat: Repeat,
    pub(crate) status: Status,
    pub(crate) checker: Checker,
}

/// Raises the limit of open files to its hard maximum, for us and the servers we start.
pub(crate) fn raise_descriptor_limit() -> Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX).map_err(|error| format!("cannot read the limit of open files: {error}"))
}

impl Streams {
    /// Begins to open all streams.
    pub(crate) fn new(plan: Plan) -> Result<Self> {
        raise_descriptor_limit()?;
        let streams = (0..plan.count).map(|i| Stream { stalled: plan.stalls(plan.first + i), ..Stream::default() });
        Ok(Self {
            clock: plan.clock,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?,
            streams: streams.collect(),
            pending: (0..plan.count as usize).collect(),
            opening: 0,
            connects: 0,
            churn: None,
            ready: Vec::with_capacity(READS_PER_BATCH),
            buffer: vec![0; READ_BYTES],
            tls: plan.subscribe.tls.then(tls::config).transpose()?,
            opened: Vec::new(),
            repeat: Repeat::default(),
            status: Status::default(),
            checker: Checker::new(plan.count as usize, plan.first, &plan.reading, plan.topic.keys(), &plan.subscribe),
            plan,
        })
    }

    /// Waits for what comes, for so long at most, and takes it in.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<()> {
        self.churn_on();
        while self.opening < self.plan.in_flight
            && let Some(index) = self.pending.pop_front()
        {
            self.connect(index)?;
        }
        self.take_in(wait)?;
        self.status.delivered = self.checker.delivered();
        self.status.comments = self.checker.comments();
        Ok(())
    }

    /// Closes all streams; each comes back after the last id it saw when they are opened again.
    pub(crate) fn drop_all(&mut self) -> Result<()> {
        if let Some(without) = self.streams.iter().position(|stream| stream.id.is_none()) {
            let without = self.plan.first as usize + without;
            return Err(format!("stream {without} got no id, and cannot resume"));
        }
        (0..self.streams.len()).for_each(|index| self.hang_up(index));
        self.pending.clear();
        self.opening = 0;
        Ok(())
    }

    /// Begins to open again what was dropped.
    pub(crate) fn open_all(&mut self) {
        self.pending = (0..self.streams.len()).collect();
    }

    /// From now on closes and opens so many streams a second, each after the last id it saw; 0 ends it.
    pub(crate) fn churn(&mut self, per_second: f64) {
        let from_ns = self.clock.now_ns();
        self.churn = (per_second > 0.0).then_some(Churn { from_ns, per_second, done: 0, next: 0 });
    }

    /// Lets the stalled streams read on.
    pub(crate) fn wake_stalled(&mut self) -> Result<()> {
        for index in 0..self.streams.len() {
            if std::mem::take(&mut self.streams[index].stalled)
                && let Some(socket) = &self.streams[index].socket
            {
                self.status.stalled_open += 1;
                listen_to(&self.epoll, socket, index)?;
            }
        }
        Ok(())
    }

    /// Whether a stream is to have all events: not one that stalls, unless it was woken, nor one that was closed.
    pub(crate) fn is_due_all(&self, index: usize) -> bool {
        let stream = &self.streams[index];
        !stream.stalled && (stream.socket.is_some() || !self.plan.stalls(self.plan.first + index as u32))
    }

    fn churn_on(&mut self) {
        let Some(churn) = &mut self.churn else { return };
        let due = (self.clock.now_ns().saturating_sub(churn.from_ns) as f64 / 1e9 * churn.per_second) as u64;
        let count = due.saturating_sub(churn.done);
        churn.done = due;
        let (from, all) = (churn.next, self.streams.len());
        churn.next = (from + count as usize) % all;
        for index in (from..from + count as usize).map(|index| index % all) {
            let stream = &self.streams[index];
            // Who has no id yet could not resume.
            if stream.reader.is_open() && !stream.stalled && stream.id.is_some() {
                self.hang_up(index);
                self.pending.push_back(index);
                self.status.churned += 1;
            }
        }
    }

    fn hang_up(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if stream.reader.is_open() {
            self.status.open -= u64::from(stream.socket.is_some());
        }
        stream.socket = None;
        stream.tls = None;
        stream.requested = false;
        stream.reader = Reader::default();
    }

    // ===== opening =====

    fn connect(&mut self, index: usize) -> Result<()> {
        let source = next_source(self.plan.source, self.connects);
        self.connects += 1;
        self.opening += 1;
        let stalled = self.streams[index].stalled;
        let buffer_bytes = stalled.then_some(STALLED_BUFFER_BYTES);
        let socket = connect(source, self.plan.server, buffer_bytes).map_err(|error| self.cannot_connect(&error))?;
        listen_to(&self.epoll, &socket, index)?;
        self.streams[index].socket = Some(socket);
        Ok(())
    }

    fn cannot_connect(&self, error: &std::io::Error) -> String {
        format!("cannot connect to {}: {}", self.plan.server, plain(error))
    }

    fn request(&mut self, index: usize) -> Result<()> {
        let Some(socket) = &self.streams[index].socket else { return Ok(()) };
        if let Ok(Err(error)) = rustix::net::sockopt::socket_error(socket) {
            return Err(self.cannot_connect(&error.into()));
        }
        let topic = self.plan.topic.of(self.plan.first + index as u32);
        let request = self.plan.subscribe.request(self.plan.server, &topic, self.streams[index].id.as_deref());
        if let Some(config) = &self.tls {
            let mut asking = Tls::asking(config, &request)?;
            return match asking.send(socket) {
                Ok(()) => {
                    self.streams[index].tls = Some(asking);
                    self.streams[index].requested = true;
                    Ok(())
                }
                Err(Errno::AGAIN | Errno::NOTCONN) => Ok(()),
                Err(error) => Err(self.cannot_connect(&error.into())),
            };
        }
        match rustix::net::send(socket, &request, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == request.len() => {
                self.streams[index].requested = true;
                Ok(())
            }
            // Not connected yet: there will be another edge.
            Err(Errno::AGAIN | Errno::NOTCONN) => Ok(()),
            Ok(_) => Err("a request did not fit a fresh socket's buffer".to_owned()),
            Err(error) => Err(format!("cannot send a request to {}: {}", self.plan.server, plain(&error.into()))),
        }
    }

    // ===== reading =====

    fn take_in(&mut self, wait: Duration) -> Result<()> {
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
        let now_ns = self.clock.now_ns();
        if self.checker.settle(now_ns) {
            self.status.last_arrival_ns = now_ns;
        }
        self.ready = ready;
        Ok(())
    }

    fn read(&mut self, index: usize, hung_up: bool) -> Result<()> {
        loop {
            let stream = &self.streams[index];
            let Some(socket) = &stream.socket else { return Ok(()) };
            if stream.stalled && stream.reader.is_open() {
                return epoll::delete(&self.epoll, socket).map_err(|error| format!("epoll: {error}"));
            }
            match rustix::net::recv(socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => {
                    let how = if stream.reader.has_ended() { "proper end of the body" } else { "cut off" };
                    self.lose(index, how);
                    return Ok(());
                }
                Ok((length, _)) => {
                    self.take(index, length)?;
                    if self.streams[index].reader.has_ended() {
                        self.lose(index, "proper end of the body");
                    }
                    // A short read has emptied the socket; after a hang-up the end is still to be read.
                    if length < READ_BYTES && !hung_up && !self.streams[index].stalled {
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) if stream.requested => {
                    self.lose(index, &plain(&error.into()));
                    return Ok(());
                }
                Err(error) => return Err(self.cannot_connect(&error.into())),
            }
        }
    }

    /// Takes in what was read.
    fn take(&mut self, index: usize, length: usize) -> Result<()> {
        let Stream { socket: Some(socket), tls: Some(tls), .. } = &mut self.streams[index] else {
            return self.parse(index, length);
        };
        let plain = tls.open(&self.buffer[..length], &mut self.opened)?;
        // An answer of the handshake, or the request. A server that has gone is noticed when it is read from.
        let _ = tls.send(socket);
        if plain == 0 {
            return Ok(());
        }
        // Where what is read stands otherwise. Its length stays what a read may fill.
        std::mem::swap(&mut self.buffer, &mut self.opened);
        let parsed = self.parse(index, plain);
        std::mem::swap(&mut self.buffer, &mut self.opened);
        parsed
    }

    fn parse(&mut self, index: usize, length: usize) -> Result<()> {
        let next = self.checker.next(index);
        let stream = &mut self.streams[index];
        // Bytes of another topic would pass for this one's: the short way is for streams of one topic.
        let at_rest = stream.reader.is_at_rest() && self.checker.shares_topic();
        if at_rest && self.repeat.next == Some(next) && self.buffer[..length] == self.repeat.bytes[..] {
            self.checker.take_again(index, self.repeat.after);
            self.repeat.streams += 1;
            if self.plan.keep_ids {
                stream.id.clone_from(&self.repeat.last_id);
            }
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
        let (checker, keep_ids) = (&mut self.checker, self.plan.keep_ids);
        let mut only_expected = true;
        let mut id = None;
        stream
            .reader
            .feed(&self.buffer[..length], &mut |frame| {
                let event = checker.take(index, &frame);
                match (&mut repeat, event) {
                    (Some(repeat), Some(event)) => repeat.events.push(event),
                    _ => only_expected = false,
                }
                if keep_ids && let Some(seen) = frame.id {
                    id = Some(Rc::from(seen));
                }
            })
            .map_err(|problem| {
                format!("subscribing to {}: {problem}", self.plan.topic.of(self.plan.first + index as u32))
            })?;
        if !was_open && stream.reader.is_open() {
            self.opening -= 1;
            self.status.open += 1;
            self.status.opened_ns = self.clock.now_ns();
        }
        if id.is_some() {
            stream.id.clone_from(&id);
        }
        if only_expected
            && stream.reader.is_at_rest()
            && let Some(repeat) = repeat
        {
            repeat.bytes.clear();
            repeat.bytes.extend_from_slice(&self.buffer[..length]);
            repeat.next = Some(next);
            repeat.after = self.checker.next(index);
            repeat.last_id = id;
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
        let stream = &mut self.streams[index];
        let was_open = stream.reader.is_open();
        stream.socket = None;
        stream.tls = None;
        self.status.open -= u64::from(was_open);
        // A server may well give up a stream that stalls.
        if self.plan.stalls(self.plan.first + index as u32) && was_open {
            self.status.stalled_closed += 1;
            return;
        }
        self.status.closed += 1;
        self.status.first_close.get_or_insert_with(|| {
            format!(
                "{how} after {} events, {:.1} s into the run",
                self.checker.next(index),
                self.clock.now_ns() as f64 / 1e9
            )
        });
    }
}

/// Begins to connect.
pub(crate) fn connect(
    source: Ipv4Addr,
    server: SocketAddr,
    receive_buffer_bytes: Option<usize>,
) -> std::io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&SocketAddr::from(SocketAddrV4::new(source, 0)).into())?;
    match socket.connect(&server.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
    }
}

pub(crate) fn listen_to(epoll: &OwnedFd, socket: &OwnedFd, index: usize) -> Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    epoll::add(epoll, socket, epoll::EventData::new_u64(index as u64), flags).map_err(|error| format!("epoll: {error}"))
}

/// A source address that has ports left: loopback has 16 million, so none is used for long enough to run out.
pub(crate) fn next_source(run: u8, connects: u32) -> Ipv4Addr {
    let source = connects / STREAMS_PER_SOURCE;
    Ipv4Addr::new(127, run, (source / 250 % 250) as u8, (source % 250) as u8 + 2)
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
