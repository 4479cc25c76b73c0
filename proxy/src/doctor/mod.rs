//! `sluice doctor`: what this host offers, which sessions will be spliced, and a live test that splices bytes.

mod foreign;
mod wire;

use std::fmt;

use rustix::thread::CapabilitySet;

use crate::{
    kernel::{
        probe,
        self_test::{self, SelfTestError},
    },
    privilege,
};

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Sessions with both ends on this host can be spliced, and the self-test's bytes came through.
    pub can_splice: bool,
    lines: Vec<(&'static str, String)>,
}

/// Looks at the kernel and runs the self-test. Loads the programs for its duration; sessions of a running daemon do not notice.
pub fn report() -> Report {
    let missing = privilege::missing();
    let cgroup = probe::cgroup_root();
    let mut lines = vec![
        ("kernel", probe::release()),
        (
            "type information (BTF)",
            readable(crate::kernel::btf::KERNEL_TYPES),
        ),
        (
            "cgroup v2",
            cgroup.map_or_else(
                || "not mounted".to_owned(),
                |path| path.display().to_string(),
            ),
        ),
        (
            "capabilities",
            if missing.is_empty() {
                "all there".to_owned()
            } else {
                format!("missing: {}", privilege::names(missing))
            },
        ),
    ];
    let mut tested = self_test::load_and_test(1, false);
    let outcome = |result: Result<(), &SelfTestError>| match result {
        Ok(()) => {
            "passed: commands and 600 kB responses were spliced, a command was trapped".to_owned()
        }
        Err(error) => format!("failed: {}", self_test::explain(error)),
    };
    lines.push(("self-test, local", outcome(tested.as_ref().map(|_| ()))));
    let why_not = match &tested {
        Err(error @ SelfTestError::Capabilities(_)) => error.to_string(),
        _ => "the self-test failed".to_owned(),
    };
    let mut remote = wire::remote(&Err(why_not.clone()));
    if let Ok((kernel, found)) = &mut tested {
        let counts = if found.counts_unread_bytes {
            "counts all bytes"
        } else {
            "counts spliced bytes only (a defect of this kernel)"
        };
        lines.push(("FIONREAD on clients", counts.to_owned()));
        let (tested, found, more) = wire::look(kernel);
        lines.push(("self-test, wire", outcome(tested.as_ref().copied())));
        lines.extend(more);
        lines.push(("capabilities, later", later(kernel.needed_later())));
        remote = wire::remote(&found);
    }
    let can_splice = tested.is_ok();
    let local = if can_splice {
        "spliced between their sockets (path local)".to_owned()
    } else {
        format!("relayed: {why_not}")
    };
    lines.push(("client and node on this host", local));
    lines.extend(remote);
    lines.extend(foreign::lines(
        tested.as_ref().ok().map(|(kernel, _)| kernel),
    ));
    Report { can_splice, lines }
}

/// What the daemon keeps of its capabilities once it listens.
fn later(kept: CapabilitySet) -> String {
    if kept.is_empty() {
        return "none: the daemon gives all up once it listens".to_owned();
    }
    let names = privilege::names(kept);
    format!("{names} in one thread, for interfaces that come; the daemon gives up the rest")
}

/// Whether a file is there and may be read.
fn readable(path: &str) -> String {
    match std::fs::File::open(path) {
        Ok(_) => path.to_owned(),
        Err(error) => format!("{path}: {error}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .lines
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or_default();
        self.lines
            .iter()
            .try_for_each(|(name, text)| writeln!(f, "{name:width$}  {text}"))
    }
}
