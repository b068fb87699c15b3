//! File descriptors: each stream takes one, so their limit is the ceiling of open streams.

use std::io;

use super::config::Limits;
use super::limits::DESCRIPTORS_RESERVED;

/// Raises the soft limit on open descriptors to the hard one, and returns it.
///
/// # Errors
/// If the limit can't be read or set.
pub fn raise() -> io::Result<u64> {
    rlimit::increase_nofile_limit(rlimit::INFINITY)
}

/// How the descriptors are shared out.
///
/// ```text
/// limit = reserved (256) + connections (at most a quarter of the limit) + streams
/// ```
///
/// Invariant: the three add up to no more than the limit, unless the limit is too low for even one
/// stream and one connection; then each is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The limit on open descriptors.
    pub limit: u64,
    /// How many streams may be open.
    pub streams: u64,
    /// How many connections that are no streams may be open.
    pub connections: u64,
    /// `limits.streams`, if that is more than there are descriptors for.
    pub streams_wanted: Option<u64>,
}

impl Plan {
    /// Shares out `limit` descriptors.
    pub fn new(limit: u64, limits: &Limits) -> Plan {
        let connections = limits.connections.get().min(limit / 4).max(1);
        let room = limit.saturating_sub(DESCRIPTORS_RESERVED + connections).max(1);
        let wanted = limits.streams.get();
        let streams = if wanted == 0 { room } else { wanted.min(room) };
        let streams_wanted = (wanted > streams).then_some(wanted);
        Plan { limit, streams, connections, streams_wanted }
    }

    /// Logs the plan, and warns if `limits.streams` had to be lowered.
    pub fn log(&self) {
        let Plan { limit, streams, connections, .. } = *self;
        tracing::info!(limit, streams, connections, "descriptors");
        if let Some(wanted) = self.streams_wanted {
            tracing::warn!(wanted, streams, limit, "limits.streams is lowered: raise the limit on open files");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::units::Count;

    #[track_caller]
    fn check(limit: u64, streams: u64, connections: u64, expected: (u64, u64, bool)) {
        let limits = Limits { streams: Count::new(streams), connections: Count::new(connections), ..Limits::default() };
        let plan = Plan::new(limit, &limits);
        assert_eq!((plan.streams, plan.connections, plan.streams_wanted.is_some()), expected);
    }

    #[test]
    fn descriptors_are_shared_out() {
        check(1_048_576, 0, 1024, (1_048_576 - 1280, 1024, false));
        check(1_048_576, 20_000, 1024, (20_000, 1024, false));
        check(10_000, 8719, 1024, (8719, 1024, false));
        check(10_000, 8720, 1024, (8720, 1024, false));
        check(10_000, 8721, 1024, (8720, 1024, true));
        check(1024, 0, 1024, (512, 256, false));
        check(1024, 1000, 100, (668, 100, true));
        check(100, 0, 10, (1, 10, false));
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let limit = raise().unwrap();
        assert!(limit > 0);
        assert_eq!(raise().unwrap(), limit);
    }
}
