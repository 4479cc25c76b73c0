//! Where a response ends, exactly: a state machine over the node's packet stream that the `sk_msg` program runs on every message
//! that it redirects and the relay runs on every buffer that it forwards. It looks at each packet's header and at the first bytes
//! of the few packets that decide something; rows and definitions are skipped unseen.
//!
//! Source of the formats: the MySQL Client/Server Protocol pages "Text Resultset", "`COM_STMT_PREPARE` Response", "`OK_Packet`",
//! "`EOF_Packet`", and MariaDB's `sql/protocol.cc` (`send_result_set_metadata`, progress reports in `net_send_progress_packet`).

#![expect(
    clippy::inline_always,
    reason = "one function for the verifier, which follows no state through a call"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "masked to the array's size, or a constant: no check is left that could panic"
)]

mod status;

pub use status::{Doubt, Status};

/// Bytes that may be looked at without knowing whether they are there. The BPF program's implementation compares with `data_end`,
/// the host's is a slice.
pub trait Window {
    /// The byte at `offset`, or none where the window ends before it.
    fn byte(&self, offset: u32) -> Option<u8>;

    /// The packet header and the first payload byte at `offset`, as a little-endian number of 40 bits.
    fn head(&self, offset: u32) -> Option<u64>;
}

impl Window for &[u8] {
    #[inline]
    fn byte(&self, offset: u32) -> Option<u8> {
        self.get(offset as usize).copied()
    }

    #[inline]
    fn head(&self, offset: u32) -> Option<u64> {
        let bytes = self.get(offset as usize..)?;
        let (header, rest) = bytes.split_first_chunk::<4>()?;
        Some(u64::from(u32::from_le_bytes(*header)) | u64::from(*rest.first()?) << 32)
    }
}

/// What a command is answered with. The numbers are held in map records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Expect {
    /// No response at all: `COM_STMT_CLOSE`, `COM_STMT_SEND_LONG_DATA`, `COM_QUIT`.
    Nothing = 0,
    /// OK, ERR, a LOCAL INFILE request or result sets: nearly every command.
    Generic = 1,
    /// `COM_STMT_PREPARE`: its OK names how many definitions follow.
    Prepare = 2,
    /// Packets up to an EOF or ERR: `COM_STMT_FETCH`, `COM_FIELD_LIST`.
    Rows = 3,
    /// One packet, whatever it is: `COM_STATISTICS`.
    Single = 4,
}

impl Expect {
    /// What the command with this first byte is answered with. `COM_CHANGE_USER` and the replication dumps are conversations of their
    /// own and not answered here.
    #[inline(always)]
    pub const fn of(command: u8) -> Self {
        match command {
            0x01 | 0x18 | 0x19 => Self::Nothing,
            0x04 | 0x1c => Self::Rows,
            0x09 => Self::Single,
            0x16 => Self::Prepare,
            _ => Self::Generic,
        }
    }
}

/// The stations of a response. The numbers are held in map records.
mod phase {
    pub(super) const DONE: u8 = 0;
    pub(super) const FIRST: u8 = 1;
    pub(super) const DEFINITIONS: u8 = 2;
    pub(super) const DEFINITIONS_EOF: u8 = 3;
    pub(super) const ROWS: u8 = 4;
    pub(super) const PREPARE: u8 = 5;
    pub(super) const SINGLE: u8 = 6;
    pub(super) const INFILE: u8 = 7;
}

/// Capabilities of the session that change the form of a response ([`Response::begin`]).
pub mod format {
    /// `CLIENT_DEPRECATE_EOF`: no EOF after definitions, an OK with header 0xfe after rows.
    pub const DEPRECATE_EOF: u8 = 1;
    /// `MARIADB_CLIENT_CACHE_METADATA`: a byte after the column count says whether definitions follow.
    pub const CACHE_METADATA: u8 = 2;
    /// `CLIENT_QUERY_ATTRIBUTES`: a statement's text has its attributes in front (of interest to the classifier alone).
    pub const QUERY_ATTRIBUTES: u8 = 4;
    /// No capability: a backslash in `'…'` is known to escape (of interest to the classifier alone).
    pub const BACKSLASH_ESCAPES: u8 = 8;
}

/// `SERVER_MORE_RESULTS_EXISTS` of the status flags: another response follows.
const MORE_RESULTS: u16 = 0x0008;
/// `SERVER_STATUS_CURSOR_EXISTS`: rows come by `COM_STMT_FETCH`, none follow here.
const CURSOR_EXISTS: u16 = 0x0040;

/// The payload length that says "the logical packet goes on in the next one".
const CONTINUED: u32 = 0x00ff_ffff;
/// Payload bytes that a deciding packet is looked at: an OK with two 9-byte integers, then its status flags.
const DECIDE_BYTES: u32 = 21;

/// How a finished response ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// Not finished, or a response with no status (`COM_STATISTICS`).
    Unknown = 0,
    /// OK, or EOF after rows: the status flags are known.
    Ok = 1,
    /// ERR: the status flags are those of the response before, and may have changed ([`Status`]).
    Error = 2,
}

/// One response's position and what has been learned of it. Lives in the session's map record while the kernel splices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(8))]
pub struct Response {
    /// Payload bytes of the current packet that need not be looked at.
    skip: u32,
    /// Definitions that still follow in this block.
    definitions: u32,
    /// Definitions of the block after this one (a prepared statement's columns, after its parameters).
    definitions_next: u16,
    /// A [`Doubt`] as its number.
    doubt: u8,
    reserved: u8,
    /// Payload length of the packet whose head is being collected.
    length: u32,
    /// The statement id of a `COM_STMT_PREPARE` response.
    statement_id: u32,
    /// Packets whose headers have passed, of all responses, modulo 2^32.
    packets: u32,
    /// Status flags of the last OK or EOF.
    status: u16,
    phase: u8,
    format: u8,
    /// Head bytes collected: 4 of the header, then payload.
    have: u8,
    /// The packet before was of the greatest length: this one continues it.
    continued: u8,
    outcome: u8,
    /// The response has (also) definitions or rows.
    result_set: u8,
    head: [u8; 32],
    /// See the functions of these names.
    affected_rows: u64,
    last_insert_id: u64,
}

const _: () = assert!(
    size_of::<Response>() == 80,
    "the map record holds this layout"
);

impl Response {
    /// A response that is over before its first byte; the form that [`Self::begin`] overwrites.
    pub const DONE: Self = Self {
        skip: 0,
        definitions: 0,
        definitions_next: 0,
        doubt: 0,
        reserved: 0,
        length: 0,
        statement_id: 0,
        packets: 0,
        status: 0,
        phase: phase::DONE,
        format: 0,
        have: 0,
        continued: 0,
        outcome: 0,
        result_set: 0,
        head: [0; 32],
        affected_rows: 0,
        last_insert_id: 0,
    };

    /// Starts over for the response to the next command. `expect` is an [`Expect`] as its number, `format` the session's [`format`]
    /// bits. What is known of the session stays, until the next OK or EOF.
    #[inline(always)]
    pub fn begin(&mut self, expect: u8, format: u8) {
        self.skip = 0;
        self.definitions = 0;
        self.definitions_next = 0;
        self.have = 0;
        self.continued = 0;
        self.outcome = Outcome::Unknown as u8;
        self.result_set = 0;
        self.statement_id = 0;
        self.affected_rows = 0;
        self.last_insert_id = 0;
        self.format = format;
        self.phase = match expect {
            0 => phase::DONE,
            2 => phase::PREPARE,
            3 => phase::ROWS,
            4 => phase::SINGLE,
            _ => phase::FIRST,
        };
    }

    /// The last byte of the response has been seen (or none is to come).
    #[inline(always)]
    pub const fn is_done(&self) -> bool {
        self.phase == phase::DONE && self.skip == 0
    }

    /// The node waits for a file's contents: client packets up to an empty one, then the response goes on
    /// ("LOCAL INFILE Request"). [`Self::infile_sent`] resumes.
    pub const fn wants_infile(&self) -> bool {
        self.phase == phase::INFILE && self.skip == 0
    }

    /// The client has sent the last, empty packet of a LOCAL INFILE: an OK or ERR follows.
    pub fn infile_sent(&mut self) {
        self.phase = phase::FIRST;
    }

    /// How the response ended.
    pub const fn outcome(&self) -> Outcome {
        match self.outcome {
            1 => Outcome::Ok,
            2 => Outcome::Error,
            _ => Outcome::Unknown,
        }
    }

    /// No transaction is open after this response: its command ended one, be it a transaction of its own (autocommit).
    #[inline(always)]
    pub const fn ends_transaction(&self) -> bool {
        self.outcome == Outcome::Ok as u8 && self.status & Status::IN_TRANSACTION == 0
    }

    /// What is known of the session behind this response.
    pub const fn status(&self) -> Status {
        Status {
            flags: self.status,
            doubt: match self.doubt {
                0 => Doubt::None,
                1 => Doubt::Transaction,
                _ => Doubt::All,
            },
        }
    }

    /// What is known of the session before the first response that is looked at: a [`Status::to_word`].
    #[inline(always)]
    pub const fn resume(&mut self, status: u32) {
        self.status = (status & 0xffff) as u16;
        self.doubt = (status >> 16 & 0xff) as u8;
    }

    /// Whether anything of the response may have come. Of a cursor's rows, which are its first phase, nobody knows.
    pub const fn has_come(&self) -> bool {
        self.phase == phase::ROWS
            || self.have != 0
            || self.skip != 0
            || self.definitions != 0
            || self.result_set != 0
            || self.outcome != Outcome::Unknown as u8
    }

    /// Packets whose headers have passed since `earlier`, which this was once.
    #[inline(always)]
    pub const fn packets_since(&self, earlier: &Self) -> u32 {
        self.packets.wrapping_sub(earlier.packets)
    }

    /// Rows that the last OK packet of this response says were changed; 0 after rows.
    pub const fn affected_rows(&self) -> u64 {
        self.affected_rows
    }

    /// The last id other than 0 that an OK packet of this response has named: what `mysql_insert_id()` says, which is also an id that
    /// the statement itself gave, not `LAST_INSERT_ID()`. 0: none.
    #[inline(always)]
    pub const fn last_insert_id(&self) -> u64 {
        self.last_insert_id
    }

    /// The id that a `COM_STMT_PREPARE` was answered with.
    pub const fn statement_id(&self) -> u32 {
        self.statement_id
    }

    /// Takes up to one packet from `window` at `offset` (the message ends at `end`) and returns the offset behind what was taken.
    /// Returns `offset` itself where the response is over, where the client must speak first, or where the window holds too little
    /// of a message that goes on: then the caller moves the window.
    #[inline(always)]
    pub fn step(&mut self, window: &impl Window, offset: u32, end: u32) -> u32 {
        if self.skip != 0 {
            return self.pass(offset, end);
        }
        if self.phase == phase::DONE || self.phase == phase::INFILE {
            return offset;
        }
        if self.have == 0
            && self.phase != phase::FIRST
            && self.phase != phase::PREPARE
            && let Some(head) = window.head(offset)
        {
            let length = (head & 0x00ff_ffff) as u32;
            let first = (head >> 32 & 0xff) as u8;
            if length != 0 && !self.decides(length, first) {
                self.packets = self.packets.wrapping_add(1);
                self.undecided(length);
                self.skip = length;
                return self.pass(offset + 4, end);
            }
        }
        let Some(byte) = window.byte(offset) else {
            return offset;
        };
        self.collect(byte);
        offset + 1
    }

    /// Skips what can be skipped of the current packet.
    #[inline(always)]
    fn pass(&mut self, offset: u32, end: u32) -> u32 {
        let left = end.saturating_sub(offset);
        let taken = if self.skip < left { self.skip } else { left };
        self.skip -= taken;
        offset + taken
    }

    /// Whether a packet that begins so may end a phase. A row that begins with 0xfe holds a string of more than 16 MB: its packet
    /// is of the greatest length.
    #[inline(always)]
    const fn decides(&self, length: u32, first: u8) -> bool {
        if self.continued != 0 {
            return false;
        }
        match self.phase {
            phase::ROWS => first == 0xff || (first == 0xfe && length != CONTINUED),
            phase::DEFINITIONS => first == 0xff,
            _ => true,
        }
    }

    /// A packet that decides nothing has begun: a row, a definition, or the continuation of one.
    #[inline(always)]
    fn undecided(&mut self, length: u32) {
        let continues = self.continued != 0;
        self.continued = u8::from(length == CONTINUED);
        if self.phase == phase::DEFINITIONS && !continues {
            self.definition();
        }
    }

    /// One definition fewer.
    #[inline(always)]
    fn definition(&mut self) {
        self.definitions = self.definitions.wrapping_sub(1);
        if self.definitions == 0 {
            if self.format & format::DEPRECATE_EOF != 0 {
                self.block_end();
            } else {
                self.phase = phase::DEFINITIONS_EOF;
            }
        }
    }

    /// The end of a block of definitions.
    #[inline(always)]
    fn block_end(&mut self) {
        if self.result_set != 0 {
            self.phase = phase::ROWS;
        } else if self.definitions_next != 0 {
            self.definitions = self.definitions_next.into();
            self.definitions_next = 0;
            self.phase = phase::DEFINITIONS;
        } else {
            self.phase = phase::DONE;
        }
    }

    /// Collects one byte of the head of a packet that may decide something.
    #[inline(always)]
    fn collect(&mut self, byte: u8) {
        self.head[(self.have & 31) as usize] = byte;
        self.have += 1;
        if self.have < 4 {
            return;
        }
        if self.have == 4 {
            self.packets = self.packets.wrapping_add(1);
            self.length = u32::from(self.head[0])
                | (u32::from(self.head[1])) << 8
                | (u32::from(self.head[2])) << 16;
        }
        let wanted = if self.length < DECIDE_BYTES {
            self.length
        } else {
            DECIDE_BYTES
        };
        let collected = u32::from(self.have) - 4;
        if collected == 1 && !self.decides(self.length, self.head[4]) {
            self.have = 0;
            self.skip = self.length - 1;
            self.undecided(self.length);
        } else if collected >= wanted {
            self.have = 0;
            self.skip = self.length - collected;
            if self.continued != 0 || (self.length == 0 && self.phase != phase::SINGLE) {
                self.undecided(self.length);
            } else {
                self.continued = u8::from(self.length == CONTINUED);
                self.decide();
            }
        }
    }

    /// A deciding packet's head is complete.
    #[inline(always)]
    fn decide(&mut self) {
        let first = self.head[4];
        if self.phase == phase::SINGLE {
            self.phase = phase::DONE;
        } else if first == 0xff {
            // MariaDB sends progress reports as ERR packets with the number 0xffff; they end nothing.
            if self.head[5] != 0xff || self.head[6] != 0xff {
                self.outcome = Outcome::Error as u8;
                self.phase = phase::DONE;
                let flags = self.status & (Status::IN_TRANSACTION | Status::AUTOCOMMIT);
                if flags != Status::AUTOCOMMIT && self.doubt == 0 {
                    self.doubt = Doubt::Transaction as u8;
                }
            }
        } else if self.phase == phase::PREPARE {
            self.prepared();
        } else if self.phase == phase::FIRST && first != 0 && first != 0xfe {
            self.first(first);
        } else if first == 0xfe && self.length < 9 && self.format & format::DEPRECATE_EOF == 0 {
            self.end_of(u16::from_le_bytes([self.head[7], self.head[8]]));
        } else {
            let behind_rows = self.after_integer(5);
            let at = self.after_integer(behind_rows);
            self.affected_rows = self.integer(5);
            let id = self.integer(behind_rows);
            if id != 0 {
                self.last_insert_id = id;
            }
            self.end_of(u16::from_le_bytes([
                self.head[(at & 31) as usize],
                self.head[((at + 1) & 31) as usize],
            ]));
        }
    }

    /// OK or EOF with these status flags.
    #[inline(always)]
    fn end_of(&mut self, status: u16) {
        self.status = status;
        self.doubt = 0;
        self.outcome = Outcome::Ok as u8;
        if self.phase == phase::DEFINITIONS_EOF
            && (self.result_set == 0 || status & CURSOR_EXISTS == 0)
        {
            self.block_end();
        } else if status & MORE_RESULTS != 0 && self.phase != phase::DEFINITIONS_EOF {
            self.phase = phase::FIRST;
            self.result_set = 0;
        } else {
            self.phase = phase::DONE;
        }
    }

    /// The first packet of a result set, or a LOCAL INFILE request.
    #[inline(always)]
    fn first(&mut self, first: u8) {
        if first == 0xfb {
            self.phase = phase::INFILE;
            return;
        }
        self.definitions = match first {
            0xfc => u32::from(self.head[5]) | (u32::from(self.head[6])) << 8,
            0xfd => {
                u32::from(self.head[5])
                    | (u32::from(self.head[6])) << 8
                    | (u32::from(self.head[7])) << 16
            }
            _ => u32::from(first),
        };
        self.result_set = 1;
        self.phase = phase::DEFINITIONS;
        if self.format & format::CACHE_METADATA != 0 {
            let at = self.after_integer(4);
            if self.head[(at & 31) as usize] == 0 {
                self.definitions = 1;
                self.definition();
            }
        }
    }

    /// `COM_STMT_PREPARE_OK`: status, statement id (4), columns (2), parameters (2), filler, warnings (2).
    #[inline(always)]
    fn prepared(&mut self) {
        self.statement_id =
            u32::from_le_bytes([self.head[5], self.head[6], self.head[7], self.head[8]]);
        let columns = u16::from_le_bytes([self.head[9], self.head[10]]);
        let parameters: u32 = u16::from_le_bytes([self.head[11], self.head[12]]).into();
        self.outcome = Outcome::Ok as u8;
        self.definitions_next = if parameters == 0 { 0 } else { columns };
        self.definitions = if parameters == 0 {
            columns.into()
        } else {
            parameters
        };
        self.phase = if self.definitions == 0 {
            phase::DONE
        } else {
            phase::DEFINITIONS
        };
    }

    /// The index in `head` behind the length-encoded integer at `at`.
    #[inline(always)]
    fn after_integer(&self, at: u8) -> u8 {
        at + match self.head[(at & 31) as usize] {
            0xfc => 3,
            0xfd => 4,
            0xfe => 9,
            _ => 1,
        }
    }

    /// The length-encoded integer at `at` in `head`. All bytes that it may have are read, whatever its length: fewer paths for the verifier.
    #[inline(always)]
    fn integer(&self, at: u8) -> u64 {
        let mut behind = 0;
        let mut place = 0;
        while place < 8 {
            let byte = self.head[((at + 1 + place) & 31) as usize];
            behind |= u64::from(byte) << (8 * u32::from(place));
            place += 1;
        }
        match self.head[(at & 31) as usize] {
            0xfc => behind & 0xffff,
            0xfd => behind & 0x00ff_ffff,
            0xfe => behind,
            small => small.into(),
        }
    }

    /// Takes what belongs to this response from the front of `bytes` and returns how much that is: less than all of them where the
    /// response ends, or where the client must speak first.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut offset = 0;
        while offset < end {
            let next = self.step(&bytes, offset, end);
            if next == offset {
                break;
            }
            offset = next;
        }
        offset as usize
    }
}

#[cfg(test)]
mod tests;
