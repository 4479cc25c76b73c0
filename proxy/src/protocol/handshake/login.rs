//! The login packet: `HandshakeResponse41`, and the `SSLRequest` that may stand in its place.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::Malformed;
use super::super::capability::Capabilities;
use super::super::field::{Reader, put_lenenc, put_lenenc_bytes, put_nul_bytes};

/// Servers refuse more bytes of connection attributes than this (`MySQL`'s `read_client_connect_attrs`: 64 KiB).
pub const ATTRIBUTES_MAX: usize = 65_535;
/// Bytes of the filler after the character set, `MariaDB`'s extended capabilities included.
const FILLER_LEN: usize = 23;
/// Bytes of an `SSLRequest`: a login packet up to its filler's end.
pub const TLS_REQUEST_LEN: usize = 9 + FILLER_LEN;
/// Bytes of the filler before `MariaDB`'s extended capabilities.
const FILLER_PLAIN_LEN: usize = 19;

/// Connection attributes as they travel: pairs of length-encoded strings. See [`attribute_pairs`].
pub type Attributes = Bytes;

/// What a client sends to log in. Everything is kept as the client sent it: encoded again it is the same bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoginPacket {
    /// What the client asks for. The flags say which of the fields below are there.
    pub capabilities: Capabilities,
    /// The longest packet that the client takes, in bytes.
    pub max_packet: u32,
    /// The collation's low byte.
    pub charset: u8,
    /// The bytes after it, which should be zero; some clients put the collation's high byte first. The last four are
    /// `MariaDB`'s extended capabilities, and in [`Self::encode`] come from `capabilities` where those are `MariaDB`'s.
    pub filler: [u8; FILLER_LEN],
    /// The user name as typed, tenant and cluster included.
    pub user: Bytes,
    /// The answer to the scramble.
    pub auth: Bytes,
    /// The database to begin in; there with `CONNECT_WITH_DB`.
    pub database: Option<Bytes>,
    /// The plugin that made `auth`; there with `PLUGIN_AUTH`.
    pub plugin: Option<Bytes>,
    /// There with `CONNECT_ATTRS`.
    pub attributes: Option<Attributes>,
    /// Compression level; there with `ZSTD_COMPRESSION_ALGORITHM`.
    pub zstd_level: Option<u8>,
}

impl LoginPacket {
    /// Whether `payload` asks for TLS: then nothing else in it can be read before the TLS handshake.
    pub fn wants_tls(payload: &[u8]) -> bool {
        let flags = payload
            .first_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        Capabilities::from_wire(flags, 0).contains(Capabilities::SSL)
    }

    /// Reads a login packet.
    ///
    /// # Errors
    /// [`Malformed`] if it is cut short, or of the protocol before 4.1.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let mysql = reader.u32("capabilities")?;
        if !Capabilities::from_wire(mysql, 0).contains(Capabilities::PROTOCOL_41) {
            return Err(Malformed {
                what: "protocol before 4.1",
            });
        }
        let max_packet = reader.u32("maximal packet")?;
        let charset = reader.u8("character set")?;
        let filler: [u8; FILLER_LEN] = reader.array("filler")?;
        let extended = filler
            .last_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let capabilities = Capabilities::from_wire(mysql, extended);
        let has = |flag| capabilities.contains(flag);
        let user = reader.nul_bytes("user name")?;
        let auth = if has(Capabilities::LENENC_AUTH) {
            reader.lenenc_bytes("authentication data")?
        } else if has(Capabilities::SECURE_CONNECTION) {
            let len = reader.u8("authentication data")?;
            reader.bytes(usize::from(len), "authentication data")?
        } else {
            reader.nul_or_rest()
        };
        // Clients that set a flag and leave out its field at the packet's end exist, and servers take their word for nothing.
        let mut optional = |flag| (has(flag) && !reader.is_empty()).then(|| reader.nul_or_rest());
        let database = optional(Capabilities::CONNECT_WITH_DB);
        let plugin = optional(Capabilities::PLUGIN_AUTH);
        let attributes = if has(Capabilities::CONNECT_ATTRS) && !reader.is_empty() {
            Some(reader.lenenc_bytes("connection attributes")?)
        } else {
            None
        };
        let zstd_level = if has(Capabilities::ZSTD) {
            reader.u8("compression level").ok()
        } else {
            None
        };
        Ok(Self {
            capabilities,
            max_packet,
            charset,
            filler,
            user: Bytes::copy_from_slice(user),
            auth: Bytes::copy_from_slice(auth),
            database: database.map(Bytes::copy_from_slice),
            plugin: plugin.map(Bytes::copy_from_slice),
            attributes: attributes.map(Bytes::copy_from_slice),
            zstd_level,
        })
    }

    /// The packet's payload. The flags must fit the fields: a field whose flag is not set is left out, and `auth` is cut to 255
    /// bytes without `PLUGIN_AUTH_LENENC_CLIENT_DATA`.
    pub fn encode(&self) -> BytesMut {
        let has = |flag| self.capabilities.contains(flag);
        let attributes_len = self.attributes.as_ref().map_or(0, Bytes::len);
        let mut out =
            BytesMut::with_capacity(128 + self.user.len() + self.auth.len() + attributes_len);
        out.put_u32_le(self.capabilities.mysql_bits());
        out.put_u32_le(self.max_packet);
        out.put_u8(self.charset);
        let (plain, extended) = self.filler.split_at(FILLER_PLAIN_LEN);
        out.put_slice(plain);
        if self.capabilities.is_mariadb() {
            out.put_u32_le(self.capabilities.mariadb_bits());
        } else {
            out.put_slice(extended);
        }
        put_nul_bytes(&mut out, &self.user);
        if has(Capabilities::LENENC_AUTH) {
            put_lenenc_bytes(&mut out, &self.auth);
        } else if has(Capabilities::SECURE_CONNECTION) {
            let auth = self.auth.slice(..self.auth.len().min(usize::from(u8::MAX)));
            put_lenenc_u8(&mut out, &auth);
        } else {
            put_nul_bytes(&mut out, &self.auth);
        }
        if let Some(database) = self
            .database
            .as_ref()
            .filter(|_| has(Capabilities::CONNECT_WITH_DB))
        {
            put_nul_bytes(&mut out, database);
        }
        if let Some(plugin) = self
            .plugin
            .as_ref()
            .filter(|_| has(Capabilities::PLUGIN_AUTH))
        {
            put_nul_bytes(&mut out, plugin);
        }
        if let Some(attributes) = self
            .attributes
            .as_ref()
            .filter(|_| has(Capabilities::CONNECT_ATTRS))
        {
            put_lenenc(&mut out, attributes.len() as u64);
            out.put_slice(attributes);
        }
        if let Some(level) = self.zstd_level.filter(|_| has(Capabilities::ZSTD)) {
            out.put_u8(level);
        }
        out
    }

    /// The collation's id: the byte after the maximal packet, and, where the client uses it, the next as its high byte.
    pub const fn collation(&self) -> u16 {
        let [high, ..] = self.filler;
        u16::from_le_bytes([self.charset, high])
    }
}

/// Appends a string with one byte of length; `bytes` must not be longer than 255.
fn put_lenenc_u8(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    out.put_slice(bytes);
}

/// The pairs of connection attributes, up to the first that is malformed.
pub fn attribute_pairs(attributes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut reader = Reader::new(attributes);
    std::iter::from_fn(move || {
        let name = reader.lenenc_bytes("name").ok()?;
        let value = reader.lenenc_bytes("value").ok()?;
        Some((name, value))
    })
}
