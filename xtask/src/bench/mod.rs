//! `cargo xtask bench`: sysbench's point select, spliced and relayed, against a direct connection and a Unix socket; with `--admin`, what
//! admin statements cost.
//!
//! Single runs tell nothing: throughput is bimodal, by the cores on which the scheduler puts a pair (0.8 to 1.8 in the same
//! configuration). So many short runs in shuffled order are compared by their medians, with both daemons up all the time.

mod admin;
mod report;
mod shuffle;

use crate::{build, place, run, setup};
use anyhow::{Context as _, Result, bail};
use report::Measured;
use shuffle::Shuffle;
use sluice_tests::host::Host;
use sluice_tests::sluice::Sluice;
use sluice_tests::{client, mariadb, place as test_place, server};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Measure the spliced and the relayed path against a direct connection.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Length of one run in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Runs of each variant
    #[arg(long, default_value_t = 12)]
    runs: usize,
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_value = "8,64")]
    threads: Vec<u32>,
    /// sysbench's --db-ps-mode: `auto` for prepared statements, `disable` for text
    #[arg(long, default_value = "auto")]
    db_ps_mode: String,
    /// Seed of the order of runs; printed, so that an order can be had again
    #[arg(long)]
    seed: Option<u64>,
    /// Instead: the time of `SHOW PROXYSESSION` with a thousand sessions, and what it costs the data path
    #[arg(long)]
    admin: bool,
}

/// How sysbench reaches the server.
enum Way {
    Tcp(SocketAddr),
    UnixSocket(PathBuf),
}

/// Rows of the table; they fit in the server's buffer pool.
const ROWS: u32 = 10_000;

/// Measures and prints a table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Goal::Bench)?;
    if !place::is_root() {
        bail!("bench compares the spliced path, and splicing needs root");
    }
    build::build_daemon()?;
    test_place::sweep()?;
    let outcome = measure_all(arguments);
    test_place::clear()?;
    outcome
}

fn measure_all(arguments: &Arguments) -> Result<()> {
    // In the system's folder: a socket's name is limited to 107 bytes (unix(7)), and a checkout may lie deep.
    let socket = std::env::temp_dir().join(format!("sluice-bench-{}.sock", std::process::id()));
    let socket_option = format!("--socket={}", socket.display());
    let host = Host::here();
    let node = mariadb::start(&[&socket_option], &host)?;
    client::mariadb_prints(
        node.address(),
        server::USER,
        server::PASSWORD,
        &[],
        "CREATE DATABASE sbtest",
    )?;
    let direct = Way::Tcp(node.address());
    run::run_quietly(sysbench(&direct).arg("prepare"))?;
    if arguments.admin {
        return admin::measure_all(&node, arguments);
    }
    let spliced = Sluice::start(&host, node.address(), &["--splice", "require"], &[])?;
    let relayed = Sluice::start(&host, node.address(), &["--splice", "off"], &[])?;
    let ways = [
        ("direct TCP", Way::Tcp(node.address())),
        ("Unix socket", Way::UnixSocket(socket)),
        ("sluice, spliced", Way::Tcp(spliced.address())),
        ("sluice, relayed", Way::Tcp(relayed.address())),
    ];

    let mut shuffle = Shuffle::new(arguments.seed);
    println!(
        "oltp_point_select, {} runs of {} s each, --seed {}",
        arguments.runs,
        arguments.seconds,
        shuffle.seed()
    );
    for threads in &arguments.threads {
        let mut measured = ways.each_ref().map(|(name, _)| Measured::new(name));
        for _ in 0..arguments.runs {
            for number in shuffle.order(ways.len()) {
                if let (Some((_, way)), Some(measured)) =
                    (ways.get(number), measured.get_mut(number))
                {
                    measured.per_second.push(measure(way, *threads, arguments)?);
                }
            }
        }
        println!("\n{threads} connections\n{}", report::table(&measured));
    }
    Ok(())
}

/// One run; returns queries per second.
fn measure(way: &Way, threads: u32, arguments: &Arguments) -> Result<f64> {
    let mut command = sysbench(way);
    command
        .arg(format!("--threads={threads}"))
        .arg(format!("--time={}", arguments.seconds));
    command.arg(format!("--db-ps-mode={}", arguments.db_ps_mode));
    let output = run::capture(command.arg("run"))?;
    report::queries_per_second(&output)
        .with_context(|| format!("sysbench printed no queries per second:\n{output}"))
}

fn sysbench(way: &Way) -> Command {
    let program =
        place::find_program("sysbench").unwrap_or_else(|| Path::new("sysbench").to_owned());
    let mut command = Command::new(program);
    command.args(["oltp_point_select", "--tables=1", "--mysql-db=sbtest"]);
    command.arg(format!("--table-size={ROWS}"));
    command
        .arg(format!("--mysql-user={}", server::USER))
        .arg(format!("--mysql-password={}", server::PASSWORD));
    match way {
        Way::Tcp(address) => command
            .arg(format!("--mysql-host={}", address.ip()))
            .arg(format!("--mysql-port={}", address.port())),
        Way::UnixSocket(path) => command.arg(format!("--mysql-socket={}", path.display())),
    };
    command
}
