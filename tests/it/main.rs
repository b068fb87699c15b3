//! The gateway from outside: raw sockets, the binary, the library, and the rules that the sources keep.

mod bad_input;
mod configuration;
mod support;
mod surface;
