//! `[drain]`.

use serde::{Deserialize, Serialize};

use crate::ops::limits::{DEADLINE_MS_MIN, RETRY_MEAN_MS_MAX};
use crate::ops::units::Time;

/// `[drain]`: how the process ends on SIGTERM. A second signal ends it at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Drain {
    /// How long to go on accepting while `/readyz` says 503 already. Default: `0s`, right without
    /// a load balancer; behind one, the time it takes to notice, usually 5 to 15 seconds.
    pub delay: Time,
    /// The longest time over which streams are ended; few take less. Default: 5 seconds. The process
    /// ends within `delay` + `window` + `grace` and a moment; give it longer than that before a SIGKILL.
    pub window: Time,
    /// How long after `window` streams that are behind may go on catching up. What is left then is cut
    /// off, and counted and logged as such. Default: 5 seconds.
    pub grace: Time,
    /// The mean of the `retry:` sent to a stream that is drained or shed; each gets from half to
    /// one and a half times this, at random. Default: 3 seconds, as long as a browser waits by itself.
    pub retry: Time<DEADLINE_MS_MIN, RETRY_MEAN_MS_MAX>,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain {
            delay: Time::from_millis(0),
            window: Time::from_millis(5_000),
            grace: Time::from_millis(5_000),
            retry: Time::from_millis(3_000),
        }
    }
}
