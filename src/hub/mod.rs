//! Pure state and rules: no socket, clock, thread or lock.

pub mod wheel;
