//! The program as a client of a gateway: what a person does at a terminal. It speaks HTTP as any other client
//! does, and knows nothing of the gateway's insides.

/// Requests and their answers.
mod http;
/// The event stream format, as a client reads it.
mod sse;
/// What is written to a terminal.
mod paint;
/// Whether a gateway is ready.
pub mod healthcheck;
/// Publishes.
pub mod publish;
/// Shows a stream's events as they come.
pub mod tail;
/// What a scrape says.
mod scrape;
/// Shows a gateway at a glance.
pub mod top;

pub use self::http::{Base, ClientError};

use std::future::Future;

/// Runs a client to its end, on this thread.
///
/// # Errors
/// What the client says, or that the system refuses what it takes to wait.
pub fn run<T>(client: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClientError::System)?;
    let done = runtime.block_on(client);
    // A read of standard input can't be called off.
    runtime.shutdown_background();
    done
}
