//! Which commit a binary is built from.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=SLUICEGATE_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var("SLUICEGATE_COMMIT").ok();
    // Only a release says it: else each commit would have everything built anew.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let revision = given.or_else(|| if release { of_git() } else { None }).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SLUICEGATE_REVISION={revision}");
}

/// The commit that is checked out, if this is a clone and not a package.
fn of_git() -> Option<String> {
    // Where a package stands in someone else's repository, that one's commit says nothing.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if std::env::var("CARGO_MANIFEST_DIR").ok()? != top {
        return None;
    }
    for file in ["HEAD", "logs/HEAD"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if changed { format!("{commit}, changed") } else { commit })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
