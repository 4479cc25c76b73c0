//! A session that is idle most of the time, with state that must follow it: it is never to be lost.

use super::client::{breathe, open};
use crate::{stage::Front, wait, wire::Connection};
use anyhow::Result;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Between two questions.
const SLEEP: Duration = Duration::from_millis(1500);
const STATE: &str = "SELECT @@sort_buffer_size, DATABASE()";

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
        let Some(mut connection) = begin(front, is_over) else {
            return self;
        };
        while !is_over.load(Ordering::Relaxed) {
            // It never fails.
            let _ = wait::throughout(SLEEP, || Ok(()));
            if !self.ask(&mut connection) {
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
                let wanted = ["65536", "ha"].map(|text| Some(text.to_owned()));
                if row != [wanted.to_vec()] {
                    self.wrong.push(format!("an idle session has {row:?}"));
                }
                true
            }
            // No node has it right now, or one went while it was asked.
            Ok(_) => true,
            Err(error) => {
                self.wrong
                    .push(format!("an idle session was lost: {error:#}"));
                false
            }
        }
    }
}

/// A session whose state the proxy knows.
fn begin(front: &Front, is_over: &AtomicBool) -> Option<Connection> {
    let dress = || -> Result<Connection> {
        let mut connection = open(front)?;
        for statement in ["SET sort_buffer_size = 65536", "USE ha", "SELECT 1"] {
            connection.run(statement)?;
        }
        Ok(connection)
    };
    while !is_over.load(Ordering::Relaxed) {
        if let Ok(connection) = dress() {
            return Some(connection);
        }
        breathe();
    }
    None
}
