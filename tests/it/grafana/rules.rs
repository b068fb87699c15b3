//! The rules, by promtool: that they are well formed, and that each alert fires when it shall and only then.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{read, repository};
use crate::support::tool;

#[track_caller]
fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let Some(promtool) = tool("promtool") else { return };
    let output = Command::new(promtool).args(arguments).args(files).output().expect("promtool starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
}

/// The YAML files of a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

#[test]
fn rules_and_configuration_are_well_formed() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files("grafana/rules"));
    promtool(&["check", "config", "--lint=all", "--lint-fatal"], &[repository().join("grafana/prometheus.yml")]);
}

/// What is mounted into the containers is there, and Grafana looks where the dashboards are mounted.
#[test]
fn the_containers_find_their_files() {
    let compose = read("grafana/compose.yaml");
    let mounts: Vec<_> =
        after(&compose, "- ./").filter_map(|mount| mount.strip_suffix(":ro")?.split_once(':')).collect();
    assert_eq!(mounts.len(), 4, "{mounts:?}");
    for (ours, _) in &mounts {
        assert!(repository().join("grafana").join(ours).exists(), "{ours}");
    }
    let provisioning = read("grafana/provisioning/dashboards/sluicegate.yaml");
    let folders: Vec<_> = after(&provisioning, "path:").collect();
    assert!(matches!(folders[..], [folder] if mounts.contains(&("dashboards", folder))), "{folders:?}");
}

#[test]
fn each_alert_fires_when_it_shall_and_only_then() {
    promtool(&["test", "rules"], &files("tests/grafana/rules"));
}

/// What comes after a key, on all lines that have it.
fn after<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().strip_prefix(key)).map(str::trim)
}

/// Alerts that have no test in which they fire, or none in which they do not.
fn untested(rules: &str, tests: &str) -> Vec<String> {
    let (mut fire, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in tests.split("- alertname: ").skip(1) {
        let name = test.lines().next().unwrap_or_default();
        if after(test, "exp_alerts:").next() == Some("[]") {
            silent.insert(name)
        } else {
            fire.insert(name)
        };
    }
    let mut untested = Vec::new();
    for alert in after(rules, "- alert:") {
        for (tests, what) in [(&fire, "fires"), (&silent, "is silent")] {
            if !tests.contains(alert) {
                untested.push(format!("no test in which {alert} {what}"));
            }
        }
    }
    untested
}

#[test]
fn no_alert_is_untested() {
    let all = |folder| files(folder).iter().map(|file| fs::read_to_string(file).expect("UTF-8")).collect::<String>();
    let (rules, tests) = (all("grafana/rules"), all("tests/grafana/rules"));
    assert!(after(&rules, "- alert:").count() > 15, "the alerts were not found");
    assert_eq!(untested(&rules, &tests), [""; 0]);

    let found = untested(
        "- alert: A\n- alert: B\n- alert: C",
        "- alertname: A\n  exp_alerts: []\n- alertname: A\n  exp_alerts:\n    - x\n\
         - alertname: B\n  exp_alerts: []\n- alertname: C\n  exp_alerts:\n    - x",
    );
    assert_eq!(found, ["no test in which B fires", "no test in which C is silent"]);
}
