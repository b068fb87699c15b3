//! Clients that go from one gateway to the next, publishers that repeat what was not answered, and what must hold
//! of both: each acknowledged event comes exactly once, in order, or a gap is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The addresses of gateways, which may be started anew.
pub(crate) type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// An event as a client got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Event { id: String, data: String },
    Gap(String),
}

/// A client that keeps its place, and changes the gateway.
pub(crate) struct Client {
    got: Arc<Mutex<Vec<Got>>>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Reads a topic, for at most so long at each gateway.
    pub(crate) fn start(addresses: &Addresses, topic: &str, first: usize, stays: Duration) -> Client {
        let (got, stops) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (addresses, topic, into, ends) = (addresses.clone(), topic.to_owned(), got.clone(), stops.clone());
        let thread = thread::spawn(move || {
            let (mut last_id, mut at) = (String::new(), first);
            while !ends.load(Ordering::Relaxed) {
                let address = {
                    let addresses = addresses.lock();
                    addresses[at % addresses.len()]
                };
                at += 1;
                let until = Instant::now() + stays;
                let read = read(address, &topic, &mut last_id, &into, || {
                    ends.load(Ordering::Relaxed) || Instant::now() > until
                });
                if read.is_err() {
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
        Client { got, stops, thread: Some(thread) }
    }

    /// What it has got so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().clone()
    }

    /// Whether it has got an event with these data.
    pub(crate) fn has(&self, data: &str) -> bool {
        self.got.lock().iter().rev().any(|got| matches!(got, Got::Event { data: found, .. } if found == data))
    }

    pub(crate) fn gaps(&self) -> Vec<String> {
        let gaps = self.got();
        gaps.into_iter().filter_map(|got| if let Got::Gap(data) = got { Some(data) } else { None }).collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || thread::panicking());
    }
}

/// Reads a stream by HTTP/1.0, which ends with its connection.
fn read(
    address: SocketAddr,
    topic: &str,
    last_id: &mut String,
    into: &Mutex<Vec<Got>>,
    ends: impl Fn() -> bool,
) -> std::io::Result<()> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    // The first time from the start, as `earliest` asks for.
    let field = if last_id.is_empty() { "earliest".to_owned() } else { last_id.clone() };
    write!(socket, "GET /events/{topic} HTTP/1.0\r\nlast-event-id: {field}\r\n\r\n")?;
    let mut reader = BufReader::new(socket);
    let (mut line, mut in_head) = (Vec::new(), true);
    let (mut id, mut data, mut event) = (None, None, None);
    while !ends() {
        // What was read of a line before a time-out stays.
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) if !line.ends_with(b"\n") => continue,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error),
        }
        let text = String::from_utf8(std::mem::take(&mut line)).expect("UTF-8");
        let text = text.trim_end_matches(['\r', '\n']);
        if in_head {
            assert!(!text.starts_with("HTTP/") || text.contains(" 200 "), "{text}");
            in_head = !text.is_empty();
            continue;
        }
        if let Some(value) = text.strip_prefix("id: ") {
            id = Some(value.to_owned());
        } else if let Some(value) = text.strip_prefix("data: ") {
            data = Some(value.to_owned());
        } else if let Some(value) = text.strip_prefix("event: ") {
            event = Some(value.to_owned());
        } else if text.is_empty() {
            // The grammar's order: the id counts with the blank line, whether there are data or not.
            if let Some(id) = &id {
                last_id.clone_from(id);
            }
            if let Some(data) = data.take() {
                let is_gap = event.as_deref() == Some("gap");
                let id = last_id.clone();
                into.lock().push(if is_gap { Got::Gap(data) } else { Got::Event { id, data } });
            }
            (id, event) = (None, None);
        }
    }
    Ok(())
}

/// A publisher whose events are numbers, one after the other, each with a key of its own, repeated until it is answered.
pub(crate) struct Publisher {
    acknowledged: Arc<Mutex<Vec<(u64, String)>>>,
    next: Arc<AtomicU64>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Publishes to a topic by these control addresses in turn, with this pause between two events.
    pub(crate) fn start(addresses: &Addresses, topic: &str, pause: Duration) -> Publisher {
        let (acknowledged, stops) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let next = Arc::new(AtomicU64::new(0));
        let (addresses, topic, into, ends) = (addresses.clone(), topic.to_owned(), acknowledged.clone(), stops.clone());
        let number = next.clone();
        let thread = thread::spawn(move || {
            let mut at = 0;
            while !ends.load(Ordering::Relaxed) {
                let n = number.fetch_add(1, Ordering::Relaxed);
                let key = format!("{topic}-{n}");
                loop {
                    at += 1;
                    let address = {
                        let addresses = addresses.lock();
                        addresses[at % addresses.len()]
                    };
                    match publish(address, &topic, &n.to_string(), Some(&key)) {
                        Ok((200, body)) => {
                            let id = serde_json::from_str::<serde_json::Value>(&body).expect("JSON")["id"].clone();
                            into.lock().push((n, id.as_str().expect("it is kept").to_owned()));
                            break;
                        }
                        Ok((503, _)) | Err(_) if !ends.load(Ordering::Relaxed) => {
                            thread::sleep(Duration::from_millis(50));
                        }
                        Ok((503, _)) | Err(_) => return,
                        Ok((status, body)) => panic!("{status}: {body}"),
                    }
                }
                thread::sleep(pause);
            }
        });
        Publisher { acknowledged, next, stops, thread: Some(thread) }
    }

    /// How many events were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.lock().len()
    }

    /// Ends it, and answers what was acknowledged: numbers and ids.
    pub(crate) fn stop(mut self) -> Vec<(u64, String)> {
        self.stops.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("it ends well");
        let acknowledged = self.acknowledged.lock();
        acknowledged.clone()
    }
}

/// Publishes an event; answers the status and the body.
pub(crate) fn publish(
    address: SocketAddr,
    topic: &str,
    data: &str,
    key: Option<&str>,
) -> std::io::Result<(u16, String)> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let (length, key) = (data.len(), key.map_or(String::new(), |key| format!("idempotency-key: {key}\r\n")));
    write!(socket, "POST /events/{topic} HTTP/1.0\r\ncontent-length: {length}\r\n{key}\r\n{data}")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// Holds what a client got against what was acknowledged. Answers its gaps.
#[track_caller]
pub(crate) fn check(client: &Client, acknowledged: &[(u64, String)]) -> Vec<String> {
    let got = client.got();
    let mut numbers = Vec::new();
    let mut ids = std::collections::HashMap::new();
    for event in &got {
        let Got::Event { id, data } = event else { continue };
        let number: u64 = data.parse().expect("a number");
        numbers.push(number);
        let before = ids.insert(number, id.clone());
        assert_eq!(before, None, "{number} came twice, now as {id}; gaps: {:?}", client.gaps());
    }
    assert!(numbers.is_sorted(), "out of order: {:?}", numbers.windows(2).find(|pair| pair[0] > pair[1]));
    let gaps = client.gaps();
    let missing: Vec<_> = acknowledged.iter().filter(|(number, _)| !ids.contains_key(number)).collect();
    assert!(
        missing.is_empty() || !gaps.is_empty(),
        "not told of {} lost: {:?}",
        missing.len(),
        &missing[..missing.len().min(5)]
    );
    for (number, id) in acknowledged {
        assert!(ids.get(number).is_none_or(|came| came == id), "{number} was acknowledged as {id}");
    }
    gaps
}
