//! A TCP endpoint that this process plays itself, so that it can say what no kernel would: its segments are frames of an interface, under an address
//! that no kernel has.

use crate::{
    frames::{FRAME_BYTES_MAX, Frames, HEADER_BYTES},
    netns::Netns,
    packet::{self, Tcp},
    wait,
};
use anyhow::{Context as _, Result, ensure};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddrV4, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Flags of a segment.
pub const FIN: u8 = 1;
/// See [`FIN`].
pub const SYN: u8 = 2;
/// See [`FIN`].
pub const RST: u8 = 4;
/// See [`FIN`].
pub const PSH: u8 = 8;
/// See [`FIN`].
pub const ACK: u8 = 16;

const DEADLINE: Duration = Duration::from_secs(20);
/// How long the loop waits for a frame.
const TURN: Duration = Duration::from_millis(2);
/// After which what is not acknowledged is sent again.
const PATIENCE: Duration = Duration::from_millis(300);
/// The most bytes of a segment of ours.
const SEGMENT_BYTES: usize = 1400;
/// The first number: soon after it they wrap around.
const FIRST: u32 = 0xffff_f000;

/// Hardware addresses of the two interfaces that frames go between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wires {
    from: [u8; 6],
    to: [u8; 6],
}

impl Wires {
    /// Those of a pair of interfaces, each in its network.
    ///
    /// # Errors
    ///
    /// When there are no such interfaces.
    pub fn of(from: (&Netns, &str), to: (&Netns, &str)) -> Result<Self> {
        Ok(Self {
            from: hardware_address(from)?,
            to: hardware_address(to)?,
        })
    }

    /// Where frames come from, as `ip` takes it.
    pub fn from(&self) -> String {
        let digits: Vec<_> = self.from.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.join(":")
    }
}

fn hardware_address((netns, interface): (&Netns, &str)) -> Result<[u8; 6]> {
    let shown = netns.ip(&["-o", "link", "show", "dev", interface])?;
    let mut words = shown.split_whitespace();
    words.find(|word| *word == "link/ether");
    let text = words.next().context("no hardware address")?;
    let bytes: Vec<u8> = text
        .split(':')
        .map(|digits| u8::from_str_radix(digits, 16))
        .collect::<Result<_, _>>()?;
    <[u8; 6]>::try_from(bytes).ok().context(shown)
}

/// A connection of ours.
#[derive(Debug)]
pub struct Peer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    frames: Frames,
    wires: Wires,
    own: SocketAddrV4,
    other: SocketAddrV4,
    state: Mutex<State>,
    is_over: AtomicBool,
}

/// What TCP knows of a connection.
#[derive(Debug)]
struct State {
    /// The next number that we send.
    next: u32,
    /// The next that we expect.
    expected: u32,
    /// What is sent and not acknowledged.
    sent: Vec<u8>,
    sent_at: Instant,
    /// Nothing is sent again.
    is_held: bool,
    is_open: bool,
    was_reset: bool,
}

impl Peer {
    /// Connects from `own`, which no kernel may have, by an interface of `netns`. Returns also a stream to be used as the connection.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub fn connect(
        (netns, interface): (&Netns, &str),
        wires: Wires,
        own: SocketAddrV4,
        other: SocketAddrV4,
    ) -> Result<(Self, TcpStream)> {
        let frames = Frames::open(netns, interface)?;
        frames.wait_for(TURN)?;
        let shared = Arc::new(Shared {
            frames,
            wires,
            own,
            other,
            state: Mutex::new(State {
                next: FIRST,
                expected: 0,
                sent: Vec::new(),
                sent_at: Instant::now(),
                is_held: false,
                is_open: false,
                was_reset: false,
            }),
            is_over: AtomicBool::new(false),
        });
        shared.shake_hands()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let far = TcpStream::connect(listener.local_addr()?)?;
        let (near, _) = listener.accept()?;
        near.set_nonblocking(true)?;
        let told = Arc::clone(&shared);
        let thread = thread::spawn(move || told.carry(near));
        let peer = Self {
            shared,
            thread: Some(thread),
        };
        Ok((peer, far))
    }

    /// The number of the next byte that goes out, and of the next that is expected.
    pub fn numbers(&self) -> (u32, u32) {
        let state = self.shared.state();
        (state.next, state.expected)
    }

    /// Sends a segment as it is, with no consequences for what TCP knows.
    ///
    /// # Errors
    ///
    /// When the interface does not take it.
    pub fn inject(&self, number: u32, flags: u8, payload: &[u8]) -> Result<()> {
        let expected = self.shared.state().expected;
        let frame = self
            .shared
            .frame(self.shared.wires, number, expected, flags, payload);
        ensure!(self.shared.frames.send(&frame), "not sent");
        Ok(())
    }

    /// The same from another host: by another interface.
    ///
    /// # Errors
    ///
    /// When the interface does not take it.
    pub fn inject_by(
        &self,
        frames: &Frames,
        wires: Wires,
        (number, acknowledged): (u32, u32),
        flags: u8,
        payload: &[u8],
    ) -> Result<()> {
        let frame = self
            .shared
            .frame(wires, number, acknowledged, flags, payload);
        ensure!(frames.send(&frame), "not sent");
        Ok(())
    }

    /// Says of a segment with this number that has come that it cannot be delivered: by ICMP, with this code.
    ///
    /// # Errors
    ///
    /// When the interface does not take it.
    pub fn inject_unreachable(&self, code: u8, number: u32) -> Result<()> {
        let Shared {
            frames,
            wires,
            own,
            other,
            ..
        } = &*self.shared;
        let frame = packet::build_unreachable((wires.from, wires.to), (*own, *other), code, number);
        let frame = [&[0; HEADER_BYTES], &frame[..]].concat();
        ensure!(frames.send(&frame), "not sent");
        Ok(())
    }

    /// Sends bytes as TCP would; returns their first number.
    ///
    /// # Errors
    ///
    /// When the interface does not take them.
    pub fn send(&self, bytes: &[u8]) -> Result<u32> {
        let mut state = self.shared.state();
        let first = state.next;
        self.shared.send(&mut state, bytes)?;
        Ok(first)
    }

    /// Has nothing sent again, or all again that is due.
    pub fn hold(&self, holds: bool) {
        self.shared.state().is_held = holds;
    }

    /// Waits until all that was sent is acknowledged.
    ///
    /// # Errors
    ///
    /// When it is not in time.
    pub fn settle(&self) -> Result<()> {
        wait::until_true("all is acknowledged", DEADLINE, || {
            Ok(self.shared.state().sent.is_empty())
        })
    }

    /// Whether the other end has reset the connection.
    pub fn was_reset(&self) -> bool {
        self.shared.state().was_reset
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it has met its stream's reader has been told.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn frame(
        &self,
        wires: Wires,
        number: u32,
        acknowledged: u32,
        flags: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let frame = packet::build(
            (wires.from, wires.to),
            (self.own, self.other),
            &Tcp {
                number,
                acknowledged,
                flags,
                payload,
            },
        );
        // Virtio's header: whole checksums, nothing to be cut.
        [&[0; HEADER_BYTES], &frame[..]].concat()
    }

    fn shake_hands(&self) -> Result<()> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut state = self.state();
        let mut sent_at: Option<Instant> = None;
        wait::until("the other end answers", DEADLINE, || {
            if sent_at.is_none_or(|at| at.elapsed() > PATIENCE) {
                sent_at = Some(Instant::now());
                self.frames
                    .send(&self.frame(self.wires, state.next, 0, SYN, &[]));
            }
            let Some(segment) = self.receive(&mut buffer)? else {
                return Ok(None);
            };
            let is_answer = segment.flags & (SYN | ACK) == SYN | ACK;
            Ok(
                (is_answer && segment.acknowledged == state.next.wrapping_add(1)).then(|| {
                    state.expected = segment.number.wrapping_add(1);
                }),
            )
        })?;
        state.next = state.next.wrapping_add(1);
        state.is_open = true;
        self.acknowledge(&state);
        Ok(())
    }

    /// The next segment of the other end's.
    fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<Option<Tcp<'a>>> {
        let Some(frame) = self.frames.receive(buffer)? else {
            return Ok(None);
        };
        let frame = frame.get(HEADER_BYTES..).unwrap_or_default();
        Ok(packet::read(frame, (self.other, self.own)))
    }

    fn acknowledge(&self, state: &State) {
        // Lost, it is sent again with the next segment that comes.
        self.frames
            .send(&self.frame(self.wires, state.next, state.expected, ACK, &[]));
    }

    fn send(&self, state: &mut State, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(SEGMENT_BYTES) {
            let frame = self.frame(self.wires, state.next, state.expected, PSH | ACK, piece);
            ensure!(self.frames.send(&frame), "not sent");
            state.next = state.next.wrapping_add(u32::try_from(piece.len())?);
            state.sent.extend(piece);
            state.sent_at = Instant::now();
        }
        Ok(())
    }

    /// TCP, as far as it is needed on links that lose nothing but what a test has them lose.
    fn carry(&self, mut near: TcpStream) -> Result<()> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut chunk = [0; SEGMENT_BYTES];
        while !self.is_over.load(Ordering::Relaxed) {
            while let Some(segment) = self.receive(&mut buffer)? {
                self.take(&mut self.state(), &segment, &mut near)?;
            }
            let mut state = self.state();
            match near.read(&mut chunk) {
                Ok(length) if state.is_open => {
                    self.send(&mut state, chunk.get(..length).unwrap_or_default())?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return Ok(()),
            }
            if !state.is_held && !state.sent.is_empty() && state.sent_at.elapsed() > PATIENCE {
                let bytes = std::mem::take(&mut state.sent);
                state.next = state.next.wrapping_sub(u32::try_from(bytes.len())?);
                self.send(&mut state, &bytes)?;
            }
        }
        Ok(())
    }

    fn take(&self, state: &mut State, segment: &Tcp<'_>, near: &mut TcpStream) -> Result<()> {
        if segment.flags & RST != 0 {
            if segment.number == state.expected {
                state.was_reset = true;
                state.is_open = false;
                near.shutdown(Shutdown::Both)?;
            }
            return Ok(());
        }
        let outstanding = state.next.wrapping_sub(segment.acknowledged) as usize;
        if let Some(done) = state.sent.len().checked_sub(outstanding) {
            state.sent.drain(..done);
        }
        let is_end = segment.flags & FIN != 0;
        if segment.payload.is_empty() && !is_end {
            return Ok(());
        }
        // What has come before is taken off its front; what leaves a gap is not taken.
        let known = state.expected.wrapping_sub(segment.number) as usize;
        if let Some(news) = segment.payload.get(known..) {
            let mut rest = news;
            while !rest.is_empty() {
                match near.write(rest) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                    Err(error) => return Err(error.into()),
                }
            }
            state.expected = state.expected.wrapping_add(u32::try_from(news.len())?);
            if is_end {
                state.expected = state.expected.wrapping_add(1);
                near.shutdown(Shutdown::Write)?;
            }
        }
        self.acknowledge(state);
        Ok(())
    }
}
