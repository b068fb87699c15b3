//! What is sent to shards, and what can expire.

use crate::hub::shard::{Message, ShardTimer};
use crate::hub::slab::SlabKey;
use crate::ops::limits::INBOX_MESSAGE_BYTES;

use super::question::Question;
use super::sink::Handover;

/// What can be sent to a shard. By value: a box made on one thread and freed on another is memory that the first
/// thread's heap keeps until it allocates again.
pub type Command = Message<Handover, Question>;

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
