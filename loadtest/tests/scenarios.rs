//! The load client against a small gateway of threads that can be told to misbehave: every scenario passes with an
//! honest one, and each kind of failure is named in one line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
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
    /// Ends a stream that is to end after a second at once.
    EndEarly,
    /// Cuts it off instead.
    EndByClose,
}

/// The event at which faults happen.
const FAULTY: usize = 5;

struct Subscriber {
    topics: Vec<String>,
    socket: TcpStream,
}

impl Subscriber {
    /// Topics by their name, or `x/*` for those below `x`.
    fn wants(&self, topic: &str) -> bool {
        self.topics.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(above) => topic.strip_prefix(above).is_some_and(|segment| !segment.contains('/')),
            None => wanted == topic,
        })
    }
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
                    Some(("last-event-id", "earliest")) => resume_after = Some(None),
                    Some(("last-event-id", value)) => resume_after = Some(Some(value[2..].parse::<usize>().unwrap())),
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

    fn subscribe(&mut self, path: &str, mut socket: TcpStream, resume_after: Option<Option<usize>>) {
        let (topic, query) = path.split_once('?').unwrap_or((path, ""));
        let mut topics: Vec<String> =
            query.split('&').filter_map(|part| part.strip_prefix("match=")).map(str::to_owned).collect();
        if topics.is_empty() {
            topics.push(topic.to_owned());
        }
        let head = match self.fault {
            Fault::NotFound => "HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\nno such topic",
            Fault::Page => "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<p>",
            _ => {
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n3\r\n:\n\n\r\n"
            }
        };
        let mut bytes = head.as_bytes().to_vec();
        let subscriber = Subscriber { topics, socket: socket.try_clone().unwrap() };
        let first = match resume_after {
            Some(after) => after.map_or(0, |seq| seq + 1),
            None => self.log.len(),
        };
        for seq in first..self.log.len() {
            if subscriber.wants(&self.log[seq].0) {
                bytes.extend(self.frame(seq));
            }
        }
        socket.write_all(&bytes).unwrap();
        if query == "max_seconds=1" {
            let fault = self.fault;
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(if fault == Fault::EndEarly { 100 } else { 1_000 }));
                if fault != Fault::EndByClose {
                    socket.write_all(b"0\r\n\r\n").unwrap();
                }
                let _ = socket.shutdown(Shutdown::Both);
            });
        } else {
            self.subscribers.push(subscriber);
        }
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
            let subscribers = self.subscribers.iter().filter(|subscriber| subscriber.wants(topic));
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

const ENDS: &str = "ends --streams 5 --rate 20 --ends 20 --seconds 4";
const ATTACK: &str = "attack --streams 5 --rate 20 --attackers 8 --patterns 3 --kept 100 --seconds 2";
const FANOUT: &str = "fanout --streams 20 --rate 50 --seconds 1 --warmup 0";

#[test]
fn honest_gateways_pass() {
    passes(FANOUT, &["1,000 of 1,000", "to the last", "µs per delivery"]);
    passes("fanout --streams 3 --rate 20 --seconds 1 --warmup 1 --size 5000", &["120 of 120"]);
    passes("fanout --streams 21 --rate 50 --seconds 1 --warmup 0 --processes 4", &["1,050 of 1,050"]);
    passes("storm --streams 20 --missed 30", &["20 streams of sluicegate came back for 30"]);
    passes("soak --streams 20 --rate 50 --seconds 2 --churn 20", &["7,000 of 7,000", "streams left and came back"]);
    passes("topics --streams 20 --batch 50 --rate 5 --seconds 1", &["750 of 750"]);
    passes("topics --streams 20 --topics 5 --zipf 1.2 --batch 50 --rate 5 --seconds 1", &["3,000 of 3,000"]);
    passes(ENDS, &["short streams 80 came, 80 ended as they should", "µs per delivery, "]);
    passes(ATTACK, &["8 streams of 3 patterns resume from the first of 100 events", "whole after 0."]);
    passes(
        "rate --streams 5 --from 20 --step 20000 --seconds 1",
        &["  20 events/s held", "| highest rate held, 5 streams | "],
    );
    passes("connect --streams 50", &["connect: 50 streams"]);
    passes("publish --seconds 1 --batch 10", &["in batches of 10, on 2 connections", "answered      p50 "]);
    passes("publish --seconds 1 --batch 1 --connections 3", &["one by one, on 3 connections"]);
    passes("publish --seconds 1 --batch 1 --connections 10 --rate 20", &["one by one, on 10 connections"]);
    passes("idle --streams 20 --seconds 1", &["bytes", "heartbeats"]);
    passes(
        "ratios --streams 20 --rate 20 --rates 20 --rounds 1 --seconds 1 --warmup 0",
        &["| CPU per delivery, 20 streams, 20 events/s |"],
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

/// The floor in the place of both builds; it can be connected to, and that is all that is asked of it here.
#[test]
fn two_builds_are_measured_in_turn_and_judged() {
    let folder = std::env::temp_dir().join(format!("loadtest-ab-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("build.sh");
    let text = format!("#!/bin/sh\nexec {} floor-server \"$@\"\n", env!("CARGO_BIN_EXE_loadtest"));
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let program = program.to_str().unwrap();
    let (ok, out, problem) = load(&["ab", "--old", program, "--new", program, "--rounds", "1", "--only", "connect"]);
    std::fs::remove_dir_all(&folder).unwrap();
    let row = out.lines().find(|line| line.starts_with("| connect: CPU per connection | ")).expect(&out);
    // On a busy machine one build differs from itself: the exit code says what the table does.
    assert_eq!(ok, row.ends_with("| ok |"), "{row}: {problem}");
    assert_eq!(out.lines().filter(|line| line.starts_with("connect: 10,000 streams of ")).count(), 2, "{out}");
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
            (Fault::EndEarly, ENDS, "the first of the others: it was ended after 0.1"),
            (Fault::EndByClose, ENDS, "the first of the others: it was cut off"),
            (
                Fault::Corrupt,
                ATTACK,
                "to those that resumed, events were not delivered exactly once, whole and in order: 1 missing",
            ),
            (Fault::Lose, ENDS, "5 missing, 0 doubled"),
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
    check(&["ab", "--old", "/nowhere/sluicegate"], "there is no server at /nowhere/sluicegate");
    check(&["fanout", "--profile", "floor", "--engine", "disk"], "--engine is for our gateway, and this is floor");
    check(&["durability", "--url", &format!("http://{dead}")], "leave --url out");
    check(&["ends", "--profile", "floor"], "floor ends no stream after a time");
    check(&["fanout", "--server", env!("CARGO_BIN_EXE_loadtest")], "the server ended at once");
    check(
        &["fanout", "--profile", "floor", "--streams", "4000000"],
        "4000000 streams in 64 client processes need 62564 open files in each and the limit is",
    );
    let alone = format!("http://{}", Gateway::start(Fault::None));
    check(&["idle", "--streams", "5", "--url", &alone], "name it with --pid");
}
