//! What a command has measured so far: runs, a table, problems; and what it leaves behind of them.

use std::{
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::{Map, Value};

use super::window::Window;
use crate::{
    Result,
    args::Keep,
    html,
    record::{Machine, Record, Run, Table, TableRow},
    report::{markdown, percentiles},
    server::Target,
};

/// One scenario against one server: figures to reckon with, and the same as they are recorded and said.
#[derive(Debug)]
pub(crate) struct Outcome<F> {
    pub(crate) figures: F,
    run: Run,
    said: String,
}

impl<F: Serialize> Outcome<F> {
    pub(crate) fn new(settings: &impl Serialize, figures: F, said: String) -> Self {
        let run = Run { settings: map(settings), figures: map(&figures), ..Run::default() };
        Self { figures, run, said }
    }

    /// Adds what happened second by second.
    pub(crate) fn with_course(mut self, window: &Window) -> Self {
        self.run.course = window.course();
        self.run.percentiles = percentiles(&window.tally.latency);
        self
    }

    /// Adds what was wrong, if anything was.
    pub(crate) fn checked(mut self, verdicts: impl IntoIterator<Item = Result<()>>) -> Self {
        self.run.problems.extend(verdicts.into_iter().filter_map(Result::err));
        self
    }

    /// Whether every delivery was right.
    pub(crate) fn is_right(&self) -> bool {
        self.run.problems.is_empty()
    }
}

/// Fields as the record holds them.
fn map(fields: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(fields) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

#[derive(Debug)]
pub(crate) struct Book {
    record: Record,
    problems: usize,
    /// Whether a wrong delivery is a result rather than an error.
    forgiving: bool,
}

impl Book {
    pub(crate) fn new() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let record = Record {
            command: format!("loadtest {}", words.join(" ")),
            began: rfc3339(since),
            machine: machine(),
            ..Record::default()
        };
        Self { record, problems: 0, forgiving: false }
    }

    /// A book in which what a server cannot hold stands as such, and fails nothing.
    pub(crate) fn forgiving() -> Self {
        Self { forgiving: true, ..Self::new() }
    }

    /// Says and keeps what a scenario came to; `None` if it failed outright.
    pub(crate) fn take<F: Serialize>(
        &mut self,
        scenario: &str,
        target: &Target,
        outcome: Result<Outcome<F>>,
    ) -> Option<Outcome<F>> {
        if !self.record.servers.iter().any(|server| server.name == target.name()) {
            self.record.servers.push(target.contender());
        }
        let (mut run, kept) = match outcome {
            Ok(outcome) => {
                println!("{}", outcome.said.trim_end());
                (outcome.run.clone(), Some(outcome))
            }
            Err(problem) => (Run { problems: vec![problem], ..Run::default() }, None),
        };
        scenario.clone_into(&mut run.scenario);
        target.name().clone_into(&mut run.server);
        // What else was wrong has followed from the first.
        if let Some(problem) = run.problems.first() {
            self.complain(&format!("{scenario} against {}: {problem}", target.name()));
        }
        self.record.runs.push(run);
        kept
    }

    /// Notes a server; the reason if it is not there to be measured.
    pub(crate) fn why_missing(&mut self, target: &Target) -> Option<String> {
        let contender = target.contender();
        let why = contender.missing.clone();
        self.record.servers.push(contender);
        why
    }

    fn complain(&mut self, problem: &str) {
        self.problems += 1;
        if self.forgiving {
            println!("  {problem}");
        } else {
            eprintln!("loadtest: {problem}");
        }
    }

    /// A table of floor and server, and the ratio between them.
    pub(crate) fn set_columns(&mut self, target: &Target) {
        self.table().columns = vec!["floor".to_owned(), target.name().to_owned(), "ratio".to_owned()];
    }

    pub(crate) fn add(&mut self, row: TableRow) {
        self.table().rows.push(row);
    }

    pub(crate) fn table(&mut self) -> &mut Table {
        self.record.table.get_or_insert_default()
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// An error if one of these can't be written: better now than after the run.
    pub(crate) fn check(paths: &[&Option<PathBuf>]) -> Result<()> {
        for path in paths.iter().copied().flatten() {
            let opened = fs::OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Prints the table, if there is one, and writes what is to be kept; whether all was right. A row that is short
    /// of its target is no error: it is a result.
    pub(crate) fn close(self, keep: &Keep) -> Result<bool> {
        if let Some(table) = &self.record.table {
            println!("\n{}", markdown(table));
        }
        if let Some(path) = &keep.json {
            let text = serde_json::to_string_pretty(&self.record).map_err(|error| error.to_string())?;
            fs::write(path, text + "\n").map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        if let Some(path) = &keep.html {
            fs::write(path, html::page(&self.record))
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(self.forgiving || self.problems == 0)
    }
}

fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| {
                line.strip_prefix(name)?.trim_start().strip_prefix(':').map(|value| value.trim().to_owned())
            })
            .unwrap_or_default()
    };
    let kib = field(&read("/proc/meminfo"), "MemTotal");
    Machine {
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        memory_bytes: kib.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

/// Seconds since 1970 as a date and time, UTC.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days of 400-year cycles that begin on 1 March of year 0.
    let shifted = days + 719_468;
    let (cycle, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, cycle * 400 + year) } else { (month - 9, cycle * 400 + year + 1) };
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_795_424_400, "2026-11-23T09:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
