//! A new configuration for a gateway that runs: what of it can be applied, and what needs a restart.

use arc_swap::ArcSwap;

use super::config::settings::differing;
use super::config::{Config, ConfigError, Limits, Log, Stream};

/// The configuration that runs. It is replaced as a whole: who reads it twice may see two.
pub type LiveConfig = ArcSwap<Config>;

/// What became of the settings that a new configuration changed, by their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// They hold from now on.
    pub applied: Vec<String>,
    /// They are as they were, and will hold after a restart.
    pub need_restart: Vec<String>,
}

impl Reloaded {
    /// Logs what happened, with a warning for each setting that needs a restart.
    pub fn log(&self) {
        tracing::info!(applied = self.applied.join(", "), "configuration reloaded");
        for setting in &self.need_restart {
            tracing::warn!(setting, "changed, but takes effect after a restart only");
        }
    }
}

impl Config {
    /// What runs once `new` has been applied to a gateway that runs with this configuration.
    ///
    /// # Errors
    /// If `new`, or what would run, is not valid: then nothing of it may be applied.
    pub fn reload(&self, new: &Config) -> Result<(Config, Reloaded), ConfigError> {
        new.check()?;
        let next = self.with_changes_of(new);
        next.check().map_err(ConfigError::on_reload)?;
        let reloaded = Reloaded { applied: differing(self, &next), need_restart: differing(&next, new) };
        Ok((next, reloaded))
    }

    /// The one place that says which settings can change while the gateway runs.
    fn with_changes_of(&self, new: &Config) -> Config {
        Config {
            admin: new.admin,
            limits: Limits {
                body_bytes: new.limits.body_bytes,
                body_deadline: new.limits.body_deadline,
                ..self.limits.clone()
            },
            stream: Stream { notsent_lowat: self.stream.notsent_lowat, ..new.stream.clone() },
            auth: new.auth.clone(),
            cors: new.cors.clone(),
            drain: new.drain.clone(),
            log: Log { format: self.log.format, level: new.log.level.clone() },
            schedule: new.schedule.clone(),
            policy: new.policy.clone(),
            rule: new.rule.clone(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::config::settings::settings_of;
    use super::*;

    /// No setting of it has its default.
    const ALL_CHANGED: &str = r#"
        listen = ["127.0.0.1:1"]
        control = "127.0.0.1:2"
        health = "127.0.0.1:3"
        admin = true
        default_topic = "other"
        shards = 3
        acceptors = 4
        engine = "disk"
        schedule = []
        policy = [{ topic = "**", slow = "skip" }]
        rule = [{ topics = ["**"], subscribe = "token" }]
        [tls]
        listen = ["127.0.0.1:4"]
        cert = ["/a.pem"]
        key = ["/b.pem"]
        dev = true
        [limits]
        streams = 5
        connections = 6
        head_bytes = "17KiB"
        head_deadline = "11s"
        idle = "76s"
        body_bytes = "2MiB"
        body_deadline = "31s"
        pinned_bytes = "65MiB"
        [history]
        events = 100001
        bytes = "65MiB"
        age = "2h"
        keys = 7
        keys_age = "7m"
        [disk]
        dir = "/other"
        sync = "interval"
        sync_interval = "2s"
        events = 7
        bytes = "66MiB"
        age = "3h"
        [cluster]
        namespace = "other"
        urls = ["nats://127.0.0.2:4222"]
        credentials = "/other.creds"
        tls_ca = "/other.pem"
        create = false
        manage = true
        replicas = 1
        storage = "memory"
        duplicate_window = "61s"
        publish_timeout = "11s"
        publish_in_flight = 65
        ready_grace = "16s"
        holes = "ignore"
        state_dir = "/other"
        away = "close"
        [cluster.history]
        events = 1000001
        bytes = "2GiB"
        age = "25h"
        [stream]
        heartbeat = "16s"
        marks = false
        retry = "4s"
        write_deadline = "31s"
        max_age = "1h"
        max_age_jitter = 0.2
        notsent_lowat = "17KiB"
        [pass]
        latency = "1ms"
        [auth]
        leeway = "11s"
        cookie = "session"
        query = true
        denied = "event"
        remembered = 7
        revoked_for = "8days"
        control_key = "another-key-of-some-length"
        jwt = [{ algorithm = "HS256", key = "a-secret-that-is-long-enough-for-it" }]
        key = [{ name = "other", key = "a-key-of-some-length" }]
        [cors]
        origins = ["https://example.com"]
        [drain]
        delay = "1s"
        deadline = "11s"
        retry = "4s"
        [log]
        format = "json"
        level = "debug"
    "#;

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("new.toml")).unwrap()
    }

    #[test]
    fn the_reference_lists_what_reloads() {
        let (running, new) = (Config::default(), parse(ALL_CHANGED));
        let all: Vec<_> = settings_of(&running).iter().map(|setting| setting.key()).collect();
        assert_eq!(differing(&running, &new), all, "every setting is changed");
        let (next, Reloaded { applied, need_restart }) = running.reload(&new).unwrap();
        assert_eq!(differing(&running, &next), applied);
        assert_eq!(applied.len() + need_restart.len(), all.len());

        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let reference = std::fs::read_to_string(path).unwrap();
        let list = reference.split_once("These settings change while the gateway runs: ").unwrap().1;
        let mut listed: Vec<_> = list.split_once(".\n").unwrap().0.split('`').skip(1).step_by(2).collect();
        listed.sort_unstable();
        let mut applied: Vec<_> = applied.iter().map(String::as_str).collect();
        applied.sort_unstable();
        assert_eq!(listed, applied, "docs/configuration.md lists what reloads");
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let config = parse(ALL_CHANGED);
        let (next, reloaded) = config.reload(&config).unwrap();
        assert_eq!((next, reloaded), (config, Reloaded { applied: Vec::new(), need_restart: Vec::new() }));
    }

    #[test]
    fn what_would_not_fit_what_runs_is_refused() {
        let new = parse("[limits]\nbody_bytes = \"100MiB\"\n[history]\nbytes = \"200MiB\"");
        let error = Config::default().reload(&new).unwrap_err().to_string();
        let expected =
            "what can change now does not agree with what needs a restart: limits.body_bytes and history.bytes";
        assert!(error.starts_with(expected), "{error}");
        let invalid = parse("[limits]\nbody_bytes = \"100MiB\"");
        let error = Config::default().reload(&invalid).unwrap_err().to_string();
        assert!(error.starts_with("limits.body_bytes and history.bytes disagree"), "{error}");
    }
}
