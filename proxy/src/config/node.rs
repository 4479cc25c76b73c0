//! One node of a cluster: `"HOST:PORT"`, or a table that says more about it.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::value::{Name, NodeAddress, NodeRole, Weight};

/// The weight of a node of which none is said.
const DEFAULT_WEIGHT: u32 = 1;

/// One database server of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Where it listens.
    pub address: NodeAddress,
    /// What it is for. Anything but [`NodeRole::Auto`] holds whatever the node says of itself.
    pub role: NodeRole,
    /// Where it stands, for operators.
    pub zone: Option<String>,
    /// How many sessions read from it, to those that read from others, where the cluster's policy has reads go to replicas; 0: none.
    pub weight: u32,
    /// Sessions are to leave it, and no new ones to come, as long as another node can serve them.
    pub drain: bool,
    /// What its cluster says of it.
    pub listing: Listing,
    /// The cluster has named it, and the configuration has not.
    pub is_discovered: bool,
}

/// What an `OceanBase` cluster says of one of its servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    /// Nobody has asked, or the cluster does not say.
    Unasked,
    /// It serves.
    Active,
    /// It has not begun to serve.
    Starting,
    /// Somebody has stopped it.
    Stopped,
    /// The cluster does not hear of it.
    Inactive,
    /// It is being taken out of the cluster.
    Deleting,
    /// It is none of the cluster's, as far as the cluster knows this address.
    Absent,
}

impl Listing {
    /// The text that operators see.
    pub const fn text(self) -> Option<&'static str> {
        match self {
            Self::Unasked => None,
            Self::Active => Some("ACTIVE"),
            Self::Starting => Some("STARTING"),
            Self::Stopped => Some("STOPPED"),
            Self::Inactive => Some("INACTIVE"),
            Self::Deleting => Some("DELETING"),
            Self::Absent => Some("ABSENT"),
        }
    }
}

impl Node {
    /// A node of which nothing but the address is said.
    pub const fn at(address: NodeAddress) -> Self {
        Self {
            address,
            role: NodeRole::Auto,
            zone: None,
            weight: DEFAULT_WEIGHT,
            drain: false,
            listing: Listing::Unasked,
            is_discovered: false,
        }
    }

    /// Whether sessions are to leave it, by the configuration's word or the cluster's, and no new ones to come, as long as another node can
    /// serve them.
    pub const fn is_drained(&self) -> bool {
        self.drain || !matches!(self.listing, Listing::Unasked | Listing::Active)
    }
}

/// As one would write it in the file, but for the table's braces.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        let mut words = Vec::new();
        if self.role != NodeRole::Auto {
            words.push(self.role.text().to_owned());
        }
        words.extend(self.zone.as_ref().map(|zone| format!("zone {zone}")));
        words.extend((self.weight != DEFAULT_WEIGHT).then(|| format!("weight {}", self.weight)));
        words.extend(self.drain.then(|| "drain".to_owned()));
        if words.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", words.join(", "))
    }
}

/// A node as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {
    address: NodeAddress,
    role: Option<NodeRole>,
    zone: Option<Name>,
    weight: Option<Weight>,
    #[serde(default)]
    drain: bool,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable)
    }
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"HOST:PORT\" or { address = \"HOST:PORT\", … }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        text.parse().map(Node::at).map_err(E::custom)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Node, M::Error> {
        let table = NodeTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Node {
            role: table.role.unwrap_or(NodeRole::Auto),
            zone: table.zone.map(Name::into_string),
            weight: table.weight.map_or(DEFAULT_WEIGHT, Weight::get),
            drain: table.drain,
            ..Node::at(table.address)
        })
    }
}
