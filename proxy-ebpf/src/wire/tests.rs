//! A session's life in single steps; the model of whole connections, with losses and every order of events, is `tests/wire`.

use super::*;
use crate::{
    reason::{TrapReason, WaitReason},
    record::{Offsets, Seat},
};

pub(super) const CLIENT: u32 = 1000;
pub(super) const DAEMON_TO_CLIENT: u32 = 5000;
pub(super) const NODE: u32 = 70000;
pub(super) const DAEMON_TO_NODE: u32 = 90000;
pub(super) const WRITER: Side = Side::Node(Seat::Writer);

pub(super) fn segment(seq: u32, ack: u32, length: u32) -> Segment {
    Segment {
        seq,
        ack,
        length,
        flags: tcp::ACK,
    }
}

/// Greetings of 100 bytes and logins of 50 have passed, all is acknowledged.
pub(super) fn logged_in() -> (Wire, Offer) {
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
        ..Offer::default()
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
    from(&mut wire, WRITER, segment(NODE, DAEMON_TO_NODE, 100));
    wire.from_local(WRITER, &segment(DAEMON_TO_NODE, NODE + 100, 50), &none);
    from(
        &mut wire,
        WRITER,
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
    let passed = wire.from_peer(WRITER, &response, Content::Walked(NODE + 100), &offer, true);
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
        WRITER,
        &segment(DAEMON_TO_NODE + 50, NODE + 100, 20),
        &offer,
    );
    assert_eq!(
        (forwarded.seq, forwarded.ack),
        (DAEMON_TO_NODE + 80, NODE + 600)
    );
    let ok = segment(NODE + 600, DAEMON_TO_NODE + 100, 11);
    let ok = wire.from_peer(WRITER, &ok, Content::Unknown, &offer, false);
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
        WRITER,
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

/// What the first segments of [`logged_in`] are followed by: a spliced command of 30 bytes, acknowledged by the node or not.
fn spliced(acknowledged: bool) -> (Wire, Offer) {
    let (mut wire, offer) = logged_in();
    let command = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
    wire.from_peer(Side::Client, &command, Content::Command(30), &offer, false);
    if acknowledged {
        let ack = segment(NODE + 100, DAEMON_TO_NODE + 80, 0);
        wire.from_peer(WRITER, &ack, Content::Unknown, &offer, true);
    }
    (wire, offer)
}

fn trap(wire: &mut Wire, offer: &Offer, seq: u32, ack: u32) {
    let content = Content::Trap(TrapReason::Command);
    let trapped = wire.from_peer(Side::Client, &segment(seq, ack, 20), content, offer, false);
    assert_eq!((trapped.to, trapped.ended), (To::Addressee, true));
}

/// The client's acknowledgement of what the daemon has written since is none of what the node has sent.
#[test]
fn what_the_daemon_wrote_is_not_acknowledged_to_the_other_peer() {
    let (mut wire, offer) = spliced(false);
    trap(&mut wire, &offer, CLIENT + 80, DAEMON_TO_CLIENT + 100);
    let answer = segment(DAEMON_TO_CLIENT + 100, CLIENT + 70, 40);
    wire.from_local(Side::Client, &answer, &offer);
    let again = segment(CLIENT + 50, DAEMON_TO_CLIENT + 140, 30);
    let again = wire.from_peer(Side::Client, &again, Content::Command(30), &offer, false);
    assert_eq!((again.to, again.ack), (To::OtherPeer, NODE + 100));
    assert_eq!(
        again.sack_shift,
        (NODE - DAEMON_TO_CLIENT).wrapping_sub(1 << 30)
    );
}

/// A copy in the drain: the local socket's own new bytes are not acknowledged by it, nor do its bytes stand where new ones may be missing.
#[test]
fn a_copy_in_the_drain_stands_where_the_regime_ended() {
    let (mut wire, offer) = spliced(false);
    let keepalive = segment(DAEMON_TO_CLIENT + 99, CLIENT + 50, 0);
    wire.from_local(Side::Client, &keepalive, &offer);
    assert!(wire.client.is(flag::PROBED));
    let content = Content::Trap(TrapReason::Command);
    let gap = segment(CLIENT + 90, DAEMON_TO_CLIENT + 100, 20);
    wire.from_peer(Side::Client, &gap, content, &offer, true);
    wire.from_local(
        Side::Client,
        &segment(DAEMON_TO_CLIENT + 100, CLIENT + 50, 40),
        &offer,
    );
    wire.client.flags |= flag::PROBED;
    let again = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
    let again = wire.from_peer(Side::Client, &again, Content::Command(30), &offer, false);
    assert_eq!(again.copy, Some((CLIENT + 20, DAEMON_TO_CLIENT + 100)));
}

/// A lost command is sent again as two: with the tail of the first text behind the first half of the second, a third one would be read.
#[test]
fn a_command_sent_again_has_the_numbers_that_it_had() {
    let (mut wire, offer) = spliced(false);
    let start = CLIENT + 50;
    let ack = DAEMON_TO_CLIENT + 100;
    let mut send = |seq, length| {
        let content = Content::Command(length);
        wire.from_peer(
            Side::Client,
            &segment(seq, ack, length),
            content,
            &offer,
            true,
        )
        .to
    };
    assert_eq!(send(start, 20), To::Dropped);
    assert_eq!(send(start + 20, 10), To::Dropped);
    assert_eq!(send(start, 30), To::OtherPeer);
}

/// Of three commands without an answer the tracker would not remember where the first begins.
#[test]
fn two_commands_are_unacknowledged_at_most() {
    let (mut wire, offer) = spliced(false);
    let ack = DAEMON_TO_CLIENT + 100;
    let mut send = |seq| {
        let content = Content::Command(30);
        wire.from_peer(Side::Client, &segment(seq, ack, 30), content, &offer, false)
    };
    assert!(send(CLIENT + 80).passed);
    assert_eq!(send(CLIENT + 110).trap, Some(TrapReason::Pipelined));
    assert_eq!(send(CLIENT + 50).to, To::OtherPeer);
    assert_eq!(send(CLIENT + 80).to, To::OtherPeer);
}

/// The acknowledgement of relayed bytes was lost; together with the command behind them they would be dropped for ever.
#[test]
fn what_straddles_the_start_is_answered_by_the_local_socket() {
    let (mut wire, offer) = spliced(false);
    let both = segment(CLIENT + 30, DAEMON_TO_CLIENT + 100, 50);
    let content = Content::Trap(TrapReason::Framing);
    let front = wire.from_peer(Side::Client, &both, content, &offer, true);
    assert_eq!(
        (front.to, front.length, front.ended),
        (To::Addressee, 20, false)
    );
    let duplicate = segment(DAEMON_TO_CLIENT + 100, CLIENT + 50, 0);
    let answer = wire.from_local(Side::Client, &duplicate, &offer);
    assert_eq!((answer.to, answer.ack), (To::Addressee, CLIENT + 50));
    let next = wire.from_local(Side::Client, &duplicate, &offer);
    assert_eq!(next.to, To::Dropped);
}

/// The node's acknowledgement was lost once: said again it is still for the client.
#[test]
fn an_acknowledgement_in_the_drain_is_passed_on_each_time() {
    let (mut wire, offer) = spliced(false);
    let second = segment(CLIENT + 80, DAEMON_TO_CLIENT + 100, 30);
    wire.from_peer(Side::Client, &second, Content::Command(30), &offer, false);
    trap(&mut wire, &offer, CLIENT + 110, DAEMON_TO_CLIENT + 100);
    let ack = segment(NODE + 100, DAEMON_TO_NODE + 80, 0);
    for _ in 0..2 {
        let passed = wire.from_peer(WRITER, &ack, Content::Unknown, &offer, false);
        assert_eq!((passed.to, passed.ack), (To::OtherPeer, CLIENT + 80));
    }
}

/// A number comes before another only within 2^31: the regime's start follows.
#[test]
fn a_regime_of_gigabytes_keeps_its_numbers() {
    let (mut wire, offer) = spliced(true);
    let mut seq = NODE + 100;
    let mut to = DAEMON_TO_CLIENT + 100;
    for _ in 0..3 << 14 {
        let data = segment(seq, DAEMON_TO_NODE + 80, 1 << 16);
        let passed = wire.from_peer(WRITER, &data, Content::Walked(seq), &offer, true);
        assert_eq!(
            (passed.to, passed.seq, passed.passed),
            (To::OtherPeer, to, true)
        );
        seq = seq.wrapping_add(1 << 16);
        to = to.wrapping_add(1 << 16);
        let ack = segment(CLIENT + 80, to, 0);
        let passed = wire.from_peer(Side::Client, &ack, Content::Unknown, &offer, true);
        assert_eq!((passed.to, passed.ack), (To::OtherPeer, seq));
    }
    let again = segment(seq.wrapping_sub(1 << 16), DAEMON_TO_NODE + 80, 1 << 16);
    let again = wire.from_peer(WRITER, &again, Content::Unknown, &offer, true);
    assert_eq!(again.to, To::OtherPeer);
}

/// Linux takes a RST at its own number only, and a closed socket sends it at the number that it is told.
#[test]
fn who_has_reset_the_connection_is_told_the_true_numbers() {
    let (mut wire, offer) = spliced(false);
    let reset = Segment {
        flags: tcp::RST | tcp::ACK,
        ..segment(CLIENT + 90, DAEMON_TO_CLIENT + 100, 0)
    };
    wire.from_peer(Side::Client, &reset, Content::Unknown, &offer, true);
    let challenge = segment(DAEMON_TO_CLIENT + 100, CLIENT + 50, 0);
    let challenge = wire.from_local(Side::Client, &challenge, &offer);
    assert_eq!(challenge.ack, CLIENT + 80);

    // The other way round: the local socket's RST comes behind a gap, and the node's answer is for this host.
    let reset = Segment {
        flags: tcp::RST | tcp::ACK,
        ..segment(DAEMON_TO_NODE + 50, NODE + 100, 0)
    };
    assert!(wire.is_owed(WRITER));
    let sent = wire.from_local(WRITER, &reset, &offer);
    assert_eq!(sent.seq, DAEMON_TO_NODE + 80);
    let challenge = segment(NODE + 100, DAEMON_TO_NODE + 50, 0);
    let challenge = wire.from_peer(WRITER, &challenge, Content::Unknown, &offer, false);
    assert_eq!(
        (challenge.to, challenge.ack),
        (To::Addressee, DAEMON_TO_NODE + 20)
    );
    assert!(wire.is_over());
}

/// In the drain the peer's acknowledgements are the other peer's: the local socket's keep-alive would go unanswered.
#[test]
fn a_keep_alive_in_the_drain_is_answered() {
    let (mut wire, offer) = spliced(true);
    let data = segment(NODE + 100, DAEMON_TO_NODE + 80, 500);
    wire.from_peer(WRITER, &data, Content::Walked(NODE + 100), &offer, true);
    let stopped = Offer {
        stopped: 1,
        ..offer
    };
    let keepalive = segment(DAEMON_TO_CLIENT + 99, CLIENT + 50, 0);
    let asked = wire.from_local(Side::Client, &keepalive, &stopped);
    assert_eq!((asked.seq, asked.ended), (DAEMON_TO_CLIENT + 99, true));
    let full = segment(CLIENT + 80, DAEMON_TO_CLIENT + 100, 0);
    let full = wire.from_peer(Side::Client, &full, Content::Unknown, &stopped, false);
    assert_eq!(full.to, To::OtherPeer);
    assert_eq!(full.copy, Some((CLIENT + 50, DAEMON_TO_CLIENT + 100)));
}

/// The connection's own SYN, late, is not another connection's.
#[test]
fn a_late_syn_takes_no_tuple() {
    let (mut wire, offer) = logged_in();
    let closed = Offer {
        stopped: u64::MAX,
        ..offer
    };
    let mut syn = |seq| {
        let syn = Segment {
            flags: tcp::SYN,
            ..segment(seq, 0, 0)
        };
        wire.from_peer(Side::Client, &syn, Content::Unknown, &closed, false);
        wire.client.is(flag::GONE)
    };
    assert!(!syn(CLIENT - 1));
    assert!(syn(CLIENT + 7777));
}

/// A client that resets its connection and opens another one from the same port is faster than the daemon. A RST that TCP does not take frees
/// nothing.
#[test]
fn a_syn_behind_a_reset_takes_the_tuple() {
    for (seq, wanted) in [(CLIENT + 50, true), (CLIENT + 51, false)] {
        let (mut wire, offer) = logged_in();
        let mut send = |flags, seq| {
            let segment = Segment {
                flags,
                ..segment(seq, DAEMON_TO_CLIENT + 100, 0)
            };
            wire.from_peer(Side::Client, &segment, Content::Unknown, &offer, false)
        };
        send(tcp::RST, seq);
        send(tcp::SYN, CLIENT + 7777);
        assert_eq!(wire.client.is(flag::GONE), wanted);
        let synack = Segment {
            flags: tcp::SYN | tcp::ACK,
            ..segment(1, CLIENT + 7778, 0)
        };
        wire.client.rcv_bypassed = 30;
        wire.from_local(Side::Client, &synack, &offer);
        let last = segment(CLIENT + 7778, 2, 0);
        let last = wire.from_peer(Side::Client, &last, Content::Unknown, &offer, false);
        assert_eq!(
            last.seq == CLIENT + 7778 || last == Verdict::UNTOUCHED,
            wanted
        );
    }
}

/// The daemon closes first, and the client opens another connection from the same port before the daemon has said that the session is over.
#[test]
fn a_syn_behind_both_fins_takes_the_tuple() {
    let (mut wire, offer) = logged_in();
    let fin = |seq, ack| Segment {
        flags: tcp::FIN | tcp::ACK,
        ..segment(seq, ack, 0)
    };
    let syn = Segment {
        flags: tcp::SYN,
        ..segment(CLIENT + 7777, 0, 0)
    };
    let from = |wire: &mut Wire, segment: &Segment| {
        wire.from_peer(Side::Client, segment, Content::Unknown, &offer, false);
        wire.client.is(flag::GONE)
    };
    wire.from_local(
        Side::Client,
        &fin(DAEMON_TO_CLIENT + 100, CLIENT + 50),
        &offer,
    );
    assert!(!from(&mut wire, &syn));
    assert!(!from(&mut wire, &fin(CLIENT + 50, DAEMON_TO_CLIENT + 101)));
    assert!(!from(&mut wire, &syn), "its FIN is not acknowledged");
    let last = segment(DAEMON_TO_CLIENT + 101, CLIENT + 51, 0);
    wire.from_local(Side::Client, &last, &offer);
    assert!(from(&mut wire, &syn));
}

/// The first segment of a connection that anything is learned from may be its last.
#[test]
fn a_fin_is_noted_with_the_first_segment() {
    let mut wire = Wire::default();
    let fin = Segment {
        flags: tcp::FIN | tcp::ACK,
        ..segment(NODE, DAEMON_TO_NODE, 10)
    };
    wire.from_peer(WRITER, &fin, Content::Unknown, &Offer::default(), false);
    assert!(wire.nodes[0].is(flag::FIN_IN));
}

/// The connection's first segment was lost before the hook: with the second one's numbers as the first, unread bytes would look read.
#[test]
fn the_first_segment_seen_may_not_be_the_first() {
    let mut wire = Wire::default();
    let none = Offer::default();
    for seq in [CLIENT + 50, CLIENT] {
        let segment = segment(seq, DAEMON_TO_CLIENT, 50);
        wire.from_peer(Side::Client, &segment, Content::Unknown, &none, false);
    }
    assert_eq!(
        (wire.client.rcv_base, wire.client.received()),
        (CLIENT, 100)
    );
}

/// The client has not heard that the first of its commands has arrived, and sends them all again in one segment.
#[test]
fn an_acknowledged_command_before_the_remembered_ones_is_acknowledged_again() {
    let (mut wire, offer) = spliced(true);
    for seq in [CLIENT + 80, CLIENT + 110] {
        let next = segment(seq, DAEMON_TO_CLIENT + 100, 30);
        let next = wire.from_peer(Side::Client, &next, Content::Command(30), &offer, false);
        assert!(next.passed);
    }
    let all = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 90);
    let all = wire.from_peer(Side::Client, &all, Content::Command(30), &offer, false);
    assert_eq!((all.to, all.length), (To::OtherPeer, 30));
}

#[test]
fn what_an_offer_waits_for_is_said() {
    let (mut wire, offer) = logged_in();
    let Offer { offsets, .. } = offer;
    assert_eq!(wire.waits_for(0, &offsets), WaitReason::Command);
    let earlier = Offsets {
        written_to_node: 49,
        ..offsets
    };
    assert_eq!(wire.waits_for(0, &earlier), WaitReason::Daemon);
    let none = Offer::default();
    let (client, node) = (wire.client, wire.nodes[0]);
    wire.from_local(WRITER, &segment(node.snd_nxt, node.rcv_nxt, 5), &none);
    assert_eq!(wire.waits_for(0, &offsets), WaitReason::ToNode);
    wire.nodes[0] = node;
    wire.from_peer(
        Side::Client,
        &segment(client.rcv_nxt, client.snd_nxt, 5),
        Content::Unknown,
        &none,
        false,
    );
    assert_eq!(wire.waits_for(0, &offsets), WaitReason::ToClient);
    wire.client = client;
    wire.client.flags |= flag::FIN_IN;
    assert_eq!(wire.waits_for(0, &offsets), WaitReason::Closing);
}

/// Who has sent a segment that was too big hears of it, under the number that he gave it.
#[test]
fn a_segment_that_was_too_big_is_told_to_who_sent_it() {
    let (mut wire, offer) = logged_in();
    let (client, node) = (wire.client, wire.nodes[0]);
    let relayed = client.snd_nxt.wrapping_sub(10);
    assert_eq!(
        wire.too_big(Side::Client, relayed),
        (To::Addressee, relayed)
    );
    let command = segment(client.rcv_nxt, client.snd_nxt, 20);
    let verdict = wire.from_peer(Side::Client, &command, Content::Command(20), &offer, false);
    assert!(verdict.began);
    let told = wire.too_big(WRITER, verdict.seq);
    assert_eq!(told, (To::OtherPeer, command.seq));
    let answer = segment(node.rcv_nxt, node.snd_nxt + 20, 3000);
    let verdict = wire.from_peer(WRITER, &answer, Content::Walked(node.rcv_nxt), &offer, true);
    assert_eq!(verdict.to, To::OtherPeer);
    let second = (verdict.seq + 1448, answer.seq + 1448);
    let told = wire.too_big(Side::Client, second.0);
    assert_eq!(told, (To::OtherPeer, second.1));
    // Also once the regime is over; what the local socket sends then is its own, and it knows nothing of what bypassed it.
    wire.end();
    let told = wire.too_big(Side::Client, second.0);
    assert_eq!(told, (To::OtherPeer, second.1));
    let own = client.snd_nxt + 3000;
    let told = wire.too_big(Side::Client, own);
    assert_eq!(told, (To::Addressee, client.snd_nxt));
}

/// Found by the fuzz target `tracker`: the end went unsaid where the segment became a question to the peer.
#[test]
fn a_regime_that_ends_says_so() {
    // A reset with old bytes, and an acknowledgement from beyond bytes that were not seen here.
    let reset = Segment {
        flags: tcp::ACK | tcp::RST,
        ..segment(DAEMON_TO_NODE, NODE + 100, 30)
    };
    let ahead = segment(DAEMON_TO_NODE + 80, NODE + 100, 0);
    for segment in [reset, ahead] {
        let (mut wire, offer) = spliced(false);
        let verdict = wire.from_local(WRITER, &segment, &offer);
        assert_eq!(wire.phase, phase::DRAINING);
        assert!(verdict.ended, "{segment:?}");
    }
}

/// Found by the model: the client, which had read what the daemon wrote since, took no acknowledgement that came from before that.
#[test]
fn an_acknowledgement_in_the_drain_stands_behind_what_the_daemon_wrote() {
    let (mut wire, offer) = spliced(false);
    trap(&mut wire, &offer, CLIENT + 80, DAEMON_TO_CLIENT + 100);
    let answer = segment(DAEMON_TO_CLIENT + 100, CLIENT + 50, 37);
    wire.from_local(Side::Client, &answer, &offer);
    let ack = segment(NODE + 100, DAEMON_TO_NODE + 80, 0);
    let verdict = wire.from_peer(WRITER, &ack, Content::Unknown, &offer, false);
    assert_eq!(
        (verdict.to, verdict.seq, verdict.ack),
        (To::OtherPeer, DAEMON_TO_CLIENT + 137, CLIENT + 80)
    );
}

/// Found by the model: a block that the local socket named before the regime was moved onto bytes that bypassed it, which the client did not have.
#[test]
fn an_old_block_in_the_drain_names_nothing() {
    let (mut wire, offer) = spliced(true);
    let data = segment(NODE + 100, DAEMON_TO_NODE + 80, 500);
    wire.from_peer(WRITER, &data, Content::Walked(NODE + 100), &offer, true);
    let hidden = 500_u32.wrapping_sub(1 << 30);
    // In the regime, where the question why the peer is silent goes out.
    let keepalive = segment(DAEMON_TO_NODE + 49, NODE + 60, 0);
    let asked = wire.from_local(WRITER, &keepalive, &offer);
    assert_eq!((asked.to, asked.sack_shift), (To::Addressee, hidden));
    let stopped = Offer {
        stopped: 1,
        ..offer
    };
    for (ack, shift) in [(NODE + 60, hidden), (NODE + 100, 500)] {
        let said = wire.from_local(WRITER, &segment(DAEMON_TO_NODE + 50, ack, 0), &stopped);
        assert_eq!((said.to, said.sack_shift), (To::Addressee, shift));
    }
    let all = segment(CLIENT + 80, DAEMON_TO_CLIENT + 600, 0);
    wire.from_peer(Side::Client, &all, Content::Unknown, &stopped, false);
    assert_eq!(wire.phase, phase::RELAYED);
}

/// Found by the model: TCP discards what acknowledges less than a window before what it knows to have arrived (`tcp_ack`), bytes and all.
#[test]
fn bytes_that_come_again_in_the_drain_acknowledge_what_the_daemon_has_since() {
    let (mut wire, offer) = spliced(true);
    let data = segment(NODE + 100, DAEMON_TO_NODE + 80, 500);
    wire.from_peer(WRITER, &data, Content::Walked(NODE + 100), &offer, true);
    trap(&mut wire, &offer, CLIENT + 80, DAEMON_TO_CLIENT + 100);
    let told = segment(DAEMON_TO_CLIENT + 100, CLIENT + 50 + (1 << 20), 0);
    let told = wire.from_local(Side::Client, &told, &offer);
    let again = wire.from_peer(WRITER, &data, Content::Unknown, &offer, false);
    assert_eq!((again.to, again.ack), (To::OtherPeer, told.ack));
}
