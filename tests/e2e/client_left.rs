//! A client that leaves in the middle of its query: the node stops.

use crate::{
    case::Case,
    kill::{COMPUTE, DEADLINE, computes, id, interruptible, monitor_account, monitored, node_id},
};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{Kind, PASSWORD, USER},
    stage::{Front, Stage},
    wire::{Connection, command},
};
use std::{
    net::Shutdown,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("by_fin", by_fin).with(&Kind::ALL).daemon(),
    Case::new("by_reset", by_reset).with(&Kind::ALL).daemon(),
    Case::new("with_more_commands_behind", with_more_commands_behind).daemon(),
    Case::new("half_and_reads_on", half_and_reads_on).daemon(),
    Case::new("without_a_monitor", without_a_monitor).daemon(),
];

/// Within which the node must have stopped.
const PROMPTLY: Duration = Duration::from_secs(1);
/// Several tests share two cores: one prompt end of so many proves that it takes no longer by itself.
const CLIENTS: usize = 3;

/// A client whose node computes, and its id there.
fn computing(front: &Front, direct: &mut Connection) -> Result<(Connection, String)> {
    let mut client = front.open(USER, PASSWORD)?;
    let node_id = node_id(&mut client)?;
    client.send_command(&command::query(COMPUTE.as_bytes()))?;
    computes(direct, &node_id, true)?;
    Ok((client, node_id))
}

fn leave(stage: &Stage, prepare: impl Fn(&mut Connection) -> Result<()>, side: &str) -> Result<()> {
    let (user, password) = monitor_account(stage);
    let front = monitored(stage, user, password)?;
    let mut direct = stage.open_direct()?;
    let mut fastest = DEADLINE;
    for _ in 0..CLIENTS {
        let (mut client, node_id) = computing(&front, &mut direct)?;
        let cs_id = id(&client);
        prepare(&mut client)?;
        drop(client);
        let start = Instant::now();
        computes(&mut direct, &node_id, false)?;
        fastest = fastest.min(start.elapsed());
        let line = front.daemon()?.closing_line(cs_id)?;
        assert_eq!(line.field("side").as_deref(), Some(side), "{line:?}");
        let detail = line.field("detail").unwrap_or_default();
        ensure!(
            detail.ends_with("its query on the node was stopped"),
            "{line:?}"
        );
        stage.gone_from_node(&node_id)?;
    }
    ensure!(fastest < PROMPTLY, "the fastest took {fastest:?}");
    let log = front.daemon()?.log_text();
    ensure!(!log.contains("the monitor account failed"), "{log}");
    Ok(())
}

fn by_fin(stage: &Stage) -> Result<()> {
    leave(stage, |_| Ok(()), "client")
}

fn by_reset(stage: &Stage) -> Result<()> {
    leave(stage, reset_at_close, "client")
}

/// Makes the close of a connection a reset.
fn reset_at_close(client: &mut Connection) -> Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let length = libc::socklen_t::try_from(size_of_val(&linger))?;
    #[expect(unsafe_code, reason = "std cannot set SO_LINGER on stable Rust")]
    // SAFETY: the descriptor is open for as long as `client` is borrowed, and the kernel reads `length` bytes of `linger`.
    let code = unsafe {
        libc::setsockopt(
            client.stream().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        )
    };
    ensure!(code == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}

/// `COM_QUIT` lies between the query and the end.
fn with_more_commands_behind(stage: &Stage) -> Result<()> {
    leave(stage, |client| client.send_command(&[0x01]), "client")
}

/// A client that only closes its sending half reads its answer; what takes too long is stopped, and it reads that.
fn half_and_reads_on(stage: &Stage) -> Result<()> {
    let (user, password) = monitor_account(stage);
    let front = monitored(stage, user, password)?;
    let mut direct = stage.open_direct()?;
    let mut client = front.open(USER, PASSWORD)?;
    client.run("SELECT 1")?;
    client.send_command(&command::query(b"SELECT SLEEP(0.2), REPEAT('h', 3000000)"))?;
    client.stream().shutdown(Shutdown::Write)?;
    let answer = client.read_response(&[])?;
    answer.outcome.ok()?;
    ensure!(answer.wire_bytes() > 3_000_000, "the answer is cut");
    ensure!(client.closed_within(DEADLINE)?, "open though both are done");

    let mut client = front.open(USER, PASSWORD)?;
    let node_id = node_id(&mut client)?;
    client.send_command(&command::query(interruptible(stage).as_bytes()))?;
    computes(&mut direct, &node_id, true)?;
    client.stream().shutdown(Shutdown::Write)?;
    let outcome = client.read_response(&[]).context("the end")?.outcome;
    assert_eq!(outcome.code(), 1317, "{outcome}");
    ensure!(client.closed_within(DEADLINE)?, "open though both are done");
    stage.gone_from_node(&node_id)
}

/// Without an account nothing is stopped, and nothing breaks.
fn without_a_monitor(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let mut direct = stage.open_direct()?;
    let (client, node_id) = computing(&front, &mut direct)?;
    let cs_id = id(&client);
    drop(client);
    direct.run(&format!("KILL {node_id}"))?;
    let line = front.daemon()?.closing_line(cs_id)?;
    assert_eq!(line.field("detail").as_deref(), Some(""), "{line:?}");
    Ok(())
}
