//! A logged-in session's loop: at a command boundary it offers the gate to the kernel and waits for whatever reaches the daemon; a
//! command that does is answered, or relayed with its response, and then the boundary is there again.

use std::{pin::pin, rc::Rc, sync::Arc};

use bytes::BytesMut;
use sluice_ebpf::{
    packet::Position,
    reason::RelayReason,
    record::{Aside, Offsets, Seat},
    response::{Expect, Outcome, Response, Status},
    wire::Side,
};
use tokio::time::Instant;

use super::{
    Worker,
    accept::login_of,
    bound::Bound,
    change_user::{self, Change, Changed, Half},
    clock,
    close::End,
    execution::AtHand,
    follow::Followed,
    kill::Turn,
    leave::Leaving,
    login::{Identity, LoggedIn, Target},
    outstanding::Attempt,
    quota,
    reader::Reading,
    registry::Entry,
    statement::Preparing,
    survive::Lost,
    variables::Tracking,
    way,
};
use crate::{
    admin::{self, AdminError, ConnectionKind, prepared::Statements},
    net::Leg,
    protocol::{
        capability::Capabilities, command, error::MysqlError, packet, statement::name_statement,
    },
    route,
    session::{
        AnsweredBy, InsertId, charset,
        command::{Effect, Plan, plan},
        login_name::{LoginName, Rules, SEPARATORS},
        sticky::knots_of_command,
    },
};

/// Capacity of an emptied buffer that is worth keeping while a session is idle, in bytes.
pub(super) const IDLE_BUFFER_BYTES: usize = 512;

/// One session being served. Fields are the session's two streams and where they stand; what others may see is in its [`Entry`].
pub(super) struct Serving<'a> {
    /// First, so that it is dropped before the node's leg: no stale entry meets a reused port.
    pub(super) bound: Bound<'a>,
    pub(super) worker: &'a Worker,
    pub(super) entry: &'a Rc<Entry>,
    pub(super) client: Leg,
    pub(super) node: Leg,
    /// The login's last packet, for the client.
    welcome: BytesMut,
    /// Read from the client, not yet forwarded.
    pub(super) client_rest: BytesMut,
    /// Read from the node, not yet forwarded.
    pub(super) node_rest: BytesMut,
    pub(super) capabilities: Capabilities,
    /// What the last responses tell of the server session.
    pub(super) status: Status,
    /// Where the command under way stands.
    pub(super) command: Position,
    /// Where its response stands.
    pub(super) response: Response,
    /// The command under way is a `COM_STMT_PREPARE`.
    pub(super) prepares: Option<Preparing>,
    /// The execution of a prepared statement that the command at hand is, if all of that one's are seen.
    pub(super) at_hand: Option<Box<AtHand>>,
    /// What is not known of prepared statements at the session's node.
    pub(super) followed: Followed,
    /// The client sends a file's contents (LOCAL INFILE).
    pub(super) in_file: bool,
    /// The last offer to the kernel, until its regime has ended: what reaches the daemon says where it stands.
    pub(super) offered: Option<(Offsets, Aside)>,
    /// The kernel has spliced a response since the node was last heard of: see [`Serving::barrier`].
    pub(super) after_splice: bool,
    /// Prepared statements that the daemon answers.
    pub(super) statements: Statements,
    /// Whose turn it is to speak, for what the client is told if it is killed.
    pub(super) turn: Turn,
    /// What is expected of the session's variables.
    pub(super) tracking: Tracking,
    collation: u16,
    pub(super) node_capabilities: Capabilities,
    /// The node, and what it wants to be told of a user's tenant.
    pub(super) target: Target,
    /// Who the client is, for a login in its place.
    pub(super) identity: Identity,
    /// The server session is gone, and no other has taken its place yet.
    pub(super) lost: Option<Lost>,
    /// Whether the session is to move to a fitter node.
    pub(super) leaving: Leaving,
    /// Where its reads go.
    pub(super) reading: Reading<'a>,
    /// What is known of nodes has been looked at up to this count.
    pub(super) news_seen: u64,
    /// The node has said that it ends this session.
    pub(super) is_dismissed: bool,
    /// Whether the command at hand was asked of a node before.
    pub(super) attempt: Attempt,
    /// The command at hand, where it is longer than what is shown of it and may be asked again.
    pub(super) long_read: Option<BytesMut>,
}

impl<'a> Serving<'a> {
    /// Takes over from the login.
    pub(super) fn new(worker: &'a Worker, entry: &'a Rc<Entry>, from: LoggedIn) -> Self {
        let bound = entry.session.borrow().bound;
        let status = Status::of(from.ok.status);
        entry.session.borrow_mut().note_status(status);
        if let Some(ss_id) = bound {
            entry.watch(ConnectionKind::Connected(ss_id), &from.node);
        }
        Self {
            bound: Bound::node(worker, entry.place(), Seat::Writer, &from.node),
            worker,
            entry,
            client: from.client,
            node: from.node,
            welcome: from.welcome,
            client_rest: from.client_rest,
            node_rest: from.node_rest,
            capabilities: from.identity.request.agreed,
            status,
            command: Position::DONE,
            response: Response::DONE,
            prepares: None,
            at_hand: None,
            followed: Followed::default(),
            in_file: false,
            offered: None,
            after_splice: false,
            statements: Statements::default(),
            turn: Turn::Nobody,
            tracking: Tracking::default(),
            collation: from.identity.request.packet.collation(),
            node_capabilities: from.node_greeting.capabilities,
            target: from.target,
            identity: from.identity,
            lost: None,
            leaving: Leaving::No,
            reading: Reading::default(),
            // What has become known during the login concerns it, too.
            news_seen: 0,
            is_dismissed: false,
            attempt: Attempt::First,
            long_read: None,
        }
    }

    /// Serves until somebody leaves or is made to.
    pub(super) async fn serve(&mut self) -> End {
        let served = self.entry.unless_ended(pin!(self.run())).await;
        // Its end is boxed, so that a session that lives has no memory for it.
        Box::pin(self.end(served)).await
    }

    /// Says what is left to say to the client and the node.
    async fn end(&mut self, served: Result<End, End>) -> End {
        match served {
            Ok(end) if end != End::Retired => {
                self.arrived().await;
                self.nodes_closed(end).await;
                end
            }
            Ok(end) | Err(end) => {
                if self.farewell(end).await {
                    self.arrived().await;
                }
                end
            }
        }
    }

    /// Waits for what bypassed to arrive: what the sockets say last stands behind it.
    async fn arrived(&self) {
        if let Some(slot) = self.entry.slot() {
            slot.stop(self.entry.gate.get().generation());
            way::arrived(&slot).await;
        }
    }

    async fn run(&mut self) -> End {
        match self.welcome().await {
            Ok(()) => loop {
                if let Err(end) = self.boundary().await
                    && let Err(end) = self.survive(end).await
                {
                    break end;
                }
            },
            Err(end) => end,
        }
    }

    /// Lets the client in: the first offer to the kernel is there before its first command.
    async fn welcome(&mut self) -> Result<(), End> {
        self.look_at_policy();
        let welcome = std::mem::take(&mut self.welcome);
        if self.client_rest.is_empty() {
            self.offer(welcome.len());
        }
        self.entry.end_command();
        self.write_client(&welcome).await
    }

    /// One command, or what else happens at a boundary. What is rare is boxed: an idle session's task has no memory for it.
    async fn boundary(&mut self) -> Result<(), End> {
        self.long_read = None;
        if self.lost.is_some() {
            return self.boundary_without_node().await;
        }
        self.turn = Turn::Holding(self.consumed());
        if self.reading.is_due {
            Box::pin(self.review_reader()).await?;
        }
        if self.client_rest.is_empty() {
            self.attempt = Attempt::First;
            self.turn = Turn::Client;
            self.try_move().await?;
            if self.client_rest.capacity() > IDLE_BUFFER_BYTES {
                self.client_rest = BytesMut::new();
            }
            self.offer(0);
            self.wait().await?;
            self.turn = Turn::Nobody;
            self.take_stock().await?;
        }
        self.turn = Turn::Holding(self.consumed());
        if self.leaving == Leaving::Now {
            Box::pin(self.leave_first()).await?;
        }
        if let Some(command) = self.statements.command(&self.client_rest) {
            return Box::pin(self.own_statement(command)).await;
        }
        match plan(
            &self.client_rest,
            self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES),
        ) {
            Plan::Wait => {
                // Either nothing at all (the node spoke), or a command in pieces.
                if self.client_rest.is_empty() {
                    Ok(())
                } else {
                    self.read_client_or_end().await
                }
            }
            Plan::Quit => self.quit(),
            Plan::Stream => {
                self.turn_to_writer().await?;
                Box::pin(self.stream()).await
            }
            Plan::Forward(effect) => {
                if self.look_at_statement(&effect).await? {
                    Ok(())
                } else {
                    self.forward(effect).await
                }
            }
            Plan::ChangeUser(payload) => Box::pin(self.change_user(&payload)).await,
            Plan::Prepare(effect) => Box::pin(self.prepare(effect)).await,
            Plan::ProcessInfo => self.answer_by(admin::Statement::process_list()).await,
            Plan::Kill(id) => self.answer_by(admin::Statement::kill(id)).await,
            Plan::Text { text, effect } => {
                match admin::parse(&text).or_else(|| admin::hidden(&text).map(Err)) {
                    None => {
                        self.keep_long_read();
                        self.forward(effect).await
                    }
                    Some(statement) => Box::pin(self.answer_own(statement, effect)).await,
                }
            }
        }
    }

    /// A statement of Sluice's own, or one that is refused.
    pub(super) async fn answer_own(
        &mut self,
        statement: Result<admin::Statement, AdminError>,
        effect: Effect,
    ) -> Result<(), End> {
        match statement {
            Ok(statement) => self.answer(&statement, effect).await,
            Err(error) => self.refuse(&error).await,
        }
    }

    /// What must hold before the response is there: the kernel's next offer is made with the response's last bytes.
    fn anticipate(&mut self, effect: &Effect) {
        match effect {
            Effect::Charset { safe: false } => self.note_charset(false),
            // The kernel's table keeps it: a client on the wire may have to send again what was spliced of it.
            Effect::Closed(id) => self.entry.statements_closed(std::iter::once(*id)),
            Effect::Reset => {
                if !charset::is_safe_collation(self.collation) {
                    self.note_charset(false);
                }
                if let Some(slot) = self.entry.slot() {
                    slot.forget_statements();
                }
            }
            Effect::None
            | Effect::Database(_)
            | Effect::Prepared { .. }
            | Effect::Charset { safe: true } => {}
        }
    }

    /// Relays the command at the front of `client_rest` and its whole response.
    pub(super) async fn forward(&mut self, effect: Effect) -> Result<(), End> {
        let byte = self
            .client_rest
            .get(packet::HEADER_LEN)
            .copied()
            .unwrap_or_default();
        let foreseen = self.foresee().await?;
        self.turn().await?;
        if self.at_hand.is_some() {
            Box::pin(self.have_prepared()).await?;
        }
        if self.node.has_ended().map_err(End::of_node)? {
            return Err(End::NodeClosed);
        }
        self.command = Position::command();
        // A close forgets it.
        let other_id = self.other_id();
        self.anticipate(&effect);
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        let knots = knots_of_command(&self.client_rest, attributes);
        let expect = Expect::of(byte);
        self.response.resume(self.status.to_word());
        self.response
            .begin(expect as u8, self.capabilities.format());
        self.begin_command(AnsweredBy::Node);
        self.address_execution()?;
        if let Some(id) = other_id {
            name_statement(&mut self.client_rest, id);
        }
        self.prepares = (byte == command::STMT_PREPARE).then(|| self.preparing(&effect));
        self.expect_response();
        self.reading.note_change(!knots.is_empty());
        let relayed = self.exchange().await;
        self.reading.is_changing = false;
        // Where it failed, the turn says what the client may still be told.
        if relayed.is_ok() {
            self.turn = Turn::Nobody;
        }
        let has_response = relayed.is_ok() && expect != Expect::Nothing;
        if has_response {
            self.entry.end_response(&self.response);
        } else if relayed.is_ok() {
            // Else the node may still be executing it: see `stop::connection`.
            self.entry.end_command();
        }
        let mut session = self.entry.session.borrow_mut();
        session.traffic.relayed_commands += 1;
        session.traffic.responses += u64::from(has_response);
        let ended = u64::from(self.response.ends_transaction());
        session.transactions += ended;
        if let Some(server) = session.bound_server_mut() {
            server.transactions += ended;
        }
        drop(session);
        relayed?;
        self.after_splice = false;
        let is_ok = self.response.outcome() == Outcome::Ok;
        let knots = knots.after(is_ok);
        let mut session = self.entry.session.borrow_mut();
        if !knots.is_empty() || session.ties.waits_for_transaction() {
            let spliced = self.entry.spliced_transactions();
            let ended = session.transactions + spliced;
            session.ties.transactions_ended(ended);
        }
        session.ties.apply(knots);
        drop(session);
        if is_ok {
            self.apply(effect);
        }
        self.keep(foreseen);
        Ok(())
    }

    /// Whether the node is a `MariaDB`.
    pub(super) const fn is_mariadb_node(&self) -> bool {
        self.node_capabilities.is_mariadb()
    }

    /// The command at the front of `client_rest` begins now.
    pub(super) fn begin_command(&self, answered_by: AnsweredBy) {
        let payload = self
            .client_rest
            .get(packet::HEADER_LEN..)
            .unwrap_or_default();
        let length = payload_length(&self.client_rest);
        self.entry
            .begin_command(payload.get(..length).unwrap_or(payload), answered_by);
    }

    /// Keeps what a command has changed.
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Database(name) => self.entry.session.borrow_mut().change_database(name),
            Effect::Reset => self.forget(),
            Effect::Charset { safe: true } => self.note_charset(true),
            // Nothing, or anticipated.
            Effect::None
            | Effect::Closed(_)
            | Effect::Prepared { .. }
            | Effect::Charset { safe: false } => {}
        }
    }

    /// All session state is gone.
    fn forget(&mut self) {
        self.statements.clear();
        self.tracking.clear();
        self.reset_reader();
        self.reset_own_writes();
        self.entry.prepared.borrow_mut().forget_all();
        self.followed.forget();
        {
            let mut session = self.entry.session.borrow_mut();
            session.has_prepared = false;
            session.ties.clear();
            session.variables = Arc::default();
            // Whatever the kernel knows is older.
            session.insert_id = InsertId {
                value: 0,
                at_ns: clock::now_ns(),
            };
        }
        if let Some(slot) = self.entry.slot() {
            slot.forget_statements();
        }
        self.note_charset(charset::is_safe_collation(self.collation));
    }

    /// Whether the classifier can read the client's character set: where not, the session is relayed, and says so.
    fn note_charset(&self, safe: bool) {
        let mut session = self.entry.session.borrow_mut();
        match session.relay_reason {
            None if !safe => session.relay_reason = Some(RelayReason::Charset),
            Some(RelayReason::Charset) if safe => {
                session.relay_reason = None;
                session.path = session.way;
            }
            _ => {}
        }
    }

    /// Whether the kernel could read the session's commands.
    pub(super) fn is_spliceable(&self) -> bool {
        self.entry.session.borrow().relay_reason.is_none()
    }

    /// Whether the kernel may be offered commands.
    pub(super) fn may_splice(&self) -> bool {
        self.is_spliceable() && !self.worker.process.is_splice_off()
    }

    /// `COM_CHANGE_USER`.
    async fn change_user(&mut self, payload: &[u8]) -> Result<(), End> {
        self.turn_to_writer().await?;
        self.begin_command(AnsweredBy::Node);
        let packet = self
            .client_rest
            .split_to(packet::HEADER_LEN + payload.len());
        self.entry.session.borrow_mut().command.bytes = packet.len() as u64;
        let changed = self.log_in_again(payload).await;
        self.entry.end_command();
        changed
    }

    /// The session has another user, and nothing of what it had.
    fn become_another(&mut self, changed: Changed) {
        let Changed {
            name,
            database,
            collation,
            ok,
            proof,
        } = changed;
        self.note_status(Status::of(ok.status));
        self.collation = collation;
        self.drop_reader();
        self.drop_parked();
        self.forget();
        {
            let mut session = self.entry.session.borrow_mut();
            session.login = login_of(&name);
            session.db.clone_from(&database);
            session.traffic.relayed_commands += 1;
        }
        let request = &mut self.identity.request;
        request.change(name, database.as_deref(), collation);
        self.identity.proof = proof;
    }

    /// A login's dialogue on the legs as they are.
    async fn log_in_again(&mut self, payload: &[u8]) -> Result<(), End> {
        let settings = self.worker.process.settings();
        let names = Rules {
            tenant: &settings.default_tenant,
            cluster: &settings.default_cluster,
            separators: SEPARATORS,
        };
        let (target, own) = (
            self.target.clone(),
            self.entry.session.borrow().login.clone(),
        );
        let mut quota = None;
        let allow = |name: &LoginName| {
            let login = login_of(name);
            // Another tenant or cluster may live on another node (ODP refuses it too).
            if login.tenant != own.tenant
                || login.cluster != own.cluster
                || route::route(&settings, &login).is_err()
            {
                return Err(MysqlError::not_supported(
                    "COM_CHANGE_USER to another tenant or cluster",
                ));
            }
            let taken = quota::take(
                &self.worker.process,
                &login,
                self.entry.quota.borrow().as_ref(),
            )?;
            quota = Some(taken);
            Ok(target.user(name))
        };
        let terms = change_user::Terms {
            capabilities: self.capabilities,
            collation: self.collation,
            node_capabilities: self.node_capabilities,
            names,
            attributes: &[],
            deadline: Instant::now() + settings.login_timeout,
        };
        let client = Half {
            leg: &self.client,
            rest: &mut self.client_rest,
        };
        let node = Half {
            leg: &self.node,
            rest: &mut self.node_rest,
        };
        match change_user::change_user(client, node, payload, terms, allow).await {
            Ok(Change::Done(changed)) => {
                // The old user's place is free from here on.
                drop(self.entry.quota.replace(quota));
                self.become_another(*changed);
                Ok(())
            }
            Ok(Change::Refused(error)) => {
                tracing::debug!(
                    cs_id = self.entry.cs_id.0,
                    number = error.number,
                    "COM_CHANGE_USER refused by the node"
                );
                Ok(())
            }
            Ok(Change::NotAllowed(error)) => {
                tracing::debug!(cs_id = self.entry.cs_id.0, %error, "COM_CHANGE_USER refused");
                Ok(())
            }
            Err(broken) => Err(End::Login(broken.0)),
        }
    }
}

/// Payload bytes of the packet at the front of `bytes`.
pub(super) fn payload_length(bytes: &[u8]) -> usize {
    bytes.first_chunk::<3>().map_or(0, |&[a, b, c]| {
        usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16
    })
}

impl Drop for Serving<'_> {
    /// However it ends, also when it is dropped for a KILL: the kernel stops before the sockets close.
    fn drop(&mut self) {
        let place = self.entry.place();
        if let Some(slot) = &place.slot {
            slot.stop(self.entry.gate.get().generation());
            way::settle(self.worker, &place, Side::Client, &self.client);
            self.bound.settle(&self.node);
        }
    }
}
