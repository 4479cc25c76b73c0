//! A session's life in single steps; the model of whole connections, with losses and every order of events, is `tests/wire`.

use super::*;
use crate::{reason::TrapReason, record::Offsets};

const CLIENT: u32 = 1000;
const DAEMON_TO_CLIENT: u32 = 5000;
const NODE: u32 = 70000;
const DAEMON_TO_NODE: u32 = 90000;

fn segment(seq: u32, ack: u32, length: u32) -> Segment {
    Segment {
        seq,
        ack,
        length,
        flags: tcp::ACK,
    }
}

/// Greetings of 100 bytes and logins of 50 have passed, all is acknowledged.
fn logged_in() -> (Wire, Offer) {
    let offer = Offer {
        armed: 1,
        stopped: 0,
        offsets: Offsets {
            read_from_client: 50,
            written_to_client: 100,
            read_from_node: 100,
            written_to_node: 50,
        },
        allowed: true,
    };
    let none = Offer::default();
    let mut wire = Wire::default();
    let from = |wire: &mut Wire, side, segment| {
        wire.from_peer(side, &segment, Content::Unknown, &none, false)
    };
    wire.from_local(Side::Client, &segment(DAEMON_TO_CLIENT, CLIENT, 100), &none);
    from(
        &mut wire,
        Side::Client,
        segment(CLIENT, DAEMON_TO_CLIENT + 100, 50),
    );
    from(&mut wire, Side::Node, segment(NODE, DAEMON_TO_NODE, 100));
    wire.from_local(Side::Node, &segment(DAEMON_TO_NODE, NODE + 100, 50), &none);
    from(
        &mut wire,
        Side::Node,
        segment(NODE + 100, DAEMON_TO_NODE + 50, 0),
    );
    wire.from_local(
        Side::Client,
        &segment(DAEMON_TO_CLIENT + 100, CLIENT + 50, 0),
        &none,
    );
    (wire, offer)
}

#[test]
fn a_regime_begins_passes_and_ends() {
    let (mut wire, offer) = logged_in();
    let command = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
    let passed = wire.from_peer(Side::Client, &command, Content::Command(30), &offer, false);
    assert!(passed.began && passed.passed);
    assert_eq!(
        (passed.to, passed.seq, passed.ack),
        (To::OtherPeer, DAEMON_TO_NODE + 50, NODE + 100)
    );
    assert_eq!(passed.copy, Some((CLIENT + 20, DAEMON_TO_CLIENT + 100)));

    let response = segment(NODE + 100, DAEMON_TO_NODE + 80, 500);
    let passed = wire.from_peer(
        Side::Node,
        &response,
        Content::Walked(NODE + 100),
        &offer,
        true,
    );
    assert_eq!(
        (passed.to, passed.seq, passed.ack),
        (To::OtherPeer, DAEMON_TO_CLIENT + 100, CLIENT + 80)
    );

    // The local socket's late acknowledgement of the greeting stays here.
    let late = segment(DAEMON_TO_CLIENT + 100, CLIENT + 50, 0);
    assert_eq!(wire.from_local(Side::Client, &late, &offer).to, To::Dropped);

    let set = segment(CLIENT + 80, DAEMON_TO_CLIENT + 600, 20);
    let trapped = wire.from_peer(
        Side::Client,
        &set,
        Content::Trap(TrapReason::Command),
        &offer,
        false,
    );
    assert_eq!(trapped.trap, Some(TrapReason::Command));
    assert_eq!(
        (trapped.to, trapped.seq, trapped.ack),
        (To::Addressee, CLIENT + 50, DAEMON_TO_CLIENT + 100)
    );
    assert_eq!(wire.phase, phase::RELAYED);

    let forwarded = wire.from_local(
        Side::Node,
        &segment(DAEMON_TO_NODE + 50, NODE + 100, 20),
        &offer,
    );
    assert_eq!(
        (forwarded.seq, forwarded.ack),
        (DAEMON_TO_NODE + 80, NODE + 600)
    );
    let ok = segment(NODE + 600, DAEMON_TO_NODE + 100, 11);
    let ok = wire.from_peer(Side::Node, &ok, Content::Unknown, &offer, false);
    assert_eq!((ok.seq, ok.ack), (NODE + 100, DAEMON_TO_NODE + 70));
}

#[test]
fn nobody_acknowledges_for_the_other_peer() {
    let (mut wire, offer) = logged_in();
    let first = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
    wire.from_peer(Side::Client, &first, Content::Command(30), &offer, false);
    let second = segment(CLIENT + 80, DAEMON_TO_CLIENT + 100, 30);
    let trapped = wire.from_peer(Side::Client, &second, Content::Command(30), &offer, true);
    assert_eq!(trapped.trap, Some(TrapReason::Pipelined));
    assert_eq!(wire.phase, phase::DRAINING);
    let acknowledged = segment(DAEMON_TO_CLIENT + 100, CLIENT + 80, 0);
    assert_eq!(
        wire.from_local(Side::Client, &acknowledged, &offer).ack,
        CLIENT + 50
    );
    // The client sends both again, in one segment: only the first goes to the node.
    let both = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 60);
    let again = wire.from_peer(Side::Client, &both, Content::Command(30), &offer, false);
    assert_eq!((again.to, again.length), (To::OtherPeer, 30));
    wire.from_peer(
        Side::Node,
        &segment(NODE + 100, DAEMON_TO_NODE + 80, 0),
        Content::Unknown,
        &offer,
        false,
    );
    assert_eq!(wire.phase, phase::RELAYED);
    assert_eq!(
        wire.from_local(Side::Client, &acknowledged, &offer).ack,
        CLIENT + 110
    );
}
