//! The publisher: one thread that sends a request whenever one is due, and another that reads the replies. It never
//! waits for a reply to keep its schedule (requests are pipelined on one keep-alive connection), and an event is
//! stamped with the time it was due, so a server that stalls is charged for the stall.

use std::{
    collections::BTreeMap,
    io::{BufReader, Write},
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
    clock::{Clock, Schedule},
    payload::{Event, Layout},
    profile::{Escape, Publish, escaped, fill},
    request::{connect, read_reply},
    server::Server,
    streams,
};

/// Requests without a reply, at most; beyond it the publisher waits, and the stamps tell.
const PIPELINED_MAX: u32 = 256;

/// Which replies requests get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replies {
    /// HTTP's, and so many requests may go without.
    Http {
        ahead: u32,
    },
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
    /// Starts to send requests. `write` appends the bytes of request `k`, due at the given time.
    pub(crate) fn start(
        server: &Server,
        clock: Clock,
        schedule: Schedule,
        mut write: impl FnMut(u32, u64, &mut Vec<u8>) + Send + 'static,
    ) -> Result<Self> {
        let publish = &server.profile.publish;
        let replies = match (&publish.raw, publish.pipelined) {
            (Some(_), _) => Replies::None,
            (None, true) => Replies::Http { ahead: PIPELINED_MAX },
            (None, false) => Replies::Http { ahead: 1 },
        };
        let server = server.control;
        let connection = connect(server)?;
        let shared = Arc::new(Shared::default());
        let duplicate = || connection.try_clone().map_err(|error| format!("publisher: {error}"));
        let (mut to_server, from_server) = (duplicate()?, duplicate()?);
        let reader = (replies != Replies::None).then(|| {
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
                while let Replies::Http { ahead } = replies
                    && k - shared.answered.load(Ordering::Relaxed) >= ahead
                {
                    if shared.has_stopped() {
                        return k;
                    }
                    thread::sleep(Duration::from_micros(200));
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
        let requests = Requests::new(server);
        let topic = topic.to_owned();
        Self::start(server, clock, schedule, move |k, due_ns, bytes| {
            requests.one(&topic, bytes, |data| layout.write(Event { number: first + k, due_ns, key: 0 }, data));
        })
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

/// How a profile's publish requests are written.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    publish: Publish,
    host: SocketAddr,
}

impl Requests {
    pub(crate) fn new(server: &Server) -> Self {
        Self { publish: server.profile.publish.clone(), host: server.control }
    }

    /// Appends the request that publishes one event; `write` appends its data.
    pub(crate) fn one(&self, topic: &str, bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut data = Vec::new();
        write(&mut data);
        let publish = &self.publish;
        if let Some(raw) = &publish.raw {
            return put(raw, topic, &data, Escape::None, bytes);
        }
        let mut body = Vec::new();
        put(&publish.body, &escaped(topic), &data, publish.escape, &mut body);
        self.request(&publish.path, &publish.headers, topic, &body, bytes);
    }

    /// Appends the request that publishes several events; an error if the server takes no such request.
    pub(crate) fn batch<'a>(
        &self,
        events: impl Iterator<Item = (&'a str, Event)>,
        layout: &Layout,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        if self.publish.raw.is_some() {
            for (topic, event) in events {
                self.one(topic, bytes, |data| layout.write(event, data));
            }
            return Ok(());
        }
        let batch = self.publish.batch.as_ref().ok_or("the server takes no batches")?;
        let mut body = batch.before.clone().into_bytes();
        let mut data = Vec::new();
        for (index, (topic, event)) in events.enumerate() {
            if index > 0 {
                body.extend_from_slice(batch.between.as_bytes());
            }
            data.clear();
            layout.write(event, &mut data);
            put(&batch.item, topic, &data, batch.escape, &mut body);
        }
        body.extend_from_slice(batch.after.as_bytes());
        self.request(&batch.path, &batch.headers, "", &body, bytes);
        Ok(())
    }

    pub(crate) fn takes_batches(&self) -> bool {
        self.publish.raw.is_some() || self.publish.batch.is_some()
    }

    fn request(&self, path: &str, headers: &BTreeMap<String, String>, topic: &str, body: &[u8], bytes: &mut Vec<u8>) {
        let path = fill(path, &[("topic", &escaped(topic))]);
        let _ = write!(bytes, "{} {path} HTTP/1.1\r\nhost: {}\r\n", self.publish.method, self.host);
        for (name, value) in headers {
            let _ = write!(bytes, "{name}: {value}\r\n");
        }
        let _ = write!(bytes, "content-length: {}\r\n\r\n", body.len());
        bytes.extend_from_slice(body);
    }
}

/// Appends a template with `{topic}` and `{data}` filled in.
fn put(template: &str, topic: &str, data: &[u8], escape: Escape, out: &mut Vec<u8>) {
    let (before, after) = template.split_once("{data}").unwrap_or((template, ""));
    out.extend_from_slice(fill(before, &[("topic", topic)]).as_bytes());
    if before.len() < template.len() {
        escape.write(data, out);
    }
    out.extend_from_slice(fill(after, &[("topic", topic)]).as_bytes());
}

fn read_replies(connection: TcpStream, count: u32, shared: &Shared) -> Result<()> {
    let mut replies = BufReader::new(connection);
    for _ in 0..count {
        read_reply(&mut replies)?;
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
