//! End-to-end tests: the real daemon between real clients and real servers.
//!
//! `cargo xtask test` runs them all. By hand: `cargo test -p sluice-tests -- spliced::mariadb::login`. A test's name is its setting, its
//! server, its module and itself. Settings with all on one host are `spliced` and `relayed`; those with a remote end are named by where the
//! daemon is: `sidecar` (with the client), `node_side` (with the node), `gateway` (between the two).
//!
//! Part of the list runs again with a daemon that has the rights of its unit file only (settings `unprivileged_…`); `SLUICE_TEST_RIGHTS=unit` runs
//! all of it so.
//!
//! `SLUICE_TEST_ENDURANCE=1` (`cargo xtask test --endurance`) has `liars` count to a hundred thousand and a million, where it else does a few hundred rounds, and `stalled` have 200 readers of a gigabyte.
//!
//! `SLUICE_TEST_DIRECT=1` leaves the daemon out, to check the tests themselves. `SLUICE_TEST_WIRE=0` has sessions with a remote end relayed,
//! where else they take the wire path. `SLUICE_TEST_ONLY` is a list of parts of names, with commas: others are not run.
//! What fails beside three others runs once more, alone; `SLUICE_TEST_AGAIN=0` leaves that out. `SLUICE_TEST_SLOWNESS=10` gives everything ten times the time, for an emulated machine.
#![expect(
    clippy::print_stderr,
    reason = "what was left out, and why, belongs on the screen"
)]

mod abandoned;
mod admin_prepared;
mod after_error;
mod again;
mod attribute;
mod autocommit;
mod backslash;
mod broken_node;
mod busy;
mod bystanders;
mod case;
mod client_left;
mod close;
mod command_line;
mod containers;
mod daemon_away;
mod discovery;
mod drain;
mod driver;
mod failover;
mod failover_dropped;
mod failover_ids;
mod failover_outcome;
mod failover_refused;
mod fixtures;
mod fleet;
mod foreign_sockets;
mod frameworks;
mod galera;
mod hostile;
mod insert_id;
mod kill;
mod kill_query;
mod late_link;
mod latency;
mod liars;
mod limits;
mod links;
mod lo;
mod local_infile;
mod login;
mod many_connections;
mod moved;
mod multi;
mod narrow_path;
mod network;
mod no_node;
mod no_ring;
mod node_tls;
mod nodes;
mod on_the_wire;
mod operator;
mod overdue;
mod pipelined;
mod prepared;
mod prepared_follow;
mod processlist;
mod proxy_protocol;
mod proxyconfig;
mod proxysys;
mod rights;
mod roles;
mod server_session;
mod session;
mod spill;
mod spliced;
mod split;
mod split_ids;
mod split_legs;
mod split_mysql;
mod split_oceanbase;
mod split_own_writes;
mod split_parked;
mod split_prepared;
mod split_replicas;
mod spoofed;
mod stalled;
mod statements;
mod ties;
mod tls;
mod torture;
mod transaction;
mod tunnels;
mod uncovered;
mod unreachable_node;
mod values;
mod vanished;
mod variables;

use anyhow::Result;
use case::Case;
use libtest_mimic::Arguments;
use sluice_tests::{
    overrun, place,
    rights::{self as harness_rights, Rights},
    server::Kind,
    stage::{self, Setting, Stage},
    wait,
};
use std::{collections::BTreeMap, env, process::ExitCode, sync::Arc, time::Duration};

/// Far more than any test takes, but for those that count to a million.
const LIMIT: Duration = Duration::from_mins(10);
const LIMIT_OF_ENDURANCE: Duration = Duration::from_hours(12);

/// Most tests wait more than they compute.
const THREADS: usize = 4;

const CASES: &[(&str, &[Case])] = &[
    ("login", login::CASES),
    ("tls", tls::CASES),
    ("proxy_protocol", proxy_protocol::CASES),
    ("node_tls", node_tls::CASES),
    ("unreachable_node", unreachable_node::CASES),
    ("broken_node", broken_node::CASES),
    ("abandoned", abandoned::CASES),
    ("values", values::CASES),
    ("vanished", vanished::CASES),
    ("prepared", prepared::CASES),
    ("prepared_follow", prepared_follow::CASES),
    ("admin_prepared", admin_prepared::CASES),
    ("proxysys", proxysys::CASES),
    ("transaction", transaction::CASES),
    ("autocommit", autocommit::CASES),
    ("after_error", after_error::CASES),
    ("local_infile", local_infile::CASES),
    ("multi", multi::CASES),
    ("session", session::CASES),
    ("variables", variables::CASES),
    ("frameworks", frameworks::CASES),
    ("spliced", spliced::CASES),
    ("backslash", backslash::CASES),
    ("spill", spill::CASES),
    ("lo", lo::CASES),
    ("stalled", stalled::CASES),
    ("busy", busy::CASES),
    ("pipelined", pipelined::CASES),
    ("statements", statements::CASES),
    ("kill", kill::CASES),
    ("kill_query", kill_query::CASES),
    ("processlist", processlist::CASES),
    ("fleet", fleet::CASES),
    ("server_session", server_session::CASES),
    ("fixtures", fixtures::CASES),
    ("client_left", client_left::CASES),
    ("late_link", late_link::CASES),
    ("latency", latency::CASES),
    ("insert_id", insert_id::CASES),
    ("close", close::CASES),
    ("many_connections", many_connections::CASES),
    ("hostile", hostile::CASES),
    ("liars", liars::CASES),
    ("foreign_sockets", foreign_sockets::CASES),
    ("bystanders", bystanders::CASES),
    ("containers", containers::CASES),
    ("daemon_away", daemon_away::CASES),
    ("command_line", command_line::CASES),
    ("proxyconfig", proxyconfig::CASES),
    ("operator", operator::CASES),
    ("overdue", overdue::CASES),
    ("torture", torture::CASES),
    ("limits", limits::CASES),
    ("links", links::CASES),
    ("no_node", no_node::CASES),
    ("discovery", discovery::CASES),
    ("nodes", nodes::CASES),
    ("galera", galera::CASES),
    ("split", split::CASES),
    ("split_ids", split_ids::CASES),
    ("split_legs", split_legs::CASES),
    ("split_mysql", split_mysql::CASES),
    ("split_oceanbase", split_oceanbase::CASES),
    ("split_own_writes", split_own_writes::CASES),
    ("split_parked", split_parked::CASES),
    ("split_prepared", split_prepared::CASES),
    ("split_replicas", split_replicas::CASES),
    ("failover", failover::CASES),
    ("failover_dropped", failover_dropped::CASES),
    ("failover_ids", failover_ids::CASES),
    ("failover_outcome", failover_outcome::CASES),
    ("failover_refused", failover_refused::CASES),
    ("drain", drain::CASES),
    ("ties", ties::CASES),
    ("narrow_path", narrow_path::CASES),
    ("moved", moved::CASES),
    ("network", network::CASES),
    ("no_ring", no_ring::CASES),
    ("on_the_wire", on_the_wire::CASES),
    ("tunnels", tunnels::CASES),
    ("uncovered", uncovered::CASES),
    ("spoofed", spoofed::CASES),
    ("rights", rights::CASES),
    ("roles", roles::CASES),
];

/// What every run also tests with a daemon that has the rights of its unit only; `SLUICE_TEST_RIGHTS=unit` tests all so.
const WITH_RIGHTS_OF_UNIT: &[&str] = &["login", "spliced", "kill", "proxyconfig", "rights"];

fn main() -> Result<ExitCode> {
    harness_rights::become_daemon_if_asked()?;
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    place::sweep()?;
    let mut left_out = BTreeMap::<&str, Vec<String>>::new();
    let mut planned = Vec::new();
    let only = env::var("SLUICE_TEST_ONLY").unwrap_or_default();
    let is_wanted = |name: &str| only.split(',').any(|part| name.contains(part));
    for (module, cases) in CASES {
        let settings = settings(module);
        for case in *cases {
            for kind in case.kinds {
                for setting in settings.iter().filter(|setting| setting.is_for(*kind)) {
                    let name = format!(
                        "{}::{}::{module}::{}",
                        setting.name(),
                        kind.name(),
                        case.name
                    );
                    if !is_wanted(&name) {
                        continue;
                    }
                    match case.left_out(*setting, *kind) {
                        Some(reason) => left_out.entry(reason).or_default().push(name),
                        None => planned.push(Arc::new(Planned {
                            name,
                            case: *case,
                            setting: *setting,
                            kind: *kind,
                        })),
                    }
                }
            }
        }
    }
    let list_only = arguments.list;
    let code = again::run(arguments, &planned);
    if !list_only {
        for (reason, names) in &left_out {
            eprintln!("left out: {reason}: {}", names.join(" "));
        }
    }
    stage::tear_down()?;
    Ok(code)
}

/// The settings in which the module's cases run.
fn settings(module: &str) -> Vec<Setting> {
    let mut settings = Setting::of_this_run();
    if Rights::of_this_run() == Rights::Tests && WITH_RIGHTS_OF_UNIT.contains(&module) {
        let splicing = settings.iter().filter(|setting| setting.path.splices());
        let unprivileged: Vec<_> = splicing.map(|it| it.with_rights_of_unit()).collect();
        settings.extend(unprivileged);
    }
    settings
}

/// A case in one setting, with one make of server.
struct Planned {
    name: String,
    case: Case,
    setting: Setting,
    kind: Kind,
}

impl Planned {
    /// Runs it in the time that it has.
    fn play(&self) -> Result<()> {
        let limit = if liars::endures() {
            LIMIT_OF_ENDURANCE
        } else {
            LIMIT
        };
        let (case, setting, kind) = (self.case, self.setting, self.kind);
        overrun::within(wait::in_time(limit), move || {
            Stage::get(setting, kind)?.play(case.run)
        })
        .flatten()
    }
}
