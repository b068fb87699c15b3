//! Sluicegate: an SSE gateway. Publishers hand it events, and it writes them to tens of thousands
//! of open `text/event-stream` responses at once.
//!
//! As a library, [`Gateway::builder`] is the way in. The rooms below it, in reading order; arrows
//! run one way: `hub` ← `exchange` ← `ops` ← `net` ← `gateway`.

pub mod hub;
pub mod exchange;
pub mod ops;
pub mod net;
mod gateway;

pub use gateway::{Builder, Gateway, IntoTopics, PublishError, Publisher, ReloadError, StartError};
pub use hub::event::Event;
pub use hub::fault::Fault;
pub use hub::id::EventId;
pub use hub::topic::{Pattern, Subscription, Topic};
pub use net::reply::{Reply, Request, StreamReply};
pub use ops::config::Config;
pub use ops::reload::Reloaded;
pub use ops::schedule::Schedule;

pub use http;
