//! Sessions that another session ends: what the victim reads is right, then the connection ends or goes on as the statement says.

use crate::{
    torture::{
        client::{Client, equal},
        operation::{Kill, Victim},
        text,
        verdict::{self, Fault, Refused},
    },
    wait,
    wire::{Connection, Outcome, Response, command as payload},
};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    io::{self, ErrorKind},
    thread,
    time::{Duration, Instant},
};

/// How the victim's commands ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// All answers are whole.
    Whole,
    /// One was an error.
    Interrupted(Outcome),
    /// The connection has ended.
    Lost,
}

/// The server session cannot be replaced now.
const REFUSED: u16 = 1105;

impl Client<'_> {
    pub(in crate::torture) fn kill(
        &mut self,
        kill: Kill,
        victim: Victim,
        delay: Duration,
    ) -> Result<()> {
        if kill == Kill::ServerSession {
            // An open statement is state that cannot be moved.
            let session = self.session()?;
            if let Some(statement) = session.echo.take() {
                let close = payload::close(statement.id);
                session.connection.send_command(&close)?;
            }
        }
        // Servers that are started again give their ids out again. A killer that was there before its victim told its id is at the same server as
        // the victim, or at one that is gone: else it would end another session.
        let killer = match kill {
            Kill::AtNode => {
                self.direct()?;
                None
            }
            Kill::Query | Kill::Session | Kill::ServerSession => Some(self.killer()?),
        };
        let connection = self.connection()?;
        let cs_id = connection.greeting().thread_id.to_string();
        let node_id = connection.run("SELECT CONNECTION_ID()")?.text()?;
        let sql = match kill {
            Kill::Query => format!("KILL QUERY {cs_id}"),
            Kill::Session => format!("KILL {cs_id}"),
            Kill::ServerSession => format!("KILL PROXYSESSION SERVER {node_id}"),
            Kill::AtNode => format!("KILL {node_id}"),
        };
        let Some(mut killer) = killer else {
            let (mut killer, eof) = self.direct.take().context("no direct connection")?;
            let done = strike(
                self.connection()?,
                &mut killer.connection,
                &sql,
                victim,
                delay,
            );
            self.direct = Some((killer, eof));
            let (ended, told) = done?;
            return self.judge_kill(kill, victim, &ended, told);
        };
        let (ended, told) = strike(self.connection()?, &mut killer, &sql, victim, delay)?;
        self.keep_killer(killer);
        self.judge_kill(kill, victim, &ended, told)
    }

    fn judge_kill(
        &mut self,
        kill: Kill,
        victim: Victim,
        ended: &Ended,
        told: Outcome,
    ) -> Result<()> {
        let may_be_told = match kill {
            Kill::ServerSession => [0, REFUSED],
            Kill::Query | Kill::Session | Kill::AtNode => [0, 0],
        };
        if let Ended::Interrupted(outcome) = ended
            && !words(kill, victim, self.splits).contains(&outcome.code())
        {
            return Err(outcome.clone().into());
        }
        let is_to_live = matches!(kill, Kill::Query | Kill::ServerSession);
        if *ended == Ended::Lost && is_to_live {
            return Err(io::Error::from(ErrorKind::UnexpectedEof))
                .context("the victim's connection has ended");
        }
        if !may_be_told.contains(&told.code()) {
            return Err(Refused(told).into());
        }
        match kill {
            Kill::AtNode if self.splits => self.survives(ended),
            Kill::Query => self.goes_on(),
            Kill::ServerSession => self.look_at_all(),
            Kill::Session | Kill::AtNode => {
                let session = self.session.take().context("no session")?;
                ends(session.connection, ended)
            }
        }
    }

    /// A cluster of two nodes has another server session for a session that has lost one: it has all that it had, or it ends.
    fn survives(&mut self, ended: &Ended) -> Result<()> {
        let looked = match ended {
            Ended::Lost => Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ended::Whole | Ended::Interrupted(_) => self.look_at_all(),
        };
        let Err(error) = looked else {
            return Ok(());
        };
        let words = words(Kill::AtNode, Victim::Sleeps(0), true);
        let ends = match verdict::of(&error) {
            Fault::Lost => true,
            Fault::Said(code) => words.contains(&code),
            _ => false,
        };
        if !ends {
            return Err(error);
        }
        self.session = None;
        Ok(())
    }

    /// A late `KILL QUERY` may meet a command behind the one that it was for.
    fn goes_on(&mut self) -> Result<()> {
        for _ in 0..3 {
            let answer = self.connection()?.query("SELECT 'behind'")?;
            if answer.outcome.code() != verdict::INTERRUPTED {
                return equal("the next answer", &answer.text()?, &"behind".to_owned());
            }
        }
        bail!("one KILL QUERY has interrupted three commands")
    }
}

/// With what errors a victim's command may end because of the kill alone.
fn words(kill: Kill, victim: Victim, splits: bool) -> Vec<u16> {
    let mut words = match kill {
        Kill::Query => vec![verdict::INTERRUPTED],
        Kill::Session | Kill::AtNode => vec![verdict::INTERRUPTED, verdict::KILLED],
        Kill::ServerSession => Vec::new(),
    };
    if kill == Kill::AtNode && splits {
        // The proxy's own.
        words.extend([verdict::SERVER_LOST, verdict::UNKNOWN]);
    }
    if kill != Kill::ServerSession && matches!(victim, Victim::Rows(..)) {
        words.push(verdict::NOT_DISCOVERED);
    }
    words
}

/// The victim works, and after a while the killer says its word; returns how the victim ended and what the killer was told.
fn strike(
    victim: &mut Connection,
    killer: &mut Connection,
    sql: &str,
    work: Victim,
    delay: Duration,
) -> Result<(Ended, Outcome)> {
    thread::scope(|scope| {
        let killing = scope.spawn(move || -> Result<Outcome> {
            wait::throughout(delay, || Ok(()))?;
            Ok(killer.query(sql).context("the killer")?.outcome)
        });
        let ended = works(victim, work);
        let told = wait::joined(killing.join(), "the killer's thread")?;
        Ok((ended?, told?))
    })
}

/// Does the victim's work; what it reads must be right to the end, wherever that is.
fn works(victim: &mut Connection, work: Victim) -> Result<Ended> {
    match work {
        Victim::Rows(rows, width) => {
            let sql = text::rows_sql(rows, width, None);
            let mut number = 0;
            let outcome = victim
                .send_command(&payload::query(sql.as_bytes()))
                .and_then(|()| {
                    victim.read_each_row(|row| {
                        number += 1;
                        text::same("a row", row, &text::row(number, width, false, false))
                    })
                });
            let ended = end(outcome)?;
            ensure!(
                ended != Ended::Whole || number == rows,
                "{number} rows of {rows}"
            );
            Ok(ended)
        }
        Victim::Sleeps(millis) => {
            let sql = format!(
                "SELECT SLEEP({})",
                Duration::from_millis(millis.try_into()?).as_secs_f64()
            );
            end(victim.query(&sql).map(|answer| answer.outcome))
        }
        Victim::Points(count) => {
            for number in 0..count {
                let answer = victim.query(&format!("SELECT {number}"));
                let text = answer.as_ref().map(Response::text);
                if let Ok(Ok(text)) = text {
                    equal("a short answer", &text, &number.to_string())?;
                    continue;
                }
                return end(answer.map(|answer| answer.outcome));
            }
            Ok(Ended::Whole)
        }
    }
}

fn end(outcome: Result<Outcome>) -> Result<Ended> {
    match outcome {
        Ok(Outcome::Ok { .. }) => Ok(Ended::Whole),
        Ok(outcome) => Ok(Ended::Interrupted(outcome)),
        Err(error) if verdict::of(&error) == Fault::Lost => Ok(Ended::Lost),
        Err(error) => Err(error),
    }
}

/// The killed session's connection ends, after at most one word about why.
fn ends(mut victim: Connection, ended: &Ended) -> Result<()> {
    if *ended == Ended::Lost {
        return Ok(());
    }
    victim.set_patience(Duration::from_secs(30))?;
    let start = Instant::now();
    victim.expect_answer(1);
    match victim.read_packet() {
        Ok(packet) => {
            let outcome = Outcome::of_packet(&packet)?;
            if ![verdict::INTERRUPTED, verdict::KILLED].contains(&outcome.code()) {
                outcome.ok().context("what a killed session was told")?;
                bail!("a killed session was told {outcome}");
            }
            ensure!(
                victim.closed_within(Duration::from_secs(30))?,
                "the victim is not closed"
            );
            Ok(())
        }
        Err(error) if verdict::of(&error) == Fault::Lost => Ok(()),
        Err(error) => Err(error.context(format!(
            "a killed session is open after {:?}",
            start.elapsed()
        ))),
    }
}
