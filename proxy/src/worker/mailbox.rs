//! Words between workers: what one asks of another's sessions. A mailbox holds at most one word of every session, as a session waits
//! for its answer.

use std::{collections::HashSet, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc::UnboundedReceiver, oneshot},
    task::yield_now,
    time::timeout,
};

use super::{
    Process, SharedWorker,
    close::End,
    registry::{Entry, Switch},
    switch::Stuck,
};
use crate::{
    admin::Report,
    session::{CsId, Session, SsId},
};

/// How long sessions may take to end when the daemon stops.
const STOP: Duration = Duration::from_secs(1);
/// How long a KILL waits for its victim's end: its worker may be in the middle of something, and the victim has its farewell.
const KILL: Duration = Duration::from_secs(2);
/// How long the server of an idle session is waited for.
const READ: Duration = Duration::from_millis(500);
/// How long a session may take to get another server session: its command boundary, the node's login.
const SWITCH: Duration = Duration::from_secs(10);

/// A word to a worker.
#[derive(Debug)]
pub(super) enum Mail {
    /// Copies of its sessions, please: of all, or only of those that this id may mean.
    Snapshot(Option<i64>, oneshot::Sender<Vec<Session>>),
    /// Copies of all of its sessions, and what else the worker can tell.
    Report(oneshot::Sender<(Vec<Session>, Report)>),
    /// End this session, if it is one of its own. The sender is dropped when the session is gone.
    Kill(CsId, oneshot::Sender<()>),
    /// Ask the server for this session's stale variables, if it is one of its own.
    ReadVariables(CsId, oneshot::Sender<()>),
    /// Have the kernel stop splicing, and say when it is told.
    StopSplicing(oneshot::Sender<()>),
    /// Replace this session's server session, if the session is one of its own.
    Switch(CsId, Switch),
    /// Let nobody in any more, and have sessions end when they can.
    Retire,
    /// End all sessions.
    EndAll(End),
    /// End those with these numbers that are its own: they have no way over covered interfaces.
    EndStrays(Arc<HashSet<u64>>),
    /// End.
    Stop,
}

/// Reads a worker's mail until it is told to stop.
pub(super) async fn serve(worker: &SharedWorker, mut inbox: UnboundedReceiver<Mail>) {
    while let Some(mail) = inbox.recv().await {
        match mail {
            Mail::Snapshot(id, reply) => {
                // Who asked may be gone meanwhile.
                let _ = reply.send(worker.registry.snapshot(id));
            }
            Mail::Report(reply) => {
                let _ = reply.send((worker.registry.snapshot(None), worker.report()));
            }
            Mail::Kill(cs_id, gone) => worker.registry.end(cs_id, End::Killed, Some(gone)),
            Mail::StopSplicing(reply) => {
                worker.registry.stop_splicing();
                let _ = reply.send(());
            }
            Mail::ReadVariables(cs_id, reader) => worker.registry.read_variables(cs_id, reader),
            Mail::Switch(cs_id, switch) => worker.registry.switch(cs_id, switch),
            Mail::Retire => {
                if let Some(accepting) = worker.accepting.take() {
                    accepting.abort();
                }
                worker.registry.tell_news();
            }
            Mail::EndAll(end) => worker.registry.end_all(end),
            Mail::EndStrays(numbers) => {
                let is_meant = |entry: &Rc<Entry>| numbers.contains(&entry.number());
                for entry in worker.registry.all().into_iter().filter(is_meant) {
                    worker.registry.end(entry.cs_id, End::Strayed, None);
                }
            }
            Mail::Stop => {
                worker.registry.end_all(End::Stopped);
                // Each session writes its closing line; one that cannot is dropped.
                let _ = timeout(STOP, async {
                    while worker.registry.len() > 0 {
                        yield_now().await;
                    }
                })
                .await;
                return;
            }
        }
    }
}

/// The sessions of all workers at about one moment; with an id only those that it may mean.
pub(super) async fn snapshot(process: &Process, id: Option<i64>) -> Vec<Session> {
    let sessions = ask_all(process, |reply| Mail::Snapshot(id, reply)).await;
    sessions.into_iter().flatten().collect()
}

/// The sessions of all workers, and what else the workers can tell.
pub(super) async fn reports(process: &Process) -> (Vec<Session>, Vec<Report>) {
    let (sessions, reports): (Vec<_>, Vec<_>) =
        ask_all(process, Mail::Report).await.into_iter().unzip();
    (sessions.into_iter().flatten().collect(), reports)
}

/// Writes to all workers at once and waits for their answers. A worker that has stopped has none, nor has one that drops the sender: it does not
/// have the session that is meant.
async fn ask_all<T>(process: &Process, mail: impl Fn(oneshot::Sender<T>) -> Mail) -> Vec<T> {
    let mut replies = Vec::with_capacity(process.mailboxes.len());
    for mailbox in &process.mailboxes {
        let (sender, receiver) = oneshot::channel();
        if mailbox.send(mail(sender)).is_ok() {
            replies.push(receiver);
        }
    }
    let mut answers = Vec::with_capacity(replies.len());
    for reply in replies {
        answers.extend(reply.await);
    }
    answers
}

/// Ends a session wherever it is, and waits until it is gone, so that nobody finds it again; but not for ever.
pub(super) async fn kill(process: &Process, cs_id: CsId) {
    // Nothing is ever sent: a sender that is dropped says it.
    let _ = timeout(KILL, ask_all(process, |gone| Mail::Kill(cs_id, gone))).await;
}

/// Has the kernel stop splicing on all workers: from then on every session's next message comes to the daemon.
pub(super) async fn stop_splicing(process: &Process) {
    ask_all(process, Mail::StopSplicing).await;
}

/// Ends these sessions on the wire, wherever they are.
pub(super) fn end_strays(process: &Process, numbers: Vec<u64>) {
    let numbers: Arc<HashSet<u64>> = Arc::new(numbers.into_iter().collect());
    for mailbox in &process.mailboxes {
        // A worker that has stopped has none.
        let _ = mailbox.send(Mail::EndStrays(Arc::clone(&numbers)));
    }
}

/// Has the server asked for a session's stale variables, wherever the session is; waits until it has answered, or half a second.
pub(super) async fn read_variables(process: &Process, cs_id: CsId) {
    let read = ask_all(process, |reader| Mail::ReadVariables(cs_id, reader));
    let _ = timeout(READ, read).await;
}

/// Has a session's server session replaced, wherever the session is, and says why where it stays.
pub(super) async fn switch(process: &Process, cs_id: CsId, ss_id: SsId) -> Result<(), Stuck> {
    let switch = |outcome| Mail::Switch(cs_id, Switch { ss_id, outcome });
    match timeout(SWITCH, ask_all(process, switch)).await {
        Ok(outcomes) => outcomes.into_iter().next().unwrap_or(Err(Stuck::Gone)),
        Err(_elapsed) => Err(Stuck::Busy),
    }
}
