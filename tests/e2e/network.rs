//! Sessions with a remote end over IPv6 and over links with faults; and that the faults and the capture do what they are for.

use crate::{attribute, case::Case, torture};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    capture::{Arrived, Capture},
    faults::Faults,
    frames::{Frames, HEADER_BYTES},
    network::{self, Family, Link, Network},
    offload::{self, Offload},
    path::Path,
    pattern::Random,
    server::{PASSWORD, USER},
    stage::{Front, Setting, Stage},
    topology::Topology,
    wait,
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("ipv6", ipv6).except(is_local, ONE_HOST),
    Case::new("routes_change", routes_change).except(is_local, ONE_HOST),
    Case::new("one_percent_lost", one_percent_lost).except(is_local, ONE_HOST),
    Case::new("five_percent_lost", five_percent_lost).except(is_local, ONE_HOST),
    Case::new("faults_happen", faults_happen)
        .only(Path::Relayed)
        .local()
        .root(),
    Case::new("checksums_are_seen", checksums_are_seen)
        .only(Path::Relayed)
        .local()
        .root(),
    Case::new("captures_end", captures_end)
        .only(Path::Relayed)
        .local()
        .root(),
];

const ONE_HOST: &str = "all on one host, it is about what is between hosts";

fn is_local(setting: Setting) -> bool {
    setting.topology == Topology::Local
}

fn ipv6(stage: &Stage) -> Result<()> {
    let hosts = stage.hosts().by(Family::V6);
    let node = SocketAddr::new(hosts.node.address(), stage.node().port());
    let front = Front::start(stage.setting(), &hosts.proxy, node, &[])?;
    let mut connection = front.open(USER, PASSWORD)?;
    let peer = connection.stream().local_addr()?;
    ensure!(peer.is_ipv6(), "{peer}");
    let mut random = Random::new(6);
    for round in 0..40_usize {
        let value = random.letters(round * round * 200);
        let sql = [b"SELECT '", &value[..], b"'"].concat();
        let answer = connection.command(&sluice_tests::wire::command::query(&sql))?;
        ensure!(answer.cell()? == value, "round {round}");
        connection.run(&format!("SET @v = {round}"))?;
        assert_eq!(connection.run("SELECT @v")?.text()?, round.to_string());
    }
    if front.daemon().is_ok() {
        connection.run("SELECT 1")?;
        let splice = attribute::splice(&mut connection)?;
        assert_eq!(splice.text("path")?, stage.path().shown(), "{splice:?}");
        let sql = "SHOW PROXYSESSION ATTRIBUTE LIKE 'host_ip'";
        let rows = connection.run(sql)?.texts()?;
        let seen = rows.first().and_then(|row| row.get(1)).cloned().flatten();
        assert_eq!(seen, Some(peer.ip().to_string()));
    }
    Ok(())
}

/// With any new address the kernel forgets the routes that its sockets hold, and a segment that a program puts into lo must find its own.
fn routes_change(stage: &Stage) -> Result<()> {
    let proxy = Arc::clone(stage.hosts().network()?.proxy());
    // The topologies share the proxy's host.
    let address = format!("10.78.0.{}/32", 9 + stage.setting().topology as u8);
    let mut connection = stage.open()?;
    for round in 0..5 {
        let number = round.to_string();
        assert_eq!(connection.run(&format!("SELECT {round}"))?.text()?, number);
        proxy.ip(&["address", "add", &address, "dev", "lo"])?;
        assert_eq!(connection.run(&format!("SELECT {round}"))?.text()?, number);
        proxy.ip(&["address", "del", &address, "dev", "lo"])?;
        assert_eq!(connection.run(&format!("SELECT {round}"))?.text()?, number);
    }
    if stage.daemon().is_ok() {
        let splice = attribute::splice(&mut connection)?;
        assert_eq!(splice.text("path")?, stage.path().shown(), "{splice:?}");
    }
    Ok(())
}

fn one_percent_lost(stage: &Stage) -> Result<()> {
    over_faults(stage, 10)
}

fn five_percent_lost(stage: &Stage) -> Result<()> {
    over_faults(stage, 50)
}

/// Random sessions, with as many segments lost, as many doubled and as many swapped on every link.
fn over_faults(stage: &Stage, per_thousand: usize) -> Result<()> {
    torture::is_clean(stage, 8, per_thousand)
}

/// Sends `bytes` from the client's host to the node's, which sends them back; returns how long it took.
fn echo(network: &Network, bytes: &[u8]) -> Result<Duration> {
    let node = || TcpListener::bind((Family::V4.node(), 0));
    let listener = network.node().enter(node)??;
    let address = listener.local_addr()?;
    let start = Instant::now();
    let back = thread::scope(|scope| -> Result<Vec<u8>> {
        let far = scope.spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            std::io::copy(&mut stream.try_clone()?, &mut stream)?;
            Ok(())
        });
        let connect = || TcpStream::connect(address);
        let mut near = network.client().enter(connect)??;
        let mut reader = near.try_clone()?;
        let back = scope.spawn(move || -> Result<Vec<u8>> {
            let mut back = Vec::new();
            reader.read_to_end(&mut back)?;
            Ok(back)
        });
        near.write_all(bytes)?;
        near.shutdown(std::net::Shutdown::Write)?;
        wait::joined(far.join(), "the far end")??;
        wait::joined(back.join(), "the near end")?
    })?;
    ensure!(back == bytes, "came back as others");
    Ok(start.elapsed())
}

/// TCP bears them all; none happens unasked.
fn faults_happen(_: &Stage) -> Result<()> {
    let bytes = Random::new(5).bytes(6_000_000);
    for (per_thousand, links) in [
        (0, &[Link::Node][..]),
        (10, &[Link::Client, Link::Node]),
        (50, &[Link::Client]),
    ] {
        let network = Network::with_faults(links, Faults::each(per_thousand), 7)?;
        let elapsed = echo(&network, &bytes)?;
        let happened = network.happened();
        assert_eq!(happened.len(), links.len());
        for link in happened {
            // Each segment is a frame of its own: there and back, none is larger than Ethernet's.
            let least = 2 * u64::try_from(bytes.len() / 1500)?;
            ensure!(link.segments >= least, "{link:?}");
            for count in [link.lost, link.doubled, link.swapped] {
                let rate = count * 1000 / link.segments;
                let wanted = u64::try_from(per_thousand)?;
                ensure!(
                    rate >= wanted / 2 && rate <= wanted * 2,
                    "{rate} of a thousand: {link:?} in {elapsed:?}"
                );
            }
        }
    }
    Ok(())
}

/// What the client sends, as it arrives at the node.
fn captured(network: &Network, send: impl FnOnce() -> Result<()>) -> Result<Arrived> {
    let capture = Capture::start(network.node(), network::NODE_INTERFACE)?;
    send()?;
    let arrived = capture.end()?;
    assert_eq!(arrived.missed, 0, "{arrived:?}");
    Ok(arrived)
}

/// Though the interface is never silent.
fn captures_end(_: &Stage) -> Result<()> {
    let network = Network::new()?;
    let frames = Frames::open(network.proxy(), network::PROXY_NODE_INTERFACE)?;
    let capture = Capture::start(network.node(), network::NODE_INTERFACE)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sends = || {
            wait::every(Duration::from_millis(5), &is_over, || {
                ensure!(frames.send(&[0; HEADER_BYTES + 60]), "not sent");
                Ok(())
            })
        };
        let sending = scope.spawn(sends);
        let arrived = capture.end();
        is_over.store(true, Ordering::Relaxed);
        wait::joined(sending.join(), "the sender")??;
        arrived.map(drop)
    })
}

fn checksums_are_seen(_: &Stage) -> Result<()> {
    let network = Network::new()?;
    let bytes = Random::new(6).bytes(3_000_000);
    // Left to a card that is none: they never get filled in.
    let arrived = captured(&network, || echo(&network, &bytes).map(drop))?;
    ensure!(arrived.partial > 0 && arrived.large > 0, "{arrived:?}");
    assert_eq!((arrived.whole, arrived.wrong), (0, 0), "{arrived:?}");
    for (host, interface) in [
        (network.client(), network::CLIENT_INTERFACE),
        (network.proxy(), network::PROXY_NODE_INTERFACE),
    ] {
        offload::set(host, interface, Offload::Checksum, false)?;
    }
    let arrived = captured(&network, || echo(&network, &bytes).map(drop))?;
    ensure!(arrived.whole > 2000, "{arrived:?}");
    let others = (arrived.partial, arrived.large, arrived.wrong);
    assert_eq!(others, (0, 0, 0), "{arrived:?}");
    // A capture that finds nothing wrong must be able to.
    let arrived = captured(&network, || {
        let frames = Frames::open(network.proxy(), network::PROXY_NODE_INTERFACE)?;
        let mut frame = vec![0; HEADER_BYTES + 12];
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend([10, 78, 2, 1, 10, 78, 2, 2]);
        frame.extend([0; 20]);
        ensure!(frames.send(&frame), "not sent");
        Ok(())
    })?;
    assert_eq!(arrived.wrong, 1, "{arrived:?}");
    let text = arrived.texts.first().context("no text")?;
    ensure!(text.starts_with("IPv4's checksum"), "{text}");
    Ok(())
}
