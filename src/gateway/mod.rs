//! A gateway: its parts put together, started, drained and stopped.

mod error;
mod listen;
mod certificates;
mod topics;
mod publisher;
mod reload;
mod running;
mod builder;
mod launch;
mod drain;
mod engines;
mod run;
mod systemd;

pub use builder::Builder;
pub use certificates::tls_server;
pub use error::StartError;
pub use publisher::{PublishError, Publisher};
pub use reload::ReloadError;
pub use running::Gateway;
pub use topics::IntoTopics;
