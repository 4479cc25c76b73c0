//! The sending half.

use sluice_ebpf::wire::tcp;

use super::super::packet::{Packet, after};
use super::Tcp;

impl Tcp {
    const fn sent(&self) -> usize {
        self.snd_nxt.wrapping_sub(self.snd_base) as usize
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.fin_seq.is_none() && (self.sent() < self.stream.len() || self.fin_wanted)
    }

    pub(crate) fn write(&mut self, bytes: &[u8], now: u64) {
        if self.can_write() {
            self.stream.extend_from_slice(bytes);
            self.pump(now);
        }
    }

    /// Sends what the windows allow.
    pub(super) fn pump(&mut self, now: u64) {
        while self.is_open() && self.has_unsent() {
            let unsent = self.stream.len() - self.sent();
            let under_way = self.snd_nxt.wrapping_sub(self.snd_una);
            let room = self.snd_wnd.min(self.cwnd).saturating_sub(under_way) as usize;
            let mut bytes = unsent.min(self.mss);
            if bytes > room {
                if room == 0 || under_way != 0 {
                    break;
                }
                bytes = room;
            }
            let start = self.snd_nxt;
            let mut packet = self.piece(start, bytes);
            self.snd_nxt = start.wrapping_add(bytes as u32);
            if bytes != 0 {
                self.segments.push_back(self.snd_nxt);
            }
            if self.fin_wanted && bytes == unsent {
                packet.flags |= tcp::FIN;
                self.fin_seq = Some(self.snd_nxt);
                self.snd_nxt = self.snd_nxt.wrapping_add(1);
            }
            self.out.push(packet);
        }
        if self.rto_at.is_none() && (self.snd_una != self.snd_nxt || self.has_unsent()) {
            self.rto_at = Some(now + self.rto);
        }
    }

    /// Bytes of the stream as a segment.
    pub(super) fn piece(&mut self, start: u32, bytes: usize) -> Packet {
        let from = start.wrapping_sub(self.snd_base) as usize;
        let data = self.stream[from..from + bytes].to_vec();
        self.packet(start, data)
    }

    /// Sends something again: the first that is not acknowledged, or a window probe.
    pub(super) fn again(&mut self, choice: u64) {
        if self.snd_una == self.snd_nxt {
            if self.has_unsent() {
                let probe = self.packet(self.snd_una.wrapping_sub(1), Vec::new());
                self.out.push(probe);
            }
            return;
        }
        let last = self.snd_base.wrapping_add(self.stream.len() as u32);
        let sent = if self.fin_seq.is_some() {
            last
        } else {
            self.snd_nxt
        };
        let (start, end) = self.choose(choice, sent);
        let mut packet = self.piece(start, end.wrapping_sub(start) as usize);
        if self.fin_seq == Some(end) && (start == end || choice & 0x40 != 0) {
            packet.flags |= tcp::FIN;
        }
        self.out.push(packet);
    }

    /// The first segment, or with the ones behind it collapsed into it (`tcp_retrans_try_collapse`), or as many bytes as fit (BSD), or
    /// the last one (a tail loss probe).
    fn choose(&self, choice: u64, sent: u32) -> (u32, u32) {
        let start = self.snd_una;
        let Some(&first) = self.segments.front() else {
            return (start, start);
        };
        let fits = |end: u32| end.wrapping_sub(start) as usize <= self.mss;
        if self.by_bytes {
            let most = start.wrapping_add(self.mss as u32);
            return (start, if after(sent, most) { most } else { sent });
        }
        match choice % 8 {
            0 if self.segments.len() > 1 => {
                let at = self.segments.len() - 1;
                (self.segments[at - 1], self.segments[at])
            }
            0..=2 => (start, first),
            _ => {
                let collapsed = self.segments.iter().take_while(|end| fits(**end)).last();
                (start, collapsed.copied().unwrap_or(first))
            }
        }
    }

    /// What an acknowledgement does. False: the segment is to be discarded.
    pub(super) fn acknowledged(&mut self, packet: &Packet, now: u64) -> bool {
        let ack = packet.ack;
        if after(ack, self.snd_nxt) {
            return false;
        }
        if after(self.snd_una.wrapping_sub(self.max_window), ack) {
            self.acknowledge_now();
            return false;
        }
        let is_news = after(ack, self.snd_una);
        let is_newer = after(packet.seq, self.snd_wl1)
            || (packet.seq == self.snd_wl1 && packet.window > self.snd_wnd);
        if is_news || (is_newer && !after(self.snd_una, ack)) {
            self.snd_wnd = packet.window;
            self.snd_wl1 = packet.seq;
            self.max_window = self.max_window.max(packet.window);
        }
        if is_news {
            self.snd_una = ack;
            while self.segments.front().is_some_and(|end| !after(*end, ack)) {
                self.segments.pop_front();
            }
            self.cwnd = (self.cwnd + self.mss as u32).min(1 << 20);
            self.retries = 0;
            self.duplicates = 0;
            self.rto = super::RTO_MIN;
            self.rto_at = (self.snd_una != self.snd_nxt).then_some(now + self.rto);
        } else if ack == self.snd_una && packet.data.is_empty() && self.snd_una != self.snd_nxt {
            self.duplicates += 1;
            if self.duplicates == 3 {
                self.again(now);
            }
        }
        self.settle(now);
        self.pump(now);
        true
    }
}
