//! What can be measured, one file each.

mod fanout;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    Result,
    args::{Args, Kind, Scenario},
    floor, server,
};

pub(crate) fn run(args: Args) -> Result<()> {
    match args.scenario {
        Scenario::Fanout(args) => fanout::run(Kind::Gateway, &args),
        Scenario::Floor(args) => fanout::run(Kind::Floor, &args),
        Scenario::FloorServer(args) => floor::serve(&args),
        Scenario::Launch(args) => server::launch(&args),
        _ => Err("not yet".to_owned()),
    }
}

/// A topic that no other run has used, so that a gateway that already runs has no history of it.
fn fresh_topic(name: &str) -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("load/{name}-{since:x}-{}", USED.fetch_add(1, Ordering::Relaxed))
}
