//! Figures as people read them, and the table of what must be reached and what was.

use hdrhistogram::Histogram;
use serde::Serialize;

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
        let ms = |ns: u64| ns as f64 / 1e6;
        Self {
            p50_ms: ms(times.value_at_quantile(0.5)),
            p99_ms: ms(times.value_at_quantile(0.99)),
            p999_ms: ms(times.value_at_quantile(0.999)),
            max_ms: ms(times.max()),
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) must_reach: String,
    pub(crate) floor: String,
    pub(crate) gateway: String,
    pub(crate) ratio: String,
    pub(crate) ok: bool,
}

impl Row {
    pub(crate) fn new(
        measure: &str,
        must_reach: &str,
        floor: String,
        gateway: String,
        ratio: String,
        ok: bool,
    ) -> Self {
        Self { measure: measure.to_owned(), must_reach: must_reach.to_owned(), floor, gateway, ratio, ok }
    }

    /// A measure that could not be taken.
    pub(crate) fn failed(measure: &str, must_reach: &str, problem: &str) -> Self {
        Self::new(measure, must_reach, "-".to_owned(), problem.replace('|', "/"), "-".to_owned(), false)
    }
}

/// The rows as Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| measure | must reach | floor | sluicegate | ratio | |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let end = if row.ok { "ok" } else { "short" };
        text += &format!(
            "| {} | {} | {} | {} | {} | {end} |\n",
            row.measure, row.must_reach, row.floor, row.gateway, row.ratio
        );
    }
    text
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
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
}
