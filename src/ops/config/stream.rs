//! `[stream]`.

use serde::{Deserialize, Serialize};

use crate::ops::limits::{DEADLINE_MS_MIN, PERIOD_MS_MIN, RETRY_MEAN_MS_MAX, USER_TIMEOUT_MS_MAX};
use crate::ops::units::{KIB, MIB, Ratio, Size, Time, TimeOrOff};

/// `[stream]`: how streams are kept alive and given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Stream {
    /// A comment is sent to a stream that was idle for so long; `0s` is never. Default: 15 seconds,
    /// what the HTML standard advises and well below the 60 seconds of common proxies.
    pub heartbeat: TimeOrOff<PERIOD_MS_MIN>,
    /// Whether an `id:` without data says how far a stream is: when it begins, and in the place of a
    /// heartbeat once a quarter of what is kept is newer than its last id. Its client dispatches nothing, and resumes
    /// exactly however long its topics were quiet. Default: `true`; off for clients that take that for an event.
    pub marks: bool,
    /// The mean of the `retry:` that a stream begins with; each gets from half to one and a half times this, at
    /// random, so that clients which lose their streams together do not come back together. `0s` is none.
    /// Default: 3 seconds, as long as a browser waits by itself.
    pub retry: TimeOrOff<DEADLINE_MS_MIN, RETRY_MEAN_MS_MAX>,
    /// A stream whose socket is full is closed if it took no byte for so long, or fewer than 256 a second.
    /// Default: 30 seconds.
    pub write_deadline: Time<DEADLINE_MS_MIN, USER_TIMEOUT_MS_MAX>,
    /// A stream that is so old is closed, so that clients spread anew over the gateways; `0s` is
    /// never. Default: `0s`.
    pub max_age: TimeOrOff<DEADLINE_MS_MIN>,
    /// The part of `max_age` that is taken off at random, so that streams which were opened
    /// together are not closed together: 0 to 1. Default: 0.1.
    pub max_age_jitter: Ratio<1>,
    /// How many bytes that were not sent yet the kernel may hold for a stream before it takes no
    /// more (`TCP_NOTSENT_LOWAT`). Default: 16 KiB: a stalled client then costs little kernel memory.
    pub notsent_lowat: Size<KIB, { 16 * MIB }>,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream {
            heartbeat: TimeOrOff::from_millis(15_000),
            marks: true,
            retry: TimeOrOff::from_millis(3_000),
            write_deadline: Time::from_millis(30_000),
            max_age: TimeOrOff::OFF,
            max_age_jitter: Ratio::new(0.1),
            notsent_lowat: Size::new(16 * KIB),
        }
    }
}
