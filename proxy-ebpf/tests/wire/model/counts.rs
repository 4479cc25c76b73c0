//! What the runs have met: a model that never comes to a place finds nothing there.

use std::collections::BTreeMap;

/// How often each thing has happened, and how often it must have in a million steps.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<&'static str, u64>);

/// What must have been met, how often in a million steps at least.
const LEAST: &[(&str, u64)] = &[
    ("regime", 2000),
    ("trap: command", 500),
    ("trap: not one whole packet", 100),
    ("trap: pipelined", 60),
    ("trap: missing segment", 100),
    ("trap: larger than a segment", 5),
    ("several commands in a segment", 50),
    ("several commands in a segment, again", 1),
    ("handed over", 200),
    ("stopped by the daemon", 50),
    ("copy", 2000),
    ("clamped", 200),
    ("trimmed", 20),
    ("passed again", 200),
    ("straddles the start", 1),
    ("dropped: from a peer", 20),
    ("dropped: from a local socket", 500),
    ("asks the peer", 50),
    ("admin", 100),
    ("killed: FIN", 5),
    ("killed: RST", 5),
    ("FIN of a peer", 50),
    ("RST of a peer", 5),
    ("half-closed", 5),
    ("SYN", 20),
    ("keep-alive", 100),
    ("gigabytes in one regime", 2),
    ("another text", 50),
    ("session", 100),
    ("trap: for the other node", 100),
    ("regime with the reader", 500),
    ("regime with another node than the last", 300),
    ("regime with the node that is not offered", 100),
    (
        "offered another node while bytes of the last are outstanding",
        5,
    ),
    ("the node speaks that the regime is not with", 20),
    ("the reader has left", 1),
    ("goes on with the reader", 200),
    ("goes on with the writer", 200),
    ("the regime has gone on where it did not begin", 50),
];

impl Counts {
    pub(crate) fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// What was met too seldom.
    pub(crate) fn missing(&self, steps: u64) -> Vec<String> {
        LEAST
            .iter()
            .filter(|(what, least)| self.of(what) < least * steps / 1_000_000)
            .map(|(what, least)| {
                format!(
                    "{what}: {}, at least {}",
                    self.of(what),
                    least * steps / 1_000_000
                )
            })
            .collect()
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>9} {what}")?;
        }
        Ok(())
    }
}
