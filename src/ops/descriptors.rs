//! File descriptors: each stream takes one, so their limit is the ceiling of open streams.

use std::io;

use super::config::Limits;
use super::limits::{CONTROL_CONNECTIONS_MAX, HEALTH_CONNECTIONS_MAX};

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

/// A shard's own descriptors: its epoll set, and what wakes it.
const A_SHARD: u64 = 2;
/// An acceptor's own: its runtime's epoll set, twice, what wakes it, its end of the signals, and a
/// connection that waits for a seat.
const AN_ACCEPTOR: u64 = 5;
/// Those of the process: the standard streams, the runtime that waits for signals, the configuration as
/// it is read again, `/proc` as it is read for a scrape, and some to spare.
const THE_PROCESS: u64 = 32;

/// Who has descriptors of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Threads that write to streams.
    pub shards: usize,
    /// Threads that accept connections to the public listener.
    pub acceptors: usize,
    /// Addresses that each of them accepts from.
    pub addresses: usize,
    /// Whether there is a control listener.
    pub control: bool,
    /// Whether there is a health listener.
    pub health: bool,
}

impl Own {
    /// How many they are, those of all connections to the operator's listeners included.
    pub fn descriptors(&self) -> u64 {
        let private = |is_there, connections: u64| if is_there { AN_ACCEPTOR + 1 + connections } else { 0 };
        THE_PROCESS
            + self.shards as u64 * A_SHARD
            + self.acceptors as u64 * (AN_ACCEPTOR + self.addresses as u64)
            + private(self.control, CONTROL_CONNECTIONS_MAX)
            + private(self.health, HEALTH_CONNECTIONS_MAX)
    }
}

/// How the descriptors are shared out.
///
/// ```text
/// limit = the gateway's own + connections + streams
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The limit on open descriptors.
    pub limit: u64,
    /// The gateway's own.
    pub own: u64,
    /// How many connections to the public listener may be open that are no streams.
    pub connections: u64,
    /// How many streams may be open.
    pub streams: u64,
    /// `limits.streams`, if that is more than there are descriptors for.
    pub streams_wanted: Option<u64>,
}

impl Plan {
    /// Shares out `limit` descriptors. However low it is, one stream may be open; connections get no
    /// more than half of what the gateway leaves.
    pub fn new(limit: u64, own: &Own, limits: &Limits) -> Plan {
        let own = own.descriptors();
        let sockets = limit.saturating_sub(own).max(2);
        let connections = limits.connections.get().min(sockets / 2);
        let room = sockets - connections;
        let wanted = limits.streams.get();
        let streams = if wanted == 0 { room } else { wanted.min(room) };
        Plan { limit, own, connections, streams, streams_wanted: (wanted > streams).then_some(wanted) }
    }

    /// Logs the plan, and warns if `limits.streams` had to be lowered.
    pub fn log(&self) {
        let Plan { limit, own, connections, streams, .. } = *self;
        tracing::info!(limit, own, connections, streams, "open files are shared out");
        if let Some(wanted) = self.streams_wanted {
            tracing::warn!(wanted, streams, limit, "limits.streams is lowered: raise the limit on open files");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::units::Count;
    use super::*;

    const OWN: Own = Own { shards: 2, acceptors: 2, addresses: 1, control: true, health: true };

    #[track_caller]
    fn check(limit: u64, streams: u64, expected: (u64, u64, bool)) {
        let plan = Plan::new(limit, &OWN, &Limits { streams: Count::new(streams), ..Limits::default() });
        assert_eq!((plan.connections, plan.streams, plan.streams_wanted.is_some()), expected);
        assert!(plan.own + plan.connections + plan.streams <= limit.max(plan.own + 2), "{plan:?}");
    }

    #[test]
    fn streams_take_what_the_others_leave() {
        // 32, 2 x 2, 2 x 6, 6 + 144, 6 + 32
        assert_eq!(OWN.descriptors(), 236);
        check(20_000, 0, (512, 19_252, false));
        check(20_000, 19_251, (512, 19_251, false));
        check(20_000, 19_252, (512, 19_252, false));
        check(20_000, 19_253, (512, 19_252, true));
        check(236 + 1024, 0, (512, 512, false));
        check(236 + 100, 0, (50, 50, false));
        check(100, 0, (1, 1, false));
    }

    #[test]
    fn threads_have_descriptors_of_their_own() {
        let many = Own { shards: 64, acceptors: 64, addresses: 64, control: true, health: false };
        assert_eq!(many.descriptors(), 32 + 128 + 64 * 69 + 150);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let raised = raise().unwrap();
        assert_eq!(rlimit::Resource::NOFILE.get().unwrap(), (raised, raised));
    }
}
