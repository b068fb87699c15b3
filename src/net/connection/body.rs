//! A request's body, and whether it was read to its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A request's body. What is left unread of it ends the connection with the answer.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    ended: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming) -> RequestBody {
        let ended = incoming.is_end_stream();
        RequestBody { incoming, ended }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.ended |= matches!(polled, Poll::Ready(None)) || self.incoming.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
