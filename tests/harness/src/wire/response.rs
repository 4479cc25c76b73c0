//! Answers, kept as the packets that came, and what little of them a test must read.

use super::{Connection, capability, take_length};
use anyhow::{Context as _, Result, bail};
use std::fmt;

const SERVER_MORE_RESULTS_EXISTS: u16 = 1 << 3;
const SERVER_STATUS_CURSOR_EXISTS: u16 = 1 << 6;

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// OK or the end of a result set.
    Ok {
        /// Status flags.
        status: u16,
    },
    /// An error packet.
    Error {
        /// Error number.
        code: u16,
        /// SQLSTATE.
        state: String,
        /// Text.
        message: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { status } => write!(f, "OK (status {status:#x})"),
            Self::Error {
                code,
                state,
                message,
            } => write!(f, "error {code} ({state}): {message}"),
        }
    }
}

/// An error packet in a greeting's place is an error of its own, which a test can look for (`downcast_ref`).
impl std::error::Error for Outcome {}

impl Outcome {
    pub(super) fn parse(packet: &[u8]) -> Result<Self> {
        match packet.first() {
            Some(0xFF) => Self::parse_error(packet),
            // OK, also where it ends a result set (CLIENT_DEPRECATE_EOF): two lengths, then the status.
            Some(0x00 | 0xFE) => {
                let (_, rest) = take_length(packet.get(1..).unwrap_or_default())?;
                let (_, rest) = take_length(rest)?;
                let status = rest
                    .first_chunk::<2>()
                    .context("an OK packet without status")?;
                Ok(Self::Ok {
                    status: u16::from_le_bytes(*status),
                })
            }
            first => bail!("neither OK nor an error: {first:?}"),
        }
    }

    /// Reads a packet that is an answer's last one.
    ///
    /// # Errors
    ///
    /// When it is neither OK nor an error.
    pub fn of_packet(packet: &[u8]) -> Result<Self> {
        Self::parse(packet)
    }

    pub(super) fn parse_error(packet: &[u8]) -> Result<Self> {
        let [_, low, high] = *packet.first_chunk::<3>().context("a cut error packet")?;
        let text = String::from_utf8_lossy(packet.get(3..).unwrap_or_default()).into_owned();
        let (state, message) = match text
            .strip_prefix('#')
            .and_then(|text| text.split_at_checked(5))
        {
            Some((state, message)) => (state.to_owned(), message.to_owned()),
            None => (String::new(), text),
        };
        Ok(Self::Error {
            code: u16::from_le_bytes([low, high]),
            state,
            message,
        })
    }

    /// The error number, 0 for none.
    pub fn code(&self) -> u16 {
        match self {
            Self::Ok { .. } => 0,
            Self::Error { code, .. } => *code,
        }
    }

    /// The error as it is documented: number, SQLSTATE and text.
    ///
    /// # Errors
    ///
    /// When it is OK.
    pub fn error(&self) -> Result<String> {
        match self {
            Self::Error {
                code,
                state,
                message,
            } => Ok(format!("{code} ({state}) {message}")),
            Self::Ok { .. } => bail!("no error: {self}"),
        }
    }

    /// Fails unless it is OK.
    ///
    /// # Errors
    ///
    /// The server's words.
    pub fn ok(&self) -> Result<()> {
        match self {
            Self::Ok { .. } => Ok(()),
            Self::Error { .. } => Err(self.clone().into()),
        }
    }
}

/// Text rows; `None` is NULL.
pub type Table = Vec<Vec<Option<Vec<u8>>>>;

/// A complete answer, all result sets of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Every payload in order.
    pub packets: Vec<Vec<u8>>,
    /// Where in `packets` the rows of each result set are.
    pub rows: Vec<std::ops::Range<usize>>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Response {
    /// How many bytes it takes on the wire, if no payload is longer than a packet.
    pub fn wire_bytes(&self) -> usize {
        self.packets.iter().map(|packet| packet.len() + 4).sum()
    }

    /// The first result set's rows, for a text answer.
    ///
    /// # Errors
    ///
    /// When the answer is an error, has no rows, or cannot be read.
    pub fn table(&self) -> Result<Table> {
        self.outcome.ok()?;
        let rows = self.rows.first().context("no result set")?.clone();
        self.packets
            .get(rows)
            .context("no rows")?
            .iter()
            .map(|row| cells(row))
            .collect()
    }

    /// The only cell of the only row.
    ///
    /// # Errors
    ///
    /// As [`Response::table`], and when there is more or it is NULL.
    pub fn cell(&self) -> Result<Vec<u8>> {
        let mut cells: Vec<_> = self.table()?.into_iter().flatten().collect();
        match (cells.pop(), cells.is_empty()) {
            (Some(Some(cell)), true) => Ok(cell),
            other => bail!("not one cell: {other:?}"),
        }
    }

    /// [`Response::cell`] as text.
    ///
    /// # Errors
    ///
    /// As there, and when it is not UTF-8.
    pub fn text(&self) -> Result<String> {
        Ok(String::from_utf8(self.cell()?)?)
    }
}

fn cells(row: &[u8]) -> Result<Vec<Option<Vec<u8>>>> {
    let mut rest = row;
    let mut cells = Vec::new();
    while let Some(first) = rest.first() {
        if *first == 0xFB {
            cells.push(None);
            rest = rest.get(1..).unwrap_or_default();
        } else {
            let (length, tail) = take_length(rest)?;
            let (cell, tail) = tail
                .split_at_checked(usize::try_from(length)?)
                .context("a cut cell")?;
            cells.push(Some(cell.to_vec()));
            rest = tail;
        }
    }
    Ok(cells)
}

impl Connection {
    /// Reads a complete answer. A request for a local file is answered with `infile`, in packets of at most 64 KB.
    ///
    /// # Errors
    ///
    /// When the connection ends or what came is no answer.
    pub fn read_response(&mut self, infile: &[u8]) -> Result<Response> {
        let mut packets = Vec::new();
        let mut rows = Vec::new();
        loop {
            let packet = self.read_packet()?;
            let outcome = match packet.first() {
                Some(0x00 | 0xFF) => {
                    let outcome = Outcome::parse(&packet)?;
                    packets.push(packet);
                    outcome
                }
                Some(0xFB) => {
                    packets.push(packet);
                    for piece in infile.chunks(64 << 10) {
                        self.send_packet(piece)?;
                    }
                    self.send_packet(&[])?;
                    continue;
                }
                _ => {
                    let (columns, _) = take_length(&packet)?;
                    packets.push(packet);
                    self.read_result_set(columns, &mut packets, &mut rows)?
                }
            };
            if !matches!(outcome, Outcome::Ok { status } if status & SERVER_MORE_RESULTS_EXISTS != 0)
            {
                return Ok(Response {
                    packets,
                    rows,
                    outcome,
                });
            }
        }
    }

    fn read_result_set(
        &mut self,
        columns: u64,
        packets: &mut Vec<Vec<u8>>,
        rows: &mut Vec<std::ops::Range<usize>>,
    ) -> Result<Outcome> {
        for _ in 0..columns {
            packets.push(self.read_packet()?);
        }
        if !self.has(capability::DEPRECATE_EOF) {
            let packet = self.read_packet()?;
            let outcome = self
                .parse_end(&packet)?
                .context("no EOF behind the columns")?;
            packets.push(packet);
            if matches!(outcome, Outcome::Ok { status } if status & SERVER_STATUS_CURSOR_EXISTS != 0)
            {
                return Ok(outcome);
            }
        }
        let start = packets.len();
        let outcome = self.read_rows(packets)?;
        rows.push(start..packets.len().saturating_sub(1));
        Ok(outcome)
    }

    /// Reads an answer of one result set, and has each row looked at as it comes: what came before an end in the middle counts. An error in
    /// the result set's place is its outcome.
    ///
    /// # Errors
    ///
    /// When the connection ends, what came is no result set, or `look` finds a row wrong.
    pub fn read_each_row(&mut self, mut look: impl FnMut(&[u8]) -> Result<()>) -> Result<Outcome> {
        let first = self.read_packet()?;
        if matches!(first.first(), Some(0x00 | 0xFF)) {
            return Outcome::parse(&first);
        }
        let (columns, _) = take_length(&first)?;
        let eof = u64::from(!self.has(capability::DEPRECATE_EOF));
        for _ in 0..columns + eof {
            self.read_packet()?;
        }
        loop {
            let packet = self.read_packet()?;
            match self.parse_end(&packet)? {
                Some(outcome) => return Ok(outcome),
                None => look(&packet)?,
            }
        }
    }

    /// Reads rows and the packet that ends them (the answer to `COM_STMT_FETCH` is nothing else).
    ///
    /// # Errors
    ///
    /// When the connection ends.
    pub fn read_rows(&mut self, packets: &mut Vec<Vec<u8>>) -> Result<Outcome> {
        loop {
            let packet = self.read_packet()?;
            let end = self.parse_end(&packet)?;
            packets.push(packet);
            if let Some(outcome) = end {
                return Ok(outcome);
            }
        }
    }

    /// What a packet in a row's place says if it is the end of the rows.
    pub(super) fn parse_end(&self, packet: &[u8]) -> Result<Option<Outcome>> {
        Ok(match (packet, self.has(capability::DEPRECATE_EOF)) {
            ([0xFF, ..], _) => Some(Outcome::parse_error(packet)?),
            ([0xFE, _, _, low, high, ..], false) if packet.len() < 9 => Some(Outcome::Ok {
                status: u16::from_le_bytes([*low, *high]),
            }),
            ([0xFE, ..], true) if packet.len() < super::PACKET_BYTES_MAX => {
                Some(Outcome::parse(packet)?)
            }
            _ => None,
        })
    }
}
