//! Random numbers from a seed (splitmix64).

/// A run is what its seed says, and before that its throws.
pub(crate) struct Dice {
    seed: u64,
    /// Numbers that come first: a fuzzer's, which learns what they lead to.
    throws: std::vec::IntoIter<u16>,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self::thrown(Vec::new(), seed)
    }

    /// First these numbers, then random ones.
    pub(crate) fn thrown(throws: Vec<u16>, seed: u64) -> Self {
        Self {
            seed,
            throws: throws.into_iter(),
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        if let Some(throw) = self.throws.next() {
            return throw.into();
        }
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn index(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(crate) fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    /// A sequence number; every other one is about to wrap around.
    pub(crate) fn sequence(&mut self) -> u32 {
        let any = self.next() as u32;
        match self.below(4) {
            0 => 0u32.wrapping_sub(any % 20_000),
            1 => (1u32 << 31).wrapping_sub(any % 20_000),
            _ => any,
        }
    }
}
