//! TCP segments in Ethernet frames (RFC 791, 1071, 8200, 9293): their checksums; and those over IPv4, read and built. No IO.

use std::net::SocketAddrV4;

/// Ethernet's two addresses and the protocol's number.
const ETHERNET_BYTES: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;
const ICMP: u8 = 1;
/// ICMP's type for a destination that cannot be reached (RFC 792).
const UNREACHABLE: u8 = 3;
/// Where the checksum stands in TCP's header.
const CHECKSUM_AT: usize = 16;

/// A TCP segment and what its checksum covers besides.
#[derive(Debug)]
struct Segment<'a> {
    /// The IPv4 header, which has a checksum of its own.
    ipv4_header: Option<&'a [u8]>,
    /// Both IP addresses.
    addresses: &'a [u8],
    /// Header and data.
    bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    fn parse(frame: &'a [u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET_BYTES..)?;
        let protocol = frame.get(12..)?.first_chunk::<2>()?;
        Self::parse_packet(packet).filter(|segment| {
            let is_v4 = segment.ipv4_header.is_some();
            *protocol == if is_v4 { IPV4 } else { IPV6 }
        })
    }

    /// A packet that begins with its IP header.
    fn parse_packet(packet: &'a [u8]) -> Option<Self> {
        let half = |at: usize| packet.get(at..)?.first_chunk::<2>().copied();
        let version = packet.first()? >> 4;
        if version == 4 {
            let header_bytes = usize::from(packet.first()? & 15) * 4;
            let total = usize::from(u16::from_be_bytes(half(2)?));
            // More fragments, or not the first one: nobody here sends any.
            let is_fragment = u16::from_be_bytes(half(6)?) & 0x3fff != 0;
            (*packet.get(9)? == TCP && !is_fragment).then_some(())?;
            Some(Self {
                ipv4_header: Some(packet.get(..header_bytes)?),
                addresses: packet.get(12..20)?,
                bytes: packet.get(header_bytes..total)?,
            })
        } else if version == 6 {
            let length = usize::from(u16::from_be_bytes(half(4)?));
            // Extension headers: nobody here sends any.
            (*packet.get(6)? == TCP).then_some(())?;
            Some(Self {
                ipv4_header: None,
                addresses: packet.get(8..40)?,
                bytes: packet.get(40..40 + length)?,
            })
        } else {
            None
        }
    }

    /// The sum over the pseudo-header.
    fn pseudo_header(&self) -> u16 {
        let length = u32::try_from(self.bytes.len()).unwrap_or(0).to_be_bytes();
        sum(&[self.addresses, &length, &[0, TCP]])
    }
}

/// Whether the frame holds a TCP segment over IPv4 or IPv6.
pub(crate) fn is_tcp(frame: &[u8]) -> bool {
    Segment::parse(frame).is_some()
}

/// Explicit congestion notification in a segment (RFC 3168): the two bits of its IP header, and whether it is a SYN, an echo or an answer to one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) bits: u8,
    pub(crate) is_syn: bool,
    pub(crate) is_echo: bool,
    pub(crate) is_reduced: bool,
}

/// What a frame with a TCP segment over IPv4 says of congestion.
pub(crate) fn notification(frame: &[u8]) -> Option<Notification> {
    let segment = Segment::parse(frame)?;
    let flags = *segment.bytes.get(13)?;
    Some(Notification {
        bits: segment.ipv4_header?.get(1)? & 3,
        is_syn: flags & 2 != 0,
        is_echo: flags & 0x40 != 0,
        is_reduced: flags & 0x80 != 0,
    })
}

/// Marks a frame as a congested router does, where its sender knows such marks.
pub(crate) fn mark_congested(frame: &mut [u8]) -> bool {
    if !notification(frame).is_some_and(|told| matches!(told.bits, 1 | 2)) {
        return false;
    }
    let Some(header) = frame.get_mut(ETHERNET_BYTES..ETHERNET_BYTES + 20) else {
        return false;
    };
    if let Some(class) = header.get_mut(1) {
        *class |= 3;
    }
    set(header, 10, 0);
    let whole = sum(&[header]);
    set(header, 10, !whole);
    true
}

/// What is wrong with the checksums of a TCP segment, as text; `None` if there is none. The second argument is that of [`check`].
pub(crate) type Check = fn(&[u8], bool) -> Option<Result<(), String>>;

/// What is wrong with the checksums of a TCP segment, as text. `None` if the frame holds no such segment. `is_partial` says that the
/// network card is to fill TCP's in: then the sum over the pseudo-header must stand there (`CHECKSUM_PARTIAL` in Linux's `skbuff.h`).
pub(crate) fn check(frame: &[u8], is_partial: bool) -> Option<Result<(), String>> {
    let segment = Segment::parse(frame)?;
    Some(check_segment(&segment, is_partial))
}

/// The same of a packet that begins with its IP header.
pub(crate) fn check_packet(packet: &[u8], is_partial: bool) -> Option<Result<(), String>> {
    let segment = Segment::parse_packet(packet)?;
    Some(check_segment(&segment, is_partial))
}

/// The ports of a segment in a packet that begins with its IP header, source first; not of a RST, which may be of nobody's socket.
pub(crate) fn ports(packet: &[u8]) -> Option<[u16; 2]> {
    const RST: u8 = 4;
    let segment = Segment::parse_packet(packet)?;
    if segment.bytes.get(13)? & RST != 0 {
        return None;
    }
    let (source, rest) = segment.bytes.split_first_chunk()?;
    let destination = rest.first_chunk()?;
    Some([source, destination].map(|port| u16::from_be_bytes(*port)))
}

fn check_segment(segment: &Segment<'_>, is_partial: bool) -> Result<(), String> {
    if let Some(header) = segment.ipv4_header
        && !is_all_ones(sum(&[header]))
    {
        return Err(format!("IPv4's checksum: {header:02x?}"));
    }
    let stored = segment.bytes.get(CHECKSUM_AT..);
    let stored = stored.and_then(|rest| rest.first_chunk::<2>());
    let stored = stored.ok_or("no whole TCP header")?;
    let pseudo_header = segment.pseudo_header();
    if is_partial {
        let found = u16::from_be_bytes(*stored);
        if found % 0xffff != pseudo_header % 0xffff {
            return Err(format!(
                "{found:04x} in place of the pseudo-header's sum {pseudo_header:04x}: {segment:02x?}"
            ));
        }
        return Ok(());
    }
    let whole = sum(&[&pseudo_header.to_be_bytes(), segment.bytes]);
    if is_all_ones(whole) {
        Ok(())
    } else {
        let head = segment.bytes.get(..20).unwrap_or_default();
        Err(format!(
            "TCP's checksum, {} bytes: the sum is {whole:04x}: {head:02x?}",
            segment.bytes.len()
        ))
    }
}

/// What is said in a segment, options aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tcp<'a> {
    pub(crate) number: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) payload: &'a [u8],
}

/// A frame with this segment, without options and with a window that is never in the way; hardware addresses and sockets are sender and receiver.
pub(crate) fn build(
    hardware: ([u8; 6], [u8; 6]),
    sockets: (SocketAddrV4, SocketAddrV4),
    said: &Tcp<'_>,
) -> Vec<u8> {
    let addresses = [sockets.0.ip().octets(), sockets.1.ip().octets()].concat();
    let mut tcp = sockets.0.port().to_be_bytes().to_vec();
    tcp.extend(sockets.1.port().to_be_bytes());
    tcp.extend(said.number.to_be_bytes());
    tcp.extend(said.acknowledged.to_be_bytes());
    tcp.extend([0x50, said.flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(said.payload);
    let covered = Segment {
        ipv4_header: None,
        addresses: &addresses,
        bytes: &tcp,
    };
    let whole = sum(&[&covered.pseudo_header().to_be_bytes(), &tcp]);
    set(&mut tcp, CHECKSUM_AT, !whole);
    let ip = ipv4_header(TCP, &addresses, tcp.len());
    [&hardware.1, &hardware.0, &IPV4[..], &ip, &tcp].concat()
}

/// A header without options in front of so many bytes.
fn ipv4_header(protocol: u8, addresses: &[u8], bytes: usize) -> Vec<u8> {
    const OWN: usize = 20;
    let mut ip = vec![0x45, 0];
    ip.extend(u16::try_from(OWN + bytes).unwrap_or(u16::MAX).to_be_bytes());
    // No number, not to be cut; 64 hops; then the checksum.
    ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    ip.extend(addresses);
    let whole = sum(&[&ip]);
    set(&mut ip, 10, !whole);
    ip
}

/// A frame in which the first socket's host says of the segment with this number, which the second one has sent to it, that it could not be delivered.
pub(crate) fn build_unreachable(
    hardware: ([u8; 6], [u8; 6]),
    (own, other): (SocketAddrV4, SocketAddrV4),
    code: u8,
    number: u32,
) -> Vec<u8> {
    let (to, from) = (
        [own.ip().octets(), other.ip().octets()].concat(),
        [other.ip().octets(), own.ip().octets()].concat(),
    );
    let mut icmp = vec![UNREACHABLE, code, 0, 0, 0, 0, 0, 0];
    // Of the segment its ports and its number are told.
    icmp.extend(ipv4_header(TCP, &from, 20));
    icmp.extend(other.port().to_be_bytes());
    icmp.extend(own.port().to_be_bytes());
    icmp.extend(number.to_be_bytes());
    let whole = sum(&[&icmp]);
    set(&mut icmp, 2, !whole);
    let ip = ipv4_header(ICMP, &to, icmp.len());
    [&hardware.1, &hardware.0, &IPV4[..], &ip, &icmp].concat()
}

fn set(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The segment of a frame, if it is TCP over IPv4 from the first of the sockets to the second.
pub(crate) fn read(frame: &[u8], sockets: (SocketAddrV4, SocketAddrV4)) -> Option<Tcp<'_>> {
    let segment = Segment::parse(frame)?;
    segment.ipv4_header?;
    let addresses = [sockets.0.ip().octets(), sockets.1.ip().octets()].concat();
    let ports = [
        sockets.0.port().to_be_bytes(),
        sockets.1.port().to_be_bytes(),
    ]
    .concat();
    let bytes = segment.bytes;
    (segment.addresses == addresses && *bytes.get(..4)? == ports).then_some(())?;
    let word = |at: usize| {
        let word = bytes.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*word))
    };
    Some(Tcp {
        number: word(4)?,
        acknowledged: word(8)?,
        flags: *bytes.get(13)?,
        payload: bytes.get(usize::from(*bytes.get(12)? >> 4) * 4..)?,
    })
}

/// In one's complement both stand for zero; a sum over a right checksum is never 0 for other reasons than being all zeroes.
fn is_all_ones(sum: u16) -> bool {
    sum == 0xffff
}

/// The one's complement sum of 16-bit words; every part but the last is of even length.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0_u64;
    for part in parts {
        let mut words = part.chunks_exact(2);
        for word in &mut words {
            if let [high, low] = word {
                total += u64::from(u16::from_be_bytes([*high, *low]));
            }
        }
        if let [last] = words.remainder() {
            total += u64::from(u16::from_be_bytes([*last, 0]));
        }
    }
    while let Some(carry) = Some(total >> 16).filter(|carry| *carry != 0) {
        total = (total & 0xffff) + carry;
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.0.0.1:1 to 10.0.0.2:2, "abc"; the checksums were computed by hand (RFC 1071).
    fn ipv4() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV4);
        frame.extend([0x45, 0, 0, 43, 0, 0, 0x40, 0, 64, 6, 0x26, 0xcb]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0, 100]);
        frame.extend([0xd7, 0x02, 0, 0, b'a', b'b', b'c']);
        frame
    }

    /// The same from and to other addresses.
    fn ipv6() -> Vec<u8> {
        let tcp = ipv4().split_off(ETHERNET_BYTES + 20);
        let mut frame = vec![0; 12];
        frame.extend(IPV6);
        frame.extend([0x60, 0, 0, 0, 0, 23, 6, 64]);
        for host in [1, 2] {
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
        }
        frame.extend(tcp);
        frame
    }

    fn fill(frame: &mut [u8], header: usize) {
        let at = ETHERNET_BYTES + header + CHECKSUM_AT;
        frame[at..at + 2].fill(0);
        let segment = Segment::parse(frame).unwrap();
        let whole = sum(&[&segment.pseudo_header().to_be_bytes(), segment.bytes]);
        frame[at..at + 2].copy_from_slice(&(!whole).to_be_bytes());
    }

    #[test]
    fn right_ones_pass() {
        assert_eq!(check(&ipv4(), false), Some(Ok(())));
        let mut frame = ipv6();
        assert!(check(&frame, false).unwrap().is_err());
        fill(&mut frame, 40);
        assert_eq!(check(&frame, false), Some(Ok(())));
    }

    #[test]
    fn padding_is_not_covered() {
        let mut frame = ipv4();
        frame.extend([7; 9]);
        assert_eq!(check(&frame, false), Some(Ok(())));
    }

    #[test]
    fn each_byte_counts() {
        let frame = ipv4();
        for at in ETHERNET_BYTES..frame.len() {
            let mut wrong = frame.clone();
            wrong[at] ^= 0x10;
            assert_ne!(check(&wrong, false), Some(Ok(())), "byte {at}");
        }
    }

    #[test]
    fn a_partial_one_is_the_pseudo_header_s() {
        let mut frame = ipv4();
        assert!(check(&frame, true).unwrap().is_err());
        let sum = Segment::parse(&frame).unwrap().pseudo_header();
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(check(&frame, true), Some(Ok(())));
        assert!(check(&frame, false).unwrap().is_err());
        // Another address, as after a rewriting that forgot the checksum.
        frame[29] = 9;
        frame[24..26].copy_from_slice(&[0x26, 0xc3]);
        assert!(check(&frame, true).unwrap().is_err());
    }

    #[test]
    fn what_is_built_is_read_and_right() {
        let sockets = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        for payload in [&b"abc"[..], b"", &[0xff; 1400]] {
            let said = Tcp {
                number: 0xffff_fffe,
                acknowledged: 7,
                flags: 0x18,
                payload,
            };
            let frame = build(([1; 6], [2; 6]), sockets, &said);
            assert_eq!(check(&frame, false), Some(Ok(())));
            assert_eq!(read(&frame, sockets), Some(said));
            assert_eq!(read(&frame, (sockets.1, sockets.0)), None);
        }
    }

    #[test]
    fn others_are_none_of_ours() {
        let mut udp = ipv4();
        udp[ETHERNET_BYTES + 9] = 17;
        for frame in [&[][..], &[0; 14], &udp, &ipv4()[..30]] {
            assert_eq!(check(frame, false), None, "{frame:02x?}");
            assert!(!is_tcp(frame));
        }
        assert!(is_tcp(&ipv4()) && is_tcp(&ipv6()));
    }
}
