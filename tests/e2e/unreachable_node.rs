//! A node that is down, and one that hangs: the client is told so, in time.

use crate::{case::Case, login::refusal};
use anyhow::{Result, bail, ensure};
use sluice_tests::{
    client::Client,
    server::{PASSWORD, USER},
    stage::Stage,
    wire::{Login, Outcome},
};
use std::time::{Duration, Instant};

pub(crate) const CASES: &[Case] = &[
    Case::new("down", node_down).daemon(),
    Case::new("hangs", node_hangs).daemon(),
];

fn node_down(stage: &Stage) -> Result<()> {
    let node = stage.nowhere()?;
    let front = stage.private(node, &[])?;
    let Outcome::Error {
        code,
        state,
        message,
    } = refusal(front.address(), &Login::new(USER, PASSWORD))?
    else {
        bail!("let in without a node")
    };
    // The client has said nothing of itself yet, and MariaDB's C library takes 2003 for an error of its own.
    assert_eq!((code, state.as_str()), (1105, "HY000"), "{message}");
    ensure!(
        message.starts_with(&format!("Can't connect to MySQL server on '{node}' ("))
            && message.ends_with(" (error 2003)"),
        "{message}"
    );
    let stock = Client::new(front.address(), USER, PASSWORD).execute("SELECT 1")?;
    ensure!(stock.stderr.contains(&message), "{}", stock.stderr);
    assert_eq!(front.daemon()?.ended()?, None);
    Ok(())
}

fn node_hangs(stage: &Stage) -> Result<()> {
    // The kernel completes the connection; nobody ever reads or writes it.
    let silent = stage.listen_as_node()?;
    let front = stage.private(
        silent.local_addr()?,
        &["--connect-timeout", "1s", "--login-timeout", "5s"],
    )?;
    let start = Instant::now();
    let refused = refusal(front.address(), &Login::new(USER, PASSWORD))?;
    assert_eq!(refused.code(), 1105, "{refused}");
    ensure!(
        start.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        start.elapsed()
    );
    Ok(())
}
