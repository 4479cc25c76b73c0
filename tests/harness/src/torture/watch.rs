//! Who looks whether an operation ends.

use super::{client::Scene, operation::Operation, tally, trouble::Troubles};
use crate::{topology::Topology, wait};
use anyhow::Result;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

/// How many of a client's last operations are told.
const REMEMBERED: usize = 12;
/// Texts of operations are cut here.
const TEXT: usize = 300;
/// After so many reports the next ones are only counted.
const REPORTS: u32 = 20;

#[derive(Debug)]
struct State {
    last: VecDeque<String>,
    /// How many operations there were.
    count: u64,
    since: Option<Instant>,
    /// The session's id and the client's port.
    identity: (u32, u16),
    is_dumped: bool,
    reports: u32,
}

/// What a client is doing.
#[derive(Debug)]
pub struct Watched {
    topology: Topology,
    number: usize,
    state: Mutex<State>,
}

impl Watched {
    /// Of the client of this number.
    pub fn new(topology: Topology, number: usize) -> Self {
        Self {
            topology,
            number,
            state: Mutex::new(State {
                last: VecDeque::new(),
                count: 0,
                since: None,
                identity: (0, 0),
                is_dumped: false,
                reports: 0,
            }),
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation begins.
    pub fn begin(&self, operation: &Operation, identity: (u32, u16)) {
        let mut text = format!("{operation:?}");
        if let Some((cut, _)) = text.char_indices().nth(TEXT) {
            text.truncate(cut);
        }
        let mut state = self.locked();
        state.count += 1;
        let text = format!("{} {text}", state.count);
        state.last.push_back(text);
        if state.last.len() > REMEMBERED {
            state.last.pop_front();
        }
        state.since = Some(Instant::now());
        state.identity = identity;
        state.is_dumped = false;
    }

    /// Its session is this one.
    pub fn session(&self, identity: (u32, u16)) {
        self.locked().identity = identity;
    }

    /// It has ended; returns whether it was reported as stuck.
    pub fn end(&self) -> bool {
        let mut state = self.locked();
        state.since = None;
        state.is_dumped
    }

    /// Tells what is wrong, with the last operations.
    pub fn tell(&self, what: &str) {
        let mut state = self.locked();
        state.reports += 1;
        if state.reports > REPORTS {
            return;
        }
        let last: Vec<_> = state.last.iter().map(String::as_str).collect();
        super::say(&format!(
            "{} client {}: {what}  its last operations:\n    {}",
            self.topology.name(),
            self.number,
            last.join("\n    ")
        ));
    }

    /// The session, if its operation has taken longer than `bound` and nobody was told.
    fn overdue(&self, bound: Duration, troubles: &Troubles) -> Option<(u32, u16)> {
        let mut state = self.locked();
        let since = state.since?;
        // Servers that start again take their time.
        let bound = if troubles.explain(since) {
            bound * 3
        } else {
            bound
        };
        if state.is_dumped || since.elapsed() < bound {
            return None;
        }
        state.is_dumped = true;
        Some(state.identity)
    }
}

/// Looks at all clients and at the daemon's memory until `is_over`.
///
/// # Errors
///
/// When a clock or a process cannot be read.
pub fn watch(
    scene: Scene<'_>,
    clients: &[Watched],
    bound: Duration,
    is_over: &AtomicBool,
) -> Result<()> {
    let Scene {
        world,
        troubles,
        tally,
        ..
    } = scene;
    let start = Instant::now();
    let mut minutes = 0;
    wait::every(Duration::from_secs(1), is_over, || {
        // Between two daemons there is none.
        drop(world.note_memory(tally));
        for client in clients {
            if let Some((cs_id, port)) = client.overdue(bound, troubles) {
                tally::count(&tally.stuck);
                let dump = world.dump(cs_id, port);
                client.tell(&format!("stuck (session {cs_id})\n{dump}"));
            }
        }
        let now = start.elapsed().as_secs() / 60;
        if now > minutes {
            minutes = now;
            super::say(&format!(
                "{} after {now} min: {}",
                world.topology().name(),
                super::world::progress(tally)
            ));
        }
        Ok(())
    })
}
