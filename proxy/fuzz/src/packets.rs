//! Packets in a byte stream, in whatever portions it comes.

use crate::portions;
use bytes::BytesMut;
use sluice::protocol::packet::{self, HEADER_LEN, Packet, TooLong};
use sluice_ebpf::packet::Position;

/// What is taken from a stream does not depend on how it arrives, and is what the stream says; positions end where packets do.
pub fn packets(data: &[u8]) {
    let Some((&limit, data)) = data.split_first() else {
        return;
    };
    let max = usize::from(limit) << 3;
    let (sizes, stream) = portions(data);
    let whole = take_all(stream, [usize::MAX].into_iter(), max);
    assert_eq!(
        take_all(stream, sizes, max),
        whole,
        "portions change packets"
    );
    let (taken, rest) = whole;
    let mut again = BytesMut::new();
    for packet in &taken {
        let next = packet::put(&mut again, packet.sequence, &packet.payload);
        assert_eq!(next, packet.sequence.wrapping_add(1));
        assert!(packet.payload.len() <= max);
    }
    let left = rest.unwrap_or_default();
    assert!(
        stream.starts_with(&again),
        "packets are not what the stream says"
    );
    assert!(left <= stream.len() - again.len());
    positions(stream, &taken);
    let mut joined = BytesMut::from(stream);
    let first = packet::take_payload(&mut joined, max);
    assert!(!matches!(&first, Ok(Some(packet)) if taken.first() != Some(packet)));
}

/// All packets of a stream that comes in portions, and how many bytes are left; none where a packet is too long.
fn take_all(
    mut stream: &[u8],
    mut sizes: impl Iterator<Item = usize>,
    max: usize,
) -> (Vec<Packet>, Option<usize>) {
    let mut buffer = BytesMut::new();
    let mut taken = Vec::new();
    while !stream.is_empty() {
        let size = sizes.next().unwrap_or(usize::MAX).min(stream.len());
        let (portion, behind) = stream.split_at(size);
        buffer.extend_from_slice(portion);
        stream = behind;
        loop {
            match packet::take(&mut buffer, max) {
                Ok(Some(packet)) => taken.push(packet),
                Ok(None) => break,
                Err(TooLong { .. }) => return (taken, None),
            }
        }
    }
    (taken, Some(buffer.len()))
}

/// The daemon's count of a command's bytes ends where the packet does.
fn positions(stream: &[u8], taken: &[Packet]) {
    let mut rest = stream;
    for packet in taken {
        let mut position = Position::command();
        let used = position.feed(rest);
        assert_eq!(used, HEADER_LEN + packet.payload.len());
        assert!(position.is_done());
        rest = rest.get(used..).unwrap_or_default();
    }
    let mut file = Position::infile();
    let used = file.feed(stream);
    let empty = taken.iter().position(|packet| packet.payload.is_empty());
    if let Some(empty) = empty {
        let before = taken.iter().take(empty + 1);
        let end: usize = before.map(|packet| HEADER_LEN + packet.payload.len()).sum();
        assert_eq!((used, file.is_done()), (end, true));
    }
}
