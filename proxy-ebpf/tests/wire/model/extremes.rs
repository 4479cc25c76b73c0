//! What ordinary sessions do not do: gigabytes in one regime, and a client that sends another text under the same numbers.

use sluice_ebpf::{
    record::Seat,
    wire::{Content, Segment, phase, tcp},
};

use super::{
    command::{Command, HEADER, Kind},
    packet::End,
    session::Session,
};

const STRIDE: u32 = 1 << 16;

impl Session {
    /// As if more than 2 GiB passed in this regime, in one of the directions, while nothing else is under way.
    pub(crate) fn haul(&mut self) {
        let wire = &self.hook.wire;
        let is_live = wire.phase == phase::SPLICED && wire.regime > self.hook.offer.stopped;
        if !is_live || !self.is_at_rest() {
            return;
        }
        let strides = (1 << 15) + self.dice.below(1 << 14) as u32;
        let to_client = self.dice.permille(500);
        let node = if wire.seat == Seat::Reader as u32 {
            End::Reader
        } else {
            End::Node
        };
        let (from, to) = if to_client {
            (node, End::Client)
        } else {
            (End::Client, node)
        };
        let (side, back) = (from.side(), to.side());
        let offer = self.hook.offer;
        let mut moved = 0;
        for _ in 0..strides {
            let (seq, ack) = {
                let tcp = &self.ends[from as usize];
                (tcp.snd_nxt, tcp.rcv_nxt)
            };
            let content = if to_client {
                Content::Walked(seq.wrapping_add(moved))
            } else {
                Content::Command(STRIDE)
            };
            let segment = Segment {
                seq: seq.wrapping_add(moved),
                ack,
                length: STRIDE,
                flags: tcp::ACK,
            };
            let verdict = self
                .hook
                .wire
                .from_peer(side, &segment, content, &offer, to_client);
            assert!(verdict.passed, "{verdict:?}");
            moved = moved.wrapping_add(STRIDE);
            let other = &self.ends[to as usize];
            let acknowledged = Segment {
                seq: other.snd_nxt,
                ack: other.rcv_nxt.wrapping_add(moved),
                length: 0,
                flags: tcp::ACK,
            };
            let content = Content::Unknown;
            self.hook
                .wire
                .from_peer(back, &acknowledged, content, &offer, to_client);
        }
        self.ends[from as usize].skip_sent(moved);
        self.ends[to as usize].skip_received(moved);
        self.counts.add("gigabytes in one regime");
    }

    /// Writes other commands over those that are not acknowledged, and sends some of them; some damaged, so that the hook sees them and
    /// the node does not take them.
    pub(crate) fn attack(&mut self) {
        let tcp = &mut self.ends[End::Client as usize];
        if !tcp.is_open() || tcp.snd_una == tcp.snd_nxt || tcp.fin_seq.is_some() {
            return;
        }
        let from = tcp.snd_una.wrapping_sub(tcp.snd_base) as usize;
        let sent = tcp.snd_nxt.wrapping_sub(tcp.snd_base) as usize;
        let mut starts = Vec::new();
        if self.dice.permille(700) {
            let mut at = from;
            while at < tcp.stream.len() {
                let left = tcp.stream.len() - at;
                let length = (HEADER * (1 + self.dice.index(8))).min(left);
                let command = Command {
                    kind: match self.dice.below(8) {
                        0 => Kind::Set,
                        1..=3 => Kind::Silent,
                        4..=5 => Kind::Read,
                        _ => Kind::Query,
                    },
                    id: 1_000_000,
                    length,
                    response: 20,
                };
                if length >= HEADER {
                    tcp.stream[at..at + length].copy_from_slice(&command.with_hidden(Kind::Set));
                }
                starts.push(at);
                at += length;
            }
            self.counts.add("another text");
        } else {
            starts.push(from);
        }
        for (number, start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(sent).min(sent);
            if *start >= end || self.dice.permille(400) {
                continue;
            }
            let tcp = &mut self.ends[End::Client as usize];
            let seq = tcp.snd_base.wrapping_add(*start as u32);
            let mut packet = tcp.raw(seq, end - start);
            packet.damaged = self.dice.permille(300);
            self.at_hook(End::Client, packet);
        }
    }
}
