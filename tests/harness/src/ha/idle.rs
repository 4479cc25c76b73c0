//! A session that is idle most of the time, with state that must follow it: it is never to be lost.

use super::client::{breathe, open};
use crate::{
    stage::Front,
    wait,
    wire::{Connection, Prepared},
};
use anyhow::Result;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Between two questions.
const SLEEP: Duration = Duration::from_millis(1500);
const STATE: &str = "SELECT @@sort_buffer_size, DATABASE(), @mark";
/// What the prepared statement is given, and gives back.
const VALUE: &[u8] = b"kept";

/// What such a session has met with.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Questions that were answered.
    pub(super) answers: u64,
    /// What must not have happened.
    pub(super) wrong: Vec<String>,
}

impl Idle {
    /// Asks now and then until it is over.
    pub(super) fn play(mut self, front: &Front, is_over: &AtomicBool) -> Self {
        let Some((mut connection, statement)) = begin(front, is_over) else {
            return self;
        };
        while !is_over.load(Ordering::Relaxed) {
            // It never fails.
            let _ = wait::throughout(SLEEP, || Ok(()));
            if !self.ask(&mut connection) || !self.execute(&mut connection, &statement) {
                break;
            }
        }
        self
    }

    /// Whether the session lives.
    fn ask(&mut self, connection: &mut Connection) -> bool {
        match connection.query(STATE) {
            Ok(answer) if answer.outcome.code() == 0 => {
                self.answers += 1;
                let row = answer.texts().unwrap_or_default();
                let wanted = ["65536", "ha", "7"].map(|text| Some(text.to_owned()));
                if row != [wanted.to_vec()] {
                    self.wrong.push(format!("an idle session has {row:?}"));
                }
                true
            }
            // No node has it right now, or one went while it was asked.
            Ok(_) => true,
            Err(error) => self.lost(&error),
        }
    }

    /// The same with the prepared statement.
    fn execute(&mut self, connection: &mut Connection, statement: &Prepared) -> bool {
        match connection.execute(statement, &[Some(VALUE)]) {
            Ok(answer) if answer.outcome.code() == 0 => {
                self.answers += 1;
                if !answer.packets.iter().any(|packet| packet.ends_with(VALUE)) {
                    let packets = &answer.packets;
                    self.wrong
                        .push(format!("a prepared statement gives {packets:?}"));
                }
                true
            }
            Ok(answer) => {
                // There is no such statement.
                if answer.outcome.code() == 1243 {
                    self.wrong.push(answer.outcome.to_string());
                }
                true
            }
            Err(error) => self.lost(&error),
        }
    }

    fn lost(&mut self, error: &anyhow::Error) -> bool {
        self.wrong
            .push(format!("an idle session was lost: {error:#}"));
        false
    }
}

/// A session whose state the proxy knows.
fn begin(front: &Front, is_over: &AtomicBool) -> Option<(Connection, Prepared)> {
    let dress = || -> Result<(Connection, Prepared)> {
        let mut connection = open(front)?;
        for statement in [
            "SET sort_buffer_size = 65536, @mark = 7",
            "USE ha",
            "SELECT 1",
        ] {
            connection.run(statement)?;
        }
        let statement = connection.prepare("SELECT ?")?;
        Ok((connection, statement))
    };
    while !is_over.load(Ordering::Relaxed) {
        if let Ok(connection) = dress() {
            return Some(connection);
        }
        breathe();
    }
    None
}
