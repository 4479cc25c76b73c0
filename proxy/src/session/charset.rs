//! Character sets in which a byte of a longer character may look like a quote, a backslash or an `@`: the kernel's classifier, which reads
//! bytes, may not be asked about their texts.
//!
//! Source: MySQL manual, "Supported Character Sets and Collations"; second bytes from 0x40 on occur in gbk, gb18030, big5, sjis and cp932
//! alone. (gb2312, euckr, ujis and eucjpms have 0xa1 and above; ucs2, utf16 and utf32 cannot be a client's.)

/// Names of those character sets, as they stand in `SET NAMES` and in collations.
const UNSAFE: [&[u8]; 5] = [b"gb18030", b"gbk", b"big5", b"sjis", b"cp932"];

/// Whether a client with this collation of its login packet sends ASCII bytes for ASCII characters only.
pub const fn is_safe_collation(collation: u16) -> bool {
    !matches!(collation, 1 | 84 | 13 | 88 | 28 | 87 | 95 | 96 | 248..=250)
}

/// Whether a text speaks of such a character set: whoever runs it may have it from then on. A name that the text puts together at run time is
/// not found (a documented limit).
pub fn mentions_unsafe(text: &[u8]) -> bool {
    UNSAFE.iter().any(|name| {
        text.windows(name.len())
            .any(|part| part.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multi_byte_sets_with_ascii_bytes_are_unsafe() {
        for collation in [1, 84, 13, 88, 28, 87, 95, 96, 248, 249, 250] {
            assert!(!is_safe_collation(collation), "{collation}");
        }
        for collation in [8, 33, 45, 63, 224, 255, 309] {
            assert!(is_safe_collation(collation), "{collation}");
        }
    }

    #[test]
    fn texts_that_may_switch_to_one_are_found() {
        for text in [
            "SET NAMES gbk",
            "set character_set_client='GB18030'",
            "SET NAMES big5 COLLATE big5_bin",
        ] {
            assert!(mentions_unsafe(text.as_bytes()), "{text}");
        }
        for text in ["", "SET NAMES utf8mb4", "SET NAMES gb2312", "gb"] {
            assert!(!mentions_unsafe(text.as_bytes()), "{text}");
        }
    }
}
