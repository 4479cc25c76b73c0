//! The tracker: one call for each segment of a session's two connections, at the hook where it passes.

use super::{
    leg::{Leg, after, earlier, flag, later},
    verdict::{Segment, To, Verdict, tcp},
};
use crate::{reason::TrapReason, record::Offsets};

/// Values of [`Wire::phase`].
pub mod phase {
    /// All segments go to the local sockets, and nothing that bypassed them is outstanding.
    pub const RELAYED: u32 = 0;
    /// A regime is live: segments go from peer to peer.
    pub const SPLICED: u32 = 1;
    /// The regime is over; bytes that bypassed the local sockets are not acknowledged yet.
    pub const DRAINING: u32 = 2;
}

/// One of a session's two connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Between client and daemon.
    Client,
    /// Between daemon and node.
    Node,
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
    /// The session's path is the wire, and nothing speaks against it.
    pub allowed: bool,
}

impl Offer {
    /// The daemon has closed the session: what comes now are last segments.
    const fn is_closed(&self) -> bool {
        self.stopped == u64::MAX
    }
}

/// What a segment's payload is, found out before the session's lock was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Was not looked at: no payload, or the phase asks for no knowledge of it.
    Unknown,
    /// Of a client: its first packet is a command that may be spliced, this many bytes long with its header.
    Command(u32),
    /// Of a client: the daemon must see it.
    Trap(TrapReason),
    /// Of a node: a walk through the response that stood at this sequence number reached the end of the segment.
    Walked(u32),
}

/// What is known of a session's two connections. Written under the session's lock only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(64))]
pub struct Wire {
    /// One of [`phase`].
    pub phase: u32,
    reserved: u32,
    /// The regime that began last.
    pub regime: u64,
    /// The connection with the client.
    pub client: Leg,
    /// The connection with the node.
    pub node: Leg,
}

const _: () = assert!(
    size_of::<Leg>() == 64 && size_of::<Wire>() == 192,
    "the map record holds this layout"
);

/// The phase and the two legs, from where a segment passes.
struct Half<'a> {
    phase: &'a mut u32,
    /// The leg that the segment belongs to.
    own: &'a mut Leg,
    /// The other one.
    other: &'a mut Leg,
}

impl Wire {
    /// Whether a look into the payload of this segment from `side`'s peer can matter: where not, [`Content::Unknown`] will do. Read without
    /// the lock: a guess, which costs a trap at most.
    #[inline]
    pub const fn wants_content(&self, side: Side, offer: &Offer) -> bool {
        let is_offered = offer.allowed && offer.armed > self.regime && offer.armed > offer.stopped;
        match side {
            Side::Client => self.phase != phase::RELAYED || is_offered,
            Side::Node => self.phase == phase::SPLICED,
        }
    }

    /// Both connections are over: nothing of them needs to be translated any more.
    pub const fn is_over(&self) -> bool {
        self.client.is_over() && self.node.is_over()
    }

    /// Whether any byte has ever bypassed the local sockets.
    pub const fn is_used(&self) -> bool {
        self.regime != 0 || self.client.rcv_bypassed != 0 || self.client.snd_bypassed != 0
    }

    /// A segment that came from a peer. `outstanding`: a spliced command's response is not complete.
    #[inline]
    pub fn from_peer(
        &mut self,
        side: Side,
        segment: &Segment,
        content: Content,
        offer: &Offer,
        outstanding: bool,
    ) -> Verdict {
        let ended = self.end_if_stopped(offer);
        let begins = matches!(side, Side::Client) && self.may_begin(segment, offer);
        let mut half = self.half(side);
        half.own.flags |= flag::HEARD;
        if segment.has(tcp::SYN) || half.own.is(flag::GONE) {
            if offer.is_closed() {
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
        let advanced = half.acknowledge(segment);
        let mut verdict = match *half.phase {
            phase::SPLICED => half.spliced(side, segment, content, outstanding),
            phase::DRAINING => half.draining(side, segment, content, advanced),
            _ if begins => half.offered(segment, content),
            _ => half.deliver(segment),
        };
        half.drain();
        if verdict.began {
            self.regime = offer.armed;
        }
        verdict.ended |= ended;
        verdict
    }

    /// A segment that the local socket of `side` sends.
    #[inline]
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
    #[inline]
    fn end_if_stopped(&mut self, offer: &Offer) -> bool {
        let stopped = self.phase == phase::SPLICED && self.regime <= offer.stopped;
        if stopped {
            self.half(Side::Client).end();
        }
        stopped
    }

    /// The one moment at which a regime may begin: the daemon's four offsets are true, and nothing that was sent to either peer is
    /// unacknowledged, nor anything that the client has sent.
    #[inline]
    fn may_begin(&self, segment: &Segment, offer: &Offer) -> bool {
        let (client, node) = (&self.client, &self.node);
        let broken = flag::FIN_IN | flag::FIN_OUT | flag::RESET | flag::GONE | flag::NARROW;
        offer.allowed
            && offer.armed > self.regime
            && offer.armed > offer.stopped
            && client.is(flag::KNOWN | flag::HEARD | flag::SPOKEN)
            && node.is(flag::KNOWN | flag::HEARD | flag::SPOKEN)
            && (client.flags | node.flags) & broken == 0
            && segment.length != 0
            && !segment.has(tcp::FIN | tcp::RST | tcp::SYN | tcp::URG)
            && segment.seq == client.rcv_nxt
            && segment.ack == client.snd_nxt
            && client.rcv_acked == client.rcv_nxt
            && node.is_acknowledged()
            && offer.offsets.read_from_client == client.received()
            && offer.offsets.written_to_client == client.sent()
            && offer.offsets.read_from_node == node.received()
            && offer.offsets.written_to_node == node.sent()
    }

    #[inline]
    const fn half(&mut self, side: Side) -> Half<'_> {
        let Self {
            phase,
            client,
            node,
            ..
        } = self;
        match side {
            Side::Client => Half {
                phase,
                own: client,
                other: node,
            },
            Side::Node => Half {
                phase,
                own: node,
                other: client,
            },
        }
    }
}

impl Half<'_> {
    /// Takes note of what the peer acknowledges. Whether that was news.
    #[inline]
    const fn acknowledge(&mut self, segment: &Segment) -> bool {
        let own = &mut *self.own;
        let news = segment.has(tcp::ACK)
            && after(segment.ack, own.snd_una)
            && !after(segment.ack, own.snd_nxt);
        if news {
            own.snd_una = segment.ack;
        }
        news
    }

    /// Once all bytes of the regime are acknowledged the session is an ordinary relayed one.
    #[inline]
    const fn drain(&mut self) {
        if *self.phase == phase::DRAINING && self.own.is_drained() && self.other.is_drained() {
            *self.phase = phase::RELAYED;
        }
        if *self.phase == phase::RELAYED {
            // It must stay near: only half of all numbers come before it.
            self.own.snd_edge = self.own.snd_una;
        }
    }

    /// The regime is over.
    #[inline]
    const fn end(&mut self) {
        *self.phase = phase::DRAINING;
        self.own.rcv_edge = self.own.rcv_nxt;
        self.own.snd_edge = self.own.snd_nxt;
        self.other.rcv_edge = self.other.rcv_nxt;
        self.other.snd_edge = self.other.snd_nxt;
    }

    /// To the local socket, with virtual numbers.
    #[inline]
    const fn deliver(&mut self, segment: &Segment) -> Verdict {
        let own = &mut *self.own;
        own.rcv_nxt = later(segment.end(), own.rcv_nxt);
        own.flags &= !flag::PROBED;
        if segment.has(tcp::FIN) {
            own.flags |= flag::FIN_IN;
        }
        if segment.has(tcp::RST) {
            own.flags |= flag::RESET;
        }
        Verdict {
            to: To::Addressee,
            seq: segment.seq.wrapping_sub(own.rcv_bypassed),
            ack: segment.ack.wrapping_sub(own.snd_bypassed),
            sack_shift: own.snd_bypassed.wrapping_neg(),
            length: segment.length,
            ..Verdict::UNTOUCHED
        }
    }

    /// To the other peer, with its numbers. At most `length` bytes.
    #[inline]
    const fn pass(&mut self, segment: &Segment, length: u32) -> Verdict {
        let (own, other) = (&mut *self.own, &mut *self.other);
        let forth = other.snd_start.wrapping_sub(own.rcv_start);
        let back = other.rcv_start.wrapping_sub(own.snd_start);
        let ack = later(segment.ack, own.snd_start).wrapping_add(back);
        other.rcv_acked = later(ack, other.rcv_acked);
        let copy = if own.flags & flag::PROBED == 0 {
            None
        } else {
            own.flags &= !flag::PROBED;
            Some(own.old_duplicate(segment.length))
        };
        Verdict {
            to: To::OtherPeer,
            seq: segment.seq.wrapping_add(forth),
            ack,
            sack_shift: back,
            length,
            copy,
            ..Verdict::UNTOUCHED
        }
    }

    /// To the other peer; the bytes up to `end` are new, and bypass.
    #[inline]
    const fn pass_new(&mut self, segment: &Segment) -> Verdict {
        let (own, other) = (&mut *self.own, &mut *self.other);
        let new = segment.end().wrapping_sub(own.rcv_nxt);
        own.rcv_nxt = own.rcv_nxt.wrapping_add(new);
        own.rcv_bypassed = own.rcv_bypassed.wrapping_add(new);
        other.snd_nxt = other.snd_nxt.wrapping_add(new);
        other.snd_bypassed = other.snd_bypassed.wrapping_add(new);
        let mut verdict = self.pass(segment, segment.length);
        verdict.passed = true;
        verdict
    }

    /// A client's segment at the moment that the daemon's offer names.
    #[inline]
    const fn offered(&mut self, segment: &Segment, content: Content) -> Verdict {
        match content {
            Content::Command(bytes) if bytes == segment.length => {
                *self.phase = phase::SPLICED;
                for_both(self);
                // Its acknowledgement is usually the one that the local socket waits for.
                self.own.flags |= flag::PROBED;
                let mut verdict = self.pass_new(segment);
                verdict.began = true;
                verdict
            }
            Content::Trap(reason) => {
                let mut verdict = self.deliver(segment);
                verdict.trap = Some(reason);
                verdict
            }
            Content::Command(_) => {
                let mut verdict = self.deliver(segment);
                verdict.trap = Some(TrapReason::Framing);
                verdict
            }
            Content::Unknown | Content::Walked(_) => self.deliver(segment),
        }
    }

    /// The regime ends with this segment, which is the local socket's.
    #[inline]
    const fn hand_up(&mut self, segment: &Segment, reason: Option<TrapReason>) -> Verdict {
        self.end();
        let mut verdict = self.deliver(segment);
        verdict.ended = true;
        verdict.trap = reason;
        verdict
    }

    /// A peer's segment in a regime.
    #[inline]
    const fn spliced(
        &mut self,
        side: Side,
        segment: &Segment,
        content: Content,
        outstanding: bool,
    ) -> Verdict {
        if segment.has(tcp::FIN | tcp::RST | tcp::URG) {
            return self.hand_up(segment, None);
        }
        if segment.length == 0 {
            return if after(self.own.snd_start, segment.ack) {
                // Old: of relayed bytes.
                self.deliver(segment)
            } else {
                self.pass(segment, 0)
            };
        }
        if after(segment.seq, self.own.rcv_nxt) {
            return self.hand_up(segment, Some(TrapReason::Gap));
        }
        if segment.seq != self.own.rcv_nxt {
            return self.repeated(side, segment, content, outstanding);
        }
        match (side, content) {
            (Side::Client, Content::Command(_)) if outstanding => {
                self.hand_up(segment, Some(TrapReason::Pipelined))
            }
            (Side::Client, Content::Command(bytes)) if bytes == segment.length => {
                self.pass_new(segment)
            }
            (Side::Client, Content::Trap(reason)) => self.hand_up(segment, Some(reason)),
            (Side::Client, _) => self.hand_up(segment, Some(TrapReason::Framing)),
            (Side::Node, Content::Walked(from)) if outstanding && from == segment.seq => {
                self.pass_new(segment)
            }
            (Side::Node, _) => self.hand_up(segment, None),
        }
    }

    /// A segment in a regime that begins with bytes which have passed before.
    #[inline]
    const fn repeated(
        &mut self,
        side: Side,
        segment: &Segment,
        content: Content,
        outstanding: bool,
    ) -> Verdict {
        let end = segment.end();
        if !after(end, self.own.rcv_start) {
            // Wholly of what was relayed: an old duplicate for the local socket as well.
            return self.deliver(segment);
        }
        if after(self.own.rcv_start, segment.seq) {
            return Verdict::DROPPED;
        }
        if matches!(side, Side::Node) && after(end, self.own.rcv_nxt) {
            if let Content::Walked(from) = content
                && outstanding
                && from == self.own.rcv_nxt
            {
                return self.pass_new(segment);
            }
            // What is new of it will come again, to the local socket.
            self.end();
            let mut verdict = self.again(side, segment, content);
            verdict.ended = true;
            return verdict;
        }
        self.again(side, segment, content)
    }

    /// Bytes of the last regime, sent again. Beyond what the other peer has acknowledged a client's must be commands that may be spliced,
    /// this time too: or two texts could be sent under one sequence number.
    #[inline]
    const fn again(&mut self, side: Side, segment: &Segment, content: Content) -> Verdict {
        let edge = if *self.phase == phase::SPLICED {
            self.own.rcv_nxt
        } else {
            self.own.rcv_edge
        };
        let length = earlier(segment.end(), edge).wrapping_sub(segment.seq);
        let forth = self.other.snd_start.wrapping_sub(self.own.rcv_start);
        let end = segment.seq.wrapping_add(length).wrapping_add(forth);
        let is_known = !after(end, self.other.snd_una);
        match (side, content) {
            _ if is_known => self.pass(segment, length),
            (Side::Node, _) => self.pass(segment, length),
            (Side::Client, Content::Command(bytes)) if bytes <= length => self.pass(segment, bytes),
            (Side::Client, _) => Verdict::DROPPED,
        }
    }

    /// A peer's segment while bytes of the last regime are outstanding. `advanced`: it acknowledges something new.
    #[inline]
    const fn draining(
        &mut self,
        side: Side,
        segment: &Segment,
        content: Content,
        advanced: bool,
    ) -> Verdict {
        let own = &*self.own;
        if segment.length == 0 {
            // Of what bypassed; it is the other peer that waits for it.
            let is_others =
                advanced && !after(segment.ack, own.snd_edge) && !segment.has(tcp::FIN | tcp::RST);
            return if is_others {
                self.pass(segment, 0)
            } else {
                self.deliver(segment)
            };
        }
        let is_again = after(own.rcv_edge, segment.seq) && after(segment.end(), own.rcv_start);
        if !is_again || segment.has(tcp::RST) {
            return self.deliver(segment);
        }
        if after(own.rcv_start, segment.seq) {
            return Verdict::DROPPED;
        }
        if self.other.is_drained() {
            // The other peer has it all, and this one has not heard so: the local socket tells it, and takes what is new.
            return self.deliver(segment);
        }
        // A FIN behind them stays here: it will come again.
        self.again(side, segment, content)
    }

    /// A segment of the local socket.
    #[inline]
    const fn local(&mut self, segment: &Segment) -> Verdict {
        let mut ended = false;
        if *self.phase == phase::SPLICED {
            let next = self.own.snd_nxt.wrapping_sub(self.own.snd_bypassed);
            if segment.has(tcp::FIN | tcp::RST) || after(segment.end(), next) {
                self.end();
                ended = true;
            } else if segment.length != 0 || segment.seq != next {
                // It misses an acknowledgement, or asks whether the peer lives.
                return self.ask(segment.length);
            } else {
                return Verdict::DROPPED;
            }
        }
        let own = &mut *self.own;
        let seq = segment.seq.wrapping_add(own.snd_bypassed);
        let end = segment.end().wrapping_add(own.snd_bypassed);
        if segment.length != 0 && !after(end, own.snd_edge) && !segment.has(tcp::FIN) {
            return self.ask(segment.length);
        }
        if segment.length != 0 && after(own.snd_edge, seq) && *self.phase == phase::DRAINING {
            // Its first bytes stood before the regime, where their numbers are others'.
            return Verdict {
                ended,
                ..Verdict::DROPPED
            };
        }
        let mut ack = segment.ack.wrapping_add(own.rcv_bypassed);
        if *self.phase == phase::DRAINING && !self.other.is_drained() {
            // Nobody acknowledges for the other peer.
            let known = self.other.snd_una.wrapping_sub(self.other.snd_start);
            ack = earlier(ack, own.rcv_start.wrapping_add(known));
        }
        own.snd_nxt = later(end, own.snd_nxt);
        own.rcv_acked = later(ack, own.rcv_acked);
        if segment.has(tcp::FIN) {
            own.flags |= flag::FIN_OUT;
        }
        if segment.has(tcp::RST) {
            own.flags |= flag::RESET;
        }
        Verdict {
            to: To::Addressee,
            seq,
            ack,
            sack_shift: own.rcv_bypassed,
            length: segment.length,
            ended,
            ..Verdict::UNTOUCHED
        }
    }

    /// Has the peer say where it stands: a segment wholly of numbers that it has acknowledged is answered with an acknowledgement, and of
    /// that the local socket gets a copy. So its keep-alive works in a regime too.
    #[inline]
    const fn ask(&mut self, length: u32) -> Verdict {
        let own = &mut *self.own;
        own.flags |= flag::PROBED;
        let before = if length == 0 { 1 } else { length };
        Verdict {
            to: To::Addressee,
            seq: own.snd_una.wrapping_sub(before),
            ack: own.rcv_acked,
            sack_shift: own.rcv_bypassed,
            length,
            ..Verdict::UNTOUCHED
        }
    }
}

/// A regime begins where both legs stand.
#[inline]
const fn for_both(half: &mut Half<'_>) {
    half.own.rcv_start = half.own.rcv_nxt;
    half.own.snd_start = half.own.snd_nxt;
    half.other.rcv_start = half.other.rcv_nxt;
    half.other.snd_start = half.other.snd_nxt;
}

impl Leg {
    /// The numbers of a segment of this many bytes that ends where the local socket stands, and acknowledges all that it has sent.
    #[inline]
    const fn old_duplicate(&self, length: u32) -> (u32, u32) {
        (
            self.rcv_nxt
                .wrapping_sub(self.rcv_bypassed)
                .wrapping_sub(length),
            self.snd_nxt.wrapping_sub(self.snd_bypassed),
        )
    }
}
