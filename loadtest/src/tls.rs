//! Streams over TLS, as their client reads them. Whose certificate it is does not matter here.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use rustix::net::SendFlags;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::Result;

/// Takes any certificate.
#[derive(Debug)]
struct Anyone(CryptoProvider);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What all connections of a client process share.
pub(crate) fn config() -> Result<Arc<ClientConfig>> {
    let provider = aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let anyone = Arc::new(Anyone(provider));
    Ok(Arc::new(config.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth()))
}

/// A stream's TLS connection; its socket is the stream's.
pub(crate) struct Tls(Box<ClientConnection>);

impl Tls {
    /// One that sends this request as soon as it has shaken hands.
    pub(crate) fn asking(config: &Arc<ClientConfig>, request: &[u8]) -> Result<Self> {
        let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
        let mut connection = ClientConnection::new(config.clone(), name).map_err(|error| format!("TLS: {error}"))?;
        connection.writer().write_all(request).map_err(|error| format!("TLS: {error}"))?;
        Ok(Self(Box::new(connection)))
    }

    /// Sends what is to be sent. It is little, so that a socket takes it whole.
    pub(crate) fn send(&mut self, socket: &impl std::os::fd::AsFd) -> std::result::Result<(), rustix::io::Errno> {
        let mut records = Vec::new();
        while self.0.wants_write() {
            // A vector takes all.
            if self.0.write_tls(&mut records).is_err() {
                break;
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        match rustix::net::send(socket, &records, SendFlags::NOSIGNAL)? {
            sent if sent == records.len() => Ok(()),
            _ => Err(rustix::io::Errno::NOBUFS),
        }
    }

    /// Decrypts what was received, into a buffer; says how many bytes that are.
    pub(crate) fn open(&mut self, mut received: &[u8], into: &mut Vec<u8>) -> Result<usize> {
        into.clear();
        while !received.is_empty() {
            self.0.read_tls(&mut received).map_err(|error| format!("TLS: {error}"))?;
            let state = self.0.process_new_packets().map_err(|error| format!("TLS: {error}"))?;
            let (begin, length) = (into.len(), state.plaintext_bytes_to_read());
            into.resize(begin + length, 0);
            self.0.reader().read_exact(&mut into[begin..]).map_err(|error| format!("TLS: {error}"))?;
        }
        Ok(into.len())
    }
}
