//! `[cluster]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ops::limits::PERIOD_MS_MIN;
use crate::ops::units::{Count, GIB, KIB, Size, Time, TimeOrOff};

/// Where the servers keep events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Storage {
    /// In files.
    #[default]
    File,
    /// In memory: a restart of all of them forgets.
    Memory,
}

/// What streams are told where the servers lost events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Holes {
    /// That they did.
    #[default]
    Gap,
    /// Nothing, since an operator deletes messages by hand.
    Ignore,
}

/// What becomes of streams while the servers are out of reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WhileAway {
    /// They stay, and go on when the servers are back.
    #[default]
    Keep,
    /// They are ended when the gateway is no longer ready, to come back at another.
    Close,
}

/// A name in subjects and of the stream: letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

/// The address of a server: `nats://host:4222`, or `tls://host:4222`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl(String);

/// `[cluster]`: the stream on NATS servers that the gateways of a namespace share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Cluster {
    /// Which of the clusters that share the servers: gateways of one have one. Default: `default`.
    pub namespace: Namespace,
    /// The servers, of which one that answers is enough. Default: `nats://127.0.0.1:4222`.
    pub urls: Vec<ServerUrl>,
    /// A file that says who this is. Default: none.
    pub credentials: PathBuf,
    /// The certificate authorities that are trusted, in PEM; TLS is asked for then. Default: none.
    pub tls_ca: PathBuf,
    /// Whether the stream is made if it is missing when the gateway starts. Default: yes.
    pub create: bool,
    /// Whether the stream is changed to what is configured here. Default: no, and what differs is told.
    pub manage: bool,
    /// On how many servers the stream is. Default: 3.
    pub replicas: Count<1, 5>,
    /// Where they keep it. Default: `file`.
    pub storage: Storage,
    /// How much they keep.
    pub history: ClusterHistory,
    /// How long they know a publish call that comes again. Default: 60 seconds.
    pub duplicate_window: Time<1_000, 3_600_000>,
    /// How long a publish call is tried. Default: 10 seconds.
    pub publish_timeout: Time<100, 600_000>,
    /// How many messages are on the way at most. Default: 64.
    pub publish_in_flight: Count<1, 4096>,
    /// How long the engine may be away until the gateway is not ready. Default: 15 seconds.
    pub ready_grace: Time<0, 3_600_000>,
    /// What becomes of streams when the engine has been away for so long. Default: `keep`.
    pub away: WhileAway,
    /// What streams are told where events are missing on the servers. Default: `gap`.
    pub holes: Holes,
    /// A directory in which the gateway remembers what it saw last. Default: none.
    pub state_dir: PathBuf,
}

/// `[cluster.history]`: how much the servers keep. The first bound that is reached holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClusterHistory {
    /// The most publish calls. Default: 1,000,000.
    pub events: Count<1, 1_000_000_000>,
    /// The most bytes. Default: 1 GiB.
    pub bytes: Size<KIB, { 1024 * GIB }>,
    /// How long each is kept; `0s` is without a bound. Default: 24 hours.
    pub age: TimeOrOff<PERIOD_MS_MIN>,
}

impl Cluster {
    /// What two of its settings must agree on: both keys, and why they don't.
    pub(super) fn conflict(&self) -> Option<([&'static str; 2], String)> {
        let (timeout, window) = (self.publish_timeout, self.duplicate_window);
        if timeout.get() * 2 >= window.get() {
            let reason = format!(
                "a call that is tried for {timeout} is only known for {window}: more than twice as long is needed"
            );
            return Some((["cluster.publish_timeout", "cluster.duplicate_window"], reason));
        }
        let age = self.history.age.get();
        if age.is_some_and(|age| age < window.get()) {
            let reason = format!("calls are known for {window}, and kept for less");
            return Some((["cluster.duplicate_window", "cluster.history.age"], reason));
        }
        if self.urls.is_empty() {
            return Some((["engine", "cluster.urls"], "the nats engine needs a server".to_owned()));
        }
        None
    }

    /// The same, as the engine takes it.
    #[cfg(feature = "nats")]
    pub fn settings(&self, memory_events: u64) -> crate::engine::nats::settings::Settings {
        let path = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
        crate::engine::nats::settings::Settings {
            namespace: self.namespace.0.clone(),
            urls: self.urls.iter().map(|url| url.0.clone()).collect(),
            credentials: path(&self.credentials),
            tls_ca: path(&self.tls_ca),
            create: self.create,
            manage: self.manage,
            replicas: self.replicas.as_usize(),
            in_files: self.storage == Storage::File,
            events: self.history.events.get(),
            bytes: self.history.bytes.get(),
            age: self.history.age.get(),
            duplicate_window: self.duplicate_window.get(),
            publish_timeout: self.publish_timeout.get(),
            publish_in_flight: self.publish_in_flight.as_usize(),
            ready_grace: self.ready_grace.get(),
            tells_holes: self.holes == Holes::Gap,
            state_dir: path(&self.state_dir),
            memory_events,
        }
    }
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            namespace: Namespace("default".to_owned()),
            urls: vec![ServerUrl("nats://127.0.0.1:4222".to_owned())],
            credentials: PathBuf::new(),
            tls_ca: PathBuf::new(),
            create: true,
            manage: false,
            replicas: Count::new(3),
            storage: Storage::default(),
            history: ClusterHistory::default(),
            duplicate_window: Time::from_millis(60_000),
            publish_timeout: Time::from_millis(10_000),
            publish_in_flight: Count::new(64),
            ready_grace: Time::from_millis(15_000),
            away: WhileAway::default(),
            holes: Holes::default(),
            state_dir: PathBuf::new(),
        }
    }
}

impl Default for ClusterHistory {
    fn default() -> ClusterHistory {
        let age = TimeOrOff::from_millis(86_400_000);
        ClusterHistory { events: Count::new(1_000_000), bytes: Size::new(GIB), age }
    }
}

impl TryFrom<String> for Namespace {
    type Error = String;

    fn try_from(text: String) -> Result<Namespace, String> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if !is_plain || !(1..=32).contains(&text.len()) {
            return Err(format!("{text:?} is no namespace: 1 to 32 letters, digits, _ and - are"));
        }
        Ok(Namespace(text))
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = String;

    fn try_from(text: String) -> Result<ServerUrl, String> {
        let wrong = |what: &str| Err(format!("{what}, as in \"nats://127.0.0.1:4222\" or \"tls://nats.example\""));
        let Some(host) = ["nats://", "tls://"].iter().find_map(|scheme| text.strip_prefix(scheme)) else {
            return wrong("a server has the scheme nats:// or tls://");
        };
        if host.contains('@') {
            return Err("who this is stands in the file cluster.credentials, and not in an address".to_owned());
        }
        let is_address = host.parse::<http::uri::Authority>().is_ok_and(|authority| {
            let has_port = authority.host() != host;
            !authority.host().is_empty() && (!has_port || authority.port_u16().is_some())
        });
        if !is_address {
            return wrong(&format!("{text:?} is no address of a server"));
        }
        Ok(ServerUrl(text))
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> String {
        namespace.0
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> String {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_plain_name_and_a_server_an_address() {
        for (good, bad) in [("a", ""), ("Prod-eu_1", "a.b"), ("0", "a*"), ("a-b", "a b")] {
            assert!(Namespace::try_from(good.to_owned()).is_ok() && Namespace::try_from(bad.to_owned()).is_err());
        }
        assert!(Namespace::try_from("n".repeat(33)).is_err());
        for good in ["nats://h", "nats://127.0.0.1:4222", "tls://[::1]:4222", "nats://a.example:1"] {
            assert!(ServerUrl::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["h:4222", "http://h", "nats://", "nats://h/x", "nats://h:x", "nats://u:p@h", "nats://a b"] {
            assert!(ServerUrl::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let told = ServerUrl::try_from("nats://user:secret@h".to_owned()).unwrap_err();
        assert!(told.contains("cluster.credentials") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn a_call_is_known_for_longer_than_it_is_tried() {
        let with = |timeout_ms, window_ms, age_ms| {
            let history = ClusterHistory { age: TimeOrOff::from_millis(age_ms), ..ClusterHistory::default() };
            let (publish_timeout, duplicate_window) = (Time::from_millis(timeout_ms), Time::from_millis(window_ms));
            let cluster = Cluster { publish_timeout, duplicate_window, history, ..Cluster::default() };
            cluster.conflict().map(|(keys, _)| keys)
        };
        assert_eq!((with(10_000, 20_001, 86_400_000), Cluster::default().conflict()), (None, None));
        assert_eq!(with(10_000, 20_000, 86_400_000), Some(["cluster.publish_timeout", "cluster.duplicate_window"]));
        assert_eq!(with(10_000, 60_000, 59_999), Some(["cluster.duplicate_window", "cluster.history.age"]));
    }
}
