//! What becomes of a segment in each phase, seen from the leg where it passes.

use super::{
    leg::{Leg, after, earlier, flag, later},
    tracker::{Content, Side, phase},
    verdict::{Segment, To, Verdict, tcp},
};
use crate::reason::TrapReason;

/// Takes a SACK block's numbers back to where TCP ignores them as too old (`tcp_is_sackblock_valid`).
const NO_BLOCK: u32 = 1 << 30;
/// Bytes of a regime behind which its start follows, and in which steps: a number comes before another only within 2^31.
const START_LAG: u32 = 3 << 29;
const START_STEP: u32 = 1 << 29;

/// The phase and the two legs, from where a segment passes.
pub(super) struct Half<'a> {
    pub(super) phase: &'a mut u32,
    /// The leg that the segment belongs to.
    pub(super) own: &'a mut Leg,
    /// The other one.
    pub(super) other: &'a mut Leg,
}

impl Half<'_> {
    /// Takes note of what the peer acknowledges. Whether that was news.
    #[inline(always)]
    pub(super) const fn acknowledge(&mut self, segment: &Segment) -> bool {
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
    #[inline(always)]
    pub(super) const fn drain(&mut self) {
        if *self.phase == phase::DRAINING && self.own.is_drained() && self.other.is_drained() {
            *self.phase = phase::RELAYED;
        }
        if *self.phase == phase::RELAYED {
            // It must stay near: only half of all numbers come before it.
            self.own.snd_edge = self.own.snd_una;
        }
    }

    /// The regime is over.
    #[inline(always)]
    pub(super) const fn end(&mut self) {
        *self.phase = phase::DRAINING;
        self.own.rcv_edge = self.own.rcv_nxt;
        self.own.snd_edge = self.own.snd_nxt;
        self.other.rcv_edge = self.other.rcv_nxt;
        self.other.snd_edge = self.other.snd_nxt;
    }

    /// To the local socket, with virtual numbers.
    #[inline(always)]
    pub(super) const fn deliver(&mut self, segment: &Segment) -> Verdict {
        let own = &mut *self.own;
        own.begin_from_peer(segment);
        let may_end = own.may_end_at(segment.seq);
        if segment.has(tcp::RST) && may_end {
            own.flags |= flag::RESET;
            if segment.seq == own.rcv_nxt {
                own.flags |= flag::ABORTED;
            }
        }
        if segment.length != 0
            && segment.seq == own.rcv_nxt
            && !segment.has(tcp::RST)
            && !own.is(flag::ABORTED)
        {
            // The peer goes on: what looked like its RST was a guess of somebody's, which TCP has not taken.
            own.flags &= !flag::RESET;
        }
        if !segment.has(tcp::RST) {
            own.rcv_nxt = later(segment.end(), own.rcv_nxt);
        }
        own.flags &= !flag::PROBED;
        if segment.has(tcp::FIN) && may_end {
            own.flags |= flag::FIN_IN;
        }
        self.translated(segment)
    }

    /// To the local socket, with virtual numbers; the tracker takes no notice.
    #[inline(always)]
    pub(super) const fn translated(&self, segment: &Segment) -> Verdict {
        let own = &*self.own;
        Verdict {
            to: To::Addressee,
            seq: segment.seq.wrapping_sub(own.rcv_bypassed),
            ack: segment.ack.wrapping_sub(own.snd_bypassed),
            sack_shift: own.snd_bypassed.wrapping_neg(),
            length: segment.length,
            ..Verdict::UNTOUCHED
        }
    }

    /// To the local socket, of a segment that begins before the last regime, what was relayed: it answers an old duplicate.
    #[inline(always)]
    const fn deliver_relayed(&mut self, segment: &Segment) -> Verdict {
        let relayed = self.own.rcv_start.wrapping_sub(segment.seq);
        if relayed >= segment.length {
            return self.deliver(segment);
        }
        self.deliver(&Segment {
            length: relayed,
            flags: segment.flags & !tcp::FIN,
            ..*segment
        })
    }

    /// To the other peer, with its numbers. At most `length` bytes.
    #[inline(always)]
    const fn pass(&mut self, segment: &Segment, length: u32) -> Verdict {
        let (own, other) = (&mut *self.own, &mut *self.other);
        let forth = other.snd_start.wrapping_sub(own.rcv_start);
        let back = other.rcv_start.wrapping_sub(own.snd_start);
        // What the local sockets have sent and received since the regime ended is nothing between the peers.
        let is_over = *self.phase != phase::SPLICED;
        let (received, sent) = if is_over {
            (own.rcv_edge, own.snd_edge)
        } else {
            (own.rcv_nxt, own.snd_nxt)
        };
        let ack = if is_over {
            earlier(segment.ack, sent)
        } else {
            segment.ack
        };
        let ack = later(ack, own.snd_start).wrapping_add(back);
        other.rcv_acked = later(ack, other.rcv_acked);
        // TCP discards bytes with an acknowledgement of more than a window ago (`tcp_ack`), and its local socket may have told the peer of many since.
        let ack = if is_over && length != 0 {
            other.rcv_acked
        } else {
            ack
        };
        // A FIN in the copy would stand where others' bytes are missing.
        let copy = if own.flags & flag::PROBED == 0 || segment.has(tcp::FIN) {
            None
        } else {
            own.flags &= !flag::PROBED;
            Some(own.old_duplicate(received, sent, segment.length))
        };
        let sack_shift = if is_over && own.snd_nxt != sent {
            back.wrapping_sub(NO_BLOCK)
        } else {
            back
        };
        // An acknowledgement from behind the regime's bytes: the other peer takes none with a number that its local socket has passed since.
        let seq = if is_over && segment.length == 0 && !after(own.rcv_edge, segment.seq) {
            other.snd_nxt
        } else {
            segment.seq.wrapping_add(forth)
        };
        Verdict {
            to: To::OtherPeer,
            seq,
            ack,
            sack_shift,
            length,
            copy,
            ..Verdict::UNTOUCHED
        }
    }

    /// To the other peer; the bytes up to `end` are new, and bypass.
    #[inline(always)]
    const fn pass_new(&mut self, segment: &Segment) -> Verdict {
        let (own, other) = (&mut *self.own, &mut *self.other);
        let new = segment.end().wrapping_sub(own.rcv_nxt);
        own.rcv_nxt = own.rcv_nxt.wrapping_add(new);
        own.rcv_bypassed = own.rcv_bypassed.wrapping_add(new);
        other.snd_nxt = other.snd_nxt.wrapping_add(new);
        other.snd_bypassed = other.snd_bypassed.wrapping_add(new);
        if own.rcv_nxt.wrapping_sub(own.rcv_start) > START_LAG {
            own.rcv_start = own.rcv_start.wrapping_add(START_STEP);
            other.snd_start = other.snd_start.wrapping_add(START_STEP);
        }
        let mut verdict = self.pass(segment, segment.length);
        verdict.passed = true;
        verdict
    }

    /// A command that bypasses.
    #[inline(always)]
    const fn pass_command(&mut self, segment: &Segment) -> Verdict {
        self.own.rcv_before_last = self.own.rcv_last;
        self.own.rcv_last = segment.seq;
        self.pass_new(segment)
    }

    /// The other peer has acknowledged all but one command at most: with a next one there are no more than the tracker remembers.
    #[inline(always)]
    const fn remembers(&self) -> bool {
        let forth = self.other.snd_start.wrapping_sub(self.own.rcv_start);
        !after(self.own.rcv_last.wrapping_add(forth), self.other.snd_una)
    }

    /// A client's segment at the moment that the daemon's offer names.
    #[inline(always)]
    pub(super) const fn offered(&mut self, segment: &Segment, content: Content) -> Verdict {
        match content {
            Content::Command(bytes) | Content::Turned(bytes) if bytes == segment.length => {
                *self.phase = phase::SPLICED;
                for_both(self);
                // Its acknowledgement is usually the one that the local socket waits for.
                self.own.flags |= flag::PROBED;
                self.own.rcv_last = segment.seq;
                let mut verdict = self.pass_command(segment);
                verdict.began = true;
                verdict
            }
            Content::Trap(reason) => {
                let mut verdict = self.deliver(segment);
                verdict.trap = Some(reason);
                verdict
            }
            Content::Command(_) | Content::Turned(_) => {
                let mut verdict = self.deliver(segment);
                verdict.trap = Some(TrapReason::Framing);
                verdict
            }
            Content::Unknown | Content::Walked(_) => self.deliver(segment),
        }
    }

    /// The regime ends with this segment, which is the local socket's.
    #[inline(always)]
    const fn hand_up(&mut self, segment: &Segment, reason: Option<TrapReason>) -> Verdict {
        self.end();
        let mut verdict = self.deliver(segment);
        verdict.ended = true;
        verdict.trap = reason;
        verdict
    }

    /// A peer's segment in a regime.
    #[inline(always)]
    pub(super) const fn spliced(
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
            (Side::Client, Content::Command(_)) if outstanding || !self.remembers() => {
                self.hand_up(segment, Some(TrapReason::Pipelined))
            }
            (Side::Client, Content::Command(bytes)) if bytes == segment.length => {
                self.pass_command(segment)
            }
            (Side::Client, Content::Trap(reason)) => self.hand_up(segment, Some(reason)),
            (Side::Client, _) => self.hand_up(segment, Some(TrapReason::Framing)),
            (Side::Node(_), Content::Walked(from)) if outstanding && from == segment.seq => {
                self.pass_new(segment)
            }
            (Side::Node(_), _) => self.hand_up(segment, None),
        }
    }

    /// A segment in a regime that begins with bytes which have passed before.
    #[inline(always)]
    const fn repeated(
        &mut self,
        side: Side,
        segment: &Segment,
        content: Content,
        outstanding: bool,
    ) -> Verdict {
        let end = segment.end();
        if after(self.own.rcv_start, segment.seq) {
            self.own.flags |= flag::REPEATED;
            return self.deliver_relayed(segment);
        }
        if matches!(side, Side::Node(_)) && after(end, self.own.rcv_nxt) {
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
    #[inline(always)]
    const fn again(&mut self, side: Side, segment: &Segment, content: Content) -> Verdict {
        let edge = if *self.phase == phase::SPLICED {
            self.own.rcv_nxt
        } else {
            self.own.rcv_edge
        };
        // Without a FIN, which is no byte of it.
        let end = segment.seq.wrapping_add(segment.length);
        let length = earlier(end, edge).wrapping_sub(segment.seq);
        let forth = self.other.snd_start.wrapping_sub(self.own.rcv_start);
        let start = segment.seq.wrapping_add(forth);
        let end = start.wrapping_add(length);
        let is_known = !after(end, self.other.snd_una);
        match (side, content) {
            _ if is_known => self.pass(segment, length),
            (Side::Node(_), _) => self.pass(segment, length),
            (Side::Client, Content::Command(bytes))
                if bytes <= length
                    && self
                        .own
                        .was_command(segment.seq, segment.seq.wrapping_add(bytes), edge) =>
            {
                self.pass(segment, bytes)
            }
            // Its front is what the other peer has acknowledged, and says again when it comes again.
            (Side::Client, _) if after(self.other.snd_una, start) => {
                self.pass(segment, self.other.snd_una.wrapping_sub(start))
            }
            (Side::Client, _) => Verdict::DROPPED,
        }
    }

    /// A peer's segment while bytes of the last regime are outstanding. `advanced`: it acknowledges something new.
    #[inline(always)]
    pub(super) const fn draining(
        &mut self,
        side: Side,
        segment: &Segment,
        content: Content,
        advanced: bool,
    ) -> Verdict {
        let own = &*self.own;
        if segment.length == 0 {
            // Of what bypassed, perhaps said before and lost: it is the other peer that waits for it. After a RST it is the answer to that, and
            // this host's answer the RST that counts (RFC 5961).
            let is_others = !after(segment.ack, own.snd_edge)
                && !own.is(flag::RESET)
                && (advanced || segment.ack != own.snd_edge)
                && !after(own.snd_start, segment.ack)
                && !segment.has(tcp::FIN | tcp::RST);
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
            return self.deliver_relayed(segment);
        }
        if self.other.is_drained() {
            // The other peer has it all, and this one has not heard so: the local socket tells it, and takes what is new.
            return self.deliver(segment);
        }
        // A FIN behind them stays here: it will come again.
        self.again(side, segment, content)
    }

    /// A segment of the local socket.
    #[inline(always)]
    pub(super) const fn local(&mut self, segment: &Segment) -> Verdict {
        let mut ended = false;
        if *self.phase == phase::SPLICED {
            let next = self.own.snd_nxt.wrapping_sub(self.own.snd_bypassed);
            if segment.has(tcp::FIN | tcp::RST) || after(segment.end(), next) {
                self.end();
                ended = true;
            } else if segment.length != 0 || segment.seq != next {
                // It misses an acknowledgement, or asks whether the peer lives.
                return self.ask(segment);
            } else if self.own.is(flag::REPEATED) {
                self.own.flags &= !flag::REPEATED;
            } else {
                return Verdict::DROPPED;
            }
        }
        if *self.phase == phase::DRAINING && !self.own.is_drained() {
            let next = self.own.snd_nxt.wrapping_sub(self.own.snd_bypassed);
            if segment.length == 0 && segment.seq != next && !segment.has(tcp::FIN | tcp::RST) {
                // In the peer's gap its probe would be heard and not answered.
                return Verdict {
                    ended,
                    ..self.ask(segment)
                };
            }
            // The peer's acknowledgements are the other peer's: the socket gets copies, or it would think that nobody is there.
            if segment.length != 0 {
                self.own.flags |= flag::PROBED;
            }
        }
        let own = &mut *self.own;
        let seq = segment.seq.wrapping_add(own.snd_bypassed);
        let end = segment.end().wrapping_add(own.snd_bypassed);
        // Before anything has bypassed, the first segment that was seen may not have been the first that was sent.
        let is_known = own.snd_bypassed != 0 && !after(end, own.snd_edge);
        if segment.length != 0 && is_known && !segment.has(tcp::FIN) {
            return Verdict {
                ended,
                ..self.ask(segment)
            };
        }
        if segment.length != 0 && after(own.snd_edge, seq) && *self.phase == phase::DRAINING {
            // Its first bytes stood before the regime, where their numbers are others'.
            return Verdict {
                ended,
                ..Verdict::DROPPED
            };
        }
        let mut ack = segment.ack.wrapping_add(own.rcv_bypassed);
        let is_owed = *self.phase == phase::SPLICED
            || (*self.phase == phase::DRAINING && !self.other.is_drained());
        if is_owed && !own.is(flag::RESET) {
            // Nobody acknowledges for the other peer, unless there is nobody to hear it: the one who has reset the connection answers with
            // the very number that he is told, and the local socket takes his RST at its own number only (RFC 5961).
            let known = self.other.snd_una.wrapping_sub(self.other.snd_start);
            ack = earlier(ack, own.rcv_start.wrapping_add(known));
        }
        own.begin_from_local(segment);
        own.snd_nxt = later(end, own.snd_nxt);
        if segment.has(tcp::ACK) {
            own.rcv_acked = later(ack, own.rcv_acked);
        }
        if segment.has(tcp::FIN) {
            own.flags |= flag::FIN_OUT;
        }
        if segment.has(tcp::RST) {
            own.flags |= flag::RESET | flag::ABORTED;
        }
        Verdict {
            to: To::Addressee,
            seq,
            ack,
            sack_shift: self.sack_shift(segment),
            length: segment.length,
            ended,
            ..Verdict::UNTOUCHED
        }
    }

    /// By what the SACK blocks of a local socket's segment are moved. What it said before the last regime, and comes late, would name bytes that bypassed
    /// it: while the other peer may not have these it names none.
    #[inline(always)]
    const fn sack_shift(&self, segment: &Segment) -> u32 {
        let own = &*self.own;
        let edge = match *self.phase {
            phase::SPLICED => own.rcv_nxt,
            phase::DRAINING => own.rcv_edge,
            _ => return own.rcv_bypassed,
        };
        if after(edge, segment.ack.wrapping_add(own.rcv_bypassed)) {
            own.rcv_bypassed.wrapping_sub(NO_BLOCK)
        } else {
            own.rcv_bypassed
        }
    }

    /// Has the peer say where it stands: a segment wholly of numbers that it has acknowledged is answered with an acknowledgement, and of
    /// that the local socket gets a copy. So its keep-alive works in a regime too.
    #[inline(always)]
    const fn ask(&mut self, segment: &Segment) -> Verdict {
        let sack_shift = self.sack_shift(segment);
        let own = &mut *self.own;
        let length = segment.length;
        own.flags |= flag::PROBED;
        let before = if length == 0 { 1 } else { length };
        Verdict {
            to: To::Addressee,
            seq: own.snd_una.wrapping_sub(before),
            ack: own.rcv_acked,
            sack_shift,
            length,
            ..Verdict::UNTOUCHED
        }
    }
}

/// A regime begins where both legs stand.
#[inline(always)]
pub(super) const fn for_both(half: &mut Half<'_>) {
    half.own.rcv_start = half.own.rcv_nxt;
    half.own.snd_start = half.own.snd_nxt;
    half.other.rcv_start = half.other.rcv_nxt;
    half.other.snd_start = half.other.snd_nxt;
}

impl Leg {
    /// The numbers of a segment of this many bytes that ends where the local socket stood in the regime, and acknowledges all that it had
    /// sent: real, up to `received` and `sent`.
    #[inline(always)]
    const fn old_duplicate(&self, received: u32, sent: u32, length: u32) -> (u32, u32) {
        (
            received
                .wrapping_sub(self.rcv_bypassed)
                .wrapping_sub(length),
            sent.wrapping_sub(self.snd_bypassed),
        )
    }
}
