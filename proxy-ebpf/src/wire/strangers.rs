//! What somebody can bring about who knows a connection's addresses and has to guess its numbers.

use super::{
    tests::{CLIENT, DAEMON_TO_CLIENT, logged_in, segment},
    *,
};

/// Somebody knows the addresses and guesses the numbers: nothing is learnt from that, in a regime or outside.
#[test]
fn a_strangers_segment_changes_nothing() {
    for begins in [false, true] {
        for ahead in [1 << 24, 1 << 29, 1 << 31, (1_u32 << 30).wrapping_neg() - 1] {
            for flags in [tcp::ACK, tcp::FIN | tcp::ACK, tcp::RST] {
                let (mut wire, offer) = logged_in();
                let command = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
                let content = Content::Command(30);
                if begins {
                    wire.from_peer(Side::Client, &command, content, &offer, false);
                }
                let before = wire;
                let strange = Segment {
                    seq: wire.client.rcv_nxt.wrapping_add(ahead),
                    flags,
                    ..command
                };
                let verdict = wire.from_peer(Side::Client, &strange, content, &offer, begins);
                assert_eq!(verdict.to, To::Addressee);
                assert!(!verdict.ended && wire == before, "{ahead:x} {flags:x}");
            }
        }
    }
    // An old FIN, and a RST, of which TCP takes no notice either.
    let (mut wire, offer) = logged_in();
    for flags in [tcp::FIN | tcp::ACK, tcp::RST] {
        let old = Segment {
            seq: wire.client.rcv_nxt.wrapping_sub(1 << 24),
            flags,
            ..Segment::default()
        };
        let before = wire;
        wire.from_peer(Side::Client, &old, Content::Unknown, &offer, false);
        assert_eq!(wire, before);
    }
    // One near the next number may be the peer's, until the peer goes on.
    let next = segment(CLIENT + 50, DAEMON_TO_CLIENT + 100, 30);
    for (seq, is_taken) in [(CLIENT + 60, false), (CLIENT + 50, true)] {
        let (mut wire, offer) = logged_in();
        let reset = Segment {
            seq,
            flags: tcp::RST,
            ..Segment::default()
        };
        wire.from_peer(Side::Client, &reset, Content::Unknown, &offer, false);
        assert!(wire.client.is(flag::RESET));
        wire.from_peer(Side::Client, &next, Content::Command(30), &offer, false);
        assert_eq!(wire.client.is(flag::RESET), is_taken);
    }
}
