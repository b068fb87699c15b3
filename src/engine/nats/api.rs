//! Requests to the JetStream API, and what can become of them.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// There is no such stream.
const NO_STREAM: u32 = 10059;
/// There is one of that name, and it is another.
const NAME_IN_USE: u32 = 10058;
/// Another stream has one of the subjects.
const SUBJECTS_OVERLAP: u32 = 10065;
/// There is no message with that sequence.
const NO_MESSAGE: u32 = 10037;
/// JetStream is off, for the server or for the account.
const OFF: [u32; 2] = [10076, 10039];

/// An error that the server answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: u16,
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    pub(super) description: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.description, self.err_code)
    }
}

impl Refusal {
    pub(super) fn is_no_stream(&self) -> bool {
        self.err_code == NO_STREAM
    }

    pub(super) fn is_name_in_use(&self) -> bool {
        self.err_code == NAME_IN_USE
    }

    pub(super) fn is_overlap(&self) -> bool {
        self.err_code == SUBJECTS_OVERLAP
    }

    pub(super) fn is_no_message(&self) -> bool {
        self.err_code == NO_MESSAGE
    }

    pub(super) fn is_off(&self) -> bool {
        OFF.contains(&self.err_code)
    }
}

/// Why there is no answer that could be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nobody listens: there is no JetStream, or not yet.
    NoResponders,
    /// No answer in time, or no connection.
    Silent,
    /// This.
    Refused(Refusal),
    /// It is no answer of the API.
    Unreadable(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::NoResponders => f.write_str("JetStream does not answer"),
            Failed::Silent => f.write_str("no answer in time"),
            Failed::Refused(refusal) => refusal.fmt(f),
            Failed::Unreadable(error) => write!(f, "an answer that can't be read: {error}"),
        }
    }
}

/// Asks the API.
pub(super) async fn ask<T: DeserializeOwned>(client: &Client, call: &str, body: Option<Value>) -> Result<T, Failed> {
    let payload = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = Request::new().payload(payload.into()).timeout(Some(ANSWER));
    let answer = client.send_request(format!("$JS.API.{call}"), request).await;
    let answer = answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => Failed::NoResponders,
        _ => Failed::Silent,
    })?;
    read(&answer.payload)
}

/// Reads an answer: of the API, or to a message.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failed> {
    #[derive(Deserialize)]
    struct Error {
        error: Option<Refusal>,
    }
    let unreadable = |error: serde_json::Error| Failed::Unreadable(error.to_string());
    if let Some(refusal) = serde_json::from_slice::<Error>(bytes).map_err(unreadable)?.error {
        return Err(Failed::Refused(refusal));
    }
    serde_json::from_slice(bytes).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_asked_for_or_an_error() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Ack {
            seq: u64,
        }
        assert_eq!(read::<Ack>(br#"{"stream":"S","seq":7}"#), Ok(Ack { seq: 7 }));
        let refused = read::<Ack>(br#"{"error":{"code":503,"err_code":10077,"description":"no room"}}"#).unwrap_err();
        let Failed::Refused(refusal) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.to_string(), "no room (10077)");
        for other in ["", "{}", "[]", r#"{"seq":"7"}"#] {
            assert!(matches!(read::<Ack>(other.as_bytes()), Err(Failed::Unreadable(_))), "{other}");
        }
    }
}
