//! The statements that Sluice answers itself. A file per statement family exports its [`Spec`]s; [`specs`] joins them, and the parser, the
//! dispatch and `SHOW PROXYHELP` read that one list.

pub mod access;
pub mod answer;
pub mod courtesy;
pub mod fleet;
mod kill;
mod moment;
mod parse;
pub mod prepared;
mod privilege;
mod processlist;
mod proxycluster;
mod proxyconfig;
mod proxycongestion;
mod proxydrain;
mod proxyhelp;
mod proxyinfo;
mod proxylimit;
mod proxynet;
mod proxysession;
mod proxystat;
mod refused;
mod snapshot;

pub use answer::{AdminError, Answer, Column, ColumnKind, Order, Value};
pub use parse::{hidden, parse};
pub use privilege::Privileges;
pub use snapshot::{Caller, Calls, Connection, ConnectionKind, Daemon, Host, Report, Snapshot};

use crate::{session::Session, sql::Tokens};
use parse::Mismatch;

/// Every statement family. A new one is one line here.
const FAMILIES: &[&[Spec]] = &[
    proxysession::STATEMENTS,
    processlist::STATEMENTS,
    kill::STATEMENTS,
    fleet::STATEMENTS,
    proxyconfig::STATEMENTS,
    proxyinfo::STATEMENTS,
    proxycluster::STATEMENTS,
    proxycongestion::STATEMENTS,
    proxynet::STATEMENTS,
    proxystat::STATEMENTS,
    proxylimit::STATEMENTS,
    proxydrain::STATEMENTS,
    proxyhelp::STATEMENTS,
    refused::STATEMENTS,
];

/// One statement: what it is called, who may use it, how it is read and answered.
#[derive(Debug)]
pub struct Spec {
    /// The words that a text begins with. The longest list that fits wins.
    pub words: &'static [&'static str],
    /// The grammar, for users.
    pub grammar: &'static str,
    /// What it does, in one sentence for users.
    pub help: &'static str,
    /// Who may use it.
    pub who: Who,
    /// Whose sessions the answer is made from.
    pub scope: Scope,
    /// A complete statement.
    pub example: &'static str,
    /// Reads what follows the words.
    parse: fn(&mut Tokens<'_>) -> Result<Arguments, Mismatch>,
    answer: fn(&Arguments, &Snapshot<'_>) -> Answer,
}

/// Who may use a statement. [`access`] then says on which sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Whoever is logged in.
    Anyone,
    /// `root` of the tenants `sys` and `proxysys`. Of others it goes to the node, which does not know it, as with ODP.
    Operator,
    /// `root` of the tenants `sys` and `proxysys`; others are answered error 5010, as with ODP: the node may know one like it.
    OperatorOnly,
}

impl Who {
    /// The text in `SHOW PROXYHELP`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Anyone => "any user",
            Self::Operator | Self::OperatorOnly => "root@sys, root@proxysys",
        }
    }
}

/// Whose sessions a statement's answer is made from: what the snapshot must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The caller's session alone.
    Own,
    /// The session that the statement's first number means, the caller's own without one; of all workers those that it may mean.
    Named,
    /// The sessions of all workers.
    AllWorkers,
    /// The sessions of all workers, and what the other proxies of the fleet answer to this statement ([`Daemon::fleet`]).
    Fleet(&'static str),
    /// The sessions of all workers, and what each of these reports of itself: [`Daemon::reports`].
    Daemon,
}

/// A statement that a client sent, read and ready to be answered.
#[derive(Clone, Debug)]
pub struct Statement {
    spec: &'static Spec,
    arguments: Arguments,
}

/// What a statement may carry besides its words.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Arguments {
    /// The first number.
    id: Option<i64>,
    /// The second one.
    second: Option<i64>,
    /// A LIKE's pattern.
    like: Option<Vec<u8>>,
    /// What a column is to be called.
    alias: Option<String>,
    /// The word that changes what a statement covers or dares: ALL, FORCE.
    is_wide: bool,
    /// The word that chooses one of a statement's forms.
    word: Option<&'static str>,
    /// The name of a cluster.
    name: Option<Vec<u8>>,
    /// Which rows are sent.
    limit: Option<parse::Limit>,
    /// A key and its new value.
    assignment: Option<(String, String)>,
}

impl Statement {
    /// `COM_PROCESS_KILL`: the same as `KILL id`.
    pub fn kill(id: u32) -> Self {
        let arguments = Arguments {
            id: Some(i64::from(id)),
            ..Arguments::default()
        };
        Self {
            spec: &kill::KILL,
            arguments,
        }
    }

    /// `COM_PROCESS_INFO`: the same as `SHOW PROCESSLIST`.
    pub fn process_list() -> Self {
        Self {
            spec: &processlist::SHORT,
            arguments: Arguments::default(),
        }
    }

    /// The number that names a session ([`Scope::Named`]); `None` for the caller's own.
    pub fn session_id(&self) -> Option<i64> {
        access::named(self.arguments.id)
    }

    /// Which statement it is.
    pub const fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// Whether it shows variables of sessions: the server is to be asked for stale ones first.
    pub fn shows_variables(&self) -> bool {
        proxysession::is_about_variables(self.spec)
    }

    /// The session whose variables it shows, and whether it shows the cluster's defaults, too; none if it is about something else.
    pub fn variables_of<'a>(&self, snapshot: &Snapshot<'a>) -> Option<(&'a Session, bool)> {
        proxysession::variables_subject(self.spec, &self.arguments, snapshot)
    }

    /// Answers from the snapshot, which must cover the statement's [`Scope`].
    pub fn answer(&self, snapshot: &Snapshot<'_>) -> Answer {
        match self.spec.who {
            Who::Operator if !access::is_operator(&snapshot.caller) => {
                Answer::Orders(vec![Order::Forward])
            }
            Who::OperatorOnly if !access::is_operator(&snapshot.caller) => {
                AdminError::bad_command().into()
            }
            Who::Anyone | Who::Operator | Who::OperatorOnly => {
                (self.spec.answer)(&self.arguments, snapshot)
            }
        }
    }
}

/// Every statement, in the order in which users are shown them.
pub fn specs() -> impl Iterator<Item = &'static Spec> {
    FAMILIES.iter().copied().flatten()
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod real_life;
#[cfg(test)]
mod tests;
