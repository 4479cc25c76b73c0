//! `SHOW PROXYSESSION VARIABLES`: what a session has changed, and with ALL what it has not (odp.md, section 4).

use crate::admin::{
    AdminError, Answer, Arguments, Column, ColumnKind, Scope, Snapshot, Spec, Value, Who, access,
    parse,
};
use crate::session::Session;
use crate::session::variable::{
    self, Class, Variable,
    defaults::{Default, Flags},
};
use crate::sql::{Tokens, like::like};

pub(super) const SPEC: Spec = Spec {
    words: &["SHOW", "PROXYSESSION", "VARIABLES"],
    grammar: "SHOW PROXYSESSION VARIABLES [ALL] [id] [LIKE 'pattern']",
    help: "Shows the variables that a client session has changed, with ALL those that it has not, too; one's own without an id.",
    who: Who::Anyone,
    scope: Scope::Named,
    example: "SHOW PROXYSESSION VARIABLES 262145 LIKE '%mode%'",
    parse: arguments,
    answer,
};

/// What ODP shows for a value that it does not keep.
const LONG: &str = "---value length is large then 128bytes---";
/// System variables without a value of the server's own, for nodes whose defaults are not known (`MySQL` manual, "Server System Variables").
const SESSION_ONLY: [&str; 12] = [
    "default_master_connection",
    "gtid_seq_no",
    "identity",
    "last_insert_id",
    "pseudo_replica_mode",
    "pseudo_slave_mode",
    "pseudo_thread_id",
    "rbr_exec_mode",
    "skip_parallel_replication",
    "skip_replication",
    "timestamp",
    "transaction_allow_batching",
];

fn arguments(tokens: &mut Tokens<'_>) -> Result<Arguments, parse::Mismatch> {
    let is_wide = tokens.accept_word("ALL");
    let arguments = parse::id_and_like(tokens)?;
    Ok(Arguments {
        is_wide,
        ..arguments
    })
}

/// Whether the statement is this one.
pub(in crate::admin) fn is_about_variables(spec: &Spec) -> bool {
    spec.words == SPEC.words
}

/// The session whose variables the statement shows, and whether with its cluster's defaults; none if it is another statement.
pub(in crate::admin) fn subject<'a>(
    spec: &Spec,
    arguments: &Arguments,
    snapshot: &Snapshot<'a>,
) -> Option<(&'a Session, bool)> {
    if !is_about_variables(spec) {
        return None;
    }
    let session = access::find_visible(snapshot, arguments.id).ok()?;
    Some((session, arguments.is_wide))
}

fn answer(arguments: &Arguments, snapshot: &Snapshot<'_>) -> Answer {
    let session = match access::find_visible(snapshot, arguments.id) {
        Ok(session) => session,
        Err(error) => return error.into(),
    };
    let known = match defaults(session, snapshot) {
        Ok(known) => known,
        Err(error) if arguments.is_wide => return error.into(),
        Err(_) => &[],
    };
    let mut rows = Rows {
        rows: Vec::new(),
        like: arguments.like.as_deref().unwrap_or_default(),
    };
    let info = if arguments.is_wide {
        "sys var"
    } else {
        "changed sys var"
    };
    for variable in session.variables.system() {
        let flags = flags_of(&variable.name, known);
        rows.add(
            &variable.name,
            value(variable),
            info,
            Class::of_system(&variable.name),
            &flags,
        );
    }
    if arguments.is_wide {
        let changed: std::collections::HashSet<_> = session
            .variables
            .system()
            .map(|variable| variable.name.as_str())
            .collect();
        for default in known
            .iter()
            .filter(|default| !changed.contains(default.name.as_str()))
        {
            let value = Value::text(&default.value);
            rows.add(
                &default.name,
                value,
                info,
                Class::of_system(&default.name),
                &default.flags.text(),
            );
        }
    }
    for variable in session.variables.user() {
        rows.add(&variable.name, value(variable), "user var", Class::Cold, "");
    }
    let columns = [
        "variable_name",
        "value",
        "info",
        "modified_type",
        "sys_variable_flag",
    ];
    Answer::Rows {
        columns: columns
            .map(|name| Column::new(name, ColumnKind::Varchar))
            .to_vec(),
        rows: rows.rows,
    }
}

/// The defaults of the session's cluster.
fn defaults<'a>(session: &Session, snapshot: &Snapshot<'a>) -> Result<&'a [Default], AdminError> {
    // A login may call its cluster what it likes, where there is only one.
    let cluster = snapshot.daemon.settings.cluster(&session.login.cluster);
    let cluster = cluster.map_or(session.login.cluster.as_str(), |cluster| &cluster.name);
    match snapshot.daemon.defaults.get(cluster).map(|known| &**known) {
        Some(Ok(defaults)) => Ok(defaults),
        Some(Err(reason)) => Err(AdminError::no_defaults(cluster, reason)),
        None => Err(AdminError::no_defaults(
            cluster,
            "they have not been read yet",
        )),
    }
}

/// The rows that match the LIKE.
struct Rows<'a> {
    rows: Vec<Vec<Value>>,
    like: &'a [u8],
}

impl Rows<'_> {
    fn add(&mut self, name: &str, value: Value, info: &str, class: Class, flags: &str) {
        if like(self.like, name.as_bytes()) {
            self.rows.push(vec![
                Value::text(name),
                value,
                Value::text(info),
                Value::text(class.text()),
                Value::text(flags),
            ]);
        }
    }
}

/// SQL NULL where the server has not been asked: a variable that is NULL shows the text `NULL`.
fn value(variable: &Variable) -> Value {
    match &variable.value {
        variable::Value::Unread => Value::Null,
        variable::Value::Literal(shown) | variable::Value::User { shown, .. } => Value::text(shown),
        variable::Value::Long => Value::text(LONG),
    }
}

/// The flags of a changed variable.
fn flags_of(name: &str, defaults: &[Default]) -> String {
    match defaults.iter().find(|default| default.name == name) {
        Some(default) => default.flags,
        None => Flags {
            is_global: !SESSION_ONLY.contains(&name),
            is_session: true,
            is_read_only: false,
        },
    }
    .text()
}
