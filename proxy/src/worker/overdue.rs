//! What takes longer than it may: sessions at drained nodes ([`drain`]), clients that send nothing, statements. Each is looked at again when the next one's time may
//! be up; what is under way meanwhile costs nothing.

use std::{rc::Rc, time::Duration};

use tokio::time::timeout;

use super::{SharedWorker, Worker, clock, close::End, drain, registry::Entry, stop};
use crate::protocol::command;

/// Between two looks at least, however short the limits are.
const PAUSE: Duration = Duration::from_millis(10);

/// Has deadlines kept. Never ends.
pub(super) async fn enforce(worker: SharedWorker) {
    let mut changes = worker.process.health.changes();
    loop {
        let next = [drain::look(&worker), look(&worker)];
        let change = changes.changed();
        let changed = match next.into_iter().flatten().min() {
            Some(next) => timeout(next, change).await.unwrap_or(Ok(())),
            None => change.await,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Ends sessions of idle clients and stops statements whose time is up. How long until another one's may be: what begins from now on has all its time.
fn look(worker: &Worker) -> Option<Duration> {
    let settings = worker.process.settings();
    let limit = |time: Duration| (!time.is_zero()).then_some(time);
    let (idle, query) = (limit(settings.idle_timeout), limit(settings.query_timeout));
    let mut next = [idle, query].into_iter().flatten().min()?;
    let now_ns = clock::now_ns();
    for entry in worker.registry.all() {
        let (began_at_ns, ended_at_ns) = entry.times();
        let is_running = ended_at_ns.is_none();
        let Some(limit) = (if is_running { query } else { idle }) else {
            continue;
        };
        let since_ns = ended_at_ns.unwrap_or(began_at_ns);
        let left = limit.saturating_sub(Duration::from_nanos(now_ns.saturating_sub(since_ns)));
        if !left.is_zero() {
            next = next.min(left);
        } else if is_running {
            stop_statement(&entry, worker, began_at_ns);
        } else {
            worker.registry.end(entry.cs_id, End::Idle, None);
        }
    }
    Some(next.max(PAUSE))
}

/// Has the node stop the statement that it executes for a session. Whether it may be is looked at once.
fn stop_statement(entry: &Rc<Entry>, worker: &Worker, began_at_ns: u64) {
    if entry.overdue_since_ns.replace(began_at_ns) == began_at_ns {
        return;
    }
    let session = entry.current();
    // Whoever follows a binary log does so for ever.
    let may_be_stopped = matches!(
        session.command.byte,
        command::QUERY | command::STMT_EXECUTE | command::STMT_BULK_EXECUTE | command::STMT_FETCH
    );
    let Some(running) = session.running().filter(|_| may_be_stopped) else {
        return;
    };
    tracing::info!(
        cs_id = entry.cs_id.0,
        connection_id = running.connection.0,
        node = %running.node,
        user = session.login.user,
        seconds = Duration::from_nanos(session.command.duration_ns(clock::now_ns())).as_secs_f64(),
        "query timeout: the node is told to stop the statement"
    );
    stop::query(entry, worker);
}
