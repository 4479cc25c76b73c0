//! One TCP endpoint, as Linux behaves where it matters (`net/ipv4/tcp_input.c`, `tcp_output.c`, `tcp_timer.c`).

mod receive;
mod send;

use std::collections::{BTreeMap, VecDeque};

use sluice_ebpf::wire::tcp;

use super::packet::{End, Packet};

pub(crate) const RTO_MIN: u64 = 200;
const RTO_MAX: u64 = 3200;
/// Longer than all probes of one idle time take.
pub(crate) const KEEPALIVE: u64 = 8000;
const KEEPALIVE_IDLE: u64 = 3000;
const KEEPALIVE_INTERVAL: u64 = 400;
const KEEPALIVE_PROBES: u32 = 9;
/// An orphan that nobody answers goes, as does one that waits for the other's FIN.
const ORPHAN_RETRIES: u32 = 8;
const FIN_WAIT: u64 = 20_000;
const RETRIES: u32 = 40;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Open,
    /// Both FINs were acknowledged, this end's was the first.
    TimeWait,
    Closed,
}

/// Bytes that came before others that are missing.
struct Early {
    data: Vec<u8>,
    origin: (End, usize),
}

pub(crate) struct Tcp {
    pub(crate) end: End,
    pub(crate) state: State,
    /// It was reset, or gave up.
    pub(crate) is_reset: bool,
    /// The application has closed it.
    pub(crate) is_orphan: bool,
    mss: usize,
    /// Sends again by bytes (BSD), not by segments (Linux).
    by_bytes: bool,
    /// Keep-alive probes carry a byte.
    garbage: bool,
    /// Keep-alive is on.
    keepalive: bool,

    /// Sequence numbers of the first bytes that were sent and received, whatever was skipped since.
    pub(crate) first: (u32, u32),
    /// Sequence number of the stream's first byte.
    pub(crate) snd_base: u32,
    /// All that the application has written.
    pub(crate) stream: Vec<u8>,
    pub(crate) snd_una: u32,
    pub(crate) snd_nxt: u32,
    snd_wnd: u32,
    snd_wl1: u32,
    max_window: u32,
    cwnd: u32,
    /// Ends of sent segments.
    segments: VecDeque<u32>,
    fin_wanted: bool,
    pub(crate) fin_seq: Option<u32>,
    rto: u64,
    rto_at: Option<u64>,
    pub(crate) retries: u32,
    duplicates: u32,

    /// Sequence number of the first byte that is received.
    pub(crate) rcv_base: u32,
    pub(crate) rcv_nxt: u32,
    rcv_wup: u32,
    right_edge: u32,
    buffer: u32,
    early: BTreeMap<usize, Early>,
    pub(crate) received: Vec<u8>,
    /// Up to which offset of it the bytes are whose.
    pub(crate) origins: Vec<(usize, End)>,
    /// Offset up to which the application has read.
    pub(crate) read: usize,
    fin_at: Option<u32>,
    pub(crate) fin_received: bool,
    fin_first: bool,
    ack_at: Option<u64>,
    unacked_segments: u32,

    limited_until: u64,
    heard_at: u64,
    keepalive_at: u64,
    pub(crate) probes: u32,
    gone_at: Option<u64>,
    /// None of its keep-alive probes was answered.
    pub(crate) gave_up_at: Option<u64>,

    /// Segments to send.
    pub(crate) out: Vec<Packet>,
    /// What was accepted since the world looked: origin and length.
    pub(crate) accepted: Vec<(End, usize, usize)>,
}

/// What distinguishes endpoints.
#[derive(Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) mss: usize,
    pub(crate) by_bytes: bool,
    pub(crate) garbage: bool,
    pub(crate) keepalive: bool,
    pub(crate) buffer: u32,
}

impl Tcp {
    /// A connection that is established, its first bytes sent and received with these numbers.
    pub(crate) fn new(end: End, habits: Habits, snd: u32, rcv: u32, window: u32) -> Self {
        Self {
            end,
            state: State::Open,
            is_reset: false,
            is_orphan: false,
            mss: habits.mss,
            by_bytes: habits.by_bytes,
            garbage: habits.garbage,
            keepalive: habits.keepalive,
            first: (snd, rcv),
            snd_base: snd,
            stream: Vec::new(),
            snd_una: snd,
            snd_nxt: snd,
            snd_wnd: window,
            snd_wl1: rcv,
            max_window: window,
            cwnd: 10 * habits.mss as u32,
            segments: VecDeque::new(),
            fin_wanted: false,
            fin_seq: None,
            rto: RTO_MIN,
            rto_at: None,
            retries: 0,
            duplicates: 0,
            rcv_base: rcv,
            rcv_nxt: rcv,
            rcv_wup: rcv,
            right_edge: rcv.wrapping_add(habits.buffer),
            buffer: habits.buffer,
            early: BTreeMap::new(),
            received: Vec::new(),
            origins: Vec::new(),
            read: 0,
            fin_at: None,
            fin_received: false,
            fin_first: false,
            ack_at: None,
            unacked_segments: 0,
            limited_until: 0,
            heard_at: 0,
            keepalive_at: KEEPALIVE_IDLE,
            probes: 0,
            gone_at: None,
            gave_up_at: None,
            out: Vec::new(),
            accepted: Vec::new(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether the application can write.
    pub(crate) fn can_write(&self) -> bool {
        self.is_open() && !self.fin_wanted
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.received[self.read..]
    }

    /// The other end has said all, and it was read.
    pub(crate) fn at_end(&self) -> bool {
        self.is_reset || (self.fin_received && self.read == self.received.len())
    }

    /// The application closes the socket: a FIN, or a RST where there are bytes that it has not read.
    pub(crate) fn close(&mut self, now: u64) {
        if self.is_orphan {
            return;
        }
        self.is_orphan = true;
        if !self.is_open() {
            return;
        }
        if self.unread().is_empty() {
            self.shut(now);
        } else {
            self.abort();
        }
    }

    /// No more writing.
    pub(crate) fn shut(&mut self, now: u64) {
        if self.is_open() && !self.fin_wanted {
            self.fin_wanted = true;
            self.fin_first = !self.fin_received;
            self.pump(now);
        }
        self.settle(now);
    }

    /// Resets the connection.
    pub(crate) fn abort(&mut self) {
        self.is_orphan = true;
        if self.is_open() {
            let mut reset = self.packet(self.acceptable(), Vec::new());
            reset.flags |= tcp::RST;
            self.out.push(reset);
            self.die();
        }
    }

    /// The number of a segment without bytes: what the other end takes, though its window has shrunk (`tcp_acceptable_seq`).
    fn acceptable(&self) -> u32 {
        let edge = self.snd_una.wrapping_add(self.snd_wnd);
        if super::packet::after(self.snd_nxt, edge) {
            edge
        } else {
            self.snd_nxt
        }
    }

    /// It is no connection of the session's.
    pub(crate) const fn never_was(&mut self) {
        self.state = State::Closed;
        self.is_orphan = true;
    }

    fn die(&mut self) {
        self.state = State::Closed;
        self.is_reset = true;
        self.rto_at = None;
        self.ack_at = None;
    }

    /// Where FINs have led to.
    fn settle(&mut self, now: u64) {
        let fin_acked = self
            .fin_seq
            .is_some_and(|fin| self.snd_una == fin.wrapping_add(1));
        if self.is_open() && fin_acked {
            if self.fin_received {
                self.state = if self.fin_first {
                    State::TimeWait
                } else {
                    State::Closed
                };
                self.rto_at = None;
                self.ack_at = None;
            } else if self.is_orphan && self.gone_at.is_none() {
                self.gone_at = Some(now + FIN_WAIT);
            }
        }
    }

    /// When a timer is due.
    pub(crate) fn deadline(&self) -> Option<u64> {
        if !self.is_open() {
            return None;
        }
        let keepalive = self.keepalive.then_some(self.keepalive_at);
        [self.rto_at, self.ack_at, self.gone_at, keepalive]
            .into_iter()
            .flatten()
            .min()
    }

    /// Runs the timers that are due.
    pub(crate) fn fire(&mut self, now: u64, choice: u64) {
        if self.ack_at.is_some_and(|at| at <= now) {
            self.acknowledge_now();
        }
        if self.gone_at.is_some_and(|at| at <= now) {
            self.state = State::Closed;
            return;
        }
        if self.rto_at.is_some_and(|at| at <= now) {
            self.retries += 1;
            let limit = if self.is_orphan {
                ORPHAN_RETRIES
            } else {
                RETRIES
            };
            if self.retries > limit {
                self.die();
                return;
            }
            self.rto = (self.rto * 2).min(RTO_MAX);
            self.rto_at = Some(now + self.rto);
            self.cwnd = self.mss as u32;
            self.again(choice);
        }
        if self.keepalive && self.keepalive_at <= now {
            self.keep_alive(now);
        }
    }

    /// `tcp_keepalive_timer`.
    fn keep_alive(&mut self, now: u64) {
        if self.snd_una != self.snd_nxt || self.has_unsent() {
            self.keepalive_at = now + KEEPALIVE_IDLE;
            return;
        }
        let idle = now - self.heard_at;
        if idle < KEEPALIVE_IDLE {
            self.keepalive_at = self.heard_at + KEEPALIVE_IDLE;
            return;
        }
        if self.probes >= KEEPALIVE_PROBES {
            self.gave_up_at = Some(now);
            self.abort();
            return;
        }
        self.probes += 1;
        self.keepalive_at = now + KEEPALIVE_INTERVAL;
        let data = if self.garbage { vec![0] } else { Vec::new() };
        let probe = self.packet(self.snd_una.wrapping_sub(1), data);
        self.out.push(probe);
    }

    /// A segment with this end's acknowledgement and window.
    fn packet(&mut self, seq: u32, data: Vec<u8>) -> Packet {
        self.rcv_wup = self.rcv_nxt;
        self.ack_at = None;
        self.unacked_segments = 0;
        let held = self.unread().len() + self.early.values().map(|e| e.data.len()).sum::<usize>();
        let free = self.buffer.saturating_sub(held as u32);
        let edge = self.rcv_nxt.wrapping_add(free);
        if super::packet::after(edge, self.right_edge) {
            self.right_edge = edge;
        }
        let window = self.right_edge.wrapping_sub(self.rcv_nxt);
        Packet {
            seq,
            ack: self.rcv_nxt,
            flags: tcp::ACK,
            window: if window < 1 << 31 { window } else { 0 },
            sack: self.sack(),
            origin: (self.end, seq.wrapping_sub(self.snd_base) as usize),
            data,
            pieces: 0,
            damaged: false,
        }
    }

    /// The first block of early bytes.
    fn sack(&self) -> Option<(u32, u32)> {
        let (&start, _) = self.early.iter().next()?;
        let mut end = start;
        for (&at, early) in &self.early {
            if at > end {
                break;
            }
            end = end.max(at + early.data.len());
        }
        let number = |offset: usize| self.rcv_base.wrapping_add(offset as u32);
        Some((number(start), number(end)))
    }

    /// As if so many bytes had been sent to it and acknowledged.
    pub(crate) const fn skip_received(&mut self, bytes: u32) {
        self.rcv_base = self.rcv_base.wrapping_add(bytes);
        self.rcv_nxt = self.rcv_nxt.wrapping_add(bytes);
        self.rcv_wup = self.rcv_wup.wrapping_add(bytes);
        self.right_edge = self.right_edge.wrapping_add(bytes);
        self.snd_wl1 = self.snd_wl1.wrapping_add(bytes);
    }

    /// As if it had sent so many bytes, and all were acknowledged.
    pub(crate) const fn skip_sent(&mut self, bytes: u32) {
        self.snd_base = self.snd_base.wrapping_add(bytes);
        self.snd_una = self.snd_una.wrapping_add(bytes);
        self.snd_nxt = self.snd_nxt.wrapping_add(bytes);
    }

    /// Bytes of its stream as a segment, whatever was sent before.
    pub(crate) fn raw(&mut self, seq: u32, bytes: usize) -> Packet {
        self.piece(seq, bytes)
    }

    /// Nothing is under way from it or waits to be sent or acknowledged, nothing early.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_open()
            && self.snd_una == self.snd_nxt
            && !self.has_unsent()
            && self.rcv_wup == self.rcv_nxt
            && self.early.is_empty()
            && self.fin_at.is_none()
            && self.fin_seq.is_none()
    }
}
