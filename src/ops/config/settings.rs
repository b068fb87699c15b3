//! The list of settings, and how each is read from a variable.
//!
//! The list is what the default configuration serializes to, so that no setting can be missing.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;
use toml::{Table, Value};

use crate::ops::units::boolean;

/// What every variable of ours begins with.
const PREFIX: &str = "SLUICEGATE_";
/// Names the configuration file, as the flag `--config` does.
pub(in crate::ops) const FILE_VARIABLE: &str = "SLUICEGATE_CONFIG";
/// Variables with our prefix that are no settings: for the tests, and for the build.
const OTHER_VARIABLES: [&str; 2] = ["SLUICEGATE_REQUIRE_TOOLS", "SLUICEGATE_COMMIT"];

/// Settings that are gone, and what to say of each.
const GONE: [(&str, &str); 5] = [
    ("drain.window", "drain.deadline is in its place: how long all of the drain may take"),
    ("drain.grace", "drain.deadline is in its place: how long all of the drain may take"),
    ("limits.batch_events", "a batch is bounded by limits.body_bytes, and holds at most 16384 events"),
    ("pass.rest", "pass.latency is in its place: how long an event may wait for others to share its write"),
    ("pass.interval_min", "pass.latency is in its place: how long an event may wait for others to share its write"),
];

/// What to say of a setting that is gone.
pub(super) fn gone(key: &str) -> Option<String> {
    let (key, now) = GONE.into_iter().find(|(gone, _)| *gone == key)?;
    Some(format!("{key} is gone; {now}"))
}

/// The setting that is gone whose variable this was, and what to say of it.
pub(super) fn gone_variable(name: &str) -> Option<(&'static str, String)> {
    let (key, _) = GONE.into_iter().find(|(key, _)| variable(key.split('.')) == name)?;
    Some((key, gone(key)?))
}

/// The variable of the setting at this path: `SLUICEGATE_LIMITS_HEAD_BYTES`.
fn variable<'a>(path: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = path.map(str::to_uppercase).collect();
    format!("{PREFIX}{}", words.join("_"))
}

/// The variables with our prefix.
#[derive(Default)]
pub(in crate::ops) struct Variables {
    /// The file that one of them may name.
    pub(in crate::ops) file: Option<PathBuf>,
    /// Name and value of those that should be settings, sorted.
    pub(in crate::ops) settings: Vec<(String, OsString)>,
}

impl Variables {
    pub(in crate::ops) fn pick(all: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
        let mut variables = Variables::default();
        for (name, value) in all {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            if name == FILE_VARIABLE {
                variables.file = Some(PathBuf::from(value));
            } else if !OTHER_VARIABLES.contains(&name) {
                variables.settings.push((name.to_owned(), value));
            }
        }
        variables.settings.sort();
        variables
    }
}

/// A setting: a leaf of a configuration.
pub(in crate::ops) struct Setting {
    pub(in crate::ops) path: Vec<String>,
    pub(in crate::ops) value: Value,
}

/// All settings, as they are in this configuration: what it serializes to.
pub(in crate::ops) fn settings_of(config: &impl Serialize) -> Vec<Setting> {
    fn walk(table: Table, above: &[String], into: &mut Vec<Setting>) {
        for (key, value) in table {
            let path = [above, &[key]].concat();
            match value {
                Value::Table(table) => walk(table, &path, into),
                value => into.push(Setting { path, value }),
            }
        }
    }
    let mut settings = Vec::new();
    walk(Table::try_from(config).expect("Invariant: every setting has a TOML form"), &[], &mut settings);
    settings
}

/// The keys of the settings that differ between two configurations.
pub(in crate::ops) fn differing<T: Serialize>(one: &T, other: &T) -> Vec<String> {
    let pairs = settings_of(one).into_iter().zip(settings_of(other));
    pairs.filter(|(one, other)| one.value != other.value).map(|(one, _)| one.key()).collect()
}

impl Setting {
    /// The key as in the file: `limits.head_bytes`.
    pub(in crate::ops) fn key(&self) -> String {
        self.path.join(".")
    }

    /// The variable: `SLUICEGATE_LIMITS_HEAD_BYTES`.
    pub(in crate::ops) fn variable(&self) -> String {
        variable(self.path.iter().map(String::as_str))
    }

    /// Reads a variable's value as the TOML type of the setting's own.
    pub(in crate::ops) fn read(&self, text: &str) -> Result<Value, String> {
        match &self.value {
            Value::String(_) => Ok(Value::String(text.to_owned())),
            Value::Integer(_) => text.parse().map(Value::Integer).map_err(|e| format!("{text:?} is no integer: {e}")),
            Value::Float(_) => text.parse().map(Value::Float).map_err(|e| format!("{text:?} is no number: {e}")),
            Value::Boolean(_) => boolean(text).map(Value::Boolean).map_err(|reason| format!("{text:?} {reason}")),
            Value::Array(default) => match text.parse::<Value>() {
                Ok(value @ Value::Array(_)) => Ok(value),
                // Not TOML, such as `[::]:8080,[::1]:8081`: texts between commas.
                _ if matches!(default.first(), Some(Value::String(_))) => {
                    let parts = text.split(',').map(|part| Value::String(part.trim().to_owned()));
                    Ok(Value::Array(parts.collect()))
                }
                Ok(value) => Err(format!("is a TOML {}, an array is needed", value.type_str())),
                Err(e) => Err(format!("is no TOML array: {}", e.message())),
            },
            Value::Datetime(_) | Value::Table(_) => Err("can't be set by a variable".to_owned()),
        }
    }

    /// Puts a value where the setting is.
    pub(in crate::ops) fn put(&self, table: &mut Table, value: Value) {
        let Some((key, above)) = self.path.split_last() else { return };
        let mut table = table;
        for section in above {
            let section = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(section) = section else { return };
            table = section;
        }
        table.insert(key.clone(), value);
    }
}
