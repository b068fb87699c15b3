//! The gateway from outside: raw sockets, the binary, the library, and the rules that the sources keep.

mod allocations;
mod bad_input;
mod configuration;
mod library;
mod metrics;
mod support;
mod surface;
mod tidy;
