//! The receiving half.

use sluice_ebpf::wire::tcp;

use super::super::packet::{Packet, after};
use super::{Early, State, Tcp};

/// How long an acknowledgement may be held back.
const DELAYED_ACK: u64 = 40;
/// How often a segment without bytes that is out of the window is answered at most (`tcp_invalid_ratelimit`).
const OUT_OF_WINDOW_INTERVAL: u64 = 300;

impl Tcp {
    pub(super) fn acknowledge_now(&mut self) {
        let ack = self.packet(self.acceptable(), Vec::new());
        self.out.push(ack);
    }

    /// A segment arrives.
    pub(crate) fn arrive(&mut self, packet: &Packet, now: u64) {
        if packet.damaged {
            return;
        }
        match self.state {
            State::Closed => self.refuse(packet),
            State::TimeWait => {
                // `tcp_timewait_state_process`
                let is_bare = packet.end() == self.rcv_nxt && packet.seq == self.rcv_nxt;
                if !packet.is(tcp::RST) && !is_bare && now >= self.limited_until {
                    self.limited_until = now + OUT_OF_WINDOW_INTERVAL;
                    self.acknowledge_now();
                }
            }
            State::Open => {
                self.heard_at = now;
                self.probes = 0;
                self.open(packet, now);
            }
        }
    }

    /// `tcp_v4_send_reset`.
    fn refuse(&mut self, packet: &Packet) {
        if packet.is(tcp::RST) {
            return;
        }
        let mut reset = self.packet(0, Vec::new());
        reset.sack = None;
        if packet.is(tcp::ACK) {
            reset.seq = packet.ack;
            reset.ack = 0;
            reset.flags = tcp::RST;
        } else {
            reset.ack = packet.end().wrapping_add(1);
            reset.flags = tcp::RST | tcp::ACK;
        }
        self.out.push(reset);
    }

    /// `tcp_validate_incoming`, then `tcp_ack` and `tcp_data_queue`.
    fn open(&mut self, packet: &Packet, now: u64) {
        let is_in_window =
            !after(self.rcv_wup, packet.end()) && !after(packet.seq, self.right_edge);
        if packet.is(tcp::RST) {
            if packet.seq == self.rcv_nxt {
                self.die();
            } else if is_in_window {
                self.acknowledge_now();
            }
            return;
        }
        if !is_in_window || packet.is(tcp::SYN) {
            // `tcp_oow_rate_limited`
            if !packet.data.is_empty() || now >= self.limited_until {
                self.limited_until = now + OUT_OF_WINDOW_INTERVAL;
                self.acknowledge_now();
            }
            return;
        }
        if packet.is(tcp::ACK) && !self.acknowledged(packet, now) {
            return;
        }
        if packet.data.is_empty() && !packet.is(tcp::FIN) {
            return;
        }
        self.queue(packet, now);
        self.settle(now);
    }

    /// `tcp_data_queue`.
    fn queue(&mut self, packet: &Packet, now: u64) {
        if !after(packet.end(), self.rcv_nxt) {
            self.acknowledge_now();
            return;
        }
        if self.is_orphan && !packet.data.is_empty() {
            // Nobody will read it (`tcp_rcv_state_process`).
            self.refuse(packet);
            self.die();
            return;
        }
        if packet.is(tcp::FIN) {
            self.fin_at = Some(packet.end().wrapping_sub(1));
        }
        let was_early = !self.early.is_empty();
        self.keep(packet);
        self.take_early();
        if self.fin_at == Some(self.rcv_nxt) && !self.fin_received {
            self.fin_received = true;
            self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
            self.acknowledge_now();
            return;
        }
        self.unacked_segments += 1;
        if was_early || !self.early.is_empty() || self.unacked_segments >= 2 {
            self.acknowledge_now();
        } else if self.ack_at.is_none() {
            self.ack_at = Some(now + DELAYED_ACK);
        }
    }

    /// Puts what is new of a segment where it belongs.
    fn keep(&mut self, packet: &Packet) {
        let done = self.received.len();
        let ahead = packet.seq.wrapping_sub(self.rcv_nxt);
        let (mut at, mut skip) = if ahead < 1 << 31 {
            (done + ahead as usize, 0)
        } else {
            (done, ahead.wrapping_neg() as usize)
        };
        while skip < packet.data.len() {
            // Bytes that lie there already stay.
            if let Some((start, early)) = self.early.range(..=at).next_back()
                && start + early.data.len() > at
            {
                let behind = start + early.data.len();
                skip += behind - at;
                at = behind;
                continue;
            }
            let free = self
                .early
                .range(at..)
                .next()
                .map_or(usize::MAX, |(start, _)| start - at);
            let bytes = free.min(packet.data.len() - skip);
            let origin = (packet.origin.0, packet.origin.1.wrapping_add(skip));
            self.accepted.push((origin.0, origin.1, bytes));
            let data = packet.data[skip..skip + bytes].to_vec();
            self.early.insert(at, Early { data, origin });
            at += bytes;
            skip += bytes;
        }
    }

    fn take_early(&mut self) {
        while let Some(early) = self.early.remove(&self.received.len()) {
            self.rcv_nxt = self.rcv_nxt.wrapping_add(early.data.len() as u32);
            self.received.extend_from_slice(&early.data);
            self.origins.push((self.received.len(), early.origin.0));
        }
    }

    /// The application reads all there is; Linux says so where the window was shut.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let bytes = self.unread().to_vec();
        self.take_some(bytes.len());
        bytes
    }

    pub(crate) fn take_some(&mut self, bytes: usize) {
        self.read += bytes;
        let window = self.right_edge.wrapping_sub(self.rcv_nxt);
        if bytes != 0 && self.is_open() && window < self.buffer / 2 {
            self.acknowledge_now();
        }
    }
}
