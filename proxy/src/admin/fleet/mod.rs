//! The sessions of the whole fleet: what its other proxies have told, in the lists with GLOBAL and for KILL. They are asked as `root@proxysys`
//! and tell everything, so what a caller may see and end is decided here, by the same rules as for the proxy's own sessions.

use std::net::SocketAddr;

use super::{
    AdminError, Answer, Arguments, Column, ColumnKind, Order, Scope, Snapshot, Spec, Value, Who,
    access, kill::unless_unknown, parse, processlist, proxysession,
};
use crate::session::{
    Accepted, AnsweredBy, Command, ConnectionId, CsId, Login, Prepared, ServerSession, Session,
    SsId,
};

/// Rows as a peer has sent them; `None` is NULL.
pub type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// What every peer is asked first: its sessions, by which it is decided what of all else the caller may know.
const SESSIONS: &str = "SHOW PROXYSESSION";
/// Its number.
const PROXY_ID: &str = "SHOW PROXYCONFIG LIKE 'proxy_id'";
/// What it is asked for a KILL besides: server sessions, whose ids may be meant, and who is executing something.
const FOR_KILL: &[&str] = &["SHOW PROXYSESSION SERVER", "SHOW FULL PROCESSLIST"];

/// Another proxy of the fleet.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it listens, or its name where that has no address.
    pub name: String,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// What it has told, or why it has not.
    pub told: Result<Told, String>,
}

/// What a peer has told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    proxy_id: u32,
    /// Its sessions, as far as rights and ids depend on them.
    sessions: Vec<Session>,
    /// The answer to the list that was asked for.
    rows: Rows,
}

/// What a statement asks of the peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// A list.
    List(&'static str),
    /// Which session an id means.
    Kill,
}

impl Question {
    /// The statements that a peer is to answer, in this order.
    pub fn statements(self) -> Vec<&'static str> {
        let more = match self {
            Self::List(SESSIONS) => vec![],
            Self::List(list) => vec![list],
            Self::Kill => FOR_KILL.to_vec(),
        };
        [PROXY_ID, SESSIONS].into_iter().chain(more).collect()
    }

    /// What the answers tell to a proxy of this number.
    ///
    /// # Errors
    /// Why they tell nothing, for the operator.
    pub fn read(self, own_id: u32, answers: Vec<Rows>) -> Result<Told, String> {
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let id = next();
        let proxy_id = id
            .first()
            .and_then(|row| number(row, 1))
            .and_then(|id| u32::try_from(id).ok())
            .ok_or("it does not answer as a Sluice does")?;
        if proxy_id == own_id {
            return Err(format!(
                "it has this proxy's own proxy_id, {own_id}: the ids of sessions would be ambiguous"
            ));
        }
        let rows = next();
        let mut sessions: Vec<_> = rows.iter().filter_map(|row| session(row)).collect();
        match self {
            Self::List(SESSIONS) => {}
            Self::List(_) => {
                let rows = next();
                return Ok(Told {
                    proxy_id,
                    sessions,
                    rows,
                });
            }
            Self::Kill => {
                add_servers(&mut sessions, &next());
                mark_running(&mut sessions, &next());
            }
        }
        Ok(Told {
            proxy_id,
            sessions,
            rows,
        })
    }
}

fn text(row: &[Option<Vec<u8>>], at: usize) -> Option<&str> {
    std::str::from_utf8(row.get(at)?.as_deref()?).ok()
}

fn number(row: &[Option<Vec<u8>>], at: usize) -> Option<u64> {
    text(row, at)?.parse().ok()
}

fn cs_id(row: &[Option<Vec<u8>>], at: usize) -> Option<CsId> {
    number(row, at).and_then(|id| u32::try_from(id).ok().map(CsId))
}

/// An address as Sluice prints it: IPv6 without brackets.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once(':')?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

/// Who has a row of `SHOW PROXYSESSION`.
fn session(row: &[Option<Vec<u8>>]) -> Option<Session> {
    let owned = |at| text(row, at).map(str::to_owned);
    let accepted = Accepted {
        cs_id: cs_id(row, 1)?,
        client: address(text(row, 5)?)?,
        worker_tid: 0,
        pid: 0,
        opened_at_ms: 0,
        opened_at_ns: 0,
    };
    let mut session = Session::new(accepted);
    session.command.end(0);
    session.login = Login {
        cluster: owned(2)?,
        tenant: owned(3)?,
        user: owned(4)?,
    };
    Some(session)
}

/// Gives sessions the server sessions of a `SHOW PROXYSESSION SERVER`.
fn add_servers(sessions: &mut [Session], rows: &Rows) {
    for row in rows {
        let server = || {
            let node = address(text(row, 1)?)?;
            let (ss_id, id) = (number(row, 0)?, number(row, 2)?);
            Some(ServerSession::new(SsId(ss_id), node, ConnectionId(id)))
        };
        let owner = cs_id(row, 3);
        let owner = sessions
            .iter_mut()
            .find(|session| Some(session.cs_id) == owner);
        if let (Some(owner), Some(server)) = (owner, server()) {
            owner.bind(server);
        }
    }
}

/// Notes which sessions are executing something, by a `SHOW FULL PROCESSLIST`.
fn mark_running(sessions: &mut [Session], rows: &Rows) {
    /// `COM_QUERY`; which command it is makes no difference here.
    const QUERY: &[u8] = &[0x03];
    for row in rows.iter().filter(|row| text(row, 7) == Some("ACTIVE")) {
        let busy = cs_id(row, 0);
        for session in sessions.iter_mut() {
            if Some(session.cs_id) == busy {
                session.command = Command::begun(QUERY, &Prepared::default(), AnsweredBy::Node, 0);
            }
        }
    }
}

/// A list over the fleet.
struct List {
    /// The same list of one proxy.
    of_one: &'static Spec,
    /// Which column holds the session's id.
    id_column: usize,
    /// The sessions of it that the caller sees; none where that depends on privileges that are not known.
    seen: for<'a> fn(&Snapshot<'a>) -> Option<Vec<&'a Session>>,
}

const PROXYSESSION: List = List {
    of_one: &proxysession::SPEC,
    id_column: 1,
    seen: |snapshot| Some(access::visible(snapshot)),
};
const SERVER: List = List {
    of_one: &proxysession::server::SHOW,
    id_column: 3,
    seen: |snapshot| Some(access::visible(snapshot)),
};
const PROCESSLIST: List = List {
    of_one: &processlist::SHORT,
    id_column: 0,
    seen: access::listed,
};
const FULL_PROCESSLIST: List = List {
    of_one: &processlist::FULL,
    ..PROCESSLIST
};

pub(super) const STATEMENTS: &[Spec] = &[
    GLOBAL,
    Spec {
        words: &["SHOW", "PROXYSESSION", "SERVER", "GLOBAL"],
        grammar: "SHOW PROXYSESSION SERVER GLOBAL",
        help: "Lists server sessions of all proxies of the fleet.",
        scope: Scope::Fleet("SHOW PROXYSESSION SERVER"),
        example: "SHOW PROXYSESSION SERVER GLOBAL",
        answer: |_, snapshot| list(&SERVER, snapshot),
        ..GLOBAL
    },
    Spec {
        words: &["SHOW", "PROCESSLIST", "GLOBAL"],
        grammar: "SHOW PROCESSLIST GLOBAL",
        help: "The same as SHOW PROCESSLIST for all proxies of the fleet.",
        scope: Scope::Fleet("SHOW PROCESSLIST"),
        example: "SHOW PROCESSLIST GLOBAL",
        answer: |_, snapshot| list(&PROCESSLIST, snapshot),
        ..GLOBAL
    },
    Spec {
        words: &["SHOW", "FULL", "PROCESSLIST", "GLOBAL"],
        grammar: "SHOW FULL PROCESSLIST GLOBAL",
        help: "The same as SHOW FULL PROCESSLIST for all proxies of the fleet.",
        scope: Scope::Fleet("SHOW FULL PROCESSLIST"),
        example: "SHOW FULL PROCESSLIST GLOBAL",
        answer: |_, snapshot| list(&FULL_PROCESSLIST, snapshot),
        ..GLOBAL
    },
];

const GLOBAL: Spec = Spec {
    words: &["SHOW", "PROXYSESSION", "GLOBAL"],
    grammar: "SHOW PROXYSESSION GLOBAL",
    help: "The same as SHOW PROXYSESSION for all proxies of the fleet; one that does not answer has a row with the reason in proxy_error.",
    who: Who::Anyone,
    scope: Scope::Fleet(SESSIONS),
    example: "SHOW PROXYSESSION GLOBAL",
    parse: parse::nothing,
    answer: |_, snapshot| list(&PROXYSESSION, snapshot),
};

/// Behind the list's own columns.
const COLUMNS: [Column; 3] = [
    Column::new("proxy_id", ColumnKind::LongLong),
    Column::new("proxy", ColumnKind::Varchar),
    Column::new("proxy_error", ColumnKind::Varchar),
];

fn list(list: &List, snapshot: &Snapshot<'_>) -> Answer {
    let own = (list.of_one.answer)(&Arguments::default(), snapshot);
    let Answer::Rows {
        mut columns,
        mut rows,
    } = own
    else {
        return own;
    };
    let daemon = snapshot.daemon;
    let own_id = daemon.settings.proxy_id;
    let own_address = daemon.host.listen.to_string();
    for row in &mut rows {
        row.extend(whose(own_id, &own_address));
    }
    for peer in daemon.fleet.iter().flatten() {
        match &peer.told {
            Err(why) => {
                let nothing = columns.iter().map(|_| Value::Null);
                let of_peer = [Value::Null, Value::text(&peer.name), Value::text(why)];
                rows.push(nothing.chain(of_peer).collect());
            }
            Ok(told) => {
                let Some(seen) = (list.seen)(&of_peer(snapshot, told)) else {
                    return Answer::Orders(vec![Order::LearnPrivileges]);
                };
                let seen: Vec<_> = seen.iter().map(|session| session.cs_id).collect();
                let is_seen =
                    |row: &&Vec<_>| cs_id(row, list.id_column).is_some_and(|id| seen.contains(&id));
                rows.extend(told.rows.iter().filter(is_seen).map(|row| {
                    let cells = columns.iter().enumerate();
                    let cells = cells.map(|(at, column)| cell(column, row.get(at)));
                    cells.chain(whose(told.proxy_id, &peer.name)).collect()
                }));
            }
        }
    }
    columns.extend(COLUMNS);
    Answer::Rows { columns, rows }
}

/// The cells that say at which proxy a row's session is.
fn whose(proxy_id: u32, address: &str) -> [Value; 3] {
    let id = Value::Unsigned(proxy_id.into());
    [id, Value::text(address), Value::Null]
}

/// A peer's cell in the type of this proxy's column.
fn cell(column: &Column, bytes: Option<&Option<Vec<u8>>>) -> Value {
    let Some(Some(bytes)) = bytes else {
        return Value::Null;
    };
    let text = String::from_utf8_lossy(bytes);
    match column.kind {
        ColumnKind::Long | ColumnKind::LongLong => {
            text.parse().map_or(Value::Null, Value::Unsigned)
        }
        ColumnKind::Varchar | ColumnKind::Binary => Value::Text(text.into_owned()),
    }
}

/// The same caller before a peer's sessions.
fn of_peer<'a>(snapshot: &Snapshot<'a>, told: &'a Told) -> Snapshot<'a> {
    Snapshot {
        sessions: &told.sessions,
        ..*snapshot
    }
}

/// How a session that may be ended or interrupted is found by an id.
type Find = for<'a> fn(&Snapshot<'a>, i64) -> Result<&'a Session, AdminError>;

/// The session that an id means at any proxy of the fleet, and where that proxy is, if it is another one. `find` decides what the caller may do
/// with it. An id of a connection is looked for everywhere: nodes give out the same ones.
///
/// # Errors
/// The statement's answer: an error, or the order to ask the peers or for privileges first.
pub(super) fn find<'a>(
    snapshot: &Snapshot<'a>,
    id: i64,
    find: Find,
) -> Result<(Option<SocketAddr>, &'a Session), Answer> {
    let own = match find(snapshot, id) {
        Ok(session) if i64::from(session.cs_id.0) == id => return Ok((None, session)),
        Ok(session) => Some(session),
        Err(error) if error.is_unknown_thread() => None,
        Err(error) => return Err(unless_unknown(error, snapshot)),
    };
    let has_peers = !snapshot.daemon.settings.fleet.peers.is_empty();
    if has_peers && snapshot.daemon.fleet.is_none() {
        return Err(Answer::Orders(vec![Order::AskFleet]));
    }
    let mut found: Vec<_> = own.map(|session| (None, session)).into_iter().collect();
    let mut silent = Vec::new();
    for peer in snapshot.daemon.fleet.iter().flatten() {
        let told = match &peer.told {
            Ok(told) => told,
            Err(why) => {
                silent.push(format!("{}: {why}", peer.name));
                continue;
            }
        };
        match find(&of_peer(snapshot, told), id) {
            Ok(session) => found.push((peer.address, session)),
            Err(error) if error.is_unknown_thread() => {}
            Err(error) => return Err(unless_unknown(error, snapshot)),
        }
    }
    match *found {
        [found] => Ok(found),
        [] if silent.is_empty() => Err(AdminError::unknown_thread(id).into()),
        [] => Err(AdminError::unknown_in_fleet(id, &silent).into()),
        [..] => {
            let ids: Vec<_> = found.iter().map(|(_, session)| session.cs_id).collect();
            Err(AdminError::ambiguous_thread(id, &ids).into())
        }
    }
}

#[cfg(test)]
mod tests;
