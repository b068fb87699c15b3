//! A connection with TLS around it, on an acceptor: its handshake and its requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::sink::Handover;
use crate::net::transport::{Raw, Transport};

use super::records::{self, PLAIN_MAX, RECEIVED_MAX, RECORD_MAX};
use super::wire::TlsWire;

/// How much is read at once: most requests.
const READ: usize = 4096;

/// A socket and its TLS connection.
pub struct TlsStream<S> {
    stream: S,
    connection: UnbufferedServerConnection,
    /// What was received and is no whole record yet.
    received: Vec<u8>,
    /// What of the client's requests was decrypted and not read yet, from `read` on.
    plain: Vec<u8>,
    read: usize,
    /// The client sends nothing more.
    ended: bool,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    /// It was said that nothing more is sent.
    closed: bool,
}

/// Why there is no TLS connection.
#[derive(Debug)]
pub enum NoHandshake<S> {
    /// The client has begun to speak HTTP without TLS.
    PlainHttp(S),
    /// Something else, after the alert that says so, or the client has gone.
    Failed(io::Error),
}

impl<S> From<io::Error> for NoHandshake<S> {
    fn from(error: io::Error) -> NoHandshake<S> {
        NoHandshake::Failed(error)
    }
}

impl<S: Raw> TlsStream<S> {
    /// Shakes hands. There is no deadline here.
    ///
    /// # Errors
    /// If that fails.
    pub async fn accept(stream: S, config: Arc<ServerConfig>) -> Result<TlsStream<S>, NoHandshake<S>> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut tls = TlsStream {
            stream,
            connection,
            received: Vec::new(),
            plain: Vec::new(),
            read: 0,
            ended: false,
            unsent: Vec::new(),
            closed: false,
        };
        let mut first = true;
        loop {
            // What is to be sent must be out before more is waited for.
            std::future::poll_fn(|cx| tls.poll_unsent(cx)).await?;
            if !tls.connection.is_handshaking() {
                return Ok(tls);
            }
            if std::future::poll_fn(|cx| tls.poll_receive(cx)).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if std::mem::take(&mut first) && tls.received.first().is_some_and(u8::is_ascii_uppercase) {
                return Err(NoHandshake::PlainHttp(tls.stream));
            }
            if let Err(error) = tls.read_records() {
                // The client is told, if it takes that at once.
                let _ = std::future::poll_fn(|cx| Poll::Ready(tls.poll_unsent(cx))).await;
                return Err(error.into());
            }
        }
    }

    /// The connection, for what is to be known of it.
    pub fn connection(&self) -> &UnbufferedServerConnection {
        &self.connection
    }

    fn read_records(&mut self) -> io::Result<()> {
        let read = records::read(&mut self.connection, &mut self.received, &mut self.unsent, &mut self.plain)
            .map_err(io::Error::other)?;
        self.ended |= read.ended;
        self.received.drain(..read.used);
        if self.received.is_empty() {
            self.received = Vec::new();
        } else if self.received.len() > RECEIVED_MAX {
            return Err(io::Error::other("a record or a message is too long"));
        }
        Ok(())
    }

    /// Receives some bytes; 0 at the end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [0; READ];
        let mut buf = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        self.received.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Ready when nothing is unsent.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.drain(..count);
        }
        self.unsent = Vec::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: Raw> Transport for TlsStream<S> {
    /// Bytes of requests that were decrypted and not read are dropped, as those that hyper has read ahead.
    fn into_handover(self) -> io::Result<Handover> {
        let TlsStream { stream, connection, received, unsent, .. } = self;
        Ok(Handover::Tls(Box::new(TlsWire::new(stream.into_wire()?, connection, unsent, received))))
    }
}

impl<S: Raw> AsyncRead for TlsStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let left = &this.plain[this.read..];
            if !left.is_empty() {
                let count = left.len().min(buf.remaining());
                buf.put_slice(&left[..count]);
                this.read += count;
                if this.read == this.plain.len() {
                    (this.plain, this.read) = (Vec::new(), 0);
                }
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            // One that ends without saying so in TLS is at its end as well: a request that is cut is not whole, and
            // HTTP notices.
            this.ended = ready!(this.poll_receive(cx))? == 0;
            let read = this.read_records();
            if !this.unsent.is_empty()
                && let Poll::Ready(Err(error)) = this.poll_unsent(cx)
            {
                return Poll::Ready(Err(error));
            }
            read?;
        }
    }
}

impl<S: Raw> AsyncWrite for TlsStream<S> {
    /// Takes a record's worth once the one before has been taken.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        let this = &mut *self;
        let plain = &buf[..buf.len().min(PLAIN_MAX)];
        let mut record = vec![0; RECORD_MAX - PLAIN_MAX + plain.len()];
        let length = records::encrypt(&mut this.connection, plain, &mut record).ok_or(io::ErrorKind::BrokenPipe)?;
        record.truncate(length);
        this.unsent = record;
        match this.poll_unsent(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // Either way it is taken.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(plain.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unsent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !std::mem::replace(&mut this.closed, true) {
            records::close_notify(&mut this.connection, &mut this.unsent);
        }
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
