//! What shards are told, and what can expire.

use std::net::TcpStream;
use std::time::Duration;

use crate::hub::close::CloseReason;
use crate::hub::registry::StreamKey;
use crate::hub::slab::SlabKey;
use crate::hub::subscribe::Subscribe;
use crate::ops::limits::INBOX_MESSAGE_BYTES;

use super::question::Question;

/// What a shard can be told.
#[allow(
    clippy::large_enum_variant,
    reason = "by value: a box made on one thread and freed on another is memory that \
                                              the first thread's heap keeps until it allocates again"
)]
pub enum Command {
    /// A new stream.
    Open {
        /// Its socket, non-blocking.
        socket: TcpStream,
        /// What was granted.
        subscribe: Subscribe,
    },
    /// Something expired.
    Timer(ShardTimer),
    /// End all streams, spread over `window`, each told to come back after about `retry`.
    Drain {
        /// Over how long they are spread.
        window: Duration,
        /// The mean of the jittered `retry:`.
        retry: Duration,
    },
    /// Answer a question about its streams.
    Look(Question),
    /// Close what is left and end the thread.
    Stop,
}

const _: () = assert!(size_of::<Command>() <= INBOX_MESSAGE_BYTES as usize);

/// What can expire.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Something of one shard.
    Shard(usize, ShardTimer),
    /// Events may have become too old.
    Retention,
    /// A schedule is due.
    Schedule(SlabKey),
    /// There is a new configuration.
    Reload,
}

/// What can expire in a shard.
#[derive(Clone, Copy, Debug)]
pub enum ShardTimer {
    /// The rest between two passes is over.
    Rest,
    /// The heartbeats' next slot is due.
    Heartbeat,
    /// The next streams are to be drained.
    Drain,
    /// A stream may have made no progress for too long.
    Progress(StreamKey),
    /// A stream has lasted as long as it may.
    End(StreamKey, CloseReason),
    /// A stream's own event is due.
    Beat(StreamKey),
    /// There is a new configuration.
    Reload,
}
