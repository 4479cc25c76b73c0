//! Child processes that cannot outlive the test process.

use crate::{netns, wait};
use anyhow::{Context as _, Result, bail};
use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus},
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

/// A running child; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts `command` in the caller's network; the kernel kills it when this process dies.
///
/// # Errors
///
/// When it cannot be started.
pub fn spawn(name: &str, mut command: Command) -> Result<Process> {
    let foreign = netns::foreign()?;
    #[expect(
        unsafe_code,
        reason = "PR_SET_PDEATHSIG can only be set by the child itself, between fork and exec"
    )]
    // SAFETY: prctl(2) and setns(2) are async-signal-safe and the closure allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            foreign.as_ref().map_or(Ok(()), netns::set)
        });
    }
    let (answer, child) = channel();
    spawner()
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))?;
    let child = child.recv()?.with_context(|| format!("start {name}"))?;
    Ok(Process {
        child,
        name: name.to_owned(),
    })
}

/// The death signal is sent when the *thread* that forked ends (prctl(2)), and tests run on threads that come and go: so one
/// thread that lives as long as the process starts them all. It is in the machine's own network, whoever asks first.
fn spawner() -> &'static Mutex<Sender<Order>> {
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, orders) = channel::<Order>();
        let start = move || {
            thread::spawn(move || {
                for (mut command, answer) in orders {
                    // Who gave up waiting for the child does not want it: the unsent result is dropped.
                    drop(answer.send(command.spawn()));
                }
            });
        };
        // Where it fails there is no thread, and so no receiver: whoever sends is told.
        drop(netns::at_home(start));
        Mutex::new(sender)
    })
}

impl Process {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal (`libc::SIG…`).
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let pid = i32::try_from(self.pid())?;
        #[expect(
            unsafe_code,
            reason = "kill(2) of a child of our own that was not waited for, so its id cannot be another's"
        )]
        // SAFETY: kill(2) touches no memory of ours.
        let code = unsafe { libc::kill(pid, signal) };
        if code != 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("signal {signal} to {}", self.name));
        }
        Ok(())
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    ///
    /// When waitpid(2) fails.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    ///
    /// When waitpid(2) fails.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.child.kill()?;
        }
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM and waits for the end; returns the exit code.
    ///
    /// # Errors
    ///
    /// When it has not ended by itself at the deadline, or ended by a signal.
    pub fn terminate(&mut self, deadline: Duration) -> Result<i32> {
        self.signal(libc::SIGTERM)?;
        let name = self.name.clone();
        let status = wait::until(&format!("{name} ended after SIGTERM"), deadline, || {
            self.ended()
        })?;
        match status.code() {
            Some(code) => Ok(code),
            None => bail!("{name} ended by a signal: {status}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to be told: an error here means that the child is gone already.
        drop(self.kill());
    }
}
