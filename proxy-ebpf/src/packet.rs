//! The position in a stream of packets, across reads and messages.

/// The payload length that says "the logical packet goes on in the next one".
const CONTINUED: u32 = 0x00ff_ffff;

/// Where a run of packets ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    /// After one logical packet: a command.
    Packet,
    /// After an empty packet: a file's contents ("LOCAL INFILE Data").
    Empty,
}

/// A position between a run's first byte and its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    until: Until,
    /// Payload bytes of the current packet that are still to come.
    remaining: u32,
    /// Header bytes of the current packet that have come: 0 to 3.
    have: u8,
    length: u32,
    /// The packet before was of the greatest length.
    continued: bool,
    done: bool,
    /// Packets whose headers have passed.
    packets: u32,
}

impl Position {
    /// Behind the last byte of a run.
    pub const DONE: Self = Self {
        until: Until::Packet,
        remaining: 0,
        have: 0,
        length: 0,
        continued: false,
        done: true,
        packets: 0,
    };

    /// Before the header of a command.
    pub const fn command() -> Self {
        Self {
            done: false,
            ..Self::DONE
        }
    }

    /// Before the first packet of a file's contents.
    pub const fn infile() -> Self {
        Self {
            until: Until::Empty,
            ..Self::command()
        }
    }

    /// In the last packet of a command, of which `remaining` bytes are still to come.
    pub const fn rest(remaining: u32) -> Self {
        Self {
            remaining,
            done: remaining == 0,
            ..Self::DONE
        }
    }

    /// The run is complete.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Packets of the run whose headers have passed.
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// Takes what belongs to the run from the front of `bytes` and returns how much that is: less than all of them only where the run
    /// ends.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !self.done && !rest.is_empty() {
            if self.remaining == 0 {
                let Some((byte, behind)) = rest.split_first() else {
                    break;
                };
                rest = behind;
                self.header(*byte);
            } else {
                let taken = rest.len().min(self.remaining as usize);
                rest = rest.get(taken..).unwrap_or_default();
                self.remaining -= u32::try_from(taken).unwrap_or(self.remaining);
            }
            if self.have == 0 && self.remaining == 0 {
                self.packet_end();
            }
        }
        bytes.len() - rest.len()
    }

    /// One byte of a header: three of the length, the sequence number.
    fn header(&mut self, byte: u8) {
        if self.have == 3 {
            self.have = 0;
            self.remaining = self.length;
            self.packets = self.packets.wrapping_add(1);
        } else {
            self.length = if self.have == 0 { 0 } else { self.length };
            self.length |= u32::from(byte) << (8 * self.have);
            self.have += 1;
        }
    }

    /// A packet is complete.
    fn packet_end(&mut self) {
        let continues = self.length == CONTINUED;
        self.done = match self.until {
            Until::Packet => !continues,
            Until::Empty => self.length == 0 && !self.continued,
        };
        self.continued = continues;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_le_bytes().to_vec();
        bytes[3] = 0;
        bytes.resize(4 + length, 0);
        bytes
    }

    #[test]
    fn a_run_ends_where_the_protocol_says() {
        let full = 0x00ff_ffff;
        let runs: [(Position, &[usize]); 7] = [
            (Position::command(), &[0]),
            (Position::command(), &[5]),
            (Position::command(), &[full, 0]),
            (Position::command(), &[full, full, 7]),
            (Position::infile(), &[0]),
            (Position::infile(), &[3, full, 0, 1, 0]),
            (Position::rest(9), &[]),
        ];
        for (start, lengths) in runs {
            let mut bytes: Vec<u8> = lengths.iter().flat_map(|length| packet(*length)).collect();
            if lengths.is_empty() {
                bytes = vec![1; 9];
            }
            let length = bytes.len();
            bytes.extend(b"next");
            let mut position = start;
            assert_eq!(position.feed(&bytes), length, "{lengths:?}");
            assert!(position.is_done());
            assert_eq!(position.feed(b"next"), 0);
            let mut position = start;
            assert_eq!(position.feed(&bytes[..length - 1]), length - 1);
            assert!(!position.is_done(), "{lengths:?}");
        }
        assert!(Position::rest(0).is_done());
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(lengths in prop::collection::vec(1_usize..50, 1..9), cut in 1_usize..30) {
            let mut bytes: Vec<u8> = lengths.iter().flat_map(|length| packet(*length)).collect();
            bytes.extend(packet(0));
            let mut position = Position::infile();
            for piece in bytes.chunks(cut) {
                prop_assert!(!position.is_done());
                prop_assert_eq!(position.feed(piece), piece.len());
            }
            prop_assert!(position.is_done());
        }
    }
}
