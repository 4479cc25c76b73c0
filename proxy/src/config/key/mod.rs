//! Every key of the configuration: what it means, what it may be, what it is now. The file's reader, the command line, README's table and
//! `SHOW PROXYCONFIG` must agree with this list; tests compare them.

mod entry;
mod list;

pub use entry::{Entry, entries};
pub use list::KEYS;

use super::{CLUSTER_DEFAULT, Overrides, Settings};

/// One key that holds a single value.
#[derive(Debug)]
pub struct Key {
    /// Its name; a dot stands between a table's name and a key in it.
    pub name: &'static str,
    /// The flag of `sluice run` that wins over it.
    pub flag: Option<&'static str>,
    /// Its value where neither file nor command line names one, as [`Key::value`] writes it.
    pub default: &'static str,
    /// What it may be.
    pub range: &'static str,
    /// What it means, in one sentence for users.
    pub help: &'static str,
    /// What a change of it takes.
    pub change: Change,
    value: fn(&Settings) -> String,
    is_given: fn(&Overrides) -> bool,
}

/// What it takes to change a key.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// It holds from now on.
    Live {
        /// Takes over the key's value from other settings.
        take: fn(&mut Settings, &Settings),
        /// For what it holds, where that is not everything at once.
        holds_for: Option<&'static str>,
    },
    /// The daemon must be started anew.
    Restart,
}

impl Key {
    /// The key of this name. Tables may be written with `_` too, as in the flag: `log_level`.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter()
            .find(|key| key.name == name || key.name.replace('.', "_") == name)
    }

    /// Its value in these settings.
    pub fn value(&self, settings: &Settings) -> String {
        (self.value)(settings)
    }

    /// Whether these settings hold its default.
    pub fn is_default(&self, settings: &Settings) -> bool {
        let value = self.value(settings);
        if self.name == "default_cluster" {
            let first = settings.clusters.first();
            return value == first.map_or(CLUSTER_DEFAULT, |cluster| cluster.name.as_str());
        }
        value == self.default
    }

    /// Whether the file may hold it as a number.
    pub fn is_number(&self) -> bool {
        self.range.starts_with('[') && self.range != list::TIMES && self.range != list::PATIENCE
    }

    /// Whether its value is a secret, which no statement may carry: clients keep statements in their histories.
    pub fn is_secret(&self) -> bool {
        self.name == "admin.password"
    }

    /// Whether the command line gives it, which then wins over the file.
    pub fn is_given(&self, line: &Overrides) -> bool {
        (self.is_given)(line)
    }
}

#[cfg(test)]
mod tests;
