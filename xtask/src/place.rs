//! Where things are: this workspace, its target folder, the cache that outlives both.

use anyhow::{Context as _, Result, ensure};
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The folder of build products.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// The daemon as `cargo build --release` leaves it.
pub(crate) fn daemon() -> PathBuf {
    target().join("release/sluice")
}

/// What was fetched for the tests: the user's cache folder, so that other checkouts need not fetch it again.
pub(crate) fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map_or_else(target, |home| Path::new(&home).join(".cache"));
    env::var_os("XDG_CACHE_HOME")
        .map_or_else(home, PathBuf::from)
        .join("sluice")
}

/// The cargo that runs us.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Where a program is in `PATH`, or in the folders that only root has there.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// True where this process may load BPF programs and install packages.
pub(crate) fn is_root() -> bool {
    // The kernel gives /proc/self to the effective user.
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The folder `name` below `cache`, filled once: `fill` works in a folder of its own, and only a complete and tried one gets the name.
/// A folder that `check` refuses is filled anew.
pub(crate) fn fill_once(
    cache: &Path,
    name: &str,
    check: impl Fn(&Path) -> bool,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = cache.join(name);
    if check(&folder) {
        return Ok(folder);
    }
    println!("setup: fetching {name} for the tests ...");
    let unfinished = cache.join(format!("{name}.unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished)
        .with_context(|| format!("cannot make {}", unfinished.display()))?;
    let filled = fill(&unfinished).and_then(|()| {
        ensure!(check(&unfinished), "what was fetched does not start");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(fs::rename(&unfinished, &folder)?)
    });
    if filled.is_err() {
        // The error at hand says more than one about leftovers would.
        let _leftover = fs::remove_dir_all(&unfinished);
    }
    filled.map(|()| folder)
}
