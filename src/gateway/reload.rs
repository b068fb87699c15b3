//! A new configuration for a gateway that runs.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use sd_notify::NotifyState;

use crate::access::gate::Gate;
use crate::exchange::timers::Timers;
use crate::net::command::Timer;
use crate::net::state::State;
use crate::ops::config::{Config, ConfigError};
use crate::ops::logging;
use crate::ops::reload::Reloaded;
use crate::ops::shutdown::Hangups;

use super::systemd;

/// Why a new configuration was refused. The gateway goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It is not valid, or not beside what needs a restart.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Reads the configuration anew.
pub(super) type ReadConfig = Arc<dyn Fn() -> Result<Config, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// Reads and applies the configuration at each SIGHUP, one after the other. It is read on a thread of
/// its own, so that a file that hangs holds up nothing else.
pub(super) async fn reload_at_hangups(
    source: Option<(Hangups, ReadConfig)>,
    state: Arc<State>,
    timers: Arc<Timers<Timer>>,
    systemd: bool,
) -> Infallible {
    let Some((mut hangups, source)) = source else { return std::future::pending().await };
    loop {
        hangups.next().await;
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            systemd::tell(systemd, &[NotifyState::Reloading, now]);
        }
        let (source, state, timers) = (source.clone(), state.clone(), timers.clone());
        let reloading = tokio::task::spawn_blocking(move || match source() {
            Ok(config) => drop(reload(&state, &timers, &config)),
            Err(error) => refused(&state, &*error),
        });
        if reloading.await.is_err() {
            tracing::error!("reading the configuration panicked; it stays as it was");
        }
        systemd::tell(systemd, &[NotifyState::Ready]);
    }
}

/// Puts a new configuration in the place of the one that runs: as a whole, or not at all.
pub(super) fn reload(state: &State, timers: &Timers<Timer>, new: &Config) -> Result<Reloaded, ReloadError> {
    let (next, reloaded) = state.config.load().reload(new).inspect_err(|error| refused(state, error))?;
    let gate = Gate::new(&next).map_err(|reason| ConfigError::invalid("auth", reason));
    let gate = gate.inspect_err(|error| refused(state, error))?;
    logging::set_level(&next.log.level);
    state.gate.store(Arc::new(gate));
    state.config.store(Arc::new(next));
    // The ticker tells the shards, as it tells them whatever else has come due.
    timers.arm(state.clock.now_ms(), Timer::Reload);
    state.metrics.reloaded(true);
    reloaded.log();
    Ok(reloaded)
}

fn refused(state: &State, error: &dyn Error) {
    state.metrics.reloaded(false);
    tracing::error!(error = logging::with_causes(error), "the new configuration is refused, and nothing has changed");
}
