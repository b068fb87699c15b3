//! What a command of the load client leaves behind: every figure of every run, as `--json` writes it and as the
//! HTML report shows it. A name ends with its unit.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All runs of one command.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Record {
    /// The command line that remakes it.
    pub(crate) command: String,
    /// When it began: RFC 3339, UTC.
    pub(crate) began: String,
    pub(crate) machine: Machine,
    pub(crate) servers: Vec<Contender>,
    pub(crate) runs: Vec<Run>,
    /// What the runs come to, where a command makes one table of them.
    pub(crate) table: Option<Table>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

/// A server that was measured, or would have been.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Contender {
    pub(crate) name: String,
    /// As the program tells it; empty if it does not.
    pub(crate) version: String,
    /// How it was started, and the files it was given: (name, text).
    pub(crate) command: String,
    pub(crate) files: Vec<(String, String)>,
    /// What a reader should know: choices of the configuration, features it lacks.
    pub(crate) notes: Vec<String>,
    /// Why it could not be measured, if so.
    pub(crate) missing: Option<String>,
}

/// One scenario against one server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) server: String,
    /// What was asked for: `streams`, `rate`, `size_bytes`…
    pub(crate) settings: Map<String, Value>,
    /// What came out: `cpu_us`, `p99_ms`, `bytes_per_stream`… Numbers, or null for what this server can't do.
    pub(crate) figures: Map<String, Value>,
    /// Second by second; empty where a scenario has no course.
    pub(crate) course: Vec<Moment>,
    /// The distribution of delivery latency; empty where there is none.
    pub(crate) percentiles: Vec<Percentile>,
    /// What was wrong with it, a line each; empty if every delivery was right.
    pub(crate) problems: Vec<String>,
}

/// What happened in one second of a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Moment {
    /// Where it ends, in seconds from the first measured event.
    pub(crate) at_s: f64,
    pub(crate) deliveries: u64,
    /// Of the events that were due in it; `None` if there was none.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// Of the server's processes, together.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
}

/// `quantile` (0 to 1) of the deliveries took no longer than `ms`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Percentile {
    pub(crate) quantile: f64,
    pub(crate) ms: f64,
}

/// Measures as rows, servers as columns.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<TableRow>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct TableRow {
    pub(crate) measure: String,
    /// The unit, for a plot; empty if the cells are no numbers.
    pub(crate) unit: String,
    /// One for each column.
    pub(crate) cells: Vec<Cell>,
    /// What must be reached, and whether it was.
    pub(crate) target: Option<(String, bool)>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Cell {
    /// As people read it: `5.41 (1.02 x)`, or why there is no figure: `missing: no replay`, `cannot hold`.
    pub(crate) text: String,
    /// The figure, where there is one.
    pub(crate) value: Option<f64>,
}
