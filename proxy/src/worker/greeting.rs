//! What the proxy itself greets with.

use bytes::Bytes;

use super::registry::Entry;
use crate::protocol::{
    capability::Capabilities,
    handshake::{Greeting, SCRAMBLE_LEN},
};

/// The version in the greeting of a proxy whose nodes have never greeted.
pub(super) const VERSION: &str = concat!("8.0.0-sluice-", env!("CARGO_PKG_VERSION"));
/// `utf8mb4_general_ci`.
const COLLATION: u8 = 45;
/// `SERVER_STATUS_AUTOCOMMIT`.
const STATUS: u16 = 0x0002;
/// The plugin that every client but those of `MySQL` 9 has; these name their own.
const PLUGIN: &str = "mysql_native_password";

/// A new scramble, of printable characters: the form allows neither NUL nor (for old clients) bytes above 0x7f. None where the system has
/// no random numbers.
pub(super) fn scramble() -> Option<Bytes> {
    let mut scramble = [0; SCRAMBLE_LEN];
    getrandom::fill(&mut scramble).ok()?;
    Some(scramble.map(|byte| byte % 94 + 33).to_vec().into())
}

/// The node's own greeting, but for the id, the scramble and what the proxy cannot offer, or offers by itself: TLS. `splits_reads`: a session may be
/// answered by two nodes, each of which would know only what it has itself told the client of a statement's columns.
pub(super) fn like(
    node: &Greeting,
    entry: &Entry,
    with_tls: bool,
    splits_reads: bool,
) -> Option<Greeting> {
    let mut offered = Capabilities::advertise(node.capabilities);
    if splits_reads {
        offered = offered.without(Capabilities::MARIADB_CACHE_METADATA);
    }
    Some(Greeting {
        thread_id: entry.cs_id.0,
        scramble: scramble()?,
        capabilities: if with_tls {
            offered.with(Capabilities::SSL)
        } else {
            offered
        },
        ..node.clone()
    })
}

/// A greeting without a node: only the proxy's own users get any further.
pub(super) fn of_proxy(entry: &Entry, with_tls: bool) -> Option<Greeting> {
    let greeting = Greeting {
        version: Bytes::from_static(VERSION.as_bytes()),
        thread_id: 0,
        scramble: Bytes::new(),
        capabilities: Capabilities::ADMINISTRATION,
        charset: COLLATION,
        status: STATUS,
        plugin: Bytes::from_static(PLUGIN.as_bytes()),
    };
    like(&greeting, entry, with_tls, false)
}
