//! Sluicegate: an SSE gateway. Publishers hand it events, and it writes them to tens of thousands
//! of open `text/event-stream` responses at once.
//!
//! The rooms, in reading order; arrows run one way: `hub` ← `exchange` ← `ops` ← `net`.

pub mod hub;
pub mod exchange;
pub mod ops;

pub use hub::event::Event;
pub use hub::fault::Fault;
pub use hub::topic::{Pattern, Subscription, Topic};
