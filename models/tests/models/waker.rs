//! What wakes a shard.

use loom::sync::{Condvar, Mutex};

/// As an eventfd in an epoll set.
pub(crate) struct Waker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Waker {
    pub(crate) fn new() -> Waker {
        Waker { woken: Mutex::new(false), changed: Condvar::new() }
    }

    pub(crate) fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }

    /// Sleeps until it is woken. Once nobody will, loom reports a deadlock.
    pub(crate) fn sleep(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = self.changed.wait(woken).unwrap();
        }
    }
}
