//! The packets between login packet and OK: the server's wishes and `COM_CHANGE_USER`, which starts the same dialogue over.

use bytes::{BufMut, Bytes, BytesMut};

use super::Malformed;
use super::capability::Capabilities;
use super::command;
use super::field::{Reader, put_lenenc_bytes, put_nul_bytes};
use super::handshake::Attributes;

/// First byte of an [`AuthSwitchRequest`].
pub const SWITCH: u8 = 0xFE;
/// First byte of an `AuthMoreData` packet. What follows belongs to the plugin.
pub const MORE_DATA: u8 = 0x01;

/// A plugin name that no account uses. A server that reads it in a login packet or in `COM_CHANGE_USER` asks the client to use the
/// account's own plugin, with its scramble, in an [`AuthSwitchRequest`] (`MySQL` and `MariaDB`: `sql_authentication.cc` and
/// `sql_acl.cc`, `send_plugin_request_packet`).
pub const ASK_PLUGIN: &str = "sluice_ask";

/// A server's request to authenticate with this plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthSwitchRequest {
    /// The plugin's name.
    pub plugin: Bytes,
    /// What the plugin needs: a scramble, with its closing NUL where the plugin has one.
    pub data: Bytes,
}

impl AuthSwitchRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, or the request of `MySQL` 4.0 (the byte `0xFE` alone).
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("authentication switch")? != SWITCH {
            return Err(Malformed {
                what: "authentication switch",
            });
        }
        let plugin = reader.nul_bytes("plugin name")?;
        Ok(Self {
            plugin: Bytes::copy_from_slice(plugin),
            data: Bytes::copy_from_slice(reader.rest()),
        })
    }

    /// The packet's payload.
    pub fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(2 + self.plugin.len() + self.data.len());
        out.put_u8(SWITCH);
        put_nul_bytes(&mut out, &self.plugin);
        out.put_slice(&self.data);
        out
    }
}

/// `COM_CHANGE_USER`, its command byte included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangeUser {
    /// The user name as typed, tenant and cluster included.
    pub user: Bytes,
    /// The answer to the scramble of the login.
    pub auth: Bytes,
    /// The database; empty for none.
    pub database: Bytes,
    /// The collation's id.
    pub collation: Option<u16>,
    /// The plugin that made `auth`; there with `PLUGIN_AUTH`.
    pub plugin: Option<Bytes>,
    /// There with `CONNECT_ATTRS`.
    pub attributes: Option<Attributes>,
}

impl ChangeUser {
    /// Reads the command. `agreed` are the connection's capabilities.
    ///
    /// # Errors
    /// [`Malformed`] if it is another command or cut short. Fields after the database may be missing from the end.
    pub fn parse(payload: &[u8], agreed: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("command")? != command::CHANGE_USER {
            return Err(Malformed {
                what: "COM_CHANGE_USER",
            });
        }
        let user = reader.nul_bytes("user name")?;
        let auth = if agreed.contains(Capabilities::SECURE_CONNECTION) {
            let len = reader.u8("authentication data")?;
            reader.bytes(usize::from(len), "authentication data")?
        } else {
            reader.nul_bytes("authentication data")?
        };
        let database = reader.nul_or_rest();
        let collation = reader.u16("collation").ok();
        let has_plugin =
            agreed.contains(Capabilities::PLUGIN_AUTH) && collation.is_some() && !reader.is_empty();
        let plugin = has_plugin.then(|| reader.nul_or_rest());
        let has_attributes = agreed.contains(Capabilities::CONNECT_ATTRS)
            && collation.is_some()
            && !reader.is_empty();
        let attributes = if has_attributes {
            Some(reader.lenenc_bytes("connection attributes")?)
        } else {
            None
        };
        Ok(Self {
            user: Bytes::copy_from_slice(user),
            auth: Bytes::copy_from_slice(auth),
            database: Bytes::copy_from_slice(database),
            collation,
            plugin: plugin.map(Bytes::copy_from_slice),
            attributes: attributes.map(Bytes::copy_from_slice),
        })
    }

    /// The command's payload. A field is left out where it is absent, its flag is not in `agreed`, or one before it is absent;
    /// `auth` has at most 255 bytes.
    pub fn encode(&self, agreed: Capabilities) -> BytesMut {
        let mut out = BytesMut::with_capacity(128 + self.attributes.as_ref().map_or(0, Bytes::len));
        out.put_u8(command::CHANGE_USER);
        put_nul_bytes(&mut out, &self.user);
        if agreed.contains(Capabilities::SECURE_CONNECTION) {
            let len = u8::try_from(self.auth.len()).unwrap_or(u8::MAX);
            out.put_u8(len);
            out.put_slice(&self.auth.slice(..usize::from(len)));
        } else {
            put_nul_bytes(&mut out, &self.auth);
        }
        put_nul_bytes(&mut out, &self.database);
        let Some(collation) = self.collation else {
            return out;
        };
        out.put_u16_le(collation);
        if agreed.contains(Capabilities::PLUGIN_AUTH) {
            let Some(plugin) = &self.plugin else {
                return out;
            };
            put_nul_bytes(&mut out, plugin);
        }
        if let Some(attributes) = self
            .attributes
            .as_ref()
            .filter(|_| agreed.contains(Capabilities::CONNECT_ATTRS))
        {
            put_lenenc_bytes(&mut out, attributes);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODERN: Capabilities = Capabilities::from_wire(0x0018_8200, 0);

    fn check(command: &ChangeUser, agreed: Capabilities) {
        let bytes = command.encode(agreed);
        let parsed = ChangeUser::parse(&bytes, agreed).unwrap();
        assert_eq!(&parsed, command);
        assert_eq!(parsed.encode(agreed), bytes);
    }

    #[test]
    fn change_user_round_trips() {
        let full = ChangeUser {
            user: Bytes::from_static(b"app@t1#c1"),
            auth: Bytes::from_static(b"12345678901234567890"),
            database: Bytes::from_static(b"shop"),
            collation: Some(2304),
            plugin: Some(Bytes::from_static(b"mysql_native_password")),
            attributes: Some(Bytes::from_static(b"\x01a\x01b")),
        };
        check(&full, MODERN);
        let plain = ChangeUser {
            attributes: None,
            plugin: None,
            ..full.clone()
        };
        check(&plain, MODERN);
        check(&plain, Capabilities::from_wire(0x8200, 0));
        check(
            &ChangeUser {
                collation: None,
                ..plain
            },
            MODERN,
        );
        check(
            &ChangeUser {
                auth: Bytes::new(),
                database: Bytes::new(),
                ..full
            },
            MODERN,
        );
    }

    /// Found by the fuzz target `replies`: half a collation was taken for attributes.
    #[test]
    fn no_field_follows_one_that_is_missing() {
        let command = b"\x11app\0\0shop\0\0";
        let parsed = ChangeUser::parse(command, MODERN).unwrap();
        assert_eq!((parsed.collation, &parsed.attributes), (None, &None));
        check(&parsed, MODERN);
    }

    #[test]
    fn a_switch_request_round_trips() {
        let request = AuthSwitchRequest {
            plugin: Bytes::from_static(b"client_ed25519"),
            data: Bytes::from_static(b"\x00abc\x00"),
        };
        assert_eq!(AuthSwitchRequest::parse(&request.encode()), Ok(request));
        assert!(AuthSwitchRequest::parse(b"\xFE").is_err());
        assert!(AuthSwitchRequest::parse(b"\x00").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), flags: u32) {
            let mut command = vec![command::CHANGE_USER];
            command.extend_from_slice(&bytes);
            let agreed = Capabilities::from_wire(flags, 0);
            if let Ok(parsed) = ChangeUser::parse(&command, agreed) {
                let _ = parsed.encode(agreed);
            }
            let _ = AuthSwitchRequest::parse(&bytes);
        }
    }
}
