//! A network namespace for one test: without a name, gone with the test's thread.
#![expect(unsafe_code, reason = "unshare(2) has no safe wrapper in std")]

use std::{io, process::Command};

/// The namespace that the test's thread is in.
pub(crate) struct Network(());

impl Network {
    /// Runs `ip` with these words.
    #[expect(
        clippy::unused_self,
        reason = "only who is in a network of its own may change it"
    )]
    pub(crate) fn ip(&self, words: &str) {
        let status = Command::new("ip").args(words.split(' ')).status();
        assert!(status.unwrap().success(), "ip {words}");
    }
}

/// Runs `body` in a namespace of its own, whose loopback is up. Where this process may not make one the test is left out, and says so.
pub(crate) fn network(body: impl FnOnce(&Network) + Send) {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: changes this thread's network only; the thread ends with `body`.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                let error = io::Error::last_os_error();
                println!("left out: no network namespace can be made: {error}");
                return;
            }
            let network = Network(());
            network.ip("link set lo up");
            body(&network);
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
