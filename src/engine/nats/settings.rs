//! What the engine is told by the configuration.

use std::path::PathBuf;
use std::time::Duration;

/// How the engine is reached, and what it keeps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which of the clusters that share the servers.
    pub namespace: String,
    /// The servers.
    pub urls: Vec<String>,
    /// A file that says who this is.
    pub credentials: Option<PathBuf>,
    /// The certificate authorities that are trusted, if TLS is asked for.
    pub tls_ca: Option<PathBuf>,
    /// Whether the stream is made if it is missing.
    pub create: bool,
    /// Whether the stream is changed if it is not as configured.
    pub manage: bool,
    /// On how many servers it is.
    pub replicas: usize,
    /// Whether it is in files there.
    pub in_files: bool,
    /// How many messages it keeps,
    pub events: u64,
    /// how many bytes,
    pub bytes: u64,
    /// and how long each.
    pub age: Option<Duration>,
    /// How long the server knows a publish call that comes again.
    pub duplicate_window: Duration,
    /// How long a publish call is tried.
    pub publish_timeout: Duration,
    /// How many messages may be on the way.
    pub publish_in_flight: usize,
    /// How long it may be away until the gateway is not ready.
    pub ready_grace: Duration,
    /// Whether streams are told where the server lost messages.
    pub tells_holes: bool,
    /// Where a node remembers what it saw last.
    pub state_dir: Option<PathBuf>,
    /// How many events memory keeps.
    pub memory_events: u64,
}

/// Settings of a test.
#[cfg(test)]
pub(super) fn settings() -> Settings {
    Settings {
        namespace: "n".to_owned(),
        urls: vec!["nats://127.0.0.1:4222".to_owned()],
        credentials: None,
        tls_ca: None,
        create: true,
        manage: false,
        replicas: 1,
        in_files: true,
        events: 1_000,
        bytes: 1 << 20,
        age: None,
        duplicate_window: Duration::from_secs(60),
        publish_timeout: Duration::from_secs(10),
        publish_in_flight: 64,
        ready_grace: Duration::ZERO,
        tells_holes: true,
        state_dir: None,
        memory_events: 1_000,
    }
}
