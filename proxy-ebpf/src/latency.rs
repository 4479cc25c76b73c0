//! How long commands take, counted in buckets that double: the same for what the kernel splices and what the daemon relays.

/// Buckets of a [`Histogram`].
pub const BUCKETS: usize = 24;

/// Commands by the time from their first byte to the last of their answer. Bucket `i` counts those of 2^i microseconds and more, but less
/// than 2^(i+1); the first also those below one microsecond, the last all from 2^23 (8.4 seconds) on.
pub type Histogram = [u64; BUCKETS];

/// The bucket for a time in nanoseconds.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the verifier follows no bound through a call"
)]
pub const fn bucket(nanoseconds: u64) -> usize {
    let microseconds = nanoseconds / 1000;
    let exponent = 63 - (microseconds | 1).leading_zeros() as usize;
    if exponent < BUCKETS {
        exponent
    } else {
        BUCKETS - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double() {
        for (nanoseconds, wanted) in [
            (0, 0),
            (999, 0),
            (1_000, 0),
            (1_999, 0),
            (2_000, 1),
            (3_999, 1),
            (4_000, 2),
            (31_999, 4),
            (32_000, 5),
            (1_000_000, 9),
            (1_024_000, 10),
            (1_000_000_000, 19),
            (8_388_607_999, 22),
            (8_388_608_000, 23),
            (16_777_216_000, 23),
            (u64::MAX, 23),
        ] {
            assert_eq!(bucket(nanoseconds), wanted, "{nanoseconds} ns");
        }
        for at in 1..BUCKETS {
            let from = 1000 << at;
            assert_eq!((bucket(from - 1), bucket(from)), (at - 1, at));
        }
    }
}
