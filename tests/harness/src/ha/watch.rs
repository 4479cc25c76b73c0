//! Watches whether clients' writes are committed as long as a node could commit them, and tells what there is to see when they are not.

use super::{Say, nodes::Nodes};
use crate::{server::USER_ROOT, stage::Front, wait, wire::Connection};
use anyhow::Result;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(500);
/// A time without a commit that is told of, and after which it is told of again.
const STALL: Duration = Duration::from_secs(10);
/// Lines of the daemon's log that are told with it.
const LOG_LINES: usize = 40;

/// When a client was told of a commit last.
#[derive(Debug)]
pub(super) struct Pulse {
    began: Instant,
    last_ms: AtomicU64,
}

impl Pulse {
    /// Counts from `began`.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            last_ms: AtomicU64::new(0),
        }
    }

    /// A client is told of a commit now; the time since the begin.
    pub(super) fn beat(&self) -> Duration {
        let now = self.began.elapsed();
        let ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last_ms.fetch_max(ms, Ordering::Relaxed);
        now
    }

    fn last(&self) -> Duration {
        Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

/// A time without a commit, and when it began.
pub(super) type Pause = (Duration, Duration);

/// Looks until it is over. The longest time without a client's commit in which a node took one each time that it was asked.
pub(super) fn watch(
    nodes: &Nodes,
    front: &Front,
    pulse: &Pulse,
    is_over: &AtomicBool,
    say: Say<'_>,
) -> Pause {
    let mut operator = front.open(USER_ROOT, "").ok();
    let mut longest = Pause::default();
    let mut able_since = None;
    let mut told_at = Duration::ZERO;
    while !is_over.load(Ordering::Relaxed) {
        let asked_at = pulse.began.elapsed();
        able_since = match nodes.commits() {
            Ok(()) => able_since.or(Some(asked_at)),
            Err(_cannot) => None,
        };
        let now = pulse.began.elapsed();
        let last = pulse.last();
        if let Some(since) = able_since {
            let from = since.max(last);
            let pause = now.saturating_sub(from);
            if pause > longest.1 {
                longest = (from, pause);
            }
        }
        if now.saturating_sub(last.max(told_at)) > STALL {
            told_at = now;
            let able = if able_since.is_some() {
                "takes"
            } else {
                "takes no"
            };
            say(&format!(
                "{:.1} s: nothing committed since {:.1} s; the primary {able} commits\n{}",
                now.as_secs_f64(),
                last.as_secs_f64(),
                picture(nodes, front, &mut operator)
            ));
        }
        let _ = wait::throughout(LOOK, || Ok(()));
    }
    longest
}

/// What nodes and daemon say of themselves.
fn picture(nodes: &Nodes, front: &Front, operator: &mut Option<Connection>) -> String {
    let mut lines = nodes.picture();
    for statement in [
        "SHOW PROXYCONGESTION ALL",
        "SHOW FULL PROCESSLIST",
        "SHOW PROXYSESSION SERVER",
    ] {
        let asked = match operator {
            Some(operator) => rows(operator, statement),
            None => front
                .open(USER_ROOT, "")
                .and_then(|fresh| rows(operator.insert(fresh), statement)),
        };
        match asked {
            Ok(rows) => lines.extend(rows),
            Err(error) => {
                *operator = None;
                lines.push(format!("{statement}: {error:#}"));
            }
        }
    }
    if let Ok(daemon) = front.daemon() {
        let log = daemon.log_text();
        let all: Vec<_> = log.lines().collect();
        let last = all.get(all.len().saturating_sub(LOG_LINES)..);
        lines.extend(
            last.unwrap_or_default()
                .iter()
                .map(|line| (*line).to_owned()),
        );
    }
    for line in &mut lines {
        line.insert_str(0, "    ");
    }
    lines.join("\n")
}

/// An answer's rows, without what is NULL.
fn rows(connection: &mut Connection, statement: &str) -> Result<Vec<String>> {
    let rows = connection.run(statement)?.texts()?.into_iter();
    let line = |row: Vec<Option<String>>| {
        let cells: Vec<_> = row.into_iter().flatten().collect();
        format!("{statement}: {}", cells.join(" | "))
    };
    Ok(rows.map(line).collect())
}
