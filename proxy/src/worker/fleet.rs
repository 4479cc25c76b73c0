//! The other proxies of the fleet, asked over the `MySQL` protocol as `root@proxysys`.

use std::{collections::BTreeSet, net::SocketAddr};

use tokio::{
    net::lookup_host,
    time::{Instant, timeout_at},
};

use super::{Process, kill::refusal, login::admin_password};
use crate::{
    admin::{
        AdminError,
        fleet::{Peer, Question},
    },
    config::{Account, NodeTls, Settings, TlsMode},
    net::path::is_local,
    node::MonitorError,
    session::CsId,
};

/// As whom they are asked.
const ADMINISTRATOR: &str = "root@proxysys";

/// Asks all peers at once, and waits for them as long as the settings say. A peer that does not answer says why.
pub(super) async fn ask(process: &Process, question: Question) -> Vec<Peer> {
    let settings = process.settings();
    let deadline = Instant::now() + settings.fleet.timeout;
    let account = match account(&settings).await {
        Ok(account) => account,
        Err(why) => return all_silent(&settings, &why),
    };
    let mut peers = Vec::new();
    let mut asked = Vec::new();
    for (name, found) in addresses(&settings, deadline).await {
        let addresses = match found {
            Ok(addresses) => addresses,
            Err(why) => {
                peers.push(silent(name, why));
                continue;
            }
        };
        for address in addresses {
            let is_known = asked.iter().any(|(known, _)| *known == address);
            if is_known || is_self(process.host.listen, address) {
                continue;
            }
            let ask = |statement| process.monitor.ask_peer(address, &account, statement);
            let answers: Vec<_> = question.statements().into_iter().map(ask).collect();
            asked.push((address, answers));
        }
    }
    for (address, pending) in asked {
        let answers = async {
            let mut answers = Vec::with_capacity(pending.len());
            for answer in pending {
                answers.push(answer.result().await.map_err(|error| error.to_string())?);
            }
            question.read(settings.proxy_id, answers)
        };
        let told = timeout_at(deadline, answers).await;
        let late = || {
            format!(
                "no answer in {}",
                humantime::format_duration(settings.fleet.timeout)
            )
        };
        peers.push(Peer {
            name: address.to_string(),
            address: Some(address),
            told: told.unwrap_or_else(|_elapsed| Err(late())),
        });
    }
    peers
}

/// Whether a proxy that listens there is the one at this address: on one host several may have the same port, at an address each.
fn is_self(listen: SocketAddr, address: SocketAddr) -> bool {
    let (own, other) = (listen.ip().to_canonical(), address.ip().to_canonical());
    let is_there = own == other || own.is_unspecified() && is_local(other);
    is_there && listen.port() == address.port()
}

/// TLS towards peers: they are configured as this one is.
fn tls(settings: &Settings) -> NodeTls {
    let is_needed = settings.tls.as_ref().is_some_and(|tls| tls.require);
    NodeTls {
        mode: if is_needed {
            TlsMode::Preferred
        } else {
            TlsMode::Off
        },
        ..NodeTls::default()
    }
}

/// Has a peer close one of its client sessions.
///
/// # Errors
/// What it says, or why it does not.
pub(super) async fn kill(
    process: &Process,
    peer: SocketAddr,
    cs_id: CsId,
) -> Result<(), AdminError> {
    let lost = |cause: &str| AdminError::peer_lost(peer, cause);
    let account = account(&process.settings()).await;
    let account = account.map_err(|why| lost(&why))?;
    let sql = format!("KILL PROXYSESSION {cs_id}");
    let killed = process.monitor.ask_peer(peer, &account, sql).result().await;
    match killed {
        Ok(_) => Ok(()),
        Err(error @ MonitorError::Refused { .. }) => Err(refusal(&error)),
        Err(error) => Err(lost(&error.to_string())),
    }
}

/// The administrator's account, whose password is the same in the whole fleet.
async fn account(settings: &Settings) -> Result<Account, String> {
    let admin = settings
        .admin
        .as_ref()
        .ok_or("no admin.password is configured")?;
    Ok(Account {
        user: ADMINISTRATOR.to_owned(),
        password: admin_password(admin).await?.into(),
        tls: tls(settings),
    })
}

/// Where the peers listen, by the names in the configuration.
async fn addresses(
    settings: &Settings,
    deadline: Instant,
) -> Vec<(String, Result<BTreeSet<SocketAddr>, String>)> {
    let mut all = Vec::new();
    for peer in &settings.fleet.peers {
        let name = peer.to_string();
        let found = match timeout_at(deadline, lookup_host(name.clone())).await {
            Ok(Ok(found)) => Ok(found.collect()),
            Ok(Err(error)) => Err(format!("the name has no address: {error}")),
            Err(_elapsed) => Err("the name has no address in time".to_owned()),
        };
        all.push((name, found));
    }
    all
}

fn silent(name: String, why: String) -> Peer {
    Peer {
        name,
        address: None,
        told: Err(why),
    }
}

fn all_silent(settings: &Settings, why: &str) -> Vec<Peer> {
    let peers = settings.fleet.peers.iter();
    peers
        .map(|peer| silent(peer.to_string(), why.to_owned()))
        .collect()
}
