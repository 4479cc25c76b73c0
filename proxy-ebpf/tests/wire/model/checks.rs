//! What must hold at every step, and what at the end.

use sluice_ebpf::wire::{Side, flag};

use super::{
    apps::Node,
    packet::{End, Packet, after},
    session::Session,
    tcp::{KEEPALIVE, Tcp},
};

/// Without progress for so long, on a network that loses nothing, a session is stuck.
pub(crate) const STALL: u64 = 60_000;

impl Session {
    /// Bytes reach a receiver for the first time: they must be of a stream that it may get, and nobody else's.
    pub(crate) fn accept(&mut self, to: End, from: End, at: usize, bytes: usize) {
        let who = match (from, to) {
            (End::Client | End::Back, End::Node)
            | (End::Client | End::ReaderBack, End::Reader)
            | (End::Node | End::Reader | End::Front, End::Client) => 1,
            (End::Client, End::Front) | (End::Node, End::Back) | (End::Reader, End::ReaderBack) => {
                2
            }
            _ => panic!("{to:?} accepts bytes of {from:?}"),
        };
        let written = self.ends[from as usize].stream.len();
        assert!(
            at < written && at + bytes <= written,
            "{to:?} accepts {bytes} bytes of {from:?} at {at}, which has written {written}"
        );
        let got = &mut self.got[from as usize];
        got.resize(written.max(got.len()), 0);
        for has in &mut got[at..at + bytes] {
            assert_eq!(*has, 0, "{to:?} accepts bytes of {from:?} twice, at {at}");
            *has = who;
        }
    }

    /// What an end takes as acknowledged, somebody must have.
    pub(crate) fn check_acknowledged(&mut self, end: End) {
        let tcp = &self.ends[end as usize];
        let una = tcp.snd_una.wrapping_sub(tcp.snd_base) as usize;
        let acked = una.min(tcp.stream.len());
        let before = self.acked[end as usize];
        let got = &self.got[end as usize];
        // Of a session that was reset nobody can get the rest.
        let wire = &self.hook.wire;
        let is_reset = match end.side() {
            Side::Client => wire.nodes.iter().any(|node| node.is(flag::RESET)),
            Side::Node(_) => wire.client.is(flag::RESET),
        };
        if is_reset {
            self.acked[end as usize] = acked;
            return;
        }
        assert!(
            got.len() >= acked && got[before..acked].iter().all(|who| *who != 0),
            "{end:?} is told that bytes up to {acked} have arrived ({before} before); they have not"
        );
        self.acked[end as usize] = acked;
        if una > tcp.stream.len() {
            assert!(
                self.ends[end.other() as usize].fin_received,
                "{end:?} is told that its FIN has arrived"
            );
        }
    }

    pub(crate) fn check_sack(&self, to: End, packet: &Packet) {
        let tcp = &self.ends[to as usize];
        let Some((start, end)) = packet.sack.filter(|_| tcp.is_open() && !packet.damaged) else {
            return;
        };
        assert!(
            !after(end, tcp.snd_nxt),
            "{to:?} gets a SACK block of what it has not sent"
        );
        if after(start, tcp.snd_una) {
            let offset = |seq: u32| seq.wrapping_sub(tcp.snd_base) as usize;
            let has = self.got[to as usize].get(offset(start)..offset(end));
            assert!(
                has.is_some_and(|has| has.iter().all(|who| *who != 0)),
                "{to:?} gets a SACK block of what nobody has"
            );
        }
    }

    /// On a clean network all goes on.
    pub(crate) fn watch(&mut self) {
        let read: usize = self
            .ends
            .iter()
            .map(|tcp| tcp.read + tcp.stream.len())
            .sum();
        let closed = self.ends.iter().filter(|tcp| !tcp.is_open()).count();
        let mark = (read + closed * 1_000_000_000) as u64 + self.client.left();
        if mark != self.progress.0 {
            self.progress = (mark, self.now);
        }
        assert!(
            self.client.is_hostile || self.now - self.progress.1.max(self.clean_at) < STALL,
            "stuck: {}",
            self.describe()
        );
    }

    /// The session has come to its end.
    pub(crate) fn judge(&self) {
        if self.client.is_hostile {
            return;
        }
        assert!(
            self.is_finished(),
            "stuck, no timer runs: {}",
            self.describe()
        );
        // One of which nothing is known never carried a byte: its record may go at any time.
        let wire = &self.hook.wire;
        let known = wire.client.is(flag::KNOWN) && wire.nodes[0].is(flag::KNOWN);
        // On a bad network all of a socket's probes may be lost, and its RST; on a clean one they are answered.
        let gave_up = |tcp: &Tcp| {
            tcp.gave_up_at
                .is_some_and(|at| at < self.clean_at + KEEPALIVE)
        };
        let is_over = wire.is_over() || self.ends.iter().any(gave_up);
        assert!(is_over || !known, "not over: {}", self.describe());
        let was_broken = self.daemon.was_killed
            || self.nodes.iter().any(|node| node.has_died)
            || self.client.aborts()
            || self.ends.iter().any(gave_up);
        if !was_broken {
            assert!(
                self.client.is_satisfied(),
                "a response is missing: {}",
                self.describe()
            );
        }
        if self.daemon.quit && !was_broken {
            for (id, kind) in &self.client.meant {
                let is_read = self.nodes.iter().any(|node| node.seen.contains(id));
                // Whether it reads the last of all is a matter of its own close.
                let is_last = |node: &Node| node.seen.iter().all(|seen| seen < id);
                let mut its = self.nodes.iter().filter(|node| node.is_for(*kind));
                assert!(is_read || its.all(is_last), "command {id} is missing");
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("at {} (clean at {})\n", self.now, self.clean_at);
        for tcp in &self.ends {
            let _ = writeln!(
                text,
                "{:?}: {:?} reset {} orphan {} una {} nxt {} of {} fin {:?} received {} nxt {} read {} fin {} retries {} base {} {}",
                tcp.end,
                tcp.state,
                tcp.is_reset,
                tcp.is_orphan,
                tcp.snd_una.wrapping_sub(tcp.snd_base),
                tcp.snd_nxt.wrapping_sub(tcp.snd_base),
                tcp.stream.len(),
                tcp.fin_seq,
                tcp.received.len(),
                tcp.rcv_nxt.wrapping_sub(tcp.rcv_base),
                tcp.read,
                tcp.fin_received,
                tcp.retries,
                tcp.snd_base,
                tcp.rcv_base,
            );
        }
        let _ = writeln!(
            text,
            "{:#?}\nclosed {} left {}",
            self.hook.wire,
            self.daemon.is_closed,
            self.client.left()
        );
        text
    }
}
