//! What the world is made of: chance, time, sockets, and a reader that reads as clients do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::hub::frame::Framing;
use crate::hub::log::Start;
use crate::hub::offset::Offset;
use crate::hub::stream::{Sent, Socket};

/// splitmix64: a seed of any kind gives a good sequence.
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % bound as u64) as usize
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// The time, which writes take some of, and what others do meanwhile.
#[derive(Default)]
pub(super) struct Time {
    pub(super) now_ns: Cell<u64>,
    pub(super) cpu_ns: Cell<u64>,
    /// What a write takes of the processor, and of the time.
    pub(super) write_ns: Cell<(u64, u64)>,
    /// After so many touches of what is shared, something happens.
    countdown: Cell<usize>,
    happens: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl Time {
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ns.get() / 1_000_000
    }

    /// Has something happen while a shard takes its turn.
    pub(super) fn meanwhile(&self, after: usize, happens: impl FnOnce() + 'static) {
        self.countdown.set(after);
        *self.happens.borrow_mut() = Some(Box::new(happens));
    }

    /// Another thread may come first.
    pub(super) fn touch(&self) {
        let left = self.countdown.get();
        self.countdown.set(left.saturating_sub(1));
        if left == 1
            && let Some(happens) = self.happens.take()
        {
            happens();
        }
    }

    /// What was to happen and has not.
    pub(super) fn flush(&self) {
        self.countdown.set(0);
        if let Some(happens) = self.happens.take() {
            happens();
        }
    }
}

/// One end of a connection, as the client's kernel has it.
#[derive(Default)]
pub(super) struct Wire {
    /// What came and was not read yet.
    pub(super) got: Vec<u8>,
    pub(super) bytes: u64,
    /// How many bytes it takes before it is full.
    pub(super) room: usize,
    /// It was full and has not said yet that it can take more.
    pub(super) waiting: bool,
    pub(super) broken: Option<Sent>,
    pub(super) closed: bool,
    pub(super) since_ms: u64,
    pub(super) written_ms: u64,
    /// When it took how many bytes.
    pub(super) takes: Vec<(u64, usize)>,
    /// What the client has sent and the shard has not read.
    pub(super) stray: usize,
    /// Where its stream starts, and the head after which it gets what is live only, once that is found.
    pub(super) started: Option<(Start, Offset)>,
}

/// A stream's socket.
pub(super) struct Mock {
    pub(super) connection: usize,
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) time: Rc<Time>,
}

impl Socket for Mock {
    fn starts(&mut self, start: Start, head: Offset) {
        let before = self.wire.borrow_mut().started.replace((start, head));
        assert!(before.is_none(), "it starts once");
    }

    fn send(&mut self, bytes: &[u8]) -> Sent {
        let (cpu_ns, ns) = self.time.write_ns.get();
        self.time.cpu_ns.set(self.time.cpu_ns.get() + cpu_ns);
        self.time.now_ns.set(self.time.now_ns.get() + ns);
        self.time.touch();
        let mut wire = self.wire.borrow_mut();
        assert!(!bytes.is_empty(), "nothing is never sent");
        assert!(!wire.closed, "a closed socket is not written to");
        assert!(!wire.waiting, "a full socket is left alone until it reports");
        if let Some(broken) = wire.broken {
            return broken;
        }
        let took = bytes.len().min(wire.room);
        wire.waiting = took < bytes.len();
        if took == 0 {
            return Sent::Full;
        }
        wire.got.extend_from_slice(&bytes[..took]);
        wire.bytes += took as u64;
        wire.room -= took;
        wire.written_ms = self.time.now_ms();
        wire.takes.push((self.time.now_ms(), took));
        Sent::Wrote(took)
    }
}

/// What a client makes of the bytes it got.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    Event {
        seq: u64,
        id: Option<String>,
    },
    Gap {
        from: Option<String>,
        to: String,
        reason: String,
        id: Option<String>,
    },
    /// How far it is, without an event.
    Mark {
        id: String,
    },
    Comment,
    /// An event of the stream's own.
    Own,
    Retry,
}

pub(super) const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// Reads a response, in pieces of any size.
#[derive(Default)]
pub(super) struct Reader {
    unread: Vec<u8>,
    has_head: bool,
    line: Vec<u8>,
    block: Vec<String>,
    /// The response said that it is over.
    pub(super) ended: bool,
}

impl Reader {
    /// Whether it stops within something.
    pub(super) fn is_amid(&self) -> bool {
        !self.has_head || !self.unread.is_empty() || !self.is_between_blocks()
    }

    fn is_between_blocks(&self) -> bool {
        self.line.is_empty() && self.block.is_empty()
    }

    pub(super) fn feed(&mut self, bytes: &[u8], framing: Framing, seen: &mut Vec<Seen>) {
        self.unread.extend_from_slice(bytes);
        if !self.has_head {
            if self.unread.len() < HEAD.len() {
                assert!(HEAD.as_bytes().starts_with(&self.unread), "the response begins with its head");
                return;
            }
            assert!(self.unread.starts_with(HEAD.as_bytes()), "the response begins with its head");
            self.unread.drain(..HEAD.len());
            self.has_head = true;
        }
        let mut unread = std::mem::take(&mut self.unread);
        let mut at = 0;
        while at < unread.len() {
            assert!(!self.ended, "nothing follows the end");
            if framing == Framing::Close {
                self.body(&unread[at..], seen);
                at = unread.len();
                continue;
            }
            let Some(line) = unread[at..].windows(2).take(18).position(|two| two == b"\r\n") else { break };
            let digits = std::str::from_utf8(&unread[at..at + line]).unwrap();
            let len = usize::from_str_radix(digits, 16).expect("a chunk begins with its length");
            let (begin, end) = (at + line + 2, at + line + 2 + len);
            if unread.len() < end + 2 {
                break;
            }
            self.body(&unread[begin..end], seen);
            assert_eq!(&unread[end..end + 2], b"\r\n", "a chunk is as long as it said");
            assert!(self.is_between_blocks(), "a chunk is whole events");
            self.ended = len == 0;
            at = end + 2;
        }
        unread.drain(..at);
        self.unread = unread;
    }

    fn body(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
            if line.starts_with(':') {
                assert!(self.block.is_empty(), "no comment within an event");
                seen.push(Seen::Comment);
            } else if self.block.is_empty() && line.starts_with("retry: ") {
                seen.push(Seen::Retry);
            } else if !line.is_empty() {
                self.block.push(line);
            } else if !self.block.is_empty() {
                seen.push(read_block(&std::mem::take(&mut self.block)));
            }
        }
    }
}

fn read_block(lines: &[String]) -> Seen {
    let (mut data, mut name, mut id) = (None, None, None);
    for line in lines {
        match line.split_once(": ").expect("a field") {
            ("data", value) => data = data.or(Some(value)),
            ("event", value) => name = Some(value),
            ("id", value) => id = Some(value.to_owned()),
            other => panic!("{other:?}"),
        }
    }
    let Some(data) = data else {
        let (Some(id), None) = (id, name) else { panic!("{lines:?}") };
        return Seen::Mark { id };
    };
    if name == Some("gap") {
        let json: serde_json::Value = serde_json::from_str(data).unwrap();
        let field = |name: &str| json[name].as_str().map(str::to_owned);
        return Seen::Gap { from: field("from"), to: field("to").unwrap(), reason: field("reason").unwrap(), id };
    }
    if data == "own" {
        return Seen::Own;
    }
    let number = data.strip_prefix('e').and_then(|data| data.split(' ').next()).expect("a number");
    Seen::Event { seq: number.parse().unwrap(), id }
}
