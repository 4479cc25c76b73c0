//! Which replicas may take a session's reads, and in which order they are asked. Pure.

use super::health::{Book, NodeHealth, Role};
use crate::config::{Cluster, Node, NodeAddress, Policy};

/// Why no node but the session's own takes its reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoReader {
    /// The cluster's policy.
    Policy,
    /// No replica is known, or none that answers, has caught up and is given a weight.
    NoReplica,
}

impl NoReader {
    /// The text that operators see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::NoReplica => "no replica is fit",
        }
    }
}

/// The replicas that may take a session's reads, the one to try first in front. `ticket`: any number, the session's own; over many of them each
/// replica comes first as often as its weight says.
///
/// # Errors
/// [`NoReader`]: there is none.
pub fn readers<'a>(
    book: &Book,
    cluster: &'a Cluster,
    ticket: u64,
) -> Result<Vec<&'a Node>, NoReader> {
    if cluster.policy != Policy::ReadWriteSplit {
        return Err(NoReader::Policy);
    }
    let mut fit: Vec<_> = cluster
        .nodes
        .iter()
        .filter(|node| is_fit(cluster, node, &book.get(&node.address)))
        .collect();
    if fit.is_empty() {
        return Err(NoReader::NoReplica);
    }
    let mut ordered = Vec::with_capacity(fit.len());
    let mut ticket = spread(ticket);
    while !fit.is_empty() {
        let total: u64 = fit.iter().map(|node| u64::from(node.weight)).sum();
        let at = pick(&fit, ticket % total.max(1));
        ordered.push(fit.remove(at));
        ticket = spread(ticket);
    }
    Ok(ordered)
}

/// Whether the node at this address may take a session's reads, or go on to.
pub fn is_reader(book: &Book, cluster: &Cluster, address: &NodeAddress) -> bool {
    let mut nodes = cluster.nodes.iter();
    cluster.policy == Policy::ReadWriteSplit
        && nodes.any(|node| node.address == *address && is_fit(cluster, node, &book.get(address)))
}

fn is_fit(cluster: &Cluster, node: &Node, health: &NodeHealth) -> bool {
    node.weight > 0
        && !node.drain
        && health.role(node) == Role::Replica
        && !health.is_listed()
        && health.has_caught_up(cluster.max_lag)
}

/// The node that `share` falls to, of the sum of all their weights.
fn pick(nodes: &[&Node], share: u64) -> usize {
    let mut left = share;
    for (at, node) in nodes.iter().enumerate() {
        let weight = u64::from(node.weight);
        if left < weight {
            return at;
        }
        left -= weight;
    }
    0
}

/// Numbers that follow one another come out far apart (`SplitMix64`).
const fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Overrides, settings};
    use crate::route::health::Probe;

    fn cluster(keys: &str, nodes: &str) -> Cluster {
        let text = format!(
            "[[cluster]]\nname = \"c\"\nkind = \"mysql\"\nmonitor = {{ user = \"m\" }}\n{keys}\nnodes = [{nodes}]"
        );
        settings(&text, Overrides::default())
            .unwrap()
            .clusters
            .remove(0)
    }

    const SPLIT: &str = "policy = \"read-write-split\"";
    const THREE: &str = r#"{ address = "a:1", role = "primary" }, { address = "b:1", role = "replica", weight = 3 }, { address = "c:1", role = "replica" }"#;

    fn names(book: &Book, cluster: &Cluster, ticket: u64) -> Result<Vec<String>, NoReader> {
        let found = readers(book, cluster, ticket)?;
        Ok(found.iter().map(|node| node.address.to_string()).collect())
    }

    fn behind(book: &mut Book, node: &str, lag: Option<u64>) {
        let probe = Probe {
            is_read_only: true,
            lag: lag.map(Duration::from_secs),
            ..Probe::default()
        };
        book.probed(&node.parse().unwrap(), probe, None, 0);
    }

    #[test]
    fn replicas_are_asked_as_often_as_their_weights_say() {
        let (book, cluster) = (Book::default(), cluster(SPLIT, THREE));
        let mut first = 0;
        for ticket in 0..4_000 {
            let found = names(&book, &cluster, ticket).unwrap();
            assert_eq!(found.len(), 2);
            first += u32::from(found[0] == "b:1");
        }
        assert!((2_850..3_150).contains(&first), "{first}");
    }

    #[test]
    fn only_replicas_that_answer_take_reads() {
        let mut book = Book::default();
        let other = cluster("", THREE);
        assert_eq!(names(&book, &other, 1), Err(NoReader::Policy));
        let cluster = cluster(SPLIT, THREE);
        book.probe_failed(&"b:1".parse().unwrap(), "gone", 0, 1);
        assert_eq!(names(&book, &cluster, 1).unwrap(), ["c:1"]);
        assert!(!is_reader(&book, &cluster, &"b:1".parse().unwrap()));
        assert!(is_reader(&book, &cluster, &"c:1".parse().unwrap()));
        assert!(!is_reader(&book, &cluster, &"a:1".parse().unwrap()));
        book.probe_failed(&"c:1".parse().unwrap(), "gone", 0, 1);
        assert_eq!(names(&book, &cluster, 1), Err(NoReader::NoReplica));
    }

    #[test]
    fn a_replica_that_is_too_far_behind_takes_none() {
        let mut book = Book::default();
        let keys = format!("{SPLIT}\nmax_lag = \"10s\"");
        let cluster = cluster(&keys, THREE);
        assert_eq!(names(&book, &cluster, 1), Err(NoReader::NoReplica));
        behind(&mut book, "b:1", Some(11));
        behind(&mut book, "c:1", Some(10));
        assert_eq!(names(&book, &cluster, 1).unwrap(), ["c:1"]);
        behind(&mut book, "c:1", None);
        assert_eq!(names(&book, &cluster, 1), Err(NoReader::NoReplica));
        let unbounded = self::cluster(SPLIT, THREE);
        assert_eq!(names(&book, &unbounded, 1).unwrap().len(), 2);
        let stopped = Probe {
            is_read_only: true,
            is_replication_stopped: true,
            ..Probe::default()
        };
        assert!(book.probed(&"c:1".parse().unwrap(), stopped, None, 1));
        assert_eq!(names(&book, &unbounded, 1).unwrap(), ["b:1"]);
    }
}
