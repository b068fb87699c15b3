//! The pure core: who gets what, and in which bytes. No sockets, clocks, threads, locks or metrics.

pub mod event;
pub mod fault;
pub mod topic;
