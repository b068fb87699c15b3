//! Why a stream ended: one enum, used as a metric label and as a log field.

use strum::{AsRefStr, VariantArray};

/// Why a stream was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CloseReason {
    /// The client closed the connection, or its kernel did.
    ClientGone,
    /// A write failed with anything but "the client is gone".
    WriteError,
    /// The client took no byte, or too few, for the whole write deadline.
    WriteDeadline,
    /// The stream had begun an event that has left the log since, and streams behind hold more of those than they may.
    Pinned,
    /// Events that the stream still had to get left the log, and its policy is to disconnect.
    Lagged,
    /// The response reached the number of events that the client had asked for.
    MaxEvents,
    /// The response reached the time that the client had asked for.
    MaxSeconds,
    /// The stream reached the greatest age that is configured.
    Rotated,
    /// The token that the stream was opened with has expired.
    TokenExpired,
    /// The token that the stream was opened with was revoked.
    TokenRevoked,
    /// The ticket that the stream was opened with has opened another.
    Superseded,
    /// The gateway is shutting down.
    Drained,
    /// The gateway ended while the stream was still behind.
    Cut,
    /// The client sent bytes after its request.
    ClientData,
}

impl CloseReason {
    /// Whether the response ended as a response should.
    pub const fn is_proper(self) -> bool {
        match self {
            CloseReason::MaxEvents | CloseReason::MaxSeconds | CloseReason::Rotated | CloseReason::Drained => true,
            CloseReason::TokenExpired | CloseReason::TokenRevoked | CloseReason::Superseded => true,
            CloseReason::ClientGone | CloseReason::WriteError | CloseReason::WriteDeadline | CloseReason::Pinned => {
                false
            }
            CloseReason::Lagged | CloseReason::Cut | CloseReason::ClientData => false,
        }
    }
}
