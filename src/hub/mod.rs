//! The pure core: who gets what, and in which bytes. No sockets, clocks, threads, locks or metrics.

pub mod close;
pub mod event;
pub mod fault;
pub mod gap;
pub mod policy;
pub mod topic;
