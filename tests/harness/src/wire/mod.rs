//! A MySQL client that shows every byte: for answers compared packet by packet, commands that a driver would not send, and packets
//! sent in pieces.
//!
//! It is written against the protocol's description, not against the proxy's code, so that both cannot be wrong in the same way.

pub mod column;
pub mod command;
mod login;
mod response;

pub use column::Column;
pub use command::Prepared;
pub use login::{Greeting, Login, capability};
pub use response::{Outcome, Response, Table};

use crate::wait;
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The longest payload of one packet; one of exactly this length is continued in the next packet.
pub const PACKET_BYTES_MAX: usize = 0xFF_FFFF;

/// No answer takes this long: past it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection, logged in or not.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What has been read from the socket and not taken yet, from `taken` on.
    buffer: Vec<u8>,
    taken: usize,
    /// The number that the next packet must carry.
    sequence: u8,
    greeting: Greeting,
    /// What client and server agreed on.
    capabilities: u32,
    /// How often the server has asked for another answer than the one to its greeting.
    switches: u32,
    /// Whether the login had to send the password, encrypted with the server's public key.
    password_sent: bool,
    /// How long a read may take.
    patience: Duration,
    pace: Option<Pace>,
    /// After how many bytes more one of them is read wrong.
    spoiled_in: Option<usize>,
}

/// How a slow reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// At most so many bytes at a time.
    pub bytes: usize,
    /// Between two reads.
    pub pause: Duration,
}

/// Cuts a payload into packets, the first numbered `sequence`; returns the bytes and the number that comes next.
pub fn frame(payload: &[u8], sequence: u8) -> (Vec<u8>, u8) {
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    let mut number = sequence;
    let mut pieces = payload.chunks(PACKET_BYTES_MAX).collect::<Vec<_>>();
    if payload.len().is_multiple_of(PACKET_BYTES_MAX) {
        pieces.push(&[]);
    }
    for piece in pieces {
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes();
        bytes.extend(length.iter().take(3));
        bytes.push(number);
        bytes.extend_from_slice(piece);
        number = number.wrapping_add(1);
    }
    (bytes, number)
}

impl Connection {
    /// Connects and reads the greeting, no more.
    ///
    /// # Errors
    ///
    /// When there is none, or an error packet in its place.
    pub fn greet(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        Self::greet_on(stream)
    }

    /// Reads the greeting from a socket that is connected.
    ///
    /// # Errors
    ///
    /// As [`Connection::greet`].
    pub fn greet_on(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        let patience = wait::in_time(PATIENCE);
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut connection = Self {
            stream,
            buffer: Vec::new(),
            taken: 0,
            sequence: 0,
            greeting: Greeting::default(),
            capabilities: 0,
            switches: 0,
            password_sent: false,
            patience,
            pace: None,
            spoiled_in: None,
        };
        let packet = connection.read_packet().context("read the greeting")?;
        connection.greeting = Greeting::parse(&packet)?;
        Ok(connection)
    }

    /// Has reads and writes fail that take longer.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn set_patience(&mut self, patience: Duration) -> Result<()> {
        self.patience = patience;
        self.stream.set_read_timeout(Some(patience))?;
        Ok(self.stream.set_write_timeout(Some(patience))?)
    }

    /// Reads slowly from now on, or no longer.
    pub fn set_pace(&mut self, pace: Option<Pace>) {
        self.pace = pace;
    }

    /// Flips a bit after this many bytes more, so that it can be seen whether somebody notices.
    pub fn spoil(&mut self, bytes: usize) {
        self.spoiled_in = Some(bytes);
    }

    /// The greeting.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// The socket, for shutdown, timeouts and ioctls.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The capabilities in force.
    pub fn capabilities(&self) -> u32 {
        self.capabilities
    }

    /// How many `AuthSwitchRequest`s the login took.
    pub fn switches(&self) -> u32 {
        self.switches
    }

    /// Whether the login took `caching_sha2_password`'s full path.
    pub fn password_sent(&self) -> bool {
        self.password_sent
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .context("write to the connection")
    }

    /// Sends a payload as the next packets of the exchange under way.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn send_packet(&mut self, payload: &[u8]) -> Result<()> {
        let (bytes, next) = frame(payload, self.sequence);
        self.sequence = next;
        self.send_raw(&bytes)
    }

    /// Sends a command: a payload that starts a new exchange.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn send_command(&mut self, payload: &[u8]) -> Result<()> {
        self.sequence = 0;
        self.send_packet(payload)
    }

    /// Says that the next packet read is the first of an answer, and its number: one more than the last of the command, which was sent
    /// with [`Connection::send_raw`].
    pub fn expect_answer(&mut self, number: u8) {
        self.sequence = number;
    }

    /// Reads one payload, joined if it is longer than a packet.
    ///
    /// # Errors
    ///
    /// When the stream ends or stalls, or a packet is numbered out of order.
    pub fn read_packet(&mut self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            self.fill(4)?;
            let (length, number) = match self.pending() {
                [a, b, c, number, ..] => (
                    usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16,
                    *number,
                ),
                _ => bail!("no packet header"),
            };
            ensure!(
                number == self.sequence,
                "packet is numbered {number}, not {}",
                self.sequence
            );
            self.sequence = self.sequence.wrapping_add(1);
            self.taken += 4;
            self.fill(length)?;
            payload.extend(self.pending().iter().take(length));
            self.taken += length;
            if length < PACKET_BYTES_MAX {
                return Ok(payload);
            }
        }
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Reads until `count` bytes are pending.
    fn fill(&mut self, count: usize) -> Result<()> {
        if self.taken > 0 && (self.taken == self.buffer.len() || self.taken > 1 << 20) {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        let mut chunk = vec![0; self.pace.map_or(64 << 10, |pace| pace.bytes)];
        let start = Instant::now();
        while self.pending().len() < count {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    let text = format!(
                        "the connection was closed, {} of {count} bytes read",
                        self.pending().len()
                    );
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text).into());
                }
                Ok(read) => {
                    let read = chunk.get_mut(..read).unwrap_or_default();
                    spoil(&mut self.spoiled_in, read);
                    self.buffer.extend_from_slice(read);
                    if let Some(pace) = self.pace {
                        wait::throughout(pace.pause, || Ok(()))?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // On a socket that the kernel splices, a reader that is woken for another reason than bytes is told EAGAIN, though it
                // asked to wait (`tcp_msg_wait_data` in net/ipv4/tcp_bpf.c looks once).
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && start.elapsed() < self.patience => {
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("read from the connection, after {:?}", start.elapsed())
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether the peer has closed the connection: true after its FIN or RST, false if a read times out first.
    ///
    /// # Errors
    ///
    /// When bytes come instead, or the read fails in another way.
    pub fn closed_within(&mut self, deadline: Duration) -> Result<bool> {
        ensure!(
            self.pending().is_empty(),
            "{} bytes are unread",
            self.pending().len()
        );
        self.stream.set_read_timeout(Some(deadline))?;
        let result = self.stream.read(&mut [0; 1]);
        self.stream.set_read_timeout(Some(self.patience))?;
        match result {
            Ok(0) => Ok(true),
            Ok(_) => bail!("a byte came where the connection should be closed"),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error).context("read from the connection"),
        }
    }
}

/// Flips a bit where the count of bytes runs out.
fn spoil(spoiled_in: &mut Option<usize>, read: &mut [u8]) {
    let Some(left) = spoiled_in.take() else {
        return;
    };
    match read.get_mut(left) {
        Some(byte) => *byte ^= 1,
        None => *spoiled_in = Some(left - read.len()),
    }
}

/// A length-encoded integer at the head of `bytes`, and what follows it.
pub(crate) fn take_length(bytes: &[u8]) -> Result<(u64, &[u8])> {
    let (first, rest) = bytes.split_first().context("an empty length")?;
    let width = match first {
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        0xFB | 0xFF => bail!("{first:#x} is no length"),
        small => return Ok((u64::from(*small), rest)),
    };
    let (number, rest) = rest.split_at_checked(width).context("a cut length")?;
    Ok((
        number
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        rest,
    ))
}

/// Appends a length-encoded string.
pub(crate) fn put_string(bytes: &mut Vec<u8>, text: &[u8]) {
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes();
    match text.len() {
        0..=250 => bytes.extend(length.iter().take(1)),
        251..=0xFFFF => bytes.extend([0xFC].iter().chain(length.iter().take(2))),
        0x1_0000..=0xFF_FFFF => bytes.extend([0xFD].iter().chain(length.iter().take(3))),
        _ => bytes.extend([0xFE].iter().chain(length.iter())),
    }
    bytes.extend_from_slice(text);
}
