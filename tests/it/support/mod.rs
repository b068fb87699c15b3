//! What the tests share.
//!
//! - [`Server`]: the binary, started with a configuration, on free ports; ended when dropped.
//! - [`Conversation`]: a raw connection; bytes are sent and expected, always with a deadline.
//! - [`certificates`]: certificates, and clients that trust them.
//! - [`fleet`]: many streams at once.
//! - [`sse`]: the event stream grammar of the HTML standard, as a client reads it.
//! - [`publish`]: requests to the control listener.
//! - [`Metrics`]: a scrape.
//! - [`within`]: waits for a condition, for a time.
//! - [`tool`]: third-party programs, which may be absent.
#![allow(dead_code, unused_imports, reason = "a catalogue: what one test needs today another may need tomorrow")]

pub(crate) mod certificates;
pub(crate) mod conversation;
pub(crate) mod fleet;
pub(crate) mod hopping;
pub(crate) mod metrics;
pub(crate) mod nats;
pub(crate) mod publish;
pub(crate) mod server;
pub(crate) mod sse;
pub(crate) mod tool;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use conversation::{Conversation, Head, Response};
pub(crate) use metrics::Metrics;
pub(crate) use server::{Launch, Server, run, run_limited};
pub(crate) use sse::{Event, Item};
pub(crate) use tool::tool;

/// How long anything may take that should come at once. Generous: machines are busy.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Waits until the condition holds; `false` if it does not in this time.
pub(crate) fn within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let gives_up = Instant::now() + time;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= gives_up {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
