//! What a login packet asks for, and the packet that the node gets instead.

use bytes::{Bytes, BytesMut};

use crate::protocol::capability::Capabilities;
use crate::protocol::error::MysqlError;
use crate::protocol::field::put_lenenc_bytes;
use crate::protocol::handshake::{ATTRIBUTES_MAX, Attributes, LoginPacket, attribute_pairs};
use crate::session::credential::Proof;
use crate::session::login_name::{LoginName, Rules};

use super::Scramble;

/// A client's wish to log in.
#[derive(Clone, Debug)]
pub struct Request {
    /// The packet as it came.
    pub packet: LoginPacket,
    /// Its user name, taken apart.
    pub name: LoginName,
    /// The capabilities that hold on both legs.
    pub agreed: Capabilities,
}

impl Request {
    /// Reads a client's login packet; `advertised` is what the proxy's greeting offered.
    ///
    /// # Errors
    /// What to answer instead: 1043 for anything that is no login packet or asks for TLS where that was not offered; 1251 for a
    /// client that cannot be asked to answer another scramble.
    pub fn read(
        payload: &[u8],
        advertised: Capabilities,
        rules: Rules<'_>,
    ) -> Result<Self, MysqlError> {
        // Over TLS the packet says again that it is wanted.
        if LoginPacket::wants_tls(payload) && !advertised.contains(Capabilities::SSL) {
            return Err(MysqlError::bad_handshake());
        }
        let packet =
            LoginPacket::parse(payload).map_err(|_malformed| MysqlError::bad_handshake())?;
        if !packet.capabilities.contains(Capabilities::PLUGIN_AUTH) {
            return Err(MysqlError::auth_mode());
        }
        let name = LoginName::parse(&packet.user, rules);
        let agreed = Capabilities::agree(advertised, packet.capabilities);
        Ok(Self {
            packet,
            name,
            agreed,
        })
    }

    /// Whether a node that greets with `node` can be used as agreed with the client. It cannot where it offers less than the
    /// node from whose greeting the proxy's was made.
    pub fn fits(&self, node: Capabilities) -> bool {
        let possible = Capabilities::agree(Capabilities::advertise(node), self.packet.capabilities);
        possible
            .towards_node(Capabilities::CONNECT_ATTRS.with(Capabilities::LENENC_AUTH))
            .contains(self.agreed)
    }

    /// The login packet for the node: as the client's, under the name `user`, with more attributes and, for now, no answer.
    pub fn towards_node(
        &self,
        node: Capabilities,
        user: Bytes,
        attributes: &[(&str, &str)],
    ) -> LoginPacket {
        let mut capabilities = self.agreed.towards_node(node);
        if self.packet.database.is_none() {
            // Flag and field must fit: the node would take the next field for the database.
            capabilities = capabilities.without(Capabilities::CONNECT_WITH_DB);
        }
        LoginPacket {
            capabilities,
            user,
            auth: Bytes::new(),
            attributes: Some(append_attributes(
                self.packet.attributes.as_ref(),
                attributes,
            )),
            ..self.packet.clone()
        }
    }

    /// What the client has answered to the scramble of the proxy's own greeting.
    pub fn first_answer(&self, scramble: &Bytes) -> Proof {
        let asked = Scramble {
            plugin: self.packet.plugin.clone().unwrap_or_default(),
            scramble: scramble.clone(),
        };
        Proof::new(&asked, self.packet.auth.clone())
    }

    /// The database that the client asks for; an empty name is none.
    pub fn database(&self) -> Option<&Bytes> {
        self.packet
            .database
            .as_ref()
            .filter(|name| !name.is_empty())
    }

    /// Whether the client reads errors 5000 to 5999 as a server's.
    pub fn reads_odp_errors(&self) -> bool {
        !self.is_of_mariadbs_library()
    }

    /// Whether the client is `MariaDB`'s C library, which tells its name in the connection attributes. It (10.11.19) shows each error from 2000 to
    /// 2999 and from 5000 to 5999 as a malformed packet: it has errors of its own with such numbers.
    pub fn is_of_mariadbs_library(&self) -> bool {
        let mut pairs = self
            .packet
            .attributes
            .iter()
            .flat_map(|own| attribute_pairs(own));
        pairs.any(|(name, value)| name == b"_client_name" && value == b"libmariadb")
    }

    /// Its name as sessions hold it.
    pub fn database_name(&self) -> Option<String> {
        self.database()
            .map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// What the client has become since its login: this user, in this database, with this collation.
    pub fn change(&mut self, name: LoginName, database: Option<&str>, collation: u16) {
        self.name = name;
        self.change_database(database);
        let [low, high] = collation.to_le_bytes();
        self.packet.charset = low;
        if let Some(byte) = self.packet.filler.first_mut() {
            *byte = high;
        }
    }

    /// The client has another database now.
    pub fn change_database(&mut self, database: Option<&str>) {
        self.packet.database = database.map(|name| Bytes::copy_from_slice(name.as_bytes()));
        if database.is_some() {
            let flag = Capabilities::CONNECT_WITH_DB;
            self.packet.capabilities = self.packet.capabilities.with(flag);
            self.agreed = self.agreed.with(flag);
        }
    }
}

/// A client's connection attributes and some more. Where that is more than a server takes, the client's alone.
pub fn append_attributes(own: Option<&Attributes>, more: &[(&str, &str)]) -> Attributes {
    let own = own.map_or(&b""[..], |own| own);
    let mut all = BytesMut::from(own);
    for (name, value) in more {
        put_lenenc_bytes(&mut all, name.as_bytes());
        put_lenenc_bytes(&mut all, value.as_bytes());
    }
    if all.len() > ATTRIBUTES_MAX {
        all.truncate(own.len());
    }
    all.freeze()
}
