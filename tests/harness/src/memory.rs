//! How much memory a process and the kernel's sockets hold.

use crate::server;
use anyhow::{Context as _, Result};
use std::{fs, io, net::TcpStream, os::fd::AsRawFd as _, process::Command};

fn status_field(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .with_context(|| format!("{field} in {path}"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Bytes of memory that the process holds now.
///
/// # Errors
///
/// When it is gone.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status_field(pid, "VmRSS:")
}

/// The most bytes of memory that the process held since [`reset_peak`].
///
/// # Errors
///
/// When it is gone.
pub fn resident_bytes_peak(pid: u32) -> Result<u64> {
    status_field(pid, "VmHWM:")
}

/// Starts a new measurement of the peak (proc(5), `clear_refs`, 5).
///
/// # Errors
///
/// When the process is gone or not ours to reset.
pub fn reset_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the peak of resident memory")
}

/// Bytes that all TCP sockets of this machine hold in buffers (`/proc/net/sockstat`, TCP's `mem`, in pages).
///
/// # Errors
///
/// When the kernel does not say.
pub fn tcp_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .context("TCP in /proc/net/sockstat")?;
    let pages: u64 = line
        .rsplit(' ')
        .next()
        .context("mem in /proc/net/sockstat")?
        .parse()?;
    Ok(pages * 4096)
}

/// Bytes of memory that the TCP sockets of the caller's network hold in their queues (`ss`, `skmem`: what is received and not read, sent and not
/// acknowledged, and come while the socket was busy).
///
/// # Errors
///
/// When `ss` fails or prints something else.
pub fn queued_bytes() -> Result<u64> {
    let printed = server::run(Command::new("ss").args(["-tmnOH"]))?;
    let mut sum = 0;
    for line in printed.lines() {
        let (_, fields) = line.split_once("skmem:(").context(line.to_owned())?;
        let fields = fields.split(')').next().unwrap_or_default();
        for field in fields.split(',') {
            let digits = field.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
            let name = field.strip_suffix(digits).unwrap_or_default();
            if matches!(name, "r" | "w" | "bl") {
                sum += digits.parse::<u64>().with_context(|| field.to_owned())?;
            }
        }
    }
    Ok(sum)
}

/// Bytes that could be read from the socket at once (FIONREAD, what a driver's `available()` calls).
///
/// # Errors
///
/// When ioctl(2) fails.
pub fn pending_bytes(stream: &TcpStream) -> Result<usize> {
    let mut count: libc::c_int = 0;
    #[expect(unsafe_code, reason = "FIONREAD has no safe wrapper in std")]
    // SAFETY: the descriptor is open while `stream` is borrowed, and FIONREAD writes one int (tcp(7), SIOCINQ).
    let code = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if code != 0 {
        return Err(io::Error::last_os_error()).context("FIONREAD");
    }
    Ok(usize::try_from(count)?)
}
