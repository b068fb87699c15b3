//! `[tls]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::listen::Listen;
use crate::ops::limits::CERTIFICATES_MAX;

/// Where `tls.dev` listens if nothing else is said.
const DEV_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);

/// `[tls]`: the public listener's addresses for HTTPS, and its certificates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// Addresses of the public listener for TLS. Default: none.
    pub listen: Listen,
    /// Files with certificates, each with what leads to an authority, in PEM. Default: none.
    pub cert: Vec<PathBuf>,
    /// Files with their private keys, in the same order. Default: none.
    pub key: Vec<PathBuf>,
    /// Whether a certificate for `localhost` is made besides, to try things. Default: no.
    pub dev: bool,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { listen: Listen::none(), cert: Vec::new(), key: Vec::new(), dev: false }
    }
}

impl Tls {
    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        match self.listen.addresses() {
            [] if self.dev => &[DEV_ADDRESS],
            addresses => addresses,
        }
    }

    /// What two of its settings must agree on: both keys, and why they don't.
    pub(super) fn conflict(&self) -> Option<([&'static str; 2], String)> {
        let (certificates, keys) = (self.cert.len(), self.key.len());
        if certificates != keys {
            let reason = format!("{certificates} certificates and {keys} keys: each certificate has its key");
            return Some((["tls.cert", "tls.key"], reason));
        }
        if !self.dev && certificates == 0 && !self.addresses().is_empty() {
            return Some((["tls.listen", "tls.cert"], "TLS needs a certificate".to_owned()));
        }
        None
    }

    /// A list of it that is too long: its key and its length.
    pub(super) fn too_many(&self) -> Option<(&'static str, usize)> {
        (self.cert.len() > CERTIFICATES_MAX).then_some(("tls.cert", self.cert.len()))
    }
}
