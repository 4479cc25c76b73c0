//! The wire: joins a session's two TCP connections below the sockets, by *virtual sequence numbers*.
//!
//! The daemon keeps its two ordinary sockets. They never learn what bypassed them: a segment that goes to a local socket has its
//! sequence number lowered by the bytes from that peer that bypassed it, and its acknowledgement by the bytes to that peer that did; a
//! segment that a local socket sends is raised by the same two counts. Between the peers the numbers are moved by two constants, fixed
//! where a regime begins. In this module *real* numbers are those that a peer sees, *virtual* ones those of the local socket.
//!
//! A session may have two nodes, and a regime goes on with the other one where a command is for that ([`Wire::placed`]). The client's connection is one
//! stream, whoever's bytes are in it: one node's can follow the other's where the constants towards the first are not needed any more. So the moment must be
//! one at which a regime might begin, and besides
//! - the last response is complete, the client has acknowledged all of it with this very segment, and was told that all it has sent has arrived: so nothing
//!   of the first node's or for it can have to come again;
//! - the other node has acknowledged all that it was sent, and the daemon's counts of its connection are true: nothing is under way there;
//! - the segment is the next one, and holds whole commands for that node and nothing else, so that it passes.
//!
//! Where no regime is live, one may begin with either: the daemon's offer names one, and says of the other one where it stands.
//!
//! That its last response has arrived the first node was told by nobody: the client's acknowledgement went to the other one. If it sends again (one
//! tail loss probe, where the session falls silent behind the turn), its local socket tells it, as that of an ordinary relayed connection.
//!
//! Whatever is in doubt ends the regime: the segment goes to the local socket, whose TCP puts things right as it always does, and the
//! daemon relays from there, in mid-response too. What must not reach either is dropped: its sender's TCP sends it again.
//!
//! Pure: every call is one segment at one hook, under the session's lock; the caller moves the packet. `shared/wire.md` has the
//! measurements and RFC 9293 the rules of TCP that this leans on.

#![expect(
    clippy::inline_always,
    reason = "one function for the verifier, under a lock in which none may be called"
)]

mod half;
mod leg;
mod tracker;
mod verdict;

pub use leg::{Leg, flag};
pub use tracker::{Commands, Content, Offer, Side, Wire, phase};
pub use verdict::{Segment, To, Verdict, tcp};

#[cfg(test)]
mod seats;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;
