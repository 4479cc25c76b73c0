//! A table of one's own: what is written is what is read, and what was rolled back is not there.

use crate::{
    torture::{
        client::{Client, equal},
        operation::{End, Text},
        text,
        verdict::Behind,
    },
    wire::command as payload,
};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// More rows than this and the next change empties the table.
const ROWS_MAX: usize = 60;

impl Client<'_> {
    fn table_name(&self) -> String {
        format!("torture.t{}_{}", self.number, self.table.generation)
    }

    /// After a loss in the middle of a change: the table is as before it or as after it. It is not used again, as the node may still be at it.
    pub(in crate::torture) fn settle(&mut self) -> Result<()> {
        let Some(after) = self.table.doubt.clone() else {
            return Ok(());
        };
        let sql = format!(
            "SELECT id, CRC32(body) FROM {} ORDER BY id",
            self.table_name()
        );
        let found = self.connection()?.run(&sql)?.texts()?;
        let is = |rows: &BTreeMap<u32, Text>| found == listed(rows);
        ensure!(
            is(&self.table.rows) || is(&after),
            "after a loss the table is neither as before nor as after the change: {found:?}"
        );
        self.table.generation += 1;
        self.table.rows.clear();
        self.table.doubt = None;
        self.table.exists = false;
        Ok(())
    }

    /// Makes the table if there is none, and empties it if it is full.
    fn usable(&mut self) -> Result<()> {
        if !self.table.exists {
            let sql = format!(
                "CREATE OR REPLACE TABLE {} (id INT PRIMARY KEY, body LONGTEXT NOT NULL)",
                self.table_name()
            );
            self.connection()?.run(&sql)?;
            self.table.exists = true;
        }
        if self.table.rows.len() > ROWS_MAX {
            self.empty()?;
        }
        Ok(())
    }

    fn insert_one(&mut self, text: Text) -> Result<u32> {
        let id = self.table.next;
        self.table.next += 1;
        let name = self.table_name();
        let mut sql = format!("INSERT INTO {name} VALUES ({id}, '").into_bytes();
        sql.extend(text.letters());
        sql.extend(b"')");
        let answer = self.connection()?.command(&payload::query(&sql))?;
        answer.outcome.ok()?;
        Ok(id)
    }

    pub(in crate::torture) fn insert(&mut self, text: Text) -> Result<()> {
        self.usable()?;
        let mut after = self.table.rows.clone();
        after.insert(self.table.next, text);
        self.table.doubt = Some(after);
        let id = self.insert_one(text)?;
        self.done();
        self.look_at_row(id, text)
    }

    /// The change under way is done.
    fn done(&mut self) {
        if let Some(rows) = self.table.doubt.take() {
            self.table.rows = rows;
        }
    }

    fn look_at_row(&mut self, id: u32, text: Text) -> Result<()> {
        let sql = format!("SELECT body FROM {} WHERE id = {id}", self.table_name());
        let rows = self.connection()?.query(&sql)?;
        rows.outcome.ok()?;
        let same = rows
            .cell()
            .and_then(|body| text::same("the row", &body, &text.letters()));
        same.map_err(|error| self.is_behind(error))?;
        self.compared(text.bytes);
        Ok(())
    }

    /// Of an error about what was written, or where: that it may be the replica's, if the session's reads and writes may go there.
    pub(super) fn is_behind(&self, error: anyhow::Error) -> anyhow::Error {
        if self.splits {
            error.context(Behind)
        } else {
            error
        }
    }

    pub(in crate::torture) fn read_back(&mut self, number: usize) -> Result<()> {
        let rows = &self.table.rows;
        let at = number.checked_rem(rows.len()).unwrap_or(0);
        match rows.iter().nth(at).map(|(id, text)| (*id, *text)) {
            Some((id, text)) => self.look_at_row(id, text),
            None => Ok(()),
        }
    }

    pub(in crate::torture) fn check_table(&mut self) -> Result<()> {
        self.usable()?;
        let sql = format!(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0), COALESCE(SUM(CRC32(body)), 0) FROM {}",
            self.table_name()
        );
        let found = self.connection()?.run(&sql)?.texts()?;
        let rows = self.table.rows.values();
        let bytes: usize = rows.clone().map(|text| text.bytes).sum();
        let sum: u64 = rows.map(|text| text::crc32(&text.letters())).sum();
        let count = self.table.rows.len();
        let wanted = [count.to_string(), bytes.to_string(), sum.to_string()];
        equal("the table", &found, &vec![wanted.map(Some).to_vec()])
            .map_err(|error| self.is_behind(error))
    }

    pub(in crate::torture) fn empty(&mut self) -> Result<()> {
        if !self.table.exists {
            return Ok(());
        }
        self.table.doubt = Some(BTreeMap::new());
        let sql = format!("DELETE FROM {}", self.table_name());
        self.connection()?.run(&sql)?;
        self.done();
        Ok(())
    }

    pub(in crate::torture) fn transaction(&mut self, texts: &[Text], end: End) -> Result<()> {
        self.usable()?;
        let mut after = self.table.rows.clone();
        if end == End::Commit {
            after.extend((self.table.next..).zip(texts.iter().copied()));
        }
        self.table.doubt = Some(after);
        self.connection()?.run("BEGIN")?;
        for text in texts {
            let id = self.insert_one(*text)?;
            self.look_at_row(id, *text)?;
        }
        let sql = match end {
            End::Commit => "COMMIT",
            End::Rollback => "ROLLBACK",
        };
        self.connection()?.run(sql)?;
        self.done();
        self.check_table()
    }

    pub(in crate::torture) fn infile(&mut self, lines: usize, seed: u64) -> Result<()> {
        let name = format!("torture.l{}", self.number);
        let (file, sum) = text::lines(lines, seed);
        let connection = self.connection()?;
        let make = format!("CREATE TEMPORARY TABLE {name} (line TEXT NOT NULL)");
        connection.run(&make)?;
        let load = format!("LOAD DATA LOCAL INFILE 'lines' INTO TABLE {name}");
        connection.send_command(&payload::query(load.as_bytes()))?;
        let answer = connection.read_response(&file)?;
        answer.outcome.ok()?;
        let asked = answer.packets.first().context("no answer")?;
        text::same("the request for the file", asked, b"\xFBlines")?;
        let look = format!("SELECT COUNT(*), COALESCE(SUM(CRC32(line)), 0) FROM {name}");
        let found = connection.run(&look)?.texts()?;
        let wanted = [lines.to_string(), sum.to_string()].map(Some).to_vec();
        connection.run(&format!("DROP TEMPORARY TABLE {name}"))?;
        self.compared(file.len());
        equal("the loaded lines", &found, &vec![wanted])
    }
}

/// Rows as [`Client::settle`] reads them.
fn listed(rows: &BTreeMap<u32, Text>) -> Vec<Vec<Option<String>>> {
    let row = |(id, text): (&u32, &Text)| {
        let sum = text::crc32(&text.letters());
        vec![Some(id.to_string()), Some(sum.to_string())]
    };
    rows.iter().map(row).collect()
}
