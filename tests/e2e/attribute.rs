//! What `SHOW PROXYSESSION ATTRIBUTE` says of how a session's bytes move.

use anyhow::{Context as _, Result, bail};
use sluice_tests::wire::Connection;
use std::collections::BTreeMap;

/// The rows of kind `splice`.
#[derive(Debug, Clone)]
pub(crate) struct Splice(BTreeMap<String, String>);

/// The connection's own.
pub(crate) fn splice(connection: &mut Connection) -> Result<Splice> {
    let table = connection.run("SHOW PROXYSESSION ATTRIBUTE")?.table()?;
    let mut rows = BTreeMap::new();
    for row in table {
        let texts: Vec<_> = row
            .into_iter()
            .map(|cell| String::from_utf8(cell.unwrap_or_default()))
            .collect::<Result<_, _>>()?;
        let [name, value, info] = texts.as_slice() else {
            bail!("not three columns: {texts:?}")
        };
        if info == "splice" {
            rows.insert(name.clone(), value.clone());
        }
    }
    Ok(Splice(rows))
}

impl Splice {
    pub(crate) fn text(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("no {name} in {:?}", self.0))
    }

    pub(crate) fn number(&self, name: &str) -> Result<u64> {
        self.text(name)?
            .parse()
            .with_context(|| format!("{name} in {:?}", self.0))
    }

    /// By how much a counter has grown since `earlier`.
    pub(crate) fn grown(&self, earlier: &Self, name: &str) -> Result<u64> {
        let (before, after) = (earlier.number(name)?, self.number(name)?);
        after
            .checked_sub(before)
            .with_context(|| format!("{name} went from {before} to {after}"))
    }
}
