//! Third-party programs.

use std::env;
use std::path::PathBuf;

/// Where a program is, if it is installed. Where it is not, says so loudly; with
/// `SLUICEGATE_REQUIRE_TOOLS=1`, as in `.ci/run`, that is a failure.
#[track_caller]
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        absent(name);
    }
    found
}

/// Says that something is not there, for what [`tool`] can't look for: a package of node's or
/// Python's. Panics where tools are required.
#[track_caller]
pub(crate) fn absent(what: &str) {
    assert!(env::var_os("SLUICEGATE_REQUIRE_TOOLS").is_none_or(|value| value != "1"), "{what} is needed, and absent");
    eprintln!("NOT TESTED: {what} is absent. SLUICEGATE_REQUIRE_TOOLS=1 makes this a failure.");
}
