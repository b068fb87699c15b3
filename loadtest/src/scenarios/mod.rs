//! What can be measured, one file each; `window` and `book` are what they share.

mod book;
mod connect;
mod fanout;
mod idle;
mod publish;
mod ratios;
mod resume;
mod scale;
mod table;
mod topics;
mod window;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    Result,
    args::{Args, Kind, Scenario},
    floor,
    process::Process,
    server::{self, Server},
};

pub(crate) fn run(args: Args) -> Result<()> {
    match args.scenario {
        Scenario::Fanout(args) => fanout::run(Kind::Gateway, &args),
        Scenario::Floor(args) => fanout::run(Kind::Floor, &args),
        Scenario::Ratios(args) => ratios::run(&args),
        Scenario::Scale(args) => scale::run(&args),
        Scenario::Idle(args) => idle::run(&args),
        Scenario::Connect(args) => connect::run(&args),
        Scenario::Resume(args) => resume::run(&args),
        Scenario::Topics(args) => topics::run(&args),
        Scenario::Publish(args) => publish::run(&args),
        Scenario::Table(args) => table::run(&args),
        Scenario::FloorServer(args) => floor::serve(&args),
        Scenario::Launch(args) => server::launch(&args),
    }
}

/// A topic that no other run has used, so that a gateway that already runs has no history of it.
fn fresh_topic(name: &str) -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("load/{name}-{since:x}-{}", USED.fetch_add(1, Ordering::Relaxed))
}

/// The server's process, for scenarios that are nothing without it.
fn measured_process(server: &Server) -> Result<Process> {
    server.process.ok_or_else(|| "this scenario measures the server's process: name it with --pid".to_owned())
}
