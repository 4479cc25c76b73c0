//! A random mix of everything, from a seed: every byte is known beforehand and checked.
//!
//! `SLUICE_TEST_SEED` repeats a run (its plan; not the scheduler's), `SLUICE_TEST_TORTURE_SECONDS` makes it longer.

use crate::case::Case;
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    pattern::Random,
    stage::Stage,
    wait,
    wire::{Connection, PACKET_BYTES_MAX, Prepared, command, frame},
};
use std::{
    env, thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) const CASES: &[Case] = &[Case::new("random_mix", random_mix)];

const CLIENTS: u64 = 6;
const SECONDS: u64 = 15;

fn random_mix(stage: &Stage) -> Result<()> {
    let seconds = number("SLUICE_TEST_TORTURE_SECONDS").unwrap_or(SECONDS);
    let steps = mix(stage, seconds, seed()?)?;
    ensure!(steps > 20 * seconds, "only {steps} steps in {seconds} s");
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// This run's seed: another one each time, if none is given.
pub(crate) fn seed() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    Ok(number("SLUICE_TEST_SEED").unwrap_or(u64::try_from(now)? % 1_000_000_000))
}

/// Has several clients do everything for some seconds; returns how many steps they made.
pub(crate) fn mix(stage: &Stage, seconds: u64, seed: u64) -> Result<u64> {
    let table = format!("{}.torture", stage.database()?);
    stage.open_direct()?.run(&format!(
        "CREATE TABLE {table} (client INT, id INT, PRIMARY KEY (client, id))"
    ))?;
    let end = Instant::now() + Duration::from_secs(seconds);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let table = table.clone();
                scope.spawn(move || {
                    let mut client = Client::new(
                        stage,
                        Random::new(seed.wrapping_mul(64) + number),
                        number,
                        table,
                    )?;
                    client
                        .play(end)
                        .with_context(|| format!("client {number} after {} steps", client.steps))?;
                    Ok::<_, anyhow::Error>(client.steps)
                })
            })
            .collect();
        let mut steps = 0;
        for client in clients {
            steps += wait::joined(client.join(), "a client")??;
        }
        Ok::<_, anyhow::Error>(steps)
    })
    .with_context(|| format!("SLUICE_TEST_SEED={seed}"))
}

/// One connection and what its session must look like.
struct Client<'a> {
    stage: &'a Stage,
    random: Random,
    number: u64,
    table: String,
    connection: Connection,
    statement: Prepared,
    variable: Option<u64>,
    rows: usize,
    steps: u64,
}

const ECHO: &str = "SELECT ?";

impl<'a> Client<'a> {
    fn new(stage: &'a Stage, random: Random, number: u64, table: String) -> Result<Self> {
        let mut connection = stage.open()?;
        let statement = connection.prepare(ECHO)?;
        Ok(Self {
            stage,
            random,
            number,
            table,
            connection,
            statement,
            variable: None,
            rows: 0,
            steps: 0,
        })
    }

    fn play(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            let choice = self.random.below(100);
            match choice {
                0..25 => self.echo(),
                25..40 => self.echo_binary(),
                40..50 => self.set_variable(),
                50..60 => self.read_variable(),
                60..66 => self.error(),
                66..74 => self.pipelined(),
                74..80 => self.in_pieces(),
                80..86 => self.slow_reader(),
                86..92 => self.transaction(),
                92..94 => self.reset(),
                94..99 => self.reconnect(),
                _ => self.large(),
            }
            .with_context(|| format!("choice {choice}"))?;
            self.steps += 1;
        }
        Ok(())
    }

    /// Mostly small, sometimes around a buffer's or a packet's bound.
    fn value(&mut self) -> Vec<u8> {
        let size = match self.random.below(20) {
            0 => self.random.below(2),
            1 => 250 + self.random.below(4),
            2 => 16_380 + self.random.below(10),
            3 => 65_530 + self.random.below(10),
            4 => self.random.below(400_000),
            _ => self.random.below(2000),
        };
        self.random.letters(size)
    }

    fn select(value: &[u8]) -> Vec<u8> {
        command::query(&[b"SELECT '", value, b"'"].concat())
    }

    fn echo(&mut self) -> Result<()> {
        let value = self.value();
        ensure!(
            self.connection.command(&Self::select(&value))?.cell()? == value,
            "{} bytes differ",
            value.len()
        );
        Ok(())
    }

    fn echo_binary(&mut self) -> Result<()> {
        let value = self.value();
        let answer = if self.random.below(3) == 0 {
            self.connection
                .send_command(&command::long_data(self.statement.id, 0, &value))?;
            self.connection.execute(&self.statement, &[None])?
        } else {
            self.connection.execute(&self.statement, &[Some(&value)])?
        };
        answer.outcome.ok()?;
        let row = answer
            .rows
            .first()
            .and_then(|rows| answer.packets.get(rows.start))
            .context("a row")?;
        ensure!(
            row.ends_with(&value) && row.len() < value.len() + 12,
            "{} bytes differ",
            value.len()
        );
        self.connection
            .command(&[&[0x1A][..], &self.statement.id.to_le_bytes()].concat())?
            .outcome
            .ok()
    }

    fn set_variable(&mut self) -> Result<()> {
        let value = self.random.word() >> 1;
        self.connection.run(&format!("SET @v = {value}"))?;
        self.variable = Some(value);
        Ok(())
    }

    fn read_variable(&mut self) -> Result<()> {
        let cell = self
            .connection
            .run("SELECT @v")?
            .table()?
            .into_iter()
            .flatten()
            .next()
            .flatten();
        let wanted = self.variable.map(|value| value.to_string().into_bytes());
        ensure!(cell == wanted, "@v is {cell:?}, not {wanted:?}");
        Ok(())
    }

    fn error(&mut self) -> Result<()> {
        let (sql, code) = match self.random.below(3) {
            0 => ("SELECT no_such_column", 1054),
            1 => ("SELECT * FROM mysql.no_such_table", 1146),
            _ => ("this is no SQL", 1064),
        };
        let outcome = self.connection.query(sql)?.outcome;
        ensure!(outcome.code() == code, "{sql}: {outcome}");
        Ok(())
    }

    fn pipelined(&mut self) -> Result<()> {
        let values: Vec<_> = (0..2 + self.random.below(6))
            .map(|_| self.value())
            .collect();
        let mut bytes = Vec::new();
        for value in &values {
            bytes.extend(frame(&Self::select(value), 0).0);
            if self.random.below(4) == 0 {
                bytes.extend(frame(&command::query(b"SET @other = 1"), 0).0);
                bytes.extend(frame(&command::query(b"SELECT 'marker'"), 0).0);
            }
        }
        // A client that sends more than the sockets hold before it reads would wait for itself.
        ensure!(bytes.len() < 4 << 20, "{} bytes", bytes.len());
        let mut writer = self.connection.stream().try_clone()?;
        let writing = thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes));
        for value in &values {
            loop {
                self.connection.expect_answer(1);
                let answer = self.connection.read_response(&[])?;
                if answer.rows.is_empty() {
                    answer.outcome.ok()?;
                    continue;
                }
                let cell = answer.cell()?;
                // Behind a SET comes the marker; the next value follows it.
                if cell == b"marker" {
                    continue;
                }
                ensure!(&cell == value, "{} bytes differ", value.len());
                break;
            }
        }
        wait::joined(writing.join(), "the writer")??;
        self.drain_marker()
    }

    /// A SET and a marker may stand behind the last value: a statement of one's own shows where the answers end.
    fn drain_marker(&mut self) -> Result<()> {
        self.connection
            .send_command(&command::query(b"SELECT 'end'"))?;
        for _ in 0..4 {
            self.connection.expect_answer(1);
            let answer = self.connection.read_response(&[])?;
            if !answer.rows.is_empty() && answer.cell()? == b"end" {
                return Ok(());
            }
        }
        bail!("more answers than commands")
    }

    fn in_pieces(&mut self) -> Result<()> {
        let value = self.value();
        let (bytes, _) = frame(&Self::select(&value), 0);
        let (first, second) = bytes.split_at(self.random.below(bytes.len()));
        self.connection.send_raw(first)?;
        if self.random.below(2) == 0 {
            wait::throughout(Duration::from_millis(3), || Ok(()))?;
        }
        self.connection.send_raw(second)?;
        self.connection.expect_answer(1);
        ensure!(
            self.connection.read_response(&[])?.cell()? == value,
            "{} bytes differ",
            value.len()
        );
        Ok(())
    }

    fn slow_reader(&mut self) -> Result<()> {
        let length = 100_000 + self.random.below(6_000_000);
        self.connection.send_command(&command::query(
            format!("SELECT REPEAT('s', {length})").as_bytes(),
        ))?;
        wait::throughout(Duration::from_millis(20), || Ok(()))?;
        ensure!(
            self.connection.read_response(&[])?.cell()? == vec![b's'; length],
            "{length} bytes differ"
        );
        Ok(())
    }

    fn transaction(&mut self) -> Result<()> {
        let count = 1 + self.random.below(3);
        self.connection.run("BEGIN")?;
        for id in self.rows..self.rows + count {
            self.connection.run(&format!(
                "INSERT INTO {} VALUES ({}, {id})",
                self.table, self.number
            ))?;
        }
        if self.random.below(2) == 0 {
            self.connection.run("COMMIT")?;
            self.rows += count;
        } else {
            self.connection.run("ROLLBACK")?;
        }
        let count = self
            .connection
            .run(&format!(
                "SELECT COUNT(*) FROM {} WHERE client = {}",
                self.table, self.number
            ))?
            .text()?;
        ensure!(
            count == self.rows.to_string(),
            "{count} rows, not {}",
            self.rows
        );
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.connection.command(&[0x1F])?.outcome.ok()?;
        self.statement = self.connection.prepare(ECHO)?;
        self.variable = None;
        Ok(())
    }

    fn reconnect(&mut self) -> Result<()> {
        match self.random.below(3) {
            0 => self.connection.send_command(&[0x01])?,
            // In the middle of a command, or of an answer.
            1 => self.connection.send_raw(&[100, 0, 0, 0, 3, b'S'])?,
            _ => self
                .connection
                .send_command(&command::query(b"SELECT REPEAT('t', 4000000)"))?,
        }
        self.connection = self.stage.open()?;
        self.statement = self.connection.prepare(ECHO)?;
        self.variable = None;
        Ok(())
    }

    fn large(&mut self) -> Result<()> {
        if self.random.below(3) > 0 {
            return self.echo();
        }
        let length = PACKET_BYTES_MAX - 12 + self.random.below(4);
        let value = self.random.letters(length);
        ensure!(
            self.connection.command(&Self::select(&value))?.cell()? == value,
            "{length} bytes differ"
        );
        Ok(())
    }
}
