//! The PROXY protocol's header, in front of a client's first byte.

use sluice::protocol::proxy_header::{Ends, Version, encode, parse};

/// The most that a header takes: one of version 2 with all that may follow its addresses.
const LENGTH_MAX: usize = 16 + 4096;

/// What is said of a stream's front is never taken back when more of it comes, and what was read, written and read again is the same.
pub fn proxy_header(data: &[u8]) {
    let mut known = None;
    for end in 0..=data.len().min(LENGTH_MAX) {
        let front = data.get(..end).unwrap_or_default();
        let read = parse(front);
        if let Ok(Some(header)) = &read {
            assert!(
                (1..=end).contains(&header.length),
                "{header:?} of {end} bytes"
            );
        }
        assert!(
            end < LENGTH_MAX || !matches!(read, Ok(None)),
            "more is waited for than may come"
        );
        match &known {
            None if read == Ok(None) => {}
            None => known = Some(read),
            Some(known) => assert_eq!(&read, known, "another answer at {end} bytes"),
        }
    }
    let Some(Ok(Some(header))) = known else {
        return;
    };
    assert_eq!(parse(data), Ok(Some(header)));
    for version in [Version::One, Version::Two] {
        let written = encode(version, header.ends);
        let again = parse(&written).ok().flatten();
        let length = again.map(|again| again.length);
        assert_eq!(length, Some(written.len()), "{written:?} of {header:?}");
        let Some(again) = again else {
            return;
        };
        assert_eq!(encode(version, again.ends), written);
        // A socket that listens for both families says IPv4 as IPv6.
        let canonical = |ends: Option<Ends>| {
            ends.map(|ends| {
                [ends.source, ends.destination].map(|end| (end.ip().to_canonical(), end.port()))
            })
        };
        assert_eq!(canonical(again.ends), canonical(header.ends));
    }
}
