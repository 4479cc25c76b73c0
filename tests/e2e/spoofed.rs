//! Segments that no kernel would send, against the wire: a client that says two things under one number, and strangers who know a connection's
//! addresses. Nothing gets to the node but what the classifier has let pass or the daemon has read, and the session goes on.

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    frames::{FRAME_BYTES_MAX, Frames},
    mariadb,
    network::{
        CLIENT_INTERFACE, Family, NODE_INTERFACE, Network, PROXY_CLIENT_INTERFACE,
        PROXY_NODE_INTERFACE,
    },
    path::Path,
    raw_tcp::{ACK, FIN, PSH, Peer, RST, SYN, Wires},
    server::{PASSWORD, Server, USER, USER_ROOT},
    stage::{Front, Stage},
    topology::{Hosts, Topology},
    wait,
    wire::{Connection, Login, command, frame},
};
use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("two_texts_under_one_number", two_texts_under_one_number)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("other_text_when_done", other_text_when_done)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("strangers", strangers)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("resets_and_syns", resets_and_syns)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("unreachable", unreachable)
        .only(Path::Wire)
        .between_hosts(),
    Case::new("end_with_a_command", end_with_a_command)
        .only(Path::Wire)
        .between_hosts(),
];

const DEADLINE: Duration = Duration::from_secs(20);
/// After this time a neighbour's address is looked up again.
const FORGOTTEN: Duration = Duration::from_millis(400);
/// What is watched for after each lie.
const SPAN: Duration = Duration::from_millis(60);
/// An address of the client's link that no kernel has, and its port.
const OWN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 78, 1, 77), 40_077);
/// Nobody's hardware address.
const NOWHERE: &str = "02:00:00:00:00:01";

/// A client played by this process, with a session that is spliced over the wire.
struct Site {
    network: Arc<Network>,
    hosts: Hosts,
    server: Server,
    /// Says what the daemon knows.
    operator: Connection,
    session: Connection,
    peer: Peer,
    /// The node's name of the session.
    thread: String,
    watch: Watch,
    _front: Front,
}

impl Site {
    fn new(stage: &Stage) -> Result<Self> {
        let network = Arc::new(Network::new()?);
        let hosts = Hosts::of(Topology::Gateway, &network, Family::V4);
        let server = mariadb::start(&["--general-log", "--log-output=TABLE"], &hosts.node)?;
        let front = Front::start(stage.setting(), &hosts.proxy, server.address(), &[])?;
        let SocketAddr::V4(address) = front.address() else {
            anyhow::bail!("not an IPv4 address")
        };
        let wires = Wires::of(
            (network.client(), CLIENT_INTERFACE),
            (network.proxy(), PROXY_CLIENT_INTERFACE),
        )?;
        let own = OWN.ip().to_string();
        point(&network, &own, &wires.from(), PROXY_CLIENT_INTERFACE)?;
        let client = (&**network.client(), CLIENT_INTERFACE);
        let (peer, stream) = Peer::connect(client, wires, OWN, address)?;
        let mut session = Connection::greet_on(stream)?;
        session.log_in(&Login::new(USER, PASSWORD))?.ok()?;
        let thread = session.run("SELECT CONNECTION_ID()")?.text()?;
        let root = format!("{USER_ROOT}@sys");
        let operator = hosts.client.enter(|| front.open(&root, ""))??;
        let watch = Watch::start(&network)?;
        let mut site = Self {
            network,
            hosts,
            server,
            operator,
            session,
            peer,
            thread,
            watch,
            _front: front,
        };
        site.is_spliced()?;
        Ok(site)
    }

    fn spliced_commands(&mut self) -> Result<u64> {
        let id = self.session.greeting().thread_id;
        let splice = attribute::splice_of(&mut self.operator, id)?;
        splice.number("spliced_commands")
    }

    /// Commands are answered, and after some the kernel moves them again.
    fn is_spliced(&mut self) -> Result<()> {
        let before = self.spliced_commands()?;
        let mut number = 0;
        wait::until_true("it is spliced", DEADLINE, || {
            number += 1;
            let text = format!("honest {number}");
            let told = self.session.run(&format!("SELECT '{text}'"))?.text()?;
            ensure!(told == text, "{told}");
            Ok(self.spliced_commands()? >= before + 3)
        })
    }

    /// Whether segments to the node get lost.
    fn lose(&self, loses: bool) -> Result<()> {
        let real = Wires::of(
            (self.network.node(), NODE_INTERFACE),
            (self.network.proxy(), PROXY_NODE_INTERFACE),
        )?;
        let to = if loses {
            NOWHERE.to_owned()
        } else {
            real.from()
        };
        let node = self.hosts.node.address().to_string();
        point(&self.network, &node, &to, PROXY_NODE_INTERFACE)?;
        // The kernel's programs believe what they have learnt of a neighbour for 268 ms.
        wait::throughout(FORGOTTEN, || Ok(()))
    }

    /// No lie has got to the node, and none was executed; the session is as before.
    fn is_unharmed(&mut self) -> Result<()> {
        self.is_spliced()?;
        let hidden = self.session.run("SELECT @hidden IS NULL")?.text()?;
        assert_eq!(hidden, "1", "a lie was executed");
        self.is_spliced()?;
        self.nothing_hidden()
    }

    fn nothing_hidden(&mut self) -> Result<()> {
        let node = self.server.address();
        let sql = format!(
            "SELECT argument FROM mysql.general_log WHERE thread_id = {} AND argument LIKE '%hidden%'",
            self.thread
        );
        let executed = self.hosts.node.enter(|| -> Result<_> {
            let mut direct = Connection::open(node, &Login::new(USER_ROOT, ""))?;
            direct.run(&sql)?.texts()
        })??;
        let others = executed.iter().flatten().flatten();
        let lies: Vec<_> = others
            .filter(|text| !text.ends_with("@hidden IS NULL"))
            .collect();
        ensure!(lies.is_empty(), "executed: {lies:?}");
        Ok(())
    }
}

/// Has the proxy send what is for an address to this hardware.
fn point(network: &Network, address: &str, hardware: &str, interface: &str) -> Result<()> {
    let words = format!("neigh replace {address} lladdr {hardware} dev {interface} nud permanent");
    let words: Vec<_> = words.split(' ').collect();
    network.proxy().ip(&words).map(drop)
}

/// Looks at all that comes to the node's host, whoever its hardware address is for.
struct Watch {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Vec<u8>>>>>,
}

impl Watch {
    fn start(network: &Network) -> Result<Self> {
        let frames = Frames::open(network.node(), NODE_INTERFACE)?;
        frames.wait_for(Duration::from_millis(20))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || -> Result<Vec<Vec<u8>>> {
            let (mut seen, mut buffer) = (Vec::new(), vec![0; FRAME_BYTES_MAX]);
            while !over.load(Ordering::Relaxed) {
                while let Some(frame) = frames.receive(&mut buffer)? {
                    seen.push(frame.to_vec());
                }
            }
            ensure!(frames.missed()? == 0, "frames were missed");
            Ok(seen)
        });
        Ok(Self {
            is_over,
            thread: Some(thread),
        })
    }

    /// How many of the frames held these bytes. Ends it.
    fn held(&mut self, bytes: &[u8]) -> Result<usize> {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it is over")?;
        let seen = wait::joined(thread.join(), "the watch")??;
        ensure!(!seen.is_empty(), "nothing was seen");
        let holds = |frame: &&Vec<u8>| frame.windows(bytes.len()).any(|part| part == bytes);
        Ok(seen.iter().filter(holds).count())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A whole query in a packet.
fn query(text: &str) -> Vec<u8> {
    frame(&command::query(text.as_bytes()), 0).0
}

/// The honest text, and what is said under its numbers: from which byte on, and what.
fn lies(honest: &[u8]) -> Vec<(&'static str, usize, Vec<u8>)> {
    let text = honest.get(5..).unwrap_or_default();
    let set = format!("{:1$}", "SET @hidden = 7", text.len());
    let assigns = format!("{:1$}", "', @hidden := 7 -- ", text.len() - 10);
    let mut both = query(&set);
    both.extend(query("SET @hidden = 8"));
    let cut = query(&set).get(..20).unwrap_or_default().to_vec();
    vec![
        ("another of that length", 0, query(&set)),
        ("another end", 15, assigns.into_bytes()),
        ("two others", 0, both),
        ("the front of another", 0, cut),
    ]
}

/// A command is spliced and lost behind the proxy; before it is sent again, another one is said under its numbers.
fn two_texts_under_one_number(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage)?;
    let text = "honest and long enough for what is said in its place";
    let honest = query(&format!("SELECT '{text}'"));
    for (what, at, bytes) in lies(&honest) {
        site.lose(true)?;
        site.peer.hold(true);
        let (number, _) = site.peer.numbers();
        site.peer.send(&honest)?;
        wait::throughout(SPAN, || Ok(()))?;
        let number = number.wrapping_add(u32::try_from(at)?);
        // Lost as well, then not.
        site.peer.inject(number, PSH | ACK, &bytes)?;
        wait::throughout(SPAN, || Ok(()))?;
        site.lose(false)?;
        for _ in 0..3 {
            site.peer.inject(number, PSH | ACK, &bytes)?;
        }
        wait::throughout(SPAN, || Ok(()))?;
        site.peer.hold(false);
        site.session.expect_answer(1);
        let answer = site.session.read_response(&[]).context(what)?;
        assert_eq!(answer.text()?, text, "{what}");
        site.peer.settle().context(what)?;
        site.is_unharmed().context(what)?;
    }
    assert_eq!(site.watch.held(b"@hidden = ")?, 0, "on the node's wire");
    Ok(())
}

/// The same once the command has been executed.
fn other_text_when_done(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage)?;
    let honest = query("SELECT 'honest and long enough for what is said in its place'");
    for (what, at, bytes) in lies(&honest) {
        let (number, _) = site.peer.numbers();
        site.peer.send(&honest)?;
        site.session.expect_answer(1);
        site.session
            .read_response(&[])
            .context(what)?
            .outcome
            .ok()?;
        let number = number.wrapping_add(u32::try_from(at)?);
        let bytes = bytes
            .get(..bytes.len().min(honest.len() - at))
            .unwrap_or_default();
        for _ in 0..3 {
            site.peer.inject(number, PSH | ACK, bytes)?;
        }
        wait::throughout(SPAN, || Ok(()))?;
        site.is_unharmed().context(what)?;
    }
    Ok(())
}

/// Numbers beyond every window, before it and far away, from the next one.
const FAR: [u32; 4] = [1 << 24, 1 << 30, 1 << 31, (1_u32 << 24).wrapping_neg()];

/// Hosts on both sides say something under the session's addresses, with numbers that are not its.
fn strangers(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage)?;
    let behind = Frames::open(site.network.node(), NODE_INTERFACE)?;
    let wires = Wires::of(
        (site.network.node(), NODE_INTERFACE),
        (site.network.proxy(), PROXY_NODE_INTERFACE),
    )?;
    let lie = query("SET @hidden = 7");
    for far in FAR {
        for flags in [PSH | ACK, ACK, FIN | PSH | ACK] {
            let (next, expected) = site.peer.numbers();
            let number = next.wrapping_add(far);
            for acknowledged in [expected, expected.wrapping_add(far), 0] {
                let numbers = (number, acknowledged);
                site.peer.inject_by(&behind, wires, numbers, flags, &lie)?;
            }
            site.peer.inject(number, flags, &lie)?;
            let told = site.session.run("SELECT 'told'")?.text()?;
            assert_eq!(told, "told", "{far:x} {flags:x}");
        }
        site.is_unharmed().with_context(|| format!("{far:x}"))?;
    }
    assert_eq!(site.watch.held(b"SET @hidden")?, 0);
    Ok(())
}

/// A RST that is not exactly the next, and a SYN, are answered with a challenge at most (RFC 5961): the session lives.
fn resets_and_syns(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage)?;
    for (name, flags) in [
        ("RST", RST),
        ("RST ACK", RST | ACK),
        ("SYN", SYN),
        ("SYN ACK", SYN | ACK),
    ] {
        let near: &[u32] = if flags & SYN != 0 {
            &[0, 1]
        } else {
            &[1, 1000]
        };
        for far in near.iter().chain(&FAR) {
            let what = || format!("{name} {far:x}");
            let (next, _) = site.peer.numbers();
            site.peer.inject(next.wrapping_add(*far), flags, &[])?;
            wait::throughout(SPAN / 4, || Ok(()))?;
            ensure!(!site.peer.was_reset(), "{}", what());
            let told = site.session.run("SELECT 'told'").with_context(what)?;
            assert_eq!(told.text()?, "told", "{}", what());
        }
        site.is_unharmed().context(name)?;
    }
    Ok(())
}

/// ICMP's codes for a network, a host and a port that cannot be reached, and for what somebody forbids (RFC 1812).
const UNREACHABLE: [u8; 4] = [0, 1, 3, 13];

/// The client's host, or somebody in its name, says that it cannot be reached: to TCP that is a soft error (RFC 1122, section 4.2.3.9), whatever moves the
/// segments.
fn unreachable(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage)?;
    for code in UNREACHABLE {
        for back in [0, 1, 20, 1000] {
            let (_, expected) = site.peer.numbers();
            let number = expected.wrapping_sub(back);
            site.peer.inject_unreachable(code, number)?;
            let told = site.session.run("SELECT 'told'")?.text()?;
            assert_eq!(told, "told", "{code}, {back}");
            // While the daemon has the command.
            site.peer.inject_unreachable(code, number)?;
            let read = site.session.run("SELECT @hidden IS NULL")?.text()?;
            assert_eq!(read, "1", "{code}, {back}");
        }
        ensure!(!site.peer.was_reset(), "{code}");
        site.is_unharmed().with_context(|| code.to_string())?;
    }
    Ok(())
}

/// A command in the segment that ends the stream is executed once and answered, then both connections end.
fn end_with_a_command(stage: &Stage) -> Result<()> {
    let mut site = Site::new(stage)?;
    let honest = query("SELECT 'the last'");
    let (next, _) = site.peer.numbers();
    for _ in 0..3 {
        site.peer.inject(next, FIN | PSH | ACK, &honest)?;
    }
    // Another one under the same numbers, when its end is known.
    site.peer
        .inject(next, FIN | PSH | ACK, &query("SET @hidden = 7 "))?;
    site.session.expect_answer(1);
    assert_eq!(site.session.read_response(&[])?.text()?, "the last");
    ensure!(site.session.closed_within(DEADLINE)?, "it is still open");
    site.nothing_hidden()?;
    assert_eq!(site.watch.held(b"SET @hidden")?, 0);
    Ok(())
}
