//! The dashboard is what Grafana's own types say a dashboard is. `tests/grafana` has the script.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{dashboard, repository};
use crate::support::{tool, tool::absent};

#[test]
fn the_dashboard_is_of_grafanas_type() {
    let Some(node) = tool("node") else { return };
    let folder = repository().join("tests/grafana");
    if !folder.join("node_modules/@grafana/schema").is_dir() {
        return absent("node's package @grafana/schema (npm ci --prefix tests/grafana)");
    }
    // What Grafana would not read as it is meant: for each, where, and what stands there.
    let broken = [
        ("/titel", json!("")),
        ("/panels/1/gridPos/h", json!("4")),
        ("/panels/1/descripton", json!("")),
        ("/panels/1/type", json!("statt")),
        ("/panels/1/options/graphMode", json!("areas")),
        ("/panels/1/targets/0/exprr", json!("")),
        ("/panels/1/fieldConfig/defaults/thresholds/mode", json!("abs")),
        ("/templating/list/1/refresh", json!(7)),
        ("/annotations/list/0/target", json!({"expr": "up"})),
    ];
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(node);
    command.arg(folder.join("typecheck.js")).arg(repository().join("grafana/dashboards/sluicegate.json"));
    for (i, (pointer, value)) in broken.iter().enumerate() {
        let mut dashboard = dashboard();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        dashboard.pointer_mut(parent).expect("it is there")[key] = value.clone();
        let file = temporary.path().join(format!("{i}.json"));
        fs::write(&file, dashboard.to_string()).expect("a file in it");
        command.arg(file);
    }
    let output = command.output().expect("node starts");
    let complaints: Vec<Vec<Value>> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let (ours, of_broken) = complaints.split_first().expect("an answer for each file");
    assert!(ours.is_empty(), "{ours:#?}");
    for ((pointer, _), complaints) in broken.iter().zip(of_broken) {
        assert!(!complaints.is_empty(), "{pointer} is taken as it is");
    }
    assert_eq!(of_broken.len(), broken.len());
}
