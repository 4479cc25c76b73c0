//! The PROXY protocol: what a load balancer says of a client before the client's first byte (HAProxy's `proxy-protocol.txt`, versions 1 and 2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};

use super::Malformed;

/// How a header of version 1 begins.
const TEXT: &[u8] = b"PROXY ";
/// The longest header of version 1, its line's end included.
const TEXT_MAX: usize = 107;
/// How a header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a header of version 2 before its addresses.
const FIXED_LEN: usize = 16;
/// The most that may follow them: addresses, and what senders add (names, certificates' subjects).
const REST_MAX: usize = 4096;
/// Version 2, from somebody who speaks for himself.
const LOCAL: u8 = 0x20;
/// Version 2, on behalf of a client.
const PROXY: u8 = 0x21;
/// TCP over IPv4 and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// How a header is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// A line of text.
    One,
    /// Bytes.
    Two,
}

/// Both ends of the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it has connected to.
    pub destination: SocketAddr,
}

/// A header that has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The client's connection; none where the sender speaks for itself (a health check), or cannot say.
    pub ends: Option<Ends>,
    /// Bytes of the header.
    pub length: usize,
}

/// Reads the header at the front of `bytes`; `None`: more bytes are needed.
///
/// # Errors
/// [`Malformed`]: no more bytes will make it a header.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let begins = |with: &[u8]| {
        let length = with.len().min(bytes.len());
        bytes.get(..length) == with.get(..length)
    };
    if begins(SIGNATURE) {
        parse_bytes(bytes)
    } else if begins(TEXT) {
        parse_text(bytes)
    } else {
        Err(wrong("no PROXY header"))
    }
}

const fn wrong(what: &'static str) -> Malformed {
    Malformed { what }
}

fn parse_text(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let front = bytes.get(..TEXT_MAX).unwrap_or(bytes);
    let Some(end) = front.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < TEXT_MAX {
            Ok(None)
        } else {
            Err(wrong("a PROXY header without an end"))
        };
    };
    let line = front.get(TEXT.len()..end).unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_error| wrong("a PROXY header that is no text"))?;
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    let ends = match family {
        "UNKNOWN" => None,
        "TCP4" | "TCP6" => {
            let words: Vec<_> = words.collect();
            let [source, destination, source_port, destination_port] = *words else {
                return Err(wrong("a PROXY header's addresses"));
            };
            let end = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().ok()?;
                // A sign or zeros in front are no port's.
                let number: u16 = port.parse().ok()?;
                let is_right = ip.is_ipv4() == (family == "TCP4") && number.to_string() == port;
                is_right.then_some(SocketAddr::new(ip, number))
            };
            let source = end(source, source_port);
            let ends = source.zip(end(destination, destination_port));
            let (source, destination) = ends.ok_or(wrong("a PROXY header's addresses"))?;
            Some(Ends {
                source,
                destination,
            })
        }
        _ => return Err(wrong("a PROXY header's protocol")),
    };
    Ok(Some(Header {
        ends,
        length: end + 2,
    }))
}

fn parse_bytes(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(&[.., command, family, high, low]) = bytes.first_chunk::<FIXED_LEN>() else {
        return Ok(None);
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if command != LOCAL && command != PROXY {
        return Err(wrong("a PROXY header's version or command"));
    }
    if rest > REST_MAX {
        return Err(wrong("a PROXY header that is too long"));
    }
    let length = FIXED_LEN + rest;
    let Some(rest) = bytes.get(FIXED_LEN..length) else {
        return Ok(None);
    };
    let ends = match (command, family) {
        (PROXY, TCP4) => Some(ends::<4>(rest).ok_or(wrong("a PROXY header's addresses"))?),
        (PROXY, TCP6) => Some(ends::<16>(rest).ok_or(wrong("a PROXY header's addresses"))?),
        // Of what is not TCP nothing is known.
        _ => None,
    };
    Ok(Some(Header { ends, length }))
}

/// Two addresses of so many bytes, then two ports.
fn ends<const LENGTH: usize>(bytes: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; LENGTH]>,
{
    let (source, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let (destination, rest) = rest.split_first_chunk::<LENGTH>()?;
    let [a, b, c, d] = *rest.first_chunk::<4>()?;
    Some(Ends {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes([c, d])),
    })
}

/// The header for a client's connection, or, without one, for who speaks for himself.
pub fn encode(version: Version, ends: Option<Ends>) -> BytesMut {
    let ends = ends.map(alike);
    let mut out = BytesMut::with_capacity(TEXT_MAX);
    match (version, ends) {
        (Version::One, None) => out.put_slice(b"PROXY UNKNOWN\r\n"),
        (Version::One, Some(ends)) => {
            let (source, destination) = (ends.source, ends.destination);
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!(
                "PROXY {family} {} {} {} {}\r\n",
                source.ip(),
                destination.ip(),
                source.port(),
                destination.port()
            );
            out.put_slice(line.as_bytes());
        }
        (Version::Two, None) => {
            out.put_slice(SIGNATURE);
            out.put_slice(&[LOCAL, 0, 0, 0]);
        }
        (Version::Two, Some(ends)) => {
            out.put_slice(SIGNATURE);
            let (family, length) = if ends.source.is_ipv4() {
                (TCP4, 12)
            } else {
                (TCP6, 36)
            };
            out.put_slice(&[PROXY, family]);
            out.put_u16(length);
            for end in [ends.source, ends.destination] {
                match end.ip() {
                    IpAddr::V4(ip) => out.put_slice(&ip.octets()),
                    IpAddr::V6(ip) => out.put_slice(&ip.octets()),
                }
            }
            out.put_u16(ends.source.port());
            out.put_u16(ends.destination.port());
        }
    }
    out
}

/// Both in one family, IPv4 where they can: a listener for both says IPv4 as IPv6, and a header before ours may have been of the other.
fn alike(ends: Ends) -> Ends {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (source, destination) = (canonical(ends.source), canonical(ends.destination));
    let mapped = |end: SocketAddr| {
        let ip = match end.ip() {
            IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip),
            IpAddr::V6(ip) => ip,
        };
        SocketAddr::new(Ipv6Addr::into(ip), end.port())
    };
    if source.is_ipv4() == destination.is_ipv4() {
        Ends {
            source,
            destination,
        }
    } else {
        Ends {
            source: mapped(source),
            destination: mapped(destination),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(source: &str, destination: &str) -> Ends {
        Ends {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[track_caller]
    fn read(bytes: &[u8], ends: Option<Ends>) {
        let length = bytes.len();
        assert_eq!(parse(bytes).unwrap(), Some(Header { ends, length }));
        let more = [bytes, b"more"].concat();
        assert_eq!(parse(&more).unwrap(), Some(Header { ends, length }));
        for cut in 0..length {
            assert_eq!(parse(&bytes[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn lines_are_read() {
        let ends = of("192.168.0.1:56324", "192.168.0.11:443");
        read(
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            Some(ends),
        );
        let ends = of("[2001:db8::1]:0", "[::1]:65535");
        read(b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", Some(ends));
        read(b"PROXY UNKNOWN\r\n", None);
        read(b"PROXY UNKNOWN ffff:f...f:ffff whatever 1\r\n", None);
    }

    #[test]
    fn bytes_are_read() {
        let head = |command: u8, family: u8, length: u8| {
            [&SIGNATURE[..], &[command, family, 0, length]].concat()
        };
        let v4 = [10, 0, 0, 1, 10, 0, 0, 2, 0xDC, 0x04, 0x01, 0xBB];
        let ends = of("10.0.0.1:56324", "10.0.0.2:443");
        read(&[head(0x21, 0x11, 12), v4.to_vec()].concat(), Some(ends));
        // What senders add is passed over.
        let added = [head(0x21, 0x11, 16), v4.to_vec(), vec![4, 0, 1, 7]].concat();
        read(&added, Some(ends));
        read(&head(0x20, 0, 0), None);
        read(&[head(0x20, 0x11, 12), v4.to_vec()].concat(), None);
        // UDP, and a Unix socket.
        read(&[head(0x21, 0x12, 12), v4.to_vec()].concat(), None);
        read(&[head(0x21, 0x31, 216), vec![0; 216]].concat(), None);
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_is_seen() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100]].concat();
        let head = |bytes: [u8; 4]| [&SIGNATURE[..], &bytes].concat();
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"P\0",
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY \xFF\r\n",
            &long,
            &head([0x11, 0x11, 0, 12]),
            &head([0x22, 0x11, 0, 12]),
            &head([0x21, 0x11, 0xFF, 0xFF]),
            &[head([0x21, 0x11, 0, 11]), vec![0; 11]].concat(),
            b"\r\n\r\n\0\r\nQUIX",
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn families_are_made_alike() {
        let ends = of("[::ffff:10.0.0.1]:1", "10.0.0.2:2");
        let line = encode(Version::One, Some(ends));
        assert_eq!(&line[..], b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n");
        let ends = of("[2001:db8::1]:1", "10.0.0.2:2");
        let line = encode(Version::One, Some(ends));
        assert_eq!(&line[..], b"PROXY TCP6 2001:db8::1 ::ffff:10.0.0.2 1 2\r\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(source: [u8; 16], destination: [u8; 16], four: bool, ports: (u16, u16), two: bool) {
            let end = |bytes: [u8; 16], port| {
                let ip = match bytes {
                    [a, b, c, d, ..] if four => IpAddr::from([a, b, c, d]),
                    bytes => IpAddr::from(bytes),
                };
                SocketAddr::new(ip, port)
            };
            let ends = Ends { source: end(source, ports.0), destination: end(destination, ports.1) };
            let version = if two { Version::Two } else { Version::One };
            let bytes = encode(version, Some(ends));
            prop_assert!(two || bytes.len() <= TEXT_MAX);
            let header = parse(&bytes).unwrap().unwrap();
            prop_assert_eq!((header.ends, header.length), (Some(alike(ends)), bytes.len()));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), which in 0..3) {
            let front: &[u8] = match which { 0 => SIGNATURE, 1 => TEXT, _ => b"" };
            bytes.splice(0..0, front.iter().copied());
            if let Ok(Some(header)) = parse(&bytes) {
                prop_assert!(header.length <= bytes.len());
            }
        }
    }
}
