//! How a session's bytes move, and what has moved.

use sluice_ebpf::reason::TrapReason;

use super::{Latency, Session};

/// Where a session's bytes move when it is not trapped. Decided once, when the session is first armed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Path {
    /// In the kernel, between two sockets of this host's programs.
    Local,
    /// In the kernel, below the sockets: from interface to interface.
    Wire,
    /// Through the daemon.
    Relay,
}

impl Path {
    /// The text that users see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Wire => "wire",
            Self::Relay => "relay",
        }
    }
}

/// How a session's bytes move now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// In the kernel.
    Spliced,
    /// The daemon has asked the kernel to splice; the kernel has not begun.
    Armed,
    /// Through the daemon.
    Relayed,
}

impl Mode {
    /// The text that users see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Spliced => "spliced",
            Self::Armed => "armed",
            Self::Relayed => "relayed",
        }
    }
}

/// Counters of one session, since it was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Commands that the kernel moved.
    pub spliced_commands: u64,
    /// Commands that the daemon moved or answered.
    pub relayed_commands: u64,
    /// Of `relayed_commands`, those that the daemon answered itself.
    pub answered_commands: u64,
    /// Commands that a second node was asked, as the first one went before it said anything.
    pub retried_commands: u64,
    /// Responses that a node has completed, spliced and relayed.
    pub responses: u64,
    /// Bytes that the kernel moved from the client to a node.
    pub spliced_bytes_to_node: u64,
    /// Bytes that the kernel moved from a node to the client.
    pub spliced_bytes_to_client: u64,
    /// Bytes that the daemon moved from the client to a node.
    pub relayed_bytes_to_node: u64,
    /// Bytes that the daemon moved from a node to the client, or wrote itself.
    pub relayed_bytes_to_client: u64,
    /// Packets that the kernel moved from the client to a node.
    pub spliced_packets_to_node: u64,
    /// Packets that the kernel moved from a node to the client.
    pub spliced_packets_to_client: u64,
    /// Packets that the daemon moved from the client to a node, each counted with its header.
    pub relayed_packets_to_node: u64,
    /// Packets of responses that the daemon moved from a node to the client, each counted with its header; its own answers are not among them.
    pub relayed_packets_to_client: u64,
    /// Bytes of the commands that the daemon answered itself.
    pub answered_bytes_from_client: u64,
    /// Of `relayed_bytes_to_client`, those of its own answers.
    pub answered_bytes_to_client: u64,
    /// How long those took: from a command's first byte to the last of its response.
    pub latency: Latency,
    /// Times that the kernel was offered to splice from the next command on.
    pub offers: u64,
    /// Offers that it has taken.
    pub regimes: u64,
    /// Responses of which the kernel stopped the splicing because the reader was slow.
    pub spills: u64,
    /// Commands that the kernel handed up, by reason.
    pub traps: TrapCounts,
    /// Why the last of them was handed up.
    pub last_trap: Option<TrapReason>,
}

impl Traffic {
    /// Adds another session's counters; of traps, only these.
    pub fn add(&mut self, other: &Self) {
        let Self {
            spliced_commands,
            relayed_commands,
            answered_commands,
            retried_commands,
            responses,
            spliced_bytes_to_node,
            spliced_bytes_to_client,
            relayed_bytes_to_node,
            relayed_bytes_to_client,
            spliced_packets_to_node,
            spliced_packets_to_client,
            relayed_packets_to_node,
            relayed_packets_to_client,
            answered_bytes_from_client,
            answered_bytes_to_client,
            latency,
            offers,
            regimes,
            spills,
            traps,
            last_trap: _,
        } = other;
        self.spliced_commands += spliced_commands;
        self.relayed_commands += relayed_commands;
        self.answered_commands += answered_commands;
        self.retried_commands += retried_commands;
        self.responses += responses;
        self.spliced_bytes_to_node += spliced_bytes_to_node;
        self.spliced_bytes_to_client += spliced_bytes_to_client;
        self.relayed_bytes_to_node += relayed_bytes_to_node;
        self.relayed_bytes_to_client += relayed_bytes_to_client;
        self.spliced_packets_to_node += spliced_packets_to_node;
        self.spliced_packets_to_client += spliced_packets_to_client;
        self.relayed_packets_to_node += relayed_packets_to_node;
        self.relayed_packets_to_client += relayed_packets_to_client;
        self.answered_bytes_from_client += answered_bytes_from_client;
        self.answered_bytes_to_client += answered_bytes_to_client;
        self.latency.add(latency.histogram());
        self.offers += offers;
        self.regimes += regimes;
        self.spills += spills;
        for (count, more) in self.traps.0.iter_mut().zip(traps.0) {
            *count += more;
        }
    }

    /// Counts one trapped command.
    pub fn trap(&mut self, reason: TrapReason) {
        self.traps.add(reason);
        self.last_trap = Some(reason);
    }
}

/// What several sessions have done together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// How many they are.
    pub sessions: u64,
    /// Transactions that have ended in them.
    pub transactions: u64,
    /// What has moved.
    pub traffic: Traffic,
}

impl Totals {
    /// Counts a session in.
    pub fn add_session(&mut self, session: &Session) {
        self.sessions += 1;
        self.transactions += session.transactions;
        self.traffic.add(&session.traffic);
    }

    /// Counts others in.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.transactions += other.transactions;
        self.traffic.add(&other.traffic);
    }
}

/// One counter per [`TrapReason`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrapCounts([u64; TrapReason::ALL.len()]);

impl TrapCounts {
    /// Counts one trap.
    pub fn add(&mut self, reason: TrapReason) {
        for (count, of) in self.0.iter_mut().zip(TrapReason::ALL) {
            *count += u64::from(*of == reason);
        }
    }

    /// Adds counts by the reasons' numbers, as the kernel keeps them.
    pub fn add_all(&mut self, counts: &[u32]) {
        for (count, reason) in self.0.iter_mut().zip(TrapReason::ALL) {
            *count += u64::from(counts.get(*reason as usize).copied().unwrap_or(0));
        }
    }

    /// How often this reason occurred.
    pub fn of(&self, reason: TrapReason) -> u64 {
        self.iter()
            .find_map(|(of, count)| (of == reason).then_some(count))
            .unwrap_or(0)
    }

    /// Every reason with its count, in the order of the reasons.
    pub fn iter(&self) -> impl Iterator<Item = (TrapReason, u64)> {
        TrapReason::ALL.iter().copied().zip(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_are_counted_by_reason() {
        let mut traffic = Traffic::default();
        for &reason in TrapReason::ALL {
            assert_eq!(traffic.traps.of(reason), 0);
            traffic.trap(reason);
            assert_eq!(traffic.last_trap, Some(reason));
        }
        traffic.trap(TrapReason::Variable);
        let counts: u64 = traffic.traps.iter().map(|(_, count)| count).sum();
        assert_eq!(counts, TrapReason::ALL.len() as u64 + 1);
        assert_eq!(
            (
                traffic.traps.of(TrapReason::Variable),
                traffic.traps.of(TrapReason::Command)
            ),
            (2, 1)
        );
    }
}
