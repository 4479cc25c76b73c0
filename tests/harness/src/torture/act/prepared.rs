//! Prepared statements: long data, and closes that are pipelined with executions.

use crate::{
    torture::{
        client::{Client, equal},
        operation::{Close, Parameter},
        text,
    },
    wire::{Prepared, Response, command as payload, frame},
};
use anyhow::{Context as _, Result};

/// `SELECT ?`, of one parameter.
const ECHO: &str = "SELECT ?";

impl Client<'_> {
    pub(in crate::torture) fn prepared(
        &mut self,
        executions: &[Vec<Parameter>],
        close: Close,
    ) -> Result<()> {
        let count = executions.first().map_or(1, Vec::len);
        let sql = format!("SELECT {}", vec!["?"; count].join(", "));
        let statement = self.connection()?.prepare(&sql)?;
        equal(
            "the number of parameters",
            &usize::from(statement.parameters),
            &count,
        )?;
        let shut = frame(&payload::close(statement.id), 0).0;
        for (at, parameters) in executions.iter().enumerate() {
            let is_last = at + 1 == executions.len();
            let mut bytes = Vec::new();
            let values = long_data(&statement, parameters, &mut bytes);
            // By number, executions of one operation differ in how they are written.
            if at % 2 == 1 {
                self.connection()?.send_raw(&bytes)?;
                bytes.clear();
            }
            let (execution, next) = frame(&execution(&statement, parameters, &values), 0);
            bytes.extend(execution);
            if is_last && close == Close::Behind {
                bytes.extend(&shut);
            }
            let connection = self.connection()?;
            connection.send_raw(&bytes)?;
            connection.expect_answer(next);
            let answer = connection.read_response(&[])?;
            check(&answer, &values)?;
            self.compared(values.iter().map(Vec::len).sum());
        }
        match close {
            Close::Behind => Ok(()),
            Close::After => self.connection()?.send_raw(&shut),
            Close::BeforeNext => self.close_and_execute(&shut),
        }
    }

    /// Closes one statement in one write with the execution of another.
    fn close_and_execute(&mut self, shut: &[u8]) -> Result<()> {
        let statement = self.echo_statement()?;
        let value = b"behind a close".to_vec();
        let execution = payload::execute(statement.id, 0, &[Some(&value)]);
        let (execution, next) = frame(&execution, 0);
        let connection = self.connection()?;
        connection.send_raw(&[shut, &execution].concat())?;
        connection.expect_answer(next);
        check(&connection.read_response(&[])?, &[value])
    }

    /// The session's own `SELECT ?`.
    pub(in crate::torture) fn echo_statement(&mut self) -> Result<Prepared> {
        let session = self.session()?;
        if session.echo.is_none() {
            session.echo = Some(session.connection.prepare(ECHO)?);
        }
        session.echo.clone().context("no statement")
    }
}

/// Appends the commands that send parameters ahead; returns all values.
fn long_data(statement: &Prepared, parameters: &[Parameter], bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    for (at, parameter) in (0..).zip(parameters) {
        let value = parameter.text.letters();
        if let Some(size) = value.len().checked_div(parameter.pieces) {
            for piece in value.chunks(size.max(1)) {
                let data = payload::long_data(statement.id, at, piece);
                bytes.extend(frame(&data, 0).0);
            }
        }
        values.push(value);
    }
    values
}

fn execution(statement: &Prepared, parameters: &[Parameter], values: &[Vec<u8>]) -> Vec<u8> {
    let values: Vec<_> = parameters
        .iter()
        .zip(values)
        // Of a text of no bytes no piece was sent.
        .map(|(parameter, value)| {
            (parameter.pieces == 0 || value.is_empty()).then_some(value.as_slice())
        })
        .collect();
    payload::execute(statement.id, 0, &values)
}

/// Checks the answer to `SELECT ?, …`.
pub(super) fn check(answer: &Response, values: &[Vec<u8>]) -> Result<()> {
    answer.outcome.ok()?;
    let rows = answer.rows.first().context("no rows")?;
    let row = answer.packets.get(rows.start).context("no row")?;
    let cells = text::binary_cells(row, values.len())?;
    for (cell, value) in cells.iter().zip(values) {
        text::same("a parameter", cell, value)?;
    }
    equal("the number of cells", &cells.len(), &values.len())
}
