//! Clients that speak no MySQL, or half of it: answered or dropped in time, at no cost in memory, and others never notice.

use crate::case::Case;
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    pattern::Random,
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Login, frame},
};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("random_bytes", random_bytes).daemon(),
    Case::new("cut_login_packets", cut_login_packets).daemon(),
    Case::new("header_without_payload", header_without_payload).daemon(),
    Case::new("slow_login", slow_login).daemon(),
    Case::new("says_nothing", says_nothing).daemon(),
    Case::new("default_timeout", default_timeout).daemon(),
    Case::new("lies_in_login_packets", lies_in_login_packets).daemon(),
    Case::new("garbage_after_login", garbage_after_login),
    Case::new("probes_are_not_logged", probes_are_not_logged).daemon(),
];

/// `--login-timeout` of most of these daemons.
const LOGIN_TIMEOUT: &str = "2s";
/// Within which such a client must be answered or dropped.
const DEADLINE: Duration = Duration::from_secs(6);
/// What a daemon may grow by, allocator and all.
const GROWTH_MAX: u64 = 32 << 20;

/// A daemon that survives `attack` as if nothing had been.
fn survives(stage: &Stage, attack: impl FnOnce(SocketAddr) -> Result<()>) -> Result<()> {
    let front = stage.private(stage.node(), &["--login-timeout", LOGIN_TIMEOUT])?;
    serves(&front)?;
    let before = front.daemon()?.resident_bytes()?;
    attack(front.address())?;
    serves(&front)?;
    let after = front.daemon()?.resident_bytes()?;
    ensure!(
        after < before + GROWTH_MAX,
        "the daemon grew from {before} to {after} bytes"
    );
    ensure!(
        !front.daemon()?.log_text().contains("panicked"),
        "{}",
        front.daemon()?.log_text()
    );
    assert_eq!(front.daemon()?.stop()?, 0);
    Ok(())
}

fn serves(front: &Front) -> Result<()> {
    let mut connection = Connection::open(front.address(), &Login::new(USER, PASSWORD))?;
    assert_eq!(connection.run("SELECT 'served'")?.text()?, "served");
    Ok(())
}

/// Reads until the end, which must come before the deadline.
fn ends(stream: &mut TcpStream, deadline: Duration) -> Result<Vec<u8>> {
    let start = Instant::now();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline
            .checked_sub(start.elapsed())
            .filter(|left| !left.is_zero())
            .context("neither answered nor dropped")?;
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(bytes),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("neither answered nor dropped within {deadline:?}")
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends; that the daemon has already hung up is no error.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    drop(stream.write_all(bytes));
}

fn all_end(mut streams: Vec<TcpStream>) -> Result<()> {
    ensure!(!streams.is_empty(), "nothing was tried");
    for (number, stream) in streams.iter_mut().enumerate() {
        ends(stream, DEADLINE).with_context(|| format!("connection {number}"))?;
    }
    Ok(())
}

fn random_bytes(stage: &Stage) -> Result<()> {
    survives(stage, |address| {
        let mut random = Random::new(51);
        let mut streams = Vec::new();
        for _ in 0..200 {
            let mut stream = TcpStream::connect(address)?;
            let length = 1 + random.below(3000);
            send(&mut stream, &random.bytes(length));
            streams.push(stream);
        }
        all_end(streams)
    })
}

fn cut_login_packets(stage: &Stage) -> Result<()> {
    survives(stage, |address| {
        let mut streams = Vec::new();
        let login = Login::new(USER, PASSWORD)
            .database("mysql")
            .attribute("name", "value");
        let length = frame(&Connection::greet(address)?.login_packet(&login)?, 1)
            .0
            .len();
        for cut in 0..length {
            let mut connection = Connection::greet(address)?;
            let (bytes, _) = frame(&connection.login_packet(&login)?, 1);
            connection.send_raw(bytes.get(..cut).context("a part")?)?;
            streams.push(connection.stream().try_clone()?);
        }
        all_end(streams)
    })
}

fn header_without_payload(stage: &Stage) -> Result<()> {
    survives(stage, |address| {
        let mut streams = Vec::new();
        for _ in 0..100 {
            let connection = Connection::greet(address)?;
            let mut stream = connection.stream().try_clone()?;
            send(&mut stream, &[0xFF, 0xFF, 0xFF, 0x01]);
            send(&mut stream, &[0x41; 2000]);
            streams.push(stream);
        }
        all_end(streams)
    })
}

/// A byte now and then: the deadline is for the whole login, not for a read.
fn slow_login(stage: &Stage) -> Result<()> {
    survives(stage, |address| {
        let mut connection = Connection::greet(address)?;
        let (bytes, _) = frame(
            &connection
                .login_packet(&Login::new(USER, PASSWORD).attribute("a", &"b".repeat(4000)))?,
            1,
        );
        let mut stream = connection.stream().try_clone()?;
        stream.set_nonblocking(true)?;
        let start = Instant::now();
        let mut bytes = bytes.iter().take(4000);
        let dropped = wait::until("the slow client is dropped", DEADLINE, || {
            wait::throughout(Duration::from_millis(50), || Ok(()))?;
            let byte = *bytes.next().context("it could log in")?;
            let written = stream.write_all(&[byte]);
            let closed = matches!(stream.read(&mut [0; 64]), Ok(0)) || written.is_err();
            Ok(closed.then(|| start.elapsed()))
        })?;
        ensure!(
            dropped > Duration::from_secs(1),
            "dropped after {dropped:?} already"
        );
        Ok(())
    })
}

fn says_nothing(stage: &Stage) -> Result<()> {
    survives(stage, |address| {
        let streams = (0..50)
            .map(|_| TcpStream::connect(address))
            .collect::<Result<Vec<_>, _>>()?;
        all_end(streams)
    })
}

/// Without any flag the login may take ten seconds.
fn default_timeout(stage: &Stage) -> Result<()> {
    let mut stream = TcpStream::connect(stage.address())?;
    let start = Instant::now();
    let greeting = ends(&mut stream, Duration::from_secs(14))?;
    ensure!(
        start.elapsed() > Duration::from_secs(6),
        "dropped after {:?} already",
        start.elapsed()
    );
    ensure!(!greeting.is_empty(), "no greeting");
    Ok(())
}

/// Whole packets whose insides claim lengths that are not there.
fn lies_in_login_packets(stage: &Stage) -> Result<()> {
    survives(stage, |address| {
        let mut random = Random::new(52);
        let mut streams = Vec::new();
        for _ in 0..300 {
            let mut connection = Connection::greet(address)?;
            let login = Login::new(USER, PASSWORD)
                .database("mysql")
                .attribute("name", "value");
            let mut payload = connection.login_packet(&login)?;
            for _ in 0..=random.below(4) {
                let place = random.below(payload.len());
                if let Some(byte) = payload.get_mut(place) {
                    *byte = u8::try_from(random.below(256))?;
                }
            }
            let mut stream = connection.stream().try_clone()?;
            send(&mut stream, &frame(&payload, 1).0);
            streams.push(stream);
        }
        // A flag that was flipped may ask for TLS, or let the client in: it then says nothing, and is dropped or idle.
        for mut stream in streams {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            let answered = stream.read(&mut [0; 4096]);
            ensure!(
                !matches!(&answered, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)),
                "neither answered nor dropped"
            );
        }
        Ok(())
    })
}

/// Bytes of a client that is logged in: each command gets an answer or the end.
fn garbage_after_login(stage: &Stage) -> Result<()> {
    let mut random = Random::new(53);
    let mut answered = 0;
    for _ in 0..150 {
        let mut connection = stage.open()?;
        connection.stream().set_read_timeout(Some(DEADLINE))?;
        let length = 1 + random.below(200);
        let mut payload = random.bytes(length);
        if let Some(command) = payload.first_mut() {
            // Binary log dumps and statement executions may rightly wait; unknown commands may not.
            *command = 0x30 + (*command & 0x7F);
        }
        connection.send_command(&payload)?;
        if let Ok(packet) = connection.read_packet() {
            ensure!(packet.first() == Some(&0xFF), "{packet:?}");
            answered += 1;
        }
    }
    ensure!(answered > 100, "only {answered} were answered");
    assert_eq!(stage.open()?.run("SELECT 1")?.text()?, "1");
    Ok(())
}

fn probes_are_not_logged(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &["--login-timeout", LOGIN_TIMEOUT])?;
    for _ in 0..50 {
        TcpStream::connect(front.address())?;
    }
    serves(&front)?;
    let mut line = None;
    wait::throughout(Duration::from_secs(3), || {
        let lines = front.daemon()?.lines();
        line = lines
            .iter()
            .find(|line| line.message() == "session closed")
            .cloned();
        let closed = lines
            .iter()
            .filter(|line| line.message() == "session closed")
            .count();
        ensure!(
            closed <= 1,
            "{closed} closing lines for one session and fifty probes"
        );
        Ok(())
    })?;
    let line = line.context("the one session's closing line")?;
    assert_eq!(line.field("user").as_deref(), Some(USER));
    Ok(())
}
