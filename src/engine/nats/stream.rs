//! The stream: made once, held against the settings, and known by its epoch.

use std::time::Duration;

use async_nats::Client;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::hub::id::Epoch;

use super::ClusterError;
use super::api::{self, Failed};
use super::names::Names;
use super::settings::Settings;

/// How long another node may take to make the stream.
const MAKING: Duration = Duration::from_millis(500);
/// Where the epoch stands in the stream's metadata.
const EPOCH: &str = "sluicegate.epoch";

/// What the server says of the stream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Info {
    config: Map<String, Value>,
    created: String,
    pub(super) state: State,
}

/// What it holds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct State {
    pub(super) messages: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// What tells one stream from another of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) epoch: Epoch,
    created: String,
}

impl Info {
    fn epoch(&self) -> Option<Epoch> {
        let text = self.config.get("metadata")?.get(EPOCH)?.as_str()?;
        Epoch::from_digits(text.as_bytes().try_into().ok()?)
    }

    /// Whether any replica answers who reads messages, and many at once.
    pub(super) fn allows_direct(&self) -> bool {
        self.config.get("allow_direct").and_then(Value::as_bool) == Some(true)
    }

    /// Which stream it is: none if no gateway has said so.
    pub(super) fn identity(&self) -> Option<Identity> {
        Some(Identity { epoch: self.epoch()?, created: self.created.clone() })
    }

    /// What is not as the settings say, or as it has to be, each by its name.
    fn differences(&self, settings: &Settings) -> Vec<(&'static str, &'static str, Value)> {
        let wanted = config(settings, &Names::new(&settings.namespace), None);
        let named = [
            ("cluster.replicas", "num_replicas"),
            ("cluster.storage", "storage"),
            ("cluster.history.events", "max_msgs"),
            ("cluster.history.bytes", "max_bytes"),
            ("cluster.history.age", "max_age"),
            ("cluster.duplicate_window", "duplicate_window"),
            ("allow_direct", "allow_direct"),
        ];
        let differs = named.into_iter().filter(|(_, key)| self.config.get(*key) != Some(&wanted[*key]));
        differs.map(|(setting, key)| (setting, key, wanted[key].clone())).collect()
    }

    /// Whether it is a stream of this namespace.
    pub(super) fn check(&self, names: &Names) -> Result<(), ClusterError> {
        let wrong = |text: String| Err(ClusterError(format!("the stream {}: {text}", names.stream)));
        let has: Vec<&str> = self
            .config
            .get("subjects")
            .and_then(Value::as_array)
            .map_or(Vec::new(), |subjects| subjects.iter().filter_map(Value::as_str).collect());
        let wanted = names.subjects();
        if !wanted.iter().all(|subject| has.contains(&subject.as_str())) {
            return wrong(format!("takes the subjects {has:?}, not {wanted:?}: cluster.namespace"));
        }
        if let Some(other) = ["mirror", "sources"].into_iter().find(|key| self.config.contains_key(*key)) {
            return wrong(format!("has {other}, and events that are published to it would not come back"));
        }
        match self.config.get("retention").and_then(Value::as_str) {
            Some("limits") | None => Ok(()),
            Some(other) => wrong(format!("its retention is {other:?}, \"limits\" is needed")),
        }
    }
}

/// The stream's configuration.
fn config(settings: &Settings, names: &Names, epoch: Option<Epoch>) -> Value {
    let nanos = |time: Duration| time.as_nanos() as u64;
    json!({
        "name": names.stream,
        "subjects": names.subjects(),
        "retention": "limits",
        "discard": "old",
        "max_consumers": -1,
        "max_msgs": settings.events,
        "max_bytes": settings.bytes,
        "max_age": settings.age.map_or(0, nanos),
        "storage": if settings.in_files { "file" } else { "memory" },
        "num_replicas": settings.replicas,
        "duplicate_window": nanos(settings.duplicate_window),
        "allow_direct": true,
        "metadata": { EPOCH: epoch.map(|epoch| epoch.to_string()) },
    })
}

/// Asks for the stream: `None` if there is none.
pub(super) async fn look(client: &Client, names: &Names) -> Result<Option<Info>, Failed> {
    match api::ask(client, &format!("STREAM.INFO.{}", names.stream), None).await {
        Ok(info) => Ok(Some(info)),
        Err(Failed::Refused(refusal)) if refusal.is_no_stream() => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// What is wrong, of an answer that says that something is: `None` where it may be right later.
pub(super) fn fault(failed: &Failed, names: &Names) -> Option<ClusterError> {
    let Failed::Refused(refusal) = failed else { return None };
    let text = match refusal {
        refusal if refusal.is_off() => format!("JetStream is not enabled there: {refusal}"),
        refusal if refusal.is_overlap() => {
            format!("another stream takes {:?}, the subjects of cluster.namespace: {refusal}", names.subjects())
        }
        // Not now: no leader, too much to do.
        refusal if matches!(refusal.code, 429 | 503) && refusal.err_code != 10074 => return None,
        refusal => format!("the stream {}: {refusal}", names.stream),
    };
    Some(ClusterError(text))
}

/// Makes the stream if it is missing, and returns what is there: another node may have been first.
///
/// # Errors
/// What the server says; why that is for good, is told by [`fault`].
pub(super) async fn make(
    client: &Client,
    settings: &Settings,
    names: &Names,
    epoch: Epoch,
) -> Result<Option<Info>, Failed> {
    let call = format!("STREAM.CREATE.{}", names.stream);
    let made = api::ask(client, &call, Some(config(settings, names, Some(epoch)))).await;
    match made {
        Ok(info) => Ok(Some(info)),
        // Whatever the server says: of several that make it at once one succeeds, and for what the others are refused
        // depends on how far it was. Two streams may be too much for its storage.
        Err(Failed::Refused(refusal)) => {
            if !refusal.is_name_in_use() {
                sleep(MAKING).await;
            }
            match look(client, names).await? {
                Some(info) => Ok(Some(info)),
                None => Err(Failed::Refused(refusal)),
            }
        }
        Err(failed) => Err(failed),
    }
}

/// Holds the stream against the settings, and changes it where that is asked for.
pub(super) async fn verify(
    client: &Client,
    settings: &Settings,
    names: &Names,
    info: &Info,
) -> Result<(), ClusterError> {
    info.check(names)?;
    let differences = info.differences(settings);
    if differences.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = differences.iter().map(|(setting, ..)| *setting).collect();
    if !settings.manage {
        tracing::warn!(stream = names.stream, settings = ?keys, "the stream is not as configured, and cluster.manage is off");
        return Ok(());
    }
    let mut config = info.config.clone();
    config.extend(differences.into_iter().map(|(_, key, value)| (key.to_owned(), value)));
    let changed =
        api::ask::<Info>(client, &format!("STREAM.UPDATE.{}", names.stream), Some(Value::Object(config))).await;
    match changed {
        Ok(_) => tracing::info!(stream = names.stream, settings = ?keys, "the stream was changed as configured"),
        Err(failed) => tracing::warn!(stream = names.stream, settings = ?keys, %failed, "the stream can't be changed"),
    }
    Ok(())
}

/// Writes a new epoch into the stream's metadata. Of several nodes the last counts: it has to be read again.
pub(super) async fn set_epoch(client: &Client, names: &Names, info: &Info, epoch: Epoch) -> Result<(), Failed> {
    let mut config = info.config.clone();
    let metadata = config.entry("metadata").or_insert_with(|| json!({}));
    if let Value::Object(metadata) = metadata {
        metadata.insert(EPOCH.to_owned(), Value::String(epoch.to_string()));
    }
    let subject = format!("STREAM.UPDATE.{}", names.stream);
    api::ask::<Info>(client, &subject, Some(Value::Object(config))).await.map(drop)
}

/// The sequence of the first message from this one on, as the leader has it: `None` if there is none.
pub(super) async fn next_sequence(client: &Client, names: &Names, from: u64) -> Result<Option<u64>, Failed> {
    #[derive(Deserialize)]
    struct Answer {
        message: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        seq: u64,
    }
    let subject = format!("STREAM.MSG.GET.{}", names.stream);
    match api::ask::<Answer>(client, &subject, Some(json!({ "seq": from, "next_by_subj": ">" }))).await {
        Ok(answer) => Ok(Some(answer.message.seq)),
        Err(Failed::Refused(refusal)) if refusal.is_no_message() => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// When the message with this sequence was stored, in nanoseconds since 1970: `None` if it is not there.
pub(super) async fn stored_ns(client: &Client, names: &Names, sequence: u64) -> Result<Option<u64>, Failed> {
    #[derive(Deserialize)]
    struct Answer {
        message: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        time: String,
    }
    let subject = format!("STREAM.MSG.GET.{}", names.stream);
    let time = match api::ask::<Answer>(client, &subject, Some(json!({ "seq": sequence }))).await {
        Ok(answer) => answer.message.time,
        Err(Failed::Refused(refusal)) if refusal.is_no_message() => return Ok(None),
        Err(failed) => return Err(failed),
    };
    let time = humantime::parse_rfc3339_weak(&time).map_err(|error| Failed::Unreadable(error.to_string()))?;
    Ok(Some(time.duration_since(std::time::SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)))
}
