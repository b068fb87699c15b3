//! A gateway that serves until a signal ends it.

use std::io;

use crate::ops::logging;
use crate::ops::shutdown::{Hangups, Signals};

use super::builder::Builder;
use super::launch::StartError;
use super::reload::reload_at_hangups;

impl Builder {
    /// Starts the gateway and serves until SIGTERM or SIGINT, then drains. A second signal ends the
    /// process at once.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn run(mut self) -> Result<(), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ran = runtime.block_on(async {
            let mut signals = Signals::new()?;
            let source = self.source.take().map(|source| Ok::<_, io::Error>((Hangups::new()?, source))).transpose()?;
            let gateway = self.start()?;
            let signal = tokio::select! {
                signal = signals.first() => signal,
                never = reload_at_hangups(source, gateway.state.clone(), gateway.timers.clone()) => match never {},
            };
            tracing::info!(signal, streams = gateway.streams(), "draining; a second signal ends at once");
            let drained = tokio::task::spawn_blocking(move || gateway.drain());
            tokio::select! {
                _ = drained => tracing::info!("drained"),
                signal = signals.second() => {
                    tracing::warn!(signal, "ended before streams were drained");
                    logging::finish();
                    std::process::exit(0);
                }
            }
            Ok(())
        });
        // A file that can't be read to its end must not keep the process.
        runtime.shutdown_background();
        ran
    }
}
