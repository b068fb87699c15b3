//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use super::settings::gone;

/// A fault in the configuration. Its text says where it is: file, line and key; variable; or keys.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ConfigError(pub(super) Kind);

#[derive(Debug, thiserror::Error)]
pub(super) enum Kind {
    #[error("cannot read the configuration file {}: {error}", file.display())]
    Unreadable { file: PathBuf, error: std::io::Error },
    #[error("{}", in_file(file, *line, key.as_deref(), message))]
    File { file: PathBuf, line: Option<usize>, key: Option<String>, message: String },
    #[error("{name} (the setting {key}): {reason}")]
    Variable { name: String, key: String, reason: String },
    #[error("{flag}: {reason}")]
    Flag { flag: &'static str, reason: String },
    #[error("{} and {} disagree: {reason}", keys[0], keys[1])]
    Conflict { keys: [&'static str; 2], reason: String },
    #[error("{key}: {reason}")]
    Invalid { key: String, reason: String },
    #[error("{key}: {length} entries, at most {max} are allowed")]
    TooMany { key: &'static str, length: usize, max: usize },
    #[error("{key}: this program was built without the feature {feature}")]
    NotBuilt { key: &'static str, feature: &'static str },
    #[error("what can change now does not agree with what needs a restart: {0}")]
    Reload(Box<ConfigError>),
}

impl ConfigError {
    /// A configuration that is valid by itself can't be applied to what runs, for this reason.
    pub(in crate::ops) fn on_reload(self) -> ConfigError {
        ConfigError(Kind::Reload(Box::new(self)))
    }

    /// This setting is not valid, for this reason.
    pub fn invalid(key: &str, reason: String) -> ConfigError {
        ConfigError(Kind::Invalid { key: key.to_owned(), reason })
    }

    pub(super) fn in_file(file: &Path, text: &str, mut error: toml::de::Error) -> ConfigError {
        let line = error.span().map(|span| 1 + text.as_bytes()[..span.start].iter().filter(|b| **b == b'\n').count());
        let message = error.message().trim().replace('\n', ", ");
        // Without its input the error tells its key, as a last line "in `a.b`".
        error.set_input(None);
        let text = error.to_string();
        let section =
            text.lines().last().and_then(|last| last.strip_prefix("in `")?.strip_suffix('`')).map(str::to_owned);
        // "unknown field `window`, expected one of …", in `drain`.
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
        let gone = unknown.and_then(|(key, _)| gone(&format!("{}.{key}", section.as_deref().unwrap_or_default())));
        ConfigError(Kind::File { file: file.to_owned(), line, key: section, message: gone.unwrap_or(message) })
    }
}

fn in_file(file: &Path, line: Option<usize>, key: Option<&str>, message: &str) -> impl fmt::Display {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
    format!("{}{line}: {key}{message}", file.display())
}
