//! Sockets, tasks, threads and time. What is decided about events is decided in `hub`; here it is
//! carried out.

// What threads tell each other.
pub mod question;
pub mod command;
// The time.
pub mod clock;
pub mod ticker;
// Streams.
pub mod wire;
pub mod shard;
// Requests.
pub mod listener;
pub mod connection;
pub mod problem;
pub mod response;
mod query;
pub mod negotiation;
pub mod admit;
pub mod publish;
pub mod reply;
pub mod handler;
pub mod state;
// The two doors.
pub mod public;
pub mod admin;
pub mod control;
pub mod acceptor;
