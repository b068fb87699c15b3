//! Many streams at once, on one thread.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::SOON;
use super::sse::{Event, Item, Parser};

/// Held by tests that fill the machine or measure times, so that they do not measure each other.
pub(crate) fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock()
}

/// Runs this to its end on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last chunk, and nothing after it.
    Proper,
    /// The connection was gone before.
    Cut,
}

/// Opens streams.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    target: String,
    last_event_id: String,
    from: IpAddr,
    receive_buffer: Option<usize>,
}

impl Ask {
    pub(crate) fn target(target: &str) -> Ask {
        let (from, last_event_id) = (Ipv4Addr::LOCALHOST.into(), String::new());
        Ask { target: target.to_owned(), last_event_id, from, receive_buffer: None }
    }

    /// Resumes after this id; not if it is empty.
    pub(crate) fn after(mut self, id: &str) -> Ask {
        id.clone_into(&mut self.last_event_id);
        self
    }

    /// From this source address.
    pub(crate) fn from(mut self, address: Ipv4Addr) -> Ask {
        self.from = address.into();
        self
    }

    /// With a receive buffer of about so many bytes.
    pub(crate) fn receive_buffer(mut self, bytes: usize) -> Ask {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Connects and sends the request.
    pub(crate) async fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if self.from != IpAddr::from(Ipv4Addr::LOCALHOST) {
            socket.bind(&SocketAddr::new(self.from, 0).into())?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut socket = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
        let resume = match &*self.last_event_id {
            "" => String::new(),
            id => format!("last-event-id: {id}\r\n"),
        };
        let request = format!("GET {} HTTP/1.1\r\nhost: h\r\n{resume}\r\n", self.target);
        socket.write_all(request.as_bytes()).await?;
        Ok(socket)
    }

    /// Opens a stream, and reads its head.
    pub(crate) async fn open(&self, to: SocketAddr) -> Stream {
        let opened = tokio::time::timeout(SOON, async {
            let socket = self.connect(to).await.expect("a connection");
            let mut stream = Stream {
                socket,
                body: Dechunk::default(),
                parser: Parser::default(),
                piece: vec![0; 16 * 1024],
                last_item: None,
                end: None,
            };
            stream.head().await;
            stream
        });
        opened.await.expect("a head within time")
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    body: Dechunk,
    parser: Parser,
    piece: Vec<u8>,
    last_item: Option<Item>,
    end: Option<End>,
}

impl Stream {
    async fn head(&mut self) {
        let mut head = Vec::new();
        loop {
            let count = self.socket.read(&mut self.piece).await.expect("a head");
            assert!(count > 0, "ended in its head: {:?}", String::from_utf8_lossy(&head));
            head.extend_from_slice(&self.piece[..count]);
            if let Some(at) = memchr::memmem::find(&head, b"\r\n\r\n") {
                assert!(head.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&head));
                self.body.feed(&head[at + 4..], &mut self.parser);
                return;
            }
        }
    }

    /// The next event; `None` once the body has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(item) = self.parser.next() {
                self.last_item = Some(item.clone());
                if let Item::Event(event) = item {
                    return Some(event);
                }
            }
            if self.end.is_some() {
                return None;
            }
            match self.socket.read(&mut self.piece).await {
                Ok(count) if count > 0 => self.body.feed(&self.piece[..count], &mut self.parser),
                _ if self.body.over => self.end = Some(End::Proper),
                _ => self.end = Some(End::Cut),
            }
        }
    }

    /// The next event, which must come soon.
    pub(crate) async fn event(&mut self) -> Event {
        let next = tokio::time::timeout(SOON, self.next()).await.expect("an event within time");
        next.expect("an event, not the stream's end")
    }

    /// Reads a little, a few bytes, of what is there.
    pub(crate) async fn sip(&mut self, bytes: usize) {
        let count = self.socket.read(&mut self.piece[..bytes]).await.expect("an open stream");
        assert!(count > 0, "the stream was closed");
        self.body.feed(&self.piece[..count], &mut self.parser);
    }

    /// How the body ended.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether what came stops within a frame or a chunk.
    pub(crate) fn is_amid(&self) -> bool {
        self.parser.is_amid() || !self.body.is_between_chunks()
    }

    /// The last event, comment or retry time that [`Stream::next`] has passed.
    pub(crate) fn last_item(&self) -> Option<&Item> {
        self.last_item.as_ref()
    }

    /// Drops the connection with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).expect("an open socket");
    }
}

/// A chunked body, in pieces of any size.
#[derive(Debug, Default)]
struct Dechunk {
    line: Vec<u8>,
    left: usize,
    last: bool,
    over: bool,
}

impl Dechunk {
    fn feed(&mut self, mut bytes: &[u8], parser: &mut Parser) {
        while !bytes.is_empty() {
            assert!(!self.over, "bytes after the last chunk: {:?}", String::from_utf8_lossy(bytes));
            // `left` counts a chunk's bytes and the CR LF after them.
            if self.left > 2 {
                let (data, rest) = bytes.split_at(bytes.len().min(self.left - 2));
                parser.feed(data);
                self.left -= data.len();
                bytes = rest;
                continue;
            }
            self.line.push(bytes[0]);
            bytes = &bytes[1..];
            if !self.line.ends_with(b"\r\n") {
                continue;
            }
            let line = String::from_utf8(std::mem::take(&mut self.line)).expect("a chunk's line");
            if self.left > 0 {
                assert_eq!(line, "\r\n", "after a chunk");
                (self.left, self.over) = (0, self.last);
                continue;
            }
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("no size: {line:?}"));
            (self.left, self.last) = (length + 2, length == 0);
        }
    }

    fn is_between_chunks(&self) -> bool {
        self.left == 0 && self.line.is_empty()
    }
}
