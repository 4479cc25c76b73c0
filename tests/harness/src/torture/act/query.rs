//! Texts that come back, generated results, and answers that are as the node's own.

use super::{command, in_manner};
use crate::{
    torture::{
        client::{Client, equal, expect},
        operation::{Manner, Text},
        statements, text, verdict,
    },
    wire::{Response, command as payload},
};
use anyhow::{Context as _, Result, ensure};

/// The command without the text.
const ECHO: usize = "\x03SELECT ''".len();

impl Client<'_> {
    pub(in crate::torture) fn echo(&mut self, text: Text, manner: &Manner) -> Result<()> {
        let value = Text {
            bytes: text.bytes.saturating_sub(ECHO),
            ..text
        }
        .letters();
        let sql = [b"SELECT '", &value[..], b"'"].concat();
        let answer = command(self.connection()?, &payload::query(&sql), manner)?;
        text::same("the text", &answer.cell()?, &value)?;
        self.compared(value.len());
        Ok(())
    }

    pub(in crate::torture) fn grow(
        &mut self,
        period: Text,
        bytes: usize,
        manner: &Manner,
    ) -> Result<()> {
        let piece = Text {
            bytes: period.bytes.max(1),
            ..period
        }
        .letters();
        let count = bytes.div_ceil(piece.len());
        let text = format!("'{}'", String::from_utf8(piece.clone())?);
        let sql = format!(
            "SELECT LEFT({}, {bytes})",
            text::repeated_at_least(&text, count)
        );
        let answer = command(self.connection()?, &payload::query(sql.as_bytes()), manner)?;
        let mut wanted = piece.repeat(count);
        wanted.truncate(bytes);
        text::same("the repeated text", &answer.cell()?, &wanted)?;
        self.compared(bytes);
        Ok(())
    }

    pub(in crate::torture) fn rows(
        &mut self,
        rows: usize,
        width: usize,
        binary: bool,
        error_at: Option<usize>,
        manner: &Manner,
    ) -> Result<()> {
        let sql = text::rows_sql(rows, width, error_at);
        let statement = if binary {
            Some(self.connection()?.prepare(&sql)?)
        } else {
            None
        };
        let payload = match &statement {
            Some(statement) => payload::execute(statement.id, 0, &[]),
            None => payload::query(sql.as_bytes()),
        };
        let (mut number, mut bytes) = (0, 0);
        let outcome = in_manner(self.connection()?, &payload, manner, |connection| {
            connection.read_each_row(|row| {
                number += 1;
                bytes += row.len();
                let wanted = text::row(number, width, binary, error_at.is_some());
                text::same(&format!("row {number}"), row, &wanted)
            })
        })?;
        if let Some(at) = error_at {
            expect(&outcome, 1242)?;
            ensure!(number < at, "{number} rows before row {at}, which fails");
        } else {
            outcome.ok()?;
            equal("the number of rows", &number, &rows)?;
        }
        if let Some(statement) = statement {
            let close = payload::close(statement.id);
            self.connection()?.send_command(&close)?;
        }
        self.compared(bytes);
        Ok(())
    }

    pub(in crate::torture) fn tiny(&mut self, number: usize) -> Result<()> {
        let payload = statements::tiny(number);
        let ours = self.connection()?.command(payload)?;
        let theirs = self.direct()?.command(payload)?;
        end_alike(&ours, &theirs)?;
        equal("the answer", &ours, &theirs)
    }

    pub(in crate::torture) fn compare(&mut self, number: usize) -> Result<()> {
        let sql = statements::compared(number);
        let ours = self.connection()?.query(sql)?;
        let theirs = self.direct()?.query(sql)?;
        end_alike(&ours, &theirs)?;
        if ours != theirs {
            for (at, (ours, theirs)) in ours.packets.iter().zip(&theirs.packets).enumerate() {
                text::same(&format!("packet {at} of {sql}"), ours, theirs)?;
            }
            equal(
                "the number of packets",
                &ours.packets.len(),
                &theirs.packets.len(),
            )?;
        }
        self.compared(ours.wire_bytes());
        Ok(())
    }

    pub(in crate::torture) fn fail(&mut self, number: usize) -> Result<()> {
        let (sql, code) = statements::failing(number);
        let outcome = self.connection()?.query(sql)?.outcome;
        expect(&outcome, code).context(sql)
    }

    pub(in crate::torture) fn ask(&mut self, number: usize) -> Result<()> {
        let sql = statements::asked(number);
        let connection = self.connection()?;
        let own = connection.greeting().thread_id.to_string();
        let rows = connection.run(sql)?.texts()?;
        let has_own = rows.iter().flatten().flatten().any(|cell| *cell == own);
        ensure!(has_own, "{sql} does not tell of session {own}: {rows:?}");
        Ok(())
    }
}

/// Fails if one of two answers that should be the same has ended with an error that tells of an end, and the other has not.
fn end_alike(ours: &Response, theirs: &Response) -> Result<()> {
    if ours.outcome.code() != theirs.outcome.code() {
        for outcome in [&ours.outcome, &theirs.outcome] {
            if verdict::tells_of_an_end(outcome) {
                outcome.ok()?;
            }
        }
    }
    Ok(())
}
