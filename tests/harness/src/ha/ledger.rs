//! What a client was told of its writes, and what is there of them.

use crate::wire::Outcome;
use anyhow::{Context as _, Result};
use std::{collections::BTreeMap, fmt, time::Duration};

/// What a client knows of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is committed.
    Committed,
    /// It is not, and never will be.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// One transaction: the numbers of its rows, which are there all or not at all.
#[derive(Debug, Clone)]
pub struct Entry {
    rows: Vec<u64>,
    fate: Fate,
}

/// How often what was said.
#[derive(Debug, Default)]
pub struct Tally {
    committed: u64,
    refused: u64,
    unknown: u64,
    reads: u64,
    stale: u64,
    transactions: u64,
    errors: BTreeMap<u16, u64>,
    lost_connections: u64,
}

impl Tally {
    /// Adds another client's.
    pub fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.stale += other.stale;
        self.transactions += other.transactions;
        self.lost_connections += other.lost_connections;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
    }

    /// How many writes were told to be committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// How many connections broke under a command.
    pub fn lost_connections(&self) -> u64 {
        self.lost_connections
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<_> = self
            .errors
            .iter()
            .map(|(code, count)| format!("{count} of {code}"))
            .collect();
        write!(
            f,
            "writes: {} committed, {} refused, {} of unknown outcome ({} in transactions of two); reads: {} at a primary, {} at a replica; \
             errors: {}; {} connections lost in the middle of a command",
            self.committed,
            self.refused,
            self.unknown,
            self.transactions,
            self.reads,
            self.stale,
            errors.join(", "),
            self.lost_connections
        )
    }
}

/// One client's account.
#[derive(Debug)]
pub struct Ledger {
    client: u32,
    entries: Vec<Entry>,
    /// When commits were told, since the run's begin.
    pub commits: Vec<Duration>,
    /// How often what was said.
    pub tally: Tally,
    /// What must not have happened.
    pub wrong: Vec<String>,
}

/// How often each row is there, by client and number.
pub type Found = BTreeMap<(u32, u64), u64>;

impl Ledger {
    pub(super) fn new(client: u32) -> Self {
        Self {
            client,
            entries: Vec::new(),
            commits: Vec::new(),
            tally: Tally::default(),
            wrong: Vec::new(),
        }
    }

    /// Writes down what became of a transaction with these rows.
    pub(super) fn enter(&mut self, rows: Vec<u64>, fate: Fate, at: Duration) {
        match fate {
            Fate::Committed => {
                self.tally.committed += 1;
                self.commits.push(at);
            }
            Fate::Refused => self.tally.refused += 1,
            Fate::Unknown => self.tally.unknown += 1,
        }
        self.tally.transactions += u64::from(rows.len() > 1);
        self.entries.push(Entry { rows, fate });
    }

    /// Counts an error.
    pub(super) fn failed(&mut self, outcome: &Outcome) {
        *self.tally.errors.entry(outcome.code()).or_default() += 1;
    }

    /// A connection broke under a command.
    pub(super) fn lost(&mut self) {
        self.tally.lost_connections += 1;
    }

    /// A read that found what it must, or one at a replica, which may be behind.
    pub(super) fn read(&mut self, is_primary: bool) {
        if is_primary {
            self.tally.reads += 1;
        } else {
            self.tally.stale += 1;
        }
    }

    /// Rows of the last transaction that is committed.
    pub(super) fn last_committed(&self) -> Option<&[u64]> {
        let mut committed = self.entries.iter().rev();
        let last = committed.find(|entry| entry.fate == Fate::Committed)?;
        Some(&last.rows)
    }

    /// What differs from what was told.
    pub fn compare(&self, found: &Found) -> Vec<String> {
        let client = self.client;
        let count = |row: &u64| found.get(&(client, *row)).copied().unwrap_or_default();
        let mut wrong = Vec::new();
        for entry in &self.entries {
            let counts: Vec<_> = entry.rows.iter().map(count).collect();
            let is_right = match entry.fate {
                Fate::Committed => counts.iter().all(|&count| count == 1),
                Fate::Refused => counts.iter().all(|&count| count == 0),
                Fate::Unknown => {
                    counts.iter().all(|&count| count == 0) || counts.iter().all(|&count| count == 1)
                }
            };
            if !is_right {
                wrong.push(format!(
                    "client {client}, rows {:?}: told {:?}, there {counts:?} times",
                    entry.rows, entry.fate
                ));
            }
        }
        wrong
    }
}

/// Reads rows of client, number and count.
pub(super) fn read(rows: &[Vec<Option<String>>]) -> Result<Found> {
    let mut found = Found::new();
    for row in rows {
        let cell = |at: usize| row.get(at).cloned().flatten().context("a cell");
        let key = (cell(0)?.parse()?, cell(1)?.parse()?);
        found.insert(key, cell(2)?.parse()?);
    }
    Ok(found)
}

/// The longest time in which nobody was told of a commit, behind when it began.
pub(super) fn longest_pause(ledgers: &[Ledger]) -> (Duration, Duration) {
    let mut commits: Vec<_> = ledgers
        .iter()
        .flat_map(|ledger| ledger.commits.iter().copied())
        .collect();
    commits.sort_unstable();
    let pauses = commits
        .iter()
        .zip(commits.iter().skip(1))
        .map(|(from, to)| (*from, to.saturating_sub(*from)));
    pauses.max_by_key(|(_, length)| *length).unwrap_or_default()
}
