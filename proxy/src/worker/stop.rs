//! Has nodes stop what they execute for sessions, by the monitor account: without one it goes on. An order may be lost, or come before the
//! statement does, so it is given again until the statement is over; and it may wait for its turn for longer than that takes, so right before it is sent
//! the session is asked whether it is still the same one.

use std::{
    rc::{Rc, Weak},
    sync::Arc,
};

use tokio::task::spawn_local;

use super::{Process, Worker, registry::Entry};
use crate::{
    config::{Cluster, Settings},
    node::MonitorError,
    pause::pause,
    session::{Running, Session, back_off::wait_after},
};

/// How often the end of a connection is ordered. No longer: a node that was started again may have given its id to another one.
const CONNECTION_TRIES: u32 = 5;

/// Has the node stop the statement that is under way for a session, and be told so until that is over. Once for each statement.
///
/// For one that takes too long, or whose client has left (a node that computes does not notice by itself); a client that only closed its
/// sending half reads the node's error.
pub(super) fn query(entry: &Rc<Entry>, worker: &Worker) {
    let (began_at_ns, ended_at_ns) = entry.times();
    if ended_at_ns.is_some() || entry.stopping_since_ns.get() == began_at_ns {
        return;
    }
    let settings = worker.process.settings();
    let running = entry.current().running();
    if running.is_some_and(|running| monitored(&settings, &running).is_some()) {
        entry.stopping_since_ns.set(began_at_ns);
        let process = Arc::clone(&worker.process);
        spawn_local(until_over(Rc::downgrade(entry), process, began_at_ns));
    }
}

/// The same with the node's connection, for a session that has ended.
pub(super) fn connection(entry: &Entry, session: &Session, worker: &Worker) {
    let Some(running) = session.running() else {
        return;
    };
    let settings = worker.process.settings();
    if monitored(&settings, &running).is_some() {
        spawn_local(until_gone(Arc::clone(&worker.process), running));
        entry.stopped.set(true);
    }
}

/// The cluster of what is under way, if it has a monitor account.
fn monitored<'a>(settings: &'a Settings, running: &Running) -> Option<&'a Cluster> {
    let cluster = settings.cluster(&running.cluster);
    cluster.filter(|cluster| cluster.monitor.is_some())
}

/// What is under way for a session, if it is what began at this time.
fn under_way(entry: &Weak<Entry>, began_at_ns: u64) -> Option<Running> {
    let entry = entry.upgrade()?;
    let running = entry.current().running();
    running.filter(|_| entry.times() == (began_at_ns, None))
}

/// Gives the order until the statement that began at this time is over. What fails, the monitor logs.
async fn until_over(entry: Weak<Entry>, process: Arc<Process>, began_at_ns: u64) {
    let is_wanted = || {
        let is_under_way = under_way(&entry, began_at_ns).is_some();
        if let Some(entry) = entry.upgrade().filter(|_| is_under_way) {
            entry.stopped.set(true);
        }
        is_under_way
    };
    for tries in 1.. {
        let Some(running) = under_way(&entry, began_at_ns) else {
            return;
        };
        let settings = process.settings();
        let Some(cluster) = monitored(&settings, &running) else {
            return;
        };
        let monitor = &process.monitor;
        let order = monitor.kill_query_if(cluster, running.node, running.connection);
        let _ = order.result_if(is_wanted).await;
        drop(settings);
        pause(wait_after(tries)).await;
    }
}

/// Gives the order until it was carried out, or nobody knows whose the connection's id is by now.
async fn until_gone(process: Arc<Process>, running: Running) {
    for tries in 1..=CONNECTION_TRIES {
        let settings = process.settings();
        let Some(cluster) = monitored(&settings, &running) else {
            return;
        };
        let monitor = &process.monitor;
        let order = monitor.kill_connection(cluster, running.node, running.connection);
        // These were not sent, and the node may have been there all the time.
        let (Err(MonitorError::Busy | MonitorError::Denied(_)), true) =
            (order.result().await, tries < CONNECTION_TRIES)
        else {
            return;
        };
        drop(settings);
        pause(wait_after(tries)).await;
    }
}
