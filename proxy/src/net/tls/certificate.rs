//! The certificate that clients are shown: read from files, and read again when they change.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    Connection, RootCertStore, ServerConfig, ServerConnection,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use x509_cert::{Certificate as X509, der::Decode as _};

use crate::config::ClientTls;

/// Whoever looks at the log has this long to renew a certificate, in seconds.
const WARN_BEFORE: u64 = 14 * DAY;
const DAY: u64 = 24 * 60 * 60;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path}: {what}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Key and certificate do not belong together, or cannot be used.
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
}

/// What clients are shown, from the files of the configuration. The files are looked at for every handshake, and a pair that cannot be used
/// leaves the old one in place.
#[derive(Debug)]
pub struct Certificate {
    files: ClientTls,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    /// In seconds since 1970.
    expires_at: u64,
    /// As the files were when they were last read.
    seen: Vec<Option<Stamp>>,
    warned_at: Option<u64>,
}

/// What differs where a file was replaced or written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(files: &ClientTls) -> Result<Self, CertificateError> {
        let seen = stamps(files);
        let (config, expires_at) = load(files)?;
        Ok(Self {
            files: files.clone(),
            state: Mutex::new(State {
                config,
                expires_at,
                seen,
                warned_at: None,
            }),
        })
    }

    /// What the next handshake is to use.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = stamps(&self.files);
        if seen != state.seen {
            self.read(&mut state, seen);
        }
        state.warn(now());
        Arc::clone(&state.config)
    }

    /// The proxy's side of the next handshake.
    ///
    /// # Errors
    /// What rustls says of its own configuration.
    pub fn connection(&self) -> Result<Box<Connection>, rustls::Error> {
        Ok(Box::new(ServerConnection::new(self.current())?.into()))
    }

    /// Reads the files whether or not they have changed.
    pub fn reload(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = stamps(&self.files);
        self.read(&mut state, seen);
        state.warn(now());
    }

    /// Seconds until the certificate expires, 0 if it has.
    pub fn expires_in(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expires_at.saturating_sub(now())
    }

    fn read(&self, state: &mut State, seen: Vec<Option<Stamp>>) {
        // What cannot be used is not read again, and not complained of again, before it changes.
        state.seen = seen;
        match load(&self.files) {
            Ok((config, expires_at)) => {
                state.config = config;
                state.expires_at = expires_at;
                state.warned_at = None;
                tracing::info!(
                    expires_in_days = expires_at.saturating_sub(now()) / DAY,
                    "TLS certificate read"
                );
            }
            Err(error) => {
                tracing::error!(%error, "the TLS certificate cannot be used; the one before it stays");
            }
        }
    }
}

impl State {
    /// Warns of a certificate that is about to expire, once a day.
    fn warn(&mut self, now: u64) {
        let left = self.expires_at.saturating_sub(now);
        let is_due = self.warned_at.is_none_or(|at| now >= at + DAY);
        if left < WARN_BEFORE && is_due {
            self.warned_at = Some(now);
            tracing::warn!(days = left / DAY, "the TLS certificate expires soon");
        }
    }
}

/// The provider of cryptography: the one that needs no C library of the system.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn load(files: &ClientTls) -> Result<(Arc<ServerConfig>, u64), CertificateError> {
    let chain = certificates(&files.cert)?;
    let expires_at = chain.iter().filter_map(expiry).min().unwrap_or(u64::MAX);
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|error| wrong(&files.key, format!("no private key: {error}")))?;
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| wrong(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key)?;
    Ok((Arc::new(config), expires_at))
}

/// The certificates of authorities in a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| wrong(path, error.to_string()))?;
    }
    Ok(roots)
}

/// The certificates in a file, one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = read(path)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong(path, "no certificate in it".to_owned())),
        Err(error) => Err(wrong(path, error.to_string())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn wrong(path: &Path, what: String) -> CertificateError {
    CertificateError::Wrong {
        path: path.to_owned(),
        what,
    }
}

/// When a certificate expires, in seconds since 1970, if it can be read.
fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = X509::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate.validity.not_after;
    Some(end.to_unix_duration().as_secs())
}

fn stamps(files: &ClientTls) -> Vec<Option<Stamp>> {
    let paths = [
        Some(&files.cert),
        Some(&files.key),
        files.client_ca.as_ref(),
    ];
    let paths = paths.into_iter().flatten();
    paths.map(|path| stamp(path)).collect()
}

/// A file as it is now, if it is there.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        seconds: metadata.mtime(),
        nanoseconds: metadata.mtime_nsec(),
    })
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
