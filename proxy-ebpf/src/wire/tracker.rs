//! The tracker: one call for each segment of a session's two connections, at the hook where it passes.

use super::{
    half::{Half, for_both},
    leg::{Leg, after, flag},
    verdict::{Segment, To, Verdict, tcp},
};
use crate::{
    aim::Aim,
    reason::{TrapReason, WaitReason},
    record::{Aside, NODES, Offsets, Seat, is_taken, is_taken_aside, takes},
    response::Status,
};

/// Values of [`Wire::phase`].
pub mod phase {
    /// All segments go to the local sockets, and nothing that bypassed them is outstanding.
    pub const RELAYED: u32 = 0;
    /// A regime is live: segments go from peer to peer.
    pub const SPLICED: u32 = 1;
    /// The regime is over; bytes that bypassed the local sockets are not acknowledged yet.
    pub const DRAINING: u32 = 2;

    /// The phase's name, for operators.
    pub const fn text(phase: u32) -> &'static str {
        match phase {
            SPLICED => "spliced",
            DRAINING => "draining",
            _ => "relayed",
        }
    }
}

/// One of a session's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Between client and daemon.
    Client,
    /// Between daemon and this node.
    Node(Seat),
}

/// What the daemon says, read from its part of the record before the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// The regime that it offers; 0: none.
    pub armed: u64,
    /// Regimes up to this one are over; `u64::MAX`: the session is closed.
    pub stopped: u64,
    /// Where `armed` may begin.
    pub offsets: Offsets,
    /// The node that it is to be with: a [`Seat`] as its number.
    pub seat: u32,
    /// Which statements that node takes: one of [`takes`].
    pub takes: u32,
    /// What is known of the session where it begins.
    pub status: Status,
    /// The session's path is the wire, and nothing speaks against it.
    pub allowed: bool,
}

impl Offer {
    /// The daemon has closed the session: what comes now are last segments.
    const fn is_closed(&self) -> bool {
        self.stopped == u64::MAX
    }

    /// What is offered of the node that a regime of it is not with while it is with `seat`. `aside`: of the one that it does not name.
    #[inline(always)]
    const fn beside(&self, seat: u32, aside: &Aside) -> Aside {
        if seat == self.seat {
            return *aside;
        }
        self.own()
    }

    /// What is offered of the node that it names.
    #[inline(always)]
    const fn own(&self) -> Aside {
        Aside {
            takes: self.takes,
            read_from_node: self.offsets.read_from_node,
            written_to_node: self.offsets.written_to_node,
        }
    }
}

/// What a segment's payload is, found out before the session's lock was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Was not looked at: no payload, or the phase asks for no knowledge of it.
    Unknown,
    /// Of a client: its first packet is a command that may be spliced, this many bytes long with its header.
    Command(u32),
    /// The same where a regime begins, with the node that is not offered ([`Wire::placed`]).
    Turned(u32),
    /// Of a client: the daemon must see it.
    Trap(TrapReason),
    /// Of a node: a walk through the response that stood at this sequence number reached the end of the segment.
    Walked(u32),
}

/// The commands in a client's segment that may be spliced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commands {
    /// How long they are, from the segment's first byte on.
    pub bytes: u32,
    /// Which node they are for.
    pub aim: Aim,
}

/// Flags of either leg with which no regime begins.
const BROKEN: u32 = flag::FIN_IN | flag::FIN_OUT | flag::RESET | flag::GONE;

/// What is known of a session's connections. A regime joins the client's with one node's; the other node's is an ordinary relayed one meanwhile, and
/// each keeps its own count of what has bypassed it. Written under the session's lock only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(64))]
pub struct Wire {
    /// One of [`phase`]: of the client's connection, and of that with the regime's node.
    pub phase: u32,
    /// The node of the regime that began last: a [`Seat`] as its number.
    pub seat: u32,
    /// The regime that began last.
    pub regime: u64,
    /// Which statements go to its node: one of [`takes`].
    pub takes: u32,
    /// The phase of the connection with the other node, which no regime has: always [`phase::RELAYED`].
    aside: u32,
    /// The connection with the client.
    pub client: Leg,
    /// The connections with the nodes, by [`Seat`].
    pub nodes: [Leg; NODES],
}

const _: () = assert!(
    size_of::<Leg>() == 64 && size_of::<Wire>() == 256,
    "the map record holds this layout"
);
const _: () = assert!(
    NODES == 2,
    "a place is masked, and the other one is what it is not"
);

/// The connection with this node.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "masked to the array's size")]
const fn at(nodes: &[Leg; NODES], seat: u32) -> &Leg {
    &nodes[seat as usize & (NODES - 1)]
}

/// The same, to be written.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "masked to the array's size")]
const fn at_mut(nodes: &mut [Leg; NODES], seat: u32) -> &mut Leg {
    &mut nodes[seat as usize & (NODES - 1)]
}

impl Wire {
    /// Whether a look into the payload of this segment from `side`'s peer can matter: where not, [`Content::Unknown`] will do. Read without
    /// the lock: a guess, which costs a trap at most.
    #[inline(always)]
    pub const fn wants_content(&self, side: Side, offer: &Offer) -> bool {
        let is_offered = offer.allowed && offer.armed > self.regime && offer.armed > offer.stopped;
        match side {
            Side::Client => self.phase != phase::RELAYED || is_offered,
            Side::Node(seat) => self.phase == phase::SPLICED && self.seat == seat as u32,
        }
    }

    /// Whether what this client's segment says goes to the node of the regime that it meets, live, over or offered. `aim`: whose it is; `status`: what the
    /// last regime's responses tell of the session.
    #[inline(always)]
    pub const fn takes(&self, segment: &Segment, aim: Aim, offer: &Offer, status: Status) -> bool {
        if self.phase == phase::RELAYED {
            return is_taken(offer.takes, offer.status, aim);
        }
        // What comes again was taken the first time. Of a reader that is not believed: another text might stand there now.
        if self.takes != takes::READS && segment.seq != self.client.rcv_nxt {
            return true;
        }
        is_taken(self.takes, status, aim)
    }

    /// What the client's segment with these commands is where it is now: if they are for the node that the regime is not with, or not offered with, that goes
    /// on or begins with this one, or it traps. To be followed by [`Wire::from_peer`] with the same segment. `aside`: the daemon's, of this very `offer`;
    /// `status` and `outstanding`: as for [`Wire::takes`] and there.
    #[inline(always)]
    pub fn placed(
        &mut self,
        segment: &Segment,
        commands: Commands,
        offer: &Offer,
        aside: &Aside,
        status: Status,
        outstanding: bool,
    ) -> Content {
        let Commands { bytes, aim } = commands;
        if self.takes(segment, aim, offer, status) {
            return Content::Command(bytes);
        }
        let is_whole = bytes == segment.length && !outstanding;
        if self.phase == phase::RELAYED {
            let begins = is_taken_aside(aside.takes, offer.status, aim)
                && is_whole
                && self.may_begin(segment, offer, offer.seat ^ 1, aside);
            if !begins {
                return Content::Trap(TrapReason::OtherNode);
            }
            self.seat = offer.seat ^ 1;
            self.takes = aside.takes;
            return Content::Turned(bytes);
        }
        let next = offer.beside(self.seat, aside);
        let goes_on = is_taken_aside(next.takes, status, aim)
            && is_whole
            && self.may_go_on(segment, offer, &next);
        if !goes_on {
            return Content::Trap(TrapReason::OtherNode);
        }
        self.go_on(segment, next.takes);
        Content::Command(bytes)
    }

    /// The connection of this side.
    #[inline(always)]
    pub const fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Client => &self.client,
            Side::Node(seat) => at(&self.nodes, seat as u32),
        }
    }

    /// The same, to be written.
    #[inline(always)]
    pub const fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Node(seat) => at_mut(&mut self.nodes, seat as u32),
        }
    }

    /// The connection with the node of the regime that began last.
    #[inline(always)]
    pub const fn node(&self) -> &Leg {
        at(&self.nodes, self.seat)
    }

    /// What an offered regime with this node waits for. As [`Wire::from_peer`] asks, but for what only the client's segment can say.
    pub fn waits_for(&self, seat: u32, offsets: &Offsets) -> WaitReason {
        let (client, node) = (&self.client, at(&self.nodes, seat));
        if (client.flags | node.flags) & BROKEN != 0 {
            WaitReason::Closing
        } else if !node.is_acknowledged() || !self.node().is_drained() {
            WaitReason::ToNode
        } else if client.rcv_acked != client.rcv_nxt {
            WaitReason::ToClient
        } else if is_at(client, offsets.read_from_client, offsets.written_to_client)
            && is_at(node, offsets.read_from_node, offsets.written_to_node)
        {
            WaitReason::Command
        } else {
            WaitReason::Daemon
        }
    }

    /// All connections are over: nothing of them needs to be translated any more.
    pub fn is_over(&self) -> bool {
        // Where nothing has bypassed nothing is translated.
        let is_over = |leg: &Leg| leg.is_over() || !leg.is_used();
        self.client.is_over() && self.nodes.iter().all(is_over)
    }

    /// Whether bytes that bypassed towards this side's peer are not acknowledged: a FIN of the local socket would wait behind them, so a
    /// session that ends now resets that connection.
    pub const fn is_owed(&self, side: Side) -> bool {
        if let Side::Node(seat) = side
            && seat as u32 != self.seat
        {
            return false;
        }
        let leg = self.leg(side);
        match self.phase {
            phase::SPLICED => after(leg.snd_nxt, leg.snd_una),
            phase::DRAINING => after(leg.snd_edge, leg.snd_una),
            _ => false,
        }
    }

    /// Whether any byte has ever bypassed the local sockets.
    pub const fn is_used(&self) -> bool {
        self.regime != 0 || self.client.rcv_bypassed != 0 || self.client.snd_bypassed != 0
    }

    /// Ends the regime: what comes next is the local sockets'.
    #[inline(always)]
    pub const fn end(&mut self) {
        self.half(Side::Client).end();
    }

    /// A segment that came from a peer. `outstanding`: a spliced command's response is not complete.
    #[inline(always)]
    pub fn from_peer(
        &mut self,
        side: Side,
        segment: &Segment,
        content: Content,
        offer: &Offer,
        outstanding: bool,
    ) -> Verdict {
        let ended = self.end_if_stopped(offer);
        let is_turned = matches!(content, Content::Turned(_));
        let is_offered = matches!(side, Side::Client)
            && !is_turned
            && self.may_begin(segment, offer, offer.seat, &offer.own());
        if is_offered {
            // Where none begins after all, its node is nobody's concern.
            self.seat = offer.seat;
        }
        let mut half = self.half(side);
        half.own.flags |= flag::HEARD;
        if segment.has(tcp::SYN) || half.own.is(flag::GONE) {
            // The peer may be faster than the daemon.
            let is_free = offer.is_closed() || half.own.is_free();
            if is_free && !half.own.began_with(segment) {
                half.own.flags |= flag::GONE;
            }
            return Verdict {
                ended,
                ..Verdict::UNTOUCHED
            };
        }
        if !half.own.is(flag::KNOWN) {
            if segment.length != 0 && !segment.has(tcp::RST) {
                half.own.learn_from_peer(segment);
            }
            return Verdict {
                ended,
                ..Verdict::UNTOUCHED
            };
        }
        if half.own.is_far(segment) {
            return Verdict {
                ended,
                ..half.translated(segment)
            };
        }
        let advanced = half.acknowledge(segment);
        let mut verdict = match *half.phase {
            phase::SPLICED => half.spliced(side, segment, content, outstanding),
            phase::DRAINING => half.draining(side, segment, content, advanced),
            _ if is_offered || is_turned => half.offered(segment, content),
            _ => half.deliver(segment),
        };
        half.drain();
        if verdict.began {
            self.regime = offer.armed;
            if is_offered {
                self.takes = offer.takes;
            }
        }
        verdict.seat = self.seat;
        verdict.ended |= ended;
        verdict
    }

    /// A segment of `side`'s connection to its peer was too big for the path; it began at `seq`. Who must hear of it, and under which number:
    /// the other peer, of what it sent in the last regime, else the local socket.
    #[inline(always)]
    pub const fn too_big(&mut self, side: Side, seq: u32) -> (To, u32) {
        let Half { phase, own, other } = self.half(side);
        let edge = match *phase {
            phase::SPLICED => own.snd_nxt,
            phase::DRAINING => own.snd_edge,
            _ => own.snd_start,
        };
        if !after(own.snd_start, seq) && after(edge, seq) {
            let forth = own.snd_start.wrapping_sub(other.rcv_start);
            return (To::OtherPeer, seq.wrapping_sub(forth));
        }
        (To::Addressee, seq.wrapping_sub(own.snd_bypassed))
    }

    /// A segment that the local socket of `side` sends.
    #[inline(always)]
    pub fn from_local(&mut self, side: Side, segment: &Segment, offer: &Offer) -> Verdict {
        let ended = self.end_if_stopped(offer);
        let mut half = self.half(side);
        half.own.flags |= flag::SPOKEN;
        if segment.has(tcp::SYN) || half.own.is(flag::GONE) {
            return Verdict {
                ended,
                ..Verdict::UNTOUCHED
            };
        }
        if !half.own.is(flag::KNOWN) {
            if segment.length != 0 && !segment.has(tcp::RST) {
                half.own.learn_from_local(segment);
            }
            return Verdict {
                ended,
                ..Verdict::UNTOUCHED
            };
        }
        let mut verdict = half.local(segment);
        verdict.ended |= ended;
        verdict
    }

    /// The daemon's stop is a regime's end, whatever passes next.
    #[inline(always)]
    fn end_if_stopped(&mut self, offer: &Offer) -> bool {
        let stopped = self.phase == phase::SPLICED && self.regime <= offer.stopped;
        if stopped {
            self.half(Side::Client).end();
        }
        stopped
    }

    /// The one moment at which a regime may begin with this node, of which the daemon says `of_node`: its four offsets are true, and nothing that was sent to either peer is
    /// unacknowledged, nor anything that the client has sent. Nor is anything outstanding of the last regime, whichever node that was with: while it is, the
    /// constants between the client's connection and that node's are needed.
    #[inline(always)]
    fn may_begin(&self, segment: &Segment, offer: &Offer, seat: u32, of_node: &Aside) -> bool {
        let (client, node) = (&self.client, at(&self.nodes, seat));
        self.phase == phase::RELAYED
            && offer.allowed
            && offer.armed > self.regime
            && offer.armed > offer.stopped
            && client.is(flag::KNOWN | flag::HEARD | flag::SPOKEN)
            && node.is(flag::KNOWN | flag::HEARD | flag::SPOKEN)
            && (client.flags | node.flags) & BROKEN == 0
            && segment.length != 0
            && !segment.has(tcp::FIN | tcp::RST | tcp::SYN | tcp::URG)
            && segment.seq == client.rcv_nxt
            && segment.ack == client.snd_nxt
            && client.rcv_acked == client.rcv_nxt
            && node.is_acknowledged()
            && is_at(
                client,
                offer.offsets.read_from_client,
                offer.offsets.written_to_client,
            )
            && is_at(node, of_node.read_from_node, of_node.written_to_node)
    }

    /// The one moment at which a regime may go on with its other node, of which the daemon says `next`: its counts of that node's connection are true, and
    /// nothing is outstanding in any direction, between the client and the node that was used last nor of what the other one was sent.
    #[inline(always)]
    fn may_go_on(&self, segment: &Segment, offer: &Offer, next: &Aside) -> bool {
        let (client, used) = (&self.client, at(&self.nodes, self.seat));
        let node = at(&self.nodes, self.seat ^ 1);
        self.phase == phase::SPLICED
            && offer.armed == self.regime
            && self.regime > offer.stopped
            && node.is(flag::KNOWN | flag::HEARD | flag::SPOKEN)
            && (client.flags | used.flags | node.flags) & BROKEN == 0
            && !segment.has(tcp::FIN | tcp::RST | tcp::SYN | tcp::URG)
            && segment.seq == client.rcv_nxt
            && segment.ack == client.snd_nxt
            && client.rcv_acked == client.rcv_nxt
            && used.is_acknowledged()
            && node.is_acknowledged()
            && is_at(node, next.read_from_node, next.written_to_node)
    }

    /// The regime goes on with its other node, as one that begins there with this command.
    #[inline(always)]
    const fn go_on(&mut self, segment: &Segment, takes: u32) {
        let used = at_mut(&mut self.nodes, self.seat);
        used.snd_edge = used.snd_una;
        self.takes = takes;
        self.seat ^= 1;
        for_both(&mut self.half(Side::Client));
        self.client.rcv_last = segment.seq;
    }

    #[inline(always)]
    const fn half(&mut self, side: Side) -> Half<'_> {
        let Self {
            phase,
            seat,
            aside,
            client,
            nodes,
            ..
        } = self;
        match side {
            Side::Client => Half {
                phase,
                own: client,
                other: at_mut(nodes, *seat),
            },
            Side::Node(own) => Half {
                phase: if own as u32 == *seat { phase } else { aside },
                own: at_mut(nodes, own as u32),
                other: client,
            },
        }
    }
}

/// The local socket of this connection has received and sent exactly this much.
#[inline(always)]
const fn is_at(leg: &Leg, received: u32, sent: u32) -> bool {
    received == leg.received() && sent == leg.sent()
}
