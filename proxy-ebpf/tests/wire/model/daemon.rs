//! The daemon: reads its two sockets, relays, answers, offers; as `proxy/src/worker/{serve,splice}` and `proxy/src/gate` do.

use sluice_ebpf::{
    record::{Aside, Offsets, Seat, takes},
    wire::{Offer, Side},
};

use super::{
    command::{Command, Kind, Walk},
    counts::Counts,
    dice::Dice,
    hook::Hook,
    tcp::Tcp,
};

#[derive(Default)]
pub(crate) struct Daemon {
    generation: u64,
    offered: Option<Offsets>,
    /// Read from the client and not dealt with.
    client_rest: Vec<u8>,
    node_rest: [Vec<u8>; 2],
    /// Reads go to another node than the rest.
    pub(crate) is_split: bool,
    /// The node that is used.
    seat: Seat,
    /// The response that is being relayed.
    response: Option<Walk>,
    read_from_client: usize,
    read_from_node: [usize; 2],
    /// Ids of commands that it has seen.
    pub(crate) seen: Vec<u32>,
    /// It has asked the kernel for the session's end; when to go through with it at the latest.
    closing: Option<u64>,
    pub(crate) is_closed: bool,
    pub(crate) was_killed: bool,
    pub(crate) quit: bool,
    is_hostile: bool,
}

/// What the daemon works with.
pub(crate) struct Place<'a> {
    pub(crate) now: u64,
    pub(crate) front: &'a mut Tcp,
    /// By seats.
    pub(crate) backs: [&'a mut Tcp; 2],
    pub(crate) hook: &'a mut Hook,
    pub(crate) dice: &'a mut Dice,
    pub(crate) counts: &'a mut Counts,
}

/// The other node.
const fn other(seat: Seat) -> Seat {
    match seat {
        Seat::Writer => Seat::Reader,
        Seat::Reader => Seat::Writer,
    }
}

/// Which statements a node takes.
const fn taken(seat: Seat) -> u32 {
    match seat {
        Seat::Writer => takes::WRITES,
        Seat::Reader => takes::READS,
    }
}

/// How long the daemon waits for bypassed bytes to be acknowledged before it resets a leg.
const DRAIN_WAIT: u64 = 20_000;

impl Daemon {
    pub(crate) fn new(is_hostile: bool, is_split: bool) -> Self {
        Self {
            is_split,
            is_hostile,
            ..Self::default()
        }
    }

    /// Has a look at everything. Returns when it wants to look again.
    pub(crate) fn wake(&mut self, place: &mut Place<'_>) -> Option<u64> {
        if self.is_closed {
            return None;
        }
        if self.closing.is_some() {
            return self.close(place);
        }
        let from_client = place.front.take();
        self.read_from_client += from_client.len();
        self.client_rest.extend(from_client);
        for (seat, back) in place.backs.iter_mut().enumerate() {
            let from_node = back.take();
            self.read_from_node[seat] += from_node.len();
            self.node_rest[seat].extend(from_node);
        }
        self.follow(place);
        let is_empty = self.client_rest.is_empty() && self.node_rest.iter().all(Vec::is_empty);
        let has_gone = place.backs.iter().any(|back| back.fin_received);
        if !is_empty || place.front.fin_received || has_gone {
            self.take_stock(place);
            self.serve(place);
        }
        if self.is_split && self.closing.is_none() && place.backs[1].at_end() {
            self.part_from_reader(place);
        }
        // A client that has only shut its own half still waits for its response.
        let waits = place.front.fin_received && !place.front.is_reset && self.response.is_some();
        let has_node_left = place.backs[0].at_end() || (self.is_split && place.backs[1].at_end());
        let ended = has_node_left || (place.front.at_end() && !waits);
        if ended && self.closing.is_none() {
            self.begin_close(place);
        }
        self.closing.map(|_| place.now + 1)
    }

    /// The reader has left. The session goes on without it, if nothing is under way there and the client has all that it has sent: else nobody could
    /// send that again.
    fn part_from_reader(&mut self, place: &mut Place<'_>) {
        let hook = &mut *place.hook;
        let is_owed = hook.wire.seat == Seat::Reader as u32
            && (hook.wire.is_owed(Side::Client) || hook.wire.is_owed(Side::Node(Seat::Reader)));
        if is_owed {
            return;
        }
        if self.seat == Seat::Reader {
            let has_begun = self.offered.is_some() && hook.record.begun == self.generation;
            if has_begun || self.response.is_some() {
                return;
            }
            hook.offer.armed = 0;
            self.offered = None;
            self.seat = Seat::Writer;
        }
        place.counts.add("the reader has left");
        self.is_split = false;
        place.backs[1].close(place.now);
    }

    /// The node that is used is the one of the kernel's last command.
    fn follow(&mut self, place: &mut Place<'_>) {
        let record = &place.hook.record;
        let has_begun = self.offered.is_some() && record.begun == self.generation;
        if has_begun && self.seat as u32 != record.seat {
            place
                .counts
                .add("the regime has gone on where it did not begin");
            self.seat = other(self.seat);
        }
    }

    /// Something has reached the daemon: where does the regime stand?
    fn take_stock(&mut self, place: &mut Place<'_>) {
        let record = place.hook.record;
        if self.offered.is_none() || record.begun == 0 || record.begun != self.generation {
            return;
        }
        let is_asides = self.client_rest.is_empty()
            && self.node_rest[record.seat as usize].is_empty()
            && !place.front.fin_received;
        if record.ended != record.begun && is_asides {
            // Of the node that the regime is not with.
            return;
        }
        assert!(
            record.ended == record.begun,
            "bytes reach the daemon while a regime is live: {:?}, {:?}",
            self.client_rest.len(),
            self.node_rest.each_ref().map(Vec::len)
        );
        self.offered = None;
        if record.handed_over == record.begun {
            assert!(self.response.is_none());
            place.counts.add("handed over");
            self.response = Some(record.handed);
        } else {
            assert_eq!(record.commands, record.answered, "a response is undecided");
        }
    }

    fn serve(&mut self, place: &mut Place<'_>) {
        while self.closing.is_none() {
            if let Some(mut walk) = self.response {
                let rest = &mut self.node_rest[self.seat as usize];
                let ours = walk.go(rest);
                self.response = (!walk.is_done()).then_some(walk);
                if ours != 0 {
                    let bytes: Vec<u8> = rest.drain(..ours).collect();
                    if self.response.is_none() {
                        self.offer(place, bytes.len());
                    }
                    place.front.write(&bytes, place.now);
                }
                if self.response.is_some() {
                    return;
                }
            }
            if self.node_rest.iter().any(|rest| !rest.is_empty()) {
                assert!(self.is_hostile, "the node speaks unasked");
                self.begin_close(place);
                return;
            }
            let command = match Command::read(&self.client_rest) {
                Ok(Some(command)) if command.length <= self.client_rest.len() => command,
                Ok(_) => {
                    if self.client_rest.is_empty() {
                        self.offer(place, 0);
                    }
                    return;
                }
                Err(()) => {
                    assert!(self.is_hostile, "no command");
                    self.begin_close(place);
                    return;
                }
            };
            let bytes: Vec<u8> = self.client_rest.drain(..command.length).collect();
            assert!(self.is_hostile || bytes == command.bytes(), "another text");
            self.command(place, command, &bytes);
        }
    }

    fn command(&mut self, place: &mut Place<'_>, command: Command, bytes: &[u8]) {
        self.seen.push(command.id);
        match command.kind {
            Kind::Admin => {
                place.counts.add("admin");
                let answer = command.answer();
                self.offer(place, answer.len());
                place.front.write(&answer, place.now);
            }
            Kind::Quit => {
                self.quit = true;
                place.backs[self.seat as usize].write(bytes, place.now);
                self.begin_close(place);
            }
            kind => {
                self.seat = if self.is_split && kind == Kind::Read {
                    Seat::Reader
                } else {
                    Seat::Writer
                };
                self.response = command.is_answered().then(Walk::default);
                place.backs[self.seat as usize].write(bytes, place.now);
            }
        }
    }

    /// Offers the kernel a regime, `pending` bytes before they are written to the client.
    fn offer(&mut self, place: &mut Place<'_>, pending: usize) {
        let hook = &mut *place.hook;
        let seat = self.seat as usize;
        let has_rest = self.node_rest.iter().any(|rest| !rest.is_empty());
        if !self.client_rest.is_empty() || has_rest || place.dice.permille(20) {
            hook.offer.armed = 0;
            if hook.record.begun != self.generation {
                self.offered = None;
            }
            return;
        }
        let offsets = Offsets {
            read_from_client: self.read_from_client as u32,
            written_to_client: (place.front.stream.len() + pending) as u32,
            read_from_node: self.read_from_node[seat] as u32,
            written_to_node: place.backs[seat].stream.len() as u32,
        };
        if let Some(standing) = self.offered
            && (standing == offsets || hook.record.begun == self.generation)
        {
            return;
        }
        self.generation += 1;
        let beside = other(self.seat);
        let aside = Aside {
            takes: taken(beside),
            read_from_node: self.read_from_node[beside as usize] as u32,
            written_to_node: place.backs[beside as usize].stream.len() as u32,
        };
        let goes_on = self.is_split && place.dice.permille(900);
        hook.offer = Offer {
            armed: self.generation,
            offsets,
            seat: self.seat as u32,
            takes: if self.is_split {
                taken(self.seat)
            } else {
                takes::ALL
            },
            ..hook.offer
        };
        hook.aside = if goes_on { aside } else { Aside::NONE };
        self.offered = Some(offsets);
    }

    /// Has the kernel stop splicing; what it has begun is finished once something reaches the daemon.
    pub(crate) fn stop(&mut self, place: &mut Place<'_>) {
        if self.offered.is_none() || self.closing.is_some() {
            return;
        }
        self.follow(place);
        place.counts.add("stopped by the daemon");
        place.hook.offer.armed = 0;
        place.hook.offer.stopped = self.generation;
        let record = &place.hook.record;
        let is_open = record.begun == self.generation && record.ended < record.begun;
        if is_open && record.commands == record.answered {
            // Over, though no program has had a segment to say it at.
            self.offered = None;
        } else if record.begun != self.generation {
            self.offered = None;
        }
    }

    /// The session is to end, whatever goes on.
    pub(crate) fn kill(&mut self, place: &mut Place<'_>) {
        if self.closing.is_none() {
            self.was_killed = true;
            self.begin_close(place);
        }
    }

    fn begin_close(&mut self, place: &mut Place<'_>) {
        place.hook.offer.armed = 0;
        place.hook.offer.stopped = u64::MAX;
        let wait = if self.was_killed && place.dice.permille(500) {
            0
        } else {
            DRAIN_WAIT
        };
        self.closing = Some(place.now + wait);
    }

    /// Closes each leg: with a FIN if nothing that bypassed towards it is unacknowledged, else, in the end, with a RST.
    fn close(&mut self, place: &mut Place<'_>) -> Option<u64> {
        let limit = self.closing.unwrap_or_default();
        let sides = [
            Side::Client,
            Side::Node(Seat::Writer),
            Side::Node(Seat::Reader),
        ];
        let owes = sides.iter().any(|side| place.hook.wire.is_owed(*side));
        let is_reset = place.front.is_reset || place.backs.iter().any(|back| back.is_reset);
        if owes && place.now < limit && !is_reset {
            return Some(place.now + 50);
        }
        self.is_closed = true;
        let rude = place.dice.permille(100);
        self.was_killed |= rude;
        let [back, reader_back] = &mut place.backs;
        let legs = [&mut *place.front, &mut **back, &mut **reader_back];
        for (side, leg) in sides.into_iter().zip(legs) {
            if leg.is_orphan {
                continue;
            }
            if rude || place.hook.wire.is_owed(side) {
                place.counts.add("killed: RST");
                leg.abort();
            } else {
                place.counts.add("killed: FIN");
                leg.close(place.now);
            }
        }
        None
    }
}
