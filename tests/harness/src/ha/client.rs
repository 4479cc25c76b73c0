//! A client that writes, alone and in transactions, and looks whether it is there.

use super::{
    ledger::{Fate, Ledger},
    watch::Pulse,
};
use crate::{
    pattern::Random,
    server::{PASSWORD, USER_PLAIN},
    stage::Front,
    wait,
    wire::{Connection, Outcome, Response},
};
use anyhow::Result;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// No command waits longer; a primary may be gone, its successor may need a while.
const PATIENCE: Duration = Duration::from_secs(90);
/// After an error, before the next try.
const BREATH: Duration = Duration::from_millis(50);
/// Error numbers of a command of which nobody knows whether it was executed: `CR_SERVER_LOST`, and what stands for it.
const LOST: [u16; 2] = [2013, 1105];
const UNKNOWN_TEXT: &str = "it may have been executed";

/// One client at work.
pub(super) struct Client<'a> {
    number: u32,
    next: u64,
    random: Random,
    began: Instant,
    ledger: Ledger,
    pulse: &'a Pulse,
}

/// What a command came to.
enum Said {
    Ok,
    /// It was not executed.
    No,
    /// Nobody knows.
    Unknown,
    /// Nobody knows, and the connection is gone.
    Gone,
}

impl<'a> Client<'a> {
    pub(super) fn new(number: u32, began: Instant, pulse: &'a Pulse) -> Self {
        Self {
            number,
            next: 1,
            random: Random::new(u64::from(number) + 1),
            began,
            ledger: Ledger::new(number),
            pulse,
        }
    }

    /// Works until it is over.
    pub(super) fn play(mut self, front: &Front, is_over: &AtomicBool) -> Ledger {
        let mut connection = None;
        while !is_over.load(Ordering::Relaxed) {
            match connection.take().map_or_else(|| open(front), Ok) {
                Ok(mut open) => {
                    if self.step(&mut open) {
                        connection = Some(open);
                    }
                }
                // No node takes logins right now.
                Err(_refused) => breathe(),
            }
        }
        self.ledger
    }

    /// One operation; whether the connection is still good.
    fn step(&mut self, connection: &mut Connection) -> bool {
        match self.random.below(10) {
            0..=4 => self.write(connection),
            5..=6 => self.write_two(connection),
            7 => self.count(connection),
            _ => self.look(connection),
        }
    }

    fn row(&mut self) -> u64 {
        let row = self.next;
        self.next += 1;
        row
    }

    fn enter(&mut self, rows: Vec<u64>, fate: Fate) {
        let at = match fate {
            Fate::Committed => self.pulse.beat(),
            Fate::Refused | Fate::Unknown => self.began.elapsed(),
        };
        self.ledger.enter(rows, fate, at);
    }

    fn insert(&self, row: u64) -> String {
        format!(
            "INSERT INTO ha.log (client, seq) VALUES ({}, {row})",
            self.number
        )
    }

    fn write(&mut self, connection: &mut Connection) -> bool {
        let row = self.row();
        let said = self.say(connection, &self.insert(row));
        let fate = match said {
            Said::Ok => Fate::Committed,
            Said::No => Fate::Refused,
            Said::Unknown | Said::Gone => Fate::Unknown,
        };
        self.enter(vec![row], fate);
        !matches!(said, Said::Gone)
    }

    /// Two rows in a transaction. What fails before its COMMIT is never committed.
    fn write_two(&mut self, connection: &mut Connection) -> bool {
        let rows = vec![self.row(), self.row()];
        let mut statements = vec!["BEGIN".to_owned()];
        statements.extend(rows.iter().map(|row| self.insert(*row)));
        for statement in statements {
            match self.say(connection, &statement) {
                Said::Ok => {}
                Said::No | Said::Unknown => {
                    self.ledger.enter(rows, Fate::Refused, self.began.elapsed());
                    return !matches!(self.say(connection, "ROLLBACK"), Said::Gone);
                }
                Said::Gone => {
                    self.ledger.enter(rows, Fate::Refused, self.began.elapsed());
                    return false;
                }
            }
        }
        let said = self.say(connection, "COMMIT");
        let fate = match said {
            Said::Ok => Fate::Committed,
            Said::No => Fate::Refused,
            Said::Unknown | Said::Gone => Fate::Unknown,
        };
        self.enter(rows, fate);
        match said {
            Said::Ok | Said::Unknown => true,
            Said::No => !matches!(self.say(connection, "ROLLBACK"), Said::Gone),
            Said::Gone => false,
        }
    }

    /// What the client has written is there, wherever its session is by now; at a replica it may come later.
    fn look(&mut self, connection: &mut Connection) -> bool {
        let Some(rows) = self.ledger.last_committed() else {
            return true;
        };
        let wanted = rows.len();
        let list: Vec<_> = rows.iter().map(ToString::to_string).collect();
        let question = format!(
            // Beside an aggregate MariaDB 10.11 says 0 of `@@read_only`, whatever it is.
            "SELECT @@read_only, (SELECT COUNT(*) FROM ha.log WHERE client = {} AND seq IN ({})), @@server_id, @@gtid_current_pos",
            self.number,
            list.join(", ")
        );
        match connection.query(&question) {
            Ok(answer) if answer.outcome.code() == 0 => {
                let rows = answer.texts().unwrap_or_default();
                let cell = |at: usize| rows.first()?.get(at)?.clone();
                let is_primary = cell(0).as_deref() == Some("0");
                if is_primary && cell(1) != Some(wanted.to_string()) {
                    self.ledger.wrong.push(format!(
                        "client {} does not see its rows {}: {rows:?} after {:.1} s",
                        self.number,
                        list.join(", "),
                        self.began.elapsed().as_secs_f64()
                    ));
                }
                self.ledger.read(is_primary);
                true
            }
            other => self.unanswered(other),
        }
    }

    /// A read that any node may answer: no node has more than the client has sent.
    fn count(&mut self, connection: &mut Connection) -> bool {
        let question = format!(
            "SELECT COUNT(*) FROM ha.log WHERE client = {} AND seq >= {}",
            self.number, self.next
        );
        match connection.query(&question) {
            Ok(answer) if answer.outcome.code() == 0 => {
                let found = answer.texts().unwrap_or_default();
                if found != [vec![Some("0".to_owned())]] {
                    self.ledger.wrong.push(format!("{question}: {found:?}"));
                }
                true
            }
            other => self.unanswered(other),
        }
    }

    /// A question was not answered with rows; whether the connection is still there.
    fn unanswered(&mut self, answer: Result<Response>) -> bool {
        match answer {
            Ok(answer) => {
                self.ledger.failed(&answer.outcome);
                breathe();
                true
            }
            Err(_gone) => {
                self.ledger.lost();
                false
            }
        }
    }

    fn say(&mut self, connection: &mut Connection, sql: &str) -> Said {
        match connection.query(sql).map(|answer| answer.outcome) {
            Ok(Outcome::Ok { .. }) => Said::Ok,
            Ok(outcome) => {
                self.ledger.failed(&outcome);
                breathe();
                if is_unknown(&outcome) {
                    Said::Unknown
                } else {
                    Said::No
                }
            }
            Err(_gone) => {
                self.ledger.lost();
                Said::Gone
            }
        }
    }
}

/// Whether an error leaves open what became of the command.
fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Error { code, message, .. } if LOST.contains(code) && message.contains(UNKNOWN_TEXT))
}

pub(super) fn open(front: &Front) -> Result<Connection> {
    let mut connection = front.open(USER_PLAIN, PASSWORD)?;
    connection.set_patience(PATIENCE)?;
    Ok(connection)
}

pub(super) fn breathe() {
    // It never fails.
    let _ = wait::throughout(BREATH, || Ok(()));
}
