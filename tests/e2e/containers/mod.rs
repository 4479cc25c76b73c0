//! Clients and nodes in other network namespaces of the daemon's host are spliced as those in its own; sockets that only have the same addresses
//! are left alone.

mod double;
mod hosts;
mod program;
mod sockmap;

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use double::Double;
use hosts::{BACK, CLIENT, Hosts, address, gate};
use program::{NAME, Program, TCX_EGRESS, TCX_INGRESS, Watcher};
use sluice_tests::{
    netns::Netns, path::Path, pattern::Random, sluice, stage::Stage, wait, wire::Connection,
};
use sockmap::Mesh;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("spliced", spliced)
        .only(Path::Spliced)
        .local()
        .root(),
    Case::new("same_tuple", same_tuple)
        .only(Path::Spliced)
        .local()
        .root(),
    Case::new("same_tuple_in_a_handshake", same_tuple_in_a_handshake)
        .only(Path::Spliced)
        .local()
        .root(),
    Case::new("own_namespace_only", own_namespace_only)
        .only(Path::Spliced)
        .local()
        .root(),
    Case::new("two_daemons", two_daemons)
        .only(Path::Spliced)
        .local()
        .root(),
    Case::new("foreign_program", foreign_program)
        .only(Path::Spliced)
        .local()
        .root(),
    Case::new("foreign_filters", foreign_filters)
        .only(Path::Spliced)
        .local()
        .root(),
    Case::new("foreign_sockmap", foreign_sockmap)
        .only(Path::Spliced)
        .local()
        .root(),
    Case::new("doctor_names_them", doctor_names_them)
        .only(Path::Spliced)
        .local()
        .root(),
];

/// Commands of many kinds; those that can be are spliced.
fn moves_in_the_kernel(connection: &mut Connection, seed: u64) -> Result<()> {
    let before = attribute::splice(connection)?;
    assert_eq!(before.text("path")?, "local", "{before:?}");
    works(connection, seed)?;
    let after = attribute::splice(connection)?;
    // Right after a SET and what it left the session is relayed.
    ensure!(
        after.grown(&before, "spliced_commands")? >= 25
            && after.grown(&before, "spliced_bytes_to_client")? > 8 * 400_000,
        "{before:?} {after:?}"
    );
    Ok(())
}

/// Whatever the path is.
fn works(connection: &mut Connection, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    for (round, length) in (0..10).flat_map(|round| [(round, 500), (round, 400_000)]) {
        let number = connection.run(&format!("SELECT {round}"))?.text()?;
        assert_eq!(number, round.to_string());
        let text = String::from_utf8(random.letters(length / 1000 + 500))?;
        let sql = format!("SELECT CONCAT('{text}', REPEAT('r', {length}))");
        let value = connection.run(&sql)?.text()?;
        ensure!(value == text + &"r".repeat(length), "the value differs");
    }
    for round in 0..5 {
        connection.run(&format!("SET @v = {round}"))?;
        let number = connection.run("SELECT @v")?.text()?;
        assert_eq!(number, round.to_string());
        let text = String::from_utf8(random.letters(30_000))?;
        let value = connection.run(&format!("SELECT '{text}'"))?.text()?;
        ensure!(value == text, "the value differs");
    }
    Ok(())
}

fn spliced(_stage: &Stage) -> Result<()> {
    let hosts = Hosts::new()?;
    for family in [0, 1] {
        let daemon = hosts.daemon(hosts.node(family)?)?;
        for client in [&hosts.client, &hosts.own] {
            moves_in_the_kernel(&mut hosts::open(client, gate(family, &daemon)?)?, 1)?;
        }
        // The client has the address family of the listener's other half.
        moves_in_the_kernel(
            &mut hosts::open(&hosts.client, gate(1 - family, &daemon)?)?,
            2,
        )?;
    }
    Ok(())
}

/// While a session lives, another network has connections with the tuples of both of its legs.
fn same_tuple(_stage: &Stage) -> Result<()> {
    let hosts = Hosts::new()?;
    let node = hosts.node(0)?;
    let daemon = hosts.daemon(node)?;
    let mut session = hosts::open(&hosts.client, gate(0, &daemon)?)?;
    works(&mut session, 3)?;
    let client = session.stream().local_addr()?;
    let host = "SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()";
    let leg = session.run(host)?.text()?;
    let port = leg.rsplit(':').next().context("a port")?.parse()?;
    let leg = address(BACK, 0, port)?;
    let mut doubles = [
        Double::open(&hosts, client, gate(0, &daemon)?)?,
        Double::open(&hosts, leg, node)?,
    ];
    for double in &mut doubles {
        double.is_left_alone()?;
        double.talk()?;
    }
    moves_in_the_kernel(&mut session, 4)?;
    for double in &mut doubles {
        double.talk()?;
    }
    // The session's end is not theirs, and what comes after it is not theirs either.
    drop(session);
    moves_in_the_kernel(&mut hosts::open(&hosts.client, gate(0, &daemon)?)?, 5)?;
    for double in &mut doubles {
        double.talk()?;
        double.is_left_alone()?;
    }
    Ok(())
}

/// The one moment at which a tuple is all that is known: a listener answers a SYN, and the answer does not arrive. Who has the same tuple in
/// another network and is established just then is taken for the client, and must be found out.
fn same_tuple_in_a_handshake(_stage: &Stage) -> Result<()> {
    let hosts = Hosts::new()?;
    let daemon = hosts.daemon(hosts.node(0)?)?;
    let at = gate(0, &daemon)?;
    let logged_in = &AtomicBool::new(false);
    double::lose_answers(&hosts, CLIENT[0], true)?;
    thread::scope(|scope| {
        let opening = scope.spawn(|| hosts::open(&hosts.client, at));
        let port = hosts
            .client
            .enter(|| double::port_of_unanswered(at.port()))??;
        let mut double = Double::open(&hosts, address(CLIENT, 0, port)?, at)?;
        double::lose_answers(&hosts, CLIENT[0], false)?;
        let talking = scope.spawn(move || -> Result<Double> {
            while !logged_in.load(Ordering::Relaxed) {
                double.talk()?;
            }
            Ok(double)
        });
        let session = wait::joined(opening.join(), "the client");
        logged_in.store(true, Ordering::Relaxed);
        let mut double = wait::joined(talking.join(), "the double")??;
        let mut session = session??;
        assert_eq!(session.stream().local_addr()?.port(), port);
        let splice = attribute::splice(&mut session)?;
        assert_eq!(splice.text("path")?, "wire", "{splice:?}");
        works(&mut session, 6)?;
        double.talk()
    })?;
    moves_in_the_kernel(&mut hosts::open(&hosts.client, at)?, 7)
}

/// Where the operator does not want it, what is in another namespace is remote.
fn own_namespace_only(_stage: &Stage) -> Result<()> {
    let hosts = Hosts::new()?;
    let daemon = hosts.daemon_of(hosts.node(0)?, "own")?;
    for client in [&hosts.client, &hosts.own] {
        let mut session = hosts::open(client, gate(0, &daemon)?)?;
        works(&mut session, 8)?;
        let splice = attribute::splice(&mut session)?;
        assert_eq!(splice.text("path")?, "wire", "{splice:?}");
    }
    Ok(())
}

/// Two daemons on one host, both at once, and one in front of the other.
fn two_daemons(_stage: &Stage) -> Result<()> {
    let hosts = Hosts::new()?;
    let first = hosts.daemon(hosts.node(0)?)?;
    let second = hosts.daemon(hosts.node(0)?)?;
    thread::scope(|scope| {
        let clients: Vec<_> = [&first, &second, &first, &second]
            .into_iter()
            .zip(10..)
            .map(|(daemon, seed)| {
                let hosts = &hosts;
                scope.spawn(move || {
                    moves_in_the_kernel(&mut hosts::open(&hosts.client, gate(0, daemon)?)?, seed)
                })
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| wait::joined(client.join(), "a client")?)
    })?;
    let mut session = hosts::open(&hosts.client, gate(0, &first)?)?;
    second.kill()?;
    moves_in_the_kernel(&mut session, 14)?;
    let before_it = hosts.daemon(gate(0, &first)?)?;
    let mut chained = hosts::open(&hosts.client, gate(0, &before_it)?)?;
    works(&mut chained, 15)?;
    moves_in_the_kernel(&mut session, 16)?;
    works(&mut chained, 17)?;
    Ok(())
}

/// Somebody else's `sock_ops` programs, attached before the daemon's and after, miss nothing and make nobody miss anything.
fn foreign_program(_stage: &Stage) -> Result<()> {
    let hosts = Hosts::new()?;
    let before = Program::attach()?;
    let daemon = hosts.daemon(hosts.node(0)?)?;
    let after = Program::attach()?;
    let mut session = hosts::open(&hosts.client, gate(0, &daemon)?)?;
    moves_in_the_kernel(&mut session, 20)?;
    let grows = |program: &Program| -> Result<()> {
        let seen = program.established()?;
        hosts::open(&hosts.client, gate(0, &daemon)?)?;
        // The client's connection, and the daemon's.
        let now = program.established()?;
        ensure!(now >= seen + 2, "{seen}, then {now}");
        Ok(())
    };
    grows(&before)?;
    grows(&after)?;
    drop(before);
    moves_in_the_kernel(&mut session, 21)?;
    grows(&after)?;
    daemon.kill()?;
    let seen = after.established()?;
    let node = hosts.node(0)?;
    hosts::open(&hosts.client, node).err();
    hosts::open(&hosts.node, node)?;
    ensure!(after.established()? > seen, "it sees nothing any more");
    Ok(())
}

/// Programs on an interface's hooks, attached before the daemon's and after, see what is spliced there, and may come and go.
fn foreign_filters(_stage: &Stage) -> Result<()> {
    let hosts = Hosts::new()?;
    let shown = hosts.own.ip(&["-o", "link", "show", "dev", "back"])?;
    let index = shown.split(':').next().context("a number")?.parse()?;
    let watch = || {
        hosts.own.enter(|| -> Result<Vec<_>> {
            let hooks = [(TCX_INGRESS, "e2e_in"), (TCX_EGRESS, "e2e_out")];
            let watchers = hooks.map(|(hook, name)| Watcher::attach(index, hook, name));
            watchers.into_iter().filter_map(Result::transpose).collect()
        })?
    };
    let before = watch()?;
    let daemon = hosts.daemon_of(hosts.node(0)?, "own")?;
    let after = watch()?;
    // A kernel without TCX has no such programs, nor the daemon's.
    let has_tcx = daemon.log_text().contains("covered (TCX)");
    ensure!(before.len() == 2 && after.len() == 2 || !has_tcx);
    let mut session = hosts::open(&hosts.client, gate(0, &daemon)?)?;
    let packets = |watchers: &[Watcher]| watchers.iter().map(Watcher::packets).collect();
    let mut moves = |watchers: &[Watcher]| -> Result<()> {
        let (seen, splice): (Result<Vec<_>>, _) =
            (packets(watchers), attribute::splice(&mut session)?);
        works(&mut session, 30)?;
        let now = attribute::splice(&mut session)?;
        ensure!(now.text("path")? == "wire" && now.grown(&splice, "spliced_commands")? >= 20);
        let counts: Result<Vec<_>> = packets(watchers);
        for (now, seen) in counts?.into_iter().zip(seen?) {
            // An answer of 400 kB takes more than one; ten of them came.
            ensure!(now >= seen + 20, "{seen}, then {now}");
        }
        Ok(())
    };
    moves(&before)?;
    moves(&after)?;
    drop(before);
    moves(&after)?;
    drop(after);
    moves(&[])
}

/// Where somebody else has the sockets' messages, nothing is spliced from socket to socket. The self-test finds it, and the wire is next.
fn foreign_sockmap(_stage: &Stage) -> Result<()> {
    let hosts = Hosts::new()?;
    let mesh = hosts.own.enter(Mesh::of_this_network)??;
    let daemon = hosts.daemon(hosts.node(0)?)?;
    let mut session = hosts::open(&hosts.own, gate(0, &daemon)?)?;
    let before = attribute::splice(&mut session)?;
    works(&mut session, 40)?;
    let after = attribute::splice(&mut session)?;
    ensure!(after.text("path")? == "wire", "{after:?}");
    ensure!(after.grown(&before, "spliced_commands")? >= 20, "{after:?}");
    let warning = "sessions of this host alone are not spliced from socket to socket";
    let log = daemon.log_text();
    ensure!(log.contains(warning), "{log}");
    let (doctor, only_local) = hosts.own.enter(|| -> Result<_> {
        let doctor = sluice::command(&["doctor", "--splice", "require"])?.output()?;
        let node = hosts.node(0)?.to_string();
        let run = ["run", "--listen", "127.0.0.1:0", "--server", &node];
        let require = ["--splice", "require", "--path", "local"];
        let only_local = sluice::command(&[&run[..], &require].concat())?.output()?;
        Ok((doctor, only_local))
    })??;
    let text = String::from_utf8(doctor.stdout)?;
    ensure!(doctor.status.success(), "{text}");
    for words in ["self-test, local", "self-test, wire"] {
        let line = text.lines().find(|line| line.starts_with(words));
        let line = line.with_context(|| format!("no {words}: {text}"))?;
        ensure!(
            line.contains("failed: ") == words.ends_with("local"),
            "{text}"
        );
    }
    ensure!(
        text.contains("spliced below the sockets (path wire) by lo"),
        "{text}"
    );
    assert_eq!(only_local.status.code(), Some(3));
    drop(mesh);
    let later = hosts.daemon(hosts.node(0)?)?;
    moves_in_the_kernel(&mut hosts::open(&hosts.own, gate(0, &later)?)?, 41)
}

/// Doctor says of each program on its hooks, and of each filter, which it is and what it means.
fn doctor_names_them(_stage: &Stage) -> Result<()> {
    let netns = Netns::new()?;
    for words in [
        "link add watched type veth peer name other",
        "address add 10.77.7.1/24 dev watched",
        "link set watched up",
        "link set other up",
    ] {
        netns.ip(&words.split(' ').collect::<Vec<_>>())?;
    }
    let shown = netns.ip(&["-o", "link", "show", "dev", "watched"])?;
    let index = shown.split(':').next().context("a number")?.parse()?;
    let told = |watch: bool| -> Result<String> {
        netns.enter(|| -> Result<String> {
            let hooks = [(TCX_INGRESS, "e2e_in"), (TCX_EGRESS, "e2e_out")];
            let hooks = hooks.into_iter().filter(|_| watch);
            let watchers: Vec<_> = hooks
                .map(|(hook, name)| Watcher::attach(index, hook, name))
                .collect::<Result<_>>()?;
            let has_tcx = watchers.iter().all(Option::is_some);
            let output = sluice::command(&["doctor"])?.output()?;
            let text = String::from_utf8(output.stdout)?;
            ensure!(text.contains("watched: covered"), "{text}");
            ensure!(has_tcx || !text.contains("(TCX)"), "{text}");
            Ok(text)
        })?
    };
    let without = told(false)?;
    ensure!(!without.contains(" of watched"), "{without}");
    let program = Program::attach()?;
    let with = told(true)?;
    let mut wanted = vec![(NAME, ", sock_ops on /", ": runs beside ours")];
    if with.contains("watched: covered (TCX)") {
        wanted.extend([
            ("e2e_in", ", ingress of watched before ours: ", "sees all"),
            ("e2e_out", ", egress of watched behind ours: ", "sees all"),
        ]);
    }
    for (name, place, meaning) in wanted {
        let start = format!("{name} (id ");
        let mut lines = with
            .lines()
            .filter(|line| line.starts_with("other program"));
        let line = lines.find(|line| line.contains(&start) && line.contains(place));
        let line = line.with_context(|| format!("no {name}: {with}"))?;
        ensure!(line.contains(meaning), "{line}");
    }
    drop(program);
    Ok(())
}
