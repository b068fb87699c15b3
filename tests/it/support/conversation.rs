//! A client that hides nothing: bytes go out as they are given and come in as they are sent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};

use super::SOON;
use super::sse::{Event, Item, Parser};

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Chunked,
    Close,
}

/// A connection, and what was read of it too far.
#[derive(Debug)]
pub(crate) struct Conversation {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    unread: Vec<u8>,
    patience: Duration,
    body: Body,
    parser: Parser,
    ended: bool,
}

/// A response's head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// All of it, with the blank line.
    pub(crate) text: String,
    pub(crate) status: u16,
}

impl Head {
    fn parse(text: String) -> Head {
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {text:?}"));
        Head { text, status }
    }

    /// A field's value, by its name in any case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.text.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The text with the date's value replaced by `DATE`.
    pub(crate) fn masked(&self) -> String {
        match self.field("date") {
            Some(date) => self.text.replace(date, "DATE"),
            None => self.text.clone(),
        }
    }
}

/// A response that has a content length.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

impl Conversation {
    pub(crate) fn to(address: SocketAddr) -> Conversation {
        Conversation::over(TcpStream::connect_timeout(&address, SOON).expect("a connection"))
    }

    pub(crate) fn over(socket: TcpStream) -> Conversation {
        socket.set_nodelay(true).expect("an open socket");
        socket.set_write_timeout(Some(SOON)).expect("an open socket");
        Conversation {
            socket,
            tls: None,
            unread: Vec::new(),
            patience: SOON,
            body: Body::Close,
            parser: Parser::default(),
            ended: false,
        }
    }

    /// Connects by TLS, to a server of this name, and shakes hands.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) fn secure(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Conversation> {
        let mut conversation = Conversation::to(address);
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut tls = Box::new(ClientConnection::new(config.clone(), name).map_err(io::Error::other)?);
        conversation.socket.set_read_timeout(Some(SOON))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut conversation.socket)?;
        }
        conversation.tls = Some(tls);
        Ok(conversation)
    }

    /// The TLS connection.
    #[track_caller]
    pub(crate) fn tls(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().expect("a conversation by TLS")
    }

    /// How long a read may take from now on.
    pub(crate) fn patience(mut self, time: Duration) -> Conversation {
        self.patience = time;
        self
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    // ===== sending =====

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes it");
    }

    /// Sends what may well be refused in the middle.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.write_all(bytes.as_ref()),
            Some(tls) => {
                let mut stream = Stream::new(&mut **tls, &mut self.socket);
                stream.write_all(bytes.as_ref())?;
                stream.flush()
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_write(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("an open socket");
    }

    /// Whether the server's process has read all that was sent. On IPv4.
    pub(crate) fn is_read(&self) -> bool {
        let (SocketAddr::V4(server), SocketAddr::V4(client)) =
            (self.socket.peer_addr().expect("a connection"), self.socket.local_addr().expect("a connection"))
        else {
            panic!("a connection over IPv4");
        };
        // Of proc_net_tcp(5): addresses as the server has them, and the fifth field with what is to be sent and read.
        let hex =
            |address: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
        table.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1] == hex(server) && fields[2] == hex(client) && fields[4].ends_with(":00000000")
        })
    }

    // ===== reading bytes =====

    /// Reads once; `Ok(0)` is the end.
    fn fill(&mut self, until: Instant) -> io::Result<usize> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(left))?;
        let mut piece = [0; 64 * 1024];
        let count = match &mut self.tls {
            None => self.socket.read(&mut piece)?,
            Some(tls) => Stream::new(&mut **tls, &mut self.socket).read(&mut piece)?,
        };
        self.unread.extend_from_slice(&piece[..count]);
        Ok(count)
    }

    fn until(&self) -> Instant {
        Instant::now() + self.patience
    }

    #[track_caller]
    fn fill_or_panic(&mut self, until: Instant, waiting_for: &str) {
        let came = String::from_utf8_lossy(&self.unread[..self.unread.len().min(2000)]).into_owned();
        match self.fill(until) {
            Ok(0) => panic!("ended while waiting for {waiting_for}; came: {came:?}"),
            Ok(_) => {}
            Err(error) => panic!("{error} while waiting for {waiting_for}; came: {came:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let until = self.until();
        while self.unread.len() < count {
            self.fill_or_panic(until, &format!("{count} bytes"));
        }
        self.unread.drain(..count).collect()
    }

    /// Reads up to `end`, and that too.
    #[track_caller]
    pub(crate) fn read_until(&mut self, end: &str) -> String {
        let until = self.until();
        let mut from = 0;
        loop {
            if let Some(at) = memchr::memmem::find(&self.unread[from..], end.as_bytes()) {
                let bytes = self.unread.drain(..from + at + end.len()).collect();
                return String::from_utf8(bytes).expect("UTF-8");
            }
            from = self.unread.len().saturating_sub(end.len());
            self.fill_or_panic(until, &format!("{end:?}"));
        }
    }

    /// The next bytes are exactly these.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let until = self.until();
        loop {
            let both = self.unread.len().min(expected.len());
            if self.unread[..both] != expected[..both] || both == expected.len() {
                break;
            }
            self.fill_or_panic(until, &format!("{:?}", String::from_utf8_lossy(expected)));
        }
        let came: Vec<u8> = self.unread.drain(..self.unread.len().min(expected.len())).collect();
        assert_eq!(String::from_utf8_lossy(&came), String::from_utf8_lossy(expected));
    }

    /// Nothing comes for this time.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self, time: Duration) {
        assert_eq!(String::from_utf8_lossy(&self.unread), "", "came already");
        match self.fill(Instant::now() + time) {
            Ok(0) => panic!("ended, where nothing should happen"),
            Ok(_) => panic!("came: {:?}", String::from_utf8_lossy(&self.unread)),
            Err(error) => {
                assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
            }
        }
    }

    /// Whether nothing comes for this time.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.unread.is_empty() && self.fill(Instant::now() + time).is_err()
    }

    /// The server has closed, properly, and nothing is left.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.read_to_end()), "");
    }

    /// All that comes until the server closes, properly.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let until = self.until();
        loop {
            match self.fill(until) {
                Ok(0) => return std::mem::take(&mut self.unread),
                Ok(_) => {}
                Err(error) => panic!("{error} instead of an end; came: {:?}", String::from_utf8_lossy(&self.unread)),
            }
        }
    }

    /// Waits until the server has closed in whatever way, dropping what comes. `false` if it has not.
    pub(crate) fn is_closed_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match self.fill(until) {
                Ok(0) => return true,
                Ok(_) => self.unread.clear(),
                Err(error) => return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
    }

    // ===== reading HTTP =====

    /// Reads a response's head.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        let head = Head::parse(self.read_until("\r\n\r\n"));
        self.body = match head.field("transfer-encoding") {
            Some("chunked") => Body::Chunked,
            _ => Body::Close,
        };
        head
    }

    /// Reads a response that has a content length.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        let head = self.head();
        let length = head.field("content-length").map_or(0, |length| length.parse().expect("a number"));
        let body = String::from_utf8(self.read_exact(length)).expect("UTF-8");
        Response { head, body }
    }

    /// Reads one chunk of a chunked body. The empty one is the last.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let line = self.read_until("\r\n");
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
        let chunk = self.read_exact(length);
        self.expect("\r\n");
        chunk
    }

    // ===== reading an event stream, after its head =====

    /// The next event, comment or retry time; `None` at the body's proper end.
    #[track_caller]
    pub(crate) fn item(&mut self) -> Option<Item> {
        let until = self.until();
        loop {
            if let Some(item) = self.parser.next() {
                return Some(item);
            }
            if self.ended {
                return None;
            }
            match self.body {
                Body::Chunked => {
                    let chunk = self.chunk();
                    self.ended = chunk.is_empty();
                    self.parser.feed(&chunk);
                }
                Body::Close => {
                    if self.unread.is_empty() {
                        match self.fill(until) {
                            Ok(count) => self.ended = count == 0,
                            Err(error) => panic!("{error} while waiting for an item"),
                        }
                    }
                    self.parser.feed(&std::mem::take(&mut self.unread));
                }
            }
        }
    }

    /// What every stream begins with: a comment, and how long to wait before coming back.
    #[track_caller]
    pub(crate) fn beginning(&mut self) {
        assert_eq!(self.item(), Some(Item::Comment(String::new())));
        let retry = self.item();
        assert!(matches!(retry, Some(Item::Retry(ms)) if (1_500..=4_500).contains(&ms)), "{retry:?}");
    }

    /// The next chunk tells how far the stream is, and is no event. Answers the id.
    #[track_caller]
    pub(crate) fn mark(&mut self) -> String {
        let chunk = String::from_utf8(self.chunk()).expect("UTF-8");
        let id = chunk.strip_prefix("id: ").and_then(|rest| rest.strip_suffix("\n\n"));
        let id = id.filter(|id| id.len() == 21 && !id.contains('\n')).unwrap_or_else(|| panic!("no mark: {chunk:?}"));
        self.parser.feed(chunk.as_bytes());
        id.to_owned()
    }

    /// The next event, past comments; `None` at the body's proper end.
    #[track_caller]
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        loop {
            match self.item()? {
                Item::Event(event) => return Some(event),
                Item::Comment(_) | Item::Retry(_) => {}
            }
        }
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        self.next_event().expect("an event, not the stream's end")
    }

    /// The next event has this data.
    #[track_caller]
    pub(crate) fn expect_data(&mut self, data: &str) -> Event {
        let event = self.event();
        assert_eq!(event.data, data);
        event
    }

    /// What a client would send as `Last-Event-ID` now.
    pub(crate) fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }
}
