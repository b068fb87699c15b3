//! Whether a stream may be opened, how much of it, and for how long: every limit on streams is checked here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::access::pass::Pass;
use crate::engine::wall::wall_ms;
use crate::hub::close::CloseReason;
use crate::hub::subscribe::Subscribe;
use crate::hub::topic::{Denied, Granted, Numbers};
use crate::ops::metrics::Shed;

use super::state::State;

/// How much before the end of its token a stream may be ended, so that those of one moment do not end at once: this part
/// of what is left,
const SPREAD_PART: f64 = 0.1;
/// and no more than this.
const SPREAD_MAX: Duration = Duration::from_secs(5);

/// Leaves of a stream what a pass grants, for as long as its token is good.
///
/// # Errors
/// What of it is not granted at all.
pub fn grant(pass: &Pass, mut asked: Subscribe, numbers: &impl Numbers) -> Result<Subscribe, Denied> {
    let Granted { subscription, less } = asked.subscription.granted(&pass.subscribe, numbers)?;
    if *asked.subscription != subscription {
        asked.subscription = Arc::new(subscription);
    }
    asked.less = less;
    if let Some(until_s) = pass.token.as_ref().and_then(|token| token.until_s) {
        let until = Duration::from_secs(until_s);
        let left = until.saturating_sub(Duration::from_millis(wall_ms()));
        let early = left.mul_f64(SPREAD_PART).min(SPREAD_MAX).mul_f64(fastrand::f64());
        shorten(&mut asked, left - early, CloseReason::TokenExpired);
    }
    Ok(asked)
}

/// Admits a client to the stream that it asked for, or says why it must come back later.
///
/// # Errors
/// Why the stream is shed.
pub fn admit(state: &State, mut asked: Subscribe) -> Result<Subscribe, Shed> {
    if state.closing.load(Ordering::Relaxed) {
        return Err(Shed::Draining);
    }
    if state.bus.streams() >= state.streams_max {
        return Err(Shed::Full);
    }
    let config = state.config.load();
    if let Some(age) = config.stream.max_age.get() {
        let part = config.stream.max_age_jitter.get() * fastrand::f64();
        shorten(&mut asked, age.mul_f64(1.0 - part), CloseReason::Rotated);
    }
    Ok(asked)
}

fn shorten(asked: &mut Subscribe, time: Duration, reason: CloseReason) {
    asked.lasts = [asked.lasts, Some((time, reason))].into_iter().flatten().min_by_key(|(time, _)| *time);
}
