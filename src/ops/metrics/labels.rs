//! The values of labels that are nobody else's enum.

use strum::{AsRefStr, VariantArray};

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Source {
    /// A publish request.
    Http,
    /// A schedule.
    Schedule,
    /// A caller in the same process.
    Library,
}

/// Why a stream was shed: answered with a `retry:` and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Shed {
    /// As many streams are open as may be.
    Full,
    /// The shard's inbox was full.
    InboxFull,
    /// The gateway is shutting down.
    Draining,
}

/// Which of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Listener {
    /// The public one, for streams.
    Public,
    /// The operator's.
    Control,
    /// For probes and scrapes.
    Health,
}
