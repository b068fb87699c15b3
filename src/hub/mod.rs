//! The pure core: who gets what, and in which bytes. No sockets, clocks, threads, locks or metrics:
//! everything comes in as an argument, the time too.

// What is published.
pub mod event;
pub mod paged;
pub mod offset;
pub mod fault;
pub mod frame;
pub mod gap;
pub mod id;
pub mod topic;
// Where it stands.
pub mod log;
// Who gets it.
pub mod bounds;
pub mod heartbeats;
pub mod close;
pub mod policy;
pub mod registry;
pub mod retry;
pub mod shard;
pub mod subscribe;
pub mod routes;
pub mod slab;
pub mod stream;
pub mod top;
mod run;
// When.
pub mod wheel;
