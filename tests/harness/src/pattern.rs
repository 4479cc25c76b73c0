//! Bytes that are easy to make twice and hard to get right by chance: a lost, doubled or moved piece shows.

/// A small generator (xorshift64*); a run is repeated by its seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; every seed gives a stream of its own.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let value = usize::try_from(self.word() >> 1).unwrap_or(0);
        value.checked_rem(bound).unwrap_or(0)
    }

    /// `length` arbitrary bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.word().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// `length` letters of `[a-p]`, which need no quoting in SQL and are no number.
    pub fn letters(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = self.bytes(length);
        for byte in &mut bytes {
            *byte = b'a' + (*byte & 15);
        }
        bytes
    }
}
