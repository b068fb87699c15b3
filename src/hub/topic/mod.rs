//! Topics: their names, the numbers they have in this process, and who subscribes to what.

mod grants;
mod handle;
mod name;
mod sees;
mod subscription;

pub use grants::{Denied, Granted, Grants};
pub use handle::{Numbers, Release, TopicHandle, Topics, WeakTopic};
pub use name::{INTERNAL, Pattern, TOPIC_BYTES_MAX, Topic, is_internal};
pub use sees::Grant;
pub use subscription::{PATTERN_SEGMENTS_MAX, Subscription};

/// The most topics and patterns that one subscription or one event may name.
pub const TOPICS_MAX: usize = 128;

#[cfg(test)]
pub(crate) use handle::tests::{handle, table};
