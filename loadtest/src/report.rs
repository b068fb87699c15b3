//! Figures as people read them.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::record::{Cell, Percentile, Table, TableRow};

/// Points of a latency distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Quantiles {
    pub(crate) fn of(times: &Histogram<u64>) -> Self {
        Self {
            p50_ms: ms(times.value_at_quantile(0.5)),
            p99_ms: ms(times.value_at_quantile(0.99)),
            p999_ms: ms(times.value_at_quantile(0.999)),
            max_ms: ms(times.max()),
        }
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { p50_ms, p99_ms, p999_ms, max_ms } = self;
        write!(f, "p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, p99.9 {p999_ms:.1} ms, max {max_ms:.1} ms")
    }
}

pub(crate) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// The curve of a distribution: eight points for each nine, as far as there are values to tell.
pub(crate) fn percentiles(times: &Histogram<u64>) -> Vec<Percentile> {
    let quantiles = (0..).map(|step| 1.0 - 10_f64.powf(-f64::from(step) / 8.0));
    quantiles
        .take_while(|quantile| (1.0 - quantile) * times.len() as f64 >= 1.0)
        .map(|quantile| Percentile { quantile, ms: ms(times.value_at_quantile(quantile)) })
        .collect()
}

impl Cell {
    /// A figure, and how it reads.
    pub(crate) fn of(value: f64, text: String) -> Self {
        Self { text, value: Some(value) }
    }

    /// Words where there is no figure.
    pub(crate) fn words(text: &str) -> Self {
        Self { text: text.to_owned(), value: None }
    }
}

impl TableRow {
    pub(crate) fn new(measure: &str, unit: &str, cells: Vec<Cell>, target: Option<(String, bool)>) -> Self {
        Self { measure: measure.to_owned(), unit: unit.to_owned(), cells, target }
    }

    /// A measure that could not be taken.
    pub(crate) fn failed(measure: &str, must: &str) -> Self {
        let cells = vec![Cell::default(), Cell::words("not measured"), Cell::default()];
        Self::new(measure, "", cells, Some((must.to_owned(), false)))
    }
}

/// The table as Markdown.
pub(crate) fn markdown(table: &Table) -> String {
    let line = |cells: &[&str]| {
        format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "/")).collect::<Vec<_>>().join(" | "))
    };
    let targets = table.rows.iter().any(|row| row.target.is_some());
    let mut heads = vec!["measure"];
    heads.extend(table.columns.iter().map(String::as_str));
    if targets {
        heads.extend(["must reach", ""]);
    }
    let mut text = line(&heads);
    text += &format!("|{}\n", "---|".repeat(heads.len()));
    for row in &table.rows {
        let mut cells = vec![row.measure.as_str()];
        cells.extend(row.cells.iter().map(|cell| cell.text.as_str()));
        if targets {
            cells.extend(match &row.target {
                Some((must, ok)) => [must.as_str(), if *ok { "ok" } else { "short" }],
                None => ["", ""],
            });
        }
        text += &line(&cells);
    }
    text
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The middle value, or the mean of the two in the middle; `None` if there is none.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn a_curve_ends_where_there_are_no_more_values() {
        let mut times = crate::tally::histogram();
        (1..=1_000).for_each(|ms| times.record(ms * 1_000_000).unwrap());
        let curve = percentiles(&times);
        assert_eq!(curve.len(), 25, "three nines");
        assert!((curve[8].quantile - 0.9).abs() < 1e-9 && (curve[8].ms - 900.0).abs() < 1.0);
        assert!(percentiles(&crate::tally::histogram()).is_empty());
    }

    #[test]
    fn a_table_in_markdown() {
        let cells = vec![Cell::of(1.0, "1 | 2".to_owned()), Cell::words("missing")];
        let rows = vec![
            TableRow::new("a", "s", cells, Some(("≤ 3".to_owned(), false))),
            TableRow::new("b", "", vec![Cell::default(), Cell::default()], None),
        ];
        let table = Table { columns: vec!["x".to_owned(), "y".to_owned()], rows };
        assert_eq!(
            markdown(&table),
            "| measure | x | y | must reach |  |\n|---|---|---|---|---|\n| a | 1 / 2 | missing | ≤ 3 | short |\n| b |  |  |  |  |\n"
        );
    }
}
