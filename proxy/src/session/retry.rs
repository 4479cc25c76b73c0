//! A command that another node may be asked again, though the one that was asked first may have executed it: it surely only reads.

use super::{
    Command,
    aim::{Place, place_of},
};
use crate::protocol::{
    command,
    packet::{HEADER_LEN, put},
};
use bytes::BytesMut;

/// What precedes a text where the session has query attributes and the command none: their count, and the number of their sets.
const NO_ATTRIBUTES: [u8; 2] = [0, 1];

/// The packet of this command, which has been sent outside a transaction, for another node; none where it may change something, asks about the
/// statement before it, or is longer than what is kept of it. `attributes`: the session has query attributes.
pub fn repeatable(command: &Command, attributes: bool) -> Option<BytesMut> {
    let mut payload = vec![command.byte];
    match command.byte {
        command::PING => {}
        command::QUERY => {
            let prefix = NO_ATTRIBUTES.get(..).filter(|_| attributes);
            payload.extend_from_slice(prefix.unwrap_or_default());
            payload.extend_from_slice(command.text.as_bytes());
        }
        _ => return None,
    }
    let mut packet = BytesMut::new();
    put(&mut packet, 0, &payload);
    let is_whole = command.bytes == packet.len() as u64 && packet.len() > HEADER_LEN;
    let is_harmless = command.byte == command::PING || only_reads(&packet, attributes);
    (is_whole && is_harmless).then_some(packet)
}

/// Whether the text in this packet surely only reads.
pub fn only_reads(packet: &[u8], attributes: bool) -> bool {
    matches!(
        place_of(packet, attributes),
        Place::Reader | Place::AnyReader | Place::Named(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{AnsweredBy, Prepared};

    fn repeated(payload: &[u8], attributes: bool) -> Option<Vec<u8>> {
        let mut command = Command::begun(payload, &Prepared::default(), AnsweredBy::Node, 0);
        command.bytes = (HEADER_LEN + payload.len()) as u64;
        repeatable(&command, attributes).map(|packet| packet.to_vec())
    }

    #[test]
    fn what_surely_reads_is_asked_again_as_it_was() {
        assert_eq!(
            repeated(b"\x03SELECT 1", false).as_deref(),
            Some(&b"\x09\0\0\0\x03SELECT 1"[..])
        );
        assert_eq!(
            repeated(b"\x03\0\x01SELECT 1", true).as_deref(),
            Some(&b"\x0b\0\0\0\x03\0\x01SELECT 1"[..])
        );
        assert_eq!(
            repeated(b"\x0e", true).as_deref(),
            Some(&b"\x01\0\0\0\x0e"[..])
        );
    }

    #[test]
    fn nothing_else_is() {
        let long = [&b"\x03SELECT '"[..], &[b'x'; 300], b"'"].concat();
        for (payload, attributes) in [
            (&b"\x03INSERT INTO t VALUES (1)"[..], false),
            (b"\x03SELECT a FROM t FOR UPDATE", false),
            (b"\x03SELECT f(1)", false),
            (b"\x03SELECT FOUND_ROWS()", false),
            (b"\x03SET PASSWORD = 'x'", false),
            // One attribute.
            (b"\x03\x01\x01\0\x01\x0f\0\x01a\x01bSELECT 1", true),
            (b"\x17\x01\0\0\0\0\x01\0\0\0", false),
            (b"\x02test", false),
            (b"\x1f", false),
            (&long, false),
        ] {
            assert_eq!(repeated(payload, attributes), None, "{payload:?}");
        }
    }
}
