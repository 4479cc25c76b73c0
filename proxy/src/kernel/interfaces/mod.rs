//! The interfaces that carry our legs: which they are, the wire's two programs on each, and keeping up with them as they change.
//!
//! Everything is of the network namespace of the thread that calls. The links are this module's: when it is dropped, or the process ends, the
//! programs are gone from every interface.

pub(super) mod attach;
mod changes;
mod choice;
pub(super) mod filters;
mod guard;
mod host;
mod look;
mod ways;

use std::collections::{BTreeMap, BTreeSet};

use aya::Ebpf;

pub use attach::Way;
pub(super) use attach::all_programs;
pub use changes::{Changes, Watch};
pub use choice::{Choice, Front, Legs, Why, choose};
pub use host::{Interface, interfaces};
pub use look::{Foreign, foreign_programs, has_lro};
pub use ways::Ways;

use self::{attach::Attached, guard::Guard};
use super::{KernelError, quiesce::quiesce};

/// Number of the loopback interface in every network namespace (`LOOPBACK_IFINDEX` of `net/flow.h`).
pub const LOOPBACK: u32 = 1;

/// The covered interfaces.
#[derive(Debug)]
pub struct Coverage {
    legs: Legs,
    port: u16,
    /// By the interface's number: names may change, and a number is not given twice while its owner lives.
    attached: BTreeMap<u32, Attached>,
    /// What was said of an interface last.
    said: BTreeMap<u32, State>,
    /// The interfaces of which the programs see what this host's sockets send and get there.
    seen: BTreeSet<u32>,
    /// Stops sessions at all others; none where it could not be attached.
    guard: Option<Guard>,
}

/// How one interface stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// The programs for its kind of packets are on it.
    Covered(Way, Front),
    /// They do not belong on it.
    LeftOut(Why),
    /// They could not be put on it.
    Failed(String),
}

impl State {
    /// In words.
    pub fn text(&self) -> String {
        match self {
            Self::Covered(way, Front::Ethernet) => format!("covered ({})", way.text()),
            Self::Covered(way, Front::Ip) => {
                format!("covered ({}), without Ethernet header", way.text())
            }
            Self::LeftOut(why) => format!("left out: {why}"),
            Self::Failed(error) => format!("not covered: {error}"),
        }
    }
}

impl Coverage {
    /// Loads the programs; nothing is covered before [`Coverage::refresh`]. `port` is the one that the daemon listens on.
    pub(super) fn load(ebpf: &mut Ebpf, legs: Legs, port: u16) -> Result<Self, KernelError> {
        attach::load(ebpf)?;
        let guard = Guard::attach(ebpf).inspect_err(|error| {
            tracing::warn!(
                error = super::chain(error),
                "sessions on the wire end where routes lead over interfaces that are not covered"
            );
        });
        Ok(Self {
            guard: guard.ok(),
            seen: BTreeSet::new(),
            legs,
            port,
            attached: BTreeMap::new(),
            said: BTreeMap::new(),
        })
    }

    /// Covers what is to be covered now, and lets go of what another one stands for now. One log line for each interface that stands otherwise than before;
    /// an interface that failed is tried again each time. By those that are `used` the ways of sessions lead, whether they have addresses or not.
    pub(super) fn refresh(&mut self, ebpf: &mut Ebpf, host: &[Interface], used: &BTreeSet<u32>) {
        // Numbers of interfaces that are gone; their links lead nowhere.
        let is_there = |index: &u32| host.iter().any(|known| known.index == *index);
        self.attached.retain(|index, _| is_there(index));
        self.said.retain(|index, _| is_there(index));
        let covered: BTreeSet<u32> = self.attached.keys().copied().collect();
        let choices = choose(host, self.legs, &covered.union(used).copied().collect());
        let is_let_go = |(interface, choice): &(&Interface, Choice)| {
            matches!(choice, Choice::LeaveOut(_)) && covered.contains(&interface.index)
        };
        // Of two interfaces that see the same packets one is to translate them at any time.
        let is_held = choices.iter().any(is_let_go) && hold(ebpf);
        let mut has_failed = false;
        for (interface, choice) in &choices {
            if let Choice::Cover(front) = choice {
                let state = self.cover(ebpf, interface, *front);
                has_failed |= matches!(state, State::Failed(_));
                self.say(interface, state);
            }
        }
        if is_held {
            // Of what has passed the one before the other was there.
            let _ = quiesce();
        }
        self.seen = self.seen_of(&choices);
        if let Some(guard) = &mut self.guard {
            guard.cover(ebpf, &self.seen);
        }
        for (interface, choice) in choices {
            if let Choice::LeaveOut(why) = choice {
                // The one that is to stand for it may be the one that failed.
                if has_failed && self.attached.contains_key(&interface.index) {
                    continue;
                }
                self.attached.remove(&interface.index);
                self.say(interface, State::LeftOut(why));
            }
        }
        if is_held {
            let _ = quiesce();
            go_on(ebpf);
        }
    }

    /// Those that they are on, what stands above one of them, a VRF.
    fn seen_of(&self, choices: &[(&Interface, Choice)]) -> BTreeSet<u32> {
        let is_seen = |(interface, choice): &&(&Interface, Choice)| match choice {
            Choice::Cover(_) => self.covers(interface.index),
            Choice::LeaveOut(Why::Above(_)) => {
                interface.lower.is_some_and(|lower| self.covers(lower))
            }
            Choice::LeaveOut(why) => *why == Why::Vrf,
        };
        let seen = choices.iter().filter(is_seen);
        seen.map(|(interface, _)| interface.index).collect()
    }

    fn cover(&mut self, ebpf: &mut Ebpf, interface: &Interface, front: Front) -> State {
        // Of a `tun` the link layer may be changed (`TUNSETLINK`).
        if let Some(attached) = self.attached.get(&interface.index)
            && attached.front == front
        {
            return State::Covered(attached.way, front);
        }
        match attach::attach(ebpf, &interface.name, front, self.port) {
            Ok(attached) => {
                let way = attached.way;
                self.attached.insert(interface.index, attached);
                State::Covered(way, front)
            }
            Err(error) => State::Failed(super::chain(&error)),
        }
    }

    fn say(&mut self, interface: &Interface, state: State) {
        if self.said.get(&interface.index) == Some(&state) {
            return;
        }
        let (name, text) = (interface.name.as_str(), state.text());
        match &state {
            State::Failed(_) => tracing::warn!(interface = name, state = text, "wire"),
            State::Covered(..) => tracing::info!(interface = name, state = text, "wire"),
            State::LeftOut(_) => tracing::debug!(interface = name, state = text, "wire"),
        }
        self.said.insert(interface.index, state);
    }

    /// Whether interfaces that come later can be covered without any capability, and all of them be let go: links of TCX ask for none, once the
    /// programs are loaded (tried on 6.18), filters ask for `CAP_NET_ADMIN`.
    pub(super) fn is_free(&self) -> bool {
        let mut attached = self.attached.values().peekable();
        attached.peek().is_some() && attached.all(|it| it.way == Way::Tcx)
    }

    /// How an interface stood when it was looked at last.
    pub fn state(&self, index: u32) -> Option<&State> {
        self.said.get(&index)
    }

    /// Whether sessions are stopped where the programs are not.
    pub(super) const fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// The interfaces of which the programs see what this host's sockets send and get there.
    pub(super) const fn seen(&self) -> &BTreeSet<u32> {
        &self.seen
    }

    /// Whether the programs are on this interface.
    pub fn covers(&self, index: u32) -> bool {
        self.attached.contains_key(&index)
    }
}

/// Has sessions' segments dropped; whether that could be done.
fn hold(ebpf: &mut Ebpf) -> bool {
    attach::hold(ebpf)
        .inspect_err(|error| tracing::warn!(error = super::chain(error), "wire"))
        .is_ok()
}

/// The end of [`hold`].
fn go_on(ebpf: &mut Ebpf) {
    if let Err(error) = attach::join(ebpf) {
        tracing::error!(
            error = super::chain(&error),
            "wire: segments are not moved any more"
        );
    }
}

#[cfg(test)]
mod tests;
