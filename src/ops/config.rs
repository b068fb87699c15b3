//! Settings. A flag wins over a variable, a variable over the file, the file over the default.
//!
//! The setting `a.b` of the file is the variable `SLUICEGATE_A_B`. The list of settings is not
//! written down a second time: it is what the default configuration serializes to.
//! `docs/configuration.md` is the reference for operators; a test holds it to the defaults here.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

use super::cli::Flags;
use super::limits::{
    BODY_BYTES_MAX, DEADLINE_MS_MIN, HEAD_BYTES_MAX, HEAD_BYTES_MIN, LISTEN_MAX, PERIOD_MS_MIN, POLICIES_MAX,
    SCHEDULES_MAX, THREADS_MAX,
};
use super::schedule::Schedule;
use super::settings::{Variables, settings};
use super::units::{Count, GIB, KIB, MIB, Ratio, Size, Time, TimeOrOff, text};
use crate::hub::policy::{Policies, SlowPolicy};
use crate::hub::topic::{Pattern, Topic};

/// All settings. Each field's type holds valid values only; what two fields must agree on is
/// checked by [`Config::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses of the public listener, for streams. Default: port 8080 on all IPv4 addresses.
    pub listen: Listen,
    /// Address of the control listener: publishing, metrics, health. Default:
    /// 127.0.0.1:8081, so that only this host reaches it.
    pub control: SocketAddr,
    /// Whether the control listener shows streams and topics at `/admin/`. Default: no, as they
    /// name topics and addresses.
    pub admin: bool,
    /// The topic of `GET /` and of schedules that name none. Default: `default`.
    #[serde(with = "text")]
    pub default_topic: Topic,
    /// How many shards, the threads that write to streams; 0 is one per core. Default: 0.
    pub shards: Count<0, THREADS_MAX>,
    /// How many acceptors, the threads that read requests; 0 is one per core. Default: 0.
    pub acceptors: Count<0, THREADS_MAX>,
    /// Bounds on what clients may take.
    pub limits: Limits,
    /// How much of the past is kept for streams that resume.
    pub history: History,
    /// How streams are kept alive and given up.
    pub stream: Stream,
    /// How passes, the batched writes of a shard, are spaced.
    pub pass: Pass,
    /// How the process ends.
    pub drain: Drain,
    /// Log lines.
    pub log: Log,
    /// Events published on a timer. Default, when the key is absent: `hello` to the default topic
    /// every 2 seconds.
    pub schedule: Vec<Schedule>,
    /// What is done with slow streams, by topic; the first match wins. Default: none, so that
    /// slow streams are disconnected.
    pub policy: Vec<PolicyRule>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: Listen(vec![SocketAddr::from(([0, 0, 0, 0], 8080))]),
            control: SocketAddr::from(([127, 0, 0, 1], 8081)),
            admin: false,
            default_topic: Topic::parse("default").expect("a valid topic"),
            shards: Count::new(0),
            acceptors: Count::new(0),
            limits: Limits::default(),
            history: History::default(),
            stream: Stream::default(),
            pass: Pass::default(),
            drain: Drain::default(),
            log: Log::default(),
            schedule: vec![Schedule::hello()],
            policy: Vec::new(),
        }
    }
}

/// One address or more, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<SocketAddr>", into = "Vec<SocketAddr>")]
pub struct Listen(Vec<SocketAddr>);

impl Listen {
    /// The addresses, in the order they were given in.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl TryFrom<Vec<SocketAddr>> for Listen {
    type Error = String;

    fn try_from(addresses: Vec<SocketAddr>) -> Result<Listen, String> {
        if addresses.is_empty() || addresses.len() > LISTEN_MAX {
            return Err(format!("{} addresses, from 1 to {LISTEN_MAX} are needed", addresses.len()));
        }
        for (i, address) in addresses.iter().enumerate() {
            if address.port() != 0 && addresses[..i].contains(address) {
                return Err(format!("{address} is listed twice"));
            }
        }
        Ok(Listen(addresses))
    }
}

impl From<Listen> for Vec<SocketAddr> {
    fn from(listen: Listen) -> Vec<SocketAddr> {
        listen.0
    }
}

/// `[limits]`: bounds on what clients may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How many streams may be open; 0 is as many as the descriptors allow. Default: 0.
    pub streams: Count<0, 0xffff_ffff>,
    /// The longest request head, in bytes. Default: 16 KiB: room for 128 topics of usual length.
    pub head_bytes: Size<HEAD_BYTES_MIN, HEAD_BYTES_MAX>,
    /// How long a client may take to send a request's head. Default: 10 seconds.
    pub head_deadline: Time<DEADLINE_MS_MIN>,
    /// The longest request body, in bytes, so also the most data of one event. Default: 1 MiB.
    pub body_bytes: Size<1, BODY_BYTES_MAX>,
    /// How long a client may take to send a request's body. Default: 30 seconds.
    pub body_deadline: Time<DEADLINE_MS_MIN>,
    /// The most events in one batch: the log is locked for that long. Default: 10,000.
    pub batch_events: Count<1, 1_000_000>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            streams: Count::new(0),
            head_bytes: Size::new(16 * KIB),
            head_deadline: Time::from_millis(10_000),
            body_bytes: Size::new(MIB),
            body_deadline: Time::from_millis(30_000),
            batch_events: Count::new(10_000),
        }
    }
}

/// `[history]`: how much of the past is kept. The first bound that is reached holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// The most events kept. Default: 100,000.
    pub events: Count<1, 1_000_000_000>,
    /// The most memory that kept events take, in bytes: some 200 more for each than its data. Default:
    /// 64 MiB.
    pub bytes: Size<KIB, { 1024 * GIB }>,
    /// How long an event is kept; `0s` is without a bound on age. Default: 1 hour, longer than the
    /// usual sleep of a laptop between meetings.
    pub age: TimeOrOff<PERIOD_MS_MIN>,
}

impl Default for History {
    fn default() -> History {
        History { events: Count::new(100_000), bytes: Size::new(64 * MIB), age: TimeOrOff::from_millis(3_600_000) }
    }
}

/// `[stream]`: how streams are kept alive and given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stream {
    /// A comment is sent to a stream that was idle for so long; `0s` is never. Default: 15 seconds,
    /// what the HTML standard advises and well below the 60 seconds of common proxies.
    pub heartbeat: TimeOrOff<PERIOD_MS_MIN>,
    /// A stream whose socket took no byte for so long is closed. Default: 30 seconds.
    pub write_deadline: Time<DEADLINE_MS_MIN>,
    /// A stream that is so old is closed, so that clients spread anew over the gateways; `0s` is
    /// never. Default: `0s`.
    pub max_age: TimeOrOff<DEADLINE_MS_MIN>,
    /// The part of `max_age` that is taken off at random, so that streams which were opened
    /// together are not closed together: 0 to 1. Default: 0.1.
    pub max_age_jitter: Ratio<1>,
    /// How many bytes that were not sent yet the kernel may hold for a stream before it takes no
    /// more (`TCP_NOTSENT_LOWAT`). Default: 16 KiB: a stalled client then costs little kernel memory.
    pub notsent_lowat: Size<KIB, { 16 * MIB }>,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream {
            heartbeat: TimeOrOff::from_millis(15_000),
            write_deadline: Time::from_millis(30_000),
            max_age: TimeOrOff::OFF,
            max_age_jitter: Ratio::new(0.1),
            notsent_lowat: Size::new(16 * KIB),
        }
    }
}

/// `[pass]`: how a shard spaces its passes. The later of the two bounds holds; the first event
/// after quiet goes at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pass {
    /// The longest rest after a pass, as a multiple of the processor time that the pass took: 0 to
    /// 100, 0 is no rest. A shard rests half as long after a pass whose writes carried one event
    /// each, and longer the more they carried. Default: 3, so that a busy shard takes a quarter of
    /// its core.
    pub rest: Ratio<100>,
    /// The least time from one pass's start to the next. Default: `0s`.
    pub interval_min: Time,
}

impl Default for Pass {
    fn default() -> Pass {
        Pass { rest: Ratio::new(2.25), interval_min: Time::from_millis(0) }
    }
}

/// `[drain]`: how the process ends on SIGTERM. A second signal ends it at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long to go on accepting while `/readyz` says 503 already. Default: `0s`, right without
    /// a load balancer; behind one, the time it takes to notice, usually 5 to 15 seconds.
    pub delay: Time,
    /// The longest time over which streams are ended; few take less. Default: 5 seconds. The process
    /// ends within `delay` + `window` + `grace` and a moment; give it longer than that before a SIGKILL.
    pub window: Time,
    /// How long after `window` streams that are behind may go on catching up. What is left then is cut
    /// off, and counted and logged as such. Default: 5 seconds.
    pub grace: Time,
    /// The mean of the `retry:` sent to a stream that is drained or shed; each gets from half to
    /// one and a half times this, at random. Default: 3 seconds, as long as a browser waits by itself.
    pub retry: Time,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain {
            delay: Time::from_millis(0),
            window: Time::from_millis(5_000),
            grace: Time::from_millis(5_000),
            retry: Time::from_millis(3_000),
        }
    }
}

/// `[log]`: log lines, on stderr.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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

/// `[[policy]]`: what is done with a slow stream of the topics that match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// The topics, as a pattern.
    #[serde(with = "text")]
    pub topic: Pattern,
    /// What is done: `disconnect`, `skip` or `conflate`.
    #[serde(with = "text")]
    pub slow: SlowPolicy,
}

/// The configuration to run with, and what should be said about it once there is a log.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What is odd, but no reason to stop: a sentence each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Logs where the configuration is from and what is odd about it, and gives it.
    pub fn told(self) -> Config {
        if let Some(file) = self.file {
            tracing::info!(file = %file.display(), "configuration read");
        }
        self.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        self.config
    }
}

// ===== impl Config =====

impl Config {
    /// Reads the configuration from the file, the environment and the flags.
    ///
    /// # Errors
    /// The first fault, with its place: file, line and key; variable; or both keys that disagree.
    pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
        Config::load_from(flags, std::env::vars_os())
    }

    /// Reads the configuration as [`Config::load`] does, from these variables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        flags: &Flags,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let variables = Variables::pick(variables);
        let file = flags.config.clone().or(variables.file);
        let text = match &file {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| ConfigError(Kind::Unreadable { file: file.clone(), error }))?,
            None => String::new(),
        };
        let mut config = Config::parse(&text, file.as_deref().unwrap_or(Path::new("")))?;
        let warnings = config.set_variables(&text, variables.settings)?;
        if !flags.listen.is_empty() {
            config.listen = Listen::try_from(flags.listen.clone())
                .map_err(|reason| ConfigError(Kind::Flag { flag: "--listen", reason }))?;
        }
        config.control = flags.control.unwrap_or(config.control);
        config.check()?;
        Ok(Loaded { config, file, warnings })
    }

    /// Reads the text of a file; `file` is its name for errors.
    ///
    /// # Errors
    /// The first fault, with file, line and key.
    pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::in_file(file, text, error))
    }

    /// The configuration as TOML, every setting in it. It reads back to the same configuration.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("Invariant: every setting has a TOML form")
    }

    /// The policies for slow streams.
    pub fn policies(&self) -> Policies {
        Policies::new(self.policy.iter().map(|rule| (rule.topic.clone(), rule.slow)))
    }

    /// Checks what two settings must agree on.
    ///
    /// # Errors
    /// The first fault, with both keys.
    pub fn check(&self) -> Result<(), ConfigError> {
        let conflict = |keys, reason: String| Err(ConfigError(Kind::Conflict { keys, reason }));
        let wildcards = |a: &SocketAddr, b: &SocketAddr| a.ip().is_unspecified() || b.ip().is_unspecified();
        for address in self.listen.addresses() {
            let control = &self.control;
            let overlap = address.ip() == control.ip() || wildcards(address, control);
            if address.port() != 0 && address.port() == control.port() && overlap {
                return conflict(["listen", "control"], format!("{address} and {control} can't both be bound"));
            }
        }
        let (body, history) = (self.limits.body_bytes, self.history.bytes);
        if body.get() > history.get() {
            let reason = format!("an event of up to {body} would not fit into {history} of history");
            return conflict(["limits.body_bytes", "history.bytes"], reason);
        }
        let (batch, events) = (self.limits.batch_events.get(), self.history.events.get());
        if batch > events {
            let reason = format!("a batch of up to {batch} events would not fit into {events} events of history");
            return conflict(["limits.batch_events", "history.events"], reason);
        }
        for (i, schedule) in self.schedule.iter().enumerate() {
            let bytes = schedule.data_bytes();
            if bytes > body.get() {
                let reason = format!("schedule {} has {bytes} bytes of data, at most {body} is allowed", i + 1);
                return conflict(["schedule.data", "limits.body_bytes"], reason);
            }
        }
        let lists = [("schedule", self.schedule.len(), SCHEDULES_MAX), ("policy", self.policy.len(), POLICIES_MAX)];
        for (key, length, max) in lists {
            if length > max {
                return Err(ConfigError(Kind::TooMany { key, length, max }));
            }
        }
        Ok(())
    }

    /// Applies the variables on top of the file's text, and returns warnings of those that are
    /// unknown. Each is put in by itself, so that an error names the right one.
    fn set_variables(&mut self, text: &str, variables: Vec<(String, OsString)>) -> Result<Vec<String>, ConfigError> {
        let settings = settings();
        let mut table: Table = text.parse().map_err(|error| ConfigError::in_file(Path::new(""), text, error))?;
        let mut warnings = Vec::new();
        for (name, value) in variables {
            let Some(setting) = settings.iter().find(|setting| setting.variable() == name) else {
                warnings.push(format!("the variable {name} is no setting and has no effect"));
                continue;
            };
            let fault = |reason| ConfigError(Kind::Variable { name: name.clone(), key: setting.key(), reason });
            let value = value.into_string().map_err(|_| fault("is not UTF-8".to_owned()))?;
            setting.put(&mut table, setting.read(&value).map_err(fault)?);
            *self = Config::deserialize(Value::Table(table.clone())).map_err(|e| fault(e.message().to_owned()))?;
        }
        Ok(warnings)
    }
}

// ===== errors =====

/// A fault in the configuration. Its text names the place: file, line and key; variable; or keys.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ConfigError(Kind);

#[derive(Debug, thiserror::Error)]
enum Kind {
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
    #[error("{key}: {length} entries, at most {max} are allowed")]
    TooMany { key: &'static str, length: usize, max: usize },
    #[error("what can change now does not agree with what needs a restart: {0}")]
    Reload(Box<ConfigError>),
}

impl ConfigError {
    /// A configuration that is valid by itself can't be applied to what runs, for this reason.
    pub(super) fn on_reload(self) -> ConfigError {
        ConfigError(Kind::Reload(Box::new(self)))
    }

    fn in_file(file: &Path, text: &str, mut error: toml::de::Error) -> ConfigError {
        let line = error.span().map(|span| 1 + text.as_bytes()[..span.start].iter().filter(|b| **b == b'\n').count());
        let message = error.message().trim().replace('\n', ", ");
        // Without its input the error tells its key, as a last line "in `a.b`".
        error.set_input(None);
        let told = error.to_string();
        let key = told.lines().last().and_then(|last| last.strip_prefix("in `")?.strip_suffix('`')).map(str::to_owned);
        ConfigError(Kind::File { file: file.to_owned(), line, key, message })
    }
}

fn in_file(file: &Path, line: Option<usize>, key: Option<&str>, message: &str) -> impl fmt::Display {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
    format!("{}{line}: {key}{message}", file.display())
}

#[cfg(test)]
mod tests {
    use super::super::settings::FILE_VARIABLE;
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        Config::load_from(&flags, variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = Config::parse(text, Path::new("gate.toml")).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?} gave\n  {error}\nwanted\n  {expected}");
    }

    #[track_caller]
    fn refused_variable(name: &str, value: &str, expected: &str) {
        let error = load("", &[(name, value)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name} (the setting ")) && error.contains(expected), "{error}");
    }

    #[track_caller]
    fn conflict(text: &str, expected: &str) {
        let error = load(text, &[]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?} gave {error}");
    }

    #[test]
    fn nothing_given_is_the_default() {
        let loaded = Config::load_from(&Flags::default(), []).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert!(loaded.warnings.is_empty() && loaded.file.is_none());
    }

    #[test]
    fn errors_in_a_file_name_file_line_and_key() {
        refused(
            "\n[stream]\nheartbeat = 15\n",
            "gate.toml:3: stream.heartbeat: invalid type: integer `15`, expected a dur",
        );
        refused("[stream]\nheartbeat = \"15\"\n", "gate.toml:2: stream.heartbeat: \"15\" is no duration with a unit");
        refused(
            "[limits]\nhead_bytes = 8191\n",
            "gate.toml:2: limits.head_bytes: 8191 bytes is out of range, from 8KiB",
        );
        refused("shards = 65", "gate.toml:1: shards: 65 is out of range, from 0 to 64 is allowed");
        refused("shards = -1", "gate.toml:1: shards: invalid value: integer `-1`");
        refused("listen = []", "gate.toml:1: listen: 0 addresses");
        refused("listen = [\"a\"]", "gate.toml:1: listen: invalid socket address");
        refused("default_topic = \"a/*\"", "gate.toml:1: default_topic: the segments * and **");
        refused("[pass]\nrest = nan", "gate.toml:2: pass.rest: NaN is out of range");
        refused("[log]\nlevel = \"lots\"", "gate.toml:2: log.level: \"lots\" is no level");
        refused("[log]\nformat = \"xml\"", "gate.toml:2: log.format: unknown variant `xml`, expected one of `auto`");
        refused("[limit]\nstreams = 1", "gate.toml:1: unknown field `limit`");
        refused("[limits]\nstream = 1", "gate.toml:2: limits: unknown field `stream`");
        refused("a b", "gate.toml:1: ");
        refused("[[schedule]]\nevery = \"1s\"", "gate.toml:1: schedule: missing field `data`");
        refused("[[schedule]]\nevery = \"9ms\"\ndata = \"\"", "gate.toml:2: schedule.every: \"9ms\" is too short");
        refused("[[schedule]]\nevery = \"1s\"\ndata = \"\"\nid = \"a\\nb\"", "gate.toml:1: schedule: id: holds CR");
        refused("[[schedule]]\nevery = \"1s\"\ndata = \"\"\ntopic = \"*\"", "gate.toml:1: schedule: topic: the segm");
        refused("[[policy]]\ntopic = \"a*\"\nslow = \"skip\"", "gate.toml:2: policy.topic: a wildcard must be");
        refused("[[policy]]\ntopic = \"a\"\nslow = \"no\"", "gate.toml:3: policy.slow: no policy \"no\"");
    }

    #[test]
    fn a_missing_file_is_named() {
        let flags = Flags { config: Some("/nonexistent/gate.toml".into()), ..Flags::default() };
        let error = Config::load_from(&flags, []).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the configuration file /nonexistent/gate.toml: "), "{error}");
    }

    #[test]
    fn the_flag_wins_over_the_variable_over_the_file_over_the_default() {
        let text = "control = \"127.0.0.1:1\"\nshards = 3\n[limits]\nstreams = 5\nhead_bytes = \"9KiB\"\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let variables = [("SLUICEGATE_CONTROL", "127.0.0.1:2"), ("SLUICEGATE_LIMITS_STREAMS", "6")];
        let mut flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        let load =
            |flags: &Flags| Config::load_from(flags, variables.map(|(n, v)| (n.into(), v.into()))).unwrap().config;
        let config = load(&flags);
        assert_eq!(config.control, "127.0.0.1:2".parse().unwrap());
        assert_eq!((config.shards.get(), config.limits.streams.get()), (3, 6));
        assert_eq!((config.limits.head_bytes.get(), config.limits.body_bytes.get()), (9 * KIB, MIB));
        flags.control = Some("127.0.0.1:3".parse().unwrap());
        flags.listen = vec!["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
        let config = load(&flags);
        assert_eq!(config.control, "127.0.0.1:3".parse().unwrap());
        assert_eq!(config.listen.addresses(), flags.listen);
    }

    #[test]
    fn a_variable_can_name_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "shards = 7").unwrap();
        let variable = (OsString::from(FILE_VARIABLE), OsString::from(file.path()));
        let loaded = Config::load_from(&Flags::default(), [variable]).unwrap();
        assert_eq!(loaded.config.shards.get(), 7);
        assert_eq!(loaded.file.as_deref(), Some(file.path()));
    }

    #[test]
    fn every_setting_can_be_set_by_its_variable() {
        for setting in settings() {
            let value = match &setting.value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let loaded = load("", &[(&setting.variable(), &value)]).unwrap();
            assert_eq!(loaded.config, Config::default(), "{}", setting.variable());
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
        assert!(settings().iter().any(|setting| setting.variable() == "SLUICEGATE_STREAM_MAX_AGE_JITTER"));
    }

    #[test]
    fn arrays_in_variables_are_toml_or_parted_by_commas() {
        for text in ["[\"[::]:80\", \"127.0.0.1:81\"]", "[::]:80, 127.0.0.1:81"] {
            let listen = load("", &[("SLUICEGATE_LISTEN", text)]).unwrap().config.listen;
            assert_eq!(listen.addresses(), ["[::]:80".parse().unwrap(), "127.0.0.1:81".parse().unwrap()]);
        }
        let variables = [
            ("SLUICEGATE_SCHEDULE", "[{every = \"1s\", data = \"a\"}, {every = \"2s\", data = \"b\"}]"),
            ("SLUICEGATE_POLICY", "[{topic = \"a/**\", slow = \"conflate\"}]"),
        ];
        let config = load("schedule = []", &variables).unwrap().config;
        assert_eq!(config.schedule.len(), 2);
        assert_eq!(config.policies().for_topic("a/b"), SlowPolicy::Conflate);
        assert!(load("", &[("SLUICEGATE_SCHEDULE", "[]")]).unwrap().config.schedule.is_empty());
    }

    #[test]
    fn errors_in_variables_name_the_variable() {
        refused_variable("SLUICEGATE_STREAM_HEARTBEAT", "15", "15");
        refused_variable("SLUICEGATE_SHARDS", "many", "\"many\" is no integer");
        refused_variable("SLUICEGATE_SHARDS", "65", "65 is out of range");
        refused_variable("SLUICEGATE_PASS_REST", "x", "is no number");
        refused_variable("SLUICEGATE_LISTEN", "", "invalid socket address");
        refused_variable("SLUICEGATE_POLICY", "a", "is no TOML array");
        refused_variable("SLUICEGATE_POLICY", "1", "is a TOML integer");
        refused_variable("SLUICEGATE_POLICY", "[{topic = \"a\"}]", "missing field `slow`");
        refused_variable("SLUICEGATE_LIMITS_HEAD_BYTES", "1KiB", "1024 bytes is out of range");
    }

    #[test]
    fn unknown_variables_only_warn() {
        let variables = [
            ("SLUICEGATE_SERVICE_HOST", "10.0.0.1"),
            ("SLUICEGATE_PORT", "tcp://10.0.0.1:80"),
            ("SLUICEGATE_REQUIRE_TOOLS", "1"),
            ("SLUICEGATE_COMMIT", "abc"),
            ("PATH", "/bin"),
        ];
        let loaded = load("", &variables).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
        assert!(loaded.warnings[0].contains("SLUICEGATE_PORT"));
    }

    #[test]
    fn settings_that_disagree_are_both_named() {
        conflict("listen = [\"127.0.0.1:81\"]\ncontrol = \"127.0.0.1:81\"", "listen and control disagree: ");
        conflict("listen = [\"0.0.0.0:81\"]\ncontrol = \"127.0.0.1:81\"", "listen and control disagree: ");
        conflict("[history]\nbytes = \"1023KiB\"", "limits.body_bytes and history.bytes disagree: ");
        conflict("[history]\nevents = 9999", "limits.batch_events and history.events disagree: ");
        conflict(
            "[limits]\nbody_bytes = 4\n[[schedule]]\nevery = \"1s\"\ndata = \"hello\"",
            "schedule.data and limits.body_bytes disagree: schedule 1",
        );
        assert!(load("listen = [\"127.0.0.1:0\"]\ncontrol = \"127.0.0.1:0\"", &[]).is_ok());
        assert!(load("listen = [\"127.0.0.2:81\"]\ncontrol = \"127.0.0.1:81\"", &[]).is_ok());
        assert!(load("[history]\nbytes = \"1MiB\"\nevents = 10000", &[]).is_ok());
    }

    #[test]
    fn what_is_printed_reads_back_to_the_same() {
        let full = r#"
            listen = ["[::1]:1", "127.0.0.1:2"]
            default_topic = "prices/eur"
            schedule = [
                { topic = "a", every = "1s", data = "{n}", retry = "2s", keep = true },
                { every = "1h 1ms", event = "e", id = "i", data = 'two\lines"' },
            ]
            policy = [{ topic = "a/*", slow = "skip" }, { topic = "**", slow = "conflate" }]
            [history]
            bytes = 1234567
            age = "0s"
            [pass]
            rest = 2
            [log]
            level = "info,sluicegate=debug"
        "#;
        for text in ["", "schedule = []", full] {
            let config = Config::parse(text, Path::new("")).unwrap();
            let printed = config.to_toml();
            assert_eq!(Config::parse(&printed, Path::new("printed")).unwrap(), config, "{printed}");
        }
        let printed = Config::default().to_toml();
        for setting in settings() {
            let key = setting.path.last().unwrap();
            assert!(printed.contains(&format!("{key} = ")) || printed.contains(&format!("[[{key}]]")), "{key}");
        }
    }

    #[test]
    fn the_schedule_is_hello_unless_the_key_is_there() {
        let config = Config::parse("default_topic = \"lobby\"", Path::new("")).unwrap();
        assert_eq!(config.schedule, [Schedule::hello()]);
        assert!(Config::parse("schedule = []", Path::new("")).unwrap().schedule.is_empty());
    }

    #[test]
    fn the_reference_lists_every_setting_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let reference = std::fs::read_to_string(path).unwrap();
        let mut rows = 0;
        for setting in settings() {
            let default = match setting.key().as_str() {
                "schedule" => "see below".to_owned(),
                _ => format!("`{}`", setting.value),
            };
            let row = format!("| `{}` | {default} |", setting.key());
            assert_eq!(reference.matches(&row).count(), 1, "docs/configuration.md needs the row {row}");
            rows += 1;
        }
        // Nothing that is gone may stay: only the fields of schedules and policies have rows besides.
        let listed = reference.lines().filter(|line| line.starts_with("| `") && !line.contains("[].")).count();
        assert_eq!(listed, rows, "docs/configuration.md has rows that are no settings");
        let hello = toml::to_string(&Schedule::hello()).unwrap();
        assert!(reference.contains(&format!("[[schedule]]\n{hello}")), "docs/configuration.md needs\n{hello}");
    }
}
