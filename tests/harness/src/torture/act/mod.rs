//! How operations are carried out and checked, a file for each subject.

mod kill;
mod leave;
mod parts;
mod prepared;
mod query;
mod session;
mod table;
mod turns;

use super::operation::Manner;
use crate::{
    wait,
    wire::{Connection, Response, frame},
};
use anyhow::Result;

/// Writes bytes in the pieces that the manner says.
fn write(send: &mut dyn FnMut(&[u8]) -> Result<()>, bytes: &[u8], manner: &Manner) -> Result<()> {
    let mut rest = bytes;
    let mut done = 0;
    for cut in &manner.cuts {
        let at = (bytes.len() / 1000 * cut + bytes.len() % 1000 * cut / 1000).max(done);
        let (piece, tail) = rest.split_at_checked(at - done).unwrap_or((rest, &[]));
        send(piece)?;
        wait::throughout(manner.pause, || Ok(()))?;
        rest = tail;
        done = at;
    }
    send(rest)
}

/// Sends a command and reads its answer, in the manner that was drawn.
fn command(connection: &mut Connection, payload: &[u8], manner: &Manner) -> Result<Response> {
    in_manner(connection, payload, manner, |connection| {
        connection.read_response(&[])
    })
}

/// Sends a command and has its answer read, in the manner that was drawn.
fn in_manner<T>(
    connection: &mut Connection,
    payload: &[u8],
    manner: &Manner,
    read: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    let (bytes, next) = frame(payload, 0);
    write(&mut |piece| connection.send_raw(piece), &bytes, manner)?;
    connection.expect_answer(next);
    wait::throughout(manner.stall, || Ok(()))?;
    connection.set_pace(manner.pace);
    let answer = read(connection);
    connection.set_pace(None);
    answer
}
