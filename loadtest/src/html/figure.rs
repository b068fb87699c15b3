//! A figure as people read it. A record's names end with their unit: `p99_ms`, `cpu_us`, `memory_bytes`.

use serde_json::Value;

use crate::report::grouped;

pub(super) const MISSING: &str = "missing";

/// What a suffix stands for.
const UNITS: [(&str, &str); 7] = [
    ("_per_second", "/s"),
    ("_percent", "%"),
    ("_bytes", "bytes"),
    ("_us", "µs"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("_seconds", "s"),
];

/// The name without its unit, and the unit.
fn split(key: &str) -> (&str, &'static str) {
    if key.starts_with("bytes_per_") || key.contains("_bytes_per_") {
        return (key, "bytes");
    }
    UNITS.iter().find_map(|(suffix, unit)| Some((key.strip_suffix(suffix)?, *unit))).unwrap_or((key, ""))
}

/// `bytes_per_stream` as `bytes per stream`, `p50_ms` as `p50`; where that says too little, more.
pub(super) fn name(key: &str) -> String {
    let more = match key {
        "cpu_percent" => "server CPU",
        "cpu_us" => "server CPU, each",
        "user_us" => "of it user",
        "system_us" => "of it system",
        "client_cpu_us" => "client CPU, each",
        "max_ms" => "latency, the greatest",
        "p50_ms" => "latency p50",
        "p99_ms" => "latency p99",
        "p999_ms" => "latency p99.9",
        _ => "",
    };
    if !more.is_empty() {
        return more.to_owned();
    }
    let words = split(key).0.split('_').map(|word| match word {
        "cpu" => "CPU",
        "p999" => "p99.9",
        "p9999" => "p99.99",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// With its unit; `missing` where a server has no such figure.
pub(super) fn value(key: &str, value: &Value) -> String {
    match value {
        Value::Null => MISSING.to_owned(),
        Value::Number(figure) => with_unit(key, figure.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn with_unit(key: &str, figure: f64) -> String {
    match split(key).1 {
        "" => number(figure),
        "bytes" => bytes(figure),
        unit => format!("{} {unit}", number(figure)),
    }
}

/// What was asked for, in a few words: `10,000 streams`, `100 events/s`, `size 100 bytes`.
pub(super) fn setting(key: &str, asked: &Value) -> String {
    let text = value(key, asked);
    match key {
        "rate" => format!("{text} events/s"),
        "seconds" => format!("{text} s"),
        _ if asked.is_number() && split(key).1.is_empty() => format!("{text} {}", name(key)),
        _ => format!("{} {text}", name(key)),
    }
}

/// Three digits that count, thousands grouped.
pub(super) fn number(figure: f64) -> String {
    let size = figure.abs();
    if !size.is_finite() {
        return MISSING.to_owned();
    }
    if size >= 99.95 || size.fract() == 0.0 {
        let sign = if figure <= -0.5 { "-" } else { "" };
        return format!("{sign}{}", grouped(size.round() as u64));
    }
    let places = match size {
        9.995.. => 1,
        0.9995.. => 2,
        // Leading zeros do not count.
        _ => (2 - size.log10().floor() as i32).clamp(2, 6),
    };
    format!("{figure:.*}", places as usize)
}

/// Binary units from 100,000 on: below that, people count bytes.
pub(super) fn bytes(figure: f64) -> String {
    let (unit, size) = byte_unit(figure);
    format!("{} {unit}", number(figure / size))
}

/// The unit in which `most` bytes are easily read, and its size.
pub(super) fn byte_unit(most: f64) -> (&'static str, f64) {
    [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1_024.0)]
        .into_iter()
        .find(|(_, size)| most.abs() >= f64::max(*size, 100_000.0))
        .unwrap_or(("bytes", 1.0))
}

/// A value named beside an axis, without the noise of binary fractions.
pub(super) fn tick(value: f64) -> String {
    if value.abs() >= 1_000.0 { number(value) } else { format!("{}", (value * 1e9).round() / 1e9) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_tell_their_unit() {
        for (key, figure, text) in [
            ("cpu_us", json!(5.412), "5.41 µs"),
            ("p99_ms", json!(12.34), "12.3 ms"),
            ("deliveries_per_second", json!(999_871.3), "999,871 /s"),
            ("cpu_percent", json!(0.731), "0.731 %"),
            ("bytes_per_stream", json!(512.4), "512 bytes"),
            ("memory_bytes", json!(21_000_000), "20.0 MiB"),
            ("wall_s", json!(2), "2 s"),
            ("streams", json!(10_000), "10,000"),
            ("replay_s", json!(null), "missing"),
            ("kept", json!("all"), "all"),
        ] {
            assert_eq!(value(key, &figure), text, "{key}");
        }
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (figure, text) in [
            (0.0, "0"),
            (0.01234, "0.0123"),
            (0.9999, "1.00"),
            (9.999, "10.0"),
            (99.96, "100"),
            (1234.5, "1,235"),
            (-2.5, "-2.50"),
            (f64::NAN, "missing"),
        ] {
            assert_eq!(number(figure), text, "{figure}");
        }
    }

    #[test]
    fn settings_read_as_words() {
        assert_eq!(setting("streams", &json!(10_000)), "10,000 streams");
        assert_eq!(setting("rate", &json!(100.0)), "100 events/s");
        assert_eq!(setting("size_bytes", &json!(100)), "size 100 bytes");
        assert_eq!(setting("slow_percent", &json!(10)), "slow 10 %");
        assert_eq!(setting("topic", &json!("a")), "topic a");
        assert_eq!(name("first_p999_ms"), "first p99.9");
        assert_eq!(tick(0.1 + 0.2), "0.3");
    }
}
