//! Packets in a byte stream: a length of three bytes, a sequence number, the payload.
//!
//! A payload of 16 MiB - 1 bytes or more goes on in the next packet, and ends with the first that is shorter (which may be
//! empty). [`take`] returns packets as they are on the wire, [`take_payload`] joins them.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a packet's header.
pub const HEADER_LEN: usize = 4;
/// The longest payload of one packet, in bytes. A packet of this length is continued by the next.
pub const PAYLOAD_MAX: usize = 0xFF_FFFF;

/// One packet, or several that were joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The sequence number (of the last one of those joined).
    pub sequence: u8,
    /// The bytes after the header.
    pub payload: Bytes,
}

/// A packet longer than the caller allows. The stream cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("packet longer than {max} bytes")]
pub struct TooLong {
    /// The caller's limit, in bytes.
    pub max: usize,
}

/// Takes one packet from the front of `buf`, `None` if it is not complete yet.
///
/// # Errors
/// [`TooLong`] as soon as a header announces more than `max` bytes: nothing has to be buffered to know.
pub fn take(buf: &mut BytesMut, max: usize) -> Result<Option<Packet>, TooLong> {
    let Some((len, sequence)) = header(buf) else {
        return Ok(None);
    };
    if len > max {
        return Err(TooLong { max });
    }
    if buf.len() - HEADER_LEN < len {
        // Room for the rest in one step: a long packet does not grow its buffer by doubling.
        buf.reserve(HEADER_LEN + len - buf.len());
        return Ok(None);
    }
    let packet = buf.split_to(HEADER_LEN + len).freeze();
    Ok(Some(Packet {
        sequence,
        payload: packet.slice(HEADER_LEN..),
    }))
}

/// Takes one whole payload from the front of `buf`, all its packets joined; `None` if it is not complete yet.
///
/// # Errors
/// [`TooLong`] as soon as the headers announce more than `max` bytes together.
pub fn take_payload(buf: &mut BytesMut, max: usize) -> Result<Option<Packet>, TooLong> {
    let mut at = 0_usize;
    let mut total = 0_usize;
    loop {
        let Some((len, _)) = header(buf.get(at..).unwrap_or_default()) else {
            return Ok(None);
        };
        total = total.saturating_add(len);
        if total > max {
            return Err(TooLong { max });
        }
        at = at.saturating_add(HEADER_LEN).saturating_add(len);
        if len < PAYLOAD_MAX {
            break;
        }
    }
    if buf.len() < at {
        return Ok(None);
    }
    if total < PAYLOAD_MAX {
        return take(buf, max);
    }
    let mut sequence = 0;
    let mut payload = BytesMut::with_capacity(total);
    while let Some(packet) = take(buf, max)? {
        sequence = packet.sequence;
        payload.extend_from_slice(&packet.payload);
        if packet.payload.len() < PAYLOAD_MAX {
            break;
        }
    }
    Ok(Some(Packet {
        sequence,
        payload: payload.freeze(),
    }))
}

/// Appends `payload` as one packet or, from [`PAYLOAD_MAX`] bytes on, as several. Returns the sequence number that comes next.
pub fn put(out: &mut BytesMut, sequence: u8, payload: &[u8]) -> u8 {
    let mut sequence = sequence;
    let mut rest = payload;
    loop {
        let (head, tail) = rest.split_at(rest.len().min(PAYLOAD_MAX));
        out.put_uint_le(head.len() as u64, 3);
        out.put_u8(sequence);
        out.put_slice(head);
        sequence = sequence.wrapping_add(1);
        rest = tail;
        if head.len() < PAYLOAD_MAX {
            return sequence;
        }
    }
}

/// The length and sequence number at the front of `bytes`.
fn header(bytes: &[u8]) -> Option<(usize, u8)> {
    let &[a, b, c, sequence] = bytes.first_chunk()?;
    Some((
        usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16,
        sequence,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(stream: &[u8], chunks: &[usize], max: usize) -> Vec<Packet> {
        let mut buf = BytesMut::new();
        let mut packets = Vec::new();
        let mut rest = stream;
        let mut chunks = chunks.iter().copied().cycle();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(chunks.next().unwrap_or(1).clamp(1, rest.len()));
            buf.extend_from_slice(head);
            rest = tail;
            while let Some(packet) = take(&mut buf, max).unwrap() {
                packets.push(packet);
            }
        }
        assert!(buf.is_empty());
        packets
    }

    proptest! {
        #[test]
        fn framing_round_trips_under_any_chunking(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            chunks in prop::collection::vec(1_usize..64, 1..16),
        ) {
            let mut stream = BytesMut::new();
            let mut sequence = 250;
            for payload in &payloads {
                sequence = put(&mut stream, sequence, payload);
            }
            let packets = framed(&stream, &chunks, 300);
            prop_assert_eq!(packets.len(), payloads.len());
            for (index, (packet, payload)) in packets.iter().zip(&payloads).enumerate() {
                prop_assert_eq!(&packet.payload[..], &payload[..]);
                prop_assert_eq!(usize::from(packet.sequence), (250 + index) % 256);
            }
        }

        #[test]
        fn no_bytes_make_framing_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(packet)) = take(&mut buf, 100) {
                prop_assert!(packet.payload.len() <= 100);
            }
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(packet)) = take_payload(&mut buf, 100) {
                prop_assert!(packet.payload.len() <= 100);
            }
        }
    }

    #[test]
    fn a_payload_at_the_border_of_16_mib_is_continued() {
        for (len, packets) in [
            (PAYLOAD_MAX - 1, 1),
            (PAYLOAD_MAX, 2),
            (PAYLOAD_MAX + 1, 2),
            (2 * PAYLOAD_MAX, 3),
        ] {
            let mut stream = BytesMut::new();
            assert_eq!(usize::from(put(&mut stream, 0, &vec![7; len])), packets);
            assert_eq!(stream.len(), len + packets * HEADER_LEN);
            let mut cut = BytesMut::from(&stream[..stream.len() - 1]);
            assert_eq!(take_payload(&mut cut, usize::MAX), Ok(None));
            let packet = take_payload(&mut stream, usize::MAX).unwrap().unwrap();
            assert_eq!(
                (packet.payload.len(), usize::from(packet.sequence)),
                (len, packets - 1)
            );
            assert!(stream.is_empty());
        }
    }

    #[test]
    fn the_header_alone_is_enough_to_refuse() {
        let mut buf = BytesMut::from(&b"\xFF\xFF\xFF\x00"[..]);
        assert_eq!(take(&mut buf, 1 << 16), Err(TooLong { max: 1 << 16 }));
        assert_eq!(
            take_payload(&mut buf, 1 << 16),
            Err(TooLong { max: 1 << 16 })
        );
    }
}
