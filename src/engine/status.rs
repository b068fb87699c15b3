//! What an engine is doing, and since when.

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use strum::{AsRefStr, VariantArray};

/// What an engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsRefStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// It looks for its servers.
    Connecting,
    /// It reads what it kept.
    Loading,
    /// It takes events.
    Ready,
    /// It does not reach what it keeps.
    Away,
    /// The same, and for longer than a gateway may be called ready.
    Stale,
    /// What it keeps is not what it was: it reads it anew.
    Reloading,
    /// It takes no more, and the process ends.
    Faulted,
}

/// What an engine is doing, for who asks.
pub struct Status {
    now: Mutex<(Phase, SystemTime)>,
    /// How long it may be away and the gateway called ready.
    grace: Duration,
}

impl Status {
    /// In this phase from now on.
    pub fn new(phase: Phase) -> Status {
        Status::with_grace(phase, Duration::ZERO)
    }

    /// The same, of an engine that may be away for so long.
    pub fn with_grace(phase: Phase, grace: Duration) -> Status {
        Status { now: Mutex::new((phase, SystemTime::now())), grace }
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.now.lock().0
    }

    /// The same, with the time since when.
    pub fn since(&self) -> (Phase, SystemTime) {
        *self.now.lock()
    }

    /// From now on it is doing this.
    pub fn set(&self, phase: Phase) {
        *self.now.lock() = (phase, SystemTime::now());
    }

    /// From now on it is ready, if it was loading.
    pub fn loaded(&self) {
        let mut now = self.now.lock();
        if now.0 == Phase::Loading {
            *now = (Phase::Ready, SystemTime::now());
        }
    }

    /// Time has passed: an engine that was away for too long is stale.
    pub fn step(&self) {
        let mut now = self.now.lock();
        // A clock that went back says nothing.
        if now.0 == Phase::Away && now.1.elapsed().is_ok_and(|elapsed| elapsed > self.grace) {
            now.0 = Phase::Stale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_away_for_too_long_is_stale_since_it_went() {
        let status = Status::with_grace(Phase::Ready, Duration::ZERO);
        status.step();
        assert_eq!(status.phase(), Phase::Ready);
        status.set(Phase::Away);
        let (_, since) = status.since();
        std::thread::sleep(Duration::from_millis(1));
        status.step();
        assert_eq!(status.since(), (Phase::Stale, since));
        let patient = Status::with_grace(Phase::Away, Duration::from_secs(3600));
        patient.step();
        assert_eq!(patient.phase(), Phase::Away);
        patient.loaded();
        assert_eq!(patient.phase(), Phase::Away);
        patient.set(Phase::Loading);
        patient.loaded();
        assert_eq!(patient.phase(), Phase::Ready);
    }
}
