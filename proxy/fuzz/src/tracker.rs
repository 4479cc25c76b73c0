//! The wire's tracker alone: segments with any numbers, from any end, in any order, and what must hold of each verdict.

use sluice_ebpf::reason::TrapReason;
use sluice_ebpf::record::{Offsets, Seat};
use sluice_ebpf::wire::{Content, Offer, Segment, Side, To, Verdict, Wire, phase, tcp};

/// Bytes of an input that make one event.
const EVENT: usize = 10;
const FLAGS: [u8; 8] = [
    tcp::ACK,
    tcp::ACK,
    tcp::ACK,
    tcp::ACK | tcp::FIN,
    tcp::RST,
    tcp::SYN,
    tcp::ACK | tcp::URG,
    tcp::ACK | tcp::RST,
];

/// Runs an input's events, ten bytes each.
pub fn tracker(data: &[u8]) {
    let mut wire = Wire::default();
    let mut offer = Offer {
        allowed: true,
        ..Offer::default()
    };
    for event in data.chunks_exact(EVENT) {
        let Some(
            &[
                kind,
                sort,
                flags,
                bits,
                seq_a,
                seq_b,
                ack_a,
                ack_b,
                length_a,
                length_b,
            ],
        ) = event.first_chunk()
        else {
            return;
        };
        let near = |a, b| i32::from(i16::from_le_bytes([a, b])).cast_unsigned();
        let side = match (kind & 1, kind & 8) {
            (0, _) => Side::Client,
            (_, 0) => Side::Node(Seat::Writer),
            _ => Side::Node(Seat::Reader),
        };
        let leg = wire.leg(side);
        let flags = FLAGS
            .get(usize::from(flags & 7))
            .copied()
            .unwrap_or(tcp::ACK);
        let mut segment = Segment {
            seq: near(seq_a, seq_b),
            ack: near(ack_a, ack_b),
            length: u32::from(u16::from_le_bytes([length_a, length_b])),
            flags,
        };
        match kind >> 1 & 3 {
            0 | 1 => {
                segment.seq = segment.seq.wrapping_add(leg.rcv_nxt);
                segment.ack = segment.ack.wrapping_add(leg.snd_nxt);
                from_peer(
                    &mut wire,
                    side,
                    &segment,
                    content(sort, &segment),
                    &offer,
                    bits & 1 != 0,
                );
            }
            2 => {
                segment.seq = segment
                    .seq
                    .wrapping_add(leg.snd_nxt.wrapping_sub(leg.snd_bypassed));
                segment.ack = segment
                    .ack
                    .wrapping_add(leg.rcv_nxt.wrapping_sub(leg.rcv_bypassed));
                from_local(&mut wire, side, &segment, &offer);
            }
            _ => {
                let seat = u32::from(kind >> 3 & 1);
                daemon(&wire, &mut offer, sort, segment.length, seat);
            }
        }
    }
}

/// What a look into the payload may say.
fn content(sort: u8, segment: &Segment) -> Content {
    match sort & 7 {
        0..=3 => Content::Command(segment.length),
        4 => Content::Command(
            segment
                .length
                .wrapping_add(u32::from(sort >> 3))
                .wrapping_sub(8),
        ),
        5 => Content::Trap(TrapReason::Verb),
        6 => Content::Walked(segment.seq.wrapping_add(u32::from(sort >> 3))),
        _ => Content::Unknown,
    }
}

/// What the daemon does: it offers, where the programs are or elsewhere; it stops a regime, or all.
fn daemon(wire: &Wire, offer: &mut Offer, sort: u8, error: u32, seat: u32) {
    match sort & 7 {
        0..=4 => {
            offer.armed = wire.regime + 1;
            offer.seat = seat;
            offer.offsets = at(wire, seat);
            if sort & 7 == 4 {
                offer.offsets.read_from_node = offer.offsets.read_from_node.wrapping_add(error);
            }
        }
        5 => offer.stopped = offer.stopped.max(wire.regime),
        6 => offer.allowed = !offer.allowed,
        _ if sort == 255 => offer.stopped = u64::MAX,
        _ => {}
    }
}

/// The node of this number.
const fn node(seat: u32) -> Side {
    Side::Node(if seat == Seat::Reader as u32 {
        Seat::Reader
    } else {
        Seat::Writer
    })
}

/// Where the local sockets of the client's connection and of this node's stand.
const fn at(wire: &Wire, seat: u32) -> Offsets {
    let node = wire.leg(node(seat));
    Offsets {
        read_from_client: wire.client.received(),
        written_to_client: wire.client.sent(),
        read_from_node: node.received(),
        written_to_node: node.sent(),
    }
}

/// A side's connection, and the one that a regime with this node joins it with.
const fn legs(wire: &Wire, side: Side, seat: u32) -> [&sluice_ebpf::wire::Leg; 2] {
    match side {
        Side::Client => [&wire.client, wire.leg(node(seat))],
        Side::Node(_) => [wire.leg(side), &wire.client],
    }
}

fn from_peer(
    wire: &mut Wire,
    side: Side,
    segment: &Segment,
    content: Content,
    offer: &Offer,
    outstanding: bool,
) {
    let before = *wire;
    let verdict = wire.from_peer(side, segment, content, offer, outstanding);
    let why = || {
        format!(
            "{before:#?}\n{side:?} {segment:?} {content:?} {offer:?} {outstanding}\n{verdict:?}\n{wire:#?}"
        )
    };
    check(&before, wire, segment, &verdict, offer, &why);
    let [own_before, other_before] = legs(&before, side, wire.seat);
    let [own, other] = legs(wire, side, wire.seat);
    if verdict.to == To::OtherPeer {
        assert!(
            before.phase != phase::RELAYED || verdict.began,
            "to the other peer without a regime\n{}",
            why()
        );
        assert_eq!(verdict.seat, wire.seat, "{}", why());
        if let Side::Node(seat) = side {
            assert_eq!(seat as u32, wire.seat, "of the other node\n{}", why());
        }
    }
    if verdict.trap.is_some() {
        assert_eq!(verdict.to, To::Addressee, "a trap elsewhere\n{}", why());
    }
    let bypassed = own.rcv_bypassed.wrapping_sub(own_before.rcv_bypassed);
    assert_eq!(
        bypassed,
        other.snd_bypassed.wrapping_sub(other_before.snd_bypassed),
        "bytes appear\n{}",
        why()
    );
    assert_eq!(bypassed != 0, verdict.passed, "bypassed unsaid\n{}", why());
    if verdict.passed {
        let may = match (side, content) {
            (Side::Client, Content::Command(bytes)) => {
                bytes == segment.length && (!outstanding || verdict.began)
            }
            (Side::Node(seat), Content::Walked(_)) => outstanding && seat as u32 == wire.seat,
            _ => false,
        };
        assert!(may, "unseen bytes bypass\n{}", why());
        assert!(
            bypassed <= segment.length && verdict.to == To::OtherPeer,
            "{}",
            why()
        );
        assert_eq!(wire.phase, phase::SPLICED, "{}", why());
        let streams = (own.received(), other.sent());
        let before = (own_before.received(), other_before.sent());
        assert_eq!(streams, before, "a local stream moves\n{}", why());
    }
    reaches_the_peer(&before, wire, side, segment, content, &verdict, &why);
}

/// What goes to the other peer may, and what goes to the local socket has its numbers.
fn reaches_the_peer(
    before: &Wire,
    wire: &Wire,
    side: Side,
    segment: &Segment,
    content: Content,
    verdict: &Verdict,
    why: &dyn Fn() -> String,
) {
    let [own, _] = legs(wire, side, wire.seat);
    // Two texts under the same numbers: what the node may not have yet goes there as a command, looked at this time.
    if verdict.to == To::OtherPeer && side == Side::Client && verdict.length != 0 {
        let end = verdict.seq.wrapping_add(verdict.length);
        let has_it = wire.node().snd_una.wrapping_sub(end) < 1 << 31;
        assert!(
            has_it || matches!(content, Content::Command(_)),
            "unseen text\n{}",
            why()
        );
    }
    if verdict.to == To::Addressee && before.phase == phase::RELAYED {
        assert_eq!(
            verdict.seq.wrapping_add(own.rcv_bypassed),
            segment.seq,
            "{}",
            why()
        );
        assert_eq!(
            verdict.ack.wrapping_add(own.snd_bypassed),
            segment.ack,
            "{}",
            why()
        );
    }
}

fn from_local(wire: &mut Wire, side: Side, segment: &Segment, offer: &Offer) {
    let before = *wire;
    let verdict = wire.from_local(side, segment, offer);
    let why =
        || format!("{before:#?}\nlocal {side:?} {segment:?} {offer:?}\n{verdict:?}\n{wire:#?}");
    check(&before, wire, segment, &verdict, offer, &why);
    assert!(
        !verdict.passed && !verdict.began && verdict.trap.is_none() && verdict.copy.is_none(),
        "{}",
        why()
    );
    assert_ne!(verdict.to, To::OtherPeer, "{}", why());
    let [own_before, other_before] = legs(&before, side, wire.seat);
    let [own, other] = legs(wire, side, wire.seat);
    assert_eq!(
        (own.rcv_bypassed, other.snd_bypassed),
        (own_before.rcv_bypassed, other_before.snd_bypassed),
        "{}",
        why()
    );
}

/// What holds of every verdict.
fn check(
    before: &Wire,
    wire: &Wire,
    segment: &Segment,
    verdict: &Verdict,
    offer: &Offer,
    why: &dyn Fn() -> String,
) {
    assert!(wire.phase <= phase::DRAINING, "{}", why());
    assert!(wire.regime >= before.regime, "{}", why());
    assert!(
        verdict.length <= segment.length,
        "longer than it was\n{}",
        why()
    );
    assert!(
        wire.phase != phase::SPLICED || wire.regime > offer.stopped,
        "a stopped regime lives\n{}",
        why()
    );
    assert_eq!(verdict.began, before.regime != wire.regime, "{}", why());
    if verdict.began {
        let at = at(before, offer.seat);
        assert!(
            offer.allowed && offer.armed == wire.regime && offer.offsets == at,
            "began elsewhere\n{}",
            why()
        );
        assert_eq!(
            (wire.seat, before.phase),
            (offer.seat, phase::RELAYED),
            "{}",
            why()
        );
        let unacknowledged = before.leg(node(offer.seat)).unacknowledged();
        assert_eq!(unacknowledged, 0, "{}", why());
    }
    let ends = before.phase == phase::SPLICED && wire.phase != phase::SPLICED;
    assert!(!ends || verdict.ended, "ended unsaid\n{}", why());
}
