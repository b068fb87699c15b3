//! Whether a stream may be opened, and for how long: every limit on streams is checked here.

use std::sync::atomic::Ordering;

use crate::hub::close::CloseReason;
use crate::hub::subscribe::Subscribe;
use crate::ops::metrics::Shed;

use super::state::State;

/// Grants a client the stream that it asked for, or says why it must come back later.
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
    let rotated = config.stream.max_age.get().map(|age| {
        let part = config.stream.max_age_jitter.get() * fastrand::f64();
        (age.mul_f64(1.0 - part), CloseReason::Rotated)
    });
    asked.lasts = [asked.lasts, rotated].into_iter().flatten().min_by_key(|(time, _)| *time);
    Ok(asked)
}
