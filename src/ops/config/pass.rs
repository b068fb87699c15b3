//! `[pass]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ops::limits::PASS_LATENCY_MS_MAX;
use crate::ops::units::Time;

/// The longest rest where the shard finds it by itself, as a multiple of the processor time of a pass:
/// docs/adr/0002-pacing.md has the measurements.
const REST_MAX: f64 = 2.25;
/// What [`Latency`] is written as when it is left to the shard.
const AUTO: &str = "auto";

/// `[pass]`: how a shard spaces its passes. The first event after quiet goes at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Pass {
    /// How long an event may wait for others to share its write, while events keep coming. Default:
    /// `auto`, up to 2.25 times the processor time that a pass takes, and the longer the more a write
    /// carries.
    pub latency: Latency,
}

/// A time, or [`Latency::AUTO`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Latency(Option<Time<0, PASS_LATENCY_MS_MAX>>);

impl Latency {
    /// As long as it saves processor time.
    pub const AUTO: Latency = Latency(None);

    /// At most so long; 0 is not at all.
    pub const fn of(time: Time<0, PASS_LATENCY_MS_MAX>) -> Latency {
        Latency(Some(time))
    }

    /// The longest rest after a pass, as a multiple of its processor time.
    pub(crate) fn rest_max(self) -> f64 {
        if self == Latency::AUTO { REST_MAX } else { 0.0 }
    }

    /// The least time from one pass's start to the next.
    pub(crate) fn interval_min(self) -> Duration {
        self.0.map(Time::get).unwrap_or_default()
    }
}

impl TryFrom<String> for Latency {
    type Error = String;

    fn try_from(text: String) -> Result<Latency, String> {
        match text.as_str() {
            AUTO => Ok(Latency::AUTO),
            time => Time::parse(time).map(Latency::of).map_err(|reason| format!("{reason}, or \"{AUTO}\"")),
        }
    }
}

impl From<Latency> for String {
    fn from(latency: Latency) -> String {
        latency.0.map_or_else(|| AUTO.to_owned(), |time| time.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_takes_the_place_of_what_the_shard_finds() {
        let read = |text: &str| Latency::try_from(text.to_owned()).map(|l| (l.rest_max(), l.interval_min()));
        assert_eq!(read("auto"), Ok((2.25, Duration::ZERO)));
        assert_eq!(read("20ms"), Ok((0.0, Duration::from_millis(20))));
        assert_eq!(read("0s"), Ok((0.0, Duration::ZERO)));
        assert_eq!(read("1h"), Ok((0.0, Duration::from_secs(3600))));
        for bad in ["", "Auto", "3601s", "20"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
