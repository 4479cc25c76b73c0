//! What goes into the tracker, a segment, and what comes out, a verdict.

use crate::reason::TrapReason;

/// Bits of the TCP header's flags (RFC 9293, section 3.1).
pub mod tcp {
    /// No more bytes from the sender.
    pub const FIN: u8 = 0x01;
    /// Beginning of a connection.
    pub const SYN: u8 = 0x02;
    /// The connection is gone.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
    /// Urgent data: there is none in this protocol.
    pub const URG: u8 = 0x20;
}

/// A TCP segment, as far as its numbers matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Payload bytes.
    pub length: u32,
    /// The header's [`tcp`] bits.
    pub flags: u8,
}

impl Segment {
    /// Whether any of these flags is set.
    #[inline(always)]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// The sequence number behind its last byte, a FIN included.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.length)
            .wrapping_add((self.flags & tcp::FIN) as u32)
    }
}

/// Where a segment goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum To {
    /// On its way, as it is: not the tracker's.
    #[default]
    Untouched = 0,
    /// To the socket that it was sent to (from a peer: the local one; from the local socket: the peer), with new numbers.
    Addressee = 1,
    /// To the other leg's peer, with new addresses and numbers.
    OtherPeer = 2,
    /// Nowhere.
    Dropped = 3,
}

/// What to do with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// Where it goes.
    pub to: To,
    /// Its new sequence number.
    pub seq: u32,
    /// Its new acknowledgement number.
    pub ack: u32,
    /// What is to be added to each edge of its SACK blocks, modulo 2^32.
    pub sack_shift: u32,
    /// The node of the regime: the other peer of a client's segment. A [`Seat`](crate::record::Seat) as its number.
    pub seat: u32,
    /// Payload bytes that it keeps: what is more must be cut off at its end.
    pub length: u32,
    /// Before it goes to the other peer, a copy goes to the local socket, as an old duplicate with these numbers: it takes the
    /// acknowledgement and drops the bytes.
    pub copy: Option<(u32, u32)>,
    /// A regime begins with this segment.
    pub began: bool,
    /// Bytes of it bypass the local sockets for the first time.
    pub passed: bool,
    /// A regime has ended before this segment was looked at, or with it.
    pub ended: bool,
    /// Why the command in it is handed up, where one was and could have been spliced.
    pub trap: Option<TrapReason>,
}

impl Verdict {
    /// On its way, as it is.
    pub(super) const UNTOUCHED: Self = Self {
        to: To::Untouched,
        seq: 0,
        ack: 0,
        sack_shift: 0,
        seat: 0,
        length: 0,
        copy: None,
        began: false,
        passed: false,
        ended: false,
        trap: None,
    };

    /// Nowhere.
    pub(super) const DROPPED: Self = Self {
        to: To::Dropped,
        ..Self::UNTOUCHED
    };
}
