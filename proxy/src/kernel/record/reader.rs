//! What a record knows of its reader's connection, as it goes to another record, or is kept, and comes back.

use std::sync::atomic::{AtomicU64, Ordering};

use sluice_ebpf::{
    record::{Hop, Joint, NodeEnd, Seat, Tuple, path},
    wire::{Leg, flag},
};

use super::Slot;

/// The place of all that is the reader's in a record.
const READER: usize = Seat::Reader as usize;

/// What the wire's programs know of a reader's connection, and must know.
#[derive(Clone, Copy, Debug)]
pub struct ReadersLeg {
    leg: Leg,
    hop: Hop,
    joint: Joint,
    end: Tuple,
}

impl ReadersLeg {
    /// Whether any byte has bypassed its local socket: then what its peer says is not understood without a record.
    pub const fn is_used(&self) -> bool {
        self.leg.is_used()
    }
}

impl Slot {
    /// What is known of the reader's connection, where no regime is live and nothing that bypassed is outstanding.
    pub fn readers_leg(&self) -> ReadersLeg {
        let at = self.at();
        // SAFETY: aligned, in the mapping, and there are as many as seats; every bit pattern is a value.
        unsafe {
            ReadersLeg {
                leg: (&raw const (*at).wire.nodes[READER])
                    .read_volatile()
                    .settled(),
                hop: (&raw const (*at).hops.nodes[READER]).read_volatile(),
                joint: (&raw const (*at).host.joint[READER]).read_volatile(),
                end: (&raw const (*at).host.node_end[READER]).read_volatile(),
            }
        }
    }

    /// The reader's connection is this one. Only where no program knows one of this record's. What the programs learn meanwhile heals with the next segment:
    /// numbers only grow.
    pub fn set_readers_leg(&self, reader: &ReadersLeg) {
        let at = self.at();
        // SAFETY: as above; as said, no program writes it.
        unsafe {
            (&raw mut (*at).wire.nodes[READER]).write_volatile(reader.leg);
            (&raw mut (*at).hops.nodes[READER]).write_volatile(reader.hop);
            (&raw mut (*at).host.joint[READER]).write_volatile(reader.joint);
            (&raw mut (*at).host.node_end[READER]).write_volatile(reader.end);
        }
    }

    /// Has a fresh record, which no session has, translate what is said on this connection, and nothing else.
    pub fn keep_readers_leg(&self, reader: &ReadersLeg) {
        self.set_readers_leg(reader);
        let at = self.at();
        // SAFETY: aligned and in the mapping; no program knows this record yet.
        unsafe {
            // There is no client, whose end would have to be seen.
            (&raw mut (*at).wire.client.flags).write_volatile(flag::GONE);
            // Bytes have bypassed the sockets.
            (&raw mut (*at).wire.regime).write_volatile(1);
            (&raw mut (*at).host.path).write_volatile(path::WIRE);
        }
    }

    /// Forgets the connection that the reader has had, for another one. Only where no program knows that of the earlier one any more, nor runs that has
    /// looked before, and where nothing that bypassed it is outstanding.
    pub fn clear_reader(&self) {
        let at = self.at();
        // SAFETY: aligned, in the mapping, and there are as many as seats; as said above, no program writes it.
        unsafe {
            (&raw mut (*at).wire.nodes[READER]).write_volatile(Leg::default());
            (&raw mut (*at).hops.nodes[READER]).write_volatile(Hop::default());
        }
    }

    /// Takes out what is known of the reader's app socket, where no regime is live: what that one says from now on is for the daemon.
    pub fn take_readers_end(&self) -> NodeEnd {
        let cookie = word!(self, ends[READER].cookie).swap(0, Ordering::SeqCst);
        // SAFETY: aligned, in the mapping; with another cookie than its own no program writes it.
        let end = unsafe { (&raw const (*self.at()).ends[READER]).read_volatile() };
        NodeEnd { cookie, ..end }
    }

    /// The reader's app socket is this one again, which has said nothing meanwhile; where no regime is live.
    pub fn set_readers_end(&self, end: NodeEnd) {
        let at = self.at();
        // SAFETY: as above.
        unsafe {
            (&raw mut (*at).ends[READER]).write_volatile(NodeEnd { cookie: 0, ..end });
        }
        word!(self, ends[READER].cookie).store(end.cookie, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::record::tests::slot;

    #[test]
    fn a_readers_connection_goes_to_another_record_and_back() {
        let (own, other) = (slot(), slot());
        assert!(!own.readers_leg().is_used());
        let at = own.at();
        let leg = Leg {
            flags: flag::KNOWN,
            rcv_nxt: 900,
            snd_nxt: 70,
            snd_una: 70,
            rcv_bypassed: 40,
            ..Leg::default()
        };
        let joint = Joint {
            segment_to_node: 1400,
            ..Joint::default()
        };
        // SAFETY: aligned, in the mapping; this thread is the only one.
        unsafe {
            (&raw mut (*at).wire.nodes[READER]).write_volatile(leg);
            (&raw mut (*at).host.joint[READER]).write_volatile(joint);
        }
        let known = own.readers_leg();
        assert!(known.is_used());
        other.keep_readers_leg(&known);
        own.clear_reader();
        assert!(!own.readers_leg().is_used() && !own.is_joined());
        // It goes on to be translated, whatever becomes of its session.
        let wire = other.wire();
        assert!(other.is_joined() && wire.is_used() && !wire.is_over());
        own.set_readers_leg(&other.readers_leg());
        let back = own.readers_leg();
        assert_eq!((back.leg, back.joint), (leg.settled(), joint));
    }

    #[test]
    fn a_readers_app_socket_is_nobodys_until_it_is_back() {
        let slot = slot();
        let end = NodeEnd {
            cookie: 7,
            sock: 8,
            consumed: 9,
            passed: 10,
        };
        slot.set_readers_end(end);
        assert!(slot.is_captured(Seat::Reader));
        let taken = slot.take_readers_end();
        assert!(!slot.is_captured(Seat::Reader));
        assert_eq!(slot.take_readers_end().cookie, 0);
        slot.set_readers_end(taken);
        assert!(slot.is_captured(Seat::Reader));
        assert_eq!(slot.take_readers_end().passed, 10);
    }
}
