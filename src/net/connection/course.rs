//! What a connection waits for, and for how long.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use super::ConnectionLimits;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// The first byte of a request.
    Request,
    /// The rest of a request's head.
    Head,
    /// The handler, which has deadlines of its own.
    Handler,
}

/// What a connection has come to. The one who reads, the one who handles and the one who waits share it.
pub(super) struct Course {
    head_deadline: Duration,
    idle: Duration,
    waits: Cell<Waits>,
    /// The deadline counts from now, not from when it was last looked at.
    moved: Cell<bool>,
    /// The socket has taken the rest of a write that it did not take at once.
    unstuck: Cell<bool>,
}

impl Course {
    pub(super) fn begin(limits: &ConnectionLimits) -> Course {
        Course {
            head_deadline: limits.head_deadline,
            idle: limits.idle,
            waits: Cell::new(Waits::Request),
            moved: Cell::new(false),
            unstuck: Cell::new(false),
        }
    }

    pub(super) fn wait_for(&self, what: Waits) {
        self.waits.set(what);
        self.moved.set(true);
    }

    /// The next step is the client's.
    pub(super) fn is_idle(&self) -> bool {
        self.waits.get() != Waits::Handler
    }

    /// Bytes came from the client.
    pub(super) fn has_read(&self) {
        if self.waits.get() == Waits::Request {
            self.wait_for(Waits::Head);
        }
    }

    /// The client took bytes of an answer.
    pub(super) fn has_written(&self) {
        if self.waits.get() == Waits::Request {
            self.moved.set(true);
        }
    }

    pub(super) fn unstick(&self) {
        self.unstuck.set(true);
    }

    pub(super) fn take_unstuck(&self) -> bool {
        self.unstuck.take()
    }

    /// Is over when the client has taken too long. To be polled after whatever may change the course.
    pub(super) async fn deadline(&self) {
        let mut over = pin!(sleep(self.idle));
        std::future::poll_fn(|cx| {
            let bound = match self.waits.get() {
                Waits::Request => self.idle,
                Waits::Head => self.head_deadline,
                Waits::Handler => return Poll::Pending,
            };
            if self.moved.take() {
                over.set(sleep(bound));
            }
            over.as_mut().poll(cx)
        })
        .await;
    }
}
