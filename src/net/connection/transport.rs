//! What connections are made of.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes in both directions, of which requests are read; and what a stream is then written to.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// What a shard takes over.
    type Raw;

    /// Takes it out of the runtime.
    ///
    /// # Errors
    /// What the system says.
    fn into_raw(self) -> io::Result<Self::Raw>;
}

impl Transport for TcpStream {
    /// A non-blocking socket.
    type Raw = std::net::TcpStream;

    fn into_raw(self) -> io::Result<std::net::TcpStream> {
        self.into_std()
    }
}
