//! Many commands in one go, and many statements in one command.

use super::{prepared, write};
use crate::{
    torture::{
        client::{Client, equal, expect},
        operation::{Manner, Part},
        text,
    },
    wait,
    wire::{Connection, Response, command as payload, frame},
};
use anyhow::{Context as _, Result};
use std::{net::Shutdown, thread};

/// The error of [`Part::Fail`].
const FAIL: (&str, u16) = ("SELECT no_such_column", 1054);

/// A part as SQL, if it is SQL.
fn sql(part: Part) -> Vec<u8> {
    match part {
        Part::Echo(text) => [b"SELECT '", &text.letters()[..], b"'"].concat(),
        Part::Set(value) => format!("SET @p = {value}").into_bytes(),
        Part::Look => b"SELECT @p".to_vec(),
        Part::Nothing | Part::Execute(_) => b"DO 1".to_vec(),
        Part::Rows(rows, width) => text::rows_sql(rows, width, None).into_bytes(),
        Part::Fail => FAIL.0.as_bytes().to_vec(),
    }
}

/// Whether a part's answer is a result set.
fn has_rows(part: Part) -> bool {
    !matches!(part, Part::Set(_) | Part::Nothing | Part::Fail)
}

/// Checks a result set of a part: result set `index` of the answer.
fn check_rows(part: Part, piped: Option<u64>, answer: &Response, index: usize) -> Result<usize> {
    let range = answer.rows.get(index).context("a result set is missing")?;
    let rows = answer.packets.get(range.clone()).context("no rows")?;
    let wanted: Vec<Vec<u8>> = match part {
        Part::Echo(text) => vec![cell(Some(&text.letters()))],
        Part::Look => vec![cell(
            piped
                .map(|value| value.to_string())
                .as_deref()
                .map(str::as_bytes),
        )],
        Part::Rows(rows, width) => (1..=rows)
            .map(|row| text::row(row, width, false, false))
            .collect(),
        _ => Vec::new(),
    };
    equal("the number of rows", &rows.len(), &wanted.len())?;
    for (row, wanted) in rows.iter().zip(&wanted) {
        text::same("a part's row", row, wanted)?;
    }
    Ok(wanted.iter().map(Vec::len).sum())
}

/// A text row of one cell.
fn cell(value: Option<&[u8]>) -> Vec<u8> {
    let mut row = Vec::new();
    match value {
        Some(value) => crate::wire::put_string(&mut row, value),
        None => row.push(0xFB),
    }
    row
}

impl Client<'_> {
    pub(in crate::torture) fn pipeline(&mut self, parts: &[Part], manner: &Manner) -> Result<()> {
        let has_execute = parts.iter().any(|part| matches!(part, Part::Execute(_)));
        let statement = if has_execute {
            self.echo_statement()?.id
        } else {
            0
        };
        let commands = parts.iter().map(|part| match part {
            Part::Execute(text) => payload::execute(statement, 0, &[Some(&text.letters())]),
            part => payload::query(&sql(*part)),
        });
        let bytes: Vec<u8> = commands.flat_map(|command| frame(&command, 0).0).collect();
        let piped = self.session()?.piped;
        let connection = self.connection()?;
        // A client that sends more than the sockets hold before it reads would wait for itself.
        let read = at_once(connection, &bytes, manner, |connection| {
            answers(connection, parts, piped)
        })?;
        let (piped, bytes) = read;
        self.session()?.piped = piped;
        self.compared(bytes);
        Ok(())
    }

    pub(in crate::torture) fn multi(&mut self, parts: &[Part], manner: &Manner) -> Result<()> {
        let texts: Vec<_> = parts.iter().map(|part| sql(*part)).collect();
        let text = texts.join(&b"; "[..]);
        let answer = super::command(self.connection()?, &payload::query(&text), manner)?;
        let fails = parts.iter().any(|part| matches!(part, Part::Fail));
        expect(&answer.outcome, if fails { FAIL.1 } else { 0 })?;
        let mut piped = self.session()?.piped;
        let (mut index, mut bytes) = (0, 0);
        for part in parts {
            if has_rows(*part) && !matches!(part, Part::Execute(_)) {
                bytes += check_rows(*part, piped, &answer, index)?;
                index += 1;
            }
            match part {
                Part::Set(value) => piped = Some(*value),
                Part::Fail => break,
                _ => {}
            }
        }
        equal("the number of result sets", &answer.rows.len(), &index)?;
        self.session()?.piped = piped;
        self.compared(bytes);
        Ok(())
    }
}

/// Writes on a thread of its own what is read here.
fn at_once<T>(
    connection: &mut Connection,
    bytes: &[u8],
    manner: &Manner,
    read: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    let mut stream = connection.stream().try_clone()?;
    thread::scope(|scope| {
        let writing = scope.spawn(move || write_stream(&mut stream, bytes, manner));
        wait::throughout(manner.stall, || Ok(()))?;
        connection.set_pace(manner.pace);
        let answers = read(connection);
        connection.set_pace(None);
        if answers.is_err() {
            // The writer must not wait for a reader that has given up.
            drop(connection.stream().shutdown(Shutdown::Both));
        }
        let written = wait::joined(writing.join(), "the writer")?;
        let answers = answers?;
        written?;
        Ok(answers)
    })
}

fn write_stream(stream: &mut std::net::TcpStream, bytes: &[u8], manner: &Manner) -> Result<()> {
    write(
        &mut |piece: &[u8]| Ok(std::io::Write::write_all(stream, piece)?),
        bytes,
        manner,
    )
}

/// Reads the answers to pipelined parts; returns `@p` and the number of bytes compared.
fn answers(
    connection: &mut Connection,
    parts: &[Part],
    mut piped: Option<u64>,
) -> Result<(Option<u64>, usize)> {
    let mut bytes = 0;
    for (at, part) in parts.iter().enumerate() {
        connection.expect_answer(1);
        let answer = connection.read_response(&[])?;
        let checked = match part {
            Part::Set(value) => {
                piped = Some(*value);
                answer.outcome.ok()
            }
            Part::Nothing => answer.outcome.ok(),
            Part::Fail => expect(&answer.outcome, FAIL.1),
            Part::Execute(text) => prepared::check(&answer, &[text.letters()]),
            part => answer
                .outcome
                .ok()
                .and_then(|()| check_rows(*part, piped, &answer, 0))
                .map(|read| bytes += read),
        };
        checked.with_context(|| format!("part {at} of the pipeline"))?;
    }
    Ok((piped, bytes))
}
