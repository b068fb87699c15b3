//! Why a gateway did not start.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use crate::ops::config::ConfigError;
use crate::ops::descriptors::TooFewDescriptors;

/// Why a gateway did not start. Nothing of it is left: no thread, no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address can't be listened on.
    #[error("can't listen on {address}")]
    #[non_exhaustive]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate for TLS can't be used.
    #[error("can't serve over TLS")]
    Certificate(#[source] Box<dyn Error + Send + Sync>),
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The limit on open files is too low.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// What the engine has stored can't be opened or read.
    #[error("can't start the engine")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
    /// The system refused a thread, a descriptor or a signal handler.
    #[error("can't start")]
    System(#[from] io::Error),
}
