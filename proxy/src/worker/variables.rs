//! The session's variables while it is served: names become stale by what a command has done, the server tells their values.
//!
//! The server is asked right before a command that overwrites what `ROW_COUNT()`, `FOUND_ROWS()` and `SHOW WARNINGS` would have said: so
//! nobody can tell that it was asked. Until then the session is relayed, so that the daemon sees that command.

use std::sync::Arc;

use bytes::BytesMut;
use sluice_ebpf::response::Outcome;

use super::{
    close::End,
    leave::Leaving,
    serve::{Serving, payload_length},
};
use crate::{
    protocol::{
        capability::Capabilities,
        command, packet,
        reply::{OK, OkPacket},
        session_track::{self, StateChange},
    },
    session::{
        Session,
        escapes::Escapes,
        trace::{Statements, Trace, needs_asking},
        variable::{
            AUTOCOMMIT, Kind, Value,
            question::{self, is_unreadable, quote},
        },
    },
    sql::assigned::Assigned,
};

/// The longest response that is looked through for what the server says of changed state, in bytes.
const ANSWER_BYTES_MAX: usize = 4096;
/// Names that the server is asked for in one statement.
const NAMES_AT_ONCE: usize = 64;
/// Tracked variables whose values are texts, and so are known as literals.
const TRACKED_TEXTS: [&str; 4] = [
    "time_zone",
    "character_set_client",
    "character_set_results",
    "character_set_connection",
];
/// `MariaDB`'s names for variables that `MySQL` has renamed.
const MARIADB_NAMES: [(&str, &str); 2] = [
    ("transaction_isolation", "tx_isolation"),
    ("transaction_read_only", "tx_read_only"),
];

/// What a session's station knows of variables besides the session's own list.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    pub(super) statements: Statements,
    /// Whether backslashes escape.
    pub(super) escapes: Escapes,
    /// The command under way may make names stale: nothing is offered to the kernel behind it.
    watches: bool,
    /// The response of the command under way, as long as it is short and of interest.
    answer: Option<BytesMut>,
    /// The command under way may run statements of which some have succeeded where it fails.
    may_stop_midway: bool,
    /// The last command left `ROW_COUNT()` 0 and no warnings, as `DO 0` does.
    is_quiet: bool,
}

/// What is expected of the command under way.
#[derive(Debug)]
pub(super) struct Foreseen {
    trace: Trace,
    changes: Option<Assigned>,
}

impl Tracking {
    /// All session state is gone.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A statement is closed.
    pub(super) fn close(&mut self, id: u32) {
        self.statements.close(id);
    }

    /// The command under way has come to nothing.
    pub(super) fn forget_command(&mut self) {
        self.watches = false;
        self.may_stop_midway = false;
        self.answer = None;
    }

    /// Whether the command under way, if it fails, may have changed what only an OK tells.
    pub(super) const fn may_stop_midway(&self) -> bool {
        self.may_stop_midway
    }

    /// Bytes of the response under way.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        if let Some(answer) = &mut self.answer {
            if answer.len() + bytes.len() <= ANSWER_BYTES_MAX {
                answer.extend_from_slice(bytes);
            } else {
                self.answer = None;
            }
        }
    }

    /// The response, if it was nothing but an OK.
    fn heard(&mut self, agreed: Capabilities) -> Option<OkPacket> {
        let mut answer = self.answer.take()?;
        let packet = packet::take(&mut answer, ANSWER_BYTES_MAX).ok()??;
        let is_alone = answer.is_empty() && packet.payload.first() == Some(&OK);
        is_alone.then(|| OkPacket::parse(&packet.payload, agreed).ok())?
    }
}

impl Serving<'_> {
    /// Looks at the command at the front of `client_rest`, which is about to go to the node.
    pub(super) async fn foresee(&mut self) -> Result<Foreseen, End> {
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        let trace = Trace::of(&self.client_rest, attributes);
        let is_stale = self.entry.session.borrow().variables.is_stale();
        if is_stale && self.tracking.statements.overwrites(&trace) {
            Box::pin(self.read_variables(false)).await?;
        }
        self.look_at_backslashes(&trace).await?;
        let changes = self.tracking.statements.changes(&trace);
        let is_read = is_text_read(&self.client_rest);
        let tracking = &mut self.tracking;
        tracking.escapes.forwarded(changes.as_ref(), is_read);
        // Which of its nodes the session turns to for the command is not known yet.
        if let Some(aside) = &mut self.reading.aside {
            aside.escapes.forwarded(changes.as_ref(), is_read);
        }
        tracking.is_quiet = false;
        tracking.may_stop_midway = !is_read || changes.as_ref().is_some_and(runs_others);
        tracking.watches = changes.as_ref().is_some_and(needs_asking);
        tracking.answer = changes.is_some().then(BytesMut::new);
        Ok(Foreseen { trace, changes })
    }

    /// Whether the next command must be the daemon's to see.
    pub(super) fn is_held(&self) -> bool {
        let is_leaving = self.leaving == Leaving::Now || self.lost.is_some();
        is_leaving || self.tracking.watches || self.entry.session.borrow().variables.is_stale()
    }

    /// Keeps what the command has done, whose response is complete.
    pub(super) fn keep(&mut self, foreseen: Foreseen) {
        self.tracking.watches = false;
        self.tracking.may_stop_midway = false;
        let is_ok = self.response.outcome() == Outcome::Ok;
        let statements = &mut self.tracking.statements;
        match foreseen.trace {
            Trace::Prepare {
                assigned,
                overwrites,
            } if is_ok => statements.prepare(self.response.statement_id(), assigned, overwrites),
            Trace::Close(id) => statements.close(id),
            Trace::Text(assigned) if is_ok => statements.name(&assigned),
            Trace::None { .. } | Trace::Prepare { .. } | Trace::Text(_) | Trace::Execute(_) => {}
        }
        let Some(mut assigned) = foreseen.changes else {
            return;
        };
        if self.is_mariadb_node() {
            for name in &mut assigned.system {
                if let Some((_, own)) = MARIADB_NAMES.iter().find(|(other, _)| other == name) {
                    (*own).clone_into(name);
                }
            }
        }
        let ok = self.tracking.heard(self.capabilities);
        let mut session = self.entry.session.borrow_mut();
        let variables = Arc::make_mut(&mut session.variables);
        // Of a batch that failed some statements may have succeeded.
        if is_ok || assigned.is_batch {
            let changed = variables.change(&assigned);
            session.raise(changed);
        } else {
            variables.fail(&assigned);
        }
        if let Some(is_on) = self.response.status().autocommit().filter(|_| is_ok) {
            session.know_autocommit(is_on);
        }
        if let Some(ok) = ok {
            self.tracking.is_quiet = ok.warnings == 0 && ok.affected_rows == 0 && !assigned.unclear;
            note_state_changes(&mut session, &ok.state_changes);
        }
    }

    /// Asks the server for all that is stale; `all`: also for what it would not tell the last time. Only where [`Serving::ask`] may be
    /// called.
    pub(super) async fn read_variables(&mut self, all: bool) -> Result<(), End> {
        let mut names = self.entry.session.borrow().variables.stale(usize::MAX, all);
        while !names.is_empty() {
            let rest = names.split_off(names.len().min(NAMES_AT_ONCE));
            if !self.read_names(&names, names.len() == 1).await? {
                for name in names.chunks(1) {
                    self.read_names(name, true).await?;
                }
            }
            names = rest;
        }
        Ok(())
    }

    /// Asks for these names; `false` where the server refuses them together. `settle`: what it refuses is settled.
    async fn read_names(&mut self, names: &[(Kind, String)], settle: bool) -> Result<bool, End> {
        let answer = self.ask(&question::ask(names)).await?;
        let mut session = self.entry.session.borrow_mut();
        let variables = Arc::make_mut(&mut session.variables);
        match answer {
            Ok(rows) => {
                for ((kind, name), value) in names.iter().zip(question::values(names, &rows)) {
                    match value {
                        Some(value) => variables.read(*kind, name, value),
                        None => variables.not_read(*kind, name, false),
                    }
                }
                Ok(true)
            }
            Err(error) if settle => {
                for (kind, name) in names {
                    variables.not_read(*kind, name, is_unreadable(error.number));
                }
                Ok(true)
            }
            Err(_refused) => Ok(false),
        }
    }

    /// Somebody else wants to know the variables, while this session stands idle at a boundary. What `FOUND_ROWS()` says of a SELECT before
    /// is the one thing that this changes.
    pub(super) async fn read_variables_idle(&mut self) -> Result<(), End> {
        if self.tracking.is_quiet && self.client_rest.is_empty() && self.offered.is_none() {
            self.read_variables(true).await?;
            // ROW_COUNT() is 0 again.
            let _ = self.ask("DO 0").await?;
        }
        self.entry.variables_read();
        Ok(())
    }
}

/// Whether all of the text of the `COM_QUERY` at the front of `bytes` is there to be read; of other commands it is.
fn is_text_read(bytes: &[u8]) -> bool {
    let is_query = bytes.get(packet::HEADER_LEN) == Some(&command::QUERY);
    !is_query || bytes.len() >= packet::HEADER_LEN + payload_length(bytes)
}

/// Whether a command with these changes may begin or end a transaction, or change autocommit, and then fail: it runs other statements (`CALL`), or
/// is a SET (OceanBase keeps what a failed one has set before).
fn runs_others(changes: &Assigned) -> bool {
    changes.unclear || !changes.executed.is_empty() || !changes.system.is_empty()
}

/// What the server itself says has changed.
fn note_state_changes(session: &mut Session, state_changes: &[u8]) {
    for change in session_track::parse(state_changes).unwrap_or_default() {
        match change {
            StateChange::Schema(name) => {
                if session.db.as_ref() != Some(&name) && !name.is_empty() {
                    session.change_database(name);
                }
            }
            StateChange::SystemVariable { name, value } => {
                let variables = Arc::make_mut(&mut session.variables);
                let is_new = variables.get(Kind::System, &name).is_none();
                let changed = variables.change(&Assigned {
                    system: vec![name.to_ascii_lowercase()],
                    ..Assigned::default()
                });
                if is_new {
                    session.raise(changed);
                }
                if name == AUTOCOMMIT {
                    session.know_autocommit(value.eq_ignore_ascii_case("ON"));
                } else if TRACKED_TEXTS.contains(&name.as_str()) && !value.is_empty() {
                    let variables = Arc::make_mut(&mut session.variables);
                    variables.read(Kind::System, &name, Value::Literal(quote(&value)));
                }
            }
        }
    }
}
