//! The gateway from outside: raw sockets, the binary, the library, and the rules that the sources keep.

mod support;
mod surface;
