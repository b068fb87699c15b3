//! `[pass]`.

use serde::{Deserialize, Serialize};

use crate::ops::units::{Ratio, Time};

/// `[pass]`: how a shard spaces its passes. The later of the two bounds holds; the first event
/// after quiet goes at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Pass {
    /// The longest rest after a pass, as a multiple of the processor time that the pass took: 0 to
    /// 100, 0 is no rest. A shard rests half as long after a pass whose writes carried one event
    /// each, and longer the more they carried. Default: 3, so that a busy shard takes a quarter of
    /// its core.
    pub rest: Ratio<100>,
    /// The least time from one pass's start to the next. Default: `0s`.
    pub interval_min: Time,
}

impl Default for Pass {
    fn default() -> Pass {
        Pass { rest: Ratio::new(2.25), interval_min: Time::from_millis(0) }
    }
}
