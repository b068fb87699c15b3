//! What is known of a connection from the moment that it was accepted.

use std::net::SocketAddr;

use crate::ops::metrics::Listener;

use super::route::Allows;

/// Where a request comes from, and by which way.
#[derive(Clone, Debug)]
pub struct Context {
    /// The listener that accepted the connection.
    pub listener: Listener,
    /// What requests to it may be for.
    pub allows: Allows,
    /// Where the listener listens.
    pub local: SocketAddr,
    /// The client's address.
    pub peer: SocketAddr,
    /// How the connection is framed.
    pub protocol: Protocol,
}

/// How requests and streams are framed on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 over TCP.
    Http1,
}
