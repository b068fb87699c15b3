//! What is corrected in hyper: its own empty answers are taken out of the stream and replaced by
//! problem documents, a later minor version is read as 1.1, and shutting down is left to us.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::problem::{Problem, Refusal};
use crate::net::transport::Transport;

use super::course::Course;
use super::{ConnectionLimits, Ended};

/// How an HTTP/2 client with prior knowledge starts.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// A transport as hyper sees it.
pub(super) struct Io<'a, S> {
    stream: S,
    /// What was read before.
    first: Bytes,
    /// The status of hyper's own answer.
    refused: Option<u16>,
    /// The socket didn't take all of hyper's last write.
    stuck: bool,
    course: &'a Course,
}

impl<'a, S: Transport> Io<'a, S> {
    /// `first` is read before what comes from the stream.
    pub(super) fn new(stream: S, first: Bytes, course: &'a Course) -> Io<'a, S> {
        Io { stream, first, refused: None, stuck: false, course }
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// If hyper refused the request for its version alone, which is a later 1.x: the request as 1.1, to
    /// be read again. RFC 9110, section 2.5, has it processed so.
    pub(super) fn reads_as_http_1_1(&self, unread: &[u8]) -> Option<Bytes> {
        self.refused.filter(|_| !self.stuck)?;
        let digit = later_minor_version(unread)?;
        let mut again = BytesMut::from(unread);
        again[digit] = b'1';
        Some(again.freeze())
    }

    fn wrote(&mut self, offered: usize, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let stuck = !matches!(written, Poll::Ready(Ok(count)) if count == offered);
        if self.stuck && !stuck {
            self.course.unstick();
        }
        self.stuck = stuck;
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.course.has_written();
        }
        written
    }
}

/// Where the minor version of the first request line is, if it is 1.2 or later.
fn later_minor_version(head: &[u8]) -> Option<usize> {
    let start = head.len() - head.trim_ascii_start().len();
    let end = start + memchr::memchr(b'\n', &head[start..])?;
    let line = head[start..end].strip_suffix(b"\r").unwrap_or(&head[start..end]);
    let digit = line.len().checked_sub(1)?;
    let is_later = line[..digit].ends_with(b" HTTP/1.") && matches!(line[digit], b'2'..=b'9');
    is_later.then_some(start + digit)
}

/// The status, if these bytes are an answer that hyper made by itself: it is whole and empty, and
/// unlike all of ours has no content type.
pub(super) fn hypers_own(bytes: &[u8]) -> Option<u16> {
    let status = match bytes.strip_prefix(b"HTTP/1.")?.get(1..6)? {
        b" 400 " => 400,
        b" 414 " => 414,
        b" 431 " => 431,
        _ => return None,
    };
    let head_only = memchr::memmem::find(bytes, b"\r\n\r\n") == Some(bytes.len() - 4);
    (head_only && memchr::memmem::find(bytes, b"\r\ncontent-type:").is_none()).then_some(status)
}

/// Why the request under way is refused, if it is and the client can have an answer.
pub(super) fn refused<S>(ended: &Ended, io: &Io<'_, S>, unread: &[u8]) -> Option<Refusal> {
    if io.stuck {
        return None;
    }
    let head = unread.trim_ascii_start();
    match (ended, io.refused) {
        (Ended::Hyper(Ok(())), _) => None,
        // hyper counts a target that doesn't fit as a head that doesn't fit.
        (_, Some(431)) if !head.contains(&b'\n') => Some(Refusal::UriTooLong),
        (_, Some(431)) => Some(Refusal::HeadTooLarge),
        (_, Some(414)) => Some(Refusal::UriTooLong),
        (_, Some(_)) => Some(Refusal::BadHead),
        (Ended::Deadline, None) if !head.is_empty() => Some(Refusal::HeadTooSlow),
        (_, None) if head.starts_with(H2_PREFACE) => Some(Refusal::HttpVersion),
        (_, None) => None,
    }
}

/// The refusal in words.
pub(super) fn explain(reason: Refusal, limits: &ConnectionLimits, ended: &Ended) -> Problem {
    let detail = match reason {
        Refusal::UriTooLong => "the request's target is too long".into(),
        Refusal::HeadTooLarge => {
            format!("the request head is longer than {} bytes or has more than 100 fields", limits.head_bytes)
        }
        Refusal::HeadTooSlow => {
            format!("the request head took longer than {}", humantime::format_duration(limits.head_deadline))
        }
        Refusal::HttpVersion => "this port speaks HTTP/1.1, not HTTP/2".into(),
        _ => match ended {
            Ended::Hyper(Err(error)) => format!("the request head can't be read: {error}"),
            _ => "the request head can't be read".into(),
        },
    };
    Problem::new(reason, detail)
}

impl<S: Transport> AsyncRead for Io<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let filled = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > filled {
            self.course.has_read();
        }
        polled
    }
}

impl<S: Transport> AsyncWrite for Io<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(status) = hypers_own(buf) {
            self.refused = Some(status);
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(buf.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(offered, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
