//! Certificates of an authority of the test's own.

use crate::place;
use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use std::{fs, path::PathBuf};

/// An authority and the folder where its certificates are.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key as files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Two of the same name look like one that has signed itself.
fn name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

impl Authority {
    /// A new one, which nobody knows.
    ///
    /// # Errors
    ///
    /// When its file cannot be written.
    pub fn new() -> Result<Self> {
        let folder = place::fresh("tls")?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        name(&mut params, "An authority of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self {
            folder,
            issuer: Issuer::new(params, key),
        })
    }

    /// The file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for these names and addresses, in files of this name. It expires with this year.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn issue(&self, file: &str, names: &[&str], year: i32) -> Result<Pair> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        name(&mut params, file);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let pair = Pair {
            cert: self.folder.join(format!("{file}-cert.pem")),
            key: self.folder.join(format!("{file}-key.pem")),
        };
        fs::write(&pair.cert, params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }
}
