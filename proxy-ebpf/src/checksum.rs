//! The Internet checksum (RFC 1071) of what is written into a packet anew.

/// By how much the sum over a packet changes that has the words `to` in place of `from`, added to `seed`: 32 bits of which the checksum's 16 are made, as
/// `bpf_csum_diff` returns them. Words as they lie in the packet, from an even place in it.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "one function for the verifier")]
#[expect(
    clippy::indexing_slicing,
    reason = "below the arrays' length; an iterator is not const"
)]
#[expect(clippy::cast_possible_truncation, reason = "no carry is left")]
pub const fn difference<const WORDS: usize>(
    from: &[u32; WORDS],
    to: &[u32; WORDS],
    seed: u32,
) -> u32 {
    let mut sum = seed as u64;
    let mut word = 0;
    while word < WORDS {
        sum += !from[word] as u64 + to[word] as u64;
        word += 1;
    }
    // Twice: the first carry may make another.
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum as u32
}

/// A sum, or the change of one, of words that begin at an odd place in the packet.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "one function for the verifier")]
pub const fn at_odd_place(sum: u32) -> u32 {
    sum.rotate_left(8)
}

/// The checksum of a packet whose sum has changed by `difference` (RFC 1624, equation 3). Both as they lie in the packet.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "one function for the verifier")]
#[expect(clippy::cast_possible_truncation, reason = "no carry is left")]
pub const fn changed(checksum: u16, difference: u32) -> u16 {
    let mut sum = !checksum as u32 + (difference & 0xffff) + (difference >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From its definition: the complement of the one's complement sum of all 16-bit words.
    fn checksum(words: &[u32]) -> u16 {
        let mut sum = 0_u64;
        for word in words {
            sum += u64::from(word & 0xffff) + u64::from(word >> 16);
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    /// Words whose sums carry, and some that are as good as any.
    fn words() -> impl Iterator<Item = [u32; 3]> {
        let edges = [0, 1, 0xffff, 0x1_0000, 0xffff_0000, 0xffff_fffe, u32::MAX];
        let mut state = 1_u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        let others = (0..1000).map(move |_| [next(), next(), next()]);
        edges
            .into_iter()
            .flat_map(move |a| edges.into_iter().map(move |b| [a, b, !a]))
            .chain(others)
    }

    #[test]
    fn a_changed_checksum_is_that_of_what_was_written() {
        const REST: u32 = 0x4500_1234;
        for from in words() {
            for to in words().take(80) {
                let old = checksum(&[REST, from[0], from[1], from[2]]);
                let new = checksum(&[REST, to[0], to[1], to[2]]);
                let found = changed(old, difference(&from, &to, 0));
                assert_eq!(found, new, "{from:x?} {to:x?}");
            }
        }
    }

    #[test]
    fn differences_add_up() {
        for from in words() {
            let to = from.map(|word| word.rotate_left(5) ^ 0x00ff_1100);
            let old = checksum(&from);
            let first = difference(&[from[0]], &[to[0]], 0);
            let all = difference(&[from[1], from[2]], &[to[1], to[2]], first);
            assert_eq!(changed(old, all), checksum(&to));
            // One after the other.
            let second = difference(&[from[1], from[2]], &[to[1], to[2]], 0);
            assert_eq!(changed(changed(old, first), second), checksum(&to));
        }
    }

    #[test]
    fn words_may_begin_at_an_odd_place() {
        let packed = |word: u32, at: usize| {
            let mut bytes = *b"Sluice's";
            bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            let (front, rest) = bytes.split_at(4);
            [front, rest].map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
        };
        for [from, to, _] in words() {
            let change = difference(&[from], &[to], 0);
            for (at, change) in [
                (1, at_odd_place(change)),
                (2, change),
                (3, at_odd_place(change)),
            ] {
                let old = checksum(&packed(from, at));
                assert_eq!(
                    changed(old, change),
                    checksum(&packed(to, at)),
                    "{from:x} {to:x}"
                );
            }
        }
    }

    #[test]
    fn nothing_written_is_no_change() {
        for from in words() {
            let old = checksum(&from);
            assert_eq!(changed(old, difference(&from, &from, 0)), old);
        }
    }
}
