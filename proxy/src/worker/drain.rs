//! Sessions that are to leave: a node that is drained, or the daemon before it stops. They move, or end, as soon as that takes nothing from
//! their clients; what is left at the deadline is ended with an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::signal::unix::Signal;

use super::{
    Process, Worker, close::End, kill::Turn, leave::Leaving, mailbox::Mail, registry::Entry,
    serve::Serving, switch::Stuck,
};
use crate::{config::Cluster, pause::pause, session::StickyReason};

/// How often the main thread looks whether sessions are left.
const LOOK: Duration = Duration::from_millis(50);
/// How long sessions may take to end after the deadline.
const LAST_WORDS: Duration = Duration::from_secs(8);

impl Process {
    /// Whether the daemon lets nobody in any more, and its sessions are to end.
    pub(super) fn is_retiring(&self) -> bool {
        self.is_retiring.load(Ordering::Relaxed)
    }

    /// Client sessions that have a node.
    fn session_total(&self) -> u64 {
        self.occupancy().total()
    }

    /// Lets sessions end by themselves, if the settings give them time; a second signal ends that.
    pub(super) async fn retire(&self, terminate: &mut Signal, interrupt: &mut Signal) {
        let patience = self.settings().shutdown_timeout;
        let sessions = self.session_total();
        if patience.is_zero() || sessions == 0 {
            return;
        }
        tracing::info!(
            sessions,
            seconds = patience.as_secs_f64(),
            "stopping: sessions may end by themselves"
        );
        let deadline = Instant::now() + patience;
        self.retires_at_ms.store(
            self.now_ms() + u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        self.is_retiring.store(true, Ordering::SeqCst);
        self.tell_all(|| Mail::Retire);
        tokio::select! {
            () = self.emptied(deadline) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let sessions = self.session_total();
        if sessions > 0 {
            tracing::warn!(sessions, "stopping: sessions that are left are ended");
            self.tell_all(|| Mail::EndAll(End::Retired));
            self.emptied(Instant::now() + LAST_WORDS).await;
        }
    }

    /// Waits until no session is left, but not beyond a deadline.
    async fn emptied(&self, deadline: Instant) {
        while self.session_total() > 0 && Instant::now() < deadline {
            pause(LOOK).await;
        }
    }

    fn tell_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in &self.mailboxes {
            // A worker that is gone has no sessions.
            let _ = mailbox.send(mail());
        }
    }
}

/// Notes which sessions are to leave drained nodes, and ends those whose time there is up. How long until the next one's is.
pub(super) fn look(worker: &Worker) -> Option<Duration> {
    let now_ms = worker.process.now_ms();
    let settings = worker.process.settings();
    let mut known = BTreeMap::new();
    let patience = settings.drain_timeout;
    let mut next: Option<Duration> = None;
    for entry in worker.registry.all() {
        let leaves = {
            let session = entry.session.borrow();
            let login = &session.login;
            let cluster = settings.cluster_of(&login.cluster, &login.tenant);
            let node = session.node.as_deref();
            cluster.zip(node).is_some_and(|(cluster, node)| {
                // All that a tenant's sessions see of a cluster is one value of the settings.
                let drained = known.entry(std::ptr::from_ref(cluster));
                let drained = drained.or_insert_with(|| drained_of(&worker.process, cluster));
                drained.contains(node)
            })
        };
        let since_ms = note(&entry, leaves, now_ms);
        let Some(since_ms) = since_ms.filter(|_| !patience.is_zero()) else {
            continue;
        };
        let left = patience.saturating_sub(Duration::from_millis(now_ms.saturating_sub(since_ms)));
        if left.is_zero() {
            worker.registry.end(entry.cs_id, End::Drained, None);
        } else {
            next = Some(next.map_or(left, |next| next.min(left)));
        }
    }
    next
}

/// Notes since when a session is to leave its node.
fn note(entry: &Entry, leaves: bool, now_ms: u64) -> Option<u64> {
    let mut session = entry.session.borrow_mut();
    session.leaves_since_ms = leaves.then(|| session.leaves_since_ms.unwrap_or(now_ms));
    session.leaves_since_ms
}

/// The drained nodes of a cluster, as a tenant's sessions see it, that these can leave for a better one.
fn drained_of(process: &Process, cluster: &Cluster) -> BTreeSet<String> {
    let drained = cluster.nodes.iter().filter(|node| node.is_drained());
    let book = process.health.book();
    drained
        .filter(|node| book.is_misplaced(cluster, &node.address))
        .map(|node| node.address.to_string())
        .collect()
}

impl Serving<'_> {
    /// The daemon is to stop: the session ends once its client has nothing to lose by it.
    ///
    /// # Errors
    /// It ends.
    pub(super) async fn retire(&mut self) -> Result<(), End> {
        // Until then the kernel is offered nothing, and it is looked at again soon.
        self.leaving = Leaving::Now;
        if self.lost.is_some() {
            return Err(End::Retired);
        }
        if !self.reclaim().await? || !self.client_rest.is_empty() {
            return Ok(());
        }
        let mut ties = self.entry.current().sticky_reasons();
        ties.retain(|reason| is_worth_waiting(*reason));
        if ties.is_empty() {
            self.turn = Turn::Client;
            return Err(End::Retired);
        }
        let why = Stuck::Sticky(ties).to_string();
        self.entry.session.borrow_mut().stays = Some(why);
        Ok(())
    }
}

/// Whether a client is in the middle of something as long as this ties it; pools keep prepared statements and roles for ever.
const fn is_worth_waiting(reason: StickyReason) -> bool {
    !matches!(
        reason,
        StickyReason::PreparedStatement | StickyReason::Role | StickyReason::Routine
    )
}
