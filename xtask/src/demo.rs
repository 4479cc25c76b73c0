//! `cargo xtask demo`: a stock client, a private MariaDB, Sluice between them, and what the kernel and the daemon each moved.

use crate::{build, place, run, setup};
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::client::mariadb_prints;
use sluice_tests::host::Host;
use sluice_tests::rights::Rights;
use sluice_tests::server::{self, Server};
use sluice_tests::sluice::Sluice;
use sluice_tests::{mariadb, place as test_place, wait};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// Show a MySQL client whose bytes move in the kernel.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Exit after the show instead of staying up until Ctrl-C
    #[arg(long)]
    once: bool,
}

const USER: &str = "demo";
const PASSWORD: &str = "sluice";

/// Account and data: a table of 1,000 rows, about 1 MB.
const DATA: &str = "
    CREATE DATABASE demo;
    USE demo;
    CREATE TABLE gate (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL, note TEXT NOT NULL);
    INSERT INTO gate SELECT seq, CONCAT('gate ', seq), REPEAT(MD5(seq), 32) FROM seq_1_to_1000;
    GRANT ALL ON demo.* TO demo@'%' IDENTIFIED BY 'sluice'";

/// Printed by the client between the load and what is shown.
const MARK: &str = "load is done";

/// What the client shows at the end.
const SHOW: &str = "
    SELECT id, name FROM gate WHERE id IN (3, 14, 159);
    SHOW PROXYSESSION\\G
    SHOW PROXYSESSION ATTRIBUTE LIKE 'path';
    SHOW PROXYSESSION ATTRIBUTE LIKE '%bytes%';";

/// Runs the show.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Goal::Demo)?;
    if !place::is_root() {
        println!(
            "demo: not root, so the daemon may not load BPF programs and relays every byte itself"
        );
    }
    build::build_daemon()?;
    test_place::sweep()?;
    let outcome = show(arguments.once);
    test_place::clear()?;
    outcome
}

fn show(once: bool) -> Result<()> {
    let node = mariadb::start(&[], &Host::here())?;
    println!("demo: a private MariaDB listens on {}", node.address());
    mariadb_prints(node.address(), server::USER, server::PASSWORD, &[], DATA)?;
    let sluice = Sluice::start(
        &Host::here(),
        Rights::Tests,
        node.address(),
        &["--splice", "auto"],
        &[],
    )?;
    let mode = splice_mode(&sluice)?;
    println!("demo: sluice listens on {}, {mode}", sluice.address());

    let output = client(sluice.address(), &script())?;
    // The mark is printed three times: in the statement, as the column's name and as its value; then the table's frame ends.
    let (_, shown) = output
        .rsplit_once(MARK)
        .context("the client did not come to the end of its load")?;
    let (_, shown) = shown
        .split_once("\n--------------\n")
        .context("the client shows nothing")?;
    println!(
        "\nThe stock client read 200 rows one by one and the whole table ten times. Then:\n\n--------------\n{shown}"
    );
    let spliced = bytes(shown, "spliced_bytes_to_node")? + bytes(shown, "spliced_bytes_to_client")?;
    let relayed = bytes(shown, "relayed_bytes_to_node")? + bytes(shown, "relayed_bytes_to_client")?;
    println!("The kernel moved {spliced} bytes of this session, the daemon relayed {relayed}.");
    ensure!(
        spliced > 0 || !mode.starts_with("local"),
        "the daemon said `{mode}`, but the kernel moved nothing"
    );
    if !once {
        stay(&sluice, &node)?;
    }
    ensure!(
        sluice.stop()? == 0,
        "the daemon did not stop cleanly: {}",
        sluice.log_text()
    );
    Ok(())
}

/// 200 point selects, ten of the whole table, the mark, and what is shown.
fn script() -> String {
    let points = (1..=200).map(|id| format!("SELECT name FROM gate WHERE id = {id};\n"));
    let scans = std::iter::repeat_n("SELECT * FROM gate;\n".to_owned(), 10);
    let mut script: String = points.chain(scans).collect();
    script.extend(["SELECT '", MARK, "';\n", SHOW]);
    script
}

/// Has the stock client read a script, as `mariadb < script` does, and returns what it prints.
fn client(address: SocketAddr, script: &str) -> Result<String> {
    let file = test_place::fresh("demo")?.join("script.sql");
    fs::write(&file, script)?;
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--protocol=tcp", "--table", "--verbose"]);
    command
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()));
    command
        .arg(format!("--user={USER}"))
        .arg(format!("--password={PASSWORD}"))
        .arg("demo");
    run::capture(command.stdin(fs::File::open(&file)?))
}

/// What the daemon says about its paths, as `mode: reason`.
fn splice_mode(sluice: &Sluice) -> Result<String> {
    let line = sluice.wait_for_line("splice", Duration::from_secs(10), |line| {
        line.message() == "splice"
    })?;
    let field = |name: &str| line.field(name).unwrap_or_default();
    Ok(format!("{}: {}", field("mode"), field("reason")))
}

/// The number in the row `| name | number | splice |` of the client's table.
fn bytes(shown: &str, name: &str) -> Result<u64> {
    let row = shown
        .lines()
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    for cells in row {
        if let [_, cell, value, ..] = cells.as_slice()
            && *cell == name
        {
            return value.parse().with_context(|| format!("{name} is {value}"));
        }
    }
    bail!("SHOW PROXYSESSION ATTRIBUTE has no {name}")
}

/// Stays up until a signal ends this process; both children die with it.
fn stay(sluice: &Sluice, node: &Server) -> Result<()> {
    let line = |address: SocketAddr| {
        format!(
            "mariadb -h{} -P{} -u{USER} -p{PASSWORD} demo",
            address.ip(),
            address.port()
        )
    };
    println!(
        "\nThrough Sluice: {}\nWithout it:     {}\nCtrl-C ends both servers.",
        line(sluice.address()),
        line(node.address())
    );
    wait::until("the daemon ended", Duration::MAX, || sluice.ended())?;
    bail!("the daemon ended by itself: {}", sluice.log_text())
}
