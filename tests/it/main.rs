//! The gateway from outside: raw sockets, the binary, the library, and the rules that the sources keep.

mod resume;
mod stalled;
mod support;
mod surface;
