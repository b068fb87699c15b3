//! Gaps: what a stream that missed events gets in their place.

use strum::{AsRefStr, EnumString, VariantArray};

use super::frame::Chunk;
use super::id::EventId;

/// Why a stream missed events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum GapReason {
    /// The id it wants to resume after is not in the log.
    UnknownId,
    /// Events after the id it wants to resume after have left the log.
    Expired,
    /// The id it had last is from an earlier life of the log, or of what the engine keeps.
    ForeignEpoch,
    /// Events that it still had to get left the log, and its policy is `skip` or `conflate`.
    Lagged,
    /// Its policy is `conflate`, and newer events of the same keys stood for those it missed.
    Conflated,
    /// Events that come here are damaged or missing where the engine keeps them.
    Lost,
}

/// The event that tells a stream of a gap: between the events `from` and `to`, some are missing.
/// `from` is what the stream had last (null when unknown), `to` the last id that is missing.
///
/// Its id is the one to resume after, if that moves: a client that reconnects now goes on from there
/// and gets no further gap.
pub fn gap(from: Option<&str>, to: EventId, reason: GapReason, resumes_after: Option<EventId>) -> Chunk {
    let id = resumes_after.map_or(String::new(), |id| format!("id: {id}\n"));
    let from = from.map_or("null".to_owned(), json_string);
    let reason = reason.as_ref();
    Chunk::new(&format!("event: gap\n{id}data: {{\"from\":{from},\"to\":\"{to}\",\"reason\":\"{reason}\"}}\n\n"))
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::frame::Framing;
    use crate::hub::id::Epoch;

    #[test]
    fn a_gap_is_an_event_of_its_own() {
        let gap = gap(Some("a\"b"), Epoch::new(1).id(5), GapReason::Expired, Some(Epoch::new(1).id(5)));
        assert_eq!(
            std::str::from_utf8(gap.wire(Framing::Close)).unwrap(),
            "event: gap\nid: 00000001-000000000005\n\
             data: {\"from\":\"a\\\"b\",\"to\":\"00000001-000000000005\",\"reason\":\"expired\"}\n\n"
        );
    }
}
