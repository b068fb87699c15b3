//! Certificates, and clients that trust them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};
use tempfile::TempDir;

/// A certificate that signs itself, and its key.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Pair {
    /// For these names, until the end of this year.
    pub(crate) fn until(names: &[&str], year: i32) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.not_before = date_time_ymd(2000, 1, 1);
        parameters.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let made = parameters.self_signed(&key).expect("a certificate");
        Pair { certificate: made.pem(), key: key.serialize_pem(), der: made.der().clone() }
    }

    /// For these names, and for long.
    pub(crate) fn of(names: &[&str]) -> Pair {
        Pair::until(names, 2999)
    }
}

/// A folder with pairs in it, `0.pem` and `0.key`, and so on.
#[derive(Debug)]
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn holding(pairs: &[&Pair]) -> Folder {
        let folder = Folder(tempfile::tempdir().expect("a temporary folder"));
        for (number, pair) in pairs.iter().enumerate() {
            folder.put(&format!("{number}.pem"), &pair.certificate);
            folder.put(&format!("{number}.key"), &pair.key);
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file beside, and moves it to its name, as careful tools do.
    pub(crate) fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).expect("a file");
        fs::rename(self.path("new"), self.path(name)).expect("a name");
    }

    /// `[tls]` for so many pairs, on a free port.
    pub(crate) fn section(&self, pairs: usize) -> String {
        let names = |end: &str| Vec::from_iter((0..pairs).map(|number| self.path(&format!("{number}.{end}"))));
        format!("[tls]\nlisten = [\"127.0.0.1:0\"]\ncert = {:?}\nkey = {:?}\n", names("pem"), names("key"))
    }
}

/// A client of these versions that trusts these certificates. It remembers its sessions.
pub(crate) fn client(versions: &[&'static SupportedProtocolVersion], pairs: &[&Pair]) -> Arc<ClientConfig> {
    with_suites(versions, aws_lc_rs::ALL_CIPHER_SUITES.to_vec(), pairs)
}

/// The same, with these suites alone.
pub(crate) fn with_suites(
    versions: &[&'static SupportedProtocolVersion],
    cipher_suites: Vec<SupportedCipherSuite>,
    pairs: &[&Pair],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        roots.add(pair.der.clone()).expect("a certificate");
    }
    let provider = rustls::crypto::CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions);
    Arc::new(builder.expect("versions").with_root_certificates(roots).with_no_client_auth())
}

/// The suites that are offered with an ECDSA key: those of TLS 1.3, and of 1.2 those with forward secrecy and
/// authenticated encryption.
pub(crate) const SUITES: [(&SupportedProtocolVersion, SupportedCipherSuite); 6] = [
    (&rustls::version::TLS13, cipher_suite::TLS13_AES_256_GCM_SHA384),
    (&rustls::version::TLS13, cipher_suite::TLS13_AES_128_GCM_SHA256),
    (&rustls::version::TLS13, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    (&rustls::version::TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (&rustls::version::TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (&rustls::version::TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
];
