//! One test and where it can run.

use anyhow::Result;
use sluice_tests::{
    path::Path,
    rights::{self, Rights},
    server::Kind,
    stage::{self, Setting, Stage},
    topology::Topology,
};
use std::{env, fs, os::unix::fs::MetadataExt as _};

/// A test; by default in every setting, with MariaDB.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Stage) -> Result<()>,
    pub(crate) kinds: &'static [Kind],
    only: Option<Only>,
    except: Option<Except>,
    local: bool,
    daemon: bool,
    tools: [Option<&'static str>; 2],
    root: bool,
}

/// The settings in which a case makes no sense, and why.
type Except = (fn(Setting) -> bool, &'static str);

/// Which paths a case is about, if not all.
#[derive(Clone, Copy)]
enum Only {
    /// Those on which the kernel moves the bytes.
    Splicing,
    /// One.
    Path(Path),
}

impl Case {
    pub(crate) const fn new(name: &'static str, run: fn(&Stage) -> Result<()>) -> Self {
        Self {
            name,
            run,
            kinds: &[Kind::MariaDb],
            only: None,
            except: None,
            local: false,
            daemon: false,
            tools: [None; 2],
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
        self.only = Some(Only::Path(path));
        self.daemon = true;
        self
    }

    /// Where the kernel moves the bytes, on whichever path.
    pub(crate) const fn splicing(mut self) -> Self {
        self.only = Some(Only::Splicing);
        self.daemon = true;
        self
    }

    /// Not in settings of which this is true, and why.
    pub(crate) const fn except(mut self, is_out: fn(Setting) -> bool, why: &'static str) -> Self {
        self.except = Some((is_out, why));
        self
    }

    /// With all three on hosts of their own only: it is about the links between them.
    pub(crate) const fn between_hosts(self) -> Self {
        self.except(
            is_no_gateway,
            "all three on hosts of their own, it is about the links between them",
        )
    }

    /// With all on one host only: where client and node are makes no difference to it, or it makes its own network.
    pub(crate) const fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// About something that only the daemon does.
    pub(crate) const fn daemon(mut self) -> Self {
        self.daemon = true;
        self
    }

    /// Only where this program, or the file of this full name, is installed; two of them at most.
    pub(crate) const fn tool(mut self, name: &'static str) -> Self {
        self.tools = [Some(name), self.tools[0]];
        self
    }

    /// Only for root: it makes a network of its own.
    pub(crate) const fn root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Why it cannot run here, if it cannot.
    pub(crate) fn left_out(&self, setting: Setting, kind: Kind) -> Option<&'static str> {
        if let Some(reason) = stage::missing(kind) {
            return Some(reason);
        }
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if let Some((is_out, why)) = self.except
            && is_out(setting)
        {
            return Some(why);
        }
        if setting.rights == Rights::Unit
            && let Some(reason) = rights::missing()
        {
            return Some(reason);
        }
        let Setting { topology, path, .. } = setting;
        match (path, self.only) {
            _ if topology.is_remote() && !is_root => Some("remote ends need root"),
            _ if path.splices() && !is_root => Some("splicing needs root"),
            _ if self.root && !is_root => Some("it needs root"),
            (Path::Direct, _) if self.daemon => Some("direct, it is about the daemon"),
            _ if topology.is_remote() && self.local => {
                Some("remote ends, it is about one host or makes its own network")
            }
            (Path::Relayed, Some(Only::Splicing | Only::Path(Path::Spliced))) => {
                Some("relayed, it is about splicing")
            }
            (_, Some(Only::Path(Path::Relayed))) if path.splices() => {
                Some("spliced, it is about relaying")
            }
            (_, Some(Only::Path(only))) if only != path => Some("it is about another path"),
            _ => self
                .tools
                .into_iter()
                .flatten()
                .any(|name| !installed(name))
                .then_some("a tool is not installed"),
        }
    }
}

/// Client, proxy and node are not all on hosts of their own.
pub(crate) fn is_no_gateway(setting: Setting) -> bool {
    setting.topology != Topology::Gateway
}

fn installed(program: &str) -> bool {
    // Root's own folders need not be in everyone's PATH.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    env::split_paths(&path).any(|folder| folder.join(program).exists())
}
