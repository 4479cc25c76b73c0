//! One test and where it can run.

use anyhow::Result;
use sluice_tests::{
    path::{self, Path, Stage},
    server::Kind,
};

/// A test; by default on every path, with MariaDB.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Stage) -> Result<()>,
    pub(crate) kinds: &'static [Kind],
    only: Option<Path>,
    daemon: bool,
}

impl Case {
    pub(crate) const fn new(name: &'static str, run: fn(&Stage) -> Result<()>) -> Self {
        Self {
            name,
            run,
            kinds: &[Kind::MariaDb],
            only: None,
            daemon: false,
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

    /// Why it cannot run here, if it cannot.
    pub(crate) fn left_out(&self, path: Path, kind: Kind) -> Option<&'static str> {
        if let Some(reason) = path::missing(kind) {
            return Some(reason);
        }
        match (path, self.only) {
            (Path::Direct, _) if self.daemon => Some("direct, it is about the daemon"),
            (_, Some(Path::Spliced)) if path != Path::Spliced => {
                Some("relayed, it is about splicing")
            }
            (_, Some(Path::Relayed)) if path != Path::Relayed => {
                Some("spliced, it is about relaying")
            }
            _ => None,
        }
    }
}
