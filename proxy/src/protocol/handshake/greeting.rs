//! The greeting: `HandshakeV10`.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::Malformed;
use super::super::capability::Capabilities;
use super::super::field::{Reader, put_nul_bytes};

/// Bytes of the scramble that `mysql_native_password` and `caching_sha2_password` take.
pub const SCRAMBLE_LEN: usize = 20;
/// Bytes of the scramble that come before the capabilities.
const SCRAMBLE_HEAD: usize = 8;
/// The scramble's tail takes at least this many bytes (the manual: `MAX(13, length - 8)`).
const SCRAMBLE_TAIL_MIN: usize = 13;
/// The only protocol version there is.
const PROTOCOL: u8 = 10;

/// What a server says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// The server's version text.
    pub version: Bytes,
    /// The connection's id; in the proxy's own greeting, the low 32 bits of `cs_id`.
    pub thread_id: u32,
    /// The scramble, without its closing NUL.
    pub scramble: Bytes,
    /// What the server offers.
    pub capabilities: Capabilities,
    /// The low byte of the server's default collation.
    pub charset: u8,
    /// Status flags.
    pub status: u16,
    /// The authentication plugin that the scramble is for. Empty without `PLUGIN_AUTH`.
    pub plugin: Bytes,
}

impl Greeting {
    /// Reads a greeting. An ERR packet (first byte `0xFF`) is not one: look for it first.
    ///
    /// # Errors
    /// [`Malformed`] if it is cut short or not of protocol version 10.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("protocol version")? != PROTOCOL {
            return Err(Malformed {
                what: "protocol version",
            });
        }
        let version = reader.nul_bytes("server version")?;
        let thread_id = reader.u32("thread id")?;
        let head = reader.bytes(SCRAMBLE_HEAD, "scramble")?;
        reader.u8("filler")?;
        let low = reader.u16("capabilities")?;
        let charset = reader.u8("character set")?;
        let status = reader.u16("status")?;
        let high = reader.u16("capabilities")?;
        let scramble_len = usize::from(reader.u8("scramble length")?);
        reader.bytes(6, "filler")?;
        let extended = reader.u32("extended capabilities")?;
        let capabilities =
            Capabilities::from_wire(u32::from(low) | u32::from(high) << 16, extended);
        let mut scramble = BytesMut::from(head);
        if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            let tail_len = scramble_len
                .saturating_sub(SCRAMBLE_HEAD)
                .max(SCRAMBLE_TAIL_MIN);
            let tail = reader.bytes(tail_len.min(reader.rest().len()), "scramble")?;
            scramble.put_slice(tail.strip_suffix(b"\0").unwrap_or(tail));
        }
        let plugin = if capabilities.contains(Capabilities::PLUGIN_AUTH) {
            reader.nul_or_rest()
        } else {
            &[]
        };
        Ok(Self {
            version: Bytes::copy_from_slice(version),
            thread_id,
            scramble: scramble.freeze(),
            capabilities,
            charset,
            status,
            plugin: Bytes::copy_from_slice(plugin),
        })
    }

    /// The greeting's payload. A scramble that is not 20 bytes long is filled with NULs or cut, as the form has room for no other.
    pub fn encode(&self) -> BytesMut {
        let mut scramble = self.scramble.to_vec();
        scramble.resize(SCRAMBLE_LEN, 0);
        let (head, tail) = scramble.split_at(SCRAMBLE_HEAD);
        let mysql = self.capabilities.mysql_bits().to_le_bytes();
        let mut out = BytesMut::with_capacity(96);
        out.put_u8(PROTOCOL);
        put_nul_bytes(&mut out, &self.version);
        out.put_u32_le(self.thread_id);
        out.put_slice(head);
        out.put_u8(0);
        let [low_a, low_b, high_a, high_b] = mysql;
        out.put_slice(&[low_a, low_b]);
        out.put_u8(self.charset);
        out.put_u16_le(self.status);
        out.put_slice(&[high_a, high_b]);
        let has_plugin = self.capabilities.contains(Capabilities::PLUGIN_AUTH);
        out.put_u8(if has_plugin {
            u8::try_from(SCRAMBLE_LEN + 1).unwrap_or(u8::MAX)
        } else {
            0
        });
        out.put_bytes(0, 6);
        out.put_u32_le(self.capabilities.mariadb_bits());
        out.put_slice(tail);
        out.put_u8(0);
        if has_plugin {
            put_nul_bytes(&mut out, &self.plugin);
        }
        out
    }
}
