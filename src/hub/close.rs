//! Why a stream ended: one enum, used as a metric label and as a log field.

/// Why a stream was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed the connection, or its kernel did.
    ClientGone,
    /// A write failed with anything but "the client is gone".
    WriteError,
    /// The client took no byte for the whole write deadline.
    WriteDeadline,
    /// The stream fell off the log's tail and its policy is to disconnect.
    Lagged,
    /// The response reached the number of events that the client had asked for.
    MaxEvents,
    /// The response reached the time that the client had asked for.
    MaxSeconds,
    /// The stream reached the greatest age that is configured.
    Rotated,
    /// The gateway is shutting down.
    Drained,
    /// The gateway ended while the stream was still behind.
    Cut,
    /// The client sent bytes after its request.
    ClientData,
}

impl CloseReason {
    /// All reasons, in order of their discriminants.
    pub const ALL: [CloseReason; 10] = [
        CloseReason::ClientGone,
        CloseReason::WriteError,
        CloseReason::WriteDeadline,
        CloseReason::Lagged,
        CloseReason::MaxEvents,
        CloseReason::MaxSeconds,
        CloseReason::Rotated,
        CloseReason::Drained,
        CloseReason::Cut,
        CloseReason::ClientData,
    ];

    /// Whether the response ended as a response should.
    pub const fn is_proper(self) -> bool {
        matches!(self, CloseReason::MaxEvents | CloseReason::MaxSeconds | CloseReason::Rotated | CloseReason::Drained)
    }

    /// The reason as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            CloseReason::ClientGone => "client_gone",
            CloseReason::WriteError => "write_error",
            CloseReason::WriteDeadline => "write_deadline",
            CloseReason::Lagged => "lagged",
            CloseReason::MaxEvents => "max_events",
            CloseReason::MaxSeconds => "max_seconds",
            CloseReason::Rotated => "rotated",
            CloseReason::Drained => "drained",
            CloseReason::Cut => "cut",
            CloseReason::ClientData => "client_data",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_order_of_the_discriminants() {
        for (i, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
    }
}
