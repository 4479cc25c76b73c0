//! The other proxies of the fleet, asked over the `MySQL` protocol as `root@proxysys`.

use std::{collections::BTreeSet, net::SocketAddr};

use tokio::{
    net::lookup_host,
    task::JoinSet,
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
    node::{MonitorError, Pending},
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
    let mut asked: Vec<AskedPeer> = Vec::new();
    let mut lookups = lookups(&settings, deadline);
    while let Some(looked_up) = lookups.join_next().await {
        // Nobody aborts them, and none panics.
        let Ok((position, name, found)) = looked_up else {
            continue;
        };
        let addresses = match found {
            Ok(addresses) => addresses,
            Err(why) => {
                peers.push((position, silent(name, why)));
                continue;
            }
        };
        for address in addresses {
            let is_known = asked.iter().any(|known| known.address == address);
            if is_known || is_self(process.host.listen, address) {
                continue;
            }
            let ask = |statement| process.monitor.ask_peer(address, &account, statement);
            asked.push(AskedPeer {
                position,
                address,
                answers: question.statements().into_iter().map(ask).collect(),
            });
        }
    }
    for peer in asked {
        let position = peer.position;
        let told = peer.told(&settings, question, deadline).await;
        peers.push((position, told));
    }
    peers.sort_by_key(|(position, _)| *position);
    peers.into_iter().map(|(_, peer)| peer).collect()
}

/// A peer that has been asked.
struct AskedPeer {
    /// Where in the configuration's list its name is.
    position: usize,
    address: SocketAddr,
    answers: Vec<Pending>,
}

impl AskedPeer {
    /// What it says, or why it says nothing.
    async fn told(self, settings: &Settings, question: Question, deadline: Instant) -> Peer {
        let answers = async {
            let mut answers = Vec::with_capacity(self.answers.len());
            for answer in self.answers {
                answers.push(answer.result().await.map_err(|error| error.to_string())?);
            }
            question.read(settings.proxy_id, answers)
        };
        let told = timeout_at(deadline, answers).await;
        let late = || {
            let patience = humantime::format_duration(settings.fleet.timeout);
            format!("no answer in {patience}")
        };
        Peer {
            name: self.address.to_string(),
            address: Some(self.address),
            told: told.unwrap_or_else(|_elapsed| Err(late())),
        }
    }
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

/// A name's place in the configuration, the name, and its addresses or why there are none.
type LookedUp = (usize, String, Result<BTreeSet<SocketAddr>, String>);

/// Where the peers listen, by the names in the configuration: all are looked up at once, so that a name server that is silent for one takes no
/// other's time.
fn lookups(settings: &Settings, deadline: Instant) -> JoinSet<LookedUp> {
    let names = settings.fleet.peers.iter().map(ToString::to_string);
    let look_up = |(position, name): (usize, String)| async move {
        let found = match timeout_at(deadline, lookup_host(name.clone())).await {
            Ok(Ok(found)) => Ok(found.collect()),
            Ok(Err(error)) => Err(format!("the name has no address: {error}")),
            Err(_elapsed) => Err("the name has no address in time".to_owned()),
        };
        (position, name, found)
    };
    names.enumerate().map(look_up).collect()
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
