//! `sluicegate healthcheck`: for containers and scripts.

use std::time::Duration;

use bytes::Bytes;

use super::http::{Base, ClientError, Http, Target};

/// How long the answer may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Asks whether a gateway is ready, and gives its words.
///
/// # Errors
/// If it is not, or does not say so in time.
pub async fn healthcheck(base: Base) -> Result<String, ClientError> {
    let http = Http::new(base);
    let target = Target::path("/readyz");
    let asked = tokio::time::timeout(DEADLINE, http.ask("GET", &target, &[], Bytes::new())).await;
    let body = asked.map_err(|_| ClientError::Odd(format!("no answer within {} s", DEADLINE.as_secs())))??;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
