//! What a client and a node may do with each other: the capability flags of both legs.
//!
//! One number holds both sets: the low 32 bits are `MySQL`'s flags, the high 32 bits `MariaDB`'s extended ones, which travel in
//! filler bytes of the greeting and of the login packet where the low bit [`Capabilities::MYSQL`] is clear (`MariaDB`'s page).

use std::fmt;

use mysql_common::constants::{CapabilityFlags as Flag, MariadbCapabilities as MariadbFlag};
use sluice_ebpf::response::format;

/// A set of capability flags.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Capabilities(u64);

impl Capabilities {
    /// `CLIENT_LONG_PASSWORD`, in `MariaDB` `CLIENT_MYSQL`: "I am no `MariaDB`". Not a capability but the mark that tells what
    /// the filler holds.
    pub const MYSQL: Self = Self::low(Flag::CLIENT_LONG_PASSWORD);
    /// `CLIENT_CONNECT_WITH_DB`.
    pub const CONNECT_WITH_DB: Self = Self::low(Flag::CLIENT_CONNECT_WITH_DB);
    /// `CLIENT_COMPRESS`.
    pub const COMPRESS: Self = Self::low(Flag::CLIENT_COMPRESS);
    /// `CLIENT_PROTOCOL_41`.
    pub const PROTOCOL_41: Self = Self::low(Flag::CLIENT_PROTOCOL_41);
    /// `CLIENT_SSL`.
    pub const SSL: Self = Self::low(Flag::CLIENT_SSL);
    /// `CLIENT_SECURE_CONNECTION`, today called `CLIENT_RESERVED2`.
    pub const SECURE_CONNECTION: Self = Self::low(Flag::CLIENT_SECURE_CONNECTION);
    /// `CLIENT_MULTI_STATEMENTS`.
    pub const MULTI_STATEMENTS: Self = Self::low(Flag::CLIENT_MULTI_STATEMENTS);
    /// `CLIENT_PLUGIN_AUTH`.
    pub const PLUGIN_AUTH: Self = Self::low(Flag::CLIENT_PLUGIN_AUTH);
    /// `CLIENT_CONNECT_ATTRS`.
    pub const CONNECT_ATTRS: Self = Self::low(Flag::CLIENT_CONNECT_ATTRS);
    /// `CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA`.
    pub const LENENC_AUTH: Self = Self::low(Flag::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA);
    /// `CLIENT_SESSION_TRACK`.
    pub const SESSION_TRACK: Self = Self::low(Flag::CLIENT_SESSION_TRACK);
    /// `CLIENT_DEPRECATE_EOF`.
    pub const DEPRECATE_EOF: Self = Self::low(Flag::CLIENT_DEPRECATE_EOF);
    /// `CLIENT_OPTIONAL_RESULTSET_METADATA`.
    pub const OPTIONAL_METADATA: Self = Self::low(Flag::CLIENT_OPTIONAL_RESULTSET_METADATA);
    /// `CLIENT_ZSTD_COMPRESSION_ALGORITHM`.
    pub const ZSTD: Self = Self::low(Flag::CLIENT_ZSTD_COMPRESSION_ALGORITHM);
    /// `CLIENT_QUERY_ATTRIBUTES`.
    pub const QUERY_ATTRIBUTES: Self = Self::low(Flag::CLIENT_QUERY_ATTRIBUTES);
    /// `MARIADB_CLIENT_EXTENDED_METADATA`.
    pub const MARIADB_EXTENDED_METADATA: Self =
        Self::high(MariadbFlag::MARIADB_CLIENT_EXTENDED_METADATA);
    /// `MARIADB_CLIENT_CACHE_METADATA`.
    pub const MARIADB_CACHE_METADATA: Self = Self::high(MariadbFlag::MARIADB_CLIENT_CACHE_METADATA);

    /// What a server offers that executes no statement of its own: what every client uses, and nothing that only some servers have.
    pub const ADMINISTRATION: Self = Self::low(
        Flag::CLIENT_LONG_PASSWORD
            .union(Flag::CLIENT_FOUND_ROWS)
            .union(Flag::CLIENT_LONG_FLAG)
            .union(Flag::CLIENT_CONNECT_WITH_DB)
            .union(Flag::CLIENT_IGNORE_SPACE)
            .union(Flag::CLIENT_PROTOCOL_41)
            .union(Flag::CLIENT_INTERACTIVE)
            .union(Flag::CLIENT_TRANSACTIONS)
            .union(Flag::CLIENT_MULTI_STATEMENTS)
            .union(Flag::CLIENT_MULTI_RESULTS)
            .union(Flag::CLIENT_PS_MULTI_RESULTS)
            .union(Flag::CLIENT_CONNECT_ATTRS)
            .union(Flag::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
            .union(Flag::CLIENT_DEPRECATE_EOF),
    );

    /// What a client must have to log in through the proxy.
    const REQUIRED: Self =
        Self(Self::PROTOCOL_41.0 | Self::SECURE_CONNECTION.0 | Self::PLUGIN_AUTH.0);
    /// What the proxy does not offer even if the node does: it would have to decrypt, to decompress or, for optional
    /// metadata, to know of every result set whether column definitions follow.
    const WITHHELD: Self =
        Self(Self::SSL.0 | Self::COMPRESS.0 | Self::ZSTD.0 | Self::OPTIONAL_METADATA.0);
    /// Flags that change nothing but the login packet itself, so that the legs may differ in them.
    const LOGIN_ONLY: Self = Self(Self::CONNECT_ATTRS.0 | Self::LENENC_AUTH.0);

    const fn low(flag: Flag) -> Self {
        Self(flag.bits() as u64)
    }

    const fn high(flag: MariadbFlag) -> Self {
        Self((flag.bits() as u64) << 32)
    }

    /// The set with these bits, `MariaDB`'s in the high half.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as it travels: `MySQL`'s 32 bits, and `MariaDB`'s extended ones, which are only read where [`Self::MYSQL`] is clear.
    pub const fn from_wire(mysql: u32, extended: u32) -> Self {
        let low = mysql as u64;
        if low & Self::MYSQL.0 == 0 {
            Self(low | (extended as u64) << 32)
        } else {
            Self(low)
        }
    }

    /// The bits, `MariaDB`'s in the high half.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// `MySQL`'s half.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    pub const fn mysql_bits(self) -> u32 {
        self.0 as u32
    }

    /// `MariaDB`'s half.
    pub const fn mariadb_bits(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// What these capabilities of a session make of its responses, as kernel and relay want it ([`mod@format`]).
    pub fn format(self) -> u8 {
        let bits = [
            (Self::DEPRECATE_EOF, format::DEPRECATE_EOF),
            (Self::MARIADB_CACHE_METADATA, format::CACHE_METADATA),
            (Self::QUERY_ATTRIBUTES, format::QUERY_ATTRIBUTES),
        ];
        let held = bits.into_iter().filter(|(flag, _)| self.contains(*flag));
        held.map(|(_, bit)| bit).sum()
    }

    /// Whether every flag of `other` is in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether this is a `MariaDB` side's set, whose extended half means something.
    pub const fn is_mariadb(self) -> bool {
        !self.contains(Self::MYSQL)
    }

    /// What the proxy offers its clients in front of a node that offers `node`; whether it offers TLS is not the node's matter.
    pub const fn advertise(node: Self) -> Self {
        node.without(Self::WITHHELD).with(Self::REQUIRED)
    }

    /// What holds on both legs: of what the client asks for, what was offered. [`Self::MYSQL`] is the client's own word about
    /// itself and passes: a `MariaDB` node would otherwise look for extended flags in a `MySQL` client's filler. TLS is each leg's own.
    #[must_use]
    pub const fn agree(advertised: Self, client: Self) -> Self {
        let both = client.0 & (advertised.0 | Self::MYSQL.0) & !Self::SSL.0;
        if client.is_mariadb() && advertised.is_mariadb() {
            Self(both)
        } else {
            Self(both & 0xFFFF_FFFF)
        }
    }

    /// What the login packet to the node says, for what was agreed with the client. Equal but for the flags that only
    /// shape the login packet: with them the proxy's attributes and long answers fit whatever the client's own packet had.
    #[must_use]
    pub const fn towards_node(self, node: Self) -> Self {
        self.with(Self(node.0 & Self::LOGIN_ONLY.0))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({:#018x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `MariaDB` 10.11's greeting, `MySQL` 8's greeting.
    const MARIADB: Capabilities = Capabilities::from_wire(0x81FF_F7FE, 0x1D);
    const MYSQL: Capabilities = Capabilities::from_wire(0xDFFF_FFFF, 0);

    #[test]
    fn nothing_is_offered_that_the_proxy_would_have_to_take_apart() {
        for node in [MARIADB, MYSQL, Capabilities::default()] {
            let offered = Capabilities::advertise(node);
            assert_eq!(offered.bits() & Capabilities::WITHHELD.bits(), 0);
            assert!(offered.contains(Capabilities::REQUIRED));
        }
        assert_eq!(Capabilities::advertise(MARIADB).mariadb_bits(), 0x1D);
    }

    #[test]
    fn extended_flags_hold_only_between_two_mariadb_sides() {
        let mariadb_client = Capabilities::from_wire(0x00BF_A684, 0x1C);
        let mysql_client = Capabilities::from_wire(0x00BF_A685, 0x1C);
        let agreed = Capabilities::agree(Capabilities::advertise(MARIADB), mariadb_client);
        assert_eq!((agreed.mariadb_bits(), agreed.is_mariadb()), (0x1C, true));
        let agreed = Capabilities::agree(Capabilities::advertise(MARIADB), mysql_client);
        assert_eq!((agreed.mariadb_bits(), agreed.is_mariadb()), (0, false));
        let agreed = Capabilities::agree(Capabilities::advertise(MYSQL), mariadb_client);
        assert_eq!((agreed.mariadb_bits(), agreed.is_mariadb()), (0, true));
    }

    proptest! {
        #[test]
        fn the_legs_differ_only_in_what_shapes_the_login_packet(node: u64, client: u64) {
            let advertised = Capabilities::advertise(Capabilities::from_bits(node));
            let agreed = Capabilities::agree(advertised, Capabilities::from_bits(client));
            let to_node = agreed.towards_node(Capabilities::from_bits(node));
            prop_assert_eq!((to_node.bits() ^ agreed.bits()) & !Capabilities::LOGIN_ONLY.bits(), 0);
            prop_assert!(advertised.with(Capabilities::MYSQL).contains(agreed));
        }
    }
}
