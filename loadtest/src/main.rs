//! Load client for server-sent events: opens many streams, publishes events, checks every delivery and prints
//! what it cost the server.
//!
//! Reading order: [`payload`] (what an event looks like), [`http`] and [`sse`] (how one stream's bytes become
//! frames), [`checker`] (what must be true of them), [`streams`] (ten thousand of those on one epoll),
//! [`publisher`] (the open-loop clock), [`server`] and [`process`] (who is measured), then the scenarios.

mod args;
mod checker;
mod clock;
mod floor;
mod http;
mod payload;
mod process;
mod publisher;
mod report;
mod scenarios;
mod server;
mod sse;
mod streams;

use std::process::ExitCode;

use clap::Parser;

/// What can go wrong is told to a person, in one line.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match scenarios::run(args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("loadtest: {problem}");
            ExitCode::FAILURE
        }
    }
}
