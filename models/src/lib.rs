//! The files of `src/exchange/` as they are shipped, over [`exchange::sync`] in place of theirs: its
//! locks, atomics and queues are those of loom, which runs a model once for each way in which its
//! threads can meet. The models are in `tests/`.
#![cfg(not(test))] // The gateway's own tests are not for here.

#[path = "../../src/hub/mod.rs"]
pub mod hub;

/// What the cores share.
pub mod exchange {
    #[path = "../../../src/exchange/bus.rs"]
    pub mod bus;
    #[path = "../../../src/exchange/directory.rs"]
    pub mod directory;
    #[path = "../../../src/exchange/inbox.rs"]
    pub mod inbox;
    #[path = "../../../src/exchange/log_cell.rs"]
    pub mod log_cell;
    #[path = "../../../src/exchange/pages.rs"]
    pub mod pages;
    pub mod sync;
    #[path = "../../../src/exchange/timers.rs"]
    pub mod timers;
}
