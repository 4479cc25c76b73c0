//! The client program and the database server.

use std::collections::VecDeque;

use sluice_ebpf::record::Seat;

use super::{
    command::{Command, HEADER, Kind, RESPONSE_HEADER},
    counts::Counts,
    dice::Dice,
    packet::End,
    tcp::Tcp,
};

/// How a client leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leave {
    Quit,
    Close,
    HalfClose,
    Abort,
}

pub(crate) struct Client {
    left: u64,
    next_id: u32,
    /// Commands whose responses are to come.
    expected: VecDeque<Command>,
    rest: Vec<u8>,
    /// What is still to be written of a command whose first bytes were.
    unwritten: Vec<u8>,
    depth: usize,
    leave: Leave,
    is_silent: bool,
    /// Of how many kinds its commands are: all, or queries alone.
    kinds: u64,
    /// How many of its queries are reads, in thousandths.
    reads: u64,
    has_left: bool,
    pub(crate) is_hostile: bool,
    pub(crate) answered: u64,
    /// Ids that the nodes must read, in this order.
    pub(crate) meant: Vec<(u32, Kind)>,
}

/// Bytes of a command: many short ones, few longer than a segment.
fn length(dice: &mut Dice, is_hostile: bool) -> usize {
    if is_hostile {
        return HEADER * (1 + dice.index(8));
    }
    match dice.below(40) {
        0 => HEADER + dice.index(4000),
        1..=4 => HEADER + dice.index(900),
        _ => HEADER + dice.index(60),
    }
}

fn response(dice: &mut Dice) -> usize {
    RESPONSE_HEADER
        + match dice.below(20) {
            0 => dice.index(20_000),
            1..=5 => dice.index(3000),
            _ => dice.index(60),
        }
}

impl Client {
    pub(crate) fn new(dice: &mut Dice, is_hostile: bool) -> Self {
        let leave = match dice.below(10) {
            0..=3 => Leave::Quit,
            4..=5 => Leave::Close,
            6..=7 => Leave::HalfClose,
            _ => Leave::Abort,
        };
        Self {
            left: 10 + dice.below(60),
            next_id: 1,
            expected: VecDeque::new(),
            rest: Vec::new(),
            unwritten: Vec::new(),
            depth: if dice.permille(600) { 1 } else { 3 },
            leave,
            is_silent: dice.permille(300),
            kinds: if dice.permille(300) { 28 } else { 40 },
            reads: [0, 500, 900][dice.index(3)],
            has_left: false,
            is_hostile,
            answered: 0,
            meant: Vec::new(),
        }
    }

    pub(crate) const fn left(&self) -> u64 {
        self.left
    }

    /// Got all that it is owed.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.left == 0 && self.expected.is_empty() && self.unwritten.is_empty()
    }

    pub(crate) const fn aborts(&self) -> bool {
        matches!(self.leave, Leave::Abort)
    }

    pub(crate) fn command(&mut self, dice: &mut Dice) -> Command {
        let kind = match dice.below(self.kinds) {
            // A relayed command without an answer, whose acknowledgement is lost, is what straddles a regime's start when it comes again.
            0..=5 if self.is_silent => Kind::SilentSet,
            0..=27 if dice.permille(self.reads) => Kind::Read,
            0..=27 => Kind::Query,
            28..=31 => Kind::Silent,
            32..=35 => Kind::Set,
            36 => Kind::SilentSet,
            _ => Kind::Admin,
        };
        let id = self.next_id;
        self.next_id += 1;
        Command {
            kind,
            id,
            length: length(dice, self.is_hostile),
            response: response(dice),
        }
    }

    /// Reads, and speaks when it is its turn. Returns when it wants to be woken.
    pub(crate) fn act(
        &mut self,
        tcp: &mut Tcp,
        dice: &mut Dice,
        counts: &mut Counts,
        now: u64,
    ) -> Option<u64> {
        if self.has_left && tcp.is_orphan {
            return None;
        }
        if dice.permille(50) {
            // Slow today.
            return Some(now + dice.below(600));
        }
        let some = if dice.permille(200) {
            dice.index(tcp.unread().len() + 1)
        } else {
            tcp.unread().len()
        };
        self.rest.extend_from_slice(&tcp.unread()[..some]);
        tcp.take_some(some);
        self.check();
        if tcp.at_end() {
            tcp.close(now);
            self.has_left = true;
            return None;
        }
        if !self.unwritten.is_empty() {
            tcp.write(&std::mem::take(&mut self.unwritten), now);
        } else if self.left != 0 && self.expected.len() < self.depth && tcp.can_write() {
            self.speak(tcp, dice, now);
        } else if self.left == 0 && !self.has_left {
            self.part(tcp, dice, counts, now);
        }
        if !tcp.unread().is_empty() || !self.unwritten.is_empty() {
            return Some(now + 1 + dice.below(60));
        }
        let waits = self.expected.len() >= self.depth || self.has_left;
        let pause = if self.is_silent && dice.permille(500) {
            40 + dice.below(160)
        } else {
            think(dice)
        };
        (!waits).then_some(now + pause)
    }

    fn check(&mut self) {
        while let Some(expected) = self.expected.front() {
            let answer = expected.answer();
            if self.is_hostile {
                self.rest.clear();
                self.expected.pop_front();
                continue;
            }
            let common = answer.len().min(self.rest.len());
            assert_eq!(
                self.rest[..common],
                answer[..common],
                "the client reads another response than that of command {}",
                expected.id
            );
            if common < answer.len() {
                return;
            }
            self.rest.drain(..common);
            self.expected.pop_front();
            self.answered += 1;
        }
        assert!(
            self.is_hostile || self.rest.is_empty(),
            "the client reads what it has not asked for"
        );
    }

    /// Writes one command or several, in one write or many.
    fn speak(&mut self, tcp: &mut Tcp, dice: &mut Dice, now: u64) {
        let mut many = if self.depth > 1 || dice.permille(150) {
            1 + dice.below(3)
        } else {
            1
        };
        let mut bytes = Vec::new();
        while many > 0 && self.left > 0 {
            many -= 1;
            self.left -= 1;
            let command = self.command(dice);
            if command.is_answered() {
                self.expected.push_back(command);
            }
            if command.kind != Kind::Admin {
                self.meant.push((command.id, command.kind));
            }
            bytes.extend(if self.is_hostile {
                command.with_hidden(Kind::Set)
            } else {
                command.bytes()
            });
            // One without a response often stands in front of another in one segment.
            let is_front = command.kind == Kind::Silent && dice.permille(600);
            if is_front {
                many += 1;
            } else if dice.permille(800) {
                tcp.write(&std::mem::take(&mut bytes), now);
            }
            // One without an answer is mostly followed by another at once.
            if self.depth == 1 && command.is_answered() {
                break;
            }
        }
        if bytes.len() > 1 && dice.permille(200) {
            self.unwritten = bytes.split_off(1 + dice.index(bytes.len() - 1));
        }
        tcp.write(&bytes, now);
    }

    fn part(&mut self, tcp: &mut Tcp, dice: &mut Dice, counts: &mut Counts, now: u64) {
        let waits = !self.expected.is_empty();
        match self.leave {
            Leave::Quit if !waits || dice.permille(300) => {
                let quit = Command {
                    kind: Kind::Quit,
                    id: self.next_id,
                    length: HEADER,
                    response: 0,
                };
                tcp.write(&quit.bytes(), now);
            }
            Leave::Close if !waits => tcp.close(now),
            Leave::HalfClose => {
                counts.add("half-closed");
                tcp.shut(now);
            }
            Leave::Abort if dice.permille(300) => tcp.abort(),
            Leave::Quit | Leave::Close | Leave::Abort => return,
        }
        self.has_left = true;
    }
}

/// Time until the next command: sometimes so long that keep-alives are sent.
fn think(dice: &mut Dice) -> u64 {
    match dice.below(400) {
        0..=1 => 5000 + dice.below(9000),
        2..=60 => dice.below(500),
        _ => dice.below(20),
    }
}

#[derive(Default)]
pub(crate) struct Node {
    /// Offset of the first byte in `rest`.
    at: usize,
    rest: Vec<u8>,
    unwritten: Vec<u8>,
    /// Ids of what it has read.
    pub(crate) seen: Vec<u32>,
    pub(crate) is_hostile: bool,
    pub(crate) has_died: bool,
    /// What it is for, in a session that splits its reads from the rest.
    pub(crate) seat: Option<Seat>,
    was_silent: bool,
}

impl Node {
    pub(crate) fn new(is_hostile: bool, seat: Option<Seat>) -> Self {
        Self {
            is_hostile,
            seat,
            ..Self::default()
        }
    }

    /// Whether a command of this kind comes here.
    pub(crate) fn is_for(&self, kind: Kind) -> bool {
        match self.seat {
            None => true,
            Some(Seat::Writer) => kind != Kind::Read,
            Some(Seat::Reader) => kind == Kind::Read,
        }
    }

    pub(crate) fn act(&mut self, tcp: &mut Tcp, dice: &mut Dice, now: u64) -> Option<u64> {
        if tcp.is_orphan {
            return None;
        }
        if dice.permille(50) {
            return Some(now + dice.below(600));
        }
        let lifetime = if self.seat == Some(Seat::Reader) {
            1000
        } else {
            20_000
        };
        if dice.below(lifetime) == 0 {
            self.has_died = true;
            if dice.permille(500) {
                tcp.abort();
            } else {
                tcp.close(now);
            }
            return None;
        }
        let bytes = tcp.take();
        self.rest.extend(bytes);
        self.read(tcp);
        if tcp.at_end() {
            tcp.close(now);
            return None;
        }
        let some = match dice.below(3) {
            0 => dice.index(self.unwritten.len() + 1),
            _ => self.unwritten.len(),
        };
        let piece: Vec<u8> = self.unwritten.drain(..some).collect();
        tcp.write(&piece, now);
        (!self.unwritten.is_empty()).then(|| now + dice.below(100))
    }

    fn read(&mut self, tcp: &Tcp) {
        loop {
            let command = match Command::read(&self.rest) {
                Ok(Some(command)) if command.length <= self.rest.len() => command,
                Ok(_) => return,
                Err(()) => panic!("the node reads what is no command"),
            };
            let end = self.at + command.length;
            let first = tcp.origins.partition_point(|(until, _)| *until <= self.at);
            let spliced = tcp.origins[first..]
                .iter()
                .scan(self.at, |start, (until, from)| {
                    let begins = *start;
                    *start = *until;
                    (begins < end).then_some(*from)
                })
                .any(|from| from == End::Client);
            assert!(
                command.is_spliceable() || !spliced,
                "the node reads {command:?}, which the daemon has not seen"
            );
            // At the writer no read harms: what a client has put over a write, or what stands behind another command in a segment.
            let may_be_here =
                (self.is_hostile || self.was_silent) && self.seat == Some(Seat::Writer);
            self.was_silent = command.kind == Kind::Silent;
            assert!(
                !spliced || may_be_here || self.is_for(command.kind),
                "the {:?} reads the other node's {command:?}",
                self.seat
            );
            assert!(
                command.kind != Kind::Admin,
                "the node reads the daemon's {command:?}"
            );
            let bytes: Vec<u8> = self.rest.drain(..command.length).collect();
            if !self.is_hostile {
                assert_eq!(bytes, command.bytes(), "another text");
                assert!(self.seen.last().is_none_or(|last| *last < command.id));
            }
            self.at = end;
            self.seen.push(command.id);
            if command.is_answered() {
                let mut answer = command.answer();
                answer.truncate(1 << 17);
                self.unwritten.extend(answer);
            }
        }
    }
}
