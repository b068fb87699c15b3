//! The load client against a small gateway of threads that can be told to misbehave: every scenario passes with an
//! honest one, and each kind of failure is named in one line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

/// What the gateway does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Leaves out an event.
    Lose,
    /// Leaves out an event, for one stream alone.
    LoseOne,
    /// Changes a byte of an event, for one stream alone.
    CorruptOne,
    /// Sends an event twice.
    Double,
    /// Sends two events in the wrong order.
    Reorder,
    /// Changes a byte of an event.
    Corrupt,
    /// Closes a stream after some events.
    Close,
    /// Answers subscribers 404.
    NotFound,
    /// Answers subscribers with a page.
    Page,
    /// Answers publishers 403.
    Forbid,
    /// Sends no ids.
    NoIds,
}

/// The event at which faults happen.
const FAULTY: usize = 5;

struct Subscriber {
    topic: String,
    socket: TcpStream,
}

struct Gateway {
    fault: Fault,
    log: Vec<(String, String)>,
    subscribers: Vec<Subscriber>,
}

impl Gateway {
    /// Starts one; it lives as long as the test.
    fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Arc::new(Mutex::new(Self { fault, log: Vec::new(), subscribers: Vec::new() }));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let gateway = Arc::clone(&gateway);
                thread::spawn(move || Self::serve(&gateway, connection));
            }
        });
        address
    }

    fn serve(gateway: &Mutex<Self>, mut connection: TcpStream) {
        let mut input = BufReader::new(connection.try_clone().unwrap());
        loop {
            let (mut request, mut length, mut resume_after) = (String::new(), 0, None);
            loop {
                let mut line = String::new();
                if input.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                match line.trim_end().split_once(": ") {
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(("last-event-id", value)) => resume_after = Some(value[2..].parse::<usize>().unwrap()),
                    _ if line == "\r\n" => break,
                    _ if request.is_empty() => request = line,
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            input.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            let mut words = request.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let topic = path.strip_prefix("/events").unwrap().trim_start_matches('/');
            if method == "GET" {
                return gateway.lock().unwrap().subscribe(topic, connection, resume_after);
            }
            let reply = gateway.lock().unwrap().publish(topic, &body);
            connection.write_all(reply.as_bytes()).unwrap();
        }
    }

    fn subscribe(&mut self, topic: &str, mut socket: TcpStream, resume_after: Option<usize>) {
        let head = match self.fault {
            Fault::NotFound => "HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\nno such topic",
            Fault::Page => "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<p>",
            _ => {
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n3\r\n:\n\n\r\n"
            }
        };
        let mut bytes = head.as_bytes().to_vec();
        for seq in resume_after.map_or(self.log.len(), |seq| seq + 1)..self.log.len() {
            if self.log[seq].0 == topic {
                bytes.extend(self.frame(seq));
            }
        }
        socket.write_all(&bytes).unwrap();
        self.subscribers.push(Subscriber { topic: topic.to_owned(), socket });
    }

    fn publish(&mut self, topic: &str, body: &str) -> String {
        if self.fault == Fault::Forbid {
            return "HTTP/1.1 403 Forbidden\r\ncontent-length: 8\r\n\r\nno token".to_owned();
        }
        if topic.is_empty() {
            for line in body.lines() {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                self.append(event["topic"].as_str().unwrap(), event["data"].as_str().unwrap());
            }
        } else {
            self.append(topic, body);
        }
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned()
    }

    fn append(&mut self, topic: &str, data: &str) {
        let seq = self.log.len();
        self.log.push((topic.to_owned(), data.to_owned()));
        let now: Vec<usize> = match (self.fault, seq) {
            (Fault::Lose, FAULTY) => vec![],
            (Fault::Double, FAULTY) => vec![seq, seq],
            (Fault::Reorder, FAULTY) => vec![],
            (Fault::Reorder, seq) if seq == FAULTY + 1 => vec![seq, FAULTY],
            (Fault::Close, FAULTY) => {
                self.subscribers.pop();
                vec![seq]
            }
            _ => vec![seq],
        };
        for seq in now {
            let frame = self.frame(seq);
            let mut changed = frame.clone();
            changed[60] ^= 1;
            let subscribers = self.subscribers.iter().filter(|subscriber| subscriber.topic == topic);
            for (index, subscriber) in subscribers.enumerate() {
                let bytes = match self.fault {
                    Fault::LoseOne if (seq, index) == (FAULTY, 1) => &[][..],
                    Fault::CorruptOne if (seq, index) == (FAULTY, 1) => &changed,
                    _ => &frame,
                };
                // A subscriber that has gone is no concern here.
                let _ = (&subscriber.socket).write_all(bytes);
            }
        }
    }

    fn frame(&self, seq: usize) -> Vec<u8> {
        let mut data = self.log[seq].1.clone().into_bytes();
        if self.fault == Fault::Corrupt && seq == FAULTY {
            *data.last_mut().unwrap() ^= 1;
        }
        let mut frame =
            if self.fault == Fault::NoIds { String::new() } else { format!("id: e-{seq:08}\n") }.into_bytes();
        frame.extend_from_slice(b"data: ");
        frame.extend_from_slice(&data);
        frame.extend_from_slice(b"\n\n");
        [format!("{:x}\r\n", frame.len()).as_bytes(), &frame, b"\r\n"].concat()
    }
}

fn load(words: &[&str]) -> (bool, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_loadtest")).args(words).output().expect("the load client runs");
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn drive(fault: Fault, words: &str) -> (bool, String, String) {
    let (url, pid) = (format!("http://{}", Gateway::start(fault)), std::process::id().to_string());
    let words: Vec<&str> = words.split(' ').chain(["--url", &url, "--pid", &pid]).collect();
    load(&words)
}

fn passes(words: &str, expected: &[&str]) {
    let (ok, out, problem) = drive(Fault::None, words);
    assert!(ok, "{words}: {problem}");
    for text in expected {
        assert!(out.contains(text), "{words}: {text:?} is not in:\n{out}");
    }
}

fn fails(fault: Fault, words: &str, expected: &str) {
    let (ok, _, problem) = drive(fault, words);
    assert!(!ok, "{fault:?}");
    assert!(problem.contains(expected), "{fault:?}: {expected:?} is not in: {problem}");
    assert_eq!(problem.lines().count(), 1, "{fault:?}: more than one line: {problem}");
}

const FANOUT: &str = "fanout --streams 20 --rate 50 --seconds 1 --warmup 0";

#[test]
fn honest_gateways_pass() {
    passes(FANOUT, &["1,000 of 1,000", "to the last", "µs a delivery"]);
    passes("fanout --streams 3 --rate 20 --seconds 1 --warmup 1 --size 5000", &["120 of 120"]);
    passes("fanout --streams 21 --rate 50 --seconds 1 --warmup 0 --processes 4", &["1,050 of 1,050"]);
    passes("storm --streams 20 --missed 30", &["20 streams of sluicegate came back for 30"]);
    passes("soak --streams 20 --rate 50 --seconds 2 --churn 20", &["7,000 of 7,000", "streams left and came back"]);
    passes("topics --streams 20 --batch 50 --rate 5 --seconds 1", &["750 of 750"]);
    passes("topics --streams 20 --topics 5 --zipf 1.2 --batch 50 --rate 5 --seconds 1", &["3,000 of 3,000"]);
    passes("connect --streams 50", &["connect: 50 streams"]);
    passes("publish --seconds 1 --batch 10", &["events/s"]);
    passes("idle --streams 20 --seconds 1", &["bytes", "heartbeats"]);
    passes(
        "ratios --streams 20 --rate 20 --rates 20 --rounds 1 --seconds 1 --warmup 0",
        &["| CPU a delivery, 20 streams, 20 events/s |"],
    );
}

#[test]
fn the_floor_sends_to_all_or_by_topic() {
    for (words, expected) in [
        ("fanout --profile floor --streams 20 --rate 20 --seconds 1 --warmup 0", "400 of 400"),
        ("topics --profile floor-topics --streams 20 --topics 5 --batch 50 --rate 5 --seconds 1", "3,000 of 3,000"),
    ] {
        let (ok, out, problem) = load(&words.split(' ').collect::<Vec<_>>());
        assert!(ok && out.contains(expected), "{words}: {problem}\n{out}");
    }
}

#[test]
fn departures_from_exactly_once_are_told_apart() {
    let topics = "topics --streams 3 --batch 10 --rate 5 --seconds 1";
    // Side by side, since each waits a while for what is missing.
    thread::scope(|scope| {
        for (fault, words, expected) in [
            (Fault::Lose, FANOUT, "20 missing, 0 doubled, 0 reordered, 0 corrupted"),
            (Fault::LoseOne, FANOUT, "1 missing, 0 doubled, 0 reordered, 0 corrupted"),
            (Fault::Double, FANOUT, "0 missing, 20 doubled, 0 reordered, 0 corrupted"),
            (Fault::Reorder, FANOUT, "0 missing, 0 doubled, 20 reordered, 0 corrupted"),
            (Fault::Corrupt, FANOUT, "20 missing, 0 doubled, 0 reordered, 20 corrupted"),
            (Fault::CorruptOne, FANOUT, "1 missing, 0 doubled, 0 reordered, 1 corrupted"),
            (Fault::Close, FANOUT, "the server closed 1 of 20 streams; the first: cut off after 5 events"),
            (Fault::Lose, topics, "1 missing, 0 doubled"),
            (Fault::NoIds, "storm --streams 5", "got no id, and cannot resume"),
        ] {
            scope.spawn(move || fails(fault, words, expected));
        }
    });
}

#[test]
fn wrong_answers_are_named() {
    fails(Fault::NotFound, FANOUT, "answered 404: no such topic");
    fails(Fault::Page, FANOUT, "\"text/html\", not text/event-stream");
    fails(Fault::Forbid, FANOUT, "a publish was answered 403: no token");
    fails(Fault::Forbid, "publish --seconds 1", "a publish was answered 403: no token");
}

#[test]
fn bad_starts_are_named() {
    let check = |words: &[&str], expected: &str| {
        let (ok, _, problem) = load(words);
        assert!(!ok);
        assert!(problem.contains(expected), "{problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
    };
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(&["fanout", "--streams", "5", "--url", &format!("http://{dead}")], "connection refused");
    check(&["fanout", "--url", "http://192.0.2.1:80"], "loopback only");
    check(&["fanout", "--server", "/nowhere/sluicegate"], "there is no server at /nowhere/sluicegate");
    check(&["fanout", "--server", env!("CARGO_BIN_EXE_loadtest")], "the server ended at once");
    check(
        &["fanout", "--profile", "floor", "--streams", "4000000"],
        "4000000 streams in 64 client processes need 62564 open files in each and the limit is",
    );
    let alone = format!("http://{}", Gateway::start(Fault::None));
    check(&["idle", "--streams", "5", "--url", &alone], "name it with --pid");
}
