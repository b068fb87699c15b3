//! The gateway from outside: raw sockets, the binary, the library, and the rules that the sources keep.

mod access;
mod admin;
mod allocations;
mod archive;
mod bad_input;
mod book;
mod clients;
#[cfg(feature = "nats")]
mod cluster;
#[cfg(feature = "nats")]
mod cluster_replay;
mod command_line;
mod configuration;
mod console;
mod deploy;
mod drain;
mod durability;
mod examples;
mod fd;
mod grafana;
mod handlers;
mod idempotency;
mod library;
mod load_tools;
mod logging;
mod metrics;
mod openapi;
mod reload;
mod passes;
mod process;
mod proxies;
mod resume;
mod stalled;
mod starting;
mod storm;
mod support;
mod surface;
mod tidy;
mod tls;
mod upkeep;
