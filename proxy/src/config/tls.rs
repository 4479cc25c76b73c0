//! TLS: towards clients, `[tls]` of the configuration file, and towards nodes.

use std::path::PathBuf;

use serde::Deserialize;

use super::value::TlsMode;

/// What clients are shown, and what is asked of them. Files are read when they are used, not here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientTls {
    /// The certificate, and those between it and an authority that clients know (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// The authorities of clients' certificates (PEM). With them a client must have one.
    pub client_ca: Option<PathBuf>,
    /// A client without TLS is refused.
    pub require: bool,
}

/// TLS towards the nodes of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeTls {
    /// Whether there is any.
    pub mode: TlsMode,
    /// The authorities of the nodes' certificates (PEM); without, those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The name that the nodes' certificates must be for; without, the node's own in the configuration.
    pub server_name: Option<String>,
}

impl NodeTls {
    /// What three keys say of it, or what is wrong with them; `of` is written in front of their names: `cluster.`, or `server_`.
    pub(super) fn check(
        of: &str,
        mode: Option<TlsMode>,
        ca: Option<&PathBuf>,
        server_name: Option<&String>,
    ) -> Result<Self, String> {
        let mode = mode.unwrap_or(TlsMode::Off);
        let name = of.strip_prefix("cluster.").unwrap_or(of);
        if mode != TlsMode::Verify && (ca.is_some() || server_name.is_some()) {
            return Err(format!(
                "{of}tls = \"{}\": {name}tls_ca and {name}tls_server_name need {name}tls = \"verify\"",
                mode.text()
            ));
        }
        Ok(Self {
            mode,
            ca: ca.cloned(),
            server_name: server_name.cloned(),
        })
    }
}

impl Default for NodeTls {
    /// None.
    fn default() -> Self {
        Self {
            mode: TlsMode::Off,
            ca: None,
            server_name: None,
        }
    }
}

/// `[tls]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsTable {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    #[serde(default)]
    require: Flag,
}

/// A truth, as TOML writes it or as text.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(untagged)]
enum Flag {
    #[default]
    #[serde(skip)]
    Unset,
    Plain(bool),
    Text(Word),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    True,
    False,
}

impl Flag {
    const fn get(self) -> bool {
        matches!(self, Self::Plain(true) | Self::Text(Word::True))
    }
}

impl TlsTable {
    /// What it says, or what is wrong with it.
    pub(super) fn check(&self) -> Result<ClientTls, String> {
        let given =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        match (given(&self.cert), given(&self.key)) {
            (Some(cert), Some(key)) => Ok(ClientTls {
                cert,
                key,
                client_ca: given(&self.client_ca),
                require: self.require.get(),
            }),
            _ => Err("tls: give cert and key, the paths of two PEM files".to_owned()),
        }
    }
}
