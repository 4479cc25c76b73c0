//! How long commands took, as an operator reads it.

use std::fmt;

use sluice_ebpf::latency::{Histogram, bucket};

/// The times of commands that a node has answered, spliced and relayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Latency(Histogram);

impl Latency {
    /// Counts one command that took this many nanoseconds.
    pub fn count(&mut self, nanoseconds: u64) {
        if let Some(count) = self.0.get_mut(bucket(nanoseconds)) {
            *count += 1;
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Histogram) {
        for (count, more) in self.0.iter_mut().zip(other) {
            *count += more;
        }
    }

    /// The counts.
    pub const fn histogram(&self) -> &Histogram {
        &self.0
    }

    /// Every bucket's count with the least time that it is for, in microseconds (the first is for less, too).
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0
            .iter()
            .enumerate()
            .map(|(at, &count)| (1 << at, count))
    }

    /// Commands counted.
    pub fn commands(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Microseconds that `percent` of the commands stayed below: the upper end of a bucket, so at most twice too much. For the last bucket,
    /// which has no end, its beginning (8.4 seconds). 0: no command yet.
    pub fn percentile_us(&self, percent: u64) -> u64 {
        // The rank of the command that is looked for, rounded up; of the first one at least.
        let commands = u128::from(self.commands());
        let rank = (commands * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        for (from, count) in self.buckets() {
            if u128::from(count) + seen >= rank {
                let is_last = from == 1 << (self.0.len() - 1);
                return if is_last { from } else { 2 * from };
            }
            seen += u128::from(count);
        }
        0
    }
}

impl fmt::Display for Latency {
    /// The buckets that are not empty: `2^5us:12 2^6us:3` are 12 commands of 32 µs and more but less than 64, and 3 of 64 and more but less
    /// than 128.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for (exponent, count) in self.0.iter().enumerate().filter(|(_, count)| **count != 0) {
            write!(formatter, "{gap}2^{exponent}us:{count}")?;
            gap = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(microseconds: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for time in microseconds {
            latency.count(time * 1000);
        }
        latency
    }

    #[test]
    fn only_what_was_counted_is_shown() {
        assert_eq!(of(&[]).to_string(), "");
        let mut latency = of(&[40, 63, 64, 0]);
        assert_eq!(latency.to_string(), "2^0us:1 2^5us:2 2^6us:1");
        latency.add(of(&[40, 9_000_000]).histogram());
        assert_eq!(latency.to_string(), "2^0us:1 2^5us:3 2^6us:1 2^23us:1");
        assert_eq!(latency.commands(), 6);
        assert_eq!(latency.buckets().nth(5), Some((32, 3)));
    }

    #[test]
    fn a_percentile_is_the_end_of_its_bucket() {
        let both = |latency: Latency| (latency.percentile_us(50), latency.percentile_us(99));
        assert_eq!(both(of(&[])), (0, 0));
        assert_eq!(both(of(&[40])), (64, 64));
        assert_eq!(both(of(&[1, 40])), (2, 64));
        assert_eq!(both(of(&[1, 40, 40])), (64, 64));
        let mut many = vec![100; 99];
        many.push(5000);
        assert_eq!(both(of(&many)), (128, 128));
        many.push(5000);
        assert_eq!(both(of(&many)), (128, 8192));
        assert_eq!(both(of(&[20_000_000])), (1 << 23, 1 << 23));
    }
}
