//! The order of runs: random, from a seed that can be given again.

use std::hash::{BuildHasher as _, RandomState};

/// A source of orders.
pub(super) struct Shuffle {
    seed: u64,
    state: u64,
}

impl Shuffle {
    /// Starts from a seed, or from one that the system gives.
    pub(super) fn new(seed: Option<u64>) -> Self {
        // The standard library's hasher is keyed randomly.
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8) >> 32);
        Self { seed, state: seed }
    }

    /// What [`Shuffle::new`] takes to give the same orders.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The numbers below `count`, in an order of chance.
    pub(super) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut keyed: Vec<(u64, usize)> = (0..count).map(|number| (self.next(), number)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, number)| number).collect()
    }

    /// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_orders_again() {
        let orders = |seed| {
            let mut shuffle = Shuffle::new(Some(seed));
            (0..20).map(|_| shuffle.order(4)).collect::<Vec<_>>()
        };
        assert_eq!(orders(7), orders(7));
        assert_ne!(orders(7), orders(8));
        for mut order in orders(7) {
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3]);
        }
    }
}
