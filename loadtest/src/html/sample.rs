//! A small record for tests: two rounds of one server, a peer that cannot do everything, one that is not there.

use serde_json::json;

use crate::record::Record;

pub(super) fn record() -> Record {
    let moment = |at_s: f64, ms: Option<(f64, f64, f64)>, cpu: Option<f64>| {
        let (deliveries, bytes) = (ms.map_or(0, |_| 1_000_000), cpu.map(|_| 20_000_000));
        json!({
            "at_s": at_s, "deliveries": deliveries, "cpu_percent": cpu, "memory_bytes": bytes,
            "p50_ms": ms.map(|ms| ms.0), "p99_ms": ms.map(|ms| ms.1), "max_ms": ms.map(|ms| ms.2),
        })
    };
    let course = json!([
        moment(1.0, Some((1.0, 3.0, 5.0)), Some(100.0)),
        moment(2.0, None, Some(50.0)),
        moment(3.0, Some((1.2, 3.1, 6.0)), Some(110.0)),
        moment(4.0, Some((1.1, 2.9, 40.0)), Some(105.0)),
    ]);
    let blind = json!([moment(1.0, Some((1.0, 3.0, 5.0)), None)]);
    let percentiles = json!([
        {"quantile": 0.0, "ms": 0.5}, {"quantile": 0.5, "ms": 1.0}, {"quantile": 0.9, "ms": 2.0},
        {"quantile": 0.99, "ms": 4.0}, {"quantile": 0.999, "ms": 9.0}, {"quantile": 1.0, "ms": 40.0},
    ]);
    let fanout = |server: &str, rate: f64, cpu_us: Option<f64>, course: &serde_json::Value| {
        json!({
            "scenario": "fanout", "server": server,
            "settings": {"streams": 10_000, "rate": rate, "size_bytes": 100},
            "figures": {"cpu_us": cpu_us, "p99_ms": 4.0}, "course": course, "percentiles": percentiles, "problems": [],
        })
    };
    let idle = |server: &str, bytes: u32| {
        json!({
            "scenario": "idle", "server": server, "settings": {"streams": 10_000},
            "figures": {"bytes_per_stream": bytes}, "course": [], "percentiles": [], "problems": [],
        })
    };
    let row = |measure: &str, unit: &str, ours: f64, theirs: Option<f64>, target: serde_json::Value| {
        let figure = theirs.map_or("missing: no replay".to_owned(), |value| format!("{value}"));
        let cells = json!([
            {"text": format!("{ours}"), "value": ours}, {"text": figure, "value": theirs},
            {"text": "missing: not on PATH", "value": null},
        ]);
        json!({"measure": measure, "unit": unit, "cells": cells, "target": target})
    };
    let record = json!({
        "command": "loadtest compare --streams 10000", "began": "2026-03-01T12:00:00Z",
        "machine": {"cpu": "a CPU", "cores": 2, "memory_bytes": 17_179_869_184_u64, "kernel": "Linux 6.8"},
        "servers": [
            {"name": "sluicegate", "version": "0.1.0", "command": "sluicegate --config a.toml",
             "files": [["a.toml", "listen = []"]], "notes": ["history on"], "missing": null},
            {"name": "nchan", "version": "1.3.6", "command": "nginx", "files": [], "notes": [], "missing": null},
            {"name": "mercure", "version": "", "command": "", "files": [], "notes": [], "missing": "not on PATH"},
        ],
        "runs": [
            fanout("sluicegate", 100.0, Some(1.5), &course), fanout("nchan", 100.0, None, &json!([])),
            fanout("sluicegate", 100.0, Some(2.5), &course), fanout("sluicegate", 10.0, Some(4.0), &blind),
            idle("sluicegate", 480), idle("nchan", 6_000),
        ],
        "table": {
            "columns": ["sluicegate", "nchan", "mercure"],
            "rows": [
                row("CPU per delivery at 100 events/s", "µs", 2.0, Some(8.0), json!(["≤ 0.65 × nchan", true])),
                row("latency p99 at 100 events/s", "ms", 4.0, Some(9.0), json!(null)),
                row("memory per stream", "bytes", 480.0, Some(6_000.0), json!(["≤ 1/8 × nchan", true])),
                row("storm: the last is whole", "s", 0.9, None, json!(["≤ 0.5 × nchan", false])),
            ],
        },
    });
    serde_json::from_value(record).expect("the sample is a record")
}
