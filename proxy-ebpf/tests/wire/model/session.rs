//! One session: two connections, or three where reads go to a node of their own, their endpoints, the hook between them, a network that errs, and the checks.

use std::collections::BTreeMap;

use sluice_ebpf::{
    record::{Aside, Offsets, Seat},
    wire::{Offer, Side, Wire, tcp},
};

use super::{
    apps::{Client, Node},
    counts::Counts,
    daemon::{Daemon, Place},
    dice::Dice,
    hook::{Hook, OUTSIDE, Onward, Record},
    packet::{End, Packet},
    tcp::{Habits, Tcp},
};

const SEGMENT: usize = 1000;

/// How a network errs, in thousandths.
#[derive(Clone, Copy, Default)]
struct Faults {
    lost: u64,
    doubled: u64,
    late: u64,
    merged: u64,
}

enum Event {
    /// At the hook, from this end.
    Hook(End, Packet),
    Arrive(End, Packet),
}

pub(crate) struct Session {
    pub(crate) now: u64,
    pub(crate) steps: u64,
    trace: bool,
    pub(crate) counts: Counts,
    pub(crate) dice: Dice,
    /// The network's own: whoever throws the others must not be able to lose or double everything.
    weather: Dice,
    pub(crate) hook: Hook,
    pub(crate) ends: [Tcp; 6],
    faults: Faults,
    pub(crate) clean_at: u64,
    keepalive: bool,
    reset_seen: bool,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
    /// By their seats.
    pub(crate) nodes: [Node; 2],
    daemon_at: Option<u64>,
    client_at: Option<u64>,
    node_at: [Option<u64>; 2],
    /// Who has each byte of each end's stream: 0 nobody, 1 the other peer (or the peer, of a local socket's), 2 the local socket.
    pub(crate) got: [Vec<u8>; 6],
    pub(crate) acked: [usize; 6],
    pub(crate) progress: (u64, u64),
}

fn habits(dice: &mut Dice, keepalive: bool) -> Habits {
    Habits {
        mss: if dice.permille(200) { 300 } else { SEGMENT },
        by_bytes: dice.permille(300),
        garbage: dice.permille(200),
        keepalive,
        buffer: 2500 + dice.below(30_000) as u32,
    }
}

/// The connections, established; without a reader two of the ends never were.
fn endpoints(dice: &mut Dice, is_split: bool, keepalive: bool) -> [Tcp; 6] {
    let [client, front, back, node, reader_back, reader] = std::array::from_fn(|_| dice.sequence());
    let habits: [Habits; 6] = std::array::from_fn(|_| habits(dice, keepalive));
    let end = |end: End, other: End, snd, rcv| {
        let window = habits[other as usize].buffer;
        let mut own = habits[end as usize];
        if end.is_local() {
            // This host's.
            (own.garbage, own.by_bytes) = (false, false);
        }
        Tcp::new(end, own, snd, rcv, window)
    };
    let mut ends = [
        end(End::Client, End::Front, client, front),
        end(End::Front, End::Client, front, client),
        end(End::Back, End::Node, back, node),
        end(End::Node, End::Back, node, back),
        end(End::ReaderBack, End::Reader, reader_back, reader),
        end(End::Reader, End::ReaderBack, reader, reader_back),
    ];
    if !is_split {
        ends[4].never_was();
        ends[5].never_was();
    }
    ends
}

impl Session {
    pub(crate) fn new(mut dice: Dice) -> Self {
        let is_hostile = dice.permille(200);
        let is_split = dice.permille(500);
        let keepalive = dice.permille(500);
        let ends = endpoints(&mut dice, is_split, keepalive);
        let severity = [0, 5, 30, 120][dice.index(4)];
        let faults = Faults {
            lost: severity,
            doubled: severity / 2,
            late: dice.below(1 + severity),
            merged: dice.below(600),
        };
        let clean_at = 5000 + dice.below(40_000);
        let client = Client::new(&mut dice, is_hostile);
        let mut session = Self {
            now: 0,
            steps: 0,
            trace: std::env::var("WIRE_TRACE").is_ok(),
            counts: Counts::default(),
            hook: Hook {
                wire: Wire::default(),
                record: Record::default(),
                offer: Offer {
                    armed: 0,
                    stopped: 0,
                    offsets: Offsets::default(),
                    allowed: true,
                    status: OUTSIDE,
                    ..Offer::default()
                },
                aside: Aside::NONE,
                segment_to_node: SEGMENT,
            },
            ends,
            faults,
            clean_at,
            keepalive,
            reset_seen: false,
            events: BTreeMap::new(),
            order: 0,
            daemon: Daemon::new(is_hostile, is_split),
            client,
            nodes: [Seat::Writer, Seat::Reader]
                .map(|seat| Node::new(is_hostile, is_split.then_some(seat))),
            daemon_at: None,
            client_at: Some(10),
            node_at: [None; 2],
            got: Default::default(),
            acked: [0; 6],
            progress: (0, 0),
            weather: Dice::new(dice.next() ^ 5),
            dice,
        };
        session.counts.add("session");
        session
    }

    /// Runs to the end. Returns whether it has come to it (a hostile client need not).
    pub(crate) fn run(&mut self) {
        let limit = self.clean_at + 2000;
        while let Some(now) = self.next_time() {
            self.now = now;
            self.steps += 1;
            self.step();
            assert!(self.steps < 400_000, "no end: {}", self.describe());
            if self.now >= self.clean_at {
                self.faults = Faults {
                    merged: self.faults.merged,
                    ..Faults::default()
                };
                self.watch();
            }
            if self.client.is_hostile && self.now > limit {
                return;
            }
            if self.is_finished() && self.events.is_empty() && self.client_at.is_none() {
                break;
            }
        }
        self.judge();
    }

    fn next_time(&self) -> Option<u64> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let timers = self.ends.iter().filter_map(Tcp::deadline).min();
        let [writer_at, reader_at] = self.node_at;
        [
            event,
            timers,
            self.daemon_at,
            self.client_at,
            writer_at,
            reader_at,
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at| at.max(self.now))
    }

    fn step(&mut self) {
        let now = self.now;
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if self.events.keys().next().is_some_and(|(at, _)| *at <= now) {
            match self.events.pop_first() {
                Some((_, Event::Hook(from, packet))) => self.at_hook(from, packet),
                Some((_, Event::Arrive(to, packet))) => self.arrive(to, &packet),
                None => {}
            }
        } else if due(self.daemon_at) {
            self.daemon_at = None;
            let at = self.with_daemon(Daemon::wake);
            self.daemon_at = sooner(self.daemon_at, at);
        } else if due(self.client_at) {
            let tcp = &mut self.ends[0];
            self.client_at = self.client.act(tcp, &mut self.dice, &mut self.counts, now);
        } else if due(self.node_at[0]) {
            self.node_at[0] = self.nodes[0].act(&mut self.ends[3], &mut self.dice, now);
        } else if due(self.node_at[1]) {
            self.node_at[1] = self.nodes[1].act(&mut self.ends[5], &mut self.dice, now);
        } else {
            for end in End::ALL {
                let tcp = &mut self.ends[end as usize];
                if due(tcp.deadline()) {
                    let probes = tcp.probes;
                    tcp.fire(now, self.dice.next());
                    if tcp.probes > probes {
                        self.counts.add("keep-alive");
                    }
                    self.wake(end);
                }
            }
        }
        self.chance();
        for end in End::ALL {
            self.send(end);
        }
    }

    /// What may come at any time.
    fn chance(&mut self) {
        match self.dice.below(40_000) {
            0..=49 => self.with_daemon(Daemon::stop),
            50..=52 => {
                self.with_daemon(Daemon::kill);
                self.daemon_at = Some(self.now);
            }
            53..=72 => self.late_syn(),
            73..=172 => self.haul(),
            173..=372 => {
                self.hook.offer.allowed = !self.hook.offer.allowed || self.dice.permille(500);
            }
            _ => {}
        }
        if self.client.is_hostile && self.events.len() < 20 && self.dice.permille(60) {
            self.attack();
        }
    }

    fn with_daemon<T>(&mut self, act: impl FnOnce(&mut Daemon, &mut Place<'_>) -> T) -> T {
        let [_, front, back, _, reader_back, _] = &mut self.ends;
        let mut place = Place {
            now: self.now,
            front,
            backs: [back, reader_back],
            hook: &mut self.hook,
            dice: &mut self.dice,
            counts: &mut self.counts,
        };
        let done = act(&mut self.daemon, &mut place);
        if !self.daemon.is_split {
            self.nodes[0].seat = None;
        }
        done
    }

    /// Another SYN of a connection that stands.
    fn late_syn(&mut self) {
        self.counts.add("SYN");
        let from = [End::Client, End::Node, End::Reader][self.dice.index(3)];
        let (sent, received) = self.ends[from as usize].first;
        let packet = Packet {
            seq: sent.wrapping_sub(1),
            ack: received,
            flags: tcp::SYN | if from == End::Client { 0 } else { tcp::ACK },
            window: 1000,
            sack: None,
            data: Vec::new(),
            origin: (from, 0),
            pieces: 0,
            damaged: false,
        };
        self.schedule(1, Event::Hook(from, packet));
    }

    fn schedule(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay, self.order), event);
    }

    /// Hands what an end has sent to the network.
    fn send(&mut self, end: End) {
        let mut burst = std::mem::take(&mut self.ends[end as usize].out).into_iter();
        let Some(mut packet) = burst.next() else {
            return;
        };
        // What the hook sees and the node does not take is what another text can be put over.
        packet.damaged = end == End::Client && self.client.is_hostile && self.dice.permille(200);
        for next in burst {
            let merges =
                !end.is_local() && self.weather.permille(self.faults.merged) && packet.merge(&next);
            if !merges {
                let sent = std::mem::replace(&mut packet, next);
                self.travel(end, &sent, None);
            }
        }
        self.travel(end, &packet, None);
    }

    /// One hop: to the hook, or from there to an end.
    fn travel(&mut self, from: End, packet: &Packet, to: Option<End>) {
        let is_local = to.unwrap_or(from).is_local();
        let (base, scale) = if is_local { (0, 4) } else { (3, 1) };
        // A RST that is lost, or what leads to another one, is noticed by keep-alives only.
        self.reset_seen |= packet.is(tcp::RST);
        let may_be_lost = self.keepalive || !self.reset_seen;
        if self.weather.permille(self.faults.lost / scale) && may_be_lost {
            return;
        }
        let copies = 1 + u64::from(self.weather.permille(self.faults.doubled / scale));
        for _ in 0..copies {
            let mut delay = base;
            if self.weather.permille(self.faults.late / scale) {
                delay += self.weather.below(60);
                if self.weather.permille(100) {
                    delay += self.weather.below(3000);
                }
            }
            let event = match to {
                None => Event::Hook(from, packet.clone()),
                Some(to) => Event::Arrive(to, packet.clone()),
            };
            self.schedule(delay, event);
        }
    }

    pub(crate) fn at_hook(&mut self, from: End, packet: Packet) {
        let blind = self.dice.permille(5);
        if self.trace {
            eprintln!(
                "{} {from:?} seq {} ack {} len {} flags {:x} win {} sack {:?} phase {}",
                self.now,
                packet.seq,
                packet.ack,
                packet.data.len(),
                packet.flags,
                packet.window,
                packet.sack,
                self.hook.wire.phase
            );
        }
        let onward: Vec<Onward> = if from.is_local() {
            self.hook.local(from.side(), packet, &mut self.counts)
        } else {
            self.hook.peer(from.side(), packet, blind, &mut self.counts)
        };
        for (to, packet) in onward {
            if self.trace {
                eprintln!(
                    "        -> {to:?} seq {} ack {} len {} flags {:x} sack {:?}",
                    packet.seq,
                    packet.ack,
                    packet.data.len(),
                    packet.flags,
                    packet.sack
                );
            }
            let pieces = if to.is_local() {
                vec![packet]
            } else {
                packet.split()
            };
            for piece in pieces {
                self.travel(from, &piece, Some(to));
            }
        }
    }

    fn arrive(&mut self, to: End, packet: &Packet) {
        self.check_sack(to, packet);
        self.ends[to as usize].arrive(packet, self.now);
        for (from, at, bytes) in std::mem::take(&mut self.ends[to as usize].accepted) {
            self.accept(to, from, at, bytes);
        }
        self.check_acknowledged(to);
        self.wake(to);
    }

    fn wake(&mut self, end: End) {
        let latest = if self.dice.permille(100) { 300 } else { 3 };
        let at = Some(self.now + self.dice.below(latest));
        match end {
            End::Client => self.client_at = sooner(self.client_at, at),
            End::Node => self.node_at[0] = sooner(self.node_at[0], at),
            End::Reader => self.node_at[1] = sooner(self.node_at[1], at),
            End::Front | End::Back | End::ReaderBack => {
                self.daemon_at = sooner(self.daemon_at, at);
            }
        }
    }

    pub(crate) fn is_network_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.ends.iter().all(|tcp| !tcp.is_open())
    }

    /// Nothing of the session is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        // The reader may have gone, or never have been.
        let is_quiet = |tcp: &Tcp| {
            tcp.is_quiet() || (!tcp.is_open() && tcp.end.side() == Side::Node(Seat::Reader))
        };
        self.is_network_empty() && self.ends.iter().all(is_quiet)
    }
}

fn sooner(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    [a, b].into_iter().flatten().min()
}
