//! The fake protocol: commands and responses that say what they are.
//!
//! A command: magic, kind, length (2 bytes, whole command), id (4), length of the response (4), filler. A response: length (4, whole
//! response), id (4), filler. Filler is a function of the id, so that every byte can be checked. A hostile client's filler is a row of
//! commands that must never be read as such.

use sluice_ebpf::{aim::Aim, reason::TrapReason, wire::Content};

pub(crate) const HEADER: usize = 12;
pub(crate) const RESPONSE_HEADER: usize = 8;
/// No program asks for more; what is left of a command that a hostile client has put another text over may.
const RESPONSE_MAX: usize = 1 << 16;
const MAGIC: u8 = 0xc5;
/// Commands without a response that are looked at in one segment; the program looks at more.
const SILENT_MAX: usize = 3;

/// What a command is to the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// May be spliced, has a response.
    Query = 1,
    /// May be spliced, has none.
    Silent = 2,
    /// The daemon must see it; the node answers.
    Set = 3,
    /// The daemon must see it; nobody answers.
    SilentSet = 4,
    /// The daemon answers it.
    Admin = 5,
    /// The daemon must see it: the session ends.
    Quit = 6,
    /// As a query, for a reader.
    Read = 7,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Command {
    pub(crate) kind: Kind,
    pub(crate) id: u32,
    pub(crate) length: usize,
    pub(crate) response: usize,
}

impl Command {
    pub(crate) const fn is_spliceable(&self) -> bool {
        matches!(self.kind, Kind::Query | Kind::Silent | Kind::Read)
    }

    pub(crate) const fn is_answered(&self) -> bool {
        matches!(
            self.kind,
            Kind::Query | Kind::Set | Kind::Admin | Kind::Read
        )
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![MAGIC, self.kind as u8];
        bytes.extend_from_slice(&(self.length as u16).to_le_bytes());
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&(self.response as u32).to_le_bytes());
        bytes.extend((HEADER..self.length).map(|at| filler(self.id, at)));
        bytes
    }

    /// A command whose filler, read from any multiple of the header's length, is commands of `hidden`'s kind.
    pub(crate) fn with_hidden(&self, hidden: Kind) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.truncate(HEADER);
        let inner = Self {
            kind: hidden,
            id: self.id,
            length: HEADER,
            response: RESPONSE_HEADER,
        };
        while bytes.len() < self.length {
            bytes.extend(inner.bytes());
        }
        bytes.truncate(self.length);
        bytes
    }

    /// The first command, if its header is whole; Err: no command.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, ()> {
        let Some(head) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let kind = match head[1] {
            1 => Kind::Query,
            2 => Kind::Silent,
            3 => Kind::Set,
            4 => Kind::SilentSet,
            5 => Kind::Admin,
            6 => Kind::Quit,
            7 => Kind::Read,
            _ => return Err(()),
        };
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        if head[0] != MAGIC || length < HEADER {
            return Err(());
        }
        Ok(Some(Self {
            kind,
            id: number(4),
            length,
            response: (number(8) as usize).min(RESPONSE_MAX),
        }))
    }

    /// Its response. What is left of a command under another text may ask for less than a header.
    pub(crate) fn answer(&self) -> Vec<u8> {
        let length = self.response.max(RESPONSE_HEADER);
        let mut bytes = (length as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend((RESPONSE_HEADER..length).map(|at| filler(!self.id, at)));
        bytes
    }
}

const fn filler(id: u32, at: usize) -> u8 {
    let mixed = (at as u32).wrapping_add(id).wrapping_mul(0x9e37_79b1);
    (mixed >> 24) as u8
}

/// What the kernel program makes of a client's payload: its first whole packet, and whether that may be spliced.
fn classify_first(bytes: &[u8]) -> Result<Command, TrapReason> {
    match Command::read(bytes) {
        Ok(Some(command)) if command.length > bytes.len() => Err(TrapReason::Framing),
        Ok(Some(command)) if command.is_spliceable() => Ok(command),
        Ok(Some(_)) => Err(TrapReason::Command),
        Ok(None) | Err(()) => Err(TrapReason::Framing),
    }
}

/// The same for as many commands without a response as there are at its front, and one more; and whose they are.
pub(crate) fn classify(bytes: &[u8]) -> (Content, Aim) {
    let mut at = 0;
    let mut aim = Aim::Writer;
    for _ in 0..=SILENT_MAX {
        match classify_first(&bytes[at..]) {
            Ok(command) => {
                if at == 0 && command.kind == Kind::Read {
                    aim = Aim::Reader;
                }
                at += command.length;
                if command.is_answered() || at == bytes.len() {
                    break;
                }
            }
            Err(reason) if at == 0 => return (Content::Trap(reason), aim),
            Err(_) => break,
        }
    }
    (Content::Command(at as u32), aim)
}

/// Every command in what may have been spliced.
pub(crate) fn all(bytes: &[u8]) -> Vec<Command> {
    let mut at = 0;
    let mut commands = Vec::new();
    while at < bytes.len() {
        let command = Command::read(&bytes[at..]).unwrap().unwrap();
        at += command.length;
        commands.push(command);
    }
    commands
}

/// Where a response stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Walk {
    seen: usize,
    length: [u8; 4],
}

impl Walk {
    const fn left(&self) -> usize {
        if self.seen < self.length.len() {
            usize::MAX
        } else {
            u32::from_le_bytes(self.length) as usize - self.seen
        }
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// Goes over these bytes; returns how many of them are this response's.
    pub(crate) fn go(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.seen < self.length.len() {
            self.length[self.seen] = bytes[at];
            self.seen += 1;
            at += 1;
        }
        let rest = self.left().min(bytes.len() - at);
        self.seen += rest;
        at + rest
    }
}
