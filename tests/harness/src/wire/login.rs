//! The greeting, the login packet and the plugins' dialogues.

use super::{Connection, Outcome, put_string};
use anyhow::{Context as _, Result, bail, ensure};
use mysql_common::{crypto, scramble};
use std::net::SocketAddr;

/// Capability flags (MySQL's `mysql_com.h`).
pub mod capability {
    /// `CLIENT_CONNECT_WITH_DB`.
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    /// `CLIENT_LOCAL_FILES`.
    pub const LOCAL_FILES: u32 = 1 << 7;
    /// `CLIENT_PROTOCOL_41`.
    pub const PROTOCOL_41: u32 = 1 << 9;
    /// `CLIENT_TRANSACTIONS`.
    pub const TRANSACTIONS: u32 = 1 << 13;
    /// `CLIENT_SECURE_CONNECTION`.
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    /// `CLIENT_SESSION_TRACK`.
    pub const SESSION_TRACK: u32 = 1 << 23;
    /// `CLIENT_MULTI_STATEMENTS`.
    pub const MULTI_STATEMENTS: u32 = 1 << 16;
    /// `CLIENT_MULTI_RESULTS`.
    pub const MULTI_RESULTS: u32 = 1 << 17;
    /// `CLIENT_PS_MULTI_RESULTS`.
    pub const PS_MULTI_RESULTS: u32 = 1 << 18;
    /// `CLIENT_PLUGIN_AUTH`.
    pub const PLUGIN_AUTH: u32 = 1 << 19;
    /// `CLIENT_CONNECT_ATTRS`.
    pub const CONNECT_ATTRS: u32 = 1 << 20;
    /// `CLIENT_DEPRECATE_EOF`.
    pub const DEPRECATE_EOF: u32 = 1 << 24;
    /// `CLIENT_QUERY_ATTRIBUTES`: texts and executions have them in front, which the caller writes.
    pub const QUERY_ATTRIBUTES: u32 = 1 << 27;
}

/// Without `CLIENT_LONG_PASSWORD`: MariaDB does not offer that bit, it marks its extended capabilities, of which none is asked for.
const BASE: u32 = capability::PROTOCOL_41
    | capability::TRANSACTIONS
    | capability::SECURE_CONNECTION
    | capability::MULTI_RESULTS
    | capability::PS_MULTI_RESULTS
    | capability::PLUGIN_AUTH;

/// What the server said first.
#[derive(Debug, Clone, Default)]
pub struct Greeting {
    /// Version text.
    pub version: String,
    /// Thread id.
    pub thread_id: u32,
    /// The scramble, 20 bytes.
    pub scramble: Vec<u8>,
    /// What the server can do.
    pub capabilities: u32,
    /// Default collation's low byte.
    pub collation: u8,
    /// The server's default plugin.
    pub plugin: String,
}

/// Who logs in, and how.
#[derive(Debug, Clone)]
pub struct Login {
    /// User, as the server is to see it (`user@tenant#cluster` too).
    pub user: String,
    /// Password; empty for none.
    pub password: String,
    /// Database to start in.
    pub database: Option<String>,
    /// Capabilities beyond the usual ones.
    pub capabilities: u32,
    /// Connection attributes; sent if there are any.
    pub attributes: Vec<(String, String)>,
}

impl Login {
    /// A plain login.
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            database: None,
            capabilities: 0,
            attributes: Vec::new(),
        }
    }

    /// The same with further capabilities.
    #[must_use]
    pub fn with(mut self, capabilities: u32) -> Self {
        self.capabilities |= capabilities;
        self
    }

    /// The same, starting in a database.
    #[must_use]
    pub fn database(mut self, name: &str) -> Self {
        self.database = Some(name.to_owned());
        self
    }

    /// The same with one more connection attribute.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.to_owned(), value.to_owned()));
        self
    }
}

fn split_text(bytes: &[u8]) -> Result<(String, &[u8])> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .context("an unterminated text")?;
    let (text, rest) = bytes.split_at(end);
    Ok((
        String::from_utf8_lossy(text).into_owned(),
        rest.get(1..).unwrap_or_default(),
    ))
}

impl Greeting {
    pub(super) fn parse(packet: &[u8]) -> Result<Self> {
        let (first, rest) = packet.split_first().context("an empty greeting")?;
        if *first == 0xFF {
            return Err(anyhow::Error::new(Outcome::parse_error(packet)?)
                .context("an error in the greeting's place"));
        }
        ensure!(*first == 10, "protocol version {first}");
        let (version, rest) = split_text(rest)?;
        let fixed = rest.first_chunk::<31>().context("a cut greeting")?;
        let [a, b, c, d, ..] = *fixed;
        let mut scramble = fixed.get(4..12).unwrap_or_default().to_vec();
        let [low0, low1, collation, _, _, high0, high1, ..] =
            *fixed.last_chunk::<18>().context("a cut greeting")?;
        let rest = rest.get(31..).unwrap_or_default();
        scramble.extend(rest.get(..12).context("a cut scramble")?);
        let (plugin, _) = split_text(rest.get(13..).unwrap_or_default())?;
        Ok(Self {
            version,
            thread_id: u32::from_le_bytes([a, b, c, d]),
            scramble,
            capabilities: u32::from_le_bytes([low0, low1, high0, high1]),
            collation,
            plugin,
        })
    }
}

fn token(plugin: &str, nonce: &[u8], password: &str) -> Result<Vec<u8>> {
    let nonce = nonce.get(..20).context("a short scramble")?;
    Ok(match plugin {
        "mysql_native_password" => {
            scramble::scramble_native(nonce, password.as_bytes()).map(|token| token.to_vec())
        }
        "caching_sha2_password" => {
            scramble::scramble_sha256(nonce, password.as_bytes()).map(|token| token.to_vec())
        }
        // Not for us: the server will switch to the account's own plugin.
        _ => None,
    }
    .unwrap_or_default())
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    ///
    /// When the server refuses, with its words.
    pub fn open(address: SocketAddr, login: &Login) -> Result<Self> {
        let mut connection = Self::greet(address)?;
        match connection.log_in(login)? {
            Outcome::Ok { .. } => Ok(connection),
            refused @ Outcome::Error { .. } => {
                Err(anyhow::Error::new(refused).context("login refused"))
            }
        }
    }

    /// Logs in and returns what the server says to it, an error packet included.
    ///
    /// # Errors
    ///
    /// When the connection breaks or the plugin is unknown here.
    pub fn log_in(&mut self, login: &Login) -> Result<Outcome> {
        let payload = self.login_packet(login)?;
        self.send_packet(&payload)?;
        self.authenticate(login.password.as_str(), self.greeting.scramble.clone())
    }

    /// The same for a client whose own plugin is this one, whatever the greeting says: as `mysql` 9, it answers once it is asked.
    ///
    /// # Errors
    ///
    /// As [`Connection::log_in`].
    pub fn log_in_naming(&mut self, login: &Login, plugin: &str) -> Result<Outcome> {
        let greeting = self.greeting.clone();
        if plugin != greeting.plugin {
            plugin.clone_into(&mut self.greeting.plugin);
            self.greeting.scramble = vec![0; 20];
        }
        let payload = self.login_packet(login);
        self.greeting = greeting;
        self.send_packet(&payload?)?;
        self.authenticate(login.password.as_str(), self.greeting.scramble.clone())
    }

    /// The login packet for the greeting that came; settles the capabilities.
    ///
    /// # Errors
    ///
    /// When the greeting's scramble is too short.
    pub fn login_packet(&mut self, login: &Login) -> Result<Vec<u8>> {
        let mut wanted = BASE | login.capabilities;
        if login.database.is_some() {
            wanted |= capability::CONNECT_WITH_DB;
        }
        if !login.attributes.is_empty() {
            wanted |= capability::CONNECT_ATTRS;
        }
        self.capabilities = wanted & self.greeting.capabilities;
        ensure!(
            self.capabilities == wanted,
            "the server does not offer {:#x} of what this test needs",
            wanted & !self.greeting.capabilities
        );
        let mut payload = self.capabilities.to_le_bytes().to_vec();
        payload.extend(0x4000_0000_u32.to_le_bytes());
        payload.push(45);
        payload.extend([0; 23]);
        payload.extend(login.user.as_bytes());
        payload.push(0);
        let answer = token(
            &self.greeting.plugin,
            &self.greeting.scramble,
            &login.password,
        )?;
        put_string(&mut payload, &answer);
        for text in login.database.iter().chain([&self.greeting.plugin]) {
            payload.extend(text.as_bytes());
            payload.push(0);
        }
        if !login.attributes.is_empty() {
            let mut attributes = Vec::new();
            for (name, value) in &login.attributes {
                put_string(&mut attributes, name.as_bytes());
                put_string(&mut attributes, value.as_bytes());
            }
            put_string(&mut payload, &attributes);
        }
        Ok(payload)
    }

    /// Carries the plugin's dialogue to its end.
    pub(super) fn authenticate(&mut self, password: &str, mut nonce: Vec<u8>) -> Result<Outcome> {
        loop {
            let packet = self.read_packet().context("read the answer to the login")?;
            match packet.split_first() {
                Some((0x00 | 0xFF, _)) => return Outcome::parse(&packet),
                Some((0xFE, switch)) => {
                    let (plugin, data) = split_text(switch)?;
                    self.switches += 1;
                    nonce = data.to_vec();
                    let answer = token(&plugin, &nonce, password)?;
                    self.send_packet(&answer)?;
                }
                // caching_sha2_password: 3 = the fast path was enough, 4 = the password itself is asked for.
                Some((0x01, [3])) => {}
                Some((0x01, [4])) => self.send_packet(&[2])?,
                Some((0x01, key)) if key.starts_with(b"-----BEGIN") => {
                    let mut secret = password.as_bytes().to_vec();
                    secret.push(0);
                    for (byte, mask) in secret.iter_mut().zip(nonce.iter().take(20).cycle()) {
                        *byte ^= mask;
                    }
                    self.password_sent = true;
                    self.send_packet(&crypto::encrypt(&secret, key))?;
                }
                other => bail!("unexpected in a login: {other:?}"),
            }
        }
    }
}
