//! A process that writes to a real disk, killed without warning.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::io::Disk;
use super::kit::{Met, options, pack, read_all};
use super::segment::Sync;
use super::sim::Rng;
use super::store::{Options, Store};

/// Set for the process that writes: its directory.
const DIR_VARIABLE: &str = "SLUICEGATE_KILLED_IN";

fn open(dir: &std::path::Path) -> Store {
    let options = Options { dir: dir.to_owned(), ..options(Sync::Always, 20_000) };
    Store::open(Arc::new(Disk), options, 1_000).unwrap().0
}

fn text(sequence: u64) -> String {
    format!("pack {sequence}")
}

/// The process that writes; in the test run itself it does nothing.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let mut store = open(dir.as_ref());
    let mut rng = Rng(store.next_sequence());
    let mut out = std::io::stdout();
    loop {
        let next = store.next_sequence();
        let group: Vec<_> = (next..=next + rng.below(50)).map(|sequence| pack(&text(sequence), 2)).collect();
        let last = *store.append(&group).unwrap().end();
        assert_eq!(store.sync().unwrap(), last);
        // Not println, which the harness may keep back.
        writeln!(out, "\nacknowledged {last}").and_then(|()| out.flush()).unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("log");
    let mut rng = Rng(1);
    let mut acknowledged = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&format!("{}::writer", module_path!().split_once("::").unwrap().1), "--exact", "--nocapture"])
            .env(DIR_VARIABLE, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let before = acknowledged;
        let mut deadline = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(last) = line.strip_prefix("acknowledged ") else { continue };
            acknowledged = last.parse().unwrap();
            // Killed at a random time after the first, and what it still said is read.
            let at = *deadline.get_or_insert_with(|| SystemTime::now() + Duration::from_micros(rng.below(50_000)));
            if SystemTime::now() >= at {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged > before, "round {round}");
        let store = open(&dir);
        let met = read_all(&store);
        assert!(met.len() as u64 >= acknowledged, "round {round}: {} of {acknowledged}", met.len());
        let expected: Vec<_> = (1..=met.len() as u64).map(|n| Met::Pack(n, text(n), 2)).collect();
        assert_eq!(met, expected, "round {round}");
    }
}
