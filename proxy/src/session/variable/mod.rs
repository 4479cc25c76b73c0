//! The variables that a session has changed (odp.md, section 4): names from statements that succeeded, values from the server alone.

pub mod defaults;
pub mod question;

use super::Versions;
use crate::sql::assigned::{Assigned, is_same_name};

/// The most variables that are kept for a session.
const NAMES_MAX: usize = 1_000;
/// The most bytes of values that are kept for a session.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The most names that the server did not know and that are not asked for again.
const UNREADABLE_MAX: usize = 64;
/// System variables that change so often that they have a version of their own.
const HOT: [&str; 4] = [
    AUTOCOMMIT,
    "ob_log_level",
    "ob_query_timeout",
    "ob_last_schema_version",
];
/// Its value is known from every response's status flags.
pub const AUTOCOMMIT: &str = "autocommit";

/// What kind of variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `@@name`.
    System,
    /// `@name`.
    User,
}

/// How often a variable is expected to change, in the words of `SHOW PROXYSESSION VARIABLES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// All other variables.
    Cold,
    /// A few system variables.
    Hot,
    /// `last_insert_id`.
    LastInsertId,
}

impl Class {
    /// The class of a system variable.
    pub fn of_system(name: &str) -> Self {
        if HOT.contains(&name) {
            Self::Hot
        } else if matches!(name, "last_insert_id" | "identity") {
            Self::LastInsertId
        } else {
            Self::Cold
        }
    }

    /// The text that users see.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Cold => "cold modified vars",
            Self::Hot => "hot modified vars",
            Self::LastInsertId => "last insert id modified vars",
        }
    }
}

/// A value as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// The server has not been asked yet.
    Unread,
    /// As a literal of SQL.
    Literal(String),
    /// A user variable's.
    User {
        /// As a literal that shows it.
        shown: String,
        /// As an expression of the same type, character set and collation.
        exact: String,
    },
    /// Longer than is kept.
    Long,
}

/// Whether a value is still what the server has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Freshness {
    /// Nothing since has changed it.
    Read,
    /// A statement may have changed it.
    Stale,
    /// It may be stale, or the server would not say: it is asked when somebody wants to know.
    Deferred,
}

/// A changed variable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    /// Its name: a system variable's in small letters, a user variable's as first written.
    pub name: String,
    /// Its last known value.
    pub value: Value,
    freshness: Freshness,
}

impl Variable {
    /// Whether its value is surely the server's.
    pub fn is_read(&self) -> bool {
        self.freshness == Freshness::Read
    }
}

/// All changed variables of one session. Bounded in number and size.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Variables {
    /// In the order of their first change; places of variables that are gone are used again.
    system: Vec<Option<Variable>>,
    user: Vec<Option<Variable>>,
    /// Names that the server did not give a value for.
    unreadable: Vec<String>,
    /// How many are [`Freshness::Stale`].
    stale: usize,
    /// Names that were not kept because there were too many.
    pub not_kept: u64,
    /// Statements that may have changed variables which no text shows.
    pub unclear: u64,
}

impl Variables {
    /// The changed system variables, in the order of their first change.
    pub fn system(&self) -> impl Iterator<Item = &Variable> {
        self.system.iter().flatten()
    }

    /// The user variables, in the order in which they were made.
    pub fn user(&self) -> impl Iterator<Item = &Variable> {
        self.user.iter().flatten()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.system().chain(self.user()).next().is_none()
    }

    /// Whether the server has to be asked.
    pub const fn is_stale(&self) -> bool {
        self.stale > 0
    }

    /// How many have to be asked for: as long as there are any, the session is relayed.
    pub const fn stale_count(&self) -> usize {
        self.stale
    }

    /// Up to `count` names to ask for; `all`: also those that the server did not tell the last time.
    pub fn stale(&self, count: usize, all: bool) -> Vec<(Kind, String)> {
        let wanted = |variable: &&Variable| match variable.freshness {
            Freshness::Stale => true,
            Freshness::Deferred => all,
            Freshness::Read => false,
        };
        let name = |kind| move |variable: &Variable| (kind, variable.name.clone());
        let system = self.system().filter(wanted).map(name(Kind::System));
        let user = self.user().filter(wanted).map(name(Kind::User));
        system.chain(user).take(count).collect()
    }

    /// A text has succeeded that may have changed these. Returns by how much each class's version rises: 0 or 1.
    pub fn change(&mut self, assigned: &Assigned) -> Versions {
        let mut changed = Versions::default();
        for name in &assigned.system {
            if self.unreadable.contains(name) {
                continue;
            }
            match Class::of_system(name) {
                Class::Hot => changed.hot_sys_var = 1,
                Class::Cold => changed.sys_var = 1,
                Class::LastInsertId => changed.last_insert_id = 1,
            }
            self.touch(Kind::System, name);
        }
        for name in &assigned.user {
            changed.user_var = 1;
            self.touch(Kind::User, name);
        }
        if assigned.unclear {
            self.unclear += 1;
            self.defer();
        }
        changed
    }

    /// A text has failed that would have changed these: it may have come half the way.
    pub fn fail(&mut self, assigned: &Assigned) {
        if assigned.unclear {
            self.defer();
        }
        let Assigned { system, user, .. } = assigned;
        self.doubt(|variable| {
            system.contains(&variable.name)
                || user.iter().any(|name| is_same_name(name, &variable.name))
        });
    }

    /// The values of any variables may be others: they are asked for when somebody wants to know, not after each such statement.
    fn defer(&mut self) {
        for variable in self.system.iter_mut().chain(&mut self.user).flatten() {
            if variable.freshness == Freshness::Read {
                variable.freshness = Freshness::Deferred;
            }
        }
    }

    /// The values of known variables may be others.
    fn doubt(&mut self, which: impl Fn(&Variable) -> bool) {
        let variables = self.system.iter_mut().chain(&mut self.user).flatten();
        for variable in variables.filter(|variable| which(variable)) {
            variable.freshness = Freshness::Stale;
        }
        self.count();
    }

    /// The server has told a value.
    pub fn read(&mut self, kind: Kind, name: &str, value: Value) {
        let size = |value: &Value| match value {
            Value::Literal(text) => text.len(),
            Value::User { shown, exact } => shown.len() + exact.len(),
            Value::Unread | Value::Long => 0,
        };
        let others = self.system().chain(self.user());
        let kept: usize = others
            .filter(|variable| variable.name != name)
            .map(|variable| size(&variable.value))
            .sum();
        let value = if kept + size(&value) > VALUE_BYTES_MAX {
            Value::Long
        } else {
            value
        };
        if let Some(variable) = self.find(kind, name) {
            variable.value = value;
            variable.freshness = Freshness::Read;
        }
        self.count();
    }

    /// The server would not tell a value: `for_good`, as there is no such variable, or only now.
    pub fn not_read(&mut self, kind: Kind, name: &str, for_good: bool) {
        if !for_good {
            if let Some(variable) = self.find(kind, name) {
                variable.freshness = Freshness::Deferred;
            }
        } else if let Some(place) = self
            .list(kind)
            .iter_mut()
            .find(|place| place.as_ref().is_some_and(|known| known.name == name))
        {
            *place = None;
            if kind == Kind::System && self.unreadable.len() < UNREADABLE_MAX {
                self.unreadable.push(name.to_owned());
            }
        }
        self.count();
    }

    /// A variable as it is known.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Variable> {
        let list = match kind {
            Kind::System => &self.system,
            Kind::User => &self.user,
        };
        list.iter()
            .flatten()
            .find(|variable| is_same_name(&variable.name, name))
    }

    /// Enters a variable, or makes it stale.
    fn touch(&mut self, kind: Kind, name: &str) {
        if let Some(variable) = self.find(kind, name) {
            variable.freshness = Freshness::Stale;
        } else if self.system().chain(self.user()).count() >= NAMES_MAX {
            self.not_kept += 1;
        } else {
            let variable = Some(Variable {
                name: name.to_owned(),
                value: Value::Unread,
                freshness: Freshness::Stale,
            });
            let list = self.list(kind);
            match list.iter_mut().find(|place| place.is_none()) {
                Some(free) => *free = variable,
                None => list.push(variable),
            }
        }
        self.count();
    }

    fn list(&mut self, kind: Kind) -> &mut Vec<Option<Variable>> {
        match kind {
            Kind::System => &mut self.system,
            Kind::User => &mut self.user,
        }
    }

    fn find(&mut self, kind: Kind, name: &str) -> Option<&mut Variable> {
        self.list(kind)
            .iter_mut()
            .flatten()
            .find(|variable| is_same_name(&variable.name, name))
    }

    fn count(&mut self) {
        let variables = self.system().chain(self.user());
        self.stale = variables
            .filter(|variable| variable.freshness == Freshness::Stale)
            .count();
    }
}

#[cfg(test)]
mod tests;
