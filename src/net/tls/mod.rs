//! TLS, by rustls: what is laid around sockets. Handshakes and requests are an acceptor's, streams a shard's, and a
//! connection goes from one to the other with its keys.
//!
//! rustls holds no buffers here: records are read and written in those of the acceptor's connection, or of the
//! shard's thread, so that a stream costs its keys and no more.

pub mod certificates;
pub mod server;
pub mod stream;
pub mod wire;
mod records;
