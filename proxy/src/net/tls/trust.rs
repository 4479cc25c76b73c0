//! What nodes' certificates are checked against, where they are checked.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{
    CertificateError,
    certificate::{Stamp, provider, roots, stamp},
};
use crate::config::{NodeTls, TlsMode};

/// How a connection to one node is encrypted.
pub struct Encryption {
    /// Without it there is to be no login.
    pub is_needed: bool,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Encryption {
    /// The client's side of a handshake.
    ///
    /// # Errors
    /// What rustls says of its own configuration.
    pub fn connection(&self) -> Result<Box<Connection>, Error> {
        let client = ClientConnection::new(Arc::clone(&self.config), self.name.clone())?;
        Ok(Box::new(client.into()))
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encryption({:?})", self.name)
    }
}

/// The authorities' certificates, read when they are first needed and again when their file changes.
#[derive(Debug, Default)]
pub struct Trust(Mutex<Vec<Known>>);

#[derive(Debug)]
struct Known {
    is_verified: bool,
    ca: Option<PathBuf>,
    seen: Option<Stamp>,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// How to connect to a node of this name or address; nothing where its cluster has no TLS.
    ///
    /// # Errors
    /// [`CertificateError`]: the authorities' certificates cannot be used.
    pub fn encryption(
        &self,
        tls: &NodeTls,
        host: &str,
    ) -> Result<Option<Arc<Encryption>>, CertificateError> {
        if tls.mode == TlsMode::Off {
            return Ok(None);
        }
        let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
        // Only a name that is checked must be one.
        let nobody = ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let name = ServerName::try_from(name).unwrap_or(nobody);
        Ok(Some(Arc::new(Encryption {
            is_needed: tls.mode != TlsMode::Preferred,
            config: self.config(tls)?,
            name,
        })))
    }

    fn config(&self, tls: &NodeTls) -> Result<Arc<ClientConfig>, CertificateError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_verified = tls.mode == TlsMode::Verify;
        let seen = tls.ca.as_deref().and_then(stamp);
        let is_same = |known: &Known| known.is_verified == is_verified && known.ca == tls.ca;
        if let Some(known) = all
            .iter()
            .find(|known| is_same(known) && known.seen == seen)
        {
            return Ok(Arc::clone(&known.config));
        }
        let config = Arc::new(config(tls)?);
        all.retain(|known| !is_same(known));
        all.push(Known {
            is_verified,
            ca: tls.ca.clone(),
            seen,
            config: Arc::clone(&config),
        });
        Ok(config)
    }
}

fn config(tls: &NodeTls) -> Result<ClientConfig, CertificateError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match (tls.mode, &tls.ca) {
        (TlsMode::Verify, Some(path)) => builder.with_root_certificates(roots(path)?),
        (TlsMode::Verify, None) => builder.with_root_certificates(system_roots()?),
        (TlsMode::Off | TlsMode::Preferred | TlsMode::Required, _) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider()))),
    };
    Ok(builder.with_no_client_auth())
}

fn system_roots() -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_certificates());
    if roots.is_empty() {
        return Err(CertificateError::Unreadable {
            path: "the system's certificates".into(),
            source: io::ErrorKind::NotFound.into(),
        });
    }
    Ok(roots)
}

/// The certificates of the authorities that this host trusts.
pub fn system_certificates() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Takes whoever has the key of the certificate that he shows, whosever it is: who can listen learns nothing, who can answer in the node's place
/// is not found out.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
