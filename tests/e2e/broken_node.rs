//! A node that goes silent, or parts from us, at the daemon's own statements: the client reads none of it, and nobody waits for ever.

use crate::{case::Case, kill};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    server::{PASSWORD, USER, USER_OPEN},
    stage::Stage,
    wait,
    wire::{Outcome, command, frame},
};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("silent_when_told", silent_when_told).daemon(),
    Case::new("parts_when_told", parts_when_told).daemon(),
    Case::new("silent_at_a_kill", silent_at_a_kill).daemon(),
];

const DEADLINE: Duration = Duration::from_secs(15);
/// What `MariaDB` says to a connection that somebody has killed.
const PARTING: &[u8] = b"\xff\x87\x07#70100Connection was killed";

/// What the node does at the first query with some text, instead of hearing it.
#[derive(Clone, Copy)]
enum Fault {
    /// Nothing, ever.
    Silent,
    /// It says why and closes.
    Parts,
}

/// The stage's server behind a hop that can be told to fail.
struct Node {
    address: SocketAddr,
    is_armed: Arc<AtomicBool>,
}

impl Node {
    fn start(stage: &Stage, text: &'static [u8], fault: Fault) -> Result<Self> {
        let listener = stage.listen_as_node()?;
        let address = listener.local_addr()?;
        let server = stage.node();
        let is_armed = Arc::new(AtomicBool::new(false));
        let armed = Arc::clone(&is_armed);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(server) else {
                    return;
                };
                let armed = Arc::clone(&armed);
                thread::spawn(move || hop(near, far, text, fault, &armed));
            }
        });
        Ok(Self { address, is_armed })
    }

    /// From now on it fails.
    fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }
}

/// Forwards a connection, both ways, until one side closes or the fault comes.
fn hop(
    mut near: TcpStream,
    mut far: TcpStream,
    text: &[u8],
    fault: Fault,
    is_armed: &AtomicBool,
) -> Option<()> {
    let (mut back_from, mut back_to) = (far.try_clone().ok()?, near.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Both);
    });
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = near.read(&mut bytes).ok()?;
        let heard = bytes.get(..length)?;
        if length == 0 {
            return far.shutdown(Shutdown::Both).ok();
        }
        let is_it = heard.windows(text.len()).any(|part| part == text);
        if is_it && is_armed.load(Ordering::SeqCst) {
            if let Fault::Parts = fault {
                near.write_all(&frame(PARTING, 1).0).ok()?;
                return near.shutdown(Shutdown::Both).ok();
            }
            // Whatever else is said is not heard either.
            while near.read(&mut bytes).ok()? != 0 {}
            return far.shutdown(Shutdown::Both).ok();
        }
        far.write_all(heard).ok()?;
    }
}

/// A session that has a variable to be told, in front of a node that fails when it is.
fn told(stage: &Stage, fault: Fault) -> Result<()> {
    let node = Node::start(stage, b"\x03SET ", fault)?;
    let front = stage.private(node.address, &[])?;
    let mut victim = front.open(USER_OPEN, "")?;
    victim.run("SET @kept = 'kept'")?;
    victim.run("SELECT 1")?;
    let own_id = kill::node_id(&mut victim)?;
    let mut root = front.open("root", "")?;
    node.arm();
    let start = Instant::now();
    let list = format!("SHOW PROXYSESSION SERVER {}", kill::id(&victim));
    let rows = root.run(&list)?.texts()?;
    let ss_id = rows.first().and_then(|row| row.first()?.clone());
    let ss_id = ss_id.context("no ss_id")?;
    match root
        .query(&format!("KILL PROXYSESSION SERVER {ss_id}"))?
        .outcome
    {
        Outcome::Error {
            code: 1105,
            message,
            ..
        } if message.contains("the node") => {}
        other => bail!("{other}"),
    }
    // The session is where it was, and has heard nothing.
    for round in 0..5 {
        assert_eq!(
            victim
                .run(&format!("SELECT CONCAT(@kept, {round})"))?
                .text()?,
            format!("kept{round}")
        );
    }
    assert_eq!(kill::node_id(&mut victim)?, own_id);
    ensure!(start.elapsed() < DEADLINE, "it took {:?}", start.elapsed());
    Ok(())
}

fn silent_when_told(stage: &Stage) -> Result<()> {
    told(stage, Fault::Silent)
}

fn parts_when_told(stage: &Stage) -> Result<()> {
    told(stage, Fault::Parts)
}

/// Who ends a session without a monitor account has his own connection do it. If that does not answer, the victim is gone all the same and
/// the killer is told so, before he loses a connection that hangs.
fn silent_at_a_kill(stage: &Stage) -> Result<()> {
    let node = Node::start(stage, b"\x03KILL ", Fault::Silent)?;
    let front = stage.private(node.address, &[])?;
    let mut victim = front.open(USER, PASSWORD)?;
    let victims = kill::node_id(&mut victim)?;
    victim.send_command(&command::query(b"SELECT SLEEP(20)"))?;
    let mut direct = stage.open_direct()?;
    let sleeps = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {victims} AND info LIKE '%SLEEP%'"
    );
    wait::until_true("the victim's query runs", DEADLINE, || {
        Ok(direct.run(&sleeps)?.text()? == "1")
    })?;
    let mut killer = front.open(USER, PASSWORD)?;
    killer.run("SELECT 1")?;
    node.arm();
    let start = Instant::now();
    killer.run(&format!("KILL {}", kill::id(&victim)))?;
    ensure!(start.elapsed() < DEADLINE, "it took {:?}", start.elapsed());
    kill::last_words(&mut victim)?;
    ensure!(killer.closed_within(DEADLINE)?, "the killer is not closed");
    let line = front.daemon()?.closing_line(kill::id(&killer))?;
    assert_eq!(line.field("side").as_deref(), Some("node"), "{line:?}");
    Ok(())
}
