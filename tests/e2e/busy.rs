//! Admin statements about a session that is spliced and busy: they stop nothing, garble nothing, and tell what is plausible.

use crate::case::Case;
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    path::Path,
    server::{PASSWORD, USER, USER_ROOT},
    stage::{Front, Stage},
    wait,
    wire::{Connection, command},
};
use std::{
    collections::BTreeMap,
    thread::{self, JoinHandle},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("gigabyte", gigabyte).daemon(),
    Case::new("many_commands", many_commands).daemon(),
];

const ROWS: usize = 32_768;
const ROW_BYTES: usize = 32_768;
const COMMANDS: u64 = 20_000;

/// Every statement about one session.
fn statements(cs_id: u32) -> Vec<String> {
    [
        "SHOW PROXYSESSION ATTRIBUTE {}",
        "SHOW PROXYSESSION ATTRIBUTE {} LIKE 'state'",
        "SHOW PROXYSESSION STAT {}",
        "SHOW PROXYSESSION VARIABLES {}",
        "SHOW PROCESSLIST",
        "SHOW FULL PROCESSLIST",
        "SHOW PROXYSESSION",
    ]
    .map(|statement| statement.replace("{}", &cs_id.to_string()))
    .to_vec()
}

/// Reads a gigabyte and checks every byte of it.
fn read_gigabyte(victim: &mut Connection) -> Result<()> {
    let sql = format!(
        "SELECT REPEAT(LPAD(seq, 8, '0'), {}) FROM mysql.seq_1_to_{ROWS}",
        ROW_BYTES / 8
    );
    victim.send_command(&command::query(sql.as_bytes()))?;
    for _ in 0..3 {
        // Column count, column, EOF.
        victim.read_packet()?;
    }
    for number in 1..=ROWS {
        let row = victim
            .read_packet()
            .with_context(|| format!("row {number}"))?;
        let wanted = format!("{number:08}").into_bytes().repeat(ROW_BYTES / 8);
        ensure!(
            row.strip_prefix(&[0xFC, 0x00, 0x80]) == Some(&wanted[..]),
            "row {number} differs"
        );
    }
    let end = victim.read_packet()?;
    ensure!(end.first() == Some(&0xFE), "rows beyond the last one");
    assert_eq!(victim.run("SELECT 'behind'")?.text()?, "behind");
    Ok(())
}

/// Tens of thousands of short commands.
fn run_commands(victim: &mut Connection) -> Result<()> {
    for number in 0..COMMANDS {
        let number = number.to_string();
        assert_eq!(victim.run(&format!("SELECT {number}"))?.text()?, number);
    }
    Ok(())
}

/// The rows of the group `splice` that only grow, and their numbers.
type Counters = BTreeMap<String, u64>;

fn counters(operator: &mut Connection, cs_id: u32) -> Result<Counters> {
    let answer = operator.run(&format!("SHOW PROXYSESSION ATTRIBUTE {cs_id}"))?;
    let mut counters = Counters::new();
    for row in answer.texts()? {
        if let [Some(name), Some(value), Some(info)] = row.as_slice()
            && info == "splice"
            && !["last_", "latency_", "wire_"]
                .iter()
                .any(|kind| name.starts_with(kind))
            && let Ok(number) = value.parse()
        {
            counters.insert(name.clone(), number);
        }
    }
    Ok(counters)
}

fn of(counters: &Counters, name: &str) -> Result<u64> {
    let counter = counters.get(name).copied();
    counter.with_context(|| format!("no {name} in {counters:?}"))
}

/// Asks for everything about the session until its client is done; counters must not go back. Returns how often it asked and saw the
/// client's bytes move.
fn watch<T>(operator: &mut Connection, cs_id: u32, client: &JoinHandle<T>) -> Result<(u32, u32)> {
    let own = Some(cs_id.to_string());
    let mut before = counters(operator, cs_id)?;
    let (mut rounds, mut moves) = (0, 0);
    while !client.is_finished() {
        for statement in statements(cs_id) {
            let rows = operator
                .run(&statement)
                .with_context(|| statement.clone())?
                .texts()?;
            // It has changed no variable.
            let is_empty = statement.contains("VARIABLES");
            assert_eq!(rows.is_empty(), is_empty, "{statement}: {rows:?}");
            // Lists have the session, and it is being served.
            for (list, id, state) in [
                ("SHOW PROXYSESSION", 1, (9, &["MCS_ACTIVE_READER"][..])),
                ("SHOW PROCESSLIST", 0, (7, &["MCS_ACTIVE_READER"])),
                ("SHOW FULL PROCESSLIST", 0, (5, &["Query", "Sleep"])),
            ] {
                if statement == list {
                    let row = rows.iter().find(|row| row.get(id) == Some(&own));
                    let row = row.with_context(|| format!("{list}: {rows:?}"))?;
                    let told = row.get(state.0).and_then(Option::as_deref);
                    ensure!(
                        told.is_some_and(|told| state.1.contains(&told)),
                        "{list}: {row:?}"
                    );
                }
            }
        }
        let now = counters(operator, cs_id)?;
        for (name, number) in &before {
            ensure!(
                of(&now, name)? >= *number,
                "{name} went back: {before:?}, {now:?}"
            );
        }
        let moved = |counters: &Counters| -> Result<u64> {
            Ok(of(counters, "spliced_bytes_to_client")? + of(counters, "relayed_bytes_to_client")?)
        };
        rounds += 1;
        moves += u32::from(moved(&now)? > moved(&before)?);
        before = now;
    }
    Ok((rounds, moves))
}

/// A busy client, watched by an operator until it is done. Returns the counters before and after.
fn watched(front: &Front, work: fn(&mut Connection) -> Result<()>) -> Result<(Counters, Counters)> {
    let mut operator = front.open(USER_ROOT, "")?;
    let mut victim = front.open(USER, PASSWORD)?;
    let cs_id = victim.greeting().thread_id;
    victim.run("SELECT 1")?;
    let before = counters(&mut operator, cs_id)?;
    let client = thread::spawn(move || -> Result<Connection> {
        work(&mut victim)?;
        Ok(victim)
    });
    let watched = watch(&mut operator, cs_id, &client);
    // What the client met says more than what the operator missed.
    let mut victim = wait::joined(client.join(), "the client")??;
    let (rounds, moves) = watched?;
    ensure!(
        moves > 10,
        "only {moves} of {rounds} looks were at a busy session"
    );
    let after = counters(&mut operator, cs_id)?;
    assert_eq!(victim.run("SELECT 'alive'")?.text()?, "alive");
    Ok((before, after))
}

fn gigabyte(stage: &Stage) -> Result<()> {
    // However slow the reader is, so much of it is the kernel's: what is outstanding only then goes over to the daemon.
    let front = stage.private(stage.node(), &["--splice-limit", "64MiB"])?;
    let (before, after) = watched(&front, read_gigabyte)?;
    let grown = |name: &str| -> Result<u64> { Ok(of(&after, name)? - of(&before, name)?) };
    let spliced = grown("spliced_bytes_to_client")?;
    let total = spliced + grown("relayed_bytes_to_client")?;
    let rows = u64::try_from(ROWS * (ROW_BYTES + 7))?;
    ensure!(
        (rows..rows + 1000).contains(&total),
        "{total} bytes moved of {rows}: {after:?}"
    );
    match stage.path() {
        Path::Spliced => ensure!(spliced > 32 << 20, "little was spliced: {after:?}"),
        // Behind a segment that has come before its turn, as on a host that moves the node from one CPU to the other, the rest is relayed.
        Path::Wire => ensure!(
            spliced > 32 << 20 || after.contains_key("trap: missing segment"),
            "little was spliced: {after:?}"
        ),
        Path::Relayed => ensure!(spliced == 0, "spliced: {after:?}"),
        Path::Direct => bail!("about the daemon"),
    }
    Ok(())
}

/// No look at a session takes it back from the kernel.
fn many_commands(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let (before, after) = watched(&front, run_commands)?;
    let spliced = of(&after, "spliced_commands")? - of(&before, "spliced_commands")?;
    let expected = match stage.path() {
        Path::Spliced | Path::Wire => COMMANDS,
        Path::Relayed | Path::Direct => 0,
    };
    assert_eq!(spliced, expected, "{before:?}, {after:?}");
    Ok(())
}
