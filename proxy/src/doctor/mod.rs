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
    /// Sessions with both ends on this host can be spliced, by either path, and its self-test's bytes came through.
    pub can_splice: bool,
    lines: Vec<(&'static str, String)>,
}

/// Looks at the kernel and runs the self-test. Loads the programs for its duration; sessions of a running daemon do not notice.
pub fn report() -> Report {
    let mut lines = host();
    let mut loaded = self_test::load(1, false);
    let (can_splice, here, remote) = match &mut loaded {
        Ok(kernel) => {
            let local = self_test::test_local(kernel);
            lines.push(("self-test, local", outcome(local.as_ref().map(|_| ()))));
            if let Ok(found) = &local {
                let counts = if found.counts_unread_bytes {
                    "counts all bytes"
                } else {
                    "counts spliced bytes only (a defect of this kernel)"
                };
                lines.push(("FIONREAD on clients", counts.to_owned()));
            }
            let (tested, found, more) = wire::look(kernel);
            lines.push(("self-test, wire", outcome(tested.as_ref().copied())));
            lines.extend(more);
            lines.push(("capabilities, later", later(kernel.needed_later())));
            let here = match (&local, &tested) {
                (Ok(_), _) => "spliced between their sockets (path local)",
                (Err(_), Ok(())) => "spliced below the sockets (path wire) by lo",
                (Err(_), Err(_)) => "relayed: the self-tests failed",
            };
            let can_splice = local.is_ok() || tested.is_ok();
            (can_splice, here.to_owned(), wire::remote(&found))
        }
        Err(error) => {
            lines.push(("self-test, local", outcome(Err(error))));
            let why_not = match error {
                SelfTestError::Capabilities(_) => error.to_string(),
                _ => "the programs cannot be loaded".to_owned(),
            };
            let here = format!("relayed: {why_not}");
            (false, here, wire::remote(&Err(why_not)))
        }
    };
    lines.push(("client and node on this host", here));
    lines.extend(remote);
    lines.extend(foreign::lines(loaded.as_ref().ok()));
    Report { can_splice, lines }
}

/// How a self-test went.
fn outcome(result: Result<(), &SelfTestError>) -> String {
    match result {
        Ok(()) => {
            "passed: commands and 600 kB responses were spliced, a command was trapped".to_owned()
        }
        Err(error) => format!("failed: {}", self_test::explain(error)),
    }
}

/// What there is before anything is loaded.
fn host() -> Vec<(&'static str, String)> {
    let missing = privilege::missing();
    let cgroup = probe::cgroup_root();
    vec![
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
    ]
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
