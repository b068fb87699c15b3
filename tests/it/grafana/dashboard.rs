//! The rules that the dashboard keeps.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::promql::{ranges, selectors};
use super::{RUNBOOK, all_panels, dashboard, list, of_annotations, of_panels, panels, read, text};
use crate::support::Server;

const ROWS: [&str; 12] = [
    "Overview",
    "Streams",
    "Delivery latency",
    "Backpressure",
    "Publishing",
    "Engine",
    "TLS",
    "Shards",
    "Timer",
    "Log",
    "Access",
    "Process",
];

/// Metrics that are exported and not shown, and why.
const EXCUSED: [(&str, &str); 1] =
    [("process_virtual_memory_bytes", "the allocator reserves addresses that it never touches: it says nothing")];

/// What Prometheus says by itself: of its targets, and of alerts.
const PROMETHEUS: [&str; 2] = ["up", "ALERTS"];
/// How long an objective's budget lasts.
const BUDGET: &str = "30d";

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "current": {"text": ["All"], "value": ["$__all"]}, "datasource": datasource(), "hide": 0, "includeAll": true,
        "label": label, "multi": true, "name": name, "query": {"query": query, "refId": name}, "refresh": 2,
        "regex": "", "sort": 1, "type": "query",
    })
}

// ===== the rules =====

/// What breaks a rule.
fn complaints(dashboard: &Value) -> Vec<String> {
    let mut found = of_the_whole(dashboard);
    found.extend(of_the_layout(list(&dashboard["panels"]), 0));
    let mut seen = BTreeSet::new();
    for panel in all_panels(dashboard) {
        for key in ["id", "title"] {
            if !seen.insert(format!("{key} {}", panel[key])) {
                found.push(format!("{key} {} is there twice", panel[key]));
            }
        }
        if panel["type"] == "row" {
            // The first screen answers; what explains it is opened where it is asked for.
            let is_open = panel["title"] == ROWS[0];
            if panel["collapsed"] == is_open || list(&panel["panels"]).is_empty() != is_open {
                found.push(format!("row {} is {}", panel["title"], if is_open { "closed" } else { "open" }));
            }
            let below = panel["gridPos"]["y"].as_u64().unwrap_or(0) + 1;
            found.extend(of_the_layout(list(&panel["panels"]), below));
        } else {
            found.extend(of_a_panel(panel).into_iter().map(|what| format!("{}: {what}", panel["title"])));
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        if annotation["datasource"] != datasource() {
            found.push(format!("annotation {}: data source", annotation["name"]));
        }
    }
    for (who, expression) in of_panels(dashboard).chain(of_annotations(dashboard)) {
        found.extend(of_an_expression(expression).into_iter().map(|what| format!("{who:?}: {what}: {expression}")));
    }
    found
}

fn of_the_whole(dashboard: &Value) -> Vec<String> {
    let uid = text(&dashboard["uid"]);
    let schema = dashboard["schemaVersion"].as_u64();
    let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let rows = list(&dashboard["panels"]).iter().filter(|panel| panel["type"] == "row");
    let variables = json!([
        {
            "hide": 0, "includeAll": false, "label": "Data source", "multi": false, "name": "datasource",
            "query": "prometheus", "refresh": 1, "regex": "", "type": "datasource",
        },
        variable("job", "Job", "label_values(sluicegate_build_info, job)"),
        variable("instance", "Gateway", "label_values(sluicegate_build_info{job=~\"$job\"}, instance)"),
    ]);
    let annotates = |metric: &str| {
        let changes = format!("changes({metric}{{");
        let annotations = list(&dashboard["annotations"]["list"]).iter();
        annotations.filter(|annotation| text(&annotation["target"]["expr"]).starts_with(&changes)).count() == 1
    };
    let holds = [
        ("uid is short, stable, kebab-case", uid == "sluicegate" && uid.len() <= 40 && uid.chars().all(is_kebab)),
        ("id is the installation's", dashboard["id"].is_null()),
        ("not editable where it is provisioned", dashboard["editable"] == false),
        ("has a title, a description and tags", {
            let has_text = |key: &str| !text(&dashboard[key]).is_empty();
            has_text("title") && has_text("description") && !list(&dashboard["tags"]).is_empty()
        }),
        ("classic JSON, of Grafana 10 to 13", schema.is_some_and(|version| (39..=41).contains(&version))),
        ("rows, in order", rows.map(|row| text(&row["title"])).eq(ROWS)),
        ("variables", dashboard["templating"]["list"] == variables),
        ("restarts are annotated", annotates("process_start_time_seconds")),
        ("reloads are annotated", annotates("sluicegate_config_last_reload_success_timestamp_seconds")),
    ];
    holds.into_iter().filter(|(_, holds)| !holds).map(|(rule, _)| rule.to_owned()).collect()
}

/// Panels stand in reading order from this height on, and fill 24 columns: nothing overlaps, and there is no hole.
fn of_the_layout(panels: &[Value], top: u64) -> Vec<String> {
    let mut found = Vec::new();
    let mut taken = BTreeSet::new();
    let mut before = (0, 0);
    for panel in panels {
        let position = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or(0));
        let [x, y, w, h] = position;
        if w == 0 || h == 0 || x + w > 24 || (panel["type"] == "row" && (x, w, h) != (0, 24, 1)) {
            found.push(format!("{} is out of the grid: {position:?}", panel["title"]));
        }
        if (y, x) < before {
            found.push(format!("{} stands out of order", panel["title"]));
        }
        before = (y, x);
        let cells = (y..y + h).flat_map(|y| (x..x + w).map(move |x| (y, x)));
        if cells.filter(|cell| !taken.insert(*cell)).count() > 0 {
            found.push(format!("{} overlaps another", panel["title"]));
        }
    }
    let height = taken.last().map_or(0, |(y, _)| (y + 1).saturating_sub(top));
    if taken.len() as u64 != 24 * height {
        found.push(format!("{} cells of the grid are empty", (24 * height).abs_diff(taken.len() as u64)));
    }
    found
}

fn of_a_panel(panel: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut rule = |rule: &str, holds: bool| {
        if !holds {
            found.push(rule.to_owned());
        }
    };
    let description = text(&panel["description"]);
    rule("a description, in sentences", description.len() > 30 && description.ends_with('.'));
    rule("a unit", !text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty());
    if panel["type"] == "heatmap" {
        rule("a unit on its axis", panel["options"]["yAxis"]["unit"] == panel["fieldConfig"]["defaults"]["unit"]);
    }
    if panel["type"] == "timeseries" {
        rule("a legend", panel["options"]["legend"]["showLegend"] == true);
    }
    if panel["type"] != "heatmap" {
        let steps = list(&panel["fieldConfig"]["defaults"]["thresholds"]["steps"]);
        let rising = |pair: &[Value]| {
            pair[0]["value"].as_f64().unwrap_or(f64::MIN) < pair[1]["value"].as_f64().unwrap_or(f64::MIN)
        };
        rule(
            "thresholds that rise",
            steps.first().is_some_and(|step| step["value"].is_null()) && steps.windows(2).all(rising),
        );
    }
    rule("the data source that is chosen", panel["datasource"] == datasource());
    let targets = list(&panel["targets"]);
    rule("a target", !targets.is_empty());
    for (target, id) in targets.iter().zip('A'..) {
        rule("targets A, B, C", target["refId"] == id.to_string());
        rule("targets at the data source that is chosen", target["datasource"] == datasource());
        rule("a legend for each target", target["format"] == "table" || !text(&target["legendFormat"]).is_empty());
        rule(
            "a table and a budget ask for now, the rest for a time",
            target["range"] != (panel["type"] == "table" || ranges(text(&target["expr"])).contains(BUDGET)),
        );
    }
    found
}

fn of_an_expression(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    let selectors = selectors(expression);
    if selectors.is_empty() {
        found.push("asks for nothing".to_owned());
    }
    for selector in selectors {
        for label in ["job", "instance"] {
            // An alert may be of a whole job.
            if selector.metric == "ALERTS" && label == "instance" {
                continue;
            }
            let filters = |matcher: &super::promql::Matcher| {
                matcher.label == label && matcher.operator == "=~" && matcher.value == format!("${label}")
            };
            if selector.matchers.iter().filter(|matcher| filters(matcher)).count() != 1 {
                found.push(format!("{} is not of the chosen {label}", selector.metric));
            }
        }
    }
    if ranges(expression).into_iter().any(|range| range != "$__rate_interval" && range != BUDGET) {
        found.push("a range other than $__rate_interval".to_owned());
    }
    found
}

// ===== the tests =====

#[test]
fn the_dashboard_keeps_the_rules() {
    let found = complaints(&dashboard());
    assert!(found.is_empty(), "{found:#?}");
    assert!(panels(&dashboard()).count() > 40, "the panels were not found");
}

#[test]
fn each_rule_can_be_broken() {
    /// With this value at this place, these words are complained.
    #[track_caller]
    fn breaks(pointer: &str, value: Value, complaint: &str) {
        let mut dashboard = dashboard();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = dashboard.pointer_mut(parent).expect("it is there");
        match parent {
            Value::Array(list) => list[key.parse::<usize>().expect("an index")] = value,
            _ => parent[key] = value,
        }
        let found = complaints(&dashboard);
        assert!(found.iter().any(|found| found.contains(complaint)), "{pointer}: {found:#?}");
    }
    let row = list(&dashboard()["panels"]).iter().rposition(|panel| panel["type"] == "row").expect("such a row");
    let expression = |text: &str| json!(text.replace('F', "job=~\"$job\",instance=~\"$instance\""));
    breaks("/uid", json!("Sluicegate"), "uid is");
    breaks("/id", json!(3), "id is the installation's");
    breaks("/editable", json!(true), "not editable");
    breaks("/tags", json!([]), "tags");
    breaks("/schemaVersion", json!(38), "classic");
    breaks("/panels/0/title", json!("Summary"), "rows, in order");
    breaks("/panels/0/collapsed", json!(true), "is closed");
    breaks(&format!("/panels/{row}/collapsed"), json!(false), "is open");
    breaks(&format!("/panels/{row}/panels"), json!([]), "is open");
    breaks(&format!("/panels/{row}/panels/0/gridPos/x"), json!(1), "overlaps");
    breaks("/templating/list/2/multi", json!(false), "variables");
    breaks("/templating/list/1/query/query", json!("label_values(up, job)"), "variables");
    breaks("/annotations/list/0/target/expr", expression("changes(up{F}[$__rate_interval]) > 0"), "restarts");
    breaks("/annotations/list/1/target/expr", expression("changes(up{F}[$__rate_interval]) > 0"), "reloads");
    breaks("/annotations/list/1/datasource", json!("default"), "data source");
    breaks("/panels/2/id", json!(1), "twice");
    breaks("/panels/2/title", json!("Streams open"), "twice");
    breaks("/panels/2/gridPos/x", json!(2), "overlaps");
    breaks("/panels/2/gridPos/w", json!(2), "empty");
    breaks("/panels/8/gridPos/x", json!(22), "out of the grid");
    breaks("/panels/1/gridPos/y", json!(200), "out of order");
    breaks("/panels/1/description", json!("Streams."), "description");
    breaks("/panels/1/fieldConfig/defaults/unit", json!(""), "a unit");
    breaks("/panels/1/fieldConfig/defaults/thresholds/steps", json!([]), "thresholds");
    breaks("/panels/3/fieldConfig/defaults/thresholds/steps/1/value", json!(0.95), "thresholds");
    breaks("/panels/1/datasource/uid", json!("prometheus"), "data source");
    breaks("/panels/1/targets", json!([]), "a target");
    breaks("/panels/1/targets/0/refId", json!("B"), "targets A");
    breaks("/panels/1/targets/0/datasource/uid", json!("prometheus"), "targets at");
    breaks("/panels/1/targets/0/legendFormat", json!(""), "a legend for each");
    breaks("/panels/1/targets/0/range", json!(false), "ask for now");
    breaks("/panels/1/targets/0/expr", json!("1 + 1"), "asks for nothing");
    breaks("/panels/1/targets/0/expr", json!("sum(up{job=~\"$job\"})"), "chosen instance");
    breaks("/panels/1/targets/0/expr", json!("up{instance=~\"$instance\",job=\"$job\"}"), "chosen job");
    breaks("/panels/1/targets/0/expr", expression("rate(up{F}[5m])"), "a range");
    let of_type = |kind: &str| {
        let dashboard = dashboard();
        let rows = list(&dashboard["panels"]).iter().zip(0..);
        let mut panels =
            rows.flat_map(|(row, at)| list(&row["panels"]).iter().zip(0..).map(move |(panel, n)| (panel, at, n)));
        let (_, row, n) = panels.find(|(panel, ..)| panel["type"] == kind).expect("such a panel");
        format!("{row}/panels/{n}")
    };
    let (lines, heatmap) = (of_type("timeseries"), of_type("heatmap"));
    breaks(&format!("/panels/{lines}/options/legend/showLegend"), json!(false), "a legend");
    breaks(&format!("/panels/{heatmap}/options/yAxis/unit"), json!("ms"), "on its axis");
}

/// The runbook tells of each row, and what it names in italics, up to the sizing, are panels.
#[test]
fn the_runbook_knows_the_dashboard() {
    let runbook = read(RUNBOOK);
    for row in ROWS {
        assert!(runbook.contains(&format!("\n- **{row}**")), "{row}");
    }
    let dashboard = dashboard();
    let titles: BTreeSet<_> = panels(&dashboard).map(|panel| text(&panel["title"])).collect();
    let (operating, _) = runbook.split_once("\n## Sizing").expect("such a chapter");
    let operating = operating.replace("**", "").replace('\n', " ");
    let named: BTreeSet<_> = operating.split('*').skip(1).step_by(2).filter(|name| *name != "italics").collect();
    let unknown: Vec<_> = named.difference(&titles).collect();
    assert!(named.len() > 10 && unknown.is_empty(), "no panels: {unknown:?}");
}

/// As `jq -S .` writes it, so that what Grafana exports after a change differs in the change alone.
#[test]
fn the_file_is_in_one_order() {
    let file = read("grafana/dashboards/sluicegate.json");
    let ordered = serde_json::to_string_pretty(&dashboard()).expect("JSON") + "\n";
    let differs = file.lines().zip(ordered.lines()).position(|(is, shall)| is != shall);
    assert!(file == ordered, "from line {:?} on it is not as `jq -S .` writes it", differs.map(|line| line + 1));
}

#[test]
fn every_metric_is_exported_and_shown() {
    let server = Server::start("");
    let metrics = server.metrics();
    let families = metrics.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let exported: BTreeSet<_> = families.map(str::to_owned).collect();
    let dashboard = dashboard();
    let asked = of_panels(&dashboard).chain(of_annotations(&dashboard));
    let asked = asked.flat_map(|(_, expression)| selectors(expression));
    let shown: BTreeSet<_> = asked.map(|selector| selector.family().to_owned()).collect();
    let unknown: Vec<_> = shown.difference(&exported).filter(|name| !PROMETHEUS.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "shown, but not exported: {unknown:?}");
    let excused: BTreeSet<_> = EXCUSED.iter().map(|(name, _)| (*name).to_owned()).collect();
    let hidden: BTreeSet<_> = exported.difference(&shown).cloned().collect();
    assert_eq!(hidden, excused, "what is exported is shown or excused, and nothing is excused that is not");
}
