//! `[drain]`.

use std::time::Duration;

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
    /// How long streams may take to end after `delay`. Over the most of it they are ended, few in less;
    /// in what remains those that are behind may go on catching up. What is left then is cut off, and
    /// counted and logged as such. Default: 10 seconds. Give the process `delay` + `deadline` and a second
    /// before a SIGKILL.
    pub deadline: Time,
    /// The mean of the `retry:` sent to a stream that is drained or shed; each gets from half to
    /// one and a half times this, at random. Default: 3 seconds, as long as a browser waits by itself.
    pub retry: Time<DEADLINE_MS_MIN, RETRY_MEAN_MS_MAX>,
}

impl Drain {
    /// Over how much of the deadline streams are ended: three quarters. The rest is for those behind.
    pub fn window(&self) -> Duration {
        self.deadline.get() * 3 / 4
    }
}

impl Default for Drain {
    fn default() -> Drain {
        Drain { delay: Time::from_millis(0), deadline: Time::from_millis(10_000), retry: Time::from_millis(3_000) }
    }
}
