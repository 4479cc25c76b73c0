//! What is known of one of a session's TCP connections.

use super::verdict::{Segment, tcp};

/// Bits of [`Leg::flags`].
pub mod flag {
    /// The numbers below are known: a segment with payload was seen, or what came before it.
    pub const KNOWN: u32 = 0x01;
    /// The peer has sent its FIN.
    pub const FIN_IN: u32 = 0x02;
    /// The local socket has sent its FIN.
    pub const FIN_OUT: u32 = 0x04;
    /// One of the two has reset the connection.
    pub const RESET: u32 = 0x08;
    /// The local socket has asked the peer whether it lives: it gets a copy of what the peer says next.
    pub const PROBED: u32 = 0x10;
    /// The tuple belongs to another connection now.
    pub const GONE: u32 = 0x20;
    /// A segment from the peer was seen.
    pub const HEARD: u32 = 0x40;
    /// A segment to the peer was seen.
    pub const SPOKEN: u32 = 0x80;
    /// The connection was reset by the local socket, or by the peer at the very number that was next, which TCP takes (RFC 5961): it is no more.
    pub const ABORTED: u32 = 0x100;
    /// In a regime the peer has sent again what was relayed before: the local socket's answer is for it.
    pub const REPEATED: u32 = 0x200;
}

/// One TCP connection between a peer and a local socket. Real numbers, modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Leg {
    /// [`flag`] bits.
    pub flags: u32,
    /// Index of the interface that segments to the peer leave by; 0: none has. The daemon writes it too, where routes change.
    pub ifindex: u32,
    /// The peer's first byte.
    pub rcv_base: u32,
    /// The first byte to the peer.
    pub snd_base: u32,
    /// The next byte that the peer has not sent yet.
    pub rcv_nxt: u32,
    /// Up to which the peer has been told that its bytes have arrived.
    pub rcv_acked: u32,
    /// The next byte that was not sent to the peer yet.
    pub snd_nxt: u32,
    /// Up to which the peer has acknowledged.
    pub snd_una: u32,
    /// Bytes from the peer that bypassed the local socket, modulo 2^32.
    pub rcv_bypassed: u32,
    /// Bytes to the peer that bypassed the local socket, modulo 2^32.
    pub snd_bypassed: u32,
    /// `rcv_nxt` where the last regime began.
    pub rcv_start: u32,
    /// `snd_nxt` where the last regime began.
    pub snd_start: u32,
    /// `rcv_nxt` where the last regime ended.
    pub rcv_edge: u32,
    /// `snd_nxt` where the last regime ended; while nothing bypassed is outstanding it follows `snd_una`.
    pub snd_edge: u32,
    /// Where the last command that bypassed begins, of the client's leg.
    pub rcv_last: u32,
    /// Where the one before it begins. Earlier ones are acknowledged.
    pub rcv_before_last: u32,
}

/// Bytes of a stream's front, within which its first segments may come in another order.
const FRONT: u32 = 1 << 20;

/// What a local socket's window may be, more than Linux gives unless told to (6 MiB): beyond it a segment is nobody's.
const AHEAD: u32 = 1 << 23;
/// How old a segment may be: TCP's largest window (RFC 7323, section 2.3).
const BEHIND: u32 = 1 << 30;

/// Whether `a` comes after `b`, both within 2^31 of each other (RFC 9293, section 3.4).
#[inline(always)]
pub(super) const fn after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// The later of two numbers.
#[inline(always)]
pub(super) const fn later(a: u32, b: u32) -> u32 {
    if after(a, b) { a } else { b }
}

/// The earlier of two numbers.
#[inline(always)]
pub(super) const fn earlier(a: u32, b: u32) -> u32 {
    if after(a, b) { b } else { a }
}

impl Leg {
    /// Whether all of these flags are set.
    #[inline(always)]
    pub const fn is(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// Whether a peer's segment has a number that this connection has no use for: it is of somebody who knows its addresses and guesses. TCP takes
    /// none of it, and nothing is to be learnt from it.
    #[inline(always)]
    pub(super) const fn is_far(&self, segment: &Segment) -> bool {
        let ahead = segment.seq.wrapping_sub(self.rcv_nxt);
        ahead > AHEAD && ahead < BEHIND.wrapping_neg()
    }

    /// Whether a FIN or a RST at this number may be the peer's: of an older one TCP takes no notice.
    #[inline(always)]
    pub(super) const fn may_end_at(&self, number: u32) -> bool {
        let start = self.rcv_nxt.wrapping_sub(AHEAD);
        number.wrapping_sub(start) <= 2 * AHEAD
    }

    /// Learns the numbers from the connection's first segment with payload, sent by the peer.
    #[inline(always)]
    pub(super) const fn learn_from_peer(&mut self, first: &Segment) {
        self.learn(first.seq, first.ack);
        self.rcv_nxt = first.end();
        if first.has(tcp::FIN) {
            self.flags |= flag::FIN_IN;
        }
    }

    /// Learns the numbers from the connection's first segment with payload, sent by the local socket.
    #[inline(always)]
    pub(super) const fn learn_from_local(&mut self, first: &Segment) {
        self.learn(first.ack, first.seq);
        self.snd_nxt = first.end();
        if first.has(tcp::FIN) {
            self.flags |= flag::FIN_OUT;
        }
    }

    #[inline(always)]
    const fn learn(&mut self, receive: u32, send: u32) {
        self.flags |= flag::KNOWN;
        self.rcv_base = receive;
        self.rcv_nxt = receive;
        self.rcv_acked = receive;
        self.rcv_start = receive;
        self.rcv_edge = receive;
        self.snd_base = send;
        self.snd_nxt = send;
        self.snd_una = send;
        self.snd_start = send;
        self.snd_edge = send;
    }

    /// The first segment seen may not have been the connection's first: what comes from before it says where the stream begins. Only near
    /// there, or a number would come before the first one again after 2^31 bytes.
    #[inline]
    pub(super) const fn begin_from_peer(&mut self, segment: &Segment) {
        if segment.length != 0
            && self.rcv_bypassed == 0
            && self.rcv_nxt.wrapping_sub(self.rcv_base) < FRONT
            && self.rcv_base.wrapping_sub(segment.seq) < FRONT
        {
            self.rcv_base = segment.seq;
        }
    }

    /// The same for what the local socket sends.
    #[inline]
    pub(super) const fn begin_from_local(&mut self, segment: &Segment) {
        if segment.length != 0
            && self.snd_bypassed == 0
            && self.snd_nxt.wrapping_sub(self.snd_base) < FRONT
            && self.snd_base.wrapping_sub(segment.seq) < FRONT
        {
            self.snd_base = segment.seq;
        }
    }

    /// The same connection where no regime is live and nothing that bypassed is outstanding, for another record to go on with: what was before is
    /// of no account there.
    #[must_use]
    pub const fn settled(self) -> Self {
        Self {
            rcv_start: self.rcv_nxt,
            rcv_edge: self.rcv_nxt,
            rcv_last: self.rcv_nxt,
            rcv_before_last: self.rcv_nxt,
            snd_start: self.snd_una,
            snd_edge: self.snd_una,
            ..self
        }
    }

    /// Whether any byte has bypassed the local socket.
    #[inline(always)]
    pub const fn is_used(&self) -> bool {
        self.rcv_bypassed != 0 || self.snd_bypassed != 0
    }

    /// Bytes that the local socket has received, from the connection's first one.
    #[inline(always)]
    pub const fn received(&self) -> u32 {
        self.rcv_nxt
            .wrapping_sub(self.rcv_base)
            .wrapping_sub(self.rcv_bypassed)
    }

    /// Bytes that the local socket has sent, from the connection's first one.
    #[inline(always)]
    pub const fn sent(&self) -> u32 {
        self.snd_nxt
            .wrapping_sub(self.snd_base)
            .wrapping_sub(self.snd_bypassed)
    }

    /// The peer has acknowledged everything that was sent to it.
    #[inline(always)]
    pub(super) const fn is_acknowledged(&self) -> bool {
        self.snd_una == self.snd_nxt
    }

    /// Nothing that bypassed towards the peer is outstanding, once the regime has ended; or nobody is left to acknowledge it.
    #[inline(always)]
    pub(super) const fn is_drained(&self) -> bool {
        !after(self.snd_edge, self.snd_una) || self.is(flag::RESET)
    }

    /// Bytes to the peer that it has not acknowledged.
    pub const fn unacknowledged(&self) -> u32 {
        self.snd_nxt.wrapping_sub(self.snd_una)
    }

    /// Whether these are exactly the numbers of one of the last two commands (or of several that came in one segment), where bytes up to `edge` have bypassed: a command that is sent
    /// again must not become several, nor the tail of an old one follow another text.
    #[inline(always)]
    pub(super) const fn was_command(&self, seq: u32, end: u32, edge: u32) -> bool {
        (seq == self.rcv_last && end == edge)
            || (seq == self.rcv_before_last && end == self.rcv_last)
    }

    /// Of a segment from the peer, the bytes in which to look for commands: all of them, or of one that comes again what stood behind its number the
    /// first time, up to where the next command or the last regime ended. `is_live`: a regime is. Read without the lock it is a guess, which
    /// `was_command` does not trust.
    #[inline(always)]
    pub const fn again(&self, is_live: bool, segment: &Segment) -> u32 {
        let edge = if is_live { self.rcv_nxt } else { self.rcv_edge };
        let end = if segment.seq == self.rcv_last {
            edge
        } else if segment.seq == self.rcv_before_last {
            self.rcv_last
        } else {
            return segment.length;
        };
        let before = end.wrapping_sub(segment.seq);
        if before != 0 && before < segment.length {
            before
        } else {
            segment.length
        }
    }

    /// Whether this is the connection's own SYN, which was sent again or comes late.
    #[inline(always)]
    pub(super) const fn began_with(&self, syn: &Segment) -> bool {
        self.is(flag::KNOWN) && syn.seq.wrapping_add(1) == self.rcv_base
    }

    /// Both ends have said that they are done, and were heard.
    #[inline(always)]
    const fn is_done(&self) -> bool {
        self.is(flag::FIN_IN | flag::FIN_OUT)
            && self.snd_una == self.snd_nxt
            && self.rcv_acked == self.rcv_nxt
    }

    /// Nothing of it needs to be translated any more: it is done, was reset, or another connection has taken the tuple.
    #[inline(always)]
    pub const fn is_over(&self) -> bool {
        self.is(flag::RESET) || self.is(flag::GONE) || self.is_done()
    }

    /// The peer may open another connection of the same tuple, whether or not the daemon knows already: nobody who only guesses numbers can bring
    /// that about.
    #[inline(always)]
    pub(super) const fn is_free(&self) -> bool {
        self.is(flag::ABORTED) || self.is_done()
    }
}
