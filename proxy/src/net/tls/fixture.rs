//! Certificates for tests, and legs that use them.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, pki_types::ServerName};

use super::{Certificate, certificate::provider};
use crate::config::ClientTls;

/// An authority and a certificate of its own for `localhost`, in files that go with it.
pub(crate) struct Files {
    folder: PathBuf,
    pub(crate) tls: ClientTls,
    pub(crate) authority: PathBuf,
}

impl Files {
    /// New ones.
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sluice-tls-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let files = Self {
            tls: ClientTls {
                cert: folder.join("cert.pem"),
                key: folder.join("key.pem"),
                client_ca: None,
                require: false,
            },
            authority: folder.join("ca.pem"),
            folder,
        };
        files.renew(2100);
        files
    }

    /// Writes new ones that expire with this year.
    pub(crate) fn renew(&self, year: i32) {
        let authority = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&authority).unwrap();
        fs::write(&self.authority, certificate.pem()).unwrap();
        let issuer = Issuer::new(params, authority);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(&self.tls.cert, certificate.pem()).unwrap();
        fs::write(&self.tls.key, key.serialize_pem()).unwrap();
    }

    /// The proxy's side of a handshake.
    pub(crate) fn server(&self) -> Box<Connection> {
        Certificate::load(&self.tls).unwrap().connection().unwrap()
    }

    /// A client's side.
    pub(crate) fn client(&self) -> Box<Connection> {
        let roots: RootCertStore = super::certificate::roots(&self.authority).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        Box::new(
            ClientConnection::new(Arc::new(config), name)
                .unwrap()
                .into(),
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
