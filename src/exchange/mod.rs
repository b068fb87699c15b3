//! What cores share, one lock or atomic at a time.

pub mod timers;
