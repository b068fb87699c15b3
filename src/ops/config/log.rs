//! `[log]`.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// `[log]`: log lines, on stderr.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Log {
    /// How lines look. Default: `auto`.
    pub format: LogFormat,
    /// What is logged: a level, or directives such as `info,sluicegate=debug`. Default: `info`.
    pub level: Directives,
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Auto, level: Directives("info".to_owned()) }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Readable lines.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged: valid directives for a [`EnvFilter`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Directives(String);

impl Directives {
    /// Reads directives.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &str) -> Result<Directives, String> {
        if text.trim().is_empty() {
            return Err("is empty; off turns the log off".to_owned());
        }
        // A lone word that is no level would be taken for the name of a module.
        if text.bytes().all(|b| b.is_ascii_alphanumeric())
            && text.parse::<tracing::level_filters::LevelFilter>().is_err()
        {
            return Err(format!("{text:?} is no level: off, error, warn, info, debug and trace are known"));
        }
        EnvFilter::try_new(text).map_err(|e| format!("{text:?} is no level or directive: {e}"))?;
        Ok(Directives(text.to_owned()))
    }

    /// The directives as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Directives {
    type Error = String;

    fn try_from(text: String) -> Result<Directives, String> {
        Directives::parse(&text)
    }
}

impl From<Directives> for String {
    fn from(directives: Directives) -> String {
        directives.0
    }
}
