//! What the tc program does around the tracker: classifies, walks, keeps the record, applies the verdict.

use sluice_ebpf::{
    reason::TrapReason,
    wire::{Content, Offer, Side, To, Verdict, Wire, phase, tcp},
};

use super::{
    command::{Command, Walk, all, classify},
    counts::Counts,
    packet::{End, Packet, after},
};

/// The record's part that the programs write.
#[derive(Clone, Copy, Default)]
pub(crate) struct Record {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) handed_over: u64,
    pub(crate) commands: u64,
    pub(crate) answered: u64,
    pub(crate) response: Walk,
    pub(crate) handed: Walk,
}

pub(crate) struct Hook {
    pub(crate) wire: Wire,
    pub(crate) record: Record,
    pub(crate) offer: Offer,
    /// Payload bytes that a segment to the node may have.
    pub(crate) segment_to_node: usize,
}

/// Where a segment goes on.
pub(crate) type Onward = (End, Packet);

const fn local_end(side: Side) -> End {
    match side {
        Side::Client => End::Front,
        Side::Node => End::Back,
    }
}

const fn peer_end(side: Side) -> End {
    match side {
        Side::Client => End::Client,
        Side::Node => End::Node,
    }
}

const fn opposite(side: Side) -> Side {
    match side {
        Side::Client => Side::Node,
        Side::Node => Side::Client,
    }
}

impl Hook {
    /// Looks into the payload, before the lock. With it the response as it would stand behind this segment.
    fn look(&self, side: Side, packet: &Packet) -> (Content, Walk) {
        let response = self.record.response;
        if packet.data.is_empty() {
            return (Content::Unknown, response);
        }
        match side {
            Side::Client => (self.command(packet), response),
            Side::Node => {
                let next = self.wire.node.rcv_nxt;
                if after(packet.seq, next) || !after(packet.end(), next) {
                    return (Content::Unknown, response);
                }
                let new = &packet.data[next.wrapping_sub(packet.seq) as usize..];
                let mut walk = response;
                if walk.go(new) == new.len() {
                    (Content::Walked(next), walk)
                } else {
                    (Content::Unknown, response)
                }
            }
        }
    }

    /// A command that is not one segment on both of its ways may be lost in part, and what is sent again of it cannot be classified.
    fn command(&self, packet: &Packet) -> Content {
        let is_live = self.wire.phase == phase::SPLICED;
        let bytes = self.wire.client.again(is_live, &packet.segment());
        match classify(&packet.data[..bytes as usize]) {
            Content::Command(bytes)
                if bytes as usize > self.segment_to_node
                    || (packet.pieces != 0 && bytes as usize > packet.pieces) =>
            {
                Content::Trap(TrapReason::Segment)
            }
            content => content,
        }
    }

    /// A segment of a peer.
    pub(crate) fn peer(
        &mut self,
        side: Side,
        packet: Packet,
        blind: bool,
        counts: &mut Counts,
    ) -> Vec<Onward> {
        let segment = packet.segment();
        let (mut content, walk) = if self.wire.wants_content(side, &self.offer) {
            self.look(side, &packet)
        } else {
            (Content::Unknown, self.record.response)
        };
        if blind {
            content = Content::Unknown;
        }
        let outstanding = self.record.commands != self.record.answered;
        let before = self.wire;
        let verdict = self
            .wire
            .from_peer(side, &segment, content, &self.offer, outstanding);
        count_peer(&before, side, &packet, &verdict, counts);
        self.note(side, &packet, &verdict, walk, counts);
        Self::apply(side, packet, &verdict)
    }

    /// Keeps the record.
    fn note(
        &mut self,
        side: Side,
        packet: &Packet,
        verdict: &Verdict,
        walk: Walk,
        counts: &mut Counts,
    ) {
        if verdict.ended {
            self.note_end();
        }
        let record = &mut self.record;
        if verdict.began {
            record.begun = self.wire.regime;
        }
        if !verdict.passed {
            return;
        }
        match side {
            Side::Client => {
                let commands = all(&packet.data);
                if commands.len() > 1 {
                    counts.add("several commands in a segment");
                }
                if commands.last().is_some_and(Command::is_answered) {
                    record.commands += 1;
                    record.response = Walk::default();
                }
            }
            Side::Node => {
                record.response = walk;
                if walk.is_done() {
                    record.answered = record.commands;
                }
            }
        }
    }

    /// A regime has ended: its unfinished response is the daemon's.
    fn note_end(&mut self) {
        let record = &mut self.record;
        record.ended = record.begun;
        if record.commands != record.answered {
            record.handed = record.response;
            record.handed_over = record.begun;
            record.answered = record.commands;
        }
    }

    fn apply(side: Side, mut packet: Packet, verdict: &Verdict) -> Vec<Onward> {
        let mut onward = Vec::new();
        if let Some((seq, ack)) = verdict.copy {
            // SACK blocks would be the other peer's: the copy goes without.
            let copy = Packet {
                seq,
                ack,
                flags: packet.flags & !tcp::FIN,
                sack: None,
                ..packet.clone()
            };
            onward.push((local_end(side), copy));
        }
        let to = match verdict.to {
            To::Dropped => return onward,
            To::Untouched => {
                onward.push((local_end(side), packet));
                return onward;
            }
            To::Addressee => local_end(side),
            To::OtherPeer => {
                packet.flags &= !tcp::FIN;
                peer_end(opposite(side))
            }
        };
        rewrite(&mut packet, verdict);
        onward.push((to, packet));
        onward
    }

    /// A segment of a local socket.
    pub(crate) fn local(
        &mut self,
        side: Side,
        mut packet: Packet,
        counts: &mut Counts,
    ) -> Vec<Onward> {
        let before = self.wire;
        let verdict = self.wire.from_local(side, &packet.segment(), &self.offer);
        count_local(&before, side, &packet, &verdict, counts);
        self.note(side, &packet, &verdict, Walk::default(), counts);
        match verdict.to {
            To::Dropped => return Vec::new(),
            To::Untouched => {}
            To::Addressee => rewrite(&mut packet, &verdict),
            To::OtherPeer => panic!("a local socket's segment to the other peer"),
        }
        vec![(peer_end(side), packet)]
    }
}

fn rewrite(packet: &mut Packet, verdict: &Verdict) {
    packet.seq = verdict.seq;
    packet.ack = verdict.ack;
    packet.trim(verdict.length);
    if let Some((start, end)) = &mut packet.sack {
        *start = start.wrapping_add(verdict.sack_shift);
        *end = end.wrapping_add(verdict.sack_shift);
    }
}

fn count_peer(wire: &Wire, side: Side, packet: &Packet, verdict: &Verdict, counts: &mut Counts) {
    let own = match side {
        Side::Client => &wire.client,
        Side::Node => &wire.node,
    };
    if verdict.began {
        counts.add("regime");
    }
    if let Some(reason) = verdict.trap {
        counts.add(match reason {
            TrapReason::Command => "trap: command",
            TrapReason::Framing => "trap: not one whole packet",
            TrapReason::Pipelined => "trap: pipelined",
            TrapReason::Gap => "trap: missing segment",
            TrapReason::Segment => "trap: larger than a segment",
            _ => "trap: other",
        });
    }
    if verdict.copy.is_some() {
        counts.add("copy");
    }
    let length = packet.data.len() as u32;
    if verdict.to == To::OtherPeer && length != 0 {
        if verdict.length != length {
            counts.add("trimmed");
        }
        if !verdict.passed {
            counts.add("passed again");
            let bytes = &packet.data[..verdict.length as usize];
            let first = Command::read(bytes).ok().flatten();
            if side == Side::Client && first.is_some_and(|first| first.length < bytes.len()) {
                counts.add("several commands in a segment, again");
            }
        }
    }
    if wire.phase != phase::RELAYED
        && after(own.rcv_start, packet.seq)
        && after(packet.end(), own.rcv_start)
    {
        counts.add("straddles the start");
    }
    if verdict.to == To::Dropped {
        counts.add("dropped: from a peer");
    }
    if packet.is(tcp::FIN) {
        counts.add("FIN of a peer");
    }
    if packet.is(tcp::RST) {
        counts.add("RST of a peer");
    }
}

fn count_local(wire: &Wire, side: Side, packet: &Packet, verdict: &Verdict, counts: &mut Counts) {
    let own = match side {
        Side::Client => &wire.client,
        Side::Node => &wire.node,
    };
    match verdict.to {
        To::Dropped => counts.add("dropped: from a local socket"),
        To::Addressee if verdict.seq != packet.seq.wrapping_add(own.snd_bypassed) => {
            counts.add("asks the peer");
        }
        To::Addressee if verdict.ack != packet.ack.wrapping_add(own.rcv_bypassed) => {
            counts.add("clamped");
        }
        _ => {}
    }
}
