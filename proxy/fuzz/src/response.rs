//! Where a response ends: the tracker that the kernel runs, against the daemon's own reading of the same bytes.

use crate::portions;
use bytes::BytesMut;
use sluice::protocol::capability::Capabilities;
use sluice::protocol::packet;
use sluice::protocol::reply::EOF;
use sluice::protocol::rows::Rows;
use sluice_ebpf::response::{Outcome, Response, format};

/// A shorter packet that begins with [`EOF`] ends rows (the manual, `EOF_Packet`: fewer than nine bytes).
const EOF_LEN_MAX: usize = 8;
/// `SERVER_STATUS_CURSOR_EXISTS`.
const CURSOR_EXISTS: u16 = 0x40;

/// Portions change nothing of what is learned; and an ordinary response ends where the other reader says.
pub fn response(data: &[u8]) {
    let Some((&[expect, form], data)) = data.split_first_chunk() else {
        return;
    };
    let (sizes, stream) = portions(data);
    let begun = || {
        let mut response = Response::DONE;
        response.begin(expect % 5, form & 7);
        response
    };
    let mut whole = begun();
    let end = whole.feed(stream);
    assert!(end <= stream.len());
    assert!(end == stream.len() || whole.is_done() || whole.wants_infile());
    let mut cut = begun();
    let mut rest = stream;
    let mut taken = 0;
    for size in sizes {
        let (portion, behind) = rest.split_at(size.min(rest.len()));
        let used = cut.feed(portion);
        taken += used;
        if used < portion.len() || behind.is_empty() {
            break;
        }
        rest = behind;
    }
    assert_eq!(taken, end, "portions change the end");
    assert_eq!(
        learned(&cut),
        learned(&whole),
        "portions change what is learned"
    );
    // The daemon's own statements open no cursors.
    let is_ok = whole.is_done() && whole.outcome() == Outcome::Ok;
    if expect % 5 == 1 && is_ok && whole.status().flags & CURSOR_EXISTS == 0 {
        read_otherwise(stream.get(..end).unwrap_or_default(), form);
    }
}

fn learned(response: &Response) -> impl PartialEq + std::fmt::Debug {
    (
        response.is_done(),
        response.wants_infile(),
        response.outcome(),
        response.status(),
        response.affected_rows(),
        response.last_insert_id(),
        response.statement_id(),
        response.packets_since(&Response::DONE),
    )
}

/// A response that is over must be one to the daemon's reader too, and not be one before its last byte.
fn read_otherwise(response: &[u8], form: u8) {
    let flag = |bit, flag| {
        if form & bit == 0 {
            Capabilities::default()
        } else {
            flag
        }
    };
    let agreed = flag(format::DEPRECATE_EOF, Capabilities::DEPRECATE_EOF).with(flag(
        format::CACHE_METADATA,
        Capabilities::MARIADB_CACHE_METADATA,
    ));
    // The daemon's reader takes a longer packet for a row, the tracker, which knows that such a row fills its packet, for an end.
    let mut packets = BytesMut::from(response);
    while let Ok(Some(packet)) = packet::take(&mut packets, response.len()) {
        if packet.payload.first() == Some(&EOF) && packet.payload.len() > EOF_LEN_MAX {
            return;
        }
    }
    if let Err(malformed) = Rows::parse(BytesMut::from(response), agreed) {
        assert_ne!(malformed.what, "end of response", "over too early");
    }
}
