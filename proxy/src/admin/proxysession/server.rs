//! Server sessions, which ODP neither lists nor ends by themselves: `SHOW PROXYSESSION SERVER`, `KILL PROXYSESSION SERVER`.

use super::host_of;
use crate::admin::{
    AdminError, Answer, Arguments, Column, ColumnKind, Order, Scope, Snapshot, Spec, Value, Who,
    access,
    kill::unless_unknown,
    parse::{self, Mismatch},
};
use crate::session::{ServerSession, ServerState, Session};
use crate::sql::{Token, Tokens, like::like};

pub(in crate::admin) const SHOW: Spec = Spec {
    words: &["SHOW", "PROXYSESSION", "SERVER"],
    grammar: "SHOW PROXYSESSION SERVER [id] [LIKE 'pattern']",
    help: "Lists server sessions, of one client session or of all that one may see; LIKE compares the node's address.",
    who: Who::Anyone,
    scope: Scope::AllWorkers,
    example: "SHOW PROXYSESSION SERVER LIKE '10.0.0.9:%'",
    parse: parse::id_and_like,
    answer: show,
};

pub(super) const KILL: Spec = Spec {
    words: &["KILL", "PROXYSESSION", "SERVER"],
    grammar: "KILL PROXYSESSION SERVER id [FORCE]",
    help: "Ends a server session, named by its ss_id or its CONNECTION_ID(); its client gets another one and notices nothing. Refused where that cannot be; with FORCE the client session ends then.",
    who: Who::Anyone,
    scope: Scope::AllWorkers,
    example: "KILL PROXYSESSION SERVER 4",
    parse: parse_kill,
    answer: kill,
};

const COLUMNS: [Column; 13] = {
    use ColumnKind::{Long, LongLong, Varchar};
    [
        Column::new("ss_id", LongLong),
        Column::new("server", Varchar),
        Column::new("connection_id", LongLong),
        Column::new("cs_id", LongLong),
        Column::new("Tenant", Varchar),
        Column::new("User", Varchar),
        Column::new("group", Varchar),
        Column::new("state", Varchar),
        Column::new("versions_behind", LongLong),
        Column::new("in_trans", Long),
        Column::new("age", LongLong),
        Column::new("idle", LongLong),
        Column::new("using_ssl", Long),
    ]
};
/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

fn show(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let sessions = match arguments.id {
        None => access::visible(snapshot),
        id @ Some(_) => match access::find_visible(snapshot, id) {
            Ok(session) => vec![session],
            Err(error) => return error.into(),
        },
    };
    let pattern = arguments.like.as_deref().unwrap_or_default();
    let servers = sessions
        .into_iter()
        .flat_map(|session| session.servers.iter().map(move |server| (session, server)));
    Answer::Rows {
        columns: COLUMNS.to_vec(),
        rows: servers
            .filter(|(_, server)| like(pattern, host_of(server.node).as_bytes()))
            .map(|(session, server)| row(session, server, snapshot.daemon.now_ns))
            .collect(),
    }
}

fn row(session: &Session, server: &ServerSession, now_ns: u64) -> Vec<Value> {
    let is_bound = session.bound == Some(server.ss_id);
    let group = match (is_bound, server.state) {
        (true, ServerState::Active) => "curr used",
        (true, _) => "last used",
        (false, _) => "pool",
    };
    let idle_ns = if is_bound && !session.command.is_running() {
        session.command.state_ns(now_ns)
    } else {
        0
    };
    vec![
        Value::Unsigned(server.ss_id.0),
        Value::Text(host_of(server.node)),
        Value::Unsigned(server.connection_id.0),
        Value::Unsigned(session.cs_id.0.into()),
        Value::text(&session.login.tenant),
        Value::text(&session.login.user),
        Value::text(group),
        Value::text(server.state.text()),
        Value::Unsigned(server.versions.behind(&session.versions)),
        Value::Unsigned(server.status.may_be_in_transaction().into()),
        Value::Unsigned(now_ns.saturating_sub(server.opened_at_ns) / SECOND_NS),
        Value::Unsigned(idle_ns / SECOND_NS),
        Value::Unsigned(server.using_ssl.into()),
    ]
}

/// Grammar: `id [FORCE]`.
fn parse_kill(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    let Some(Token::Integer(id)) = tokens.next() else {
        return Err(Mismatch::Malformed);
    };
    let arguments = Arguments {
        id: Some(id),
        is_wide: tokens.accept_word("FORCE"),
        ..Arguments::default()
    };
    let is_all = tokens.is_at_end();
    is_all.then_some(arguments).ok_or(Mismatch::Malformed)
}

fn kill(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let Some(id) = arguments.id else {
        return AdminError::bad_command().into();
    };
    match access::find_server_to_kill(snapshot, id) {
        Ok((session, server)) => end(snapshot, session, server, arguments.is_wide),
        Err(error) => unless_unknown(error, snapshot),
    }
}

/// `KILL PROXYSESSION cs_id ss_id [FORCE]`, ODP's form.
pub(in crate::admin) fn kill_of(
    snapshot: &Snapshot<'_>,
    cs_id: i64,
    ss_id: i64,
    is_forced: bool,
) -> Answer {
    let session = match access::find_to_kill(snapshot, cs_id) {
        Ok(session) => session,
        Err(error) => return unless_unknown(error, snapshot),
    };
    let server = u64::try_from(ss_id).ok().and_then(|ss_id| {
        let mut servers = session.servers.iter();
        servers.find(|server| server.ss_id.0 == ss_id)
    });
    match server {
        Some(server) => end(snapshot, session, server, is_forced),
        None => AdminError::unknown_thread(ss_id).into(),
    }
}

fn end(
    snapshot: &Snapshot<'_>,
    session: &Session,
    server: &ServerSession,
    is_forced: bool,
) -> Answer {
    let order = Order::EndServer {
        cs_id: session.cs_id,
        ss_id: server.ss_id,
        own: session.cs_id == snapshot.caller.cs_id,
        is_forced,
    };
    Answer::Orders(vec![order])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fixture::{ask, client, manual, server, table};
    use crate::session::{CsId, SsId};

    const ROOT: u32 = 1_048_577;

    #[test]
    fn server_sessions_are_listed_with_their_owners() {
        let mut sessions = manual();
        sessions[1].bind(server(77, 900));
        sessions[1].versions.user_var = 3;
        sessions[1].servers[1].versions.user_var = 3;
        sessions[1].servers[1].opened_at_ns = 1_999_999_999;
        let listed = table(ask(&sessions, 5, "SHOW PROXYSESSION SERVER"));
        let wanted = [
            "ss_id | server | connection_id | cs_id | Tenant | User | group | state | versions_behind | in_trans | age | idle | using_ssl",
            "5 | 10.0.0.9:2881 | 2147549189 | 5 | mysql | root | pool | MSS_INIT | 1 | 0 | 4 | 0 | 0",
            "77 | 10.0.0.9:2881 | 900 | 5 | mysql | root | last used | MSS_INIT | 0 | 0 | 3 | 0 | 0",
        ];
        assert_eq!(listed, wanted.join("\n"));
        let count = |caller, text| table(ask(&sessions, caller, text)).lines().count() - 1;
        assert_eq!(count(ROOT, "SHOW PROXYSESSION SERVER"), 4);
        assert_eq!(count(ROOT, "SHOW PROXYSESSION SERVER 5"), 2);
        assert_eq!(count(ROOT, "SHOW PROXYSESSION SERVER LIKE '10.0.0.9:%'"), 4);
        assert_eq!(
            count(ROOT, "SHOW PROXYSESSION SERVER 5 LIKE '10.0.0.8%'"),
            0
        );
        assert_eq!(
            ask(&sessions, 5, "SHOW PROXYSESSION SERVER 524297"),
            AdminError::unknown_thread(524_297).into()
        );
    }

    #[test]
    fn server_sessions_are_ended_by_either_id() {
        let mut sessions = manual();
        sessions.push(client(9, "other@mysql#obn"));
        sessions[3].bind(server(99, 901));
        sessions.push(client(10, "other@bank#obn"));
        sessions[4].bind(server(100, 901));
        let order = |cs_id, ss_id, own, is_forced| {
            Answer::Orders(vec![Order::EndServer {
                cs_id: CsId(cs_id),
                ss_id: SsId(ss_id),
                own,
                is_forced,
            }])
        };
        for (caller, text, expected) in [
            (5, "KILL PROXYSESSION SERVER 5", order(5, 5, true, false)),
            (
                5,
                "kill proxysession server 2147549189 force;",
                order(5, 5, true, true),
            ),
            (
                5,
                "KILL PROXYSESSION SERVER 524297",
                order(524_297, 524_297, false, false),
            ),
            // Its own tenant's other user, another tenant.
            (
                5,
                "KILL PROXYSESSION SERVER 99",
                Answer::Orders(vec![Order::LearnPrivileges]),
            ),
            (
                5,
                "KILL PROXYSESSION SERVER 100",
                AdminError::unknown_thread(100).into(),
            ),
            (
                5,
                "KILL PROXYSESSION SERVER -1",
                AdminError::unknown_thread(-1).into(),
            ),
            (
                ROOT,
                "KILL PROXYSESSION SERVER 901",
                AdminError::ambiguous_thread(901, &[99, 100]).into(),
            ),
            (
                10,
                "KILL PROXYSESSION SERVER 901",
                order(10, 100, true, false),
            ),
            (ROOT, "KILL PROXYSESSION 5 5", order(5, 5, false, false)),
            (
                ROOT,
                "KILL PROXYSESSION 5 5 FORCE",
                order(5, 5, false, true),
            ),
            (
                ROOT,
                "KILL PROXYSESSION 5 6",
                AdminError::unknown_thread(6).into(),
            ),
            (
                ROOT,
                "KILL PROXYSESSION 6 5",
                AdminError::unknown_thread(6).into(),
            ),
            (5, "KILL PROXYSESSION 5 5", AdminError::bad_command().into()),
        ] {
            assert_eq!(ask(&sessions, caller, text), expected, "{text} by {caller}");
        }
    }
}
