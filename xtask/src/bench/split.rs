//! `cargo xtask bench --split`: reads at a replica (`policy = "read-write-split"`), on one host: sysbench with transactions, which are the
//! primary's, and without, and how many commands came to the daemon.

use super::load::{Load, measure};
use super::peer::{Peer, Way};
use super::sample::Series;
use super::workload::Workload;
use super::{Arguments, Interrupt, Shuffle, table};
use crate::run;
use anyhow::{Context as _, Result};
use sluice_tests::cluster::Cluster;
use sluice_tests::config::Config;
use sluice_tests::path::Path;
use sluice_tests::rights::Rights;
use sluice_tests::server::USER_ROOT;
use sluice_tests::stage::{Front, Setting};
use sluice_tests::topology::{Hosts, Topology};
use sluice_tests::wait;
use sluice_tests::wire::Connection;
use std::time::Duration;

const WORKLOADS: [Workload; 3] = [
    Workload::PointSelect,
    Workload::ReadOnly,
    Workload::ReadWrite,
];
/// For the daemon to find out who is what.
const KNOWN: Duration = Duration::from_secs(20);

/// One that is compared.
struct Compared {
    peer: Peer,
    /// Takes writes.
    writes: bool,
    /// Its daemon's counters; none of a direct connection.
    operator: Option<Connection>,
    /// Commands that were spliced and relayed in the runs of the workload under way.
    moved: [u64; 2],
}

/// Measures and prints.
pub(super) fn measure_all(
    arguments: &Arguments,
    shuffle: &mut Shuffle,
    interrupt: &Interrupt,
) -> Result<()> {
    let hosts = Hosts::local();
    let cluster = Cluster::start(&hosts.node, 1)?;
    cluster.open(0)?.run("CREATE DATABASE sbtest")?;
    run::run_quietly(&mut Workload::prepare(&Way::Tcp(cluster.address(0)?)))?;
    cluster.catch_up(1, 0)?;
    let config = Config::new().cluster(
        cluster
            .configured("east")
            .line("policy = \"read-write-split\""),
    );
    let mut all = Vec::new();
    for (name, node) in [("direct", 0), ("direct, replica", 1)] {
        all.push(Compared {
            peer: Peer::at(name, cluster.address(node)?),
            writes: node == 0,
            operator: None,
            moved: [0; 2],
        });
    }
    let mut fronts = Vec::new();
    for (name, path) in [
        ("Sluice local", Path::Spliced),
        ("Sluice relay", Path::Relayed),
    ] {
        let setting = Setting {
            topology: Topology::Local,
            path,
            rights: Rights::Tests,
        };
        let front = Front::start_with_config(setting, &hosts.proxy, &config, &[])?;
        let mut operator = front.open(USER_ROOT, "")?;
        wait::until_true("the daemon knows primary and replica", KNOWN, || {
            let rows = operator.run("SHOW PROXYCLUSTER")?.texts()?;
            let role = rows.first().and_then(|row| row.get(4)?.as_deref());
            Ok(role == Some("primary;replica"))
        })?;
        all.push(Compared {
            peer: Peer::at(name, front.address()),
            writes: true,
            operator: Some(operator),
            moved: [0; 2],
        });
        fronts.push(front);
    }
    for workload in WORKLOADS {
        for skip_trx in [false, true] {
            // Single reads have no transactions.
            if workload == Workload::PointSelect && !skip_trx {
                continue;
            }
            for threads in &arguments.threads {
                let load = Load {
                    skip_trx,
                    ..arguments.load(workload, *threads)
                };
                compare(&mut all, load, arguments.runs, shuffle, interrupt)?;
            }
        }
    }
    Ok(())
}

/// All runs of one workload, and their table.
fn compare(
    all: &mut [Compared],
    load: Load<'_>,
    runs: usize,
    shuffle: &mut Shuffle,
    interrupt: &Interrupt,
) -> Result<()> {
    let reads_only = load.workload != Workload::ReadWrite;
    let mut fit: Vec<_> = all
        .iter_mut()
        .filter(|one| one.writes || reads_only)
        .collect();
    let mut series: Vec<_> = fit.iter().map(|one| Series::new(&one.peer.name)).collect();
    for one in &mut fit {
        one.moved = [0; 2];
    }
    for _ in 0..runs {
        for number in shuffle.order(fit.len()) {
            interrupt.check()?;
            let (Some(one), Some(series)) = (fit.get_mut(number), series.get_mut(number)) else {
                continue;
            };
            let before = one.moved_so_far()?;
            series.samples.push(measure(&one.peer, load)?);
            for (at, after) in one.moved_so_far()?.into_iter().enumerate() {
                let before = before.get(at).copied().unwrap_or_default();
                if let Some(moved) = one.moved.get_mut(at) {
                    *moved += after.saturating_sub(before);
                }
            }
        }
    }
    println!(
        "\n{}{}, --db-ps-mode={}, {} connections",
        load.workload.name(),
        if load.skip_trx {
            " without transactions"
        } else {
            ""
        },
        load.db_ps_mode,
        load.threads
    );
    print!("{}", table::table(load.workload.unit(), &series));
    for one in fit.iter().filter(|one| one.operator.is_some()) {
        let [spliced, relayed] = one.moved;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = relayed as f64 * 100.0 / (spliced + relayed).max(1) as f64;
        println!(
            "{}: {relayed} of {} commands came to the daemon ({share:.2} %)",
            one.peer.name,
            spliced + relayed
        );
    }
    Ok(())
}

impl Compared {
    /// The daemon's counts of commands that were spliced and relayed; 0 without one.
    fn moved_so_far(&mut self) -> Result<[u64; 2]> {
        let Some(operator) = &mut self.operator else {
            return Ok([0; 2]);
        };
        let rows = operator
            .run("SHOW PROXYSTAT LIKE '%ed_commands'")?
            .texts()?;
        let count = |name: &str| {
            let row = rows
                .iter()
                .find(|row| row.first().and_then(Option::as_deref) == Some(name));
            let value = row.and_then(|row| row.get(1)?.as_deref()?.parse().ok());
            value.with_context(|| format!("no {name}: {rows:?}"))
        };
        Ok([count("spliced_commands")?, count("relayed_commands")?])
    }
}
