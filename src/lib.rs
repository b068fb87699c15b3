//! Sluicegate is a gateway for server-sent events. Publishers hand it events, and it writes them to
//! tens of thousands of open `text/event-stream` responses at once, on every core, with little CPU
//! beyond the `send` calls. It is a program, and this library: a [`Gateway`] that runs inside your
//! own process, on threads of its own.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! use sluicegate::{Event, Gateway};
//!
//! // Port 0 asks for a free one.
//! let gateway = Gateway::builder().listen(([127, 0, 0, 1], 0).into()).start()?;
//!
//! // A client. In a browser: new EventSource('http://…/events/news')
//! let mut client = TcpStream::connect(gateway.addresses()[0])?;
//! client.write_all(b"GET /events/news HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
//! # client.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
//! let mut seen = String::new();
//! let mut read_until = |end: &str| {
//!     let mut bytes = [0; 1024];
//!     while !seen.contains(end) {
//!         let read = client.read(&mut bytes)?;
//!         # assert!(read > 0, "the response ended: {seen}");
//!         seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
//!     }
//!     Ok::<_, std::io::Error>(seen.clone())
//! };
//! // With its head, the stream has begun: it gets what is published from now on.
//! read_until("\r\n\r\n")?;
//!
//! let id = gateway.publisher().publish("news", Event::new("hello"))?;
//!
//! let seen = read_until("data: hello\n\n")?;
//! assert!(seen.contains(&format!("id: {}\n", id.expect("an event that is kept has an id"))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is where
//!
//! - [`Builder`] says what to listen on and how requests are answered. [`Builder::start`] starts a
//!   [`Gateway`]; [`Builder::run`] does and serves until a signal ends it.
//! - [`Publisher`] publishes an [`Event`] to one [`Topic`] or to several, or many events at once, and blocks
//!   or, [`Publisher::publish_async`], waits until they are stored, where the engine stores them.
//! - A handler, [`Builder::on_request`], is an async function from [`Request`] to [`Reply`]: any
//!   [`http::Response`], a [`StreamReply`], or what the gateway answers by itself. Without one, the
//!   gateway serves `/`, `/events/{topic}` and `/events?topic=…&match=…`.
//! - [`Schedule`] publishes on a timer. [`Config`] is all settings, [`Gateway::reload`] changes them.
//!
//! # Words
//!
//! - A *stream* is one open response. What is written to it is decided by its *subscription*: topics,
//!   and patterns over topics.
//! - A *topic* is a name such as `prices/eur`. It exists as soon as somebody publishes or subscribes
//!   to it. In a *pattern* a segment `*` stands for one segment, and a last `**` for one or more.
//! - An *event* is what is published: data, and perhaps a type, an id of its own, a key. A *frame* is
//!   an event encoded once, in the bytes that every stream is sent.
//! - The *log* holds the newest events of all topics in one order, within bounds of number, bytes and
//!   age. A stream that comes back with the id of its last event gets a *replay* of what it missed.
//!   Where some of that has left the log, the stream begins with an event `gap`.
//! - A *live-only* event ([`Event::keep`]) is sent to the streams that are open, and never replayed.
//! - A *shard* is a thread that owns a share of the streams, their sockets and their epoll set. A
//!   stream costs it one record, and an event one `send` a stream or less: under load one `send`
//!   carries many.
//!
//! # What it does to your process
//!
//! It starts threads: acceptors, shards, a ticker and, with the disk engine, a writer, which end with the
//! gateway. If one of them panics the process is aborted, since a part of the streams would be dead; if
//! the disk engine can't know any more what is on disk, the process ends. Nothing else is changed unless you ask: signals are listened to by [`Builder::run`] and [`Gateway::run_until_signal`], the
//! limit on open files is raised by [`Builder::raise_descriptor_limit`], and what is logged goes to
//! the [`tracing`] subscriber that you have, or nowhere.

#![cfg_attr(
    not(feature = "nats"),
    allow(dead_code, unused_variables, reason = "some is there for the engine that is left out")
)]
#![allow(unreachable_pub, reason = "`pub` in a module is for the other modules; this file says what is public")]

mod hub;
mod exchange;
mod engine;
mod client;
mod ops;
mod access;
mod net;
mod gateway;
#[cfg(test)]
mod simulation;

pub use gateway::{Builder, Gateway, IntoTopics, PublishError, Publisher, ReloadError, StartError};
pub use hub::event::Event;
pub use hub::fault::{EventError, Fault, NameError, PatternError, TopicError};
pub use hub::id::EventId;
pub use hub::topic::{Pattern, Topic};
pub use net::reply::{Reply, Request, StreamReply};
pub use ops::config::Config;
pub use ops::descriptors::TooFewDescriptors;
pub use ops::reload::Reloaded;
pub use ops::schedule::{Schedule, ScheduleError};

pub use http;

/// The settings, section by section, and the types of their values.
pub mod config {
    pub use crate::hub::policy::SlowPolicy;
    pub use crate::ops::config::{
        Auth, Cluster, ClusterHistory, Config, ConfigError, CookieName, Cors, DeniedAs, Directives, Disk, DiskSync,
        Drain, EngineKind, Health, History, Holes, JwtAlgorithm, JwtKey, Latency, Limits, Listen, Log, LogFormat,
        Namespace, Origin, Pass, Patterns, PolicyRule, Rule, Secret, ServerUrl, StaticKey, Storage, Stream, Template,
        Tls, WhileAway, Who,
    };
    pub use crate::ops::units::{Count, Ratio, Size, Time, TimeOrOff};
}

/// For the program, the benches and the tests of this package. No part of the library: it may change
/// with any release.
#[doc(hidden)]
pub mod internals {
    pub mod client {
        pub use crate::client::*;
    }
    pub use crate::exchange::{timers, topics};
    pub mod hub {
        pub use crate::hub::*;
    }
    pub use crate::gateway::tls_server;
    pub use crate::ops::config::listen;
    pub use crate::ops::{cli, descriptors, logging};
    pub mod publish {
        pub use crate::net::publish::batch;
    }
    /// What is stored, for people.
    pub mod stored {
        pub use crate::engine::disk::dump::{Format, dump};
        pub use crate::engine::disk::io::Disk;
        pub use crate::engine::disk::store::check_dir;
        pub use crate::engine::disk::verify::{CANT_LOOK, NO_LOG, verify};
        pub use crate::engine::wall::wall_ms;
    }
}

/// README's examples compile as they stand there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// As those of the page on the library do.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
struct Library;
