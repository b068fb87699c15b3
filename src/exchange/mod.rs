//! What the cores share. Each takes one lock or atomic at a time and holds none while it calls out;
//! nothing here waits for I/O or looks at user input.

pub mod directory;
pub mod inbox;
pub mod log_cell;
mod sync;
pub mod pages;
pub mod timers;
pub mod topics;
pub mod bus;
