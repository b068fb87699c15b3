//! The publisher: one thread that sends a request whenever one is due, and another that reads the replies. It never
//! waits for a reply to keep its schedule (requests are pipelined on one keep-alive connection), and an event is
//! stamped with the time it was due, so a server that stalls is charged for the stall.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    Result,
    args::Kind,
    clock::{Clock, Schedule},
    http,
    payload::{Event, Layout},
    server::Server,
    streams,
};

/// Requests without a reply, at most; beyond it the publisher waits, and the stamps tell.
const PIPELINED_MAX: u32 = 256;
/// A server that answers nothing for so long has failed.
const REPLY_PATIENCE: Duration = Duration::from_secs(20);

/// Whether requests are HTTP, with replies, or lines to the floor server, without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replies {
    Http,
    None,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU32,
    problem: Mutex<Option<String>>,
}

/// A publisher at work. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    connection: TcpStream,
    writer: Option<JoinHandle<u32>>,
    reader: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts to send. `write` appends the bytes of request `k`, due at the given time.
    pub(crate) fn start(
        server: SocketAddr,
        clock: Clock,
        schedule: Schedule,
        replies: Replies,
        mut write: impl FnMut(u32, u64, &mut Vec<u8>) + Send + 'static,
    ) -> Result<Self> {
        let connection = connect(server)?;
        let shared = Arc::new(Shared::default());
        let duplicate = || connection.try_clone().map_err(|error| format!("publisher: {error}"));
        let (mut to_server, from_server) = (duplicate()?, duplicate()?);
        let reader = (replies == Replies::Http).then(|| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if let Err(problem) = read_replies(from_server, schedule.count, &shared) {
                    shared.fail(problem);
                }
            })
        });
        let for_writer = Arc::clone(&shared);
        let writer = thread::spawn(move || {
            let shared = for_writer;
            let mut bytes = Vec::new();
            for k in 0..schedule.count {
                let due_ns = schedule.due_ns(k);
                clock.sleep_until(due_ns);
                while replies == Replies::Http && k - shared.answered.load(Ordering::Relaxed) >= PIPELINED_MAX {
                    if shared.has_stopped() {
                        return k;
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                if shared.has_stopped() {
                    return k;
                }
                bytes.clear();
                write(k, due_ns, &mut bytes);
                if let Err(error) = to_server.write_all(&bytes) {
                    shared.fail(format!("publishing to {server} failed: {}", streams::plain(&error)));
                    return k;
                }
            }
            schedule.count
        });
        Ok(Self { shared, connection, writer: Some(writer), reader })
    }

    /// Starts to publish one event after another to one topic, the first with the number `first`.
    pub(crate) fn of_events(
        server: &Server,
        clock: Clock,
        schedule: Schedule,
        topic: &str,
        layout: Layout,
        first: u32,
    ) -> Result<Self> {
        let path = format!("/events/{topic}");
        let event = move |k, due_ns| Event { number: first + k, due_ns, key: 0 };
        match server.kind {
            Kind::Gateway => Self::start(server.control, clock, schedule, Replies::Http, move |k, due_ns, bytes| {
                post(&path, "text/plain", bytes, |body| layout.write(event(k, due_ns), body));
            }),
            Kind::Floor => Self::start(server.control, clock, schedule, Replies::None, move |k, due_ns, bytes| {
                layout.write(event(k, due_ns), bytes);
                bytes.push(b'\n');
            }),
        }
    }

    /// The first thing that went wrong, if anything did.
    pub(crate) fn check(&self) -> Result<()> {
        self.shared.problem.lock().expect("no thread panics with it").clone().map_or(Ok(()), Err)
    }

    /// Whether there is a problem, cheaply.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.has_stopped()
    }

    /// Waits for the last reply.
    pub(crate) fn finish(mut self) -> Result<()> {
        for thread in
            [self.writer.take().map(|writer| writer.join().map(drop)), self.reader.take().map(JoinHandle::join)]
        {
            if let Some(Err(_)) = thread {
                return Err("the publisher panicked".to_owned());
            }
        }
        self.check()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn fail(&self, problem: String) {
        if !self.stop.swap(true, Ordering::Relaxed) {
            *self.problem.lock().expect("no thread panics with it") = Some(problem);
        }
    }

    fn has_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A connection for publishing.
pub(crate) fn connect(server: SocketAddr) -> Result<TcpStream> {
    let connect = || {
        let connection = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(REPLY_PATIENCE))?;
        connection.set_write_timeout(Some(REPLY_PATIENCE))?;
        Ok(connection)
    };
    connect()
        .map_err(|error: std::io::Error| format!("cannot connect to {server} to publish: {}", streams::plain(&error)))
}

/// Appends a POST request around the body that `write` appends.
pub(crate) fn post(path: &str, content_type: &str, bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    write(&mut body);
    let _ = write!(
        bytes,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    bytes.extend_from_slice(&body);
}

fn read_replies(connection: TcpStream, count: u32, shared: &Shared) -> Result<()> {
    let mut replies = BufReader::new(connection);
    for _ in 0..count {
        read_reply(&mut replies)?;
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads one reply to its end; an error unless it is a 2xx.
pub(crate) fn read_reply(replies: &mut BufReader<TcpStream>) -> Result<()> {
    let told = |error: std::io::Error| format!("no reply to a publish: {}", streams::plain(&error));
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if replies.read_until(b'\n', &mut bytes).map_err(told)? == 0 {
            return Err("the server closed the publisher's connection".to_owned());
        }
    }
    let head = http::head(&bytes)?.ok_or("a reply without a head")?;
    let mut body = Vec::new();
    match head.body {
        http::Body::Counted(length) => {
            replies.by_ref().take(length).read_to_end(&mut body).map_err(told)?;
        }
        http::Body::Chunked(mut chunked) => {
            while chunked != http::Chunked::End {
                let input = replies.fill_buf().map_err(told)?;
                if input.is_empty() {
                    return Err("the server closed the publisher's connection".to_owned());
                }
                let mut rest = input;
                while let Some(piece) = chunked.next(&mut rest)? {
                    body.extend_from_slice(piece);
                }
                let used = input.len() - rest.len();
                replies.consume(used);
            }
        }
        http::Body::UntilClose if head.status == 204 => {}
        http::Body::UntilClose => return Err("a reply without a length".to_owned()),
    }
    if head.status / 100 == 2 { Ok(()) } else { Err(format!("a publish was {}", http::refusal(&head, &body))) }
}
