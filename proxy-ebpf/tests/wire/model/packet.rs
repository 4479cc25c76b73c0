//! What travels: a TCP segment, and where its bytes come from.

use sluice_ebpf::{
    record::Seat,
    wire::{Segment, Side, tcp},
};

/// One of the six TCP endpoints of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The client program's socket.
    Client = 0,
    /// The daemon's socket towards the client.
    Front = 1,
    /// The daemon's socket towards the node.
    Back = 2,
    /// The database server's socket.
    Node = 3,
    /// The daemon's socket towards the reader.
    ReaderBack = 4,
    /// The socket of the database server that takes reads.
    Reader = 5,
}

impl End {
    pub(crate) const ALL: [Self; 6] = [
        Self::Client,
        Self::Front,
        Self::Back,
        Self::Node,
        Self::ReaderBack,
        Self::Reader,
    ];

    /// Its connection.
    pub(crate) const fn side(self) -> Side {
        match self {
            Self::Client | Self::Front => Side::Client,
            Self::Back | Self::Node => Side::Node(Seat::Writer),
            Self::ReaderBack | Self::Reader => Side::Node(Seat::Reader),
        }
    }

    /// Whether it is a socket of the daemon's.
    pub(crate) const fn is_local(self) -> bool {
        matches!(self, Self::Front | Self::Back | Self::ReaderBack)
    }

    /// The daemon's end of a connection.
    pub(crate) const fn local(side: Side) -> Self {
        match side {
            Side::Client => Self::Front,
            Side::Node(Seat::Writer) => Self::Back,
            Side::Node(Seat::Reader) => Self::ReaderBack,
        }
    }

    /// The end of a connection that is not the daemon's.
    pub(crate) const fn peer(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Node(Seat::Writer) => Self::Node,
            Side::Node(Seat::Reader) => Self::Reader,
        }
    }

    /// The other end of its connection.
    pub(crate) const fn other(self) -> Self {
        if self.is_local() {
            Self::peer(self.side())
        } else {
            Self::local(self.side())
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u32,
    pub(crate) sack: Option<(u32, u32)>,
    pub(crate) data: Vec<u8>,
    /// Whose stream the bytes are from, and from which offset on: nothing that a real segment has, the checks live by it.
    pub(crate) origin: (End, usize),
    /// Not 0: merged by GRO, of segments of this many bytes.
    pub(crate) pieces: usize,
    /// Its checksum is wrong: it passes the hook, but no endpoint takes it.
    pub(crate) damaged: bool,
}

impl Packet {
    pub(crate) const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) const fn segment(&self) -> Segment {
        Segment {
            seq: self.seq,
            ack: self.ack,
            length: self.data.len() as u32,
            flags: self.flags,
        }
    }

    pub(crate) const fn end(&self) -> u32 {
        self.segment().end()
    }

    /// Cuts off what stands behind the first `length` bytes, a FIN as well.
    pub(crate) fn trim(&mut self, length: u32) {
        if (length as usize) < self.data.len() {
            self.data.truncate(length as usize);
            self.flags &= !tcp::FIN;
        }
    }

    /// What GRO does to a segment and the next one of the same burst, if it can.
    pub(crate) fn merge(&mut self, next: &Self) -> bool {
        let fits = !self.data.is_empty()
            && !next.data.is_empty()
            && self.end() == next.seq
            && !self.is(tcp::FIN | tcp::RST | tcp::SYN)
            && !next.is(tcp::RST | tcp::SYN)
            && self.sack.is_none()
            && next.sack.is_none()
            && self.origin.0 == next.origin.0
            && self.origin.1 + self.data.len() == next.origin.1
            && self.damaged == next.damaged;
        if fits {
            self.pieces = self.pieces.max(self.data.len());
            self.data.extend_from_slice(&next.data);
            self.flags |= next.flags;
            self.ack = next.ack;
            self.window = next.window;
        }
        fits
    }

    /// What segmentation offload makes of it on its way out.
    pub(crate) fn split(self) -> Vec<Self> {
        if self.pieces == 0 || self.data.len() <= self.pieces {
            return vec![self];
        }
        let last = self.data.chunks(self.pieces).count() - 1;
        self.data
            .chunks(self.pieces)
            .enumerate()
            .map(|(number, bytes)| Self {
                seq: self.seq.wrapping_add((number * self.pieces) as u32),
                flags: if number == last {
                    self.flags
                } else {
                    self.flags & !tcp::FIN
                },
                data: bytes.to_vec(),
                origin: (self.origin.0, self.origin.1 + number * self.pieces),
                pieces: 0,
                ..self.clone()
            })
            .collect()
    }
}

/// Whether `a` comes after `b`.
pub(crate) const fn after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}
