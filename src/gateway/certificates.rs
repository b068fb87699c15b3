//! The certificates of a gateway: read at its start, and again when their files change.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::net::tls::certificates::{Certificates, Files, Renewed};
use crate::net::tls::server::TlsServer;
use crate::ops::config::Config;
use crate::ops::metrics::Metrics;
use crate::ops::reload::LiveConfig;
use crate::ops::threads::spawn;

use super::error::StartError;

/// How often it is looked whether a file has changed.
const LOOK: Duration = Duration::from_secs(1);

/// What TLS listeners work with, if there are any or may be.
///
/// # Errors
/// If a certificate can't be used.
pub fn tls_server(config: &Config) -> Result<Option<Arc<TlsServer>>, StartError> {
    if config.tls.addresses().is_empty() && config.tls.cert.is_empty() {
        return Ok(None);
    }
    let pairs = config.tls.cert.iter().zip(&config.tls.key);
    let files = pairs.map(|(certificate, key)| Files { certificate: certificate.clone(), key: key.clone() });
    let certificates = Certificates::read(files.collect(), config.tls.dev);
    let certificates = Arc::new(certificates.map_err(|bad| StartError::Certificate(Box::new(bad)))?);
    let server = TlsServer::new(certificates).map_err(|error| StartError::Certificate(Box::new(error)))?;
    Ok(Some(Arc::new(server)))
}

/// A thread that reads certificates again, until this is dropped.
pub(super) struct Watch {
    /// Nothing is sent: it ends with this.
    stop: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts it, if the certificates are files.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn start(
        tls: &Arc<TlsServer>,
        live: Arc<LiveConfig>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Option<Watch>> {
        metrics.tls_certificates(tls.certificates().end_s(), true);
        if !tls.certificates().are_files() {
            return Ok(None);
        }
        let (stop, stopped) = bounded(0);
        let tls = tls.clone();
        let thread = spawn("certificates".to_owned(), move || watch(&tls, &live, &metrics, &stopped))?;
        Ok(Some(Watch { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn watch(tls: &TlsServer, live: &LiveConfig, metrics: &Metrics, stopped: &Receiver<Infallible>) {
    let certificates = tls.certificates();
    let mut config = live.load_full();
    while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        // With a new configuration all are read, as the operator may expect.
        let is_reload = !Arc::ptr_eq(&config, &live.load());
        config = live.load_full();
        let Renewed { renewed, refused, unusable } = certificates.read_again(is_reload);
        for bad in &refused {
            tracing::error!(error = %bad, "a certificate can't be used; the old one stays");
        }
        if renewed > 0 {
            tracing::info!(renewed, "certificates are renewed; open streams keep theirs");
        }
        metrics.tls_certificates(certificates.end_s(), unusable == 0);
    }
}
