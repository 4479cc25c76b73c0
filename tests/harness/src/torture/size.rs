//! Sizes: mostly small, often at a boundary where something changes, sometimes large.

use crate::{pattern::Random, wire::PACKET_BYTES_MAX};

/// Ethernet's with IPv4 and no TCP options.
const SEGMENT: usize = 1460;
/// What the programs scan of a text.
const SCANNED: usize = 4096;
/// What one `sk_msg` message holds at most: 17 fragments of a page.
const FRAGMENTS: usize = 17 * 4096;

/// Where lengths get another form, a buffer or a segment is full, or a limit is.
const BOUNDARIES: [usize; 22] = [
    0,
    1,
    4,
    16,
    251,
    256,
    1024,
    SEGMENT - 4,
    SEGMENT,
    2 * SEGMENT,
    SCANNED - 4,
    SCANNED,
    8192,
    16 << 10,
    32 << 10,
    (64 << 10) - 4,
    64 << 10,
    FRAGMENTS - 4,
    FRAGMENTS,
    128 << 10,
    256 << 10,
    1 << 20,
];

/// Lengths about a packet's longest, 16 MB − 1.
const LARGE: [usize; 5] = [
    PACKET_BYTES_MAX - 1,
    PACKET_BYTES_MAX,
    PACKET_BYTES_MAX + 1,
    PACKET_BYTES_MAX + 2,
    2 * PACKET_BYTES_MAX,
];

/// A length of at most `largest` bytes.
pub fn draw(random: &mut Random, largest: usize) -> usize {
    let size = match random.below(400) {
        0 => pick(random, &LARGE),
        1..12 => random.below(2 << 20),
        12..50 => random.below(100_000),
        50..180 => (pick(random, &BOUNDARIES) + random.below(11)).saturating_sub(5),
        _ => random.below(2000),
    };
    if size <= largest {
        size
    } else {
        random.below(largest + 1)
    }
}

/// The number of bytes of a cell that, with its length before it, is a row of `row` bytes (or one less where no cell fits).
pub fn cell_of_row(row: usize) -> usize {
    match row {
        0..=251 => row.saturating_sub(1),
        252..=65_538 => (row - 3).min(0xFFFF),
        65_539..=0x100_0003 => (row - 4).min(0xFF_FFFF),
        _ => row - 9,
    }
}

fn pick(random: &mut Random, sizes: &[usize]) -> usize {
    sizes.get(random.below(sizes.len())).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_boundary_is_drawn_from_both_sides() {
        let mut random = Random::new(1);
        let drawn: Vec<_> = (0..200_000)
            .map(|_| draw(&mut random, usize::MAX))
            .collect();
        for wanted in BOUNDARIES
            .iter()
            .flat_map(|size| [size.saturating_sub(1), *size, size + 1])
            .chain(LARGE)
        {
            assert!(drawn.contains(&wanted), "{wanted}");
        }
        assert!((0..1000).all(|_| draw(&mut random, 70) <= 70));
    }

    #[test]
    fn a_cell_fills_its_row() {
        let length_bytes = |cell| match cell {
            0..=250 => 1,
            251..=0xFFFF => 3,
            0x1_0000..=0xFF_FFFF => 4,
            _ => 9,
        };
        for row in [
            1,
            251,
            254,
            1460,
            65_538,
            65_540,
            65_541,
            69_632,
            PACKET_BYTES_MAX,
            PACKET_BYTES_MAX + 1,
            1 << 25,
        ] {
            let cell = cell_of_row(row);
            assert_eq!(cell + length_bytes(cell), row);
        }
    }
}
