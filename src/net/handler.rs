//! A library user's handler, and what its answers become.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use http_body_util::Full;

use crate::hub::close::CloseReason;
use crate::hub::frame::encode_alone;
use crate::hub::log::Resume;
use crate::hub::subscribe::{Subscribe, TimedEvent};
use crate::hub::topic::{Numbers, Subscription};

use super::negotiation;
use super::problem::{Problem, Refusal};
use super::reply::{Answering, Reply, Request, StreamReply};
use super::response::TEXT;

type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// A library user's answer to requests on the public listener.
pub struct Handler {
    ask: Box<dyn Fn(Request) -> Answer + Send + Sync>,
    methods: Vec<Method>,
}

/// What a request comes to.
pub enum Handled {
    /// The gateway's own rules apply.
    Routes,
    /// An answer.
    Respond(Response<Full<Bytes>>),
    /// A stream is asked for.
    Stream(Subscribe),
}

impl Handler {
    /// A handler that is asked for GET, and so for HEAD.
    pub fn new<F, A>(handler: F) -> Handler
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output: Into<Reply>> + Send + 'static,
    {
        let ask = move |request| -> Answer {
            let answer = handler(request);
            Box::pin(async move { answer.await.into() })
        };
        Handler { ask: Box::new(ask), methods: vec![Method::GET] }
    }

    /// Has it asked for these methods instead, and for HEAD where it is asked for GET.
    pub fn with_methods(self, methods: Vec<Method>) -> Handler {
        Handler { methods, ..self }
    }

    /// The methods that get an answer.
    fn allow(&self) -> String {
        let mut names: Vec<_> = self.methods.iter().map(Method::as_str).collect();
        if self.methods.contains(&Method::GET) {
            names.push("HEAD");
        }
        names.push("OPTIONS");
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }

    /// Answers a request. A handler that panics costs this request and nothing else.
    ///
    /// # Errors
    /// The refusal of a method that it does not know, or of a malformed `last_event_id`; and 500, where
    /// the handler panics or answers with a stream that can't be.
    pub async fn answer(&self, request: &Request, numbers: &impl Numbers) -> Result<Handled, Problem> {
        let (method, head) = (request.method(), request.method() == Method::HEAD);
        let known = self.methods.contains(method) || head && self.methods.contains(&Method::GET);
        if !known && method == Method::OPTIONS {
            return Ok(Handled::Respond(negotiation::preflight(&self.allow())));
        }
        if !known {
            return Err(Problem::method(&self.allow()));
        }
        match self.ask(request.clone()).await?.0 {
            Answering::Routes => Ok(Handled::Routes),
            Answering::Response(response) => Ok(Handled::Respond(respond(response))),
            Answering::Stream(reply) if head => {
                let headers = reply.headers.clone();
                subscribe(request, reply, numbers)?;
                let mut response = negotiation::head_response();
                // It has one value for a name, of which those given here take the place.
                response.headers_mut().extend(headers);
                Ok(Handled::Respond(response))
            }
            Answering::Stream(reply) => Ok(Handled::Stream(subscribe(request, reply, numbers)?)),
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, Problem> {
        // It may panic before it has a future, too.
        let asked = catch_unwind(AssertUnwindSafe(|| (self.ask)(request))).map_err(panicked)?;
        let mut answer = pin!(asked);
        std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panicked(panic))),
        })
        .await
    }
}

/// The panic's message has been printed by the hook.
fn panicked(_: Box<dyn Any + Send>) -> Problem {
    tracing::error!("a request handler panicked; its request is answered 500");
    Problem::new(Refusal::Handler, "the program that runs this gateway has no answer to this request")
}

fn respond(mut response: Response<Bytes>) -> Response<Full<Bytes>> {
    // It is how ours differ from those that hyper makes by itself.
    let content_type = HeaderValue::from_static(TEXT);
    response.headers_mut().entry(header::CONTENT_TYPE).or_insert(content_type);
    response.map(Full::new)
}

/// The stream that a handler answers with.
fn subscribe(request: &Request, reply: StreamReply, numbers: &impl Numbers) -> Result<Subscribe, Problem> {
    let StreamReply { topics, patterns, resume, max_events, lasts, every, headers, private } = reply;
    let nothing = topics.is_empty() && patterns.is_empty();
    let subscription = if nothing { Ok(Subscription::nothing()) } else { Subscription::new(topics, patterns, numbers) };
    let subscription =
        subscription.map(|subscription| if private { subscription.with_private() } else { subscription });
    let timed = match every {
        Some((every, event)) => {
            let chunk = Arc::new(encode_alone(&event).map_err(impossible)?);
            Some(TimedEvent { every, chunk })
        }
        None => None,
    };
    let resume = match resume {
        _ if nothing => Resume::Now,
        Some(resume) => resume,
        None => negotiation::resume(request.parts())?,
    };
    Ok(Subscribe {
        framing: negotiation::framing(request.parts()),
        head_fields: head_fields(&headers).map_err(impossible)?,
        resume,
        subscription: Arc::new(subscription.map_err(impossible)?),
        less: false,
        holder: None,
        max_events,
        lasts: lasts.map(|time| (time, CloseReason::MaxSeconds)),
        timed,
    })
}

/// Fields of a stream's head, each a whole line.
fn head_fields(headers: &HeaderMap) -> Result<Option<Arc<str>>, String> {
    let mut lines = String::new();
    for (name, value) in headers {
        if negotiation::is_of_streams(name) {
            return Err(format!("header: {name} is the gateway's own"));
        }
        let value = value.to_str().map_err(|_| format!("header: {name} is not ASCII"))?;
        lines.push_str(&format!("{name}: {value}\r\n"));
    }
    Ok((!lines.is_empty()).then(|| lines.into()))
}

/// The client did nothing wrong: the handler did, and its author reads the log.
fn impossible(fault: impl Display) -> Problem {
    tracing::error!(%fault, "a request handler answered with a stream that can't be; its request is answered 500");
    Problem::new(Refusal::Handler, "the program that runs this gateway has no answer to this request")
}
