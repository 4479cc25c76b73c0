//! `SHOW PROXYCLUSTER`: the clusters of the configuration (odp.md, section 1.5).

use super::{Answer, Arguments, Scope, Snapshot, Spec, Value, Who, parse};
use crate::{
    config::{Cluster, NodeRole},
    sql::like::like,
};

pub(super) const STATEMENTS: &[Spec] = &[Spec {
    words: &["SHOW", "PROXYCLUSTER"],
    grammar: "SHOW PROXYCLUSTER [LIKE 'pattern']",
    help: "Lists the clusters of the configuration, their nodes, and in the same order what these are for; and the tenants that an OceanBase cluster has named, with the nodes that have their data. What Sluice does not know is NULL.",
    who: Who::Operator,
    scope: Scope::Own,
    example: "SHOW PROXYCLUSTER LIKE 'e%'",
    parse: parse::like,
    answer,
}];

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let pattern = arguments.like.as_deref().unwrap_or_default();
    let clusters = snapshot
        .daemon
        .settings
        .clusters
        .iter()
        .filter(|cluster| like(pattern, cluster.name.as_bytes()));
    Answer::texts(
        [
            "cluster_name",
            "cluster_id",
            "rs_url",
            "root_addr",
            "role",
            "replica_type",
            "tenants",
        ],
        clusters.map(|cluster| {
            let nodes: Vec<_> = cluster.addresses().map(ToString::to_string).collect();
            let roles = cluster.nodes.iter().map(|node| {
                let role = snapshot.daemon.nodes.role(cluster, node).text();
                let drain = if node.is_drained() { " (drained)" } else { "" };
                format!("{role}{drain}")
            });
            let roles: Vec<_> = roles.collect();
            // A member of a primary and standby set has its number in its name.
            let (name, id) = match cluster.name.split_once(':') {
                Some((name, id)) => (name, Value::text(id)),
                None => (&*cluster.name, Value::Null),
            };
            [
                Value::text(name),
                id,
                Value::Null,
                Value::Text(nodes.join(";")),
                Value::Text(roles.join(";")),
                Value::Null,
                tenants(cluster).map_or(Value::Null, Value::Text),
            ]
        }),
    )
}

/// The tenants that a cluster of `OceanBase` has named, and the nodes where each has its data; none, if it has not.
fn tenants(cluster: &Cluster) -> Option<String> {
    let tenants = cluster.of_tenants.iter().map(|(name, view)| {
        let places = view.nodes.iter().filter_map(|node| {
            let role = match node.role {
                NodeRole::Auto => return None,
                role => role.text(),
            };
            Some(format!("{} {role}", node.address))
        });
        let places: Vec<_> = places.collect();
        if places.is_empty() {
            name.clone()
        } else {
            format!("{name} ({})", places.join(", "))
        }
    });
    let tenants: Vec<_> = tenants.collect();
    (!tenants.is_empty()).then(|| tenants.join(";"))
}

#[cfg(test)]
mod tests {
    use crate::admin::fixture::{ask, manual, table};

    #[test]
    fn clusters_are_those_of_the_configuration() {
        assert_eq!(
            table(ask(&manual(), 1_048_577, "SHOW PROXYCLUSTER")),
            "cluster_name | cluster_id | rs_url | root_addr | role | replica_type | tenants\n\
             east | (null) | (null) | 10.0.0.9:2881;db2:2881 | unknown;replica | (null) | (null)\n\
             west | (null) | (null) | 10.0.0.10:3306 | unknown | (null) | (null)"
        );
        let one = table(ask(&manual(), 1_048_577, "SHOW PROXYCLUSTER LIKE 'w%'"));
        assert_eq!(one.lines().count(), 2);
    }
}
