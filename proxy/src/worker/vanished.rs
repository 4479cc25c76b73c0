//! Peers that have gone without a word. The kernel asks an idle connection whether its peer still lives ([`keepalive_limit`]), but goes on to send again what is
//! not acknowledged for a quarter of an hour (`net.ipv4.tcp_retries2`), with the session's locks held at its node. `TCP_USER_TIMEOUT` would end that sooner, and
//! with it the connections of clients that live and do not read (`tcp_probe_timer`). So each worker looks by itself.

use std::time::{Duration, Instant};

use super::{SharedWorker, Worker};
use crate::{admin::ConnectionKind, net::keepalive_limit, pause::pause};

/// The part of the limit after which connections are looked at again: a peer counts as gone that much later, or twice, at most.
const PART: u32 = 6;

/// Has connections end whose peers are gone. Never ends.
pub(super) async fn enforce(worker: SharedWorker) {
    loop {
        let limit = keepalive_limit(worker.process.settings().keepalive_idle);
        look(&worker, limit);
        pause(limit / PART).await;
    }
}

fn look(worker: &Worker, limit: Duration) {
    let now = Instant::now();
    for entry in worker.registry.all() {
        for (kind, leg) in entry.legs.borrow().iter() {
            let Some(silence) = leg
                .unacknowledged_for(now)
                .filter(|silence| *silence >= limit)
            else {
                continue;
            };
            let side = match kind {
                ConnectionKind::Accepted(_) => "client",
                ConnectionKind::Connected(_) => "node",
            };
            tracing::info!(
                cs_id = entry.cs_id.0,
                side,
                peer = %leg.peer,
                seconds = silence.as_secs_f64(),
                "the peer has acknowledged nothing for so long: its connection is given up"
            );
            if let Err(error) = leg.give_up() {
                tracing::warn!(cs_id = entry.cs_id.0, %error, "a connection cannot be given up");
            }
        }
    }
}
