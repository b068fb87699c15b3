//! File descriptors: each stream takes one, so their limit is the ceiling of open streams.

use std::io;

use super::config::Limits;
use super::limits::{CONNECTIONS_RESERVED, DESCRIPTORS_RESERVED};

/// Raises the soft limit on open descriptors to the hard one, and returns it.
///
/// # Errors
/// If the limit can't be read or set.
pub fn raise() -> io::Result<u64> {
    rlimit::increase_nofile_limit(rlimit::INFINITY)
}

/// The soft limit on open descriptors.
///
/// # Errors
/// If it can't be read.
pub fn current() -> io::Result<u64> {
    Ok(rlimit::Resource::NOFILE.get()?.0)
}

/// How the descriptors are shared out.
///
/// ```text
/// limit = 256 for the gateway's own + sockets;  sockets = 512 at least for connections + streams
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The limit on open descriptors.
    pub limit: u64,
    /// How many sockets may be open, streams and connections together.
    pub sockets: u64,
    /// How many streams may be open.
    pub streams: u64,
    /// `limits.streams`, if that is more than there are descriptors for.
    pub streams_wanted: Option<u64>,
}

impl Plan {
    /// Shares out `limit` descriptors. However low it is, one stream may be open.
    pub fn new(limit: u64, limits: &Limits) -> Plan {
        let sockets = limit.saturating_sub(DESCRIPTORS_RESERVED).max(2);
        let room = sockets.saturating_sub(CONNECTIONS_RESERVED).max(1);
        let wanted = limits.streams.get();
        let streams = if wanted == 0 { room } else { wanted.min(room) };
        Plan { limit, sockets, streams, streams_wanted: (wanted > streams).then_some(wanted) }
    }

    /// Logs the plan, and warns if `limits.streams` had to be lowered.
    pub fn log(&self) {
        let Plan { limit, sockets, streams, .. } = *self;
        tracing::info!(limit, sockets, streams, "open files are shared out");
        if let Some(wanted) = self.streams_wanted {
            tracing::warn!(wanted, streams, limit, "limits.streams is lowered: raise the limit on open files");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::units::Count;
    use super::*;

    #[track_caller]
    fn check(limit: u64, streams: u64, expected: (u64, u64, bool)) {
        let plan = Plan::new(limit, &Limits { streams: Count::new(streams), ..Limits::default() });
        assert_eq!((plan.sockets, plan.streams, plan.streams_wanted.is_some()), expected);
    }

    #[test]
    fn streams_take_what_the_others_leave() {
        check(20_000, 0, (19_744, 19_232, false));
        check(20_000, 19_231, (19_744, 19_231, false));
        check(20_000, 19_232, (19_744, 19_232, false));
        check(20_000, 19_233, (19_744, 19_232, true));
        check(256 + 513, 0, (513, 1, false));
        check(100, 0, (2, 1, false));
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let raised = raise().unwrap();
        assert_eq!(rlimit::Resource::NOFILE.get().unwrap(), (raised, raised));
    }
}
