//! The server's side of TLS: what it offers, and handshakes.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::{HandshakeKind, ServerConfig};

use crate::net::transport::Raw;
use crate::ops::metrics::Handshake;

use super::certificates::Certificates;
use super::stream::{NoHandshake, TlsStream};

/// What a listener for TLS works with.
#[derive(Debug)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

impl TlsServer {
    /// TLS 1.2 and 1.3 with these certificates. Who comes back with a ticket of the last hours is spared the costly
    /// half of a handshake, and nothing is kept here for that.
    ///
    /// # Errors
    /// If the system has no random numbers for the tickets' keys.
    pub fn new(certificates: Arc<Certificates>) -> Result<TlsServer, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        // A second one would be for a second connection at the same time.
        config.send_tls13_tickets = 1;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsServer { config: Arc::new(config), certificates })
    }

    /// The certificates that clients are shown.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Shakes hands. There is no deadline here.
    ///
    /// # Errors
    /// If that fails.
    pub async fn accept<S: Raw>(&self, stream: S) -> Result<TlsStream<S>, NoHandshake<S>> {
        TlsStream::accept(stream, self.config.clone()).await
    }
}

/// How a handshake is counted.
pub fn result_of<S: Raw>(shaken: &Result<TlsStream<S>, NoHandshake<S>>) -> Handshake {
    match shaken {
        Ok(stream) if stream.connection().handshake_kind() == Some(HandshakeKind::Resumed) => Handshake::Resumed,
        Ok(_) => Handshake::Full,
        Err(NoHandshake::PlainHttp(_)) => Handshake::PlainHttp,
        Err(NoHandshake::Failed(_)) => Handshake::Failed,
    }
}
