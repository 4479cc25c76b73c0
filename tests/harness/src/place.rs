//! Where the tests keep files: one folder for each test process, removed at its end or, after a crash, at the next start.

use crate::netns;
use anyhow::{Context as _, Result};
use std::{
    env, fs,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

const PREFIX: &str = "tmp-e2e-";

/// The repository's root.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
}

fn own() -> PathBuf {
    target().join(format!("{PREFIX}{}", process::id()))
}

/// A new empty folder of this test process, `name` within its name.
///
/// # Errors
///
/// When the folder cannot be made.
pub fn fresh(name: &str) -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = own().join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// A folder that is kept between runs, filled once by `fill` in the machine's own network; a lock keeps other test processes
/// out while it is being filled.
///
/// # Errors
///
/// What `fill` returns, and input or output errors.
pub fn template(name: &str, fill: impl FnOnce(&Path) -> Result<()> + Send) -> Result<PathBuf> {
    let folder = target().join("e2e-template");
    fs::create_dir_all(&folder)?;
    let lock = fs::File::create(folder.join(format!("{name}.lock")))?;
    lock_exclusively(&lock)?;
    let done = folder.join(name);
    if !done.exists() {
        let half = folder.join(format!("{name}.half"));
        if half.exists() {
            fs::remove_dir_all(&half)?;
        }
        fs::create_dir_all(&half)?;
        netns::at_home(|| fill(&half))?.with_context(|| format!("fill {}", half.display()))?;
        fs::rename(&half, &done)?;
    }
    Ok(done)
}

fn lock_exclusively(file: &fs::File) -> Result<()> {
    #[expect(
        unsafe_code,
        reason = "flock(2) of a descriptor that this function borrows; it touches no memory"
    )]
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    let code = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    if code != 0 {
        return Err(std::io::Error::last_os_error()).context("flock");
    }
    Ok(())
}

/// Removes what test processes left behind that are gone.
///
/// # Errors
///
/// When the target folder cannot be read.
pub fn sweep() -> Result<()> {
    let target = target();
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(&target)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix(PREFIX)
            && !Path::new("/proc").join(pid).exists()
        {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Removes this test process's folder.
///
/// # Errors
///
/// When it exists and cannot be removed.
pub fn clear() -> Result<()> {
    let own = own();
    if own.exists() {
        fs::remove_dir_all(&own).with_context(|| format!("remove {}", own.display()))?;
    }
    Ok(())
}
