//! Contents: what a seed determines, and what the node makes of it.

use super::operation::Text;
use crate::pattern::Random;
use anyhow::{Context as _, Result, ensure};
use flate2::Crc;

impl Text {
    /// The bytes.
    pub fn letters(self) -> Vec<u8> {
        Random::new(self.seed).letters(self.bytes)
    }
}

/// MySQL's `CRC32()`.
pub fn crc32(bytes: &[u8]) -> u64 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().into()
}

/// Fails with where they part, if they do.
///
/// # Errors
///
/// They differ.
pub fn same(what: &str, read: &[u8], wanted: &[u8]) -> Result<()> {
    if read == wanted {
        return Ok(());
    }
    let at = read.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let piece: Vec<u8> = bytes.iter().skip(at).take(24).copied().collect();
        String::from_utf8_lossy(&piece).into_owned()
    };
    ensure!(
        false,
        "{what}: {} bytes read, {} wanted, the first that differs is {at}: {:?}, not {:?}",
        read.len(),
        wanted.len(),
        show(read),
        show(wanted)
    );
    Ok(())
}

/// The statement whose rows are [`row`]'s; in place of the row `error_at` comes error 1242. A replica may answer it.
pub fn rows_sql(rows: usize, width: usize, error_at: Option<usize>) -> String {
    rows_sql_in("torture", rows, width, error_at)
}

/// The same where there is another database.
pub fn rows_sql_in(database: &str, rows: usize, width: usize, error_at: Option<usize>) -> String {
    let fail = error_at.map_or_else(String::new, |at| {
        format!(", IF(seq = {at}, (SELECT seq FROM {database}.seq_1_to_2), 0)")
    });
    let value = repeated("RIGHT(CONCAT('0000000', seq), 8)", width);
    format!("SELECT seq, {value}{fail} FROM {database}.seq_1_to_{rows}")
}

/// An expression that is another one's text so many times, by functions of which Sluice knows that a replica may answer them (not `REPEAT`). Its length
/// grows with the square root.
pub fn repeated(expression: &str, times: usize) -> String {
    const SHORT: usize = 64;
    let short = |count: usize| format!("REPLACE('{}', 'x', {expression})", "x".repeat(count));
    if times <= SHORT {
        return short(times);
    }
    let side = times.isqrt();
    let (high, rest) = (times / side, times % side);
    let most = squared(expression, high, side);
    format!("CONCAT({most}, {})", short(rest))
}

/// The same, perhaps some times more; the other expression is in it once.
pub fn repeated_at_least(expression: &str, times: usize) -> String {
    let side = times.isqrt().max(1);
    squared(expression, times.div_ceil(side), side)
}

fn squared(expression: &str, high: usize, side: usize) -> String {
    let (high, side) = ("y".repeat(high), "x".repeat(side));
    // What a REPLACE has not come to yet is moved with every find: the short text is the outer one.
    format!("REPLACE('{high}', 'y', REPLACE('{side}', 'x', {expression}))")
}

/// The row of this number, in the text or binary protocol.
pub fn row(number: usize, width: usize, binary: bool, with_zero: bool) -> Vec<u8> {
    let mut row = Vec::new();
    let value = format!("{number:08}").repeat(width);
    if binary {
        row.extend([0, 0]);
        row.extend(u64::try_from(number).unwrap_or(0).to_le_bytes());
    } else {
        crate::wire::put_string(&mut row, number.to_string().as_bytes());
    }
    crate::wire::put_string(&mut row, value.as_bytes());
    if with_zero {
        // A DECIMAL, which is a text in the binary protocol too.
        crate::wire::put_string(&mut row, b"0");
    }
    row
}

/// The lines of a local file and the sum of their checksums.
pub fn lines(count: usize, seed: u64) -> (Vec<u8>, u64) {
    let mut random = Random::new(seed);
    let mut file = Vec::new();
    let mut sum = 0;
    for _ in 0..count {
        let bytes = random.below(200);
        let line = random.letters(bytes);
        sum += crc32(&line);
        file.extend(line);
        file.push(b'\n');
    }
    (file, sum)
}

/// The only cell of a binary row of one text.
///
/// # Errors
///
/// When the row is another.
pub fn binary_cells(row: &[u8], count: usize) -> Result<Vec<Vec<u8>>> {
    let nulls = (count + 9) / 8;
    let mut rest = row.get(1 + nulls..).context("a cut row")?;
    let mut cells = Vec::new();
    for _ in 0..count {
        let (length, tail) = crate::wire::take_length(rest)?;
        let (cell, tail) = tail
            .split_at_checked(usize::try_from(length)?)
            .context("a cut cell")?;
        cells.push(cell.to_vec());
        rest = tail;
    }
    ensure!(rest.is_empty(), "{} bytes behind the row", rest.len());
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told() {
        assert!(same("a text", b"abcd", b"abcd").is_ok());
        let told = same("a text", b"abXd", b"abcd").unwrap_err().to_string();
        assert!(told.contains("differs is 2"), "{told}");
        assert!(same("a text", b"abc", b"abcd").is_err());
    }

    #[test]
    fn texts_are_repeated() {
        assert_eq!(repeated("a", 0), "REPLACE('', 'x', a)");
        assert_eq!(repeated("a", 3), "REPLACE('xxx', 'x', a)");
        let (x, y) = ("x".repeat(8), "y".repeat(8));
        assert_eq!(
            repeated("a", 66),
            format!("CONCAT(REPLACE('{y}', 'y', REPLACE('{x}', 'x', a)), REPLACE('xx', 'x', a))")
        );
        assert_eq!(
            repeated_at_least("a", 5),
            "REPLACE('yyy', 'y', REPLACE('xx', 'x', a))"
        );
    }

    #[test]
    fn checksums_are_mysqls() {
        // SELECT CRC32('MySQL')
        assert_eq!(crc32(b"MySQL"), 3_259_397_556);
    }
}
