//! Gives a client session another server session: a new one, at the same node or another, logged in to in the client's place and brought to the same state,
//! while the old one still stands. Whatever goes wrong leaves everything as it was.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::{
    Worker,
    ask::Asked,
    auth::part_from_node,
    bound::{Bound, Capture, segment_max, tell_client},
    clock,
    close::End,
    follow::Again,
    leave::Leaving,
    login::{Candidate, Target},
    mailbox,
    nodes::resolve,
    registry::{Place, Switch},
    sender,
    serve::Serving,
    way::{self, Connections},
};
use crate::{
    admin::{AdminError, ConnectionKind},
    kernel::record::Slot,
    net::Leg,
    node::{GreetError, Greeted, LoginError, log_in, meet, secure},
    pause::pause,
    protocol::{command, handshake::Greeting, proxy_header::Ends},
    session::{
        ConnectionId, CsId, Path, ServerSession, ServerState, SsId, StickyReason,
        auth_exchange::Scramble,
        credential::Credential,
        escapes::Escapes,
        replay::{LAST_INSERT_ID, Untold, statement},
    },
};
use sluice_ebpf::{reason::RelayReason, record::Seat};

/// From the dialling of the node to its last answer, at most.
pub(super) const SWITCH_TIME: Duration = Duration::from_secs(5);
/// How long to wait for a client's acknowledgements, which come within its delay (40 ms on Linux, up to 500 elsewhere).
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// How often to look for them.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// `COM_QUIT` as a packet.
pub(super) const QUIT: [u8; 5] = [1, 0, 0, 0, command::QUIT];

/// Why a session keeps its server session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stuck {
    /// A command is under way.
    Busy,
    /// It has ended meanwhile, or has another server session.
    Gone,
    /// State that lives in the connection.
    Sticky(Vec<StickyReason>),
    /// Nobody but the client can log in, or the node does not let it in.
    Node(String),
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("it is executing a command"),
            Self::Gone => f.write_str("it has gone meanwhile"),
            Self::Sticky(reasons) => {
                let texts: Vec<_> = reasons.iter().map(|reason| reason.text()).collect();
                write!(f, "its state cannot be moved: {}", texts.join(", "))
            }
            Self::Node(why) => f.write_str(why),
        }
    }
}

/// A server session that is logged in to and serves nobody yet.
pub(super) struct Fresh<'a> {
    /// First, so that it is dropped before the leg: no stale entry meets a reused port.
    pub(super) bound: Bound<'a>,
    pub(super) leg: Leg,
    pub(super) rest: BytesMut,
    pub(super) greeting: Greeting,
    pub(super) target: Target,
    /// The client's statements that it has prepared.
    statements: Vec<Again>,
}

/// Why a node does not have a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It does not answer.
    Silent(String),
    /// It says so.
    Said(String),
    /// It does not take the session's prepared statements.
    Statements(String),
}

impl Refusal {
    /// The text for users.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Silent(why) | Self::Said(why) | Self::Statements(why) => why,
        }
    }
}

/// A place in the kernel's maps that is given back unless it is kept.
struct Spare<'a> {
    worker: &'a Worker,
    place: Option<Place>,
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.close(self.worker);
        }
    }
}

impl<'a> Serving<'a> {
    /// Has a client session, its own or another, get another server session.
    ///
    /// # Errors
    /// This session has ended. The inner error says why that one stays.
    pub(super) async fn end_server(
        &mut self,
        cs_id: CsId,
        ss_id: SsId,
        own: bool,
    ) -> Result<Result<(), AdminError>, End> {
        if own && self.end_reader(ss_id).await? {
            return Ok(Ok(()));
        }
        let switched = if own && self.lost.is_some() {
            Err(Stuck::Gone)
        } else if own {
            self.switch(self.candidates(false)).await?.map(drop)
        } else {
            mailbox::switch(&self.worker.process, cs_id, ss_id).await
        };
        Ok(switched.map_err(|why| AdminError::server_session_kept(ss_id, &why.to_string())))
    }

    /// Grants another session's wish, at a command boundary.
    ///
    /// # Errors
    /// The session has ended.
    pub(super) async fn grant(&mut self, wish: Switch) -> Result<(), End> {
        let seat = self.entry.session.borrow().seat_of(wish.ss_id);
        let outcome = if wish.outcome.is_closed() {
            return Ok(());
        } else if seat == Some(Seat::Writer) {
            self.switch(self.candidates(false)).await?.map(drop)
        } else if self.end_reader(wish.ss_id).await? {
            Ok(())
        } else {
            Err(Stuck::Gone)
        };
        // Who asked may be gone.
        let _ = wish.outcome.send(outcome);
        Ok(())
    }

    /// Replaces the session's server session by one at the first of these nodes that lets it in, at a command boundary. The client notices nothing but another `CONNECTION_ID()`.
    ///
    /// # Errors
    /// The session has ended.
    pub(super) async fn switch(
        &mut self,
        candidates: Vec<Candidate>,
    ) -> Result<Result<SsId, Stuck>, End> {
        if !self.reclaim().await? {
            return Ok(Err(Stuck::Busy));
        }
        self.turn_to_writer().await?;
        if !self.is_drained().await {
            return Ok(Err(Stuck::Busy));
        }
        let reasons = self.entry.current().sticky_reasons();
        if !reasons.is_empty() {
            return Ok(Err(Stuck::Sticky(reasons)));
        }
        self.barrier().await?;
        self.read_variables(true).await?;
        let told = match self.replay().await? {
            Ok(told) => told,
            Err(why) => return Ok(Err(Stuck::Node(why.to_string()))),
        };
        let credential = match self.credential().await {
            Ok(credential) => credential,
            Err(why) => return Ok(Err(Stuck::Node(why.into_text()))),
        };
        let opened = self.open_at(candidates, &credential, told.as_deref());
        match opened.await {
            Ok((fresh, place)) => Ok(Ok(self.adopt(fresh, place))),
            Err(refusal) => Ok(Err(Stuck::Node(refusal.into_text()))),
        }
    }

    /// Whether the client has acknowledged everything that bypassed the daemon's sockets: what it has not, only the old node can send again.
    pub(super) async fn is_drained(&self) -> bool {
        let deadline = Instant::now() + DRAIN_TIME;
        while let Some(slot) = self.entry.slot().filter(Slot::is_joined) {
            let client = slot.wire().client;
            if client.snd_una == client.snd_nxt {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            pause(DRAIN_LOOK).await;
        }
        true
    }

    /// What a fresh server session must be told, if anything.
    async fn replay(&mut self) -> Result<Result<Option<String>, Untold>, End> {
        let answer = self.ask(LAST_INSERT_ID).await?;
        let id = answer.ok().and_then(|rows| {
            let id = rows.rows.first()?.first()?.as_deref()?;
            str::from_utf8(id).ok()?.parse().ok()
        });
        let variables = self.entry.session.borrow().variables.clone();
        Ok(match id {
            Some(id) => statement(&variables, id),
            None => Err(Untold::Value("last_insert_id".to_owned())),
        })
    }

    /// Tells a fresh server session the state of this one. What it says is nothing for the client.
    async fn tell(
        &self,
        fresh: &mut Fresh<'a>,
        sql: &str,
        deadline: Instant,
    ) -> Result<(), String> {
        let mut asked = self.asked_of(fresh);
        let packet = asked.packet(sql);
        asked.tell(&packet, deadline).await
    }

    /// A fresh server session, to be asked something.
    fn asked_of<'s>(&'s self, fresh: &'s mut Fresh<'a>) -> Asked<'s> {
        Asked {
            worker: self.worker,
            node: &fresh.leg,
            rest: &mut fresh.rest,
            capabilities: self.capabilities,
        }
    }

    /// What a fresh server session must be told where the old one cannot be asked any more, as far as that is known.
    ///
    /// # Errors
    /// What is not known.
    pub(super) fn known_state(&self) -> Result<Option<String>, String> {
        let session = self.entry.current();
        statement(&session.variables, session.insert_id.value).map_err(|why| why.to_string())
    }

    /// Opens a server session at the first of these nodes that has the session, in the state that `told` describes.
    ///
    /// # Errors
    /// Why the first one has not.
    pub(super) async fn open_at(
        &self,
        candidates: Vec<Candidate>,
        credential: &Credential,
        told: Option<&str>,
    ) -> Result<(Fresh<'a>, Place), Refusal> {
        let mut failure = None;
        for candidate in candidates {
            let place = Place::open(self.worker);
            let mut spare = Spare {
                worker: self.worker,
                place: Some(place.clone()),
            };
            let opened = self.open_one(candidate, &place, Seat::Writer, credential, told);
            match opened.await {
                Ok(fresh) => {
                    spare.place = None;
                    return Ok((fresh, place));
                }
                // The fittest that answers: at a replica it would write where nobody may.
                Err(why @ Refusal::Statements(_)) => return Err(why),
                Err(why) => {
                    failure.get_or_insert(why);
                }
            }
        }
        Err(failure.unwrap_or_else(|| Refusal::Silent("its cluster is gone".to_owned())))
    }

    /// Opens a server session at a node, for this seat of the record at `place`.
    ///
    /// # Errors
    /// Why the node has not the session.
    pub(super) async fn open_one(
        &self,
        candidate: Candidate,
        place: &Place,
        seat: Seat,
        credential: &Credential,
        told: Option<&str>,
    ) -> Result<Fresh<'a>, Refusal> {
        let deadline = Instant::now() + SWITCH_TIME;
        let node = candidate.node.clone();
        let capture = Capture {
            worker: self.worker,
            cs_id: self.entry.cs_id,
            place: place.clone(),
            seat,
            segment_max: segment_max(self.worker, self.entry.slot().as_ref(), &self.client),
            client: None,
            is_client_captured: self.entry.session.borrow().way == Path::Local,
        };
        let opened = self
            .log_in_at(candidate, capture, credential, deadline)
            .await;
        let process = &self.worker.process;
        match &opened {
            Ok(_) => process.health.login_answered(&node),
            Err(Refusal::Silent(why)) => process.login_failed(&node, why),
            Err(Refusal::Said(_) | Refusal::Statements(_)) => {}
        }
        let mut fresh = opened?;
        if seat == Seat::Reader && fresh.target.with_tenant {
            let tell = self.asked_of(&mut fresh).read_weakly(deadline).await;
            tell.map_err(Refusal::Silent)?;
        }
        if let Some(sql) = told {
            let tell = self.tell(&mut fresh, sql, deadline);
            tell.await.map_err(Refusal::Silent)?;
        }
        if seat == Seat::Writer {
            fresh.statements = self.prepare_again(&mut fresh, deadline).await?;
        }
        Ok(fresh)
    }

    /// Dials a node and waits for its greeting.
    async fn dial<'c>(
        &self,
        candidate: Candidate,
        capture: &'c Capture<'a>,
        ends: Ends,
        deadline: Instant,
    ) -> Result<(Greeted<'c, Capture<'a>>, Target), String> {
        let address = match timeout_at(deadline, resolve(&candidate.node)).await {
            Ok(Ok(address)) => address,
            Ok(Err(error)) => return Err(format!("the node has no address: {error}")),
            Err(_elapsed) => return Err("the node's name was not found in time".to_owned()),
        };
        let met = meet(
            address,
            candidate.proxy_header,
            Some(ends),
            deadline,
            capture,
        )
        .await;
        let node = met.map_err(|error| match error {
            GreetError::Connect(error) => format!("the node cannot be reached: {error}"),
            error => format!("the node does not greet: {error}"),
        })?;
        let target = candidate.found(address, &node.greeting);
        Ok((node, target))
    }

    /// Opens a server session at a node and logs in.
    async fn log_in_at(
        &self,
        candidate: Candidate,
        capture: Capture<'a>,
        credential: &Credential,
        deadline: Instant,
    ) -> Result<Fresh<'a>, Refusal> {
        let ends = sender::ends(self.entry.session.borrow().client, &self.client);
        // Another node may be as good as one that does not even greet in time.
        let connect_timeout = self.worker.process.settings().connect_timeout;
        let until = deadline.min(Instant::now() + connect_timeout);
        let dialled = self.dial(candidate, &capture, ends, until).await;
        let (greeted, target) = dialled.map_err(Refusal::Silent)?;
        let greeting = &greeted.greeting;
        let mut node = greeted.login_leg();
        let mut identity = self.identity.clone();
        let db = self.entry.session.borrow().db.clone();
        identity.request.change_database(db.as_deref());
        let client = ends.source.ip();
        let id = self.entry.cs_id.0;
        let mut packet = identity.packet(greeting.capabilities, &target, client, id);
        if !identity.request.fits(greeting.capabilities) {
            part_from_node(&mut node, Some(packet.encode().freeze())).await;
            return Err(Refusal::Said("the node offers less than it did".to_owned()));
        }
        let (offered, encryption) = (greeting.capabilities, target.encryption.as_deref());
        let secured = secure(&mut node, offered, encryption, &mut packet, deadline).await;
        secured.map_err(|error| {
            Refusal::Said(format!("the node cannot be reached safely: {error}"))
        })?;
        let scramble = Scramble {
            plugin: greeting.plugin.clone(),
            scramble: greeting.scramble.clone(),
        };
        let login = log_in(
            &mut node,
            packet,
            &scramble,
            target.style,
            credential,
            self.capabilities,
        );
        match timeout_at(deadline, login).await {
            Ok(Ok(_ok)) => {}
            Ok(Err(error)) => {
                if matches!(error, LoginError::Unanswerable(_)) {
                    // The node waits for an answer, and counts who leaves without one.
                    part_from_node(&mut node, Some(Bytes::new())).await;
                }
                return Err(Refusal::Said(format!(
                    "the node does not let it in: {error}"
                )));
            }
            Err(_elapsed) => {
                return Err(Refusal::Silent(
                    "the login to the node timed out".to_owned(),
                ));
            }
        }
        let rest = node.into_rest();
        let leg = greeted.dialled.keep();
        Ok(Fresh {
            bound: Bound::node(self.worker, capture.place.clone(), capture.seat, &leg),
            leg,
            rest,
            greeting: greeted.greeting,
            target,
            statements: Vec::new(),
        })
    }

    /// Makes a fresh server session the session's.
    pub(super) fn adopt(&mut self, fresh: Fresh<'a>, place: Place) -> SsId {
        // Its connection belongs to the record that the session leaves.
        self.drop_reader();
        self.drop_parked();
        self.reading.own_writes.writer_is_new();
        self.node_capabilities = fresh.greeting.capabilities;
        self.target = fresh.target;
        self.is_dismissed = false;
        // Another node may have another `sql_mode`.
        self.tracking.escapes = Escapes::default();
        self.leaving = Leaving::No;
        let server = ServerSession {
            state: ServerState::KeepAliveBound,
            opened_at_ns: clock::now_ns(),
            using_ssl: fresh.leg.is_tls(),
            versions: self.entry.session.borrow().versions,
            status: self.status,
            ..ServerSession::new(
                self.worker.process.server_session_id(),
                self.target.address,
                ConnectionId(fresh.greeting.thread_id.into()),
            )
        };
        let ss_id = server.ss_id;
        if let (Some(slot), Some(earlier)) = (&place.slot, self.entry.slot()) {
            slot.set_format(self.capabilities.format());
            slot.inherit(&earlier);
        }
        // Its socket stays captured; the program looks it up anew with its next message.
        let is_client_captured = self.entry.session.borrow().way == Path::Local;
        let cs_id = self.entry.cs_id;
        tell_client(self.worker, cs_id, &place, &self.client, is_client_captured);
        let connections = Connections {
            client: &self.client,
            client_facts: None,
            node: &fresh.leg,
            is_client_captured,
        };
        let way = way::choose(self.worker, &place, &connections, Seat::Writer);
        let kind = ConnectionKind::Connected(ss_id);
        self.entry.watch(kind, &fresh.leg);
        self.entry.move_to(place);
        drop(std::mem::replace(&mut self.bound, fresh.bound));
        let old = std::mem::replace(&mut self.node, fresh.leg);
        self.node_rest = fresh.rest;
        self.offered = None;
        self.after_splice = false;
        {
            let mut session = self.entry.session.borrow_mut();
            if let Some(old) = session.bound {
                session.remove_server(old);
            }
            session.bind(server);
            session.stays = None;
            session.leaves_since_ms = None;
            session.node = Some(self.target.node.to_string());
            let is_safe = session.relay_reason != Some(RelayReason::Charset);
            session.take_way(way, is_safe);
        }
        self.statements_followed(fresh.statements);
        // The old node closes when it reads this, or finds us gone. One that hangs may have no room for it.
        let _ = old.finish(&QUIT);
        ss_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_session_is_named() {
        let sticky = Stuck::Sticky(vec![
            StickyReason::Transaction,
            StickyReason::TemporaryTable,
        ]);
        assert_eq!(
            sticky.to_string(),
            "its state cannot be moved: transaction, temporary table"
        );
    }
}
