//! The LIKE of admin statements: `%` and `_`, case-sensitive, no escape character (odp.md, section 1.1).

/// Whether `text` matches `pattern`: `%` stands for any text, `_` for one character of UTF-8. An empty pattern matches everything; an
/// empty text matches no other pattern, not even `%`. Takes no more than |text| × |pattern| steps and constant memory.
pub fn like(pattern: &[u8], text: &[u8]) -> bool {
    if pattern.is_empty() || text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on after a mismatch: behind the last `%`, which then takes one character more. Earlier `%` need not be tried again:
    // whatever they could leave to the last one, it can take itself.
    let mut retry: Option<(&[u8], &[u8])> = None;
    while let Some((_, text_rest)) = split_character(text) {
        match pattern.split_first() {
            Some((b'%', rest)) => {
                pattern = rest;
                retry = Some((rest, text));
                continue;
            }
            Some((b'_', rest)) => {
                (pattern, text) = (rest, text_rest);
                continue;
            }
            Some((byte, rest)) if text.first() == Some(byte) => {
                pattern = rest;
                text = text.get(1..).unwrap_or_default();
                continue;
            }
            Some(_) | None => {}
        }
        let Some((_, longer)) = retry.and_then(|(_, at)| split_character(at)) else {
            return false;
        };
        pattern = retry.map_or(pattern, |(behind, _)| behind);
        text = longer;
        retry = Some((pattern, longer));
    }
    pattern.iter().all(|&byte| byte == b'%')
}

/// The first character and the rest. A byte that begins no character counts as one, with the continuation bytes behind it.
fn split_character(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = text.get(1..)?;
    let continuation = rest.iter().take_while(|&&byte| byte & 0xc0 == 0x80).count();
    text.split_at_checked(1 + continuation)
}

#[cfg(test)]
mod tests {
    use super::like;
    use proptest::prelude::*;

    #[test]
    fn documented_cases() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "abc", true),
            ("%", "", false),
            ("%", "abc", true),
            ("_", "", false),
            ("%id%", "proxy_sessid", true),
            ("%id%", "cs_id", true),
            ("%id%", "idc_name", true),
            ("%id%", "tenant", false),
            ("%ID%", "cs_id", false),
            ("cs\\_id", "cs_id", false),
            ("tid", "tid", true),
            ("tid", "tids", false),
            ("t_d", "tid", true),
            ("t_d", "td", false),
            ("%a%b%c", "xxaxxbxxbxc", true),
            ("%a%b%c", "xxaxxbxxbx", false),
            ("a%%", "a", true),
            ("_%_", "é", false),
            ("_", "é", true),
            ("%é", "café", true),
        ] {
            assert_eq!(
                like(pattern.as_bytes(), text.as_bytes()),
                matches,
                "{text:?} like {pattern:?}"
            );
        }
    }

    #[test]
    fn many_wildcards_take_no_exponential_time() {
        let pattern = "%a".repeat(2_000) + "b";
        assert!(!like(pattern.as_bytes(), "a".repeat(10_000).as_bytes()));
    }

    /// The definition, letter by letter.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((&'%', rest)) => (0..=text.len()).any(|from| naive(rest, &text[from..])),
            Some((&'_', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((letter, rest)) => text.first() == Some(letter) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[abé%_]{1,9}", text in "[abé]{1,12}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                like(pattern.as_bytes(), text.as_bytes()),
                naive(&letters(&pattern), &letters(&text))
            );
        }

        #[test]
        fn any_bytes_end(pattern in any::<Vec<u8>>(), text in any::<Vec<u8>>()) {
            let _ = like(&pattern, &text);
            prop_assert!(like(b"%", &text) != text.is_empty());
        }
    }
}
