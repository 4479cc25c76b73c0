//! Debian's archive, without touching the machine's own packages: apt works on lists and a cache of its own and on an empty record of installed
//! packages. What is fetched is checked against the archive's signatures.

use crate::{place, run};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A private apt, in a folder.
pub(crate) struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Makes one, and fetches the lists of these suites: what follows `deb` in a line of apt's `sources.list`, without options.
    ///
    /// # Errors
    /// No key to check the archive with, no apt, or the archive out of reach.
    pub(crate) fn open(folder: PathBuf, suites: &[&str]) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "the recipe needs Debian's archive key, {KEYRING}"
        );
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let lines = suites
            .iter()
            .map(|suite| format!("deb [signed-by={KEYRING}] {suite}"));
        let sources = lines.collect::<Vec<_>>().join("\n") + "\n";
        fs::write(folder.join("sources.list"), sources)?;
        fs::write(folder.join("status"), "")?;
        let archive = Self { folder };
        run::run_quietly(archive.apt("apt-get")?.arg("update"))?;
        Ok(archive)
    }

    /// Fetches these packages and all that they depend on.
    ///
    /// # Errors
    /// What apt says.
    pub(crate) fn fetch_with_all(&self, packages: &[&str]) -> Result<()> {
        let mut command = self.apt("apt-get")?;
        command.args(["install", "--yes", "--download-only"]);
        run::run_quietly(command.args(packages))
    }

    /// Fetches these packages alone.
    ///
    /// # Errors
    /// What apt says.
    pub(crate) fn fetch(&self, packages: &[String]) -> Result<()> {
        let mut command = self.apt("apt-get")?;
        command.arg("download").args(packages);
        // It puts them where it stands.
        run::run_quietly(command.current_dir(self.archives()))
    }

    /// The names of all packages that one depends on, itself included.
    ///
    /// # Errors
    /// What apt says.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let mut command = self.apt("apt-cache")?;
        command.args(["depends", "--recurse"]);
        for kind in [
            "recommends",
            "suggests",
            "conflicts",
            "breaks",
            "replaces",
            "enhances",
        ] {
            command.arg(format!("--no-{kind}"));
        }
        let text = run::capture(command.arg(package))?;
        // What depends stands at a line's beginning, on what follows indented.
        let names = text.lines().filter(|line| !line.starts_with([' ', '<']));
        Ok(names.map(str::to_owned).collect())
    }

    /// Unpacks all that was fetched into a folder, without running any package's scripts.
    ///
    /// # Errors
    /// What dpkg says.
    pub(crate) fn unpack(&self, root: &Path) -> Result<()> {
        for file in self.archives().read_dir()? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                run::run_quietly(Command::new("dpkg").arg("--extract").arg(&file).arg(root))?;
            }
        }
        Ok(())
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("cache/archives")
    }

    fn apt(&self, name: &str) -> Result<Command> {
        let program = place::find_program(name).context("the recipe needs apt")?;
        let mut command = Command::new(program);
        let nowhere = PathBuf::from("/dev/null");
        let folders = [
            ("Dir::Etc::sourcelist", self.folder.join("sources.list")),
            ("Dir::Etc::sourceparts", nowhere.clone()),
            ("Dir::Etc::preferences", nowhere.clone()),
            ("Dir::Etc::preferencesparts", nowhere),
            ("Dir::State::status", self.folder.join("status")),
            ("Dir::State::lists", self.folder.join("lists")),
            ("Dir::Cache", self.folder.join("cache")),
        ];
        for (option, path) in folders {
            command
                .arg("-o")
                .arg(format!("{option}={}", path.display()));
        }
        // Only package lists are wanted, in English; the sandbox user cannot write to the cache folder; from a mirror that lags
        // behind, an older version will do (the signature is checked all the same).
        for option in [
            "Acquire::Check-Valid-Until=false",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "APT::Sandbox::User=",
            "APT::Install-Recommends=false",
            "Debug::NoLocking=true",
        ] {
            command.args(["-o", option]);
        }
        command.arg("--quiet");
        Ok(command)
    }
}
