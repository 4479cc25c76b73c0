//! What the tc program does around the tracker: classifies, walks, keeps the record, applies the verdict.

use sluice_ebpf::{
    aim::Aim,
    reason::TrapReason,
    record::{Aside, Seat},
    response::Status,
    wire::{Commands, Content, Offer, Side, To, Verdict, Wire, phase, tcp},
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
    /// The node that the last command went to.
    pub(crate) seat: u32,
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
    pub(crate) aside: Aside,
    /// Payload bytes that a segment to the node may have.
    pub(crate) segment_to_node: usize,
}

/// Where a segment goes on.
pub(crate) type Onward = (End, Packet);

/// The peer that what bypasses on this side goes to, in a regime with the node of this number.
const fn opposite(side: Side, seat: u32) -> End {
    match side {
        Side::Client if seat == Seat::Reader as u32 => End::Reader,
        Side::Client => End::Node,
        Side::Node(_) => End::Client,
    }
}

/// Of transactions this protocol has none.
pub(crate) const OUTSIDE: Status = Status::of(Status::AUTOCOMMIT);

impl Hook {
    /// Looks into the payload, before the lock. With it the response as it would stand behind this segment, and whose a command is.
    fn look(&self, side: Side, packet: &Packet) -> (Content, Walk, Aim) {
        let response = self.record.response;
        if packet.data.is_empty() {
            return (Content::Unknown, response, Aim::Writer);
        }
        match side {
            Side::Client => {
                let (content, aim) = self.command(packet);
                (content, response, aim)
            }
            Side::Node(_) => {
                let next = self.wire.leg(side).rcv_nxt;
                if after(packet.seq, next) || !after(packet.end(), next) {
                    return (Content::Unknown, response, Aim::Writer);
                }
                let new = &packet.data[next.wrapping_sub(packet.seq) as usize..];
                let mut walk = response;
                if walk.go(new) == new.len() {
                    (Content::Walked(next), walk, Aim::Writer)
                } else {
                    (Content::Unknown, response, Aim::Writer)
                }
            }
        }
    }

    /// A command that is not one segment on both of its ways may be lost in part, and what is sent again of it cannot be classified.
    fn command(&self, packet: &Packet) -> (Content, Aim) {
        let is_live = self.wire.phase == phase::SPLICED;
        let bytes = self.wire.client.again(is_live, &packet.segment());
        let (content, aim) = classify(&packet.data[..bytes as usize]);
        match content {
            Content::Command(bytes)
                if bytes as usize > self.segment_to_node
                    || (packet.pieces != 0 && bytes as usize > packet.pieces) =>
            {
                (Content::Trap(TrapReason::Segment), aim)
            }
            content => (content, aim),
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
        let (mut content, walk, aim) = if self.wire.wants_content(side, &self.offer) {
            self.look(side, &packet)
        } else {
            (Content::Unknown, self.record.response, Aim::Writer)
        };
        if blind {
            content = Content::Unknown;
        }
        let outstanding = self.record.commands != self.record.answered;
        let before = self.wire;
        if let Content::Command(bytes) = content {
            let commands = Commands { bytes, aim };
            content = self.wire.placed(
                &segment,
                commands,
                &self.offer,
                &self.aside,
                OUTSIDE,
                outstanding,
            );
        }
        let verdict = self
            .wire
            .from_peer(side, &segment, content, &self.offer, outstanding);
        count_peer(&before, &self.offer, side, &packet, &verdict, counts);
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
                record.seat = verdict.seat;
                let commands = all(&packet.data);
                if commands.len() > 1 {
                    counts.add("several commands in a segment");
                }
                if commands.last().is_some_and(Command::is_answered) {
                    record.commands += 1;
                    record.response = Walk::default();
                }
            }
            Side::Node(_) => {
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
            onward.push((End::local(side), copy));
        }
        let to = match verdict.to {
            To::Dropped => return onward,
            To::Untouched => {
                onward.push((End::local(side), packet));
                return onward;
            }
            To::Addressee => End::local(side),
            To::OtherPeer => {
                packet.flags &= !tcp::FIN;
                opposite(side, verdict.seat)
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
        vec![(End::peer(side), packet)]
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

fn count_peer(
    wire: &Wire,
    offer: &Offer,
    side: Side,
    packet: &Packet,
    verdict: &Verdict,
    counts: &mut Counts,
) {
    let own = wire.leg(side);
    count_seats(wire, offer, side, packet, verdict, counts);
    if let Some(reason) = verdict.trap {
        counts.add(match reason {
            TrapReason::Command => "trap: command",
            TrapReason::Framing => "trap: not one whole packet",
            TrapReason::Pipelined => "trap: pipelined",
            TrapReason::Gap => "trap: missing segment",
            TrapReason::OtherNode => "trap: for the other node",
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

/// What has to do with there being two nodes.
fn count_seats(
    wire: &Wire,
    offer: &Offer,
    side: Side,
    packet: &Packet,
    verdict: &Verdict,
    counts: &mut Counts,
) {
    if verdict.began {
        counts.add("regime");
        if verdict.seat == Seat::Reader as u32 {
            counts.add("regime with the reader");
        }
        if verdict.seat != wire.seat {
            counts.add("regime with another node than the last");
        }
        if verdict.seat != offer.seat {
            counts.add("regime with the node that is not offered");
        }
    }
    if verdict.passed && side == Side::Client && !verdict.began && verdict.seat != wire.seat {
        counts.add(if verdict.seat == Seat::Reader as u32 {
            "goes on with the reader"
        } else {
            "goes on with the writer"
        });
    }
    if side == Side::Client
        && wire.phase == phase::DRAINING
        && offer.armed > wire.regime
        && offer.seat != wire.seat
    {
        counts.add("offered another node while bytes of the last are outstanding");
    }
    if let Side::Node(seat) = side
        && seat as u32 != wire.seat
        && wire.phase != phase::RELAYED
        && !packet.data.is_empty()
    {
        counts.add("the node speaks that the regime is not with");
    }
}

fn count_local(wire: &Wire, side: Side, packet: &Packet, verdict: &Verdict, counts: &mut Counts) {
    let own = wire.leg(side);
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
