//! Why a stream has a gap: one enum, used as a metric label and in the in-band notice.

/// Why events that a stream should have got were not sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The id to resume after is none that the log ever gave or was given.
    UnknownId,
    /// The events after the id to resume from are no longer kept.
    Expired,
    /// The id to resume after is of another run of the log.
    ForeignEpoch,
    /// The stream fell off the log's tail while it was open.
    Lagged,
    /// Older events of a key were left out in favour of the newest.
    Conflated,
}

impl GapReason {
    /// All reasons, in order of their discriminants.
    pub const ALL: [GapReason; 5] =
        [GapReason::UnknownId, GapReason::Expired, GapReason::ForeignEpoch, GapReason::Lagged, GapReason::Conflated];

    /// The reason as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            GapReason::UnknownId => "unknown_id",
            GapReason::Expired => "expired",
            GapReason::ForeignEpoch => "foreign_epoch",
            GapReason::Lagged => "lagged",
            GapReason::Conflated => "conflated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_order_of_the_discriminants() {
        for (i, reason) in GapReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
    }
}
