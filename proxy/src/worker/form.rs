//! What the stations that answer admin statements share: the snapshot that a statement is answered from, and its answer as packets.

use bytes::BytesMut;

use super::{Worker, defaults, fleet, mailbox, registry::Entry};
use crate::{
    admin::{
        AdminError, Answer, Caller, Column, ColumnKind, Daemon, Order, Privileges, Scope, Snapshot,
        Statement, Value, fleet::Question,
    },
    protocol::{
        capability::Capabilities,
        packet,
        reply::{ErrPacket, OkPacket},
        result_set::{self, ColumnType, Framing, Protocol},
    },
    session::Session,
};

/// Answers a statement of the session `entry` from a snapshot of what it may look at. `has_tenant` and `privileges` are
/// those of [`Caller`].
pub(super) async fn ask(
    worker: &Worker,
    entry: &Entry,
    has_tenant: bool,
    privileges: Option<Privileges>,
    statement: &Statement,
) -> Answer {
    let login = entry.session.borrow().login.clone();
    let caller = Caller {
        cs_id: entry.cs_id,
        login: &login,
        has_tenant,
        privileges,
    };
    let (mut sessions, mut daemon) = scope(worker, entry, statement).await;
    let snapshot = Snapshot {
        sessions: &sessions,
        caller,
        daemon: &daemon,
    };
    if defaults::freshen(&worker.process, entry, statement, &snapshot).await {
        (sessions, daemon) = scope(worker, entry, statement).await;
    }
    let answer = |daemon: &Daemon| {
        statement.answer(&Snapshot {
            sessions: &sessions,
            caller,
            daemon,
        })
    };
    match answer(&daemon) {
        Answer::Orders(orders) if orders.contains(&Order::AskFleet) => {
            daemon.fleet = Some(fleet::ask(&worker.process, Question::Kill).await);
            answer(&daemon)
        }
        answer => answer,
    }
}

/// What the statement's scope covers.
async fn scope(worker: &Worker, entry: &Entry, statement: &Statement) -> (Vec<Session>, Daemon) {
    let mut daemon = worker.process.daemon();
    let sessions = match (statement.spec().scope, statement.session_id()) {
        (Scope::Own, _) | (Scope::Named, None) => vec![entry.current()],
        // Copying a thousand sessions to show one would cost a thousand times its answer.
        (Scope::Named, id @ Some(_)) => mailbox::snapshot(&worker.process, id).await,
        (Scope::AllWorkers, _) => mailbox::snapshot(&worker.process, None).await,
        (Scope::Fleet(list), _) => {
            daemon.fleet = Some(fleet::ask(&worker.process, Question::List(list)).await);
            mailbox::snapshot(&worker.process, None).await
        }
        (Scope::Daemon, _) => {
            let (sessions, reports) = mailbox::reports(&worker.process).await;
            daemon.reports = reports;
            sessions
        }
    };
    (sessions, daemon)
}

/// `ER_UNKNOWN_ERROR`.
const UNKNOWN_ERROR: u16 = 1105;

/// How the answer to one command is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form {
    /// The sequence number of the answer's first packet: one more than that of the command's last.
    pub sequence: u8,
    /// What holds on the client's leg.
    pub capabilities: Capabilities,
    /// The session's status flags.
    pub status: u16,
    /// How rows are written.
    pub protocol: Protocol,
    /// The client reads errors 5000 to 5999 as a server's; where not, it is told `ER_UNKNOWN_ERROR` with the number in the text.
    pub reads_odp_errors: bool,
}

impl Form {
    /// OK, no row affected, with a text for people.
    pub(super) fn put_ok(self, out: &mut BytesMut, info: String) {
        let ok = OkPacket {
            status: self.status,
            info: info.into(),
            ..OkPacket::default()
        };
        packet::put(out, self.sequence, &ok.encode(self.capabilities));
    }

    /// ERR.
    pub(super) fn put_error(self, out: &mut BytesMut, error: AdminError) {
        let is_readable = self.reads_odp_errors || !(5000..6000).contains(&error.code);
        let (number, text) = if is_readable {
            (error.code, error.text)
        } else {
            (
                UNKNOWN_ERROR,
                format!("{} (error {})", error.text, error.code),
            )
        };
        let error = ErrPacket {
            number,
            state: Some(error.sqlstate),
            message: text.into(),
        };
        packet::put(out, self.sequence, &error.encode());
    }

    /// A result set.
    pub(super) fn put_rows(self, out: &mut BytesMut, columns: &[Column], rows: &[Vec<Value>]) {
        let columns: Vec<_> = columns
            .iter()
            .map(|column| result_set::Column {
                name: &column.name,
                column_type: column_type(column.kind),
            })
            .collect();
        let framing = Framing {
            sequence: self.sequence,
            agreed: self.capabilities,
            status: self.status,
            protocol: self.protocol,
        };
        result_set::put(out, framing, &columns, rows);
    }
}

/// A column's type on the wire.
const fn column_type(kind: ColumnKind) -> ColumnType {
    match kind {
        ColumnKind::Long => ColumnType::Long,
        ColumnKind::LongLong => ColumnType::LongLong,
        ColumnKind::Varchar | ColumnKind::Binary => ColumnType::Varchar,
    }
}
