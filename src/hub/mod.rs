//! The pure core: who gets what, and in which bytes. No sockets, clocks, threads, locks or metrics:
//! everything comes in as an argument, the time too.

// What is published, and why it is refused.
pub mod event;
pub mod fault;
pub mod frame;
pub mod gap;
pub mod id;
pub mod topic;
// Where it stands.
pub mod archive;
pub mod log;
pub mod offset;
// Who gets it.
pub mod close;
pub mod holder;
pub mod policy;
pub mod registry;
pub mod retry;
pub mod routes;
mod run;
pub mod stream;
pub mod subscribe;
// When.
pub mod heartbeats;
pub mod wheel;
// What a shard does with all of that, and how much of it at once.
pub mod bounds;
pub mod effort;
pub mod shard;
// What others are made of.
pub mod chunked;
pub mod paged;
pub mod slab;
pub mod top;
