//! The proxy's own logins, `root@proxysys` and `inspector@proxysys`: who they are, where they may come from, how they prove it. No node
//! knows them.

use std::net::IpAddr;

use bytes::Bytes;

use super::{PROXY_TENANT, auth_exchange::Scramble, credential::Credential, login_name::LoginName};
use crate::protocol::handshake::LoginPacket;

const NATIVE: &[u8] = b"mysql_native_password";
const CACHING_SHA2: &[u8] = b"caching_sha2_password";

/// One of the proxy's own users.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyUser {
    /// `root@proxysys`: may see and end everything.
    Root,
    /// `inspector@proxysys`: may ask whether the proxy lives.
    Inspector,
}

impl ProxyUser {
    /// Which of them a name of the proxy's tenant means.
    pub fn of(name: &LoginName) -> Option<Self> {
        match &name.user[..] {
            b"root" => Some(Self::Root),
            b"inspector" => Some(Self::Inspector),
            _ => None,
        }
    }
}

/// Whether a name is of the proxy's own tenant.
pub fn is_of_proxy(name: &LoginName) -> bool {
    name.tenant == PROXY_TENANT
}

/// Whether the proxy's own users may come from this address: loopback, link-local, RFC 1918 or `fc00::/7`, as with ODP.
pub const fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The plugin that the client must be asked to use; none where its login packet already answers the greeting's scramble. Clients of
/// `MySQL` 9 have no `mysql_native_password`, old clients and some of `MariaDB`'s no `caching_sha2_password`: what the client names itself
/// it has.
pub fn plugin_to_ask(packet: &LoginPacket, greeted: &Bytes) -> Option<Bytes> {
    let named = packet.plugin.as_deref().unwrap_or_default();
    let is_known = [NATIVE, CACHING_SHA2].contains(&named);
    if is_known && named == greeted {
        return None;
    }
    Some(Bytes::from_static(
        if named == CACHING_SHA2 || !is_known && !packet.capabilities.is_mariadb() {
            CACHING_SHA2
        } else {
            NATIVE
        },
    ))
}

/// Whether the plugin's dialogue has one more packet before OK: "the fast path was enough".
pub fn has_fast_path(plugin: &[u8]) -> bool {
    plugin == CACHING_SHA2
}

/// Whether this answers the request as the password does. Takes as long for a wrong answer as for a right one.
pub fn accepts(password: &str, asked: &Scramble, answer: &[u8]) -> bool {
    let expected = Credential::Password(password.to_owned()).answer(asked);
    expected.is_some_and(|expected| {
        let differences = expected
            .iter()
            .zip(answer)
            .fold(0, |differences, (one, other)| {
                std::hint::black_box(differences | (one ^ other))
            });
        !expected.is_empty() && expected.len() == answer.len() && differences == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::capability::Capabilities;
    use crate::session::login_name::Rules;
    use mysql_common::scramble::{scramble_native, scramble_sha256};

    #[test]
    fn names_of_the_proxys_tenant() {
        let of = |name: &'static str| {
            let name = Bytes::from_static(name.as_bytes());
            let name = LoginName::parse(&name, Rules::default());
            (is_of_proxy(&name), ProxyUser::of(&name))
        };
        let (root, inspector) = (Some(ProxyUser::Root), Some(ProxyUser::Inspector));
        assert_eq!(of("root@proxysys"), (true, root));
        assert_eq!(of("root@proxysys#east"), (true, root));
        assert_eq!(of("inspector@proxysys"), (true, inspector));
        assert_eq!(of("Root@proxysys"), (true, None));
        assert_eq!(of("app@proxysys"), (true, None));
        for name in ["root", "root@sys", "root@PROXYSYS", "proxysys"] {
            assert!(!of(name).0, "{name}");
        }
    }

    #[test]
    fn private_addresses() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("10.0.0.1", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("169.254.0.1", true),
            ("100.64.0.1", false),
            ("8.8.8.8", false),
            ("::1", true),
            ("::ffff:10.0.0.1", true),
            ("::ffff:8.8.8.8", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
        }
    }

    fn packet(plugin: Option<&'static [u8]>, capabilities: Capabilities) -> LoginPacket {
        LoginPacket {
            capabilities,
            max_packet: 0,
            charset: 45,
            filler: [0; 23],
            user: Bytes::new(),
            auth: Bytes::new(),
            database: None,
            plugin: plugin.map(Bytes::from_static),
            attributes: None,
            zstd_level: None,
        }
    }

    #[test]
    fn clients_are_asked_for_a_plugin_that_they_have() {
        let (mysql, mariadb) = (Capabilities::MYSQL, Capabilities::default());
        for (greeted, named, client, expected) in [
            (NATIVE, Some(NATIVE), mysql, None),
            (CACHING_SHA2, Some(CACHING_SHA2), mysql, None),
            // MySQL 9 in front of MariaDB, and an old client in front of MySQL 9.
            (NATIVE, Some(CACHING_SHA2), mysql, Some(CACHING_SHA2)),
            (CACHING_SHA2, Some(NATIVE), mysql, Some(NATIVE)),
            (NATIVE, Some(b"client_ed25519"), mariadb, Some(NATIVE)),
            (
                NATIVE,
                Some(b"authentication_ldap"),
                mysql,
                Some(CACHING_SHA2),
            ),
            (NATIVE, None, mysql, Some(CACHING_SHA2)),
            (
                b"client_ed25519",
                Some(b"client_ed25519"),
                mariadb,
                Some(NATIVE),
            ),
        ]
            as [(&'static [u8], _, _, Option<&[u8]>); 8]
        {
            let asked = plugin_to_ask(&packet(named, client), &Bytes::from_static(greeted));
            assert_eq!(asked.as_deref(), expected, "{greeted:?} {named:?}");
        }
    }

    #[test]
    fn only_the_passwords_own_answer_is_accepted() {
        let nonce = b"abcdefghijklmnopqrst";
        for (plugin, right, wrong) in [
            (
                NATIVE,
                scramble_native(nonce, b"open").unwrap().to_vec(),
                scramble_native(nonce, b"Open").unwrap().to_vec(),
            ),
            (
                CACHING_SHA2,
                scramble_sha256(nonce, b"open").unwrap().to_vec(),
                scramble_sha256(nonce, b"Open").unwrap().to_vec(),
            ),
        ] {
            let asked = Scramble {
                plugin: Bytes::from_static(plugin),
                scramble: Bytes::from_static(nonce),
            };
            assert!(accepts("open", &asked, &right));
            assert!(!accepts("open", &asked, &wrong));
            assert!(!accepts("open", &asked, &right[1..]));
            assert!(!accepts("open", &asked, b""));
            // No password opens nothing, and neither does a plugin that we do not know.
            assert!(!accepts("", &asked, b""));
            let other = Scramble {
                plugin: Bytes::from_static(b"other"),
                ..asked
            };
            assert!(!accepts("open", &other, &right));
        }
    }
}
