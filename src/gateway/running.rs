//! A gateway that runs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::exchange::timers::Timers;
use crate::net::acceptor::Closing;
use crate::net::command::Timer;
use crate::net::state::State;
use crate::ops::config::Config;
use crate::ops::reload::Reloaded;

use super::certificates::Watch;
use super::publisher::Publisher;
use super::reload::{self, ReadConfig, ReloadError};

/// A running gateway. Dropping it closes all streams at once; [`Gateway::drain`] is kinder.
#[must_use = "dropping it closes all streams"]
pub struct Gateway {
    pub(super) state: Arc<State>,
    pub(super) timers: Arc<Timers<Timer>>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tls_addresses: Vec<SocketAddr>,
    pub(super) control_address: Option<SocketAddr>,
    pub(super) health_address: Option<SocketAddr>,
    /// How the public listener ends,
    pub(super) public: Closing,
    /// and those of the operator.
    pub(super) private: Vec<Closing>,
    pub(super) acceptors: Vec<JoinHandle<()>>,
    pub(super) shards: Vec<JoinHandle<()>>,
    pub(super) ticker: Option<JoinHandle<()>>,
    /// What stores events, and brings them.
    pub(super) engine_threads: Vec<JoinHandle<()>>,
    /// Who reads certificates again.
    pub(super) certificates: Option<Watch>,
    pub(super) source: Option<ReadConfig>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gateway = f.debug_struct("Gateway");
        gateway.field("addresses", &self.addresses).field("control_address", &self.control_address);
        gateway.field("streams", &self.streams()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// The addresses that streams are served on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses that streams are served on over TLS.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// The address of the control listener.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control_address
    }

    /// The address of the health listener.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_address
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.state.bus.streams()
    }

    /// A handle that publishes.
    pub fn publisher(&self) -> Publisher {
        Publisher { state: self.state.clone() }
    }

    /// Applies what of a new configuration can change while the gateway runs: all of that, or nothing.
    /// Streams and publishers do not notice. Its schedules take the place of all that run, those of
    /// [`Builder::schedule`](crate::Builder::schedule) included. What needs a restart stays as it was, and is named.
    /// `log.level` is the level of the log that the program writes, so without effect on a logger of your own.
    ///
    /// # Errors
    /// If the configuration is not valid, or not beside what needs a restart.
    pub fn reload(&self, new: &Config) -> Result<Reloaded, ReloadError> {
        reload::reload(&self.state, &self.timers, new)
    }
}
