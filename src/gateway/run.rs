//! A gateway that serves until a signal ends it.

use std::io;

use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::ops::shutdown::{Hangups, Signals};

use super::builder::Builder;
use super::error::StartError;
use super::reload::{ReadConfig, reload_at_hangups};
use super::running::Gateway;
use super::systemd;

impl Builder {
    /// [`Builder::start`] and [`Gateway::run_until_signal`] in one.
    ///
    /// # Errors
    /// As these.
    pub fn run(self) -> Result<(), StartError> {
        // It listens before the gateway serves, so that no signal kills a gateway that has streams.
        let until = UntilSignal::new(self.source.clone(), self.notify_systemd)?;
        until.run(self.start()?);
        Ok(())
    }
}

impl Gateway {
    /// Serves until SIGTERM or SIGINT, then drains; a second signal cuts that short. At SIGHUP it
    /// reloads, if [`Builder::on_hangup`] says how. From then on these signals no longer end the process
    /// by themselves, even after this returns. It blocks: an async program waits for signals in its own
    /// way, and then calls [`Gateway::drain`] on a thread that may block.
    ///
    /// # Errors
    /// If the system refuses what it takes to wait.
    pub fn run_until_signal(self) -> io::Result<()> {
        let until = UntilSignal::new(self.source.clone(), false)?;
        until.run(self);
        Ok(())
    }

    /// Serves until `end` is ready, then drains. The future runs on a tokio runtime on this thread,
    /// which it blocks. No signal is listened to.
    ///
    /// # Errors
    /// If the system refuses what it takes to wait.
    pub fn run_until(self, end: impl Future<Output = ()>) -> io::Result<()> {
        runtime()?.block_on(end);
        self.drain();
        Ok(())
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// What listens to signals.
struct UntilSignal {
    runtime: Runtime,
    signals: Signals,
    hangups: Option<(Hangups, ReadConfig)>,
    systemd: bool,
}

impl UntilSignal {
    fn new(source: Option<ReadConfig>, systemd: bool) -> io::Result<UntilSignal> {
        let runtime = runtime()?;
        let (signals, hangups) = {
            let _inside = runtime.enter();
            (Signals::new()?, source.map(|source| Ok::<_, io::Error>((Hangups::new()?, source))).transpose()?)
        };
        Ok(UntilSignal { runtime, signals, hangups, systemd })
    }

    fn run(self, gateway: Gateway) {
        let UntilSignal { runtime, mut signals, hangups, systemd } = self;
        runtime.block_on(async {
            systemd::tell(systemd, &[NotifyState::Ready]);
            let (state, timers) = (gateway.state.clone(), gateway.timers.clone());
            let signal = tokio::select! {
                signal = signals.first() => signal,
                never = reload_at_hangups(hangups, state.clone(), timers, systemd) => match never {},
                never = systemd::keep_alive(systemd, state.clone()) => match never {},
            };
            systemd::tell(systemd, &[NotifyState::Stopping]);
            tracing::info!(signal, streams = gateway.streams(), "draining; a second signal ends at once");
            let cut = CancellationToken::new();
            let mut drained = {
                let cut = cut.clone();
                tokio::task::spawn_blocking(move || gateway.drain_unless(&cut))
            };
            let ended = tokio::select! {
                ended = &mut drained => ended,
                signal = signals.second() => {
                    tracing::warn!(signal, "ended before streams were drained");
                    cut.cancel();
                    drained.await
                }
            };
            if ended.is_ok() && !cut.is_cancelled() {
                tracing::info!("drained");
            }
        });
        // A file that can't be read to its end must not keep the process.
        runtime.shutdown_background();
    }
}
