//! Random numbers from a seed (splitmix64).

/// A run is what its seed says.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) const fn index(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(crate) const fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    /// A sequence number; every other one is about to wrap around.
    pub(crate) const fn sequence(&mut self) -> u32 {
        let any = self.next() as u32;
        match self.below(4) {
            0 => 0u32.wrapping_sub(any % 20_000),
            1 => (1u32 << 31).wrapping_sub(any % 20_000),
            _ => any,
        }
    }
}
