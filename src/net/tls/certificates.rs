//! Certificates and their keys: read from files, chosen by the name that a client asks for, and read again while the
//! gateway runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::engine::wall::wall_s;

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and what leads from it to an authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Why a certificate can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct BadCertificate {
    /// The file that is at fault.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A certificate that can be used.
#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    validity: Validity,
}

/// From when to when a certificate holds, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Validity {
    begins: i64,
    ends: i64,
}

impl Validity {
    fn holds(self, now: i64) -> bool {
        (self.begins..=self.ends).contains(&now)
    }
}

/// The certificates that clients are shown.
#[derive(Debug)]
pub struct Certificates {
    /// Empty if they are from no files.
    files: Vec<Files>,
    current: ArcSwap<Vec<Arc<Loaded>>>,
    last: Mutex<Vec<LastRead>>,
}

/// What changes when a file is written anew or replaced; `None` if there is none.
type Stamp = Option<(i64, i64, u64, u64)>;

/// What became of reading files again.
#[derive(Debug, Default)]
pub struct Renewed {
    /// How many certificates are new.
    pub renewed: usize,
    /// What was wrong with others that were read, for which the old ones stay.
    pub refused: Vec<BadCertificate>,
    /// How many files, also of those read before, can't be used as they are.
    pub unusable: usize,
}

/// What the files of one certificate were when they were last read.
#[derive(Debug)]
struct LastRead {
    stamps: [Stamp; 2],
    usable: bool,
}

impl Certificates {
    /// Reads all of them. The first is for clients that name no host, or none of theirs. With `localhost`, one of our
    /// own making for that follows, which nobody trusts.
    ///
    /// # Errors
    /// What is wrong with the first that can't be used.
    pub fn read(files: Vec<Files>, localhost: bool) -> Result<Certificates, BadCertificate> {
        let last = files.iter().map(|files| LastRead { stamps: files.stamps(), usable: true }).collect();
        let mut loaded: Vec<_> = files.iter().map(|files| load(files).map(Arc::new)).collect::<Result<_, _>>()?;
        let now = wall_s() as i64;
        for (files, loaded) in files.iter().zip(&loaded) {
            if !loaded.validity.holds(now) {
                tracing::warn!(file = %files.certificate.display(), "the certificate has expired, or does not hold yet");
            }
        }
        if localhost {
            loaded.push(Arc::new(of_localhost()?));
        }
        Ok(Certificates { files, current: ArcSwap::from_pointee(loaded), last: Mutex::new(last) })
    }

    /// Reads those again whose files have changed since they were last read, or `all`. One that can't be used, or has
    /// expired where the old one has not, leaves the old one in its place.
    pub fn read_again(&self, all: bool) -> Renewed {
        let mut last = self.last.lock();
        let mut current = Vec::clone(&self.current.load());
        let mut renewed = Renewed::default();
        for ((files, last), current) in self.files.iter().zip(last.iter_mut()).zip(&mut current) {
            // From before they are read: what is written meanwhile is seen the next time.
            let now = files.stamps();
            if std::mem::replace(&mut last.stamps, now) == now && !all {
                continue;
            }
            let new = load(files).and_then(|new| new.in_place_of(current, files));
            last.usable = new.is_ok();
            match new {
                Ok(new) if new.key.cert == current.key.cert => {}
                Ok(new) => {
                    *current = Arc::new(new);
                    renewed.renewed += 1;
                }
                Err(bad) => renewed.refused.push(bad),
            }
        }
        renewed.unusable = last.iter().filter(|last| !last.usable).count();
        self.current.store(Arc::new(current));
        renewed
    }

    /// Whether they are from files, which may change.
    pub fn are_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// When the first of them ends, in seconds since 1970.
    pub fn end_s(&self) -> u64 {
        self.current.load().iter().map(|loaded| loaded.validity.ends).min().unwrap_or(0).max(0) as u64
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load();
        let fits = |loaded: &&Arc<Loaded>| loaded.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let of_name = named.and_then(|name| {
            current.iter().filter(fits).find(|loaded| {
                let parsed = loaded.key.end_entity_cert().and_then(ParsedCertificate::try_from);
                parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
            })
        });
        of_name.or_else(|| current.iter().find(fits)).map(|loaded| loaded.key.clone())
    }
}

impl Loaded {
    /// Refuses one that does not hold in the place of one that does.
    fn in_place_of(self, old: &Loaded, files: &Files) -> Result<Loaded, BadCertificate> {
        let now = wall_s() as i64;
        if old.validity.holds(now) && !self.validity.holds(now) {
            let reason = "the certificate has expired, or does not hold yet".to_owned();
            return Err(BadCertificate { file: files.certificate.clone(), reason });
        }
        Ok(self)
    }
}

impl Files {
    fn stamps(&self) -> [Stamp; 2] {
        [&self.certificate, &self.key].map(|file| {
            let data = fs::metadata(file).ok()?;
            Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
        })
    }
}

fn load(files: &Files) -> Result<Loaded, BadCertificate> {
    let Files { certificate, key } = files;
    let bad = |file: &Path, reason: String| BadCertificate { file: file.to_owned(), reason };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| bad(certificate, format!("no certificates in PEM can be read from it: {error}")))?;
    if chain.is_empty() {
        return Err(bad(certificate, "there is no certificate in PEM in it".to_owned()));
    }
    // What is wrong is said without anything of the key.
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| bad(key, format!("no private key in PEM can be read from it: {error}")))?;
    usable(chain, secret, certificate, key)
}

/// One of our own making.
fn of_localhost() -> Result<Loaded, BadCertificate> {
    let (none, names) = (Path::new("localhost"), ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec());
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| BadCertificate { file: none.to_owned(), reason: error.to_string() })?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    usable(vec![made.cert.der().clone()], key, none, none)
}

fn usable(
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
    certificate: &Path,
    key: &Path,
) -> Result<Loaded, BadCertificate> {
    let bad = |file: &Path, reason: String| BadCertificate { file: file.to_owned(), reason };
    let parsed = X509Certificate::from_der(&chain[0])
        .map_err(|error| bad(certificate, format!("the certificate can't be read: {error}")))?;
    let validity = parsed.1.validity();
    let validity = Validity { begins: validity.not_before.timestamp(), ends: validity.not_after.timestamp() };
    let secret = aws_lc_rs::sign::any_supported_type(&secret)
        .map_err(|error| bad(key, format!("the private key can't be used: {error}")))?;
    let whole = CertifiedKey::new(chain, secret);
    whole.keys_match().map_err(|_| bad(key, format!("it is not the key of {}", certificate.display())))?;
    Ok(Loaded { key: Arc::new(whole), validity })
}
