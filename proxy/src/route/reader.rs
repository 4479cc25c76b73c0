//! Which replicas may take a session's reads, and in which order they are asked. Pure.

use super::health::{Book, Role};
use super::load::Load;
use crate::config::{Cluster, Node, NodeAddress, Policy, ReaderChoice};

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

/// What decides among replicas.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Any number, the session's own; over many of them each replica comes first as often as its weight says.
    pub ticket: u64,
    /// The proxy's own zone: replicas there come first.
    pub zone: Option<&'a str>,
    /// How many sessions read from each.
    pub load: &'a Load,
}

/// The replicas that may take a session's reads, the one to try first in front.
///
/// # Errors
/// [`NoReader`]: there is none.
pub fn readers<'a>(
    book: &Book,
    cluster: &'a Cluster,
    choice: Choice<'_>,
) -> Result<Vec<&'a Node>, NoReader> {
    if cluster.policy != Policy::ReadWriteSplit {
        return Err(NoReader::Policy);
    }
    let fit: Vec<_> = cluster
        .nodes
        .iter()
        .filter(|node| is_fit(book, cluster, node))
        .collect();
    if fit.is_empty() {
        return Err(NoReader::NoReplica);
    }
    let is_near = |node: &&Node| choice.zone.is_some() && node.zone.as_deref() == choice.zone;
    let (near, far) = fit.into_iter().partition(is_near);
    let mut ordered = order(near, cluster.reader_choice, choice);
    ordered.extend(order(far, cluster.reader_choice, choice));
    Ok(ordered)
}

/// Puts replicas among which nothing else decides in the order in which they are tried.
fn order<'a>(mut nodes: Vec<&'a Node>, by: ReaderChoice, choice: Choice<'_>) -> Vec<&'a Node> {
    let mut ordered = Vec::with_capacity(nodes.len());
    let mut ticket = spread(choice.ticket);
    while !nodes.is_empty() {
        let total: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
        let at = pick(&nodes, ticket % total.max(1));
        ordered.push(nodes.remove(at));
        ticket = spread(ticket);
    }
    match by {
        ReaderChoice::Weighted => {}
        ReaderChoice::LeastConnections => {
            ordered.sort_by(|one, other| choice.load.compare(one, other));
        }
        ReaderChoice::RandomTwo => {
            if let Some(two) = ordered.get_mut(..2) {
                two.sort_by(|one, other| choice.load.compare(one, other));
            }
        }
    }
    ordered
}

/// Whether the node at this address may take a session's reads, or go on to.
pub fn is_reader(book: &Book, cluster: &Cluster, address: &NodeAddress) -> bool {
    let mut nodes = cluster.nodes.iter();
    cluster.policy == Policy::ReadWriteSplit
        && nodes.any(|node| node.address == *address && is_fit(book, cluster, node))
}

fn is_fit(book: &Book, cluster: &Cluster, node: &Node) -> bool {
    let health = book.get(&node.address);
    node.weight > 0
        && !node.is_drained()
        && book.role(cluster, node) == Role::Replica
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
        chosen(book, cluster, ticket, None, &Load::default())
    }

    fn chosen(
        book: &Book,
        cluster: &Cluster,
        ticket: u64,
        zone: Option<&str>,
        load: &Load,
    ) -> Result<Vec<String>, NoReader> {
        let choice = Choice { ticket, zone, load };
        let found = readers(book, cluster, choice)?;
        Ok(found.iter().map(|node| node.address.to_string()).collect())
    }

    /// How often each comes first.
    fn firsts(cluster: &Cluster, zone: Option<&str>, load: &Load) -> Vec<(String, u32)> {
        let mut firsts = std::collections::BTreeMap::new();
        for ticket in 0..3_000 {
            let found = chosen(&Book::default(), cluster, ticket, zone, load).unwrap();
            assert_eq!(found.len(), cluster.nodes.len() - 1);
            *firsts.entry(found[0].clone()).or_default() += 1;
        }
        firsts.into_iter().collect()
    }

    const FOUR: &str = r#"{ address = "a:1", role = "primary", zone = "x" }, { address = "b:1", role = "replica", zone = "y", weight = 9 },
        { address = "c:1", role = "replica", zone = "x" }, { address = "d:1", role = "replica", zone = "x" }"#;

    #[test]
    fn replicas_of_the_own_zone_come_first() {
        let cluster = cluster(SPLIT, FOUR);
        let load = Load::default();
        let near = firsts(&cluster, Some("x"), &load);
        assert_eq!(near.len(), 2, "{near:?}");
        assert!(
            near.iter()
                .all(|(name, count)| name != "b:1" && *count > 1_300)
        );
        assert_eq!(
            firsts(&cluster, Some("y"), &load),
            [("b:1".to_owned(), 3_000)]
        );
        for zone in [None, Some("z")] {
            assert_eq!(firsts(&cluster, zone, &load).len(), 3);
        }
        // One that does not answer gives way to another zone's.
        let mut book = Book::default();
        book.probe_failed(&"b:1".parse().unwrap(), "gone", 0, 1);
        let found = chosen(&book, &cluster, 1, Some("y"), &load).unwrap();
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn the_one_with_the_fewest_sessions_comes_first_where_that_is_asked() {
        let mut load = Load::default();
        for node in ["b:1", "b:1", "c:1"] {
            load.enter(&node.parse().unwrap());
        }
        let by = |choice: &str| cluster(&format!("{SPLIT}\nreader_choice = \"{choice}\""), FOUR);
        assert_eq!(
            firsts(&by("least-connections"), None, &load),
            [("d:1".to_owned(), 3_000)]
        );
        // Two sessions are less for a weight of 9 than one for a weight of 1.
        let found = chosen(&Book::default(), &by("least-connections"), 1, None, &load);
        assert_eq!(found.unwrap(), ["d:1", "b:1", "c:1"]);
        let two = firsts(&by("random-two"), None, &load);
        assert!(!two.iter().any(|(name, _)| name == "c:1"), "{two:?}");
        assert_eq!(firsts(&by("weighted"), None, &load).len(), 3);
        load.enter(&"d:1".parse().unwrap());
        let two = firsts(&by("random-two"), None, &load);
        assert_eq!(two.len(), 3, "{two:?}");
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
