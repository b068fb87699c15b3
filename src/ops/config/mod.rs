//! Settings. A flag wins over a variable, a variable over the file, the file over the default.
//!
//! The setting `a.b` of the file is the variable `SLUICEGATE_A_B`. The list of settings is not
//! written down a second time: it is what the default configuration serializes to.
//! `docs/configuration.md` is the reference for operators; a test holds it to the defaults here.

/// `[auth]`.
mod auth;
/// `[cluster]`.
mod cluster;
/// `[cors]`.
mod cors;
/// `engine` and `[disk]`.
mod disk;
/// `[drain]`.
mod drain;
/// What is wrong with a configuration, and where.
mod error;
/// `[history]`.
mod history;
/// `[limits]`.
mod limits;
/// `listen`, `control` and `health`.
pub mod listen;
/// `[log]`.
mod log;
/// `[pass]`.
mod pass;
/// `[[policy]]`.
mod policy;
/// `[[rule]]`.
mod rule;
/// The list of settings, and how each is read from a variable.
pub(super) mod settings;
/// `[stream]`.
mod stream;
/// `[tls]`.
mod tls;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::cli::Flags;
use super::limits::{CERTIFICATES_MAX, POLICIES_MAX, SCHEDULES_MAX, THREADS_MAX};
use super::schedule::Schedule;
use super::units::{Count, text};
use crate::exchange::topics::TopicTable;
use crate::hub::frame::Draft;
use crate::hub::id::Epoch;
use crate::hub::policy::Policies;
use crate::hub::topic::{Numbers, Topic, Topics};

pub use auth::{Auth, CookieName, DeniedAs, JwtAlgorithm, JwtKey, Patterns, Secret, StaticKey};
pub use cluster::{Cluster, ClusterHistory, Holes, Namespace, ServerUrl, Storage, WhileAway};
pub use cors::{Cors, Origin};
pub use disk::{Disk, DiskSync, EngineKind};
pub use drain::Drain;
pub use error::ConfigError;
pub use history::History;
pub use limits::Limits;
pub use listen::{Health, Listen};
pub use log::{Directives, Log, LogFormat};
pub use pass::{Latency, Pass};
pub use policy::PolicyRule;
pub use rule::{Rule, Template, Who};
pub use stream::Stream;
pub use tls::Tls;

use auth::AUTH_KEYS_MAX;
use error::Kind;
use rule::RULES_MAX;
use settings::{Variables, gone_variable, settings_of};

/// All settings. Each field's type holds valid values only; what two fields must agree on is
/// checked by [`Config::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Addresses of the public listener, for streams. Default: port 8080 on all IPv4 addresses.
    pub listen: Listen,
    /// Address of the control listener: publishing, metrics, health. Default:
    /// 127.0.0.1:8081, so that only this host reaches it.
    #[serde(deserialize_with = "listen::control")]
    pub control: SocketAddr,
    /// Address of the health listener: health, readiness and metrics, for probes and scrapes that
    /// publishers must not be in the way of. Default: `off`.
    pub health: Health,
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
    /// Where kept events live. Default: `memory`.
    pub engine: EngineKind,
    /// The public listener's addresses for HTTPS, and its certificates.
    pub tls: Tls,
    /// Bounds on what clients may take.
    pub limits: Limits,
    /// How much of the past is kept for streams that resume.
    pub history: History,
    /// Where and how the disk engine stores events.
    pub disk: Disk,
    /// The servers of the NATS engine, and what it keeps there.
    pub cluster: Cluster,
    /// How streams are kept alive and given up.
    pub stream: Stream,
    /// How passes, the batched writes of a shard, are spaced.
    pub pass: Pass,
    /// Who is known, and by what.
    pub auth: Auth,
    /// Which web pages may read streams.
    pub cors: Cors,
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
    /// Who may subscribe and who may publish, by topic; the first match wins. Default: none, so that everyone may
    /// subscribe to everything, and nobody may publish on the public listener.
    pub rule: Vec<Rule>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: Listen::default(),
            control: SocketAddr::from(([127, 0, 0, 1], 8081)),
            health: Health::default(),
            admin: false,
            default_topic: Topic::parse("default").expect("a valid topic"),
            shards: Count::new(0),
            acceptors: Count::new(0),
            engine: EngineKind::default(),
            tls: Tls::default(),
            limits: Limits::default(),
            history: History::default(),
            disk: Disk::default(),
            cluster: Cluster::default(),
            stream: Stream::default(),
            pass: Pass::default(),
            auth: Auth::default(),
            cors: Cors::default(),
            drain: Drain::default(),
            log: Log::default(),
            schedule: vec![Schedule::hello()],
            policy: Vec::new(),
            rule: Vec::new(),
        }
    }
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
    pub fn logged(self) -> Config {
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
    /// The first fault, and where it is: file, line and key; variable; or both keys that disagree.
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
        let mut warnings = config.set_variables(&text, variables.settings)?;
        if !flags.listen.is_empty() {
            config.listen = Listen::try_from(flags.listen.clone())
                .map_err(|reason| ConfigError(Kind::Flag { flag: "--listen", reason }))?;
        }
        if !flags.listen_tls.is_empty() {
            config.tls.listen = Listen::try_from(flags.listen_tls.clone())
                .map_err(|reason| ConfigError(Kind::Flag { flag: "--listen-tls", reason }))?;
        }
        if !flags.tls_cert.is_empty() || !flags.tls_key.is_empty() {
            (config.tls.cert, config.tls.key) = (flags.tls_cert.clone(), flags.tls_key.clone());
        }
        config.tls.dev |= flags.dev_tls;
        config.control = flags.control.unwrap_or(config.control);
        config.health = flags.health.map_or(config.health, Health::on);
        config.engine = flags.engine.unwrap_or(config.engine);
        if let Some(dir) = &flags.disk_dir {
            config.disk.dir.clone_from(dir);
        }
        config.check()?;
        if config.engine != EngineKind::Disk && !config.disk.dir.as_os_str().is_empty() {
            warnings.push("disk.dir has no effect, since engine is not \"disk\"".to_owned());
        }
        warnings.extend(rule::unreachable(&config.rule));
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
        let listen = self.listen.addresses().iter().map(|address| ("listen", *address));
        let tls = self.tls.addresses().iter().map(|address| ("tls.listen", *address));
        let health = self.health.address().map(|address| ("health", address));
        let addresses: Vec<_> = listen.chain(tls).chain([("control", self.control)]).chain(health).collect();
        for (i, (key, address)) in addresses.iter().enumerate() {
            for (other_key, other) in &addresses[i + 1..] {
                if key != other_key && overlap(*address, *other) {
                    return conflict([key, other_key], format!("{address} and {other} can't both be bound"));
                }
            }
        }
        if self.listen.addresses().is_empty() && self.tls.addresses().is_empty() {
            return conflict(["listen", "tls.listen"], "there is no address for streams".to_owned());
        }
        if let Some((keys, reason)) = self.tls.conflict() {
            return conflict(keys, reason);
        }
        if let Some((key, length)) = self.tls.too_many() {
            return Err(ConfigError(Kind::TooMany { key, length, max: CERTIFICATES_MAX }));
        }
        if self.engine == EngineKind::Disk && self.disk.dir.as_os_str().is_empty() {
            return conflict(["engine", "disk.dir"], "the disk engine needs a directory".to_owned());
        }
        if self.engine == EngineKind::Nats {
            if !cfg!(feature = "nats") {
                return Err(ConfigError(Kind::NotBuilt { key: "engine", feature: "nats" }));
            }
            if let Some((keys, reason)) = self.cluster.conflict() {
                return conflict(keys, reason);
            }
        }
        let (body, history) = (self.limits.body_bytes, self.history.bytes);
        if body.get() > history.get() {
            let reason = format!("an event of up to {body} would not fit into {history} of history");
            return conflict(["limits.body_bytes", "history.bytes"], reason);
        }
        for (i, schedule) in self.schedule.iter().enumerate() {
            let bytes = schedule.data_bytes();
            if bytes > body.get() {
                let reason = format!("schedule {} has {bytes} bytes of data, at most {body} is allowed", i + 1);
                return conflict(["schedule.data", "limits.body_bytes"], reason);
            }
            self.check_encoded(schedule).or_else(|reason| {
                conflict(["schedule", "history"], format!("schedule {} can't be published: {reason}", i + 1))
            })?;
        }
        self.auth.check().map_err(|(key, reason)| ConfigError(Kind::Invalid { key, reason }))?;
        let lists = [
            ("schedule", self.schedule.len(), SCHEDULES_MAX),
            ("policy", self.policy.len(), POLICIES_MAX),
            ("rule", self.rule.len(), RULES_MAX),
            ("auth.jwt", self.auth.jwt.len(), AUTH_KEYS_MAX),
            ("auth.key", self.auth.key.len(), AUTH_KEYS_MAX),
        ];
        for (key, length, max) in lists {
            if length > max {
                return Err(ConfigError(Kind::TooMany { key, length, max }));
            }
        }
        Ok(())
    }

    /// Whether the longest event of a schedule fits into the log.
    fn check_encoded(&self, schedule: &Schedule) -> Result<(), String> {
        let topics = Topics::one(TopicTable::default().handle(&schedule.topic(&self.default_topic)));
        // The time is always as long.
        let event = schedule.event(SystemTime::UNIX_EPOCH, u64::MAX);
        let draft = Draft::encode(topics, &event, Epoch::new(0)).map_err(|error| error.to_string())?;
        self.history.log_limits().admit(&[draft]).map_err(|error| error.to_string())
    }

    /// Applies the variables on top of the file's text, and returns warnings of those that are
    /// unknown. Each is put in by itself, so that an error names the right one.
    fn set_variables(&mut self, text: &str, variables: Vec<(String, OsString)>) -> Result<Vec<String>, ConfigError> {
        let settings = settings_of(&Config::default());
        let mut table: Table = text.parse().map_err(|error| ConfigError::in_file(Path::new(""), text, error))?;
        let mut warnings = Vec::new();
        for (name, value) in variables {
            let Some(setting) = settings.iter().find(|setting| setting.variable() == name) else {
                if let Some((key, reason)) = gone_variable(&name) {
                    return Err(ConfigError(Kind::Variable { name, key: key.to_owned(), reason }));
                }
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

/// Whether only one of two addresses can be bound.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // `[::]` takes IPv4 as well.
    let takes = |one: IpAddr, other: IpAddr| one.is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    let same_ip = one_ip == other_ip || takes(one_ip, other_ip) || takes(other_ip, one_ip);
    one.port() != 0 && one.port() == other.port() && same_ip
}
