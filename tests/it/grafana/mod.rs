//! `grafana/`: the dashboard, the rules, and a Prometheus that asks every question of both.

mod dashboard;
mod live;
mod promql;
mod rules;
mod types;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

const RUNBOOK: &str = "docs/operating.md";

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/dashboards/sluicegate.json")).expect("JSON")
}

/// The panels that show something, those in rows that are closed among them.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    all_panels(dashboard).filter(|panel| panel["type"] != "row")
}

/// The panels, and the rows before theirs.
fn all_panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"]).iter().flat_map(|panel| std::iter::once(panel).chain(list(&panel["panels"])))
}

/// What the panels ask Prometheus, with who asks.
fn of_panels(dashboard: &Value) -> impl Iterator<Item = (&str, &str)> {
    panels(dashboard)
        .flat_map(|panel| list(&panel["targets"]).iter().map(|target| (text(&panel["title"]), text(&target["expr"]))))
}

/// What the annotations ask: something that is seldom so.
fn of_annotations(dashboard: &Value) -> impl Iterator<Item = (&str, &str)> {
    let annotations = list(&dashboard["annotations"]["list"]).iter();
    annotations.map(|annotation| (text(&annotation["name"]), text(&annotation["target"]["expr"])))
}

/// A list, or what is empty where there is none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text, or the empty one where there is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
