//! What a library's user answers to a request on the public listener.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Uri, Version};

use crate::hub::event::Event;
use crate::hub::log::Resume;
use crate::hub::topic::{Pattern, Topic};

use super::negotiation;
use super::response::TEXT;

/// A request's head. A body, if there is one, is not read. A clone costs one atomic increment.
#[derive(Clone, Debug)]
pub struct Request(Arc<Head>);

#[derive(Debug)]
struct Head {
    parts: Parts,
    peer: SocketAddr,
}

impl Request {
    pub(super) fn new(parts: Parts, peer: SocketAddr) -> Request {
        Request(Arc::new(Head { parts, peer }))
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// Its method: GET or HEAD, or what [`Builder::methods`](crate::Builder::methods) names.
    pub fn method(&self) -> &Method {
        &self.0.parts.method
    }

    /// Its path and query, as the client sent them.
    pub fn uri(&self) -> &Uri {
        &self.0.parts.uri
    }

    /// HTTP/1.1 or HTTP/1.0.
    pub fn version(&self) -> Version {
        self.0.parts.version
    }

    /// Its header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.parts.headers
    }

    /// The other end of the connection: the client, or the proxy before it.
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer
    }

    /// Whether its `Accept` names `text/event-stream`, as an EventSource's does. `*/*` is not enough.
    pub fn accepts_event_stream(&self) -> bool {
        negotiation::accepts_event_stream(self.headers())
    }
}

/// The answer to a request: a [`StreamReply`], any [`http::Response`] that is whole, or what the gateway
/// answers by itself.
///
/// ```
/// # use sluicegate::{Reply, StreamReply, Topic, http};
/// # fn replies() -> Result<[Reply; 5], Box<dyn std::error::Error>> {
/// # Ok([
/// Reply::routes(),
/// Reply::from("some text"),
/// Reply::from((http::StatusCode::FORBIDDEN, "not yours")),
/// Reply::from(http::Response::builder().status(302).header("location", "/elsewhere").body("")?),
/// Reply::from(StreamReply::new().topic(Topic::parse("news")?)),
/// # ])
/// # }
/// # replies().unwrap();
/// ```
#[derive(Debug)]
pub struct Reply(pub(super) Answering);

#[derive(Debug)]
pub(super) enum Answering {
    Routes,
    Response(Response<Bytes>),
    Stream(StreamReply),
}

impl Reply {
    /// Answers as the gateway does by itself: `/`, `/events/…` and so on.
    pub fn routes() -> Reply {
        Reply(Answering::Routes)
    }

    /// Answers 200 with this text.
    pub fn text(text: impl Into<String>) -> Reply {
        Reply::from((StatusCode::OK, text.into()))
    }
}

impl<B: Into<Bytes>> From<Response<B>> for Reply {
    fn from(response: Response<B>) -> Reply {
        Reply(Answering::Response(response.map(Into::into)))
    }
}

impl From<StreamReply> for Reply {
    fn from(stream: StreamReply) -> Reply {
        Reply(Answering::Stream(stream))
    }
}

impl From<StatusCode> for Reply {
    fn from(status: StatusCode) -> Reply {
        Reply::from((status, ""))
    }
}

impl From<&'static str> for Reply {
    fn from(text: &'static str) -> Reply {
        Reply::from((StatusCode::OK, text))
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Reply {
        Reply::from((StatusCode::OK, text))
    }
}

impl From<(StatusCode, &'static str)> for Reply {
    fn from((status, text): (StatusCode, &'static str)) -> Reply {
        plain(status, Bytes::from(text))
    }
}

impl From<(StatusCode, String)> for Reply {
    fn from((status, text): (StatusCode, String)) -> Reply {
        plain(status, Bytes::from(text))
    }
}

/// What goes wrong can be an answer, too: a handler may then use `?`.
impl<T: Into<Reply>, E: Into<Reply>> From<Result<T, E>> for Reply {
    fn from(result: Result<T, E>) -> Reply {
        result.map_or_else(Into::into, Into::into)
    }
}

fn plain(status: StatusCode, text: Bytes) -> Reply {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Reply::from(response)
}

/// An answer that is an event stream. It carries what is published to its topics and patterns; with
/// none of them, only the event of [`StreamReply::every`].
///
/// By default it resumes after the request's `Last-Event-ID` (or `last_event_id=`).
///
/// ```
/// # use std::time::Duration;
/// # use sluicegate::{Event, Pattern, StreamReply, Topic};
/// let stream = StreamReply::new()
///     .topic(Topic::parse("news")?)
///     .pattern(Pattern::parse("prices/**")?)
///     .every(Duration::from_secs(60), Event::new("still here").event("note"))
///     .lasts(Duration::from_secs(3600));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct StreamReply {
    pub(super) topics: Vec<Topic>,
    pub(super) patterns: Vec<Pattern>,
    pub(super) resume: Option<Resume>,
    pub(super) max_events: Option<NonZeroU32>,
    pub(super) lasts: Option<Duration>,
    pub(super) every: Option<(Duration, Event<'static>)>,
    pub(super) headers: HeaderMap,
    pub(super) private: bool,
}

impl StreamReply {
    /// A stream that carries nothing yet.
    pub fn new() -> StreamReply {
        StreamReply::default()
    }

    /// Subscribes it to a topic, too.
    pub fn topic(mut self, topic: Topic) -> StreamReply {
        self.topics.push(topic);
        self
    }

    /// Subscribes it to all of these topics, too.
    pub fn topics(mut self, topics: impl IntoIterator<Item = Topic>) -> StreamReply {
        self.topics.extend(topics);
        self
    }

    /// Subscribes it to all topics that a pattern covers, too.
    pub fn pattern(mut self, pattern: Pattern) -> StreamReply {
        self.patterns.push(pattern);
        self
    }

    /// Private events of its topics and patterns are for it, too ([`Event::private`]).
    pub fn private(mut self) -> StreamReply {
        self.private = true;
        self
    }

    /// Begins with what is published from now on, whatever the client had last.
    pub fn live(mut self) -> StreamReply {
        self.resume = Some(Resume::Now);
        self
    }

    /// Begins with all that is kept, whatever the client had last.
    pub fn from_earliest(mut self) -> StreamReply {
        self.resume = Some(Resume::Earliest);
        self
    }

    /// Begins after the event of this id, whatever the client had last. If that is unknown or no
    /// longer kept, the stream begins with a `gap`.
    pub fn after(mut self, id: &str) -> StreamReply {
        self.resume = Some(Resume::after(id.as_bytes()));
        self
    }

    /// Adds a field to the response's head: a cookie, or who may read it, in place of every web page.
    /// What frames the stream is the gateway's: `content-type`, `content-length`, `transfer-encoding`,
    /// `connection`, `cache-control`, `x-accel-buffering` and `date` can't be set.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> StreamReply {
        self.headers.append(name, value);
        self
    }

    /// Ends the stream properly after so many events.
    pub fn max_events(mut self, events: NonZeroU32) -> StreamReply {
        self.max_events = Some(events);
        self
    }

    /// Ends the stream properly after this time. `stream.max_age` may end it before.
    pub fn lasts(mut self, time: Duration) -> StreamReply {
        self.lasts = Some(time);
        self
    }

    /// Sends the stream this event again and again, first after one `period`. The timer is the
    /// stream's own and goes with it. A stream that is too slow for it gets one event for the times
    /// that it missed. A period is counted in whole milliseconds, at least one.
    pub fn every(mut self, period: Duration, event: Event<'static>) -> StreamReply {
        self.every = Some((period.max(Duration::from_millis(1)), event));
        self
    }
}
