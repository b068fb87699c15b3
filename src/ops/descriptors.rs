//! File descriptors: each stream takes one, so their limit is the ceiling of open streams.

use std::io;

use super::config::{Config, Limits};
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

/// The hard limit, to which [`raise`] raises the soft one.
///
/// # Errors
/// If it can't be read.
pub fn highest() -> io::Result<u64> {
    Ok(rlimit::Resource::NOFILE.get()?.1)
}

/// Fewer streams than this are odd, where nobody asked for so few.
const STREAMS_FEW: u64 = 100;

/// A shard's own descriptors: its epoll set, and what wakes it.
const A_SHARD: u64 = 2;
/// An acceptor's own: its runtime's epoll set, twice, what wakes it, and its end of the signals.
const AN_ACCEPTOR: u64 = 4;
/// What an acceptor has for each address: the listening socket, and a connection that waits for a slot.
const AN_ADDRESS: u64 = 2;
/// Those of the process: the standard streams, the runtime that waits for signals, the configuration as
/// it is read again, `/proc` as it is read for a scrape, the disk engine's lock, its newest segment and those
/// that it makes, reads or removes, or the NATS engine's three runtimes and connections, and some to spare.
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

/// There are not even descriptors for the gateway itself and one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit on open files is {limit}, and the gateway needs {needed} of them to begin with")]
pub struct TooFewDescriptors {
    /// The limit.
    pub limit: u64,
    /// The least that it may be.
    pub needed: u64,
}

impl Own {
    /// Those of the gateway that this configuration describes.
    pub fn of(config: &Config) -> Own {
        Own {
            shards: config.shards.or_cores(),
            acceptors: config.acceptors.or_cores(),
            addresses: config.listen.addresses().len() + config.tls.addresses().len(),
            control: true,
            health: config.health.address().is_some(),
        }
    }

    /// How many they are, those of all connections to the operator's listeners included.
    pub fn descriptors(&self) -> u64 {
        let private = |is_there, connections: u64| if is_there { AN_ACCEPTOR + AN_ADDRESS + connections } else { 0 };
        THE_PROCESS
            + self.shards as u64 * A_SHARD
            + self.acceptors as u64 * (AN_ACCEPTOR + self.addresses as u64 * AN_ADDRESS)
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
    few: bool,
}

impl Plan {
    /// Shares out `limit` descriptors. Connections get no more than half of what the gateway leaves.
    ///
    /// # Errors
    /// If it leaves none for a stream and a connection.
    pub fn new(limit: u64, own: &Own, limits: &Limits) -> Result<Plan, TooFewDescriptors> {
        let own = own.descriptors();
        let needed = own + 2;
        let sockets = if limit < needed { return Err(TooFewDescriptors { limit, needed }) } else { limit - own };
        let connections = limits.connections.get().min(sockets / 2);
        let room = sockets - connections;
        let wanted = limits.streams.get();
        let streams = if wanted == 0 { room } else { wanted.min(room) };
        let few = room < STREAMS_FEW && streams == room;
        let streams_wanted = (wanted > streams).then_some(wanted);
        Ok(Plan { limit, own, connections, streams, streams_wanted, few })
    }

    /// What is odd about it, but no reason not to start.
    pub fn oddities(&self) -> Vec<&'static str> {
        let lowered = "limits.streams is lowered: raise the limit on open files";
        let few = "there are descriptors for few streams only: raise the limit on open files";
        [(self.streams_wanted.is_some(), lowered), (self.few, few)]
            .into_iter()
            .filter_map(|(is_so, oddity)| is_so.then_some(oddity))
            .collect()
    }

    /// Logs the plan, and what is odd about it.
    pub fn log(&self) {
        let Plan { limit, own, connections, streams, .. } = *self;
        tracing::info!(limit, own, connections, streams, "open files are shared out");
        for oddity in self.oddities() {
            tracing::warn!(wanted = self.streams_wanted, streams, limit, "{oddity}");
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
        let plan = Plan::new(limit, &OWN, &Limits { streams: Count::new(streams), ..Limits::default() }).unwrap();
        assert_eq!((plan.connections, plan.streams, plan.streams_wanted.is_some()), expected);
        assert!(plan.own + plan.connections + plan.streams <= limit, "{plan:?}");
        let few = plan.oddities().iter().any(|oddity| oddity.contains("few streams"));
        assert_eq!(few, plan.streams < 100 && (streams == 0 || streams > plan.streams), "{plan:?}");
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
        check(236 + 100, 3, (50, 3, false));
        check(236 + 100, 51, (50, 50, true));
        check(236 + 198, 0, (99, 99, false));
        check(236 + 200, 0, (100, 100, false));
        check(236 + 2, 0, (1, 1, false));
        let too_few = Plan::new(236 + 1, &OWN, &Limits::default()).unwrap_err();
        assert_eq!((too_few.limit, too_few.needed), (237, 238));
    }

    #[test]
    fn threads_have_descriptors_of_their_own() {
        let many = Own { shards: 64, acceptors: 64, addresses: 64, control: true, health: false };
        assert_eq!(many.descriptors(), 32 + 128 + 64 * (4 + 128) + 150);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let raised = raise().unwrap();
        assert_eq!(rlimit::Resource::NOFILE.get().unwrap(), (raised, raised));
    }
}
