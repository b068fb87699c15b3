//! A stream's socket: plain `send(2)`, without waiting and without signals.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, getpeername, recv, send, shutdown};
use socket2::SockRef;

use crate::hub::stream::{Sent, Socket};

/// A raw, non-blocking socket. Dropping it closes it, which also takes it out of its shard's epoll set.
#[derive(Debug)]
pub struct Wire(OwnedFd);

impl From<OwnedFd> for Wire {
    fn from(socket: OwnedFd) -> Wire {
        Wire(socket)
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket for Wire {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        loop {
            return match send(&self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(0) => Sent::Full,
                Ok(len) => Sent::Wrote(len),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Sent::Full,
                // The kernel gave the peer up, or the peer us.
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::TIMEDOUT) => Sent::Gone,
                Err(_) => Sent::Failed,
            };
        }
    }
}

impl Wire {
    /// The client's address. One that has gone has none any more.
    pub fn peer(&self) -> Option<SocketAddr> {
        getpeername(&self.0).ok()??.try_into().ok()
    }

    /// Reads what the client sent and is there: nothing also if it sends nothing more. `None` if the connection has
    /// failed.
    pub fn receive(&self, into: &mut [u8]) -> Option<usize> {
        loop {
            return match recv(&self.0, &mut *into, RecvFlags::DONTWAIT) {
                Ok((_, len)) => Some(len),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Some(0),
                Err(_) => None,
            };
        }
    }

    /// Reads and drops what the client sent, up to `max` bytes. `None` if the connection has failed.
    pub fn discard(&self, scratch: &mut [u8], max: usize) -> Option<usize> {
        let mut dropped = 0;
        while dropped < max {
            match self.receive(scratch)? {
                0 => break,
                len => dropped += len,
            }
        }
        Some(dropped)
    }

    /// Bounds how long bytes may stay unacknowledged, or the peer's window shut, before the kernel
    /// gives the connection up.
    pub fn set_user_timeout(&self, time: Duration) {
        // It fails only where the connection has failed.
        let _ = SockRef::from(&self.0).set_tcp_user_timeout(Some(time));
    }

    /// Closes the writing side after the last bytes, and reads what is left, since a socket that is
    /// closed with unread input resets the connection and may destroy what it has just sent.
    pub fn close_properly(self, scratch: &mut [u8]) {
        // Either fails only if the peer has gone first.
        let _ = shutdown(&self.0, Shutdown::Write);
        let _ = self.discard(scratch, scratch.len());
    }
}
