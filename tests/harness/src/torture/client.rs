//! One client: a session, what it must look like, and the verdict on each operation.

use super::{
    operation::{Operation, Text},
    plan::Plan,
    tally::{self, Tally},
    trouble::Troubles,
    verdict::{self, Fault},
    watch::Watched,
    world::{self, Role, USER_SPLIT, World},
};
use crate::{
    server::{PASSWORD, USER},
    wait,
    wire::{Connection, Login, Outcome, Prepared, capability},
};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// What all clients of a topology share.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Node and daemon.
    pub world: &'a World,
    /// What may have ended a session.
    pub troubles: &'a Troubles,
    /// Counts.
    pub tally: &'a Tally,
    /// How long a read may take.
    pub patience: Duration,
    /// Whether one byte is read wrong, to see that it is found.
    pub spoil: bool,
}

impl Scene<'_> {
    /// Whether something explains this error of a session that has been there since then, and reads at the replica or does not.
    fn is_explained(&self, error: &anyhow::Error, since: Instant, splits: bool) -> bool {
        verdict::of(error).is_explained(&self.troubles.befallen(since).of(splits))
    }
}

/// A connection and since when it has been there.
#[derive(Debug)]
pub struct Since {
    pub(super) connection: Connection,
    opened: Instant,
}

/// The client's main session.
#[derive(Debug)]
pub struct Session {
    pub(super) connection: Connection,
    /// When it was opened, or had survived what had befallen it.
    since: Instant,
    /// `SELECT ?`, once it is needed.
    pub(super) echo: Option<Prepared>,
    /// `@v`.
    pub(super) variable: Option<u64>,
    /// `@p`, which pipelines set.
    pub(super) piped: Option<u64>,
    /// `@@div_precision_increment`.
    pub(super) system: u64,
    /// The current database.
    pub(super) database: Option<&'static str>,
}

/// `@@div_precision_increment` if nobody has set it.
pub const SYSTEM_DEFAULT: u64 = 4;

impl Session {
    /// Forgets what `COM_RESET_CONNECTION` and `COM_CHANGE_USER` end.
    pub(super) fn reset(&mut self) {
        self.echo = None;
        self.variable = None;
        self.piped = None;
        self.system = SYSTEM_DEFAULT;
    }
}

/// The client's table and what must be in it.
#[derive(Debug, Default)]
pub struct Table {
    /// How many tables it has had: after a loss in the middle of a change the old one is left alone.
    pub(super) generation: u32,
    /// Whether it has been made.
    pub(super) exists: bool,
    pub(super) rows: BTreeMap<u32, Text>,
    /// What is in it if the change under way is done.
    pub(super) doubt: Option<BTreeMap<u32, Text>>,
    pub(super) next: u32,
}

/// A client.
pub struct Client<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) number: usize,
    /// Whether its sessions read at the replica.
    pub(super) splits: bool,
    watched: &'a Watched,
    pub(super) session: Option<Session>,
    /// Whether sessions are opened with `CLIENT_DEPRECATE_EOF`.
    pub(super) deprecates_eof: bool,
    pub(super) direct: Option<(Since, bool)>,
    killer: Option<Since>,
    pub(super) table: Table,
    pub(super) used_ports: u32,
    spoils: bool,
}

/// `COM_PING`'s payload.
const PING: [u8; 1] = [0x0e];

/// Logins are tried again for this long while something explains why they fail.
const LOGIN: Duration = Duration::from_mins(1);

impl<'a> Client<'a> {
    /// Client `number` of its topology.
    pub fn new(scene: Scene<'a>, number: usize, watched: &'a Watched) -> Self {
        Self {
            scene,
            number,
            splits: number % 3 == 1,
            watched,
            session: None,
            deprecates_eof: number.is_multiple_of(2),
            direct: None,
            killer: None,
            table: Table::default(),
            used_ports: 0,
            spoils: scene.spoil && number == 0,
        }
    }

    /// Carries the plan out until `is_over`.
    pub fn play(&mut self, plan: Plan, is_over: &AtomicBool) {
        for operation in plan {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let start = Instant::now();
            self.watched.begin(&operation, self.identity());
            let done = self.ready().and_then(|()| self.perform(&operation));
            let dumped = self.watched.end();
            match done {
                Ok(()) => self.scene.tally.operation(operation.kind()),
                Err(error) => self.judge(&error, start, dumped),
            }
        }
    }

    /// The session's id and the client's port.
    fn identity(&self) -> (u32, u16) {
        self.session.as_ref().map_or((0, 0), |session| {
            let connection = &session.connection;
            let local = connection.stream().local_addr();
            let port = local.map_or(0, |address| address.port());
            (connection.greeting().thread_id, port)
        })
    }

    /// Counts what an error means; the session is not used again.
    fn judge(&mut self, error: &anyhow::Error, start: Instant, is_counted: bool) {
        let (cs_id, port) = self.identity();
        let session = self.session.take();
        let since = session
            .as_ref()
            .map_or(start, |session| session.since.min(start));
        let befallen = self.scene.troubles.befallen(since).of(self.splits);
        let tally = self.scene.tally;
        let fault = verdict::of(error);
        match fault {
            _ if fault.is_explained(&befallen) => return tally::count(&tally.lost),
            Fault::Stuck if is_counted => {}
            Fault::Stuck => tally::count(&tally.stuck),
            _ => tally::count(&tally.wrong),
        }
        self.watched.tell(&format!(
            "{error:#} (session {cs_id}, since it began: {befallen:?})\n{}",
            self.scene.world.dump(cs_id, port)
        ));
    }

    /// Has a session, and a table that is what it should be.
    fn ready(&mut self) -> Result<()> {
        if self.splits
            && let Some(session) = &self.session
            && self.scene.troubles.has_lost_primary(session.since)
        {
            // It may write at a replica now, or wherever the proxy has it.
            self.session = None;
        }
        self.look_whether_it_survived();
        if self.session.is_none() {
            self.session = Some(self.new_session()?);
            self.watched.session(self.identity());
            self.settle()?;
        }
        Ok(())
    }

    /// A session that reads at the replica may survive its end. What befalls it after that the end does not explain.
    fn look_whether_it_survived(&mut self) {
        let (troubles, now) = (self.scene.troubles, Instant::now());
        let Some(session) = &mut self.session else {
            return;
        };
        if !self.splits || troubles.befallen(session.since) == troubles.befallen(now) {
            return;
        }
        let answer = session.connection.command(&PING);
        match answer.and_then(|answer| answer.outcome.ok()) {
            Ok(()) => session.since = now,
            Err(error) => self.judge(&error, now, false),
        }
    }

    fn capabilities(&self) -> u32 {
        let eof = if self.deprecates_eof {
            capability::DEPRECATE_EOF
        } else {
            0
        };
        capability::LOCAL_FILES | capability::MULTI_STATEMENTS | eof
    }

    fn new_session(&mut self) -> Result<Session> {
        let mut connection = self.open()?;
        if self.splits {
            // What the client's earlier session has written, this one does not wait for.
            let world = self.scene.world;
            self.persistently("the replica has caught up", || world.catch_up())?;
            wait::until_true("writes go to the primary", LOGIN, || {
                Ok(world::role_of_writer(&mut connection)? == Role::Primary)
            })?;
        }
        if self.spoils {
            self.spoils = false;
            connection.spoil(10_000);
        }
        Ok(Session {
            connection,
            since: Instant::now(),
            echo: None,
            variable: None,
            piped: None,
            system: SYSTEM_DEFAULT,
            database: None,
        })
    }

    /// Who logs in.
    pub(super) fn login(&self) -> Login {
        let user = if self.splits { USER_SPLIT } else { USER };
        Login::new(user, PASSWORD)
    }

    /// A connection through the proxy; tried again while a trouble explains why there is none.
    pub(super) fn open(&mut self) -> Result<Connection> {
        let login = self.login().with(self.capabilities());
        let (world, patience) = (self.scene.world, self.scene.patience);
        self.persistently("a login", || {
            let mut connection = Connection::greet_on(world.connect()?)?;
            connection.set_patience(patience)?;
            connection.log_in(&login)?.ok()?;
            Ok(connection)
        })
        .inspect(|_| tally::count(&self.scene.tally.sessions))
    }

    /// Tries again while a trouble explains a failure.
    fn persistently<T>(&self, what: &str, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        wait::until(what, LOGIN * 2, || {
            let begin = Instant::now();
            match attempt() {
                Ok(done) => Ok(Some(done)),
                Err(error) if self.is_explained(&error, begin) && start.elapsed() < LOGIN => {
                    Ok(None)
                }
                Err(error) => Err(error.context(what.to_owned())),
            }
        })
    }

    /// Whether something explains this error of what has been there since then.
    pub(super) fn is_explained(&self, error: &anyhow::Error, since: Instant) -> bool {
        self.scene.is_explained(error, since, self.splits)
    }

    pub(super) fn session(&mut self) -> Result<&mut Session> {
        self.session.as_mut().context("no session")
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection> {
        Ok(&mut self.session()?.connection)
    }

    /// The client's connection to the node itself, with the main session's capabilities.
    pub(super) fn direct(&mut self) -> Result<&mut Connection> {
        let eof = self.deprecates_eof;
        let troubles = self.scene.troubles;
        self.direct
            .take_if(|(since, with_eof)| troubles.explain(since.opened) || *with_eof != eof);
        if self.direct.is_none() {
            let mut connection = self.scene.world.direct(self.capabilities())?;
            connection.set_patience(self.scene.patience)?;
            let since = Since {
                connection,
                opened: Instant::now(),
            };
            self.direct = Some((since, eof));
        }
        let (since, _) = self.direct.as_mut().context("no direct connection")?;
        Ok(&mut since.connection)
    }

    /// Another session of the same user, which ends the main one.
    pub(super) fn killer(&mut self) -> Result<Connection> {
        let troubles = self.scene.troubles;
        self.killer.take_if(|since| troubles.explain(since.opened));
        match self.killer.take() {
            Some(since) => Ok(since.connection),
            None => self.open(),
        }
    }

    /// Keeps it for the next time.
    pub(super) fn keep_killer(&mut self, connection: Connection) {
        self.killer = Some(Since {
            connection,
            opened: Instant::now(),
        });
    }

    /// Counts bytes that were compared.
    pub(super) fn compared(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        self.scene.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn perform(&mut self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Echo(text, manner) => self.echo(*text, manner),
            Operation::Grow {
                period,
                bytes,
                manner,
            } => self.grow(*period, *bytes, manner),
            Operation::Tiny(number) => self.tiny(*number),
            Operation::Rows {
                rows,
                width,
                binary,
                error_at,
                manner,
            } => self.rows(*rows, *width, *binary, *error_at, manner),
            Operation::Prepared { executions, close } => self.prepared(executions, *close),
            Operation::Turns(turns) => self.turns(turns),
            Operation::Pipeline(parts, manner) => self.pipeline(parts, manner),
            Operation::Multi(parts, manner) => self.multi(parts, manner),
            Operation::Infile(lines, seed) => self.infile(*lines, *seed),
            Operation::Fail(number) => self.fail(*number),
            Operation::SetVariable(value) => self.set_variable(*value),
            Operation::LookAtVariable => self.look_at_variable(),
            Operation::SetSystem(value) => self.set_system(*value),
            Operation::LookAtSystem => self.look_at_system(),
            Operation::Insert(text) => self.insert(*text),
            Operation::ReadBack(number) => self.read_back(*number),
            Operation::CheckTable => self.check_table(),
            Operation::Transaction(texts, end) => self.transaction(texts, *end),
            Operation::Empty => self.empty(),
            Operation::Compare(number) => self.compare(*number),
            Operation::Ask(number) => self.ask(*number),
            Operation::Reset => self.reset(),
            Operation::ChangeUser => self.change_user(),
            Operation::Database(first) => self.change_database(*first),
            Operation::Kill(kill, victim, micros) => {
                self.kill(*kill, *victim, Duration::from_micros(*micros))
            }
            Operation::Abort(moment, leave) => self.abort(*moment, *leave),
            Operation::Shorts(shorts) => self.shorts(shorts),
            Operation::Reconnect(leave, deprecates_eof) => self.reconnect(*leave, *deprecates_eof),
        }
    }
}

/// Fails unless an answer ended with this error (0: OK). An error that is another one is the error.
pub(super) fn expect(outcome: &Outcome, code: u16) -> Result<()> {
    if outcome.code() != code {
        outcome.ok()?;
        bail!("OK instead of error {code}");
    }
    Ok(())
}

/// Fails unless the two are the same.
pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    read: &T,
    wanted: &T,
) -> Result<()> {
    if read != wanted {
        bail!("{what} is {read:?}, not {wanted:?}");
    }
    Ok(())
}
