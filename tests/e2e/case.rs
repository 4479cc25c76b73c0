//! One test and where it can run.

use anyhow::Result;
use sluice_tests::{
    path::{self, Path, Stage},
    server::Kind,
};
use std::{env, fs, os::unix::fs::MetadataExt as _};

/// A test; by default on every path, with MariaDB.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Stage) -> Result<()>,
    pub(crate) kinds: &'static [Kind],
    only: Option<Path>,
    daemon: bool,
    tool: Option<&'static str>,
    root: bool,
}

impl Case {
    pub(crate) const fn new(name: &'static str, run: fn(&Stage) -> Result<()>) -> Self {
        Self {
            name,
            run,
            kinds: &[Kind::MariaDb],
            only: None,
            daemon: false,
            tool: None,
            root: false,
        }
    }

    /// With these makes of server.
    pub(crate) const fn with(mut self, kinds: &'static [Kind]) -> Self {
        self.kinds = kinds;
        self
    }

    /// On this path only.
    pub(crate) const fn only(mut self, path: Path) -> Self {
        self.only = Some(path);
        self.daemon = true;
        self
    }

    /// About something that only the daemon does.
    pub(crate) const fn daemon(mut self) -> Self {
        self.daemon = true;
        self
    }

    /// Only where this program is installed.
    pub(crate) const fn tool(mut self, name: &'static str) -> Self {
        self.tool = Some(name);
        self
    }

    /// Only for root: it makes a network of its own.
    pub(crate) const fn root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Why it cannot run here, if it cannot.
    pub(crate) fn left_out(&self, path: Path, kind: Kind) -> Option<&'static str> {
        if let Some(reason) = path::missing(kind) {
            return Some(reason);
        }
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        match (path, self.only) {
            (Path::Spliced, _) if !is_root => Some("splicing needs root"),
            _ if self.root && !is_root => Some("it needs root"),
            (Path::Direct, _) if self.daemon => Some("direct, it is about the daemon"),
            (_, Some(Path::Spliced)) if path != Path::Spliced => {
                Some("relayed, it is about splicing")
            }
            (_, Some(Path::Relayed)) if path != Path::Relayed => {
                Some("spliced, it is about relaying")
            }
            _ => self
                .tool
                .filter(|name| !installed(name))
                .map(|_| "a tool is not installed"),
        }
    }
}

fn installed(program: &str) -> bool {
    // Root's own folders need not be in everyone's PATH.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    env::split_paths(&path).any(|folder| folder.join(program).exists())
}
