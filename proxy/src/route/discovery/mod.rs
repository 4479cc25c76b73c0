//! What an `OceanBase` cluster says of itself: its servers, where they stand and whether they serve, its tenants, and where these have their
//! data. Pure: rows come in, and a cluster of the configuration is what seeds and outlines the one that holds.
//!
//! Names and values are those of the views `DBA_OB_SERVERS`, `DBA_OB_TENANTS` and `CDB_OB_LS_LOCATIONS` of version 4, and of the tables
//! `__all_server` and `__all_tenant` of version 3, as `OceanBase`'s sources define them (`ob_inner_table_schema_def.py`).

mod read;

use std::collections::{BTreeMap, BTreeSet};

pub use read::{Answers, Refused, Seed};

use crate::config::{Cluster, Listing, Node, NodeAddress, NodeRole};

/// Nodes in all that the views of a cluster's tenants may have: the tenants behind them see the whole cluster.
const VIEWED_MAX: usize = 100_000;

/// What a cluster has said of itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Found {
    /// Its servers; their addresses differ.
    pub servers: Vec<Server>,
    /// Its tenants; their names differ.
    pub tenants: Vec<Tenant>,
}

/// A server of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Where it takes SQL: the address by which the configuration names it, if it does.
    pub address: NodeAddress,
    /// Its zone.
    pub zone: Option<String>,
    /// Whether it serves.
    pub listing: Listing,
}

/// A tenant of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// It follows the tenant of another cluster, and takes no writes.
    pub is_standby: bool,
    /// The servers that have its data, and whether they lead a part of it. Empty: the cluster does not say.
    pub places: BTreeMap<NodeAddress, bool>,
}

/// The cluster that holds: that of the configuration with the servers that it has itself named, those of the configuration first. One of the
/// configuration that it does not name is left where another serves.
pub fn adopt(configured: &Cluster, found: &Found) -> Cluster {
    let listed: BTreeMap<_, _> = found
        .servers
        .iter()
        .map(|server| (&server.address, server))
        .collect();
    let mut nodes: Vec<_> = configured
        .nodes
        .iter()
        .map(|node| match listed.get(&node.address) {
            Some(server) => Node {
                zone: node.zone.clone().or_else(|| server.zone.clone()),
                listing: server.listing,
                ..node.clone()
            },
            None => Node {
                listing: Listing::Absent,
                ..node.clone()
            },
        })
        .collect();
    let named: BTreeSet<_> = configured.addresses().collect();
    let others = found
        .servers
        .iter()
        .filter(|server| !named.contains(&server.address));
    nodes.extend(others.map(|server| Node {
        zone: server.zone.clone(),
        listing: server.listing,
        is_discovered: true,
        ..Node::at(server.address.clone())
    }));
    let cluster = Cluster {
        nodes,
        ..configured.clone()
    };
    let mut of_tenants = BTreeMap::new();
    let mut room = VIEWED_MAX;
    for tenant in &found.tenants {
        let view = of_tenant(&cluster, tenant);
        let Some(left) = room.checked_sub(view.nodes.len()) else {
            break;
        };
        room = left;
        of_tenants.insert(tenant.name.clone(), view);
    }
    Cluster {
        of_tenants,
        ..cluster
    }
}

/// The cluster as a tenant's sessions see it: the servers that have its data, and what they are to it.
fn of_tenant(cluster: &Cluster, tenant: &Tenant) -> Cluster {
    let is_known = cluster
        .addresses()
        .any(|address| tenant.places.contains_key(address));
    let mut nodes = cluster.nodes.clone();
    // A server without the tenant's data does not let it in (error 5150).
    nodes.retain(|node| {
        let is_absent = node.listing == Listing::Absent;
        !is_known || is_absent || tenant.places.contains_key(&node.address)
    });
    for node in &mut nodes {
        let found = match tenant.places.get(&node.address) {
            _ if tenant.is_standby => NodeRole::Standby,
            Some(true) => NodeRole::Primary,
            Some(false) => NodeRole::Replica,
            None => NodeRole::Auto,
        };
        if node.role == NodeRole::Auto {
            node.role = found;
        }
    }
    Cluster {
        nodes,
        ..cluster.clone()
    }
}

#[cfg(test)]
mod tests;
