//! Single steps of a session with two nodes, and of connections whose beginning was not seen.

use super::{
    tests::{CLIENT, DAEMON_TO_CLIENT, DAEMON_TO_NODE, NODE, WRITER, logged_in, segment},
    *,
};
use crate::{
    aim::Aim,
    reason::TrapReason,
    record::{Aside, Offsets, Seat, takes},
    response::Status,
};

const READER: Side = Side::Node(Seat::Reader);
const FROM_READER: u32 = 3000;
const DAEMON_TO_READER: u32 = 4000;

/// The session has logged in to its reader, too, and offers it: 70 bytes from there, 40 to there.
fn with_reader() -> (Wire, Offer) {
    let (mut wire, offer) = logged_in();
    let none = Offer::default();
    let greeting = segment(FROM_READER, DAEMON_TO_READER, 70);
    wire.from_peer(READER, &greeting, Content::Unknown, &none, false);
    wire.from_local(
        READER,
        &segment(DAEMON_TO_READER, FROM_READER + 70, 40),
        &none,
    );
    let ack = segment(FROM_READER + 70, DAEMON_TO_READER + 40, 0);
    wire.from_peer(READER, &ack, Content::Unknown, &none, false);
    let mut offsets = offer.offsets;
    offsets.read_from_node = 70;
    offsets.written_to_node = 40;
    let offer = Offer {
        offsets,
        seat: Seat::Reader as u32,
        takes: takes::READS,
        status: Status::of(Status::AUTOCOMMIT),
        ..offer
    };
    (wire, offer)
}

/// A regime with the reader: a command of 30 bytes and its response of 200, which the client has not acknowledged.
fn read() -> (Wire, Offer) {
    let (mut wire, offer) = with_reader();
    let command = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
    let passed = wire.from_peer(Side::Client, &command, Content::Command(30), &offer, false);
    assert!(passed.began);
    assert_eq!(
        (passed.to, passed.seat, passed.seq, passed.ack),
        (To::OtherPeer, 1, DAEMON_TO_READER + 40, FROM_READER + 70)
    );
    let rows = segment(FROM_READER + 70, DAEMON_TO_READER + 70, 200);
    let passed = wire.from_peer(
        READER,
        &rows,
        Content::Walked(FROM_READER + 70),
        &offer,
        true,
    );
    assert_eq!(
        (passed.to, passed.seq, passed.ack),
        (To::OtherPeer, DAEMON_TO_CLIENT + 100, CLIENT + 80)
    );
    (wire, offer)
}

/// The next offer, with the writer, where the session stands.
fn to_writer(wire: &Wire, offer: Offer) -> Offer {
    Offer {
        armed: 2,
        offsets: Offsets {
            read_from_client: wire.client.received(),
            written_to_client: wire.client.sent(),
            read_from_node: 100,
            written_to_node: 50,
        },
        seat: Seat::Writer as u32,
        takes: takes::WRITES,
        ..offer
    }
}

#[test]
fn a_regime_is_with_the_node_of_its_offer() {
    let (mut wire, _) = read();
    // The other node's connection is as it was: nothing has bypassed there.
    let unasked = segment(NODE + 100, DAEMON_TO_NODE + 50, 9);
    let unasked = wire.from_peer(
        WRITER,
        &unasked,
        Content::Walked(NODE + 100),
        &Offer::default(),
        false,
    );
    assert_eq!(
        (unasked.to, unasked.seq, unasked.ended),
        (To::Addressee, NODE + 100, false)
    );
    assert_eq!(wire.phase, phase::SPLICED);
    let said = segment(DAEMON_TO_NODE + 50, NODE + 109, 9);
    let said = wire.from_local(WRITER, &said, &Offer::default());
    assert_eq!(
        (said.to, said.seq, said.ended),
        (To::Addressee, DAEMON_TO_NODE + 50, false)
    );
    assert_eq!(wire.phase, phase::SPLICED);
}

/// While bytes of one node are outstanding the constants are its own: a regime with the other one waits.
#[test]
fn a_regime_with_another_node_waits_for_what_is_outstanding() {
    let (mut wire, offer) = read();
    let write = segment(CLIENT + 80, DAEMON_TO_CLIENT + 100, 20);
    let content = Content::Trap(TrapReason::OtherNode);
    let trapped = wire.from_peer(Side::Client, &write, content, &offer, false);
    assert_eq!((trapped.to, trapped.ended), (To::Addressee, true));
    assert_eq!(wire.phase, phase::DRAINING);
    let offered = to_writer(&wire, offer);
    let ack = segment(DAEMON_TO_CLIENT + 100, CLIENT + 70, 0);
    wire.from_local(Side::Client, &ack, &offered);
    // It still has not acknowledged the reader's response.
    let next = segment(CLIENT + 100, DAEMON_TO_CLIENT + 100, 25);
    let next = wire.from_peer(Side::Client, &next, Content::Command(25), &offered, false);
    assert_eq!((next.to, next.began), (To::Addressee, false));
    assert_eq!((wire.phase, wire.seat), (phase::DRAINING, 1));
    // The reader sends its response again: it is the client's.
    let again = segment(FROM_READER + 70, DAEMON_TO_READER + 70, 200);
    let again = wire.from_peer(READER, &again, Content::Unknown, &offered, false);
    assert_eq!(
        (again.to, again.seq),
        (To::OtherPeer, DAEMON_TO_CLIENT + 100)
    );
    let all = segment(CLIENT + 125, DAEMON_TO_CLIENT + 300, 0);
    wire.from_peer(Side::Client, &all, Content::Unknown, &offered, false);
    assert_eq!(wire.phase, phase::RELAYED);
    let ack = segment(DAEMON_TO_CLIENT + 100, CLIENT + 95, 0);
    wire.from_local(Side::Client, &ack, &offered);
    let offered = to_writer(&wire, offer);
    let third = segment(CLIENT + 125, DAEMON_TO_CLIENT + 300, 25);
    let third = wire.from_peer(Side::Client, &third, Content::Command(25), &offered, false);
    assert!(third.began);
    assert_eq!(
        (third.to, third.seat, third.seq, third.ack),
        (To::OtherPeer, 0, DAEMON_TO_NODE + 50, NODE + 100)
    );
    // What the reader repeats now is its local socket's, which has had nothing of it.
    let again = segment(FROM_READER + 70, DAEMON_TO_READER + 70, 200);
    let again = wire.from_peer(READER, &again, Content::Unknown, &offered, true);
    assert_eq!(
        (again.to, again.seq, again.ack, again.ended),
        (
            To::Addressee,
            FROM_READER.wrapping_sub(130),
            DAEMON_TO_READER + 40,
            false
        )
    );
    assert!(wire.is_owed(WRITER) && !wire.is_owed(READER));
}

#[test]
fn statements_go_to_their_node() {
    let (mut wire, offer) = with_reader();
    let outside = Status::of(Status::AUTOCOMMIT);
    let inside = Status::of(Status::AUTOCOMMIT | Status::IN_TRANSACTION);
    let command = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
    assert!(wire.takes(&command, Aim::Reader, &offer, inside));
    assert!(!wire.takes(&command, Aim::Writer, &offer, outside));
    wire.from_peer(Side::Client, &command, Content::Command(30), &offer, false);
    // From here on the regime says it, whatever is offered.
    let next = segment(CLIENT + 80, DAEMON_TO_CLIENT + 100, 30);
    let all = Offer {
        takes: takes::ALL,
        ..offer
    };
    for (aim, status, is_taken) in [
        (Aim::Reader, outside, true),
        (Aim::Last, outside, true),
        (Aim::Writer, outside, false),
        (Aim::Reader, inside, false),
    ] {
        assert_eq!(wire.takes(&next, aim, &all, status), is_taken, "{aim:?}");
        // Another text under numbers that have passed.
        assert_eq!(wire.takes(&command, aim, &all, status), is_taken, "{aim:?}");
    }
    // What the writer has taken it takes again, though the transaction that it was in is over by now.
    wire.takes = takes::WRITES;
    assert!(!wire.takes(&next, Aim::Reader, &all, outside));
    assert!(wire.takes(&command, Aim::Reader, &all, outside));
}

/// What the daemon says of the writer where a regime begins with the reader.
const BESIDE: Aside = Aside {
    takes: takes::WRITES,
    read_from_node: 100,
    written_to_node: 50,
};

/// What a client's segment is, all of which is commands that are aimed so, when the last response is complete.
fn placed(wire: &mut Wire, offer: &Offer, segment: &Segment, aim: Aim, aside: &Aside) -> Content {
    let commands = Commands {
        bytes: segment.length,
        aim,
    };
    let outside = Status::of(Status::AUTOCOMMIT);
    wire.placed(segment, commands, offer, aside, outside, false)
}

#[test]
fn what_is_not_certain_stays_with_its_node() {
    let (mut wire, offer) = read();
    let write = segment(CLIENT + 80, DAEMON_TO_CLIENT + 300, 20);
    let unacknowledged = segment(CLIENT + 80, DAEMON_TO_CLIENT + 299, 20);
    let moved = Aside {
        written_to_node: 51,
        ..BESIDE
    };
    let before = wire;
    for (segment, aim, aside) in [
        (unacknowledged, Aim::Writer, BESIDE),
        (write, Aim::Hinted, BESIDE),
        (write, Aim::Writer, Aside::NONE),
        (write, Aim::Writer, moved),
    ] {
        let content = placed(&mut wire, &offer, &segment, aim, &aside);
        assert_eq!(content, Content::Trap(TrapReason::OtherNode));
    }
    // It asks about the statement before.
    let content = placed(&mut wire, &offer, &write, Aim::Last, &BESIDE);
    assert_eq!(content, Content::Command(20));
    assert_eq!(wire, before);
}

/// A session, and a write that takes its regime to the other node, unless something is changed.
#[derive(Clone, Copy)]
struct Moment {
    wire: Wire,
    offer: Offer,
    aside: Aside,
    segment: Segment,
    /// Bytes of it that may be spliced.
    bytes: u32,
    status: Status,
    outstanding: bool,
}

impl Moment {
    fn new() -> Self {
        let (wire, offer) = read();
        Self {
            wire,
            offer,
            aside: BESIDE,
            segment: segment(CLIENT + 80, DAEMON_TO_CLIENT + 300, 20),
            bytes: 20,
            status: Status::of(Status::AUTOCOMMIT),
            outstanding: false,
        }
    }

    /// Whether the regime goes on; where not nothing has changed.
    fn goes_on(self) -> bool {
        let mut wire = self.wire;
        let commands = Commands {
            bytes: self.bytes,
            aim: Aim::Writer,
        };
        let content = wire.placed(
            &self.segment,
            commands,
            &self.offer,
            &self.aside,
            self.status,
            self.outstanding,
        );
        if wire == self.wire {
            assert_eq!(content, Content::Trap(TrapReason::OtherNode));
        }
        wire != self.wire
    }
}

/// What is in doubt, and what brings it about.
type Doubt<'a> = (&'a str, &'a dyn Fn(&mut Moment));

#[test]
fn a_regime_goes_on_only_where_all_is_as_it_must_be() {
    assert!(Moment::new().goes_on());
    let [writer, reader] = [Seat::Writer as usize, Seat::Reader as usize];
    let doubts: &[Doubt<'_>] = &[
        ("the daemon has stopped it", &|at| at.offer.stopped = 1),
        ("there is another offer", &|at| at.offer.armed = 2),
        ("it has ended", &|at| at.wire.end()),
        ("the client leaves", &|at| {
            at.wire.client.flags |= flag::FIN_OUT;
        }),
        ("its node leaves", &|at| {
            at.wire.nodes[reader].flags |= flag::RESET;
        }),
        ("the other node leaves", &|at| {
            at.wire.nodes[writer].flags |= flag::FIN_IN;
        }),
        ("the other node is not known", &|at| {
            at.wire.nodes[writer].flags &= !flag::KNOWN;
        }),
        ("a FIN", &|at| at.segment.flags |= tcp::FIN),
        ("urgent data", &|at| at.segment.flags |= tcp::URG),
        ("another text comes again", &|at| {
            at.segment.seq = CLIENT + 50;
        }),
        ("something is missing before it", &|at| at.segment.seq += 1),
        ("a part of it is no command", &|at| at.bytes = 19),
        ("the response is not all here", &|at| at.outstanding = true),
        ("the client has not been told", &|at| {
            at.wire.client.rcv_acked -= 1;
        }),
        ("its node lacks bytes", &|at| {
            at.wire.nodes[reader].snd_una -= 1;
        }),
        ("the other node lacks bytes", &|at| {
            at.wire.nodes[writer].snd_una -= 1;
        }),
        ("the other node has spoken", &|at| {
            at.aside.read_from_node -= 1;
        }),
        ("it was spoken to", &|at| at.aside.written_to_node -= 1),
        ("a transaction is open", &|at| {
            at.status = Status::of(Status::AUTOCOMMIT | Status::IN_TRANSACTION);
        }),
    ];
    for (doubt, change) in doubts {
        let mut at = Moment::new();
        change(&mut at);
        assert!(!at.goes_on(), "{doubt}");
    }
}

/// A session whose commands are for one node and the other by turns has a regime, too.
#[test]
fn a_regime_begins_with_the_node_that_is_not_offered() {
    let (mut wire, offer) = with_reader();
    let write = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
    let before = wire;
    let moved = Aside {
        read_from_node: 99,
        ..BESIDE
    };
    let inside = Status::of(Status::AUTOCOMMIT | Status::IN_TRANSACTION);
    for (offer, aside, aim, bytes) in [
        (offer, Aside::NONE, Aim::Writer, 30),
        (offer, moved, Aim::Writer, 30),
        (offer, BESIDE, Aim::Hinted, 30),
        (offer, BESIDE, Aim::Writer, 29),
        (
            Offer {
                status: inside,
                ..offer
            },
            BESIDE,
            Aim::Writer,
            30,
        ),
        (
            Offer {
                stopped: 1,
                ..offer
            },
            BESIDE,
            Aim::Writer,
            30,
        ),
        (
            Offer {
                allowed: false,
                ..offer
            },
            BESIDE,
            Aim::Writer,
            30,
        ),
    ] {
        let commands = Commands { bytes, aim };
        let outside = Status::of(Status::AUTOCOMMIT);
        let content = wire.placed(&write, commands, &offer, &aside, outside, false);
        assert_eq!(content, Content::Trap(TrapReason::OtherNode));
        assert_eq!(wire, before);
    }
    let content = placed(&mut wire, &offer, &write, Aim::Writer, &BESIDE);
    assert_eq!(content, Content::Turned(30));
    let passed = wire.from_peer(Side::Client, &write, content, &offer, false);
    assert!(passed.passed && passed.began);
    assert_eq!(
        (passed.to, passed.seat, passed.seq, passed.ack),
        (To::OtherPeer, 0, DAEMON_TO_NODE + 50, NODE + 100)
    );
    let ok = segment(NODE + 100, DAEMON_TO_NODE + 80, 11);
    wire.from_peer(WRITER, &ok, Content::Walked(NODE + 100), &offer, true);
    let next = segment(CLIENT + 80, DAEMON_TO_CLIENT + 111, 20);
    let content = placed(&mut wire, &offer, &next, Aim::Writer, &BESIDE);
    assert_eq!(content, Content::Command(20));
    // The node that was offered takes what is its.
    let content = placed(&mut wire, &offer, &next, Aim::Reader, &BESIDE);
    let next = wire.from_peer(Side::Client, &next, content, &offer, false);
    assert_eq!(
        (next.to, next.seat, next.seq, next.ack),
        (To::OtherPeer, 1, DAEMON_TO_READER + 40, FROM_READER + 70)
    );
}

/// The daemon may have made another offer of the same moment, for another node, when the one before it was believed.
#[test]
fn a_live_regime_keeps_its_node_whatever_is_offered() {
    let (mut wire, offer) = read();
    let another = to_writer(&wire, offer);
    let next = segment(CLIENT + 80, DAEMON_TO_CLIENT + 300, 20);
    let passed = wire.from_peer(Side::Client, &next, Content::Command(20), &another, false);
    assert_eq!(
        (passed.to, passed.seat, passed.seq, passed.began),
        (To::OtherPeer, 1, DAEMON_TO_READER + 70, false)
    );
}

/// A read, its response, then a write that takes the regime to the writer, and a read that takes it back.
#[test]
fn a_regime_goes_on_with_the_other_node() {
    let (mut wire, offer) = read();
    let write = segment(CLIENT + 80, DAEMON_TO_CLIENT + 300, 20);
    let content = placed(&mut wire, &offer, &write, Aim::Writer, &BESIDE);
    assert_eq!(content, Content::Command(20));
    let passed = wire.from_peer(Side::Client, &write, content, &offer, false);
    assert!(passed.passed && !passed.began && !passed.ended);
    assert_eq!(
        (passed.to, passed.seat, passed.seq, passed.ack),
        (To::OtherPeer, 0, DAEMON_TO_NODE + 50, NODE + 100)
    );
    // The reader has not heard that its response has arrived: its local socket hears that it sends it again, and knows.
    let again = segment(FROM_READER + 70, DAEMON_TO_READER + 70, 200);
    let again = wire.from_peer(READER, &again, Content::Unknown, &offer, true);
    assert_eq!(
        (again.to, again.seq, again.ended),
        (To::Addressee, FROM_READER.wrapping_sub(130), false)
    );
    let told = segment(DAEMON_TO_READER + 40, FROM_READER + 70, 0);
    let told = wire.from_local(READER, &told, &offer);
    assert_eq!(
        (told.to, told.seq, told.ack),
        (To::Addressee, DAEMON_TO_READER + 70, FROM_READER + 270)
    );
    let ok = segment(NODE + 100, DAEMON_TO_NODE + 70, 11);
    let ok = wire.from_peer(WRITER, &ok, Content::Walked(NODE + 100), &offer, true);
    assert_eq!(
        (ok.to, ok.seq, ok.ack),
        (To::OtherPeer, DAEMON_TO_CLIENT + 300, CLIENT + 100)
    );
    let next = segment(CLIENT + 100, DAEMON_TO_CLIENT + 311, 30);
    let content = placed(&mut wire, &offer, &next, Aim::Reader, &BESIDE);
    let next = wire.from_peer(Side::Client, &next, content, &offer, false);
    assert_eq!(
        (next.to, next.seat, next.seq, next.ack),
        (To::OtherPeer, 1, DAEMON_TO_READER + 70, FROM_READER + 270)
    );
}

/// Found by the model: the local socket's first segment was lost before the hook, and came again at other bytes' numbers.
#[test]
fn a_local_sockets_first_segment_keeps_its_numbers() {
    let mut wire = Wire::default();
    let none = Offer::default();
    wire.from_local(WRITER, &segment(DAEMON_TO_NODE + 50, NODE, 50), &none);
    let first = wire.from_local(WRITER, &segment(DAEMON_TO_NODE, NODE, 50), &none);
    assert_eq!((first.to, first.seq), (To::Addressee, DAEMON_TO_NODE));
    assert_eq!(wire.nodes[0].sent(), 100);
}
