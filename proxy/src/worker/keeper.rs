//! The one thread that may keep a capability when the daemon has started: it keeps the kernel's half up with the host, and programs on interfaces
//! that come later may take one. No byte of a client or a node gets to it.

use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};

use rustix::thread::CapabilitySet;
use tokio::{runtime, sync::oneshot};

use super::{Process, cover, mailbox};
use crate::{kernel::Kernel, privilege};

/// The thread. When this is dropped the programs and maps are taken away.
pub(super) struct Keeper {
    start: Option<oneshot::Sender<Arc<Process>>>,
    /// Never told anything: it ends when the thread does.
    ended: oneshot::Receiver<Infallible>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread, which keeps this much of what the one that calls may do.
    ///
    /// # Errors
    /// Those of starting a thread or its runtime.
    pub(super) fn new(kernel: Kernel, kept: CapabilitySet) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (start, process) = oneshot::channel();
        let (alive, ended) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            let _alive = alive;
            if let Err(error) = privilege::keep_only(kept) {
                tracing::warn!(%error, "capabilities could not be given up");
            }
            runtime.block_on(async {
                tokio::select! {
                    // Nothing is ever said: the sender is gone.
                    _ = stopped => {}
                    () = follow(kernel, process) => {}
                }
            });
        };
        let thread = thread::Builder::new()
            .name("interfaces".to_owned())
            .spawn(work)?;
        Ok(Self {
            start: Some(start),
            ended,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Has it follow the host's changes from now on.
    pub(super) fn start(&mut self, process: &Arc<Process>) {
        if let Some(start) = self.start.take() {
            // Where it has ended, `ended` tells.
            let _ = start.send(Arc::clone(process));
        }
    }

    /// Waits for its end, which is none that anybody wanted.
    pub(super) async fn ended(&mut self) {
        let Err(_gone) = (&mut self.ended).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // That it panicked has been said by then.
            let _ = thread.join();
        }
    }
}

/// Keeps up with the host, and with the settings that concern the programs. Never ends.
async fn follow(mut kernel: Kernel, process: oneshot::Receiver<Arc<Process>>) {
    // Without one the daemon ends before it has begun, and `stopped` is next.
    let Ok(process) = process.await else {
        return pending().await;
    };
    kernel.set_patience(process.settings().keepalive_idle);
    loop {
        tokio::select! {
            followed = kernel.follow() => match followed {
                Ok(sessions) => {
                    mailbox::end_strays(&process, sessions);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "changes of this host's interfaces are not seen any more");
                    break;
                }
            },
            () = process.configured.notified() => {}
        }
        let settings = process.settings();
        kernel.set_patience(settings.keepalive_idle);
        let captures = !process.lacks.local && cover::captures_clients(&settings);
        if captures {
            process.captures_clients.store(true, Ordering::Relaxed);
        }
        kernel.capture_clients(captures);
        process.captures_clients.store(captures, Ordering::Relaxed);
        if process.has_wire
            && let Err(error) = cover::watch_nodes(&mut kernel, &settings)
        {
            tracing::warn!(%error, "sessions of new nodes are relayed");
        }
    }
    pending::<()>().await;
}
