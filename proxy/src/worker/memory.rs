//! How much memory the daemon has.

use std::fs;

use rustix::param::page_size;

/// Bytes of its resident set; none where `/proc` is not mounted (`/proc/pid/statm`, proc(5): the second number, in pages).
pub(super) fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(page_size()).ok()?)
}
