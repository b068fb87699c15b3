//! The gateway from outside: raw sockets, the binary, the library, and the rules that the sources keep.

mod clients;
mod drain;
mod fd;
mod resume;
mod stalled;
mod storm;
mod support;
mod surface;
