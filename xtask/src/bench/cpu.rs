//! CPU time: of the whole machine, and of a process with its children.
//!
//! Both are counted in ticks of 1/100 s (`USER_HZ`, proc(5)): good to one part in a hundred over a second of two cores.

use anyhow::{Context as _, Result};
use std::collections::HashMap;
use std::fs;

/// Microseconds in one tick.
const TICK_US: u64 = 10_000;

/// Microseconds that all cores together have been busy since the machine started.
///
/// # Errors
/// `/proc/stat` has another form.
pub(super) fn machine_us() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    Ok(busy_ticks(&text).context("the line `cpu` of /proc/stat")? * TICK_US)
}

/// user, nice, system, irq and softirq. Not idle, iowait and steal, nor guest, which is part of user.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields = line
        .split_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields.as_slice() else {
        return None;
    };
    Some(user + nice + system + irq + softirq)
}

/// A process and all that descend from it, which work for it as nginx's workers do.
///
/// # Errors
/// `/proc` cannot be read.
pub(super) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Who has ended since is nobody's child.
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        if let Some(stat) = Stat::parse(&stat) {
            parents.insert(child, stat.parent);
        }
    }
    Ok(descendants(pid, &parents))
}

/// The process itself, its children, their children and so on; `parents` has each process's parent.
fn descendants(pid: u32, parents: &HashMap<u32, u32>) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        let is_child = |(child, of): (&u32, &u32)| (*of == parent).then_some(*child);
        family.extend(parents.iter().filter_map(is_child));
        next += 1;
    }
    family
}

/// Microseconds that these processes have used since each started.
///
/// # Errors
/// One of them is gone.
pub(super) fn processes_us(pids: &[u32]) -> Result<u64> {
    let ticks = pids.iter().map(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid}"))?;
        Ok(Stat::parse(&text)
            .with_context(|| format!("/proc/{pid}/stat"))?
            .ticks)
    });
    Ok(ticks.sum::<Result<u64>>()? * TICK_US)
}

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    /// utime and stime, of all threads, also those that have ended.
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may itself have spaces and parentheses.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        // Of the manual's numbers of fields, counted from 1, this list lacks two.
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            ticks: number(11)? + number(12)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_not_idle() {
        let stat = "cpu  100 2 30 1000 500 4 5 7 8 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(141));
        assert_eq!(busy_ticks("cpu  100 2\n"), None);
    }

    #[test]
    fn a_family_has_grandchildren() {
        let parents = HashMap::from([(10, 1), (11, 10), (12, 11), (13, 12), (20, 1), (21, 20)]);
        let mut family = descendants(10, &parents);
        family.sort_unstable();
        assert_eq!(family, [10, 11, 12, 13]);
    }

    #[test]
    fn a_program_may_have_any_name() {
        let text = "42 (a) R (b) S 7 42 42 0 -1 4194304 100 0 0 0 15 27 1 2 20 0 1 0 99";
        let expected = Stat {
            parent: 7,
            ticks: 42,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse(""), None);
    }
}
