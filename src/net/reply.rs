//! What a library's user answers to a request on the public listener.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use crate::hub::event::Event;
use crate::hub::topic::Topic;

use super::negotiation;

/// A request's head.
#[derive(Debug)]
pub struct Request<'a>(pub(crate) &'a Parts);

impl Request<'_> {
    /// Its method.
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// Its path and query.
    pub fn uri(&self) -> &Uri {
        &self.0.uri
    }

    /// Its header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Whether its `Accept` names `text/event-stream`, as an EventSource's does. `*/*` is not enough.
    pub fn accepts_event_stream(&self) -> bool {
        negotiation::accepts_event_stream(&self.0.headers)
    }
}

/// An answer to a request.
#[derive(Debug)]
pub struct Reply(pub(crate) Answering);

#[derive(Debug)]
pub(crate) enum Answering {
    Routes,
    Text(Bytes),
    Stream(StreamReply),
}

/// What a stream is made of.
#[derive(Debug, Default)]
pub(crate) struct StreamReply {
    pub(crate) topics: Vec<Topic>,
    pub(crate) beat: Option<(Duration, Event<'static>)>,
    pub(crate) lasts: Option<Duration>,
}

impl Reply {
    /// Answers as the gateway does by itself: `/`, `/events/…` and so on.
    pub fn routes() -> Reply {
        Reply(Answering::Routes)
    }

    /// Answers 200 with this text.
    pub fn text(text: impl Into<String>) -> Reply {
        Reply(Answering::Text(text.into().into()))
    }

    /// Answers with an event stream that carries nothing yet: see [`Reply::topic`] and
    /// [`Reply::every`].
    pub fn stream() -> Reply {
        Reply(Answering::Stream(StreamReply::default()))
    }

    /// Subscribes the stream to a topic. A reply that is no stream stays as it is.
    pub fn topic(mut self, topic: Topic) -> Reply {
        if let Answering::Stream(stream) = &mut self.0 {
            stream.topics.push(topic);
        }
        self
    }

    /// Sends the stream this event again and again, first after one `period`. The timer is the
    /// stream's own and goes with it. A stream that is too slow for it gets one event for the
    /// beats it missed. A period is counted in whole milliseconds, at least one.
    pub fn every(mut self, period: Duration, event: Event<'static>) -> Reply {
        if let Answering::Stream(stream) = &mut self.0 {
            stream.beat = Some((period.max(Duration::from_millis(1)), event));
        }
        self
    }

    /// Ends the stream properly after this time.
    pub fn lasts(mut self, time: Duration) -> Reply {
        if let Answering::Stream(stream) = &mut self.0 {
            stream.lasts = Some(time);
        }
        self
    }
}
