//! Requests that are no streams: a connection for them, and the reply to one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{Result, http, streams};

/// A server that answers nothing for so long has failed.
const REPLY_PATIENCE: Duration = Duration::from_secs(20);

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

/// A connection for requests that are answered one after another.
pub(crate) struct Connection {
    to_server: TcpStream,
    replies: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> Result<Self> {
        let to_server = connect(server)?;
        let from_server = to_server.try_clone().map_err(|error| format!("publisher: {error}"))?;
        Ok(Self { to_server, replies: BufReader::with_capacity(64 * 1024, from_server) })
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> Result<()> {
        let sent = self.to_server.write_all(request);
        sent.map_err(|error| format!("a publish failed: {}", streams::plain(&error)))
    }

    /// Reads the reply to what was sent first and not yet replied to; an error unless it is a 2xx.
    pub(crate) fn reply(&mut self) -> Result<()> {
        read_reply(&mut self.replies)
    }
}

/// Asks for a page; an error unless the answer is a 2xx.
pub(crate) fn get(server: SocketAddr, path: &str) -> Result<()> {
    let mut connection = connect(server)?;
    write!(connection, "GET {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n")
        .map_err(|error| format!("asking {server} failed: {}", streams::plain(&error)))?;
    read_reply(&mut BufReader::new(connection))
}

/// Asks for a page by HTTP/1.0, and has its text with the head; an error unless it is a 200.
pub(crate) fn text(server: SocketAddr, path: &str) -> Result<String> {
    let told = |error: std::io::Error| format!("asking {server} failed: {}", streams::plain(&error));
    let mut connection = connect(server)?;
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n").map_err(told)?;
    let mut text = String::new();
    connection.read_to_string(&mut text).map_err(told)?;
    if text.split(' ').nth(1) == Some("200") { Ok(text) } else { Err(format!("{server} has no {path}")) }
}

/// Reads one reply to its end; an error unless it is a 2xx.
pub(crate) fn read_reply(replies: &mut BufReader<TcpStream>) -> Result<()> {
    let told = |error: std::io::Error| format!("no reply to a publish: {}", streams::plain(&error));
    let mut bytes = Vec::new();
    let mut began = None;
    while !bytes.ends_with(b"\r\n\r\n") {
        let input = replies.fill_buf().map_err(told)?;
        if input.is_empty() {
            return Err("the server closed the publisher's connection".to_owned());
        }
        let line = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        bytes.extend_from_slice(&input[..line]);
        replies.consume(line);
        if began.get_or_insert_with(Instant::now).elapsed() > REPLY_PATIENCE || bytes.len() > http::HEAD_BYTES_MAX {
            return Err("a publish was answered without end".to_owned());
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
