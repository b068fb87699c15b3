//! What the gateway tells systemd (sd_notify(3)): that it is ready, reloads or stops, and that it is alive.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::net::state::State;

/// Tells it, unless that was not asked for, or nobody started the process who wants to know.
pub(super) fn tell(asked: bool, states: &[NotifyState<'_>]) {
    if asked && let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd can't be told");
    }
}

/// Says that the gateway is alive for as long as each shard takes events: one that is stuck has systemd end the
/// process, if the unit has a `WatchdogSec=`.
pub(super) async fn keep_alive(asked: bool, state: Arc<State>) -> Infallible {
    let within = if asked { sd_notify::watchdog_enabled() } else { None };
    let Some(within) = within.filter(|within| !within.is_zero()) else { return std::future::pending().await };
    loop {
        if is_alive(&state, within) {
            tell(true, &[NotifyState::Watchdog]);
        }
        tokio::time::sleep(within / 3).await;
    }
}

fn is_alive(state: &State, within: Duration) -> bool {
    let now_ns = state.clock.now_ns();
    (0..state.bus.shards()).all(|shard| u128::from(state.bus.lag_ns(shard, now_ns)) < within.as_nanos())
}
