//! The publish calls that wait for an engine's store: a bounded number of them, in bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many publish calls may wait, and how much memory they may take, but for one call more.
pub(super) const WAITING_MAX: usize = 4096;
pub const WAITING_BYTES_MAX: usize = 64 << 20;

/// Why a call can't wait: nobody would come for it.
pub(super) const ENDED: &str = "the engine has ended";

/// The memory of the calls that wait.
#[derive(Clone)]
pub(super) struct Waiting {
    bytes: Arc<AtomicUsize>,
    /// What is said where they take too much.
    too_much: &'static str,
}

impl Waiting {
    /// None waits yet.
    pub(super) fn new(too_much: &'static str) -> Waiting {
        Waiting { bytes: Arc::default(), too_much }
    }

    /// Sends a call that takes so much memory, until it [`Waiting::leave`]s. If it can't be sent, or too much waits, it
    /// is given back, with why.
    pub(super) fn enter<T>(
        &self,
        call: T,
        bytes: usize,
        send: impl FnOnce(T) -> Option<(&'static str, T)>,
    ) -> Option<(&'static str, T)> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let unsent = if before > WAITING_BYTES_MAX { Some((self.too_much, call)) } else { send(call) };
        if unsent.is_some() {
            self.leave(bytes);
        }
        unsent
    }

    /// Calls of so much memory wait no more.
    pub(super) fn leave(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_what_waits_is_bounded_but_for_one_call() {
        let waiting = Waiting::new("too much");
        let enter = |bytes| waiting.enter((), bytes, |()| None).map(|(why, ())| why);
        assert_eq!([enter(WAITING_BYTES_MAX), enter(1 << 30)], [None; 2]);
        assert_eq!(enter(1), Some("too much"));
        assert_eq!(waiting.enter((), 1, |()| panic!("it was sent")), Some(("too much", ())));
        waiting.leave(1 << 30);
        // What can't be sent takes nothing.
        assert_eq!(waiting.enter((), 1 << 30, |()| Some(("full", ()))), Some(("full", ())));
        assert_eq!([enter(1), enter(1)], [None, Some("too much")]);
    }
}
