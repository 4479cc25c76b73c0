//! High availability proven: clients write through a daemon and check what they have written, while nodes are killed, hang and change roles.
//!
//! Three MariaDB servers, one of them the primary. Replication is semi-synchronous: what a client was told is committed, a replica has, so
//! whatever is missing at the end was lost by the proxy, and whatever is there twice was sent twice.

mod client;
mod idle;
pub mod ledger;
mod nodes;
mod watch;

use crate::{
    config::Config,
    host::Host,
    pattern::Random,
    server::{PASSWORD, USER_MONITOR, USER_ROOT},
    stage::Front,
    wait,
};
use anyhow::{Context as _, Result};
use client::Client;
use idle::Idle;
use ledger::{Ledger, Tally};
use nodes::{Event, Nodes};
use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use watch::Pulse;

/// A longer time without a commit, while a node could take one, is wrong.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long nodes have troubles; none: each trouble once.
    pub span: Option<Duration>,
    /// What the troubles' order follows from.
    pub seed: u64,
    /// Clients that work.
    pub clients: u32,
    /// Clients that are idle most of the time.
    pub idle: u32,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// How often each trouble was made.
    pub events: Vec<(Event, u32)>,
    /// All clients' operations.
    pub tally: Tally,
    /// Questions that idle sessions asked, and that were answered right.
    pub idle_answers: u64,
    /// Commands that the daemon asked of a second node.
    pub retried: u64,
    /// The longest time in which no client was told that something is committed, behind when it began.
    pub longest_pause: (Duration, Duration),
    /// The same while a node took commits whenever it was asked.
    pub longest_stall: (Duration, Duration),
    /// The daemon's log.
    pub log: String,
    /// How often sessions ended, by the reason and detail in the daemon's log; those that their clients ended are not there.
    pub endings: BTreeMap<String, u64>,
    /// What must not have happened, in words.
    pub wrong: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: Vec<_> = self
            .events
            .iter()
            .map(|(event, count)| format!("{} {}", count, event.text()))
            .collect();
        writeln!(f, "troubles: {}", events.join(", "))?;
        writeln!(f, "{}", self.tally)?;
        writeln!(
            f,
            "idle sessions were answered {} times; {} commands were asked of a second node; the longest time without a commit was {:.1} s, from {:.1} s on, \
             while a node could take one {:.1} s, from {:.1} s on",
            self.idle_answers,
            self.retried,
            self.longest_pause.1.as_secs_f64(),
            self.longest_pause.0.as_secs_f64(),
            self.longest_stall.1.as_secs_f64(),
            self.longest_stall.0.as_secs_f64()
        )?;
        for (ending, count) in &self.endings {
            writeln!(f, "{count} sessions ended: {ending}")?;
        }
        for wrong in &self.wrong {
            writeln!(f, "WRONG: {wrong}")?;
        }
        write!(f, "{} wrong", self.wrong.len())
    }
}

/// Tells what happens.
type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Runs it: nodes on `host`, and the daemon that `start` starts.
///
/// # Errors
///
/// When something does not start, or the nodes do not come to rest. What the proxy did wrong is in the report.
pub fn run(
    options: Options,
    host: &Host,
    start: impl FnOnce(&Config) -> Result<Front>,
    say: Say<'_>,
) -> Result<Report> {
    let nodes = Nodes::start(host)?;
    let configured = crate::config::Cluster::mysql("ha", &nodes.addresses());
    let config = Config::new()
        .line("health.interval = \"200ms\"")
        .line("health.timeout = \"1s\"")
        .line("health.failures = 2")
        .line("log.level = \"debug\"")
        .cluster(configured.monitor(USER_MONITOR, PASSWORD));
    let front = start(&config)?;
    Nodes::known_to(&front)?;
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let pulse = Pulse::new(began);
    let (events, workers, idlers, longest_stall) = thread::scope(|scope| {
        let watch = scope.spawn(|| watch::watch(&nodes, &front, &pulse, &is_over, say));
        let idlers: Vec<_> = (0..options.idle)
            .map(|_| scope.spawn(|| Idle::default().play(&front, &is_over)))
            .collect();
        let workers: Vec<_> = (0..options.clients)
            .map(|number| {
                let (front, is_over, pulse) = (&front, &is_over, &pulse);
                scope.spawn(move || Client::new(number, began, pulse).play(front, is_over))
            })
            .collect();
        let events = trouble(&nodes, options, say);
        is_over.store(true, Ordering::Relaxed);
        let workers: Result<Vec<Ledger>> = workers
            .into_iter()
            .map(|worker| wait::joined(worker.join(), "a client"))
            .collect();
        let idlers: Result<Vec<Idle>> = idlers
            .into_iter()
            .map(|idle| wait::joined(idle.join(), "an idle client"))
            .collect();
        let stall = wait::joined(watch.join(), "the watch");
        Ok::<_, anyhow::Error>((events?, workers?, idlers?, stall?))
    })?;
    let mut report = Report {
        events,
        endings: endings(&front)?,
        retried: retried(&front)?,
        longest_stall,
        log: front.daemon()?.log_text(),
        ..Report::default()
    };
    for idle in idlers {
        report.idle_answers += idle.answers;
        report.wrong.extend(idle.wrong);
    }
    report.longest_pause = ledger::longest_pause(&workers);
    compare(&nodes, &workers, &mut report)?;
    for ledger in workers {
        report.tally.add(&ledger.tally);
        report.wrong.extend(ledger.wrong);
    }
    if longest_stall.1 > STALL_MAX {
        let seconds = longest_stall.1.as_secs_f64();
        let wrong = format!("nothing was committed for {seconds:.1} s, though a node could");
        report.wrong.push(wrong);
    }
    // No response of theirs is so long that a part of it could have come.
    let lost = report.tally.lost_connections();
    if lost != 0 {
        let wrong = format!("{lost} connections were lost in the middle of a command");
        report.wrong.push(wrong);
    }
    Ok(report)
}

/// Looks for what is lost or there twice, on each node.
fn compare(nodes: &Nodes, workers: &[Ledger], report: &mut Report) -> Result<()> {
    for node in nodes.connections()? {
        let (mut node, name) = node;
        let rows = node.run("SELECT client, seq, COUNT(*) FROM ha.log GROUP BY client, seq")?;
        let found = ledger::read(&rows.texts()?).context(name.clone())?;
        for ledger in workers {
            let wrong = ledger.compare(&found);
            report
                .wrong
                .extend(wrong.into_iter().map(|wrong| format!("{name}: {wrong}")));
        }
    }
    Ok(())
}

/// How often the daemon has asked a second node.
fn retried(front: &Front) -> Result<u64> {
    let mut operator = front.open(USER_ROOT, "")?;
    let rows = operator
        .run("SHOW PROXYSTAT LIKE 'retried_commands'")?
        .texts()?;
    let count = rows.first().and_then(|row| row.get(1)).cloned().flatten();
    Ok(count.context("no counter")?.parse()?)
}

/// How sessions ended that their clients did not end.
fn endings(front: &Front) -> Result<BTreeMap<String, u64>> {
    let mut endings = BTreeMap::new();
    for line in front.daemon()?.lines() {
        let field = |name| line.field(name).unwrap_or_default();
        if line.message() == "session closed" && field("side") != "client" {
            let ending = format!("{} ({})", field("reason"), field("detail"));
            *endings.entry(ending).or_default() += 1;
        }
    }
    Ok(endings)
}

/// Makes troubles until the time is up, or each once, and leaves all nodes well.
fn trouble(nodes: &Nodes, options: Options, say: Say<'_>) -> Result<Vec<(Event, u32)>> {
    let mut random = Random::new(options.seed);
    let mut events: Vec<_> = Event::ALL.map(|event| (event, 0)).to_vec();
    let began = Instant::now();
    let mut turn = 0;
    loop {
        let at = match options.span {
            None => turn,
            Some(span) if began.elapsed() < span => random.below(events.len()),
            Some(_) => break,
        };
        let Some((event, count)) = events.get_mut(at) else {
            break;
        };
        turn += 1;
        *count += 1;
        say(&format!(
            "{:.1} s: {}",
            began.elapsed().as_secs_f64(),
            event.text()
        ));
        nodes
            .suffer(*event, &mut random)
            .with_context(|| event.text())?;
        nodes.come_to_rest().with_context(|| event.text())?;
        let rest = u64::try_from(random.below(1500))?;
        wait::throughout(Duration::from_millis(rest), || Ok(()))?;
    }
    Ok(events)
}
