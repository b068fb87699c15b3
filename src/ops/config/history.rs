//! `[history]`.

use serde::{Deserialize, Serialize};

use crate::engine::keys::KeyLimits;
use crate::hub::log::LogLimits;
use crate::ops::limits::PERIOD_MS_MIN;
use crate::ops::units::{Count, GIB, KIB, MIB, Size, Time, TimeOrOff};

/// `[history]`: how much of the past is kept. The first bound that is reached holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct History {
    /// The most events kept. Default: 100,000.
    pub events: Count<1, 1_000_000_000>,
    /// The most memory that kept events take, in bytes: some 200 more for each than its data. Default:
    /// 64 MiB.
    pub bytes: Size<KIB, { 1024 * GIB }>,
    /// How long an event is kept; `0s` is without a bound on age. Default: 1 hour, longer than the
    /// usual sleep of a laptop between meetings.
    pub age: TimeOrOff<PERIOD_MS_MIN>,
    /// How many idempotency keys are remembered, the newest. Default: 65,536, at most 28 MiB.
    pub keys: Count<1, 100_000_000>,
    /// How long an idempotency key is remembered. Default: 10 minutes.
    pub keys_age: Time<PERIOD_MS_MIN>,
}

impl History {
    /// The bounds of a log that keeps so much.
    pub fn log_limits(&self) -> LogLimits {
        let age_ns = self.age.get().map_or(u64::MAX, |age| age.as_nanos() as u64);
        LogLimits { events: self.events.as_usize(), bytes: self.bytes.as_usize(), age_ns }
    }

    /// How many idempotency keys are remembered, and for how long.
    pub fn key_limits(&self) -> KeyLimits {
        KeyLimits { keys: self.keys.as_usize(), age_ns: self.keys_age.get().as_nanos() as u64 }
    }
}

impl Default for History {
    fn default() -> History {
        History {
            events: Count::new(100_000),
            bytes: Size::new(64 * MIB),
            age: TimeOrOff::from_millis(3_600_000),
            keys: Count::new(65_536),
            keys_age: Time::from_millis(600_000),
        }
    }
}
