//! What a run of several measurements has collected: rows, raw figures, problems.

use std::{fs, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use super::fanout;
use crate::{
    Result,
    args::{Kind, Load, ServerArgs},
    report::{Row, markdown},
};

#[derive(Debug, Default)]
pub(crate) struct Book {
    rows: Vec<Row>,
    figures: Vec<Value>,
    problems: Vec<String>,
}

impl Book {
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Runs and keeps one fan-out; `None` if it failed outright.
    pub(crate) fn fanout(&mut self, kind: Kind, load: &Load, server: &ServerArgs) -> Option<fanout::Figures> {
        let figures = self.keep("fanout", fanout::measure(kind, load, server))?;
        figures.print();
        self.note("fanout", figures.verdict());
        Some(figures)
    }

    /// Keeps figures under their scenario's name, or the reason why there are none.
    pub(crate) fn keep<T: Serialize>(&mut self, scenario: &str, figures: Result<T>) -> Option<T> {
        match figures {
            Ok(figures) => {
                self.figures.push(json!({ "scenario": scenario, "figures": figures }));
                Some(figures)
            }
            Err(problem) => {
                self.note(scenario, Err(problem));
                None
            }
        }
    }

    /// Remembers a problem.
    pub(crate) fn note(&mut self, scenario: &str, outcome: Result<()>) {
        if let Err(problem) = outcome {
            eprintln!("loadtest: {scenario}: {problem}");
            self.problems.push(format!("{scenario}: {problem}"));
        }
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let all = json!({ "rows": self.rows, "runs": self.figures, "problems": self.problems });
        let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
        fs::write(path, text + "\n").map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// Prints the table; an error if any run had a problem. A row that is short is no error: it is a result.
    pub(crate) fn close(self) -> Result<()> {
        println!("\n{}", markdown(&self.rows));
        match self.problems.as_slice() {
            [] => Ok(()),
            [only] => Err(only.clone()),
            [first, rest @ ..] => Err(format!("{first} (and {} more)", rest.len())),
        }
    }
}
