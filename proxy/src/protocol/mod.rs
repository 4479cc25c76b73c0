//! `MySQL`'s wire format: bytes in, values out, and back. Nothing here reads or writes a socket, and no bytes can make it panic.
//!
//! Facts are from the "Client/Server Protocol" chapter of `MySQL`'s internals documentation ("the manual" below) and
//! from `MariaDB`'s page "Clientserver Protocol" ("`MariaDB`'s page").

pub mod auth;
pub mod capability;
pub mod command;
pub mod error;
pub mod field;
pub mod handshake;
pub mod packet;
pub mod proxy_header;
pub mod reply;
pub mod result_set;
pub mod rows;
pub mod session_track;
pub mod statement;

/// A packet that does not have the form which the protocol asks for at this point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed packet: {what}")]
pub struct Malformed {
    /// The part that is missing or wrong.
    pub what: &'static str,
}
