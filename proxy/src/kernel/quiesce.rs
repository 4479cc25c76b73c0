//! Waits until programs that are running now have ended.
#![expect(unsafe_code, reason = "std has no membarrier")]

use std::io;

/// `MEMBARRIER_CMD_GLOBAL` of `linux/membarrier.h`.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Returns once every BPF program that was running at the call has ended: what such a program has written is there, and whoever runs later sees
/// what the caller has written before. Takes some milliseconds, in which the thread sleeps.
///
/// `membarrier` waits for an RCU grace period (`synchronize_rcu` in `kernel/sched/membarrier.c`), and `sk_msg` programs run inside a reader's section
/// (`sk_psock_msg_verdict`).
///
/// # Errors
/// Kernels with `nohz_full` CPUs refuse (EINVAL).
pub fn quiesce() -> io::Result<()> {
    // SAFETY: no pointers; the call only waits.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_returns() {
        super::quiesce().unwrap();
    }
}
