//! What is known of nodes: which answer, what they are, and in which order a session tries them (odp.md, section 7.1). Pure: times are
//! milliseconds since the daemon's start and come in as arguments.
//!
//! Three lists keep sessions away from a node. The *status* list: it says itself that it does not serve. The *detection* list: the monitor
//! account got no answer several times in a row. The *alive* list: logins of clients failed several times in a row.

use std::collections::BTreeMap;
use std::time::Duration;

use super::writer::{Aside, Candidate, Writer, choose};
use crate::config::{Cluster, ClusterKind, Node, NodeAddress, NodeRole};

/// Login failures further apart than this are not in a row (ODP's `congestion_fail_window`).
const FAIL_WINDOW_MS: u64 = 120_000;
/// How long a node on the alive list is left alone before a login tries it again (ODP's `congestion_retry_interval`).
const RETRY_MS: u64 = 20_000;

/// What a node has said of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Probe {
    /// It takes no writes (`read_only`, `super_read_only`).
    pub is_read_only: bool,
    /// Why it does not serve, if it says so.
    pub unfit: Option<Unfit>,
    /// How far it is behind its primary, if it is a replica that says so. Whole seconds: that is how servers count.
    pub lag: Option<Duration>,
    /// It is a replica that follows its primary no more: nobody knows how old its data is.
    pub is_replication_stopped: bool,
    /// What it replicates, and what others do of it.
    pub replication: Replication,
}

/// Who replicates from whom, by `server_id`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replication {
    /// The node's own.
    pub server_id: Option<u64>,
    /// Of those that it replicates from, or tries to; not those that it has been told to stop at.
    pub sources: Vec<u64>,
    /// It is a node of a Galera cluster: all of these take writes, and have the same.
    pub is_galera: bool,
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
    /// Who it replicates from.
    pub replication: Replication,
    /// It took no writes before, and does since, by the monitor account's word.
    is_promoted: bool,
    /// Why it failed last, by a login's word or the monitor account's.
    pub cause: Option<String>,
    /// When a login was last let try a node on the alive list.
    tried_at_ms: Option<u64>,
}

/// What a node is for, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// It takes writes, and is the one that gets them.
    Primary,
    /// It was made a primary while there is one: it gets writes where that one does not answer.
    Promoted,
    /// Nobody has said.
    Unknown,
    /// It takes reads.
    Replica,
    /// It follows the primary of another place.
    Standby,
    /// It takes writes beside the primary, and nobody knows how old its data is.
    Rival,
}

impl Role {
    /// The text that operators see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Promoted | Self::Rival => "writable",
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

/// Whether a node serves at all; the least is the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Condition {
    /// It does, as far as anybody knows.
    Good,
    /// Sessions are to leave it.
    Drained,
    /// It says itself that it does not.
    Unfit,
    /// It does not answer.
    Dead,
}

impl NodeHealth {
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

    /// Whether the node serves. One on the alive list is as good as dead until a login has shown otherwise.
    fn condition(&self, node: &Node) -> Condition {
        if self.is_detected_dead() || self.logins.listed_at_ms.is_some() {
            Condition::Dead
        } else if self.unfit.is_some() {
            Condition::Unfit
        } else if node.is_drained() {
            Condition::Drained
        } else {
            Condition::Good
        }
    }

    /// Whether the monitor account has ever heard, or waited in vain, what it is.
    const fn is_asked(&self) -> bool {
        self.probes.reached_at_ms.is_some() || self.probes.failures > 0
    }

    /// The node, if it is one of those of which one is to get the writes. `ids`: whom the set's nodes replicate from.
    fn candidate(&self, node: &Node, ids: &[u64]) -> Option<Candidate> {
        let replication = &self.replication;
        let takes_part = node.role == NodeRole::Auto
            && self.is_read_only == Some(false)
            && !replication.is_galera;
        takes_part.then(|| Candidate {
            address: node.address.clone(),
            condition: self.condition(node),
            follows: !replication.sources.is_empty(),
            followers: ids
                .iter()
                .filter(|id| Some(**id) == replication.server_id)
                .count(),
            is_promoted: self.is_promoted,
        })
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
pub struct Book {
    nodes: BTreeMap<NodeAddress, NodeHealth>,
    /// Who gets the writes of a cluster, by its name.
    sets: BTreeMap<String, Set>,
}

/// Of the nodes of a cluster that take writes, the one that gets them, and why the others do not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Set {
    writer: Option<Writer>,
    others: BTreeMap<NodeAddress, Aside>,
}

impl Book {
    /// What is known of a node.
    pub fn get(&self, address: &NodeAddress) -> NodeHealth {
        self.nodes.get(address).cloned().unwrap_or_default()
    }

    /// What is known of a node, to be changed by one of the functions below.
    fn of(&mut self, address: &NodeAddress) -> &mut NodeHealth {
        self.nodes.entry(address.clone()).or_default()
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
        health.is_promoted =
            !probe.is_read_only && (health.is_promoted || health.is_read_only == Some(true));
        health.is_read_only = Some(probe.is_read_only);
        health.replication = probe.replication;
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
        self.nodes.retain(|address, _| is_kept(address));
    }

    /// A cluster's nodes, the fittest first; of equally fit ones in the configuration's order.
    pub fn order<'a>(&self, cluster: &'a Cluster) -> Vec<&'a Node> {
        let mut nodes: Vec<_> = cluster.nodes.iter().collect();
        nodes.sort_by_key(|node| self.rank(cluster, node));
        nodes
    }

    /// The same for a login, which may find out whether a node on the alive list answers again.
    pub fn order_for_login<'a>(&mut self, cluster: &'a Cluster, now_ms: u64) -> Vec<&'a Node> {
        let mut ranks: Vec<_> = Vec::with_capacity(cluster.nodes.len());
        for node in &cluster.nodes {
            let mut rank = self.rank(cluster, node);
            if let Some(health) = self.nodes.get_mut(&node.address)
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
        let mut nodes = self.order(cluster).into_iter();
        let Some(best) = nodes.next().map(|node| self.rank(cluster, node)) else {
            return false;
        };
        let own = cluster.nodes.iter().find(|node| node.address == *address);
        own.is_none_or(|own| best < self.rank(cluster, own))
    }

    /// What a cluster's node is for: the configuration's word, else the node's own, but that one node gets the writes of those that take them.
    pub fn role(&self, cluster: &Cluster, node: &Node) -> Role {
        let is_read_only = || self.nodes.get(&node.address)?.is_read_only;
        match node.role {
            NodeRole::Primary => Role::Primary,
            NodeRole::Replica => Role::Replica,
            NodeRole::Standby => Role::Standby,
            NodeRole::Auto => match (is_read_only(), self.aside(cluster, node)) {
                (None, _) => Role::Unknown,
                (Some(true), _) | (_, Some((Aside::Follows, _))) => Role::Replica,
                (_, Some((Aside::Promoted, _))) => Role::Promoted,
                (_, Some((Aside::Rival, _))) => Role::Rival,
                (Some(false), None) => Role::Primary,
            },
        }
    }

    /// Why a node that takes writes does not get them, and who does, if that is not the configuration's word.
    pub fn aside(&self, cluster: &Cluster, node: &Node) -> Option<(Aside, Option<&NodeAddress>)> {
        let set = self.sets.get(&cluster.name)?;
        let why = set.others.get(&node.address)?;
        Some((*why, set.writer.as_ref().map(Writer::address)))
    }

    /// Decides anew which of each cluster's nodes gets the writes, where several take them. Whether sessions must look anew where they belong.
    pub fn settle(&mut self, clusters: &[Cluster]) -> bool {
        let sets = clusters
            .iter()
            .filter(|cluster| cluster.kind == ClusterKind::MySql && cluster.nodes.len() > 1)
            .map(|cluster| (cluster.name.clone(), self.set(cluster)));
        let sets = sets.collect();
        let has_changed = self.sets != sets;
        self.sets = sets;
        has_changed
    }

    fn set(&self, cluster: &Cluster) -> Set {
        let known = || {
            let nodes = cluster.nodes.iter();
            nodes.filter_map(|node| Some((node, self.nodes.get(&node.address)?)))
        };
        let ids: Vec<_> = known()
            .flat_map(|(_, health)| health.replication.sources.iter().copied())
            .collect();
        let candidates: Vec<_> = known()
            .filter_map(|(node, health)| health.candidate(node, &ids))
            .collect();
        let is_named = |node: &Node| node.role == NodeRole::Primary;
        let writer = if cluster.nodes.iter().any(is_named) {
            None
        } else {
            let before = self.sets.get(&cluster.name);
            let before = before.and_then(|set| set.writer.as_ref());
            let all_asked = known().filter(|(_, health)| health.is_asked()).count();
            choose(&candidates, before, all_asked == cluster.nodes.len())
                .or_else(|| before.cloned())
        };
        let is_writer = |own: &Candidate| {
            let address = writer.as_ref().map(Writer::address);
            address == Some(&own.address)
        };
        let others = candidates
            .iter()
            .filter(|own| !is_writer(own))
            .map(|own| (own.address.clone(), own.aside()));
        Set {
            others: others.collect(),
            writer,
        }
    }

    fn rank(&self, cluster: &Cluster, node: &Node) -> Rank {
        let condition = match self.nodes.get(&node.address) {
            Some(health) => health.condition(node),
            None => NodeHealth::default().condition(node),
        };
        Rank {
            condition,
            role: self.role(cluster, node),
        }
    }
}

#[cfg(test)]
mod tests;
