//! The wire: joins a session's two TCP connections below the sockets, by *virtual sequence numbers*.
//!
//! The daemon keeps its two ordinary sockets. They never learn what bypassed them: a segment that goes to a local socket has its
//! sequence number lowered by the bytes from that peer that bypassed it, and its acknowledgement by the bytes to that peer that did; a
//! segment that a local socket sends is raised by the same two counts. Between the peers the numbers are moved by two constants, fixed
//! where a regime begins. In this module *real* numbers are those that a peer sees, *virtual* ones those of the local socket.
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
pub use tracker::{Content, Offer, Side, Wire, phase};
pub use verdict::{Segment, To, Verdict, tcp};

#[cfg(test)]
mod seats;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod tests;
