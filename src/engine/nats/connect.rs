//! A connection to the servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use parking_lot::Mutex;

use super::ClusterError;
use super::settings::Settings;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How often a server is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// The longest time from one attempt to the next.
const AGAIN_MS_MAX: u64 = 1_000;
/// How many messages wait for whoever reads them.
const WAITING_MAX: usize = 65_536;

/// What a connection says of itself.
#[derive(Debug, Default)]
pub(super) struct Link {
    is_up: AtomicBool,
    said: Mutex<Option<String>>,
}

impl Link {
    /// Whether it is there.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::SeqCst)
    }

    /// What the server said last that was no answer: what is not permitted is told so.
    pub(super) fn said(&self) -> Option<String> {
        self.said.lock().clone()
    }

    fn hears(&self, event: &Event) {
        match event {
            Event::Connected => self.is_up.store(true, Ordering::SeqCst),
            Event::Disconnected | Event::Closed => self.is_up.store(false, Ordering::SeqCst),
            Event::ServerError(error) => *self.said.lock() = Some(error.to_string()),
            _ => return,
        }
        tracing::debug!(%event, "the engine's connection");
    }
}

/// Why there is no connection.
pub(super) enum NotConnected {
    /// It may be there later.
    Later(String),
    /// Not like this.
    Never(ClusterError),
}

/// Connects, once, or in the background for as long as it takes.
pub(super) async fn connect(
    settings: &Settings,
    role: &str,
    link: &Arc<Link>,
    in_background: bool,
) -> Result<Client, NotConnected> {
    let never = |text: String| NotConnected::Never(ClusterError(text));
    let mut addresses = Vec::new();
    for url in &settings.urls {
        let address = url.parse::<ServerAddr>();
        addresses.push(address.map_err(|error| never(format!("cluster.urls: {url:?} is no server: {error}")))?);
    }
    let told = link.clone();
    let mut options = ConnectOptions::new()
        .name(format!("sluicegate {} {role}", settings.namespace))
        .connection_timeout(CONNECT)
        .ping_interval(PING)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| Duration::from_millis((attempt as u64 * 50).min(AGAIN_MS_MAX)))
        .subscription_capacity(WAITING_MAX)
        .event_callback(move |event| {
            told.hears(&event);
            std::future::ready(())
        });
    if in_background {
        options = options.retry_on_initial_connect();
    }
    if let Some(file) = &settings.tls_ca {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    if let Some(file) = &settings.credentials {
        options = credentials(options, file).map_err(|error| never(format!("cluster.credentials: {error}")))?;
    }
    let urls = settings.urls.join(", ");
    options.connect(addresses).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                never(format!("{urls} does not let us in{cause}: cluster.credentials"))
            }
            ConnectErrorKind::Tls => never(format!("{urls}: TLS{cause}: cluster.urls, cluster.tls_ca")),
            _ => NotConnected::Later(format!("no server answers at {urls} (cluster.urls): {error}")),
        }
    })
}

/// Reads who this is: a file of credentials as `nsc` makes them, a seed of an nkey, `user:password`, or a token.
fn credentials(options: ConnectOptions, file: &std::path::Path) -> Result<ConnectOptions, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| named(&error))?;
    let line = text.trim();
    if text.contains("-----BEGIN") {
        return options.credentials(&text).map_err(|error| named(&error));
    }
    if line.is_empty() || line.contains('\n') {
        return Err(named(&"holds neither credentials nor one line"));
    }
    if line.starts_with("SU") && line.len() == 58 {
        return Ok(options.nkey(line.to_owned()));
    }
    Ok(match line.split_once(':') {
        Some((user, password)) => options.user_and_password(user.to_owned(), password.to_owned()),
        None => options.token(line.to_owned()),
    })
}
