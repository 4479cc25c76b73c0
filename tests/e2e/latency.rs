//! How long commands take: counted by kernel and daemon alike, for each session and for all.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    path::Path,
    server::{Kind, PASSWORD, USER, USER_ROOT},
    stage::Stage,
    wait,
    wire::Connection,
};
use std::{thread, time::Duration};

pub(crate) const CASES: &[Case] = &[
    Case::new("histogram", histogram).with(&Kind::ALL).daemon(),
    Case::new("in_total", in_total).daemon(),
    Case::new("short_sessions_in_total", short_sessions_in_total).daemon(),
];

/// Longer than 2^16 microseconds.
const SLEEP: &str = "SELECT SLEEP(0.07)";

/// A session's counts: the bucket's exponent and the commands in it.
fn counts(splice: &attribute::Splice) -> Result<Vec<(u32, u64)>> {
    let text = splice.text("latency_histogram")?;
    let buckets = text.split_whitespace().map(|bucket| {
        let (from, count) = bucket.split_once("us:").context("a bucket")?;
        let exponent = from.strip_prefix("2^").context("a power")?;
        Ok((exponent.parse()?, count.parse()?))
    });
    buckets
        .collect::<Result<_>>()
        .with_context(|| text.to_owned())
}

/// All commands counted, and those that took 2^16 microseconds or more.
fn all_and_slow(splice: &attribute::Splice) -> Result<(u64, u64)> {
    let counts = counts(splice)?;
    let all = counts.iter().map(|(_, count)| count).sum();
    let slow = counts.iter().filter(|(exponent, _)| *exponent >= 16);
    Ok((all, slow.map(|(_, count)| count).sum()))
}

/// Ten short commands and three long ones.
fn work(connection: &mut Connection) -> Result<()> {
    for number in 0..10 {
        assert_eq!(
            connection.run(&format!("SELECT {number}"))?.text()?,
            number.to_string()
        );
    }
    for _ in 0..3 {
        connection.run(SLEEP)?;
    }
    Ok(())
}

fn histogram(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let before = attribute::splice(&mut connection)?;
    work(&mut connection)?;
    let after = attribute::splice(&mut connection)?;
    if stage.path() == Path::Spliced {
        assert_eq!(after.grown(&before, "spliced_commands")?, 13, "{after:?}");
    }
    let (all_before, slow_before) = all_and_slow(&before)?;
    let (all, slow) = all_and_slow(&after)?;
    // What the proxy answers itself is not among them.
    assert_eq!(all - all_before, 13, "{before:?} {after:?}");
    ensure!(slow - slow_before >= 3, "{before:?} {after:?}");
    ensure!(after.number("latency_p99_us")? >= 1 << 17, "{after:?}");
    ensure!(after.number("latency_p50_us")? > 0, "{after:?}");
    // Looking changes nothing.
    let again = attribute::splice(&mut connection)?;
    assert_eq!(counts(&again)?, counts(&after)?);
    Ok(())
}

/// Commands counted in the whole daemon: all, and those that took 2^16 microseconds or more.
fn totals(operator: &mut Connection) -> Result<(u64, u64)> {
    let answer = operator.run("SHOW PROXYSTAT LIKE 'latency_from%'")?;
    let (mut all, mut slow) = (0, 0);
    for row in answer.texts()? {
        let [Some(name), Some(count), _] = row.as_slice() else {
            anyhow::bail!("not three columns: {row:?}")
        };
        let from = name.strip_prefix("latency_from_").context("a name")?;
        let from: u64 = from.strip_suffix("us").context("a unit")?.parse()?;
        let count: u64 = count.parse()?;
        all += count;
        slow += if from >= 1 << 16 { count } else { 0 };
    }
    Ok((all, slow))
}

fn in_total(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let mut operator = front.open(USER_ROOT, "")?;
    assert_eq!(totals(&mut operator)?, (0, 0));
    let mut one = front.open(USER, PASSWORD)?;
    let mut other = front.open(USER, PASSWORD)?;
    work(&mut one)?;
    work(&mut other)?;
    let during = totals(&mut operator)?;
    assert_eq!(during.0, 26);
    ensure!(during.1 >= 6, "{during:?}");
    let cs_id = one.greeting().thread_id;
    drop(one);
    let line = front.daemon()?.closing_line(cs_id)?;
    let p99: u64 = line.field("latency_p99_us").context("p99")?.parse()?;
    ensure!(p99 >= 1 << 17, "{line:?}");
    // What has ended still counts.
    assert_eq!(totals(&mut operator)?, during);
    Ok(())
}

/// Sessions of [`short_sessions_in_total`]: clients at once, sessions of each, and commands of each session.
const CLIENTS: u64 = 4;
const SESSIONS: u64 = 40;
const COMMANDS: u64 = 5;

/// A counter of the whole daemon.
fn total(operator: &mut Connection, name: &str) -> Result<u64> {
    let answer = operator.run(&format!("SHOW PROXYSTAT LIKE '{name}'"))?;
    let row = answer.texts()?.into_iter().next();
    let value = row.and_then(|row| row.into_iter().nth(1).flatten());
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

/// Commands are in the totals once, be their sessions alive, ending or gone, however they end.
fn short_sessions_in_total(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let mut operator = front.open(USER_ROOT, "")?;
    let sessions_before = total(&mut operator, "total_client_sessions")?;
    let wanted = CLIENTS * SESSIONS * COMMANDS;
    let client = |number: u64| -> Result<()> {
        for session in 0..SESSIONS {
            let mut connection = front.open(USER, PASSWORD)?;
            for command in 0..COMMANDS {
                connection.run(&format!("SELECT {number}, {session}, {command}"))?;
            }
            // Every other one leaves without a word, right behind its last answer.
            if session % 2 == 0 {
                connection.send_command(&[0x01])?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let client = &client;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        let mut last = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            let (all, _) = totals(&mut operator)?;
            ensure!(
                (last..=wanted).contains(&all),
                "{all} after {last} of {wanted}"
            );
            last = all;
        }
        for client in clients {
            wait::joined(client.join(), "a client")??;
        }
        Ok(())
    })?;
    // What is relayed is counted right behind its answer.
    let names = ["total_client_sessions", "total_transaction_count"];
    wait::until_true("all is counted", Duration::from_secs(30), || {
        let (all, _) = totals(&mut operator)?;
        ensure!(all <= wanted, "{all} commands of {wanted}");
        let [sessions, transactions] = names.map(|name| total(&mut operator, name));
        let (sessions, transactions) = (sessions? - sessions_before, transactions?);
        ensure!(sessions <= CLIENTS * SESSIONS && transactions <= wanted);
        Ok((all, sessions, transactions) == (wanted, CLIENTS * SESSIONS, wanted))
    })?;
    if stage.path().splices() {
        let spliced = total(&mut operator, "spliced_commands")?;
        ensure!(spliced > wanted / 2, "{spliced} of {wanted} spliced");
    }
    // And again when every session has gone.
    wait::until_true("every session is gone", Duration::from_secs(30), || {
        Ok(operator.run("SHOW PROXYSESSION")?.texts()?.len() == 1)
    })?;
    assert_eq!(totals(&mut operator)?.0, wanted);
    Ok(())
}
