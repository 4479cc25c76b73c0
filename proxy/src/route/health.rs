//! What is known of nodes: which answer, what they are, and in which order a session tries them (odp.md, section 7.1). Pure: times are
//! milliseconds since the daemon's start and come in as arguments.
//!
//! Three lists keep sessions away from a node. The *status* list: it says itself that it does not serve. The *detection* list: the monitor
//! account got no answer several times in a row. The *alive* list: logins of clients failed several times in a row.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Cluster, Node, NodeAddress, NodeRole};

/// Login failures further apart than this are not in a row (ODP's `congestion_fail_window`).
const FAIL_WINDOW_MS: u64 = 120_000;
/// How long a node on the alive list is left alone before a login tries it again (ODP's `congestion_retry_interval`).
const RETRY_MS: u64 = 20_000;

/// What a node has said of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Probe {
    /// It takes no writes (`read_only`, `super_read_only`).
    pub is_read_only: bool,
    /// Why it does not serve, if it says so.
    pub unfit: Option<Unfit>,
    /// How far it is behind its primary, if it is a replica that says so. Whole seconds: that is how servers count.
    pub lag: Option<Duration>,
    /// It is a replica that follows its primary no more: nobody knows how old its data is.
    pub is_replication_stopped: bool,
}

/// Why a node that answers does not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// `offline_mode` is on.
    Offline,
    /// It is a node of a Galera cluster that is not in it, or not in step.
    NotSynced,
}

impl Unfit {
    /// The text that operators see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Offline => "offline_mode is on",
            Self::NotSynced => "not synced with its Galera cluster",
        }
    }
}

/// Failures of one kind, and successes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Record {
    /// Failures ever.
    pub failures: u64,
    /// Since the last success.
    pub failures_in_a_row: u64,
    /// When the last one was.
    pub failed_at_ms: Option<u64>,
    /// The last success.
    pub reached_at_ms: Option<u64>,
    /// It is on the list of this kind since then.
    pub listed_at_ms: Option<u64>,
}

impl Record {
    fn fail(&mut self, now_ms: u64, limit: u32) {
        self.failures += 1;
        self.failures_in_a_row += 1;
        self.failed_at_ms = Some(now_ms);
        if self.failures_in_a_row >= u64::from(limit) {
            self.listed_at_ms = self.listed_at_ms.or(Some(now_ms));
        }
    }

    /// A failure that says that somebody answers.
    const fn refuse(&mut self, now_ms: u64) {
        self.failures += 1;
        self.failures_in_a_row = 0;
        self.failed_at_ms = Some(now_ms);
        self.listed_at_ms = None;
    }

    const fn reach(&mut self, now_ms: u64) {
        self.failures_in_a_row = 0;
        self.reached_at_ms = Some(now_ms);
        self.listed_at_ms = None;
    }
}

/// What is known of one node.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NodeHealth {
    /// Logins of clients.
    pub logins: Record,
    /// The monitor account's questions.
    pub probes: Record,
    /// Since when it does not serve, and why.
    pub unfit: Option<(Unfit, u64)>,
    /// Whether it takes writes, as far as it was ever asked.
    pub is_read_only: Option<bool>,
    /// How far it is behind its primary, when it was asked last; whole seconds. None: it is no replica, the monitor account may not see it
    /// ([`NodeHealth::is_replication_stopped`] is false then), or it follows its primary no more.
    pub lag: Option<Duration>,
    /// It follows its primary no more: nobody knows how old its data is.
    pub is_replication_stopped: bool,
    /// Why it failed last, by a login's word or the monitor account's.
    pub cause: Option<String>,
    /// When a login was last let try a node on the alive list.
    tried_at_ms: Option<u64>,
}

/// What a node is for, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// Nobody has said.
    Unknown,
    /// It takes reads.
    Replica,
    /// It follows the primary of another place.
    Standby,
}

impl Role {
    /// The text that operators see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Unknown => "unknown",
            Self::Replica => "replica",
            Self::Standby => "standby",
        }
    }
}

/// How fit a node is to serve a session; the least is the fittest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    condition: Condition,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Condition {
    Good,
    Drained,
    Unfit,
    Dead,
}

impl NodeHealth {
    /// The configuration's word, else the node's own.
    pub fn role(&self, node: &Node) -> Role {
        match (node.role, self.is_read_only) {
            (NodeRole::Primary, _) | (NodeRole::Auto, Some(false)) => Role::Primary,
            (NodeRole::Replica, _) | (NodeRole::Auto, Some(true)) => Role::Replica,
            (NodeRole::Standby, _) => Role::Standby,
            (NodeRole::Auto, None) => Role::Unknown,
        }
    }

    /// Whether it is at most so far behind its primary. One that does not say may be any far, and so may one that follows no more.
    pub fn has_caught_up(&self, max: Option<Duration>) -> bool {
        let is_near = max.is_none_or(|max| self.lag.is_some_and(|lag| lag <= max));
        is_near && !self.is_replication_stopped
    }

    /// Whether the monitor account has found it dead.
    pub const fn is_detected_dead(&self) -> bool {
        self.probes.listed_at_ms.is_some()
    }

    /// Whether it is on one of the lists.
    pub const fn is_listed(&self) -> bool {
        self.is_detected_dead() || self.logins.listed_at_ms.is_some() || self.unfit.is_some()
    }

    /// How fit the node is. A node on the alive list is as good as dead until a login has shown otherwise.
    pub fn rank(&self, node: &Node) -> Rank {
        let condition = if self.is_detected_dead() || self.logins.listed_at_ms.is_some() {
            Condition::Dead
        } else if self.unfit.is_some() {
            Condition::Unfit
        } else if node.is_drained() {
            Condition::Drained
        } else {
            Condition::Good
        };
        Rank {
            condition,
            role: self.role(node),
        }
    }

    /// Whether a login may find out if a node on the alive list answers again.
    fn is_trial_due(&self, now_ms: u64) -> bool {
        let since = self.logins.failed_at_ms.max(self.tried_at_ms);
        !self.is_detected_dead()
            && self.logins.listed_at_ms.is_some()
            && since.is_none_or(|since| now_ms.saturating_sub(since) >= RETRY_MS)
    }
}

/// What is known of all nodes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Book(BTreeMap<NodeAddress, NodeHealth>);

impl Book {
    /// What is known of a node.
    pub fn get(&self, address: &NodeAddress) -> NodeHealth {
        self.0.get(address).cloned().unwrap_or_default()
    }

    /// What is known of a node, to be changed by one of the functions below.
    fn of(&mut self, address: &NodeAddress) -> &mut NodeHealth {
        self.0.entry(address.clone()).or_default()
    }

    /// A node has answered a login. Whether sessions must look anew where they belong.
    pub fn login_answered(&mut self, address: &NodeAddress, now_ms: u64) -> bool {
        let health = self.of(address);
        let was = health.logins.listed_at_ms.is_some();
        health.logins.reach(now_ms);
        was
    }

    /// A login got no answer of a node, or not a database server's. `limit`: failures in a row that put it on the list. Whether sessions must
    /// look anew where they belong.
    pub fn login_failed(
        &mut self,
        address: &NodeAddress,
        cause: &str,
        now_ms: u64,
        limit: u32,
    ) -> bool {
        let health = self.of(address);
        let was = health.logins.listed_at_ms;
        let is_late = health
            .logins
            .failed_at_ms
            .is_some_and(|at_ms| now_ms.saturating_sub(at_ms) > FAIL_WINDOW_MS);
        if is_late && was.is_none() {
            health.logins.failures_in_a_row = 0;
        }
        health.logins.fail(now_ms, limit);
        health.cause = Some(cause.to_owned());
        was != health.logins.listed_at_ms
    }

    /// The monitor account was answered. `max_lag`: how far the node may be behind if it is to take reads. Whether sessions must look anew
    /// where they belong.
    pub fn probed(
        &mut self,
        address: &NodeAddress,
        probe: Probe,
        max_lag: Option<Duration>,
        now_ms: u64,
    ) -> bool {
        let health = self.of(address);
        let before = (
            health.is_detected_dead(),
            health.unfit.map(|(unfit, _)| unfit),
            health.is_read_only,
            health.has_caught_up(max_lag),
        );
        health.probes.reach(now_ms);
        health.is_read_only = Some(probe.is_read_only);
        health.lag = probe.lag;
        health.is_replication_stopped = probe.is_replication_stopped;
        health.unfit = match (probe.unfit, health.unfit) {
            (Some(unfit), Some((known, since))) if unfit == known => Some((unfit, since)),
            (unfit, _) => unfit.map(|unfit| (unfit, now_ms)),
        };
        let now = (
            false,
            probe.unfit,
            Some(probe.is_read_only),
            health.has_caught_up(max_lag),
        );
        before != now
    }

    /// The monitor account was answered by a node that logins have put on the alive list, and that no login may try any more, as sessions stay where
    /// they are. `is_proof`: by a connection of its own for this question, as a login's is; else a while without failures must do. Whether sessions must
    /// look anew where they belong.
    pub fn let_in(&mut self, address: &NodeAddress, is_proof: bool, now_ms: u64) -> bool {
        let logins = &mut self.of(address).logins;
        let is_old = logins
            .failed_at_ms
            .is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= RETRY_MS);
        let is_off = logins.listed_at_ms.is_some() && (is_proof || is_old);
        if is_off {
            logins.listed_at_ms = None;
            logins.failures_in_a_row = 0;
        }
        is_off
    }

    /// The monitor account got no answer. Whether sessions must look anew where they belong.
    pub fn probe_failed(
        &mut self,
        address: &NodeAddress,
        cause: &str,
        now_ms: u64,
        limit: u32,
    ) -> bool {
        let health = self.of(address);
        let was = health.is_detected_dead();
        health.probes.fail(now_ms, limit);
        health.cause = Some(cause.to_owned());
        was != health.is_detected_dead()
    }

    /// The node has answered the monitor account, but has not let it in: it lives, and nobody says what it is now. It stays what it was; only how far
    /// it is behind is unknown from now on. Whether sessions must look anew where they belong.
    pub fn probe_denied(&mut self, address: &NodeAddress, cause: &str, now_ms: u64) -> bool {
        let health = self.of(address);
        let was = health.is_detected_dead() || health.lag.is_some();
        health.probes.refuse(now_ms);
        health.lag = None;
        health.cause = Some(cause.to_owned());
        was
    }

    /// Forgets nodes that are no cluster's any more.
    pub fn keep(&mut self, is_kept: impl Fn(&NodeAddress) -> bool) {
        self.0.retain(|address, _| is_kept(address));
    }

    /// A cluster's nodes, the fittest first; of equally fit ones in the configuration's order.
    pub fn order<'a>(&self, cluster: &'a Cluster) -> Vec<&'a Node> {
        let mut nodes: Vec<_> = cluster.nodes.iter().collect();
        nodes.sort_by_key(|node| self.rank(node));
        nodes
    }

    /// The same for a login, which may find out whether a node on the alive list answers again.
    pub fn order_for_login<'a>(&mut self, cluster: &'a Cluster, now_ms: u64) -> Vec<&'a Node> {
        let mut ranks: Vec<_> = Vec::with_capacity(cluster.nodes.len());
        for node in &cluster.nodes {
            let mut rank = self.rank(node);
            if let Some(health) = self.0.get_mut(&node.address)
                && health.is_trial_due(now_ms)
            {
                health.tried_at_ms = Some(now_ms);
                rank.condition = Condition::Good;
            }
            ranks.push((rank, node));
        }
        ranks.sort_by_key(|(rank, _)| *rank);
        ranks.into_iter().map(|(_, node)| node).collect()
    }

    /// Whether a session at this node belongs to another one now.
    pub fn is_misplaced(&self, cluster: &Cluster, address: &NodeAddress) -> bool {
        let Some(best) = self.order(cluster).first().map(|node| self.rank(node)) else {
            return false;
        };
        let own = cluster.nodes.iter().find(|node| node.address == *address);
        own.is_none_or(|own| best < self.rank(own))
    }

    fn rank(&self, node: &Node) -> Rank {
        match self.0.get(&node.address) {
            Some(health) => health.rank(node),
            None => NodeHealth::default().rank(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, settings};

    fn cluster(nodes: &str) -> Cluster {
        let text = format!("[[cluster]]\nname = \"c\"\nkind = \"mysql\"\nnodes = [{nodes}]");
        let mut settings = settings(&text, Overrides::default()).unwrap();
        settings.clusters.remove(0)
    }

    fn three() -> (Book, Cluster, [NodeAddress; 3]) {
        let cluster = cluster("\"a:1\", \"b:1\", \"c:1\"");
        let addresses = ["a:1", "b:1", "c:1"].map(|node| node.parse().unwrap());
        (Book::default(), cluster, addresses)
    }

    const WRITES: Probe = Probe {
        is_read_only: false,
        unfit: None,
        lag: None,
        is_replication_stopped: false,
    };
    const READS: Probe = Probe {
        is_read_only: true,
        ..WRITES
    };

    fn order(book: &Book, cluster: &Cluster) -> String {
        let nodes = book.order(cluster);
        let hosts: Vec<_> = nodes.iter().map(|node| &*node.address.host).collect();
        hosts.concat()
    }

    #[test]
    fn who_does_not_let_the_account_in_stays_what_it_was() {
        let (mut book, cluster, [a, b, _]) = three();
        let follows = Probe {
            lag: Some(Duration::from_secs(1)),
            ..READS
        };
        assert!(book.probed(&a, WRITES, None, 10) && book.probed(&b, follows, None, 10));
        for now_ms in 20..30 {
            assert!(!book.probe_denied(&a, "error 1045: no", now_ms));
        }
        assert!(!book.is_misplaced(&cluster, &a));
        assert_eq!(order(&book, &cluster), "acb");
        let health = book.get(&a);
        assert!(!health.is_listed() && health.role(&cluster.nodes[0]) == Role::Primary);
        assert_eq!(
            (health.probes.failures, health.probes.failed_at_ms),
            (10, Some(29))
        );
        // How old a replica's data is, nobody says any more.
        let max = Some(Duration::from_secs(5));
        assert!(book.get(&b).has_caught_up(max));
        assert!(book.probe_denied(&b, "error 1045: no", 40));
        assert!(!book.get(&b).has_caught_up(max));
        // One that was dead lives.
        assert!(book.probe_failed(&a, "refused", 50, 1) && book.is_misplaced(&cluster, &a));
        assert!(book.probe_denied(&a, "error 1045: no", 60));
        assert!(!book.is_misplaced(&cluster, &a));
    }

    #[test]
    fn the_primary_comes_first_and_the_dead_last() {
        let (mut book, cluster, [a, b, c]) = three();
        assert_eq!(order(&book, &cluster), "abc");
        assert!(book.probed(&a, READS, None, 10));
        assert!(book.probed(&b, WRITES, None, 10));
        assert_eq!(order(&book, &cluster), "bca", "c is unknown");
        assert!(book.is_misplaced(&cluster, &a) && !book.is_misplaced(&cluster, &b));
        assert!(book.probed(&c, READS, None, 10) && !book.probed(&c, READS, None, 20));
        assert!(!book.probe_failed(&b, "refused", 30, 2));
        assert!(!book.is_misplaced(&cluster, &b), "once is not enough");
        assert!(
            book.probe_failed(&b, "refused", 40, 2) && !book.probe_failed(&b, "refused", 50, 2)
        );
        assert_eq!(order(&book, &cluster), "acb");
        assert_eq!(book.get(&b).probes.listed_at_ms, Some(40));
        assert_eq!(book.get(&b).cause.as_deref(), Some("refused"));
        // It was promoted.
        assert!(book.probed(&c, WRITES, None, 60));
        assert_eq!(order(&book, &cluster), "cab");
        // The old primary is back, and one success is enough.
        assert!(book.probed(&b, WRITES, None, 70));
        assert_eq!(order(&book, &cluster), "bca");
        assert!(
            !book.is_misplaced(&cluster, &c),
            "equally fit: nobody moves"
        );
    }

    #[test]
    fn a_node_that_says_that_it_does_not_serve_is_avoided() {
        let (mut book, cluster, [a, ..]) = three();
        let offline = Probe {
            unfit: Some(Unfit::Offline),
            ..WRITES
        };
        assert!(book.probed(&a, offline, None, 10));
        assert!(!book.probed(&a, offline, None, 20));
        assert_eq!(book.get(&a).unfit, Some((Unfit::Offline, 10)));
        assert_eq!(order(&book, &cluster), "bca");
        assert!(book.probed(&a, WRITES, None, 30));
        assert_eq!(order(&book, &cluster), "abc");
    }

    #[test]
    fn the_configuration_names_roles_and_drains() {
        let cluster = cluster(
            "{ address = \"a:1\", role = \"standby\" }, { address = \"b:1\", role = \"replica\" }, \
             { address = \"c:1\", role = \"primary\", drain = true }",
        );
        let mut book = Book::default();
        let a: NodeAddress = "a:1".parse().unwrap();
        assert!(book.probed(&a, WRITES, None, 1));
        assert_eq!(order(&book, &cluster), "bac");
        assert!(book.is_misplaced(&cluster, &"c:1".parse().unwrap()));
        assert!(book.is_misplaced(&cluster, &"gone:1".parse().unwrap()));
    }

    #[test]
    fn failed_logins_in_a_row_put_a_node_on_the_alive_list_until_one_succeeds() {
        let (mut book, cluster, [a, ..]) = three();
        let fail = |book: &mut Book, at_ms| book.login_failed(&a, "refused", at_ms, 3);
        assert!(!fail(&mut book, 0) && !fail(&mut book, 1));
        // Too long ago.
        assert!(!fail(&mut book, 200_000) && !fail(&mut book, 200_001));
        assert!(fail(&mut book, 200_002) && !fail(&mut book, 200_003));
        assert_eq!(order(&book, &cluster), "bca");
        let tries = |book: &mut Book, at_ms| {
            let first = book.order_for_login(&cluster, at_ms);
            first.first().is_some_and(|node| node.address == a)
        };
        assert!(!tries(&mut book, 220_002), "too early");
        assert!(tries(&mut book, 220_003), "one login finds out");
        assert!(!tries(&mut book, 220_004), "and only one");
        assert!(tries(&mut book, 240_003));
        assert!(book.login_answered(&a, 240_004) && !book.login_answered(&a, 240_005));
        assert_eq!(order(&book, &cluster), "abc");
        assert_eq!(book.get(&a).logins.failures, 6);
    }

    #[test]
    fn the_monitor_takes_a_node_off_the_alive_list() {
        let (mut book, cluster, [a, ..]) = three();
        for at_ms in 0..3 {
            book.login_failed(&a, "refused", at_ms, 3);
        }
        assert_eq!(order(&book, &cluster), "bca");
        assert!(!book.let_in(&a, false, 20_001), "too early");
        assert_eq!(order(&book, &cluster), "bca");
        assert!(book.let_in(&a, true, 20_001) && !book.let_in(&a, true, 20_001));
        assert_eq!(order(&book, &cluster), "abc");
        for at_ms in 20_002..20_005 {
            book.login_failed(&a, "refused", at_ms, 3);
        }
        assert!(book.let_in(&a, false, 40_004));
        assert_eq!(order(&book, &cluster), "abc");
    }

    #[test]
    fn who_left_the_configuration_is_forgotten() {
        let (mut book, _, [a, b, _]) = three();
        assert!(book.probed(&a, WRITES, None, 1) && book.probed(&b, WRITES, None, 1));
        book.keep(|address| *address == b);
        assert_eq!(book.get(&a), NodeHealth::default());
        assert_ne!(book.get(&b), NodeHealth::default());
    }
}
