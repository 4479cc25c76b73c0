//! Debian's kernels, unpacked into the user's cache folder.

use crate::archive::Archive;
use crate::place::{self, fill_once};
use crate::run;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel that a suite has a package of.
pub(super) struct Kernel {
    /// As it is asked for.
    pub(super) name: &'static str,
    /// Whether both paths must work there; 5.10 has no `bpf_loop`.
    pub(super) splices: bool,
    /// Lines of apt's sources. Where two have it, the newer one is taken.
    suites: &'static [&'static str],
}

/// Oldest first.
pub(super) const ALL: &[Kernel] = &[
    Kernel {
        name: "5.10",
        splices: false,
        suites: &[
            "http://deb.debian.org/debian bullseye main",
            "http://security.debian.org/debian-security bullseye-security main",
        ],
    },
    Kernel {
        name: "6.1",
        splices: true,
        suites: &[
            "http://deb.debian.org/debian bookworm main",
            "http://security.debian.org/debian-security bookworm-security main",
        ],
    },
    Kernel {
        name: "6.12",
        splices: true,
        suites: &[
            "http://deb.debian.org/debian trixie main",
            "http://security.debian.org/debian-security trixie-security main",
        ],
    },
    Kernel {
        name: "sid",
        splices: true,
        suites: &["http://deb.debian.org/debian sid main"],
    },
];

/// The package that stands for the suite's newest kernel.
const NEWEST: &str = "linux-image-amd64";
/// What has its files: since 7.x `linux-image` only names the other two.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
/// Folders of drivers that a machine without hardware can use; the others are most of a kernel's bytes.
const DRIVERS: [&str; 4] = ["virtio", "net", "char", "block"];

/// An unpacked kernel.
pub(super) struct Unpacked {
    /// Its release, as `uname -r` will say.
    pub(super) release: String,
    /// Whether both paths must work there.
    pub(super) splices: bool,
    /// What the machine boots.
    pub(super) image: PathBuf,
    /// What stands for its root: `lib/modules` is there.
    pub(super) root: PathBuf,
}

impl Kernel {
    /// Fetches it, if the cache has none. (A newer one is fetched when its folder there is gone.)
    ///
    /// # Errors
    /// The archive out of reach, or packages of another form than known.
    pub(super) fn unpack(&self) -> Result<Unpacked> {
        let cache = place::cache().join("kernels");
        let is_whole = |folder: &Path| self.find(folder).is_ok();
        let folder = fill_once(&cache, self.name, is_whole, |root| self.fill(root))?;
        self.find(&folder)
    }

    fn find(&self, root: &Path) -> Result<Unpacked> {
        let release = release(root)?;
        let modules = root.join("lib/modules").join(&release);
        let image = [
            root.join("boot").join(format!("vmlinuz-{release}")),
            modules.join("vmlinuz"),
        ]
        .into_iter()
        .find(|image| image.is_file())
        .context("no kernel image")?;
        fs::metadata(modules.join("modules.dep")).context("no modules.dep")?;
        Ok(Unpacked {
            release,
            splices: self.splices,
            image,
            root: root.to_path_buf(),
        })
    }

    fn fill(&self, root: &Path) -> Result<()> {
        let apt = root.join("apt");
        let archive = Archive::open(apt.clone(), self.suites)?;
        let packages: Vec<String> = archive
            .depends(NEWEST)?
            .into_iter()
            .filter(|name| name != NEWEST && PARTS.iter().any(|part| name.starts_with(part)))
            .collect();
        archive.fetch(&packages)?;
        archive.unpack(root)?;
        fs::remove_dir_all(&apt)?;
        // Since usr was merged packages have it there.
        let merged = root.join("usr/lib/modules");
        if merged.exists() {
            fs::create_dir_all(root.join("lib"))?;
            fs::rename(merged, root.join("lib/modules"))?;
        }
        fs::remove_dir_all(root.join("usr"))?;
        let release = release(root)?;
        let modules = root.join("lib/modules").join(&release).join("kernel");
        for folder in [modules.join("drivers"), modules.join("drivers/net")] {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                let is_kept = DRIVERS.iter().any(|kept| name == *kept);
                if entry.file_type()?.is_dir() && !is_kept {
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        let depmod = place::find_program("depmod").context("no depmod")?;
        run::run_quietly(Command::new(depmod).arg("-b").arg(root).arg(release))
    }
}

/// The release of the one kernel below `root`.
fn release(root: &Path) -> Result<String> {
    let modules = root.join("lib/modules");
    let mut entries = fs::read_dir(&modules).with_context(|| modules.display().to_string())?;
    let entry = entries.next().context("no modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}
