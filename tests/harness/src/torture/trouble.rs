//! What befalls all sessions at once, drawn from the seed as well: the daemon stops, dies, changes its mind; the node dies; routes change.

use super::{
    Options,
    client::Scene,
    tally::Tally,
    world::{Way, World},
};
use crate::{pattern::Random, server::Server, topology::Topology, wait};
use anyhow::{Context as _, Result};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The daemon is stopped (SIGSTOP) for a while.
    DaemonStops(Duration),
    /// The node is stopped for a while.
    NodeStops(Duration),
    /// The replica is stopped for a while.
    ReaderStops(Duration),
    /// The replica takes nothing from the primary for a while.
    ReaderStands(Duration),
    /// Splicing is switched off for a while.
    SpliceOff(Duration),
    /// The configuration is read again (SIGHUP).
    DaemonReloads,
    /// New logins are relayed for a while.
    PathRelay(Duration),
    /// The bound of what a slow reader may leave is another from now on, in KiB.
    SpliceLimit(usize),
    /// The proxy's host has another address for a while, and its sockets lose their routes.
    RoutesChange(Duration),
    /// The daemon is killed (SIGKILL) and started again.
    DaemonDies,
    /// The daemon is asked to end (SIGTERM) and started again.
    DaemonEnds,
    /// The node is killed and started again.
    NodeDies,
    /// The node is asked to end and started again.
    NodeEnds,
    /// The replica is killed and started again.
    ReaderDies,
    /// The replica is asked to end and started again.
    ReaderEnds,
}

/// Which kinds of troubles there are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen([bool; KINDS.len()]);

/// The kinds by name.
pub const KINDS: [&str; 15] = [
    "daemon-stopped",
    "node-stopped",
    "splice-off",
    "daemon-reloaded",
    "path-relay",
    "splice-limit",
    "routes-changed",
    "daemon-killed",
    "daemon-ended",
    "node-killed",
    "node-ended",
    "reader-stopped",
    "reader-stands",
    "reader-killed",
    "reader-ended",
];

impl Chosen {
    /// Daemon and node are left alone.
    pub const NONE: Self = Self([false; KINDS.len()]);

    /// These kinds.
    pub fn new(names: &[String]) -> Self {
        Self(KINDS.map(|kind| names.iter().any(|name| name == kind)))
    }

    /// Without those that replace the daemon, unless there are no others.
    #[must_use]
    fn with_one_daemon(self) -> Self {
        let kinds = KINDS.iter().zip(self.0);
        let kept = kinds
            .filter(|(kind, is_chosen)| {
                *is_chosen && !["daemon-killed", "daemon-ended"].contains(kind)
            })
            .map(|(kind, _)| (*kind).to_owned());
        let kept = Self::new(&kept.collect::<Vec<_>>());
        if kept.is_any() { kept } else { self }
    }

    /// Whether there is to be any.
    pub fn is_any(self) -> bool {
        self != Self::NONE
    }

    /// Whether there is to be any that befalls a node.
    pub fn has_any_of_nodes(self) -> bool {
        let is_of_node = |kind: &str| kind.starts_with("node-") || kind.starts_with("reader-");
        let mut kinds = KINDS.iter().zip(self.0);
        kinds.any(|(kind, is_chosen)| is_chosen && is_of_node(kind))
    }

    /// Whether there is to be this one.
    pub fn has(self, trouble: Trouble) -> bool {
        let kinds = KINDS.iter().zip(self.0);
        kinds
            .into_iter()
            .any(|(kind, is_chosen)| is_chosen && *kind == trouble.kind())
    }
}

impl Trouble {
    /// The next one of a run, of the kinds that there are to be, which are any.
    pub fn draw(random: &mut Random, chosen: Chosen) -> Self {
        loop {
            let trouble = Self::draw_any(random);
            if chosen.has(trouble) {
                return trouble;
            }
        }
    }

    /// No session is lost in most.
    fn draw_any(random: &mut Random) -> Self {
        let mut millis = |bound| Duration::from_millis(random.word() % bound + 1);
        let (short, long) = (millis(1500), millis(4000));
        match random.below(26) {
            0..3 => Self::DaemonStops(long),
            3 => Self::NodeStops(short),
            4..7 => Self::SpliceOff(long),
            7 => Self::DaemonReloads,
            8..10 => Self::PathRelay(long),
            10..12 => Self::SpliceLimit(64 + random.below(2000)),
            12..14 => Self::RoutesChange(short),
            14..16 => Self::DaemonDies,
            16 => Self::DaemonEnds,
            17 => Self::NodeDies,
            18 | 19 => Self::NodeEnds,
            20 => Self::ReaderStops(short),
            21 => Self::ReaderStands(long),
            22..24 => Self::ReaderDies,
            _ => Self::ReaderEnds,
        }
    }

    /// Its kind, for counts.
    pub fn kind(self) -> &'static str {
        match self {
            Self::DaemonStops(_) => "daemon-stopped",
            Self::NodeStops(_) => "node-stopped",
            Self::SpliceOff(_) => "splice-off",
            Self::DaemonReloads => "daemon-reloaded",
            Self::PathRelay(_) => "path-relay",
            Self::SpliceLimit(_) => "splice-limit",
            Self::RoutesChange(_) => "routes-changed",
            Self::DaemonDies => "daemon-killed",
            Self::DaemonEnds => "daemon-ended",
            Self::NodeDies => "node-killed",
            Self::NodeEnds => "node-ended",
            Self::ReaderStops(_) => "reader-stopped",
            Self::ReaderStands(_) => "reader-stands",
            Self::ReaderDies => "reader-killed",
            Self::ReaderEnds => "reader-ended",
        }
    }

    /// Whether a run in this topology can have it: one on the machine itself leaves that one's addresses alone.
    fn can_happen(self, topology: Topology) -> bool {
        topology != Topology::Local || !matches!(self, Self::RoutesChange(_))
    }

    /// How sessions may be lost by it.
    pub fn loss(self) -> Option<Loss> {
        match self {
            Self::DaemonDies => Some(Loss::DaemonKilled),
            Self::DaemonEnds => Some(Loss::DaemonEnded),
            Self::NodeDies => Some(Loss::NodeKilled),
            Self::NodeEnds => Some(Loss::NodeEnded),
            Self::ReaderDies => Some(Loss::ReaderKilled),
            Self::ReaderEnds => Some(Loss::ReaderEnded),
            _ => None,
        }
    }
}

/// How all sessions were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nobody could say a word.
    DaemonKilled,
    /// It could take leave.
    DaemonEnded,
    /// The proxy says what it knows.
    NodeKilled,
    /// The node takes leave: what was under way is answered with an error, of which the proxy may know nothing.
    NodeEnded,
    /// As [`Loss::NodeKilled`], for sessions whose reads were there.
    ReaderKilled,
    /// As [`Loss::NodeEnded`], for sessions whose reads were there.
    ReaderEnded,
}

/// What may have befallen a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Befallen(Vec<Loss>);

impl Befallen {
    /// Whether there is anything.
    pub fn is_anything(&self) -> bool {
        !self.0.is_empty()
    }

    /// Of it what may befall a session that reads at the replica, or one that does not.
    #[must_use]
    pub fn of(mut self, reads_at_replica: bool) -> Self {
        self.0.retain(|loss| {
            reads_at_replica || !matches!(loss, Loss::ReaderKilled | Loss::ReaderEnded)
        });
        self
    }

    /// Whether it is, among others, this.
    pub fn has(&self, loss: Loss) -> bool {
        self.0.contains(&loss)
    }
}

impl FromIterator<Loss> for Befallen {
    fn from_iter<I: IntoIterator<Item = Loss>>(losses: I) -> Self {
        Self(losses.into_iter().collect())
    }
}

/// For a session that is lost to be noticed by its client.
const GRACE: Duration = Duration::from_secs(3);

/// When sessions may have been lost.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<Vec<(Loss, Option<Instant>)>>);

impl Troubles {
    fn begin(&self, loss: Loss) {
        self.locked().push((loss, None));
    }

    fn end(&self) {
        if let Some((_, end)) = self.locked().last_mut() {
            *end = Some(Instant::now());
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<(Loss, Option<Instant>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may have befallen a session that has been there since then.
    pub fn befallen(&self, since: Instant) -> Befallen {
        self.locked()
            .iter()
            .filter(|(_, end)| end.is_none_or(|end| end + GRACE > since))
            .map(|(loss, _)| *loss)
            .collect()
    }

    /// Whether the primary was gone at any time since then.
    pub fn has_lost_primary(&self, since: Instant) -> bool {
        let befallen = self.befallen(since);
        befallen.has(Loss::NodeKilled) || befallen.has(Loss::NodeEnded)
    }

    /// Whether a trouble explains the loss of what has been there since then.
    pub fn explain(&self, since: Instant) -> bool {
        self.befallen(since).is_anything()
    }
}

/// The second half of a run of so many seconds has one daemon from its beginning to its end: what it forgets to free can be seen.
const LONG: u64 = 600;

/// Makes trouble, one after another, until `is_over`.
///
/// # Errors
///
/// When something does not start again.
pub fn make(scene: Scene<'_>, options: Options, is_over: &AtomicBool) -> Result<()> {
    let Scene {
        world,
        troubles,
        tally,
        ..
    } = scene;
    let mut random = Random::new(options.seed.wrapping_mul(77).wrapping_add(5));
    let start = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let is_late = start.elapsed().as_secs() >= options.seconds / 2;
        let chosen = if is_late && options.seconds >= LONG {
            options.troubles.with_one_daemon()
        } else {
            options.troubles
        };
        let tenth = options.rest / 10;
        let rest = tenth + tenth * u32::try_from(random.word() % 1000)? * 9 / 1000;
        let trouble = Trouble::draw(&mut random, chosen);
        pause(rest, is_over)?;
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        if !trouble.can_happen(world.topology()) {
            continue;
        }
        let loss = trouble.loss();
        if let Some(loss) = loss {
            troubles.begin(loss);
        }
        let done = happen(trouble, world, options.way, tally, is_over);
        if loss.is_some() {
            troubles.end();
        }
        done.with_context(|| format!("{trouble:?}"))?;
        tally.trouble(trouble.kind());
    }
    Ok(())
}

fn pause(span: Duration, is_over: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    wait::until_true("the pause is over", span + GRACE * 20, || {
        Ok(start.elapsed() >= span || is_over.load(Ordering::Relaxed))
    })
}

fn happen(
    trouble: Trouble,
    world: &World,
    way: Way,
    tally: &Tally,
    is_over: &AtomicBool,
) -> Result<()> {
    let set = |key: &str, value: &str| -> Result<()> {
        let sql = format!("ALTER PROXYCONFIG SET {key} = '{value}'");
        world.operator()?.run(&sql).map(drop)
    };
    match trouble {
        Trouble::DaemonStops(span) => {
            let daemon = world.daemon();
            daemon.signal(libc::SIGSTOP)?;
            pause(span, is_over)?;
            daemon.signal(libc::SIGCONT)?;
        }
        Trouble::NodeStops(span) => stop(world.node()?, span, is_over)?,
        Trouble::ReaderStops(span) => stop(world.reader()?, span, is_over)?,
        Trouble::ReaderStands(span) => {
            world.stand(|| pause(span, is_over))?;
        }
        Trouble::SpliceOff(span) => {
            set("splice", "off")?;
            pause(span, is_over)?;
            set("splice", way.splice())?;
        }
        Trouble::DaemonReloads => world.reload()?,
        Trouble::PathRelay(span) => {
            set("path", "relay")?;
            pause(span, is_over)?;
            set("path", way.name())?;
        }
        Trouble::SpliceLimit(kib) => set("splice_limit", &format!("{kib}KiB"))?,
        Trouble::RoutesChange(span) => {
            let proxy = world.hosts().network()?.proxy();
            proxy.ip(&["address", "add", "10.78.0.9/32", "dev", "lo"])?;
            pause(span, is_over)?;
            proxy.ip(&["address", "del", "10.78.0.9/32", "dev", "lo"])?;
        }
        Trouble::DaemonDies => {
            world.take_stock(tally)?;
            world.daemon().kill()?;
            world.start_daemon_again()?;
        }
        Trouble::DaemonEnds => {
            world.take_stock(tally)?;
            world.end()?;
            world.start_daemon_again()?;
        }
        Trouble::NodeDies => die(world.node()?)?,
        Trouble::NodeEnds => end(world.node()?)?,
        Trouble::ReaderDies => die(world.reader()?)?,
        Trouble::ReaderEnds => end(world.reader()?)?,
    }
    world.note_memory(tally)?;
    Ok(())
}

/// A server is stopped for a while.
fn stop(server: &Server, span: Duration, is_over: &AtomicBool) -> Result<()> {
    server.signal(libc::SIGSTOP)?;
    pause(span, is_over)?;
    server.signal(libc::SIGCONT)
}

fn die(server: &Server) -> Result<()> {
    server.kill()?;
    server.start_again()
}

fn end(server: &Server) -> Result<()> {
    server.stop()?;
    server.start_again()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_is_drawn_and_no_other() {
        let names = KINDS.map(str::to_owned);
        let mut random = Random::new(1);
        let mut drawn = |chosen| -> BTreeSet<_> {
            (0..1000)
                .map(|_| Trouble::draw(&mut random, chosen).kind())
                .collect()
        };
        assert_eq!(drawn(Chosen::new(&names)), BTreeSet::from(KINDS));
        assert_eq!(
            drawn(Chosen::new(&["node-ended".to_owned()])),
            BTreeSet::from(["node-ended"])
        );
        assert!(!Chosen::new(&[]).is_any());
        assert!(Chosen::new(&["reader-stands".to_owned()]).has_any_of_nodes());
        assert!(!Chosen::new(&["routes-changed".to_owned()]).has_any_of_nodes());
        let all = drawn(Chosen::new(&names).with_one_daemon());
        assert_eq!(all.len(), KINDS.len() - 2, "{all:?}");
        let only = Chosen::new(&["daemon-killed".to_owned()]);
        assert_eq!(only.with_one_daemon(), only);
    }
}
