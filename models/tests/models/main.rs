//! Models of what the threads of a gateway share. loom runs each once for every way in which its
//! threads can meet, weak memory included, so they are tiny: two or three threads with one or two
//! operations each.

mod inbox;
mod publish;
mod timers;
mod topic;
mod turn;
mod waker;
