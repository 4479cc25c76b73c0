//! Peers that log in and then lie, or stop: nodes whose packets are other than they say, clients whose commands are, and clients that stop in every
//! phase. The daemon lives on, holds no more memory than before, and others never notice.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    config::{Cluster, Config},
    pattern::Random,
    server::{PASSWORD, USER},
    stage::{Front, Stage},
    wait,
    wire::{Connection, Login, command, frame},
};
use std::{
    env,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("nodes", nodes).daemon(),
    Case::new("clients", clients).daemon(),
    Case::new("stops_in_every_phase", stops_in_every_phase).daemon(),
    Case::new("bad_logins", bad_logins).daemon(),
    Case::new("logins", logins).daemon(),
    Case::new("statements", statements).daemon(),
];

/// What a daemon may grow by under attack, allocator and all.
const GROWTH_MAX: u64 = 32 << 20;
/// Clients at once of a node that lies: most of the time they wait.
const CONVERSERS: usize = 16;
/// How long a client waits that has been lied to: more bytes may have been promised than there are.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has `attack` at a daemon in front of `node`, which must be as if nothing had been; `calm` is called before each look. A session at another cluster, whose
/// node never lies, notices nothing of it.
fn survives(
    stage: &Stage,
    node: SocketAddr,
    calm: impl Fn(),
    attack: impl FnOnce(&Front) -> Result<()>,
) -> Result<()> {
    let config = Config::new()
        .cluster(Cluster::mysql("main", &[node]))
        .cluster(Cluster::mysql("honest", &[stage.node()]));
    let flags = ["--login-timeout", "3s", "--connect-timeout", "1s"];
    let front = stage.private_with_config(&config, &flags)?;
    serves(&front)?;
    let mut bystander = front.open(&format!("{USER}@sys#honest"), PASSWORD)?;
    let before = front.daemon()?.resident_bytes()?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let standing_by = scope.spawn(|| stands_by(&mut bystander, &is_over));
        let attacked = attack(&front);
        is_over.store(true, Ordering::SeqCst);
        let rounds = wait::joined(standing_by.join(), "the bystander").flatten();
        attacked?;
        let rounds = rounds.context("a session of another node")?;
        ensure!(rounds > 10, "it was asked {rounds} times only");
        Ok(())
    })?;
    calm();
    serves(&front)?;
    let after = front.daemon()?.resident_bytes()?;
    ensure!(
        after < before + GROWTH_MAX,
        "the daemon grew from {before} to {after} bytes"
    );
    let log = front.daemon()?.log_text();
    ensure!(!log.contains("panicked"), "{log}");
    assert_eq!(front.daemon()?.stop()?, 0);
    Ok(())
}

/// Asks what it knows the answers of, spliced and not, until the attack is over. How often.
fn stands_by(connection: &mut Connection, is_over: &AtomicBool) -> Result<u32> {
    let mut rounds = 0;
    while !is_over.load(Ordering::SeqCst) {
        rounds += 1;
        assert_eq!(
            connection.run(&format!("SELECT {rounds}"))?.text()?,
            rounds.to_string()
        );
        let large = connection.run("SELECT REPEAT('h', 100000)")?.cell()?;
        ensure!(large == vec![b'h'; 100_000], "round {rounds}");
        connection.run(&format!("SET @v = {rounds}"))?;
        assert_eq!(
            connection.run("SELECT @v")?.text()?,
            rounds.to_string(),
            "a variable"
        );
    }
    Ok(rounds)
}

fn serves(front: &Front) -> Result<()> {
    let mut connection = front.open(USER, PASSWORD)?;
    assert_eq!(connection.run("SELECT 'served'")?.text()?, "served");
    Ok(())
}

/// A hop to the stage's server that changes bytes of what the server says, while it is told to.
struct Liar {
    address: SocketAddr,
    lies: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Liar {
    fn start(stage: &Stage) -> Result<Self> {
        let listener = stage.listen_as_node()?;
        let liar = Self {
            address: listener.local_addr()?,
            lies: Arc::new(AtomicBool::new(false)),
            count: Arc::new(AtomicU64::new(0)),
        };
        let (server, lies, count) = (
            stage.node(),
            Arc::clone(&liar.lies),
            Arc::clone(&liar.count),
        );
        thread::spawn(move || {
            for (seed, near) in (0..).zip(listener.incoming().map_while(Result::ok)) {
                let Ok(far) = TcpStream::connect(server) else {
                    return;
                };
                let (lies, count) = (Arc::clone(&lies), Arc::clone(&count));
                thread::spawn(move || hop(near, far, Random::new(seed), &lies, &count));
            }
        });
        Ok(liar)
    }
}

/// Forwards a connection both ways until one side closes. In every third piece of what the server says up to four bytes are others, mostly of its
/// first header: length, sequence number and kind.
fn hop(
    near: TcpStream,
    far: TcpStream,
    mut random: Random,
    lies: &AtomicBool,
    count: &AtomicU64,
) -> Option<()> {
    let (mut from_client, mut to_server) = (near.try_clone().ok()?, far.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let (mut from_server, mut to_client) = (far, near);
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = from_server.read(&mut bytes).ok()?;
        if length == 0 {
            return to_client.shutdown(Shutdown::Both).ok();
        }
        let said = bytes.get_mut(..length)?;
        if lies.load(Ordering::SeqCst) && random.below(3) == 0 {
            for _ in 0..=random.below(4) {
                let reach = if random.below(3) == 0 {
                    length
                } else {
                    length.min(8)
                };
                let place = random.below(reach);
                *said.get_mut(place)? = u8::try_from(random.below(256)).ok()?;
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
        to_client.write_all(said).ok()?;
    }
}

fn nodes(stage: &Stage) -> Result<()> {
    let liar = Liar::start(stage)?;
    let calm = || liar.lies.store(false, Ordering::SeqCst);
    survives(stage, liar.address, calm, |front| {
        liar.lies.store(true, Ordering::SeqCst);
        // What comes of it is the liar's business: an error, another row, silence or the end.
        let address = front.address();
        thread::scope(|scope| {
            for _ in 0..CONVERSERS {
                scope.spawn(move || {
                    for _ in 0..12 {
                        let _ = converse(address);
                    }
                });
            }
        });
        let told = liar.count.load(Ordering::SeqCst);
        ensure!(told > 100, "only {told} lies");
        Ok(())
    })
}

/// Hangs up when a client has waited long enough.
fn hang_up_later(stream: &TcpStream) -> Result<()> {
    let stream = stream.try_clone()?;
    thread::spawn(move || {
        let _ = wait::throughout(PATIENCE, || Ok(()));
        let _ = stream.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// A session as far as it goes.
fn converse(address: SocketAddr) -> Result<()> {
    let stream = TcpStream::connect(address)?;
    hang_up_later(&stream)?;
    let mut connection = Connection::greet_on(stream)?;
    connection.log_in(&Login::new(USER, PASSWORD))?;
    for statement in [
        "SELECT 1",
        "SET @a = 1",
        "SELECT REPEAT('a', 3000), @a",
        "DO 0",
        "SELECT 1",
    ] {
        connection.query(statement)?;
    }
    let prepared = connection.prepare("SELECT 7")?;
    connection.execute(&prepared, &[])?;
    Ok(())
}

fn clients(stage: &Stage) -> Result<()> {
    survives(
        stage,
        stage.node(),
        || {},
        |front| {
            thread::scope(|scope| {
                let rounds: Vec<_> = (0..CONVERSERS)
                    .map(|seed| scope.spawn(move || lies_of_clients(front, seed as u64)))
                    .collect();
                rounds
                    .into_iter()
                    .try_for_each(|round| wait::joined(round.join(), "a client that lies")?)
            })
        },
    )
}

fn lies_of_clients(front: &Front, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    for round in 0..9 {
        let mut connection = front.open(USER, PASSWORD)?;
        connection.run("SELECT 1")?;
        let (mut bytes, _) = frame(&command::query(b"SELECT 'whole'"), 0);
        match round % 3 {
            // Another sequence number than a command's.
            0 => set(&mut bytes, 3, 1 + random.below(255)),
            // A length that is not the payload's.
            1 => set(&mut bytes, random.below(3), random.below(256)),
            // Another kind of command, whose insides are a query's text.
            _ => set(&mut bytes, 4, random.below(0x20)),
        }
        hang_up_later(connection.stream())?;
        connection.send_raw(&bytes)?;
        let _ = connection.read_packet();
        if random.below(2) == 0 {
            let _ = connection.stream().shutdown(Shutdown::Write);
            let _ = connection.read_packet();
        }
    }
    Ok(())
}

fn set(bytes: &mut [u8], place: usize, value: usize) {
    if let (Some(byte), Ok(value)) = (bytes.get_mut(place), u8::try_from(value)) {
        *byte = value;
    }
}

/// Those that stop, by whether they are logged in.
#[derive(Default)]
struct Stopped {
    strangers: Vec<Connection>,
    sessions: Vec<Connection>,
}

impl Stopped {
    /// One more in each phase.
    fn add(&mut self, front: &Front) -> Result<()> {
        let login = Login::new(USER, PASSWORD);
        self.strangers.push(Connection::greet(front.address())?);
        let mut in_login = Connection::greet(front.address())?;
        let (bytes, _) = frame(&in_login.login_packet(&login)?, 1);
        in_login.send_raw(bytes.split_at(bytes.len() / 2).0)?;
        self.strangers.push(in_login);
        // What follows the login packet is asked for and never sent.
        let mut asked = Connection::greet(front.address())?;
        let packet = asked.login_packet(&login)?;
        asked.send_packet(&packet)?;
        let question = asked.read_packet()?;
        ensure!(question.first() == Some(&0xFE), "{question:?}");
        self.strangers.push(asked);
        let (query, _) = frame(&command::query(b"SELECT REPEAT('a', 4000000)"), 0);
        // The beginning of one of four million bytes.
        let (large, _) = frame(&command::query(&[b'a'; 1000].repeat(4000)), 0);
        // Of the last one the answer is never read.
        let parts = [
            (&query, 2),
            (&query, 4),
            (&query, 9),
            (&large, 100_000),
            (&query, 40),
        ];
        for (bytes, length) in parts {
            let mut session = front.open(USER, PASSWORD)?;
            session.run("SELECT 1")?;
            session.send_raw(bytes.get(..length.min(bytes.len())).unwrap_or_default())?;
            self.sessions.push(session);
        }
        Ok(())
    }
}

/// Many clients at once in each phase, none of which goes on: they cost what idle ones cost, and who is not logged in is dropped in time.
fn stops_in_every_phase(stage: &Stage) -> Result<()> {
    survives(
        stage,
        stage.node(),
        || {},
        |front| {
            let before = front.daemon()?.resident_bytes()?;
            let mut stopped = Stopped::default();
            for _ in 0..15 {
                stopped.add(front)?;
            }
            for _ in 0..20 {
                serves(front)?;
            }
            let during = front.daemon()?.resident_bytes()?;
            ensure!(
                during < before + GROWTH_MAX,
                "the daemon grew from {before} to {during} bytes"
            );
            for stranger in &stopped.strangers {
                is_dropped(stranger.stream())?;
            }
            for session in &mut stopped.sessions {
                session.stream().set_nonblocking(true)?;
                let end = session.stream().read(&mut [0; 1]);
                ensure!(!matches!(end, Ok(0)), "a session was dropped");
            }
            Ok(())
        },
    )
}

/// The end of the stream comes, behind an error perhaps; the login's deadline is a few seconds.
fn is_dropped(mut stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(wait::in_time(Duration::from_secs(30))))?;
    loop {
        match stream.read(&mut [0; 512]) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error).context("who has not logged in is not dropped"),
        }
    }
}

/// As many of what is counted as the environment says, else a few: `SLUICE_TEST_ENDURANCE=1` takes the numbers of the README.
fn times(few: u32, many: u32) -> u32 {
    if endures() { many } else { few }
}

/// Whether this is the run that counts that far.
pub(crate) fn endures() -> bool {
    env::var_os("SLUICE_TEST_ENDURANCE").is_some_and(|value| value != "0")
}

/// Memory once half of `count` rounds are over, and when all are: within 5 %, or what one slab of the allocator makes of few.
fn is_flat(front: &Front, count: u32, mut round: impl FnMut() -> Result<()>) -> Result<()> {
    const SLACK: u64 = 1 << 20;
    let daemon = front.daemon()?;
    let start = Instant::now();
    let mut half = 0;
    for done in 0..count {
        if done == count / 2 {
            half = daemon.resident_bytes()?;
        }
        round().with_context(|| format!("round {done}"))?;
    }
    let whole = daemon.resident_bytes()?;
    if endures() {
        let seconds = start.elapsed().as_secs();
        eprintln!("{count} rounds in {seconds} s: {half} bytes half-way, {whole} at the end");
    }
    ensure!(
        whole <= half + half / 20 + SLACK,
        "after {} rounds {half} bytes, after {count} {whole}",
        count / 2
    );
    Ok(())
}

fn bad_logins(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let login = Login::new(USER, "wrong");
    is_flat(&front, times(600, 100_000), || {
        let outcome = Connection::greet(front.address())?.log_in(&login)?;
        assert_eq!(outcome.code(), 1045, "{outcome}");
        Ok(())
    })?;
    serves(&front)
}

fn logins(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    is_flat(&front, times(600, 100_000), || serves(&front))
}

/// Relayed and spliced ones, of many texts, in one session.
fn statements(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let mut connection = front.open(USER, PASSWORD)?;
    let mut number = 0_u64;
    is_flat(&front, times(6_000, 1_000_000), || {
        number += 1;
        let statement = match number % 10 {
            0 => format!("SET @v{} = {number}", number % 500),
            1 => format!("SELECT @v{}", number % 500),
            _ => format!("SELECT {number}"),
        };
        connection.run(&statement).map(|_| ())
    })?;
    serves(&front)
}
