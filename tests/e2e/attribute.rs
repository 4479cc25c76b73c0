//! What `SHOW PROXYSESSION ATTRIBUTE` says of how a session's bytes move.

use anyhow::{Context as _, Result, bail};
use sluice_tests::{path::Path, wait, wire::Connection};
use std::{collections::BTreeMap, time::Duration};

/// The rows of kind `splice`.
#[derive(Debug, Clone)]
pub(crate) struct Splice {
    rows: BTreeMap<String, String>,
    /// The length of the answer that held them. The proxy writes it itself, so it counts as relayed from the next look on.
    pub(crate) answer_bytes: u64,
}

/// The connection's own.
pub(crate) fn splice(connection: &mut Connection) -> Result<Splice> {
    read(connection, "SHOW PROXYSESSION ATTRIBUTE")
}

/// Another session's, for who may see it.
pub(crate) fn splice_of(connection: &mut Connection, cs_id: u32) -> Result<Splice> {
    read(connection, &format!("SHOW PROXYSESSION ATTRIBUTE {cs_id}"))
}

/// Waits until the wire splices what the session asks: of ten commands all but one. Where the network has changed below it, or is busy, segments come again
/// first, and those are the daemon's.
pub(crate) fn until_on_the_wire(session: &mut Connection, when: &str) -> Result<()> {
    let is_spliced = || {
        session.run("SELECT 1").context(when.to_owned())?;
        let before = splice(session)?;
        assert_eq!(before.text("path")?, Path::Wire.shown(), "{before:?}");
        for round in 0..10 {
            let number = round.to_string();
            assert_eq!(session.run(&format!("SELECT {round}"))?.text()?, number);
        }
        Ok(splice(session)?.grown(&before, "spliced_commands")? >= 9)
    };
    let what = format!("{when}: what is asked is spliced");
    wait::until_true(&what, Duration::from_mins(1), is_spliced)
}

fn read(connection: &mut Connection, statement: &str) -> Result<Splice> {
    let answer = connection.run(statement)?;
    let mut rows = BTreeMap::new();
    for row in answer.table()? {
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
    Ok(Splice {
        rows,
        answer_bytes: u64::try_from(answer.wire_bytes())?,
    })
}

impl Splice {
    pub(crate) fn text(&self, name: &str) -> Result<&str> {
        self.rows
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("no {name} in {:?}", self.rows))
    }

    pub(crate) fn number(&self, name: &str) -> Result<u64> {
        self.text(name)?
            .parse()
            .with_context(|| format!("{name} in {:?}", self.rows))
    }

    /// How many commands the kernel has handed up since `earlier`, for whatever reason but the network's, and but for statements that it
    /// always hands up, as the look itself is.
    pub(crate) fn trapped(&self, earlier: &Self) -> Result<u64> {
        let traps = self.rows.keys().filter(|name| {
            name.starts_with("trap: ")
                && !["trap: statement verb", "trap: missing segment"].contains(&name.as_str())
        });
        traps
            .map(|name| Ok(self.number(name)? - earlier.number(name).unwrap_or_default()))
            .sum()
    }

    /// By how much a counter has grown since `earlier`.
    pub(crate) fn grown(&self, earlier: &Self, name: &str) -> Result<u64> {
        let (before, after) = (earlier.number(name)?, self.number(name)?);
        after
            .checked_sub(before)
            .with_context(|| format!("{name} went from {before} to {after}"))
    }
}
