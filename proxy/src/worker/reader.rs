//! A session's reads at another node than its writes. The server session that was used last is [`Serving`]'s own; the other one stands aside, and
//! the two change places at a command boundary, when a command comes that is for the other node. The reader is opened for the first such command,
//! and told before each use what has changed in the session meanwhile. Where it cannot be had, or not be told, the writer reads.

use std::mem::swap;

use bytes::BytesMut;
use sluice_ebpf::{
    reason::RelayReason,
    record::{Seat, takes},
    wire::Side,
};
use tokio::time::Instant;

use super::{
    accept::candidate,
    ask::Asked,
    bound::Bound,
    clock,
    close::End,
    leave::Leaving,
    login::Target,
    parked::Parked,
    reads::Counted,
    relay::{Got, read_into},
    serve::Serving,
    stand_in::NoCredential,
    switch::{Fresh, QUIT, Refusal, SWITCH_TIME},
    way::{self, Connections},
};
use crate::{
    admin::ConnectionKind,
    config::{NodeAddress, Policy},
    net::Leg,
    protocol::{capability::Capabilities, command},
    route::reader::{Choice, is_reader, readers},
    session::{
        ConnectionId, Consistency, Path, ServerSession, ServerState, SsId, StickyReason, Versions,
        aim::{Place, is_each_nodes_own, place_of, reads_if_escaped},
        escapes::Escapes,
        own_writes::OwnWrites,
        replay::system_statement,
    },
};

/// `COM_RESET_CONNECTION` as a packet.
const RESET: [u8; 5] = [1, 0, 0, 0, command::RESET_CONNECTION];

/// Whether a session's reads go to replicas.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Wish {
    /// Its cluster's policy does not want it.
    #[default]
    None,
    /// It does.
    Wanted,
    /// It does, but no replica can be had, and none is asked again before something becomes known of nodes.
    Refused,
}

/// Where a session's reads go.
#[derive(Default)]
pub(super) struct Reading<'a> {
    pub(super) wish: Wish,
    /// What the server session is that the session uses.
    pub(super) seat: Seat,
    /// The other one.
    pub(super) aside: Option<Box<Aside<'a>>>,
    /// Those that were its reader before, in the order in which they left that seat.
    pub(super) parked: Vec<Parked<'a>>,
    /// What has become known of nodes is yet to be looked at: a command was under way. Nothing is offered to the kernel before.
    pub(super) is_due: bool,
    /// The command under way may change what decides where reads go: nothing is offered to the kernel before it has.
    pub(super) is_changing: bool,
    /// The client has reset the session, and the reader has not heard of it.
    pub(super) must_reset: bool,
    /// What the reader has of what the session has written.
    pub(super) own_writes: OwnWrites,
    /// The replica that a hint has named, to be tried first.
    pub(super) named: Option<NodeAddress>,
    /// The session's place among those that read from its reader.
    pub(super) counted: Option<Counted>,
    /// The node that was used last before a statement was prepared that asks about the one before, and how many commands had been spliced then.
    pub(super) asked_last: Option<(Seat, u64)>,
}

impl Reading<'_> {
    /// A command is about to be relayed that ties or unties something, or not.
    pub(super) fn note_change(&mut self, changes: bool) {
        self.is_changing = self.wish != Wish::None && changes;
    }

    /// The node of the server session that stands aside.
    pub(super) fn aside_node(&self) -> Option<&NodeAddress> {
        self.aside.as_ref().map(|aside| &*aside.target.node)
    }
}

/// A server session that is not used now.
pub(super) struct Aside<'a> {
    /// First, so that it is dropped before the leg: no stale entry meets a reused port.
    pub(super) bound: Bound<'a>,
    pub(super) leg: Leg,
    pub(super) rest: BytesMut,
    node_capabilities: Capabilities,
    pub(super) target: Target,
    pub(super) ss_id: SsId,
    pub(super) way: Result<Path, RelayReason>,
    /// It has said something unasked, or has gone.
    pub(super) has_left: bool,
    /// Whether backslashes escape there.
    pub(super) escapes: Escapes,
}

impl Drop for Aside<'_> {
    /// The node closes when it reads this, or finds us gone.
    fn drop(&mut self) {
        self.bound.settle(&self.leg);
        if !self.leg.has_ended().unwrap_or(true) {
            let _ = self.leg.finish(&QUIT);
        }
    }
}

impl<'a> Serving<'a> {
    /// Looks at the policy of the session's cluster.
    pub(super) fn look_at_policy(&mut self) {
        let settings = self.worker.process.settings();
        let name = self.entry.session.borrow().login.cluster.clone();
        let cluster = settings.cluster(&name);
        let is_wanted = cluster.is_some_and(|cluster| cluster.policy == Policy::ReadWriteSplit);
        self.reading.wish = if is_wanted { Wish::Wanted } else { Wish::None };
        let wanted = self.entry.session.borrow().own_writes;
        let patience = wanted.patience(cluster.and_then(|cluster| cluster.wait_for_my_writes));
        self.reading.own_writes.want(patience);
    }

    /// Which statements the kernel may take to the node that the session uses.
    pub(super) fn takes(&self) -> u32 {
        let consistency = self.entry.session.borrow().consistency();
        match (self.reading.seat, consistency) {
            (Seat::Reader, Consistency::Weak) => takes::READS,
            // A hint has led it there.
            (Seat::Reader, Consistency::Strong) => takes::NOTHING,
            // A tie of the next transaction goes with that one, which the daemon may not see.
            (Seat::Writer, consistency)
                if self.may_read_elsewhere(&[StickyReason::NextTransaction]) =>
            {
                match consistency {
                    Consistency::Weak => takes::WRITES,
                    Consistency::Strong => takes::UNHINTED,
                }
            }
            (Seat::Writer, _) => takes::ALL,
        }
    }

    /// The node that takes the session's writes.
    pub(super) fn writer(&self) -> &Target {
        match (&self.reading.aside, self.reading.seat) {
            (Some(aside), Seat::Reader) => &aside.target,
            _ => &self.target,
        }
    }

    /// Whether reads outside transactions go to another node: nothing that the session has lives in the writer's connection alone, but for these.
    pub(super) fn may_read_elsewhere(&self, but: &[StickyReason]) -> bool {
        if self.reading.wish != Wish::Wanted
            || self.lost.is_some()
            || self.leaving != Leaving::No
            || self.is_held()
        {
            return false;
        }
        let session = self.entry.session.borrow();
        if session.db.as_deref().is_some_and(is_each_nodes_own) {
            return false;
        }
        let ties = session.ties.reasons();
        // Executions of prepared statements go to the node that has them.
        ties.iter()
            .all(|tie| *tie == StickyReason::PreparedStatement || but.contains(tie))
    }

    /// Turns to the node that the command at the front of `client_rest` is for.
    ///
    /// # Errors
    /// The session has ended, or the node that it has used has.
    pub(super) async fn turn(&mut self) -> Result<(), End> {
        if self.reading.wish == Wish::None {
            return Ok(());
        }
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        let place = self
            .place_of_execution()
            .unwrap_or_else(|| place_of(&self.client_rest, attributes));
        self.note_last();
        let may_read = self.status.is_outside_transaction() && self.may_read_elsewhere(&[]);
        let is_weak = self.entry.session.borrow().consistency() == Consistency::Weak;
        match place {
            Place::Last if self.asked_last() == Some(Seat::Reader) => {
                Box::pin(self.turn_to_reader()).await
            }
            Place::Last => Ok(()),
            Place::Named(name) if may_read => Box::pin(self.turn_to_named(&name, is_weak)).await,
            Place::Reader if may_read && is_weak => Box::pin(self.turn_to_reader()).await,
            Place::AnyReader if may_read => Box::pin(self.turn_to_reader()).await,
            Place::Writer
                if may_read && is_weak && reads_if_escaped(&self.client_rest, attributes) =>
            {
                Box::pin(self.turn_where_they_escape()).await
            }
            Place::Reader | Place::AnyReader | Place::Named(_) | Place::Writer => {
                self.turn_to_writer().await
            }
        }
    }

    /// Has the session use the writer, at a boundary and with no regime live.
    ///
    /// # Errors
    /// As [`Serving::turn`].
    pub(super) async fn turn_to_writer(&mut self) -> Result<(), End> {
        if self.reading.seat == Seat::Reader {
            self.barrier().await?;
            self.change_places();
        }
        Ok(())
    }

    /// Has the session use its reader, where it can be had.
    ///
    /// # Errors
    /// As [`Serving::turn`].
    pub(super) async fn turn_to_reader(&mut self) -> Result<(), End> {
        if self.reading.seat == Seat::Reader {
            return Ok(());
        }
        if !self.is_reader_alive() {
            self.part_from_dead_reader().await?;
            self.reading.aside = None;
        }
        self.forget_gone_readers();
        let ready = match self.reading.aside {
            Some(_) => self.bring_up().await,
            None => match self.open_reader().await {
                // It may have been parked.
                Ok(()) => self.bring_up().await,
                Err(why) => Err(why),
            },
        };
        if let Err(why) = ready {
            self.part_from_dead_reader().await?;
            self.refuse_reader(&why);
            return Ok(());
        }
        match self.reader_has_own_writes().await? {
            Ok(true) => {}
            // The writer answers this one.
            Ok(false) => return Ok(()),
            Err(why) => {
                self.part_from_dead_reader().await?;
                self.refuse_reader(&why);
                return Ok(());
            }
        }
        self.barrier().await?;
        self.change_places();
        Ok(())
    }

    /// The reader that stands aside, to be asked something.
    pub(super) fn asked_aside(&mut self) -> Option<Asked<'_>> {
        let aside = self.reading.aside.as_mut()?;
        Some(Asked {
            worker: self.worker,
            node: &aside.leg,
            rest: &mut aside.rest,
            capabilities: self.capabilities,
        })
    }

    /// Whether the reader that stands aside is still there; what it says unasked is that it leaves.
    pub(super) fn is_reader_alive(&mut self) -> bool {
        let worker = self.worker;
        let Some(aside) = &mut self.reading.aside else {
            return true;
        };
        matches!(
            read_into(&mut aside.rest, &aside.leg, worker),
            Ok(Got::Nothing)
        )
    }

    /// The reader may not live any more. On the wire what it has sent and the client has not acknowledged nobody else can send again.
    pub(super) async fn part_from_dead_reader(&mut self) -> Result<(), End> {
        let is_owed = self.entry.slot().is_some_and(|slot| {
            let wire = slot.wire();
            slot.is_joined() && wire.seat == Seat::Reader as u32 && wire.is_owed(Side::Client)
        });
        if is_owed && !self.is_drained().await {
            // Another writer would not help.
            self.is_dismissed = true;
            return Err(End::NodeClosed);
        }
        Ok(())
    }

    /// The server session that is used and the one that stands aside change places.
    pub(super) fn change_places(&mut self) {
        let Some(aside) = &mut self.reading.aside else {
            return;
        };
        swap(&mut self.bound, &mut aside.bound);
        swap(&mut self.node, &mut aside.leg);
        swap(&mut self.node_rest, &mut aside.rest);
        swap(&mut self.node_capabilities, &mut aside.node_capabilities);
        swap(&mut self.target, &mut aside.target);
        swap(&mut self.tracking.escapes, &mut aside.escapes);
        aside.has_left = false;
        let mut session = self.entry.session.borrow_mut();
        let used = session.bound;
        session.use_server(aside.ss_id);
        aside.ss_id = used.unwrap_or(aside.ss_id);
        let own = session.relay_reason.filter(|_| session.way == Path::Relay);
        let way = std::mem::replace(&mut aside.way, own.map_or(Ok(session.way), Err));
        let is_safe = session.relay_reason != Some(RelayReason::Charset);
        session.take_way(way, is_safe);
        self.reading.seat = match self.reading.seat {
            Seat::Writer => Seat::Reader,
            Seat::Reader => Seat::Writer,
        };
    }

    /// The reader does not live any more, or is not needed: the session uses the writer, whatever it was about to do.
    pub(super) fn drop_reader(&mut self) {
        if self.reading.seat == Seat::Reader {
            self.change_places();
        }
        self.reading.aside = None;
        self.forget_readers_statements();
        self.reading.counted = None;
        self.reading.must_reset = false;
        self.reading.own_writes.reader_is_new();
        self.forget_gone_readers();
        self.entry.session.borrow_mut().reads_at = None;
    }

    /// Takes server sessions whose connection is gone out of the session.
    fn forget_gone_readers(&self) {
        let mut session = self.entry.session.borrow_mut();
        let aside = self.reading.aside.as_ref().map(|aside| aside.ss_id);
        let kept: Vec<_> = self
            .parked_ids()
            .chain(session.bound)
            .chain(aside)
            .collect();
        let gone: Vec<_> = session
            .servers
            .iter()
            .map(|server| server.ss_id)
            .filter(|ss_id| !kept.contains(ss_id))
            .collect();
        for ss_id in gone {
            session.remove_server(ss_id);
        }
    }

    fn refuse_reader(&mut self, why: &str) {
        tracing::info!(
            cs_id = self.entry.cs_id.0,
            reason = why,
            "reads stay at the session's own node"
        );
        self.drop_reader();
        self.reading.wish = Wish::Refused;
        self.entry.session.borrow_mut().reads_at = Some(format!("own node: {why}"));
    }

    /// The client has reset the session.
    pub(super) fn reset_reader(&mut self) {
        self.reading.must_reset = self.reading.aside.is_some();
        for parked in &mut self.reading.parked {
            parked.must_reset = true;
        }
    }

    /// Something has become known of nodes: whether the session's reader may go on to take reads, or one is to be looked for.
    ///
    /// # Errors
    /// As [`Serving::turn`].
    pub(super) async fn review_reader(&mut self) -> Result<(), End> {
        let before = self.reading.wish;
        self.look_at_policy();
        let process = &self.worker.process;
        let settings = process.settings();
        let login = self.entry.session.borrow().login.clone();
        let cluster = settings.cluster_of(&login.cluster, &login.tenant);
        self.review_parked(cluster);
        let reader = self.reader();
        let is_fit = reader.is_none_or(|node| {
            cluster.is_some_and(|cluster| is_reader(&process.health.book(), cluster, node))
        });
        let was_due = std::mem::take(&mut self.reading.is_due);
        let is_changed = was_due
            || !is_fit
            || before != self.reading.wish
            || self.reading.own_writes.is_to_be_looked_at();
        if is_changed {
            // What the kernel was offered may not hold any more.
            if !self.reclaim().await? {
                self.reading.is_due = true;
            } else if is_fit {
                self.look_at_own_writes().await?;
                if self.reading.wish == Wish::None {
                    self.entry.session.borrow_mut().reads_at = None;
                }
            } else {
                self.turn_to_writer().await?;
                self.part_from_dead_reader().await?;
                self.drop_reader();
            }
        }
        Ok(())
    }

    /// Has the session have a server session at the first replica that has it: one that was parked there, or a new one. The error says why there is none.
    async fn open_reader(&mut self) -> Result<(), String> {
        let told = self.told()?;
        let named = self.reading.named.take();
        let candidates = {
            let process = &self.worker.process;
            let settings = process.settings();
            let session = self.entry.session.borrow();
            let cluster = settings
                .cluster_of(&session.login.cluster, &session.login.tenant)
                .ok_or("its cluster is gone")?;
            let book = process.health.book();
            let load = process.load().clone();
            let choice = Choice {
                ticket: self.entry.cs_id.0.into(),
                zone: settings.zone.as_deref(),
                load: &load,
            };
            let found = readers(&book, cluster, choice);
            let mut nodes = found.map_err(|none| none.text().to_owned())?;
            nodes.sort_by_key(|node| named.as_ref() != Some(&node.address));
            nodes
                .into_iter()
                .filter(|node| node.address != *self.target.node)
                .filter_map(|node| candidate(process, cluster, node).ok())
                .collect::<Vec<_>>()
        };
        let place = self.entry.place();
        let (mut credential, mut failure) = (None, None);
        for candidate in candidates {
            self.clear_seat().await?;
            if self.take_parked(&candidate.node) {
                return Ok(());
            }
            let known = match credential.take() {
                Some(known) => known,
                None => self.credential().await.map_err(NoCredential::into_text)?,
            };
            let known = credential.insert(known);
            let opened = self.open_one(candidate, &place, Seat::Reader, known, told.as_deref());
            match opened.await {
                Ok(fresh) => {
                    self.stand_aside(fresh);
                    return Ok(());
                }
                Err(why) => {
                    failure.get_or_insert(why);
                }
            }
        }
        Err(failure.map_or_else(|| "no replica is fit".to_owned(), Refusal::into_text))
    }

    /// A fresh server session is the session's reader.
    fn stand_aside(&mut self, fresh: Fresh<'a>) {
        let mut session = self.entry.session.borrow_mut();
        let ss_id = self.worker.process.server_session_id();
        let connections = Connections {
            client: &self.client,
            client_facts: None,
            node: &fresh.leg,
            is_client_captured: session.way == Path::Local,
        };
        let way = way::choose(self.worker, &self.entry.place(), &connections, Seat::Reader);
        let versions = known_by_reader(session.versions);
        session.servers.push(ServerSession {
            state: ServerState::KeepAlivePooled,
            opened_at_ns: clock::now_ns(),
            versions,
            seat: Some(Seat::Reader),
            ..ServerSession::new(
                ss_id,
                fresh.target.address,
                ConnectionId(fresh.greeting.thread_id.into()),
            )
        });
        session.reads_at = Some(fresh.target.node.to_string());
        drop(session);
        self.forget_readers_statements();
        self.entry
            .watch(ConnectionKind::Connected(ss_id), &fresh.leg);
        self.reading.must_reset = false;
        self.reading.own_writes.reader_is_new();
        self.reading.counted = Some(Counted::new(&self.worker.process, &fresh.target.node));
        self.reading.aside = Some(Box::new(Aside {
            bound: fresh.bound,
            leg: fresh.leg,
            rest: fresh.rest,
            node_capabilities: fresh.greeting.capabilities,
            target: fresh.target,
            ss_id,
            way,
            has_left: false,
            escapes: Escapes::default(),
        }));
    }

    /// What a reader must be told of the session's variables; its user variables it never needs.
    fn told(&self) -> Result<Option<String>, String> {
        system_statement(&self.entry.session.borrow().variables).map_err(|why| why.to_string())
    }

    /// Tells the reader what has changed since it was used last. The error says why it cannot be used.
    async fn bring_up(&mut self) -> Result<(), String> {
        let set = self.told()?;
        let Some(aside) = &mut self.reading.aside else {
            return Ok(());
        };
        let (versions, db) = {
            let session = self.entry.session.borrow();
            let known = session.server(aside.ss_id).map(|server| server.versions);
            let wanted = known_by_reader(session.versions);
            if known == Some(wanted) && !self.reading.must_reset {
                return Ok(());
            }
            let is_elsewhere = known.is_none_or(|known| known.db_name != wanted.db_name);
            (wanted, session.db.clone().filter(|_| is_elsewhere))
        };
        let mut asked = Asked {
            worker: self.worker,
            node: &aside.leg,
            rest: &mut aside.rest,
            capabilities: self.capabilities,
        };
        // What it is told may be another `sql_mode`.
        aside.escapes.changed();
        let deadline = Instant::now() + SWITCH_TIME;
        if std::mem::take(&mut self.reading.must_reset) {
            asked.tell(&RESET, deadline).await?;
            if aside.target.with_tenant {
                asked.read_weakly(deadline).await?;
            }
        }
        let used = db.map(|db| format!("USE `{}`", db.replace('`', "``")));
        for sql in used.into_iter().chain(set) {
            let packet = asked.packet(&sql);
            asked.tell(&packet, deadline).await?;
        }
        let ss_id = aside.ss_id;
        if let Some(server) = self.entry.session.borrow_mut().server_mut(ss_id) {
            server.versions = versions;
        }
        Ok(())
    }
}

/// What of a session's state a reader is told.
pub(super) const fn known_by_reader(versions: Versions) -> Versions {
    Versions {
        user_var: 0,
        last_insert_id: 0,
        ..versions
    }
}
