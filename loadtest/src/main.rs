//! Load client for server-sent events: opens many streams, publishes events, checks every delivery and prints
//! what it cost the server.
//!
//! Reading order: [`payload`] (what an event looks like), [`http`] and [`sse`] (how one stream's bytes become
//! frames), [`checker`] (what must be true of them), [`streams`] (ten thousand of those on one epoll), [`reader`] (a
//! process that holds them), [`fleet`] (all such processes), [`tally`] (what travels between them), [`profile`],
//! [`server`] and [`process`] (who is measured), [`request`] and [`publisher`] (the open-loop clock),
//! [`visitors`] (streams that come and go), then the scenarios, and [`record`], [`report`] and [`html`] (what is left behind).

mod args;
mod checker;
mod clock;
mod fleet;
mod floor;
mod html;
mod http;
mod payload;
mod process;
mod profile;
mod publisher;
mod reader;
mod record;
mod report;
mod request;
mod scenarios;
mod server;
mod sse;
mod streams;
mod tally;
mod tls;
mod visitors;

use std::process::ExitCode;

use clap::Parser;

/// What can go wrong is told to a person, in one line.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match scenarios::run(args::Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        // What was wrong has been said.
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("loadtest: {problem}");
            ExitCode::FAILURE
        }
    }
}
