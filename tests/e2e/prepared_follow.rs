//! Prepared statements that the kernel has executed, in a session that gets another node: that one is told what was said of their parameters, and until
//! then they keep nobody where he is. Where a case is about what the kernel does before, the session has one node to go to.

use crate::{
    attribute,
    case::Case,
    failover::Site,
    failover_ids::text,
    nodes::{port, watchful},
    pipelined::batch,
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{PASSWORD, USER, USER_ROOT},
    stage::Stage,
    wait,
    wire::{Connection, Prepared, command},
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::new("types_follow", types_follow).daemon(),
    Case::new("types_that_change_are_spliced", changing_types).daemon(),
    Case::new("what_keeps_a_session", what_keeps).daemon(),
    Case::new("cursors_that_are_read_keep_nobody", read_cursors).daemon(),
    Case::new("closes_in_front_are_spliced", closes_in_front).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(20);

/// `MYSQL_TYPE_TINY`, `_LONG`, `_DOUBLE`, `_NULL`, an unsigned `_LONGLONG`, `_VAR_STRING` and `_STRING`.
const TINY: [u8; 2] = [1, 0];
const LONG: [u8; 2] = [3, 0];
const DOUBLE: [u8; 2] = [5, 0];
const NULL: [u8; 2] = [6, 0];
const UNSIGNED: [u8; 2] = [8, 0x80];
const VAR_STRING: [u8; 2] = [0xFD, 0];
const STRING: [u8; 2] = [0xFE, 0];

/// A parameter: its type, its value, and what the server makes of it.
type Parameter = ([u8; 2], Vec<u8>, String);

fn number(value: i32) -> Parameter {
    (LONG, value.to_le_bytes().to_vec(), value.to_string())
}

fn unsigned(value: u64) -> Parameter {
    (UNSIGNED, value.to_le_bytes().to_vec(), value.to_string())
}

fn string(kind: [u8; 2], value: &str) -> Parameter {
    let length = u8::try_from(value.len()).unwrap_or_default();
    (
        kind,
        [&[length], value.as_bytes()].concat(),
        value.to_owned(),
    )
}

/// Eight of six types, with values that depend on `round`.
fn eight(round: u8) -> Vec<Parameter> {
    vec![
        number(-1 - i32::from(round)),
        unsigned(u64::MAX - u64::from(round)),
        string(VAR_STRING, &format!("text {round}")),
        (TINY, vec![round], round.to_string()),
        (NULL, Vec::new(), String::new()),
        string(STRING, &format!("other {round}")),
        number(300_000),
        (DOUBLE, 0.5_f64.to_le_bytes().to_vec(), "0.5".to_owned()),
    ]
}

/// An execution that names its parameters' types or does not.
fn execution(statement: &Prepared, parameters: &[Parameter], is_typed: bool) -> Vec<u8> {
    let mut payload = command::execute(statement.id, 0, &[]);
    let mut nulls = vec![0_u8; parameters.len().div_ceil(8)];
    for (at, (kind, ..)) in parameters.iter().enumerate() {
        if let Some(byte) = nulls.get_mut(at / 8).filter(|_| *kind == NULL) {
            *byte |= 1 << (at % 8);
        }
    }
    payload.extend(nulls);
    payload.push(u8::from(is_typed));
    if is_typed {
        payload.extend(parameters.iter().flat_map(|(kind, ..)| *kind));
    }
    payload.extend(parameters.iter().flat_map(|(_, value, _)| value));
    payload
}

/// A statement that says what the server makes of so many parameters.
fn prepare(client: &mut Connection, parameters: usize) -> Result<Prepared> {
    let all = vec!["COALESCE(?, '')"; parameters].join(", ");
    client.prepare(&format!("SELECT CONCAT_WS('/', {all})"))
}

fn says(
    client: &mut Connection,
    statement: &Prepared,
    parameters: &[Parameter],
    is_typed: bool,
) -> Result<()> {
    let found = text(&client.command(&execution(statement, parameters, is_typed))?)?;
    let wanted: Vec<_> = parameters.iter().map(|(.., shown)| &**shown).collect();
    let wanted = wanted.join("/");
    ensure!(found == wanted, "{found}, not {wanted}");
    Ok(())
}

/// Has the primary be left.
fn drain(site: &Site) -> Result<()> {
    watchful(site.cluster.configured("east").node(0, "drain = true"))
        .line("drain_timeout = \"1h\"")
        .write_to(&site.file)?;
    site.front.daemon()?.signal(libc::SIGHUP)
}

fn is_at(site: &Site, client: &mut Connection, at: usize) -> Result<()> {
    let wanted = site.cluster.address(at)?.port();
    wait::until_true("the session is at the node", DEADLINE, || {
        Ok(port(client)? == wanted)
    })
}

/// Statements that were executed, with types and without, by a session that leaves a node that is drained for the second one, and goes on at the third when
/// that one is killed.
fn types_follow(stage: &Stage) -> Result<()> {
    let site = Site::new(stage)?;
    let mut client = site.front.open(USER, PASSWORD)?;
    is_at(&site, &mut client, 0)?;
    let eight_of_them = prepare(&mut client, 8)?;
    let ten = prepare(&mut client, 10)?;
    let ten_parameters = |round| {
        let more = [string(STRING, "nine"), unsigned(10)];
        [eight(round), more.to_vec()].concat()
    };
    let named_again = prepare(&mut client, 1)?;
    let before = attribute::splice(&mut client)?;
    says(&mut client, &eight_of_them, &eight(1), true)?;
    says(&mut client, &ten, &ten_parameters(1), true)?;
    says(&mut client, &named_again, &[number(1)], true)?;
    for round in 2..9 {
        says(&mut client, &eight_of_them, &eight(round), false)?;
        says(&mut client, &named_again, &[string(STRING, "x")], true)?;
        says(&mut client, &named_again, &[string(STRING, "y")], false)?;
    }
    let after = attribute::splice(&mut client)?;
    assert_eq!(after.trapped(&before)?, 0, "{after:?}");
    assert_eq!(after.text("sticky_reason")?, "");
    for at in [1, 2] {
        if at == 1 {
            drain(&site)?;
        } else {
            site.cluster.server(1)?.kill()?;
            site.cluster.promote(2)?;
        }
        is_at(&site, &mut client, at)?;
        let before = attribute::splice(&mut client)?;
        for round in 2..9 {
            says(&mut client, &eight_of_them, &eight(round), false)?;
            says(&mut client, &ten, &ten_parameters(round), false)?;
            says(&mut client, &named_again, &[string(STRING, "z")], false)?;
            says(&mut client, &named_again, &[number(7)], true)?;
            says(&mut client, &named_again, &[number(8)], false)?;
            says(&mut client, &named_again, &[string(STRING, "z")], true)?;
        }
        // One each told it all, and the rest is spliced again.
        let after = attribute::splice(&mut client)?;
        assert!(after.trapped(&before)? <= 3, "{at}: {after:?}");
        is_at(&site, &mut client, at)?;
    }
    Ok(())
}

/// Waits until the session has said what keeps it.
fn kept_by(operator: &mut Connection, cs_id: u32, wanted: &str) -> Result<()> {
    let mut last = String::new();
    wait::until_true("it is said what keeps the session", DEADLINE, || {
        let splice = attribute::splice_of(operator, cs_id)?;
        splice.text("sticky_reason")?.clone_into(&mut last);
        Ok(last == wanted)
    })
    .with_context(|| format!("{last:?} instead of {wanted:?}"))
}

/// A driver that names types with every execution, as its values have them, leaves the kernel as little as one that never does.
fn changing_types(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &[])?;
    let mut client = site.front.open(USER, PASSWORD)?;
    is_at(&site, &mut client, 0)?;
    let statement = prepare(&mut client, 6)?;
    let parameters = |round: u8| -> Vec<_> {
        let mut all = eight(round);
        all.rotate_left(usize::from(round % 8));
        all.truncate(6);
        all
    };
    let before = attribute::splice(&mut client)?;
    for round in 0..100 {
        says(&mut client, &statement, &parameters(round), true)?;
    }
    let after = attribute::splice(&mut client)?;
    assert_eq!(after.trapped(&before)?, 0, "{after:?}");
    // And one that prepares anew each time, which is all that comes to the daemon.
    let before = after;
    for round in 0..20 {
        let once = prepare(&mut client, 6)?;
        says(&mut client, &once, &parameters(round), true)?;
        client.send_command(&command::close(once.id))?;
    }
    let after = attribute::splice(&mut client)?;
    let prepared = if stage.path().splices() { 20 } else { 0 };
    assert_eq!(after.trapped(&before)?, prepared, "{after:?}");
    drain(&site)?;
    is_at(&site, &mut client, 1)?;
    says(&mut client, &statement, &parameters(99), false)?;
    for round in 0..10 {
        says(&mut client, &statement, &parameters(round), true)?;
    }
    Ok(())
}

/// Drivers close one statement in front of the next one's execution, which is noted then.
fn closes_in_front(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &[])?;
    let mut client = site.front.open(USER, PASSWORD)?;
    is_at(&site, &mut client, 0)?;
    let statement = prepare(&mut client, 1)?;
    let before = attribute::splice(&mut client)?;
    for round in 0..20 {
        let once = prepare(&mut client, 1)?;
        says(&mut client, &once, &[number(round)], true)?;
        let payloads = [
            command::close(once.id),
            execution(&statement, &[number(round)], true),
        ];
        let answer = batch(&mut client, &payloads, 1)?.pop();
        assert_eq!(text(&answer.context("an answer")?)?, round.to_string());
    }
    let after = attribute::splice(&mut client)?;
    if stage.path().splices() {
        // All but what prepares, and the first look.
        assert_eq!(after.grown(&before, "relayed_commands")?, 21, "{after:?}");
        assert_eq!(after.grown(&before, "spliced_commands")?, 60, "{after:?}");
    }
    drain(&site)?;
    is_at(&site, &mut client, 1)?;
    says(&mut client, &statement, &[number(99)], false)
}

/// A cursor whose last row has come is closed, and keeps nobody; one that was not read to its end is open.
fn read_cursors(stage: &Stage) -> Result<()> {
    let site = Site::of(stage, 1, &[])?;
    let mut clients = Vec::new();
    for rows in [4_u32, 2] {
        let mut client = site.front.open(USER, PASSWORD)?;
        is_at(&site, &mut client, 0)?;
        client.run("USE mysql")?;
        let statement = client.prepare("SELECT seq FROM seq_1_to_3")?;
        let opened = client.command(&command::execute(statement.id, 1, &[]))?;
        opened.outcome.ok()?;
        client.send_command(&command::fetch(statement.id, rows))?;
        let mut packets = Vec::new();
        client.read_rows(&mut packets)?.ok()?;
        clients.push((client, statement));
    }
    drain(&site)?;
    let [(read, _), (open, statement)] = clients.as_mut_slice() else {
        anyhow::bail!("not two");
    };
    is_at(&site, read, 1)?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    kept_by(
        &mut operator,
        open.greeting().thread_id,
        "prepared statement",
    )?;
    assert_eq!(port(open)?, site.cluster.address(0)?.port());
    open.send_command(&command::fetch(statement.id, 2))?;
    let mut packets = Vec::new();
    open.read_rows(&mut packets)?.ok()?;
    is_at(&site, open, 1)
}

/// Long data, a cursor, types that are not known: a session stays as long as they are there, and no longer.
fn what_keeps(stage: &Stage) -> Result<()> {
    const KEPT: &str = "prepared statement";
    let site = Site::of(stage, 1, &[])?;
    let mut operator = site.front.open(USER_ROOT, "")?;
    let mut client = site.front.open(USER, PASSWORD)?;
    is_at(&site, &mut client, 0)?;
    let cs_id = client.greeting().thread_id;
    let statement = prepare(&mut client, 2)?;
    let parameters = [string(VAR_STRING, "a"), number(2)];
    for _ in 0..2 {
        says(&mut client, &statement, &parameters, true)?;
        kept_by(&mut operator, cs_id, "")?;
        client.send_command(&command::long_data(statement.id, 0, b"lo"))?;
        kept_by(&mut operator, cs_id, KEPT)?;
        client.send_command(&command::long_data(statement.id, 0, b"ng"))?;
        let found = text(&client.execute(&statement, &[None, Some(b"2")])?)?;
        assert_eq!(found, "long/2");
        kept_by(&mut operator, cs_id, "")?;
        let opened = client.command(&command::execute(
            statement.id,
            1,
            &[Some(b"c"), Some(b"3")],
        ))?;
        opened.outcome.ok()?;
        kept_by(&mut operator, cs_id, KEPT)?;
        client.send_command(&command::fetch(statement.id, 5))?;
        let mut packets = Vec::new();
        client.read_rows(&mut packets)?.ok()?;
        ensure!(packets.iter().any(|packet| packet.ends_with(b"\x03c/3")));
        let reset = [&[0x1A][..], &statement.id.to_le_bytes()].concat();
        client.command(&reset)?.outcome.ok()?;
        kept_by(&mut operator, cs_id, "")?;
        says(&mut client, &statement, &parameters, true)?;
    }
    // MariaDB's id of the statement prepared last: what it names nobody has seen, until it is named again.
    let last = prepare(&mut client, 1)?;
    let of_last = Prepared {
        id: u32::MAX,
        ..last.clone()
    };
    says(&mut client, &of_last, &[number(1)], true)?;
    kept_by(&mut operator, cs_id, KEPT)?;
    says(&mut client, &last, &[number(2)], false)?;
    kept_by(&mut operator, cs_id, KEPT)?;
    drain(&site)?;
    wait::until_true("it is said why the session stays", DEADLINE, || {
        let splice = attribute::splice_of(&mut operator, cs_id)?;
        Ok(splice.text("stays_reason")?.contains(KEPT))
    })?;
    says(&mut client, &last, &[number(3)], true)?;
    is_at(&site, &mut client, 1)?;
    says(&mut client, &last, &[number(4)], false)?;
    says(&mut client, &statement, &parameters, false)?;
    kept_by(&mut operator, cs_id, "")
}
