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
pub mod tls;
pub mod sink;
pub mod shard;
// Connections.
pub mod transport;
pub mod listener;
pub mod accept;
pub mod slots;
pub mod connection;
// Requests, from their context to their answer.
pub mod context;
pub mod problem;
pub mod elsewhere;
pub mod response;
mod query;
pub mod route;
pub mod host;
pub mod cors;
pub mod negotiation;
pub mod token;
pub mod admit;
pub mod publish;
pub mod reply;
pub mod handler;
pub mod state;
pub mod streams;
pub mod tickets;
mod try_page;
pub mod publishing;
pub mod admin;
pub mod console;
pub mod answer;
// The listeners' threads.
pub mod acceptor;
