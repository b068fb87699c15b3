//! What a client asked for and was granted: all that a shard needs to open its stream, but for the socket.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::close::CloseReason;
use super::frame::{Chunk, Framing};
use super::holder::Holder;
use super::log::Resume;
use super::topic::Subscription;

/// A stream to open. Nothing of its response has been written yet.
#[derive(Clone)]
pub struct Subscribe {
    /// The topics and patterns.
    pub subscription: Arc<Subscription>,
    /// Whether its patterns cover topics that it has not been granted: its response says so.
    pub less: bool,
    /// Whose it is, where that may end it.
    pub holder: Option<Arc<Holder>>,
    /// How its response ends.
    pub framing: Framing,
    /// Fields of its response head, each a whole line, in the place of those that let any web page read it.
    pub head_fields: Option<Arc<str>>,
    /// Where it wants to go on.
    pub resume: Resume,
    /// Ends it after so many events.
    pub max_events: Option<NonZeroU32>,
    /// Ends it after so long, with the reason to count.
    pub lasts: Option<(Duration, CloseReason)>,
    /// An event of its own, and how often it is sent.
    pub timed: Option<TimedEvent>,
}

impl Subscribe {
    /// A chunked stream from now on, without an end.
    pub fn to(subscription: Arc<Subscription>) -> Subscribe {
        let framing = Framing::Chunked;
        Subscribe {
            subscription,
            less: false,
            holder: None,
            framing,
            head_fields: None,
            resume: Resume::Now,
            max_events: None,
            lasts: None,
            timed: None,
        }
    }
}

/// An event that one stream is sent again and again, by a timer that ends with the stream.
#[derive(Clone)]
pub struct TimedEvent {
    /// The time from one to the next.
    pub every: Duration,
    /// Its bytes.
    pub chunk: Arc<Chunk>,
}
