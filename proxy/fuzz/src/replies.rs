//! What nodes answer, and what clients send but texts: read where the daemon takes part in it.

use bytes::BytesMut;
use sluice::protocol::auth::{AuthSwitchRequest, ChangeUser};
use sluice::protocol::capability::Capabilities;
use sluice::protocol::packet;
use sluice::protocol::reply::{ErrPacket, OkPacket, parse_eof};
use sluice::protocol::rows::Rows;
use sluice::protocol::session_track;
use sluice::protocol::statement::{front, name_types, parameters, query_text};

/// A packet or a stream of them, read in one of the ways that there are. What was read and can be written is read the same again.
pub fn replies(data: &[u8]) {
    let Some((&[which, a, b, c, d], payload)) = data.split_first_chunk() else {
        return;
    };
    let agreed = Capabilities::from_wire(u32::from_le_bytes([a, b, c, d]), u32::from(which >> 4));
    match which & 7 {
        0 => {
            let Ok(read) = OkPacket::parse(payload, agreed) else {
                return;
            };
            let again = OkPacket::parse(&read.encode(agreed), agreed);
            assert_eq!(again.as_ref(), Ok(&read));
            let changes = session_track::parse(&read.state_changes);
            assert!(
                changes.is_ok_and(|changes| changes.len() <= payload.len())
                    || !read.state_changes.is_empty()
            );
        }
        1 => {
            let Ok(read) = ErrPacket::parse(payload) else {
                return;
            };
            let again = ErrPacket::parse(&read.encode());
            assert!(again.is_ok_and(|again| again.number == read.number && again.message == read.message));
        }
        2 => {
            let Ok(Ok(read)) = Rows::parse(BytesMut::from(payload), agreed) else {
                return;
            };
            assert!(read.rows.len() + read.columns.len() <= payload.len());
            assert!(read.first().len() <= payload.len());
        }
        3 => {
            if let Ok(read) = AuthSwitchRequest::parse(payload) {
                assert_eq!(AuthSwitchRequest::parse(&read.encode()), Ok(read));
            }
        }
        4 => {
            if let Ok(read) = ChangeUser::parse(payload, agreed) {
                assert_eq!(ChangeUser::parse(&read.encode(agreed), agreed), Ok(read));
            }
        }
        5 => {
            let long_data = vec![None; usize::from(d & 15)];
            let mut types = Vec::new();
            if let Ok(values) = parameters(payload, agreed, &mut types, &long_data) {
                assert_eq!(values.len(), long_data.len());
            }
            execution(payload, agreed, long_data.len());
        }
        6 => {
            if let Ok(text) = query_text(payload, agreed) {
                assert!(payload.ends_with(text));
            }
        }
        _ => {
            let _eof = parse_eof(payload);
            let _changes = session_track::parse(payload);
        }
    }
}

/// An execution of a statement with so many parameters: where it does not name their types, it does when it was made to.
fn execution(payload: &[u8], agreed: Capabilities, own: usize) {
    let Ok(read) = front(payload, agreed, own) else {
        return;
    };
    let types = vec![3; 2 * own];
    let mut named = BytesMut::new();
    packet::put(&mut named, 0, payload);
    if read.types.is_some() || own == 0 || !name_types(&mut named, &read, &types, agreed) {
        return;
    }
    let again = front(
        named.get(packet::HEADER_LEN..).unwrap_or_default(),
        agreed,
        own,
    );
    let again = again.ok().and_then(|again| again.types);
    assert_eq!(again.as_deref(), Some(&types[..]));
}
