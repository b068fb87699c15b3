//! The values of labels that are nobody else's enum.

use strum::{AsRefStr, VariantArray};

use crate::engine::{NotStored, Stored};

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

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum TokenResult {
    /// It was verified.
    Verified,
    /// It had been verified before.
    Remembered,
    /// It is not good.
    Refused,
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

/// What became of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Handshake {
    /// A new session.
    Full,
    /// One that was taken up again by a ticket.
    Resumed,
    /// The client spoke HTTP without TLS.
    PlainHttp,
    /// The client can't or won't, or has gone.
    Failed,
    /// It was not over in time.
    Late,
}

/// What an engine made of a publish call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum EngineResult {
    /// It is published.
    Stored,
    /// It was, by a call with its idempotency key.
    Duplicate,
    /// Not now.
    Busy,
    /// It can't be stored.
    Refused,
    /// It is larger than the engine takes.
    TooLarge,
    /// Its idempotency key came with other events before.
    KeyReused,
    /// That is unknown.
    Unknown,
}

impl EngineResult {
    pub(super) fn of(answer: &Result<Stored, NotStored>) -> EngineResult {
        match answer {
            Ok(Stored { duplicate: false, .. }) => EngineResult::Stored,
            Ok(Stored { duplicate: true, .. }) => EngineResult::Duplicate,
            Err(NotStored::Busy(_)) => EngineResult::Busy,
            Err(NotStored::Refused(_)) => EngineResult::Refused,
            Err(NotStored::TooLarge(_)) => EngineResult::TooLarge,
            Err(NotStored::KeyReused) => EngineResult::KeyReused,
            Err(NotStored::Unknown(_)) => EngineResult::Unknown,
        }
    }
}
