//! What connections are made of, and where they come from. There is one listener and one connection for all kinds:
//! what is laid around a socket, such as TLS, is a [`Transport`] of its own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::sink::Handover;
use super::wire::Wire;

/// Bytes in both directions, of which requests are read.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Takes out of the runtime what a shard then writes a stream to.
    ///
    /// # Errors
    /// What the system says.
    fn into_handover(self) -> io::Result<Handover>;
}

/// A socket as it is accepted, with nothing around it.
pub trait Raw: AsyncRead + AsyncWrite + Unpin {
    /// Takes it out of the runtime.
    ///
    /// # Errors
    /// What the system says.
    fn into_wire(self) -> io::Result<Wire>;
}

/// A socket that connections come from.
pub trait Listen: Sized {
    /// One that is bound, and in no runtime yet.
    type Bound;
    /// What it accepts.
    type Transport: Raw + Transport;

    /// Registers it with the runtime that this is called in.
    ///
    /// # Errors
    /// What the system says.
    fn register(bound: Self::Bound) -> io::Result<Self>;

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    fn address(&self) -> io::Result<SocketAddr>;

    /// The next connection, set up, and the client's address.
    ///
    /// # Errors
    /// What the system says, of the connection or of the listener.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Transport, SocketAddr)>>;
}

impl Transport for TcpStream {
    fn into_handover(self) -> io::Result<Handover> {
        Ok(Handover::Plain(self.into_wire()?))
    }
}

impl Raw for TcpStream {
    fn into_wire(self) -> io::Result<Wire> {
        Ok(Wire::from(OwnedFd::from(self.into_std()?)))
    }
}

impl Listen for TcpListener {
    type Bound = std::net::TcpListener;
    type Transport = TcpStream;

    fn register(bound: std::net::TcpListener) -> io::Result<TcpListener> {
        bound.set_nonblocking(true)?;
        TcpListener::from_std(bound)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    /// Sockets have their options from the listener.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    /// The address of those that have none.
    const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

    /// Another kind: sockets of this machine.
    impl Listen for UnixListener {
        type Bound = std::os::unix::net::UnixListener;
        type Transport = UnixStream;

        fn register(bound: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
            bound.set_nonblocking(true)?;
            UnixListener::from_std(bound)
        }

        fn address(&self) -> io::Result<SocketAddr> {
            Ok(NOWHERE)
        }

        async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
            Ok((UnixListener::accept(self).await?.0, NOWHERE))
        }
    }

    impl Transport for UnixStream {
        fn into_handover(self) -> io::Result<Handover> {
            Ok(Handover::Plain(self.into_wire()?))
        }
    }

    impl Raw for UnixStream {
        fn into_wire(self) -> io::Result<Wire> {
            Ok(Wire::from(OwnedFd::from(self.into_std()?)))
        }
    }
}
