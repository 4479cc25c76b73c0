//! What clients do.

use super::peer::Way;
use crate::place;
use clap::ValueEnum;
use sluice_tests::server::{PASSWORD, USER};
use std::path::Path;
use std::process::Command;

/// Rows of the table; they fit in the server's buffer pool.
const ROWS: u32 = 10_000;

/// Workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Workload {
    /// sysbench's: one row by its key
    #[value(name = "oltp_point_select")]
    PointSelect,
    /// sysbench's: transactions of 14 SELECT
    #[value(name = "oltp_read_only")]
    ReadOnly,
    /// sysbench's: transactions of 14 SELECT and 4 statements that write
    #[value(name = "oltp_read_write")]
    ReadWrite,
    /// Results of 1 MiB
    #[value(name = "big-1m")]
    Big1M,
    /// Results of 100 MiB; 64 threads of it need 7 GB for the client
    #[value(name = "big-100m")]
    Big100M,
    /// Connect, log in, leave
    Connect,
    /// Sessions that do nothing: CPU and memory of what stands between
    Idle,
}

impl Workload {
    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PointSelect => "oltp_point_select",
            Self::ReadOnly => "oltp_read_only",
            Self::ReadWrite => "oltp_read_write",
            Self::Big1M => "big-1m",
            Self::Big100M => "big-100m",
            Self::Connect => "connect",
            Self::Idle => "idle",
        }
    }

    /// What is counted, in the plural.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::PointSelect | Self::ReadOnly | Self::ReadWrite => "queries",
            Self::Big1M | Self::Big100M => "results",
            Self::Connect => "connections",
            Self::Idle => "sessions",
        }
    }

    /// sysbench's own script, or the path of ours with its arguments.
    fn script(self) -> Vec<String> {
        let own = |name: &str| {
            let path = place::root().join("xtask/src/bench/lua").join(name);
            path.display().to_string()
        };
        match self {
            Self::PointSelect | Self::ReadOnly | Self::ReadWrite => vec![self.name().to_owned()],
            Self::Big1M => vec![own("big.lua"), "--mib=1".to_owned()],
            Self::Big100M => vec![own("big.lua"), "--mib=100".to_owned()],
            Self::Connect | Self::Idle => vec![own("connect.lua")],
        }
    }

    /// Fills the table that sysbench's own scripts read.
    pub(super) fn prepare(way: &Way) -> Command {
        let mut command = Self::PointSelect.sysbench(way, "auto");
        command.arg("prepare");
        command
    }

    /// sysbench without its last word; `db_ps_mode` is `auto` for prepared statements or `disable` for text.
    pub(super) fn sysbench(self, way: &Way, db_ps_mode: &str) -> Command {
        let program =
            place::find_program("sysbench").unwrap_or_else(|| Path::new("sysbench").to_owned());
        let mut command = Command::new(program);
        command.args(self.script()).arg("--mysql-db=sbtest");
        if self.unit() == "queries" {
            command
                .arg("--tables=1")
                .arg(format!("--table-size={ROWS}"))
                .arg(format!("--db-ps-mode={db_ps_mode}"));
        }
        command
            .arg(format!("--mysql-user={USER}"))
            .arg(format!("--mysql-password={PASSWORD}"));
        match way {
            Way::Tcp(address) => command
                .arg(format!("--mysql-host={}", address.ip()))
                .arg(format!("--mysql-port={}", address.port())),
            Way::UnixSocket(path) => command.arg(format!("--mysql-socket={}", path.display())),
        };
        command
    }
}
