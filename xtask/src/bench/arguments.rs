//! The command line.

use super::load::Load;
use super::peer::{Kind, Named};
use super::workload::Workload;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sluice_tests::topology::Topology;
use std::path::PathBuf;

/// All topologies, in the order of tables.
const TOPOLOGIES: [Topology; 4] = [
    Topology::Local,
    Topology::Sidecar,
    Topology::NodeSide,
    Topology::Gateway,
];

/// Measure Sluice on each of its paths against a direct connection and other proxies.
///
/// Every topology is made of network namespaces joined by veth pairs, which end with the bench: `local` is one host; in `sidecar` the
/// client is on the proxy's host, in `node-side` the node (MariaDB), in `gateway` neither, and a direct connection is routed through
/// the proxy's host. All peers are up all the time and take turns in shuffled order.
///
/// Tables show medians; `25 %` and `75 %` are the quartiles of the throughput. `ratio`, quartiles and latencies are relative to the direct
/// connection. `machine µs` is the CPU time of the whole machine for one query, `process µs` that of the daemon or proxy alone.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where client and node are, seen from the proxy
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = TOPOLOGIES.map(Topology::name), value_parser = topologies())]
    pub(super) topology: Vec<Topology>,
    /// What clients do
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "oltp_point_select"
    )]
    pub(super) workload: Vec<Workload>,
    /// Who is compared [default: all that the topology and this machine have]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) peers: Vec<Kind>,
    /// One more, which runs already, in front of the node's port that --node-port names (topology local)
    #[arg(long, value_name = "NAME=HOST:PORT")]
    pub(super) peer: Vec<Named>,
    /// A fixed port at which the node can be reached, too
    #[arg(long, value_name = "PORT")]
    pub(super) node_port: Option<u16>,
    /// Length of one run in seconds
    #[arg(long, default_value_t = 1)]
    pub(super) seconds: u32,
    /// Runs of each peer
    #[arg(long, default_value_t = 12)]
    pub(super) runs: usize,
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
    pub(super) threads: Vec<u32>,
    /// sysbench's --db-ps-mode: `auto` for prepared statements, `disable` for text
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(super) db_ps_mode: String,
    /// Seed of the order of runs; printed, so that an order can be had again
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Under two minutes: 3 runs of a second with 8 connections, 500 idle sessions. Shows that all works, not how fast it is
    #[arg(long)]
    pub(super) quick: bool,
    /// Sessions of the workload `idle`
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub(super) idle_sessions: usize,
    /// Folder for bench.json (every run), bench.md (tables) and bench.svg (a chart) [default: target/bench]
    #[arg(long, value_name = "FOLDER")]
    pub(super) output: Option<PathBuf>,
    /// Instead: the time of `SHOW PROXYSESSION` with a thousand sessions, and what it costs the data path
    #[arg(long)]
    pub(super) admin: bool,
    /// Instead: sysbench with its reads at a replica, on one host, and the share of commands that come to the daemon
    #[arg(long)]
    pub(super) split: bool,
}

fn topologies() -> impl TypedValueParser<Value = Topology> {
    PossibleValuesParser::new(TOPOLOGIES.map(Topology::name)).try_map(|name| {
        let mut all = TOPOLOGIES.into_iter();
        all.find(|topology| topology.name() == name)
            .ok_or("no such topology")
    })
}

impl Arguments {
    /// The same with what `--quick` changes.
    pub(super) fn settled(mut self) -> Self {
        if self.quick {
            self.runs = 3;
            self.seconds = 1;
            self.threads = vec![8];
            self.idle_sessions = self.idle_sessions.min(500);
        }
        self
    }

    pub(super) fn load(&self, workload: Workload, threads: u32) -> Load<'_> {
        Load {
            workload,
            threads,
            seconds: self.seconds,
            db_ps_mode: &self.db_ps_mode,
            skip_trx: false,
        }
    }

    /// MariaDB's options.
    pub(super) fn node_options(&self) -> Vec<String> {
        let port = |port| {
            [
                format!("--extra-port={port}"),
                "--extra-max-connections=1000".to_owned(),
            ]
        };
        self.node_port.map(port).into_iter().flatten().collect()
    }
}
