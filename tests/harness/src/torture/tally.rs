//! What has happened so far.

use super::lives::{Course, Lives};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Counts that all threads of a run share.
#[derive(Debug, Default)]
pub struct Tally {
    operations: Mutex<BTreeMap<&'static str, u64>>,
    troubles: Mutex<BTreeMap<&'static str, u64>>,
    /// What the daemons have told of themselves, added up over restarts.
    daemons: Mutex<BTreeMap<String, u64>>,
    /// Sessions opened, short ones included.
    pub sessions: AtomicU64,
    /// Of these, short ones.
    pub shorts: AtomicU64,
    /// Of these, from a local port that another had before.
    pub reused_ports: AtomicU64,
    /// Bytes of contents that were compared.
    pub bytes: AtomicU64,
    /// Reads of sessions that read at the replica which it has answered.
    pub at_reader: AtomicU64,
    /// The same that the primary has answered, as there was no replica, or it was behind.
    pub at_writer: AtomicU64,
    /// Sessions that were lost when something ended them.
    pub lost: AtomicU64,
    /// Wrong bytes or errors.
    pub wrong: AtomicU64,
    /// Operations that did not end.
    pub stuck: AtomicU64,
    lives: Mutex<Lives>,
    /// The daemon's resident memory at its highest, in bytes.
    pub resident_peak: AtomicU64,
    /// The same of the first daemon when it had just started.
    pub resident_first: AtomicU64,
    /// The same of the last daemon when everybody had left it.
    pub resident_last: AtomicU64,
}

/// How what the daemon tells of the kernel begins: how often it was offered to splice, and began; what it handed up, and why.
const OF_KERNEL: [&str; 3] = ["splice_", "spills", "traps"];

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts are as good after a panic elsewhere as before.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    /// Counts an operation that went well.
    pub fn operation(&self, kind: &'static str) {
        *locked(&self.operations).entry(kind).or_default() += 1;
    }

    /// Counts a trouble.
    pub fn trouble(&self, kind: &'static str) {
        *locked(&self.troubles).entry(kind).or_default() += 1;
    }

    /// Adds what a daemon tells of itself (`SHOW PROXYSTAT`).
    pub fn daemon(&self, rows: Vec<(String, u64)>) {
        let mut daemons = locked(&self.daemons);
        for (name, value) in rows {
            *daemons.entry(name).or_default() += value;
        }
    }

    /// The daemon of this process id holds so many bytes.
    pub fn held(&self, pid: u32, resident: u64) {
        locked(&self.lives).note(pid, Instant::now(), resident);
    }

    /// What has become of the memory of the daemon that lived longest.
    pub fn course(&self) -> Option<Course> {
        locked(&self.lives).course()
    }

    /// One of the daemons' counters.
    pub fn of_daemons(&self, name: &str) -> u64 {
        locked(&self.daemons).get(name).copied().unwrap_or(0)
    }

    /// How many operations went well.
    pub fn operations(&self) -> u64 {
        locked(&self.operations).values().sum()
    }

    /// Whether nothing is wrong or stuck.
    pub fn is_clean(&self) -> bool {
        read(&self.wrong) == 0 && read(&self.stuck) == 0
    }
}

/// A counter's value.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Counts one more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// `name number, name number, …`.
struct List<'a, K>(&'a BTreeMap<K, u64>);

impl<K: fmt::Display> fmt::Display for List<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, number)) in self.0.iter().filter(|(_, number)| **number > 0).enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{name} {number}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kernel, daemon): (BTreeMap<_, _>, BTreeMap<_, _>) = locked(&self.daemons)
            .clone()
            .into_iter()
            .partition(|(name, _)| OF_KERNEL.iter().any(|start| name.starts_with(start)));
        write!(
            f,
            "{} operations, {} MB compared, {} sessions ({} short, {} on a reused port, {} lost to troubles), {} wrong, {} stuck, \
             of reads for a replica {} there and {} at the primary, RSS {} MB at the start, {} MB at the end, {} MB at most\n  \
             operations: {}\n  troubles: {}\n  kernel: {}\n  daemon: {}\n  memory: {}",
            self.operations(),
            read(&self.bytes) / 1_000_000,
            read(&self.sessions),
            read(&self.shorts),
            read(&self.reused_ports),
            read(&self.lost),
            read(&self.wrong),
            read(&self.stuck),
            read(&self.at_reader),
            read(&self.at_writer),
            read(&self.resident_first) / 1_000_000,
            read(&self.resident_last) / 1_000_000,
            read(&self.resident_peak) / 1_000_000,
            List(&locked(&self.operations)),
            List(&locked(&self.troubles)),
            List(&kernel),
            List(&daemon),
            locked(&self.lives),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_what_the_kernel_did() {
        let tally = Tally::default();
        let rows = [("traps", 5), ("traps_variable", 5), ("splice_offers", 9)];
        let more = [("splice_regimes", 7), ("spills", 0), ("client_requests", 3)];
        for rows in [rows, more] {
            tally.daemon(rows.map(|(name, value)| (name.to_owned(), value)).into());
        }
        let text = tally.to_string();
        for line in [
            "  kernel: splice_offers 9, splice_regimes 7, traps 5, traps_variable 5",
            "  daemon: client_requests 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }
}
