//! What a statement's hint says of the node that is to answer it: `READ_CONSISTENCY(…)` is OceanBase's, `ROUTE(…)` Sluice's own. A server that
//! knows neither takes them for a comment (`MySQL` with a warning).

/// What opens a hint.
const OPEN: &[u8] = b"/*+";
/// What closes it.
const CLOSE: &[u8] = b"*/";

/// What a text's hint asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint<'a> {
    /// Nothing that concerns nodes.
    None,
    /// The newest data.
    Strong,
    /// A replica will do.
    Weak,
    /// The node of this name.
    Node(&'a [u8]),
}

/// Reads the hint that stands right behind the text's first word, as servers do; of several that concern nodes the last one counts.
pub fn hint(text: &[u8]) -> Hint<'_> {
    let mut found = Hint::None;
    let Some(mut rest) = inside(text) else {
        return found;
    };
    loop {
        let at = rest.iter().position(|byte| is_of_word(*byte));
        let Some((_, word)) = at.and_then(|at| rest.split_at_checked(at)) else {
            return found;
        };
        let end = word.iter().position(|byte| !is_of_word(*byte));
        let (word, behind) = word.split_at(end.unwrap_or(word.len()));
        rest = behind;
        let Some(argument) = argument(&mut rest) else {
            continue;
        };
        if word.eq_ignore_ascii_case(b"ROUTE") {
            found = Hint::Node(argument);
        } else if word.eq_ignore_ascii_case(b"READ_CONSISTENCY") {
            found = if argument.eq_ignore_ascii_case(b"STRONG") {
                Hint::Strong
            } else {
                Hint::Weak
            };
        }
    }
}

/// The text without its hints: each is a comment like any other.
pub fn without_hints(text: &[u8]) -> Vec<u8> {
    let mut plain = text.to_vec();
    let places = text.windows(OPEN.len()).enumerate();
    for (at, _) in places.filter(|(_, bytes)| *bytes == OPEN) {
        if let Some(plus) = plain.get_mut(at + OPEN.len() - 1) {
            *plus = b' ';
        }
    }
    plain
}

/// What stands in the hint behind the first word.
fn inside(text: &[u8]) -> Option<&[u8]> {
    let mut text = text.trim_ascii_start();
    // Some programs say in front who they are.
    while let Some((_, behind)) = text.strip_prefix(b"/*").and_then(split_at_close) {
        text = behind.trim_ascii_start();
    }
    let word = text.iter().position(|byte| !is_of_word(*byte))?;
    let (_, behind) = text.split_at_checked(word).filter(|_| word > 0)?;
    let hint = behind.trim_ascii_start().strip_prefix(OPEN)?;
    split_at_close(hint).map(|(inside, _)| inside)
}

/// What stands in a comment whose begin was taken off, and what behind it.
fn split_at_close(comment: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = comment
        .windows(CLOSE.len())
        .position(|pair| pair == CLOSE)?;
    let (inside, rest) = comment.split_at_checked(end)?;
    Some((inside, rest.strip_prefix(CLOSE)?))
}

/// What stands in the parentheses at the front of `rest`, which are taken off it, but for white space.
fn argument<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let open = rest.trim_ascii_start().strip_prefix(b"(")?;
    let end = open.iter().position(|byte| *byte == b')')?;
    let (argument, behind) = open.split_at_checked(end)?;
    *rest = behind;
    Some(argument.trim_ascii())
}

const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_about_nodes_counts() {
        for (text, wanted) in [
            ("SELECT 1", Hint::None),
            ("SELECT /*+ READ_CONSISTENCY(STRONG) */ 1", Hint::Strong),
            (" select/*+read_consistency( weak )*/ 1", Hint::Weak),
            ("SELECT /*+ READ_CONSISTENCY(FROZEN) */ 1", Hint::Weak),
            ("SELECT /*+ ROUTE(db2:3306) */ 1", Hint::Node(b"db2:3306")),
            (
                "SELECT /*+ ROUTE([fd00::1]:3306) */ 1",
                Hint::Node(b"[fd00::1]:3306"),
            ),
            (
                "SELECT /*+ INDEX(t i), ROUTE (127.0.0.1:3307) PARALLEL(4) */ 1",
                Hint::Node(b"127.0.0.1:3307"),
            ),
            (
                "SELECT /*+ ROUTE(a) READ_CONSISTENCY(WEAK) */ 1",
                Hint::Weak,
            ),
            ("SELECT /*+ ROUTE */ 1", Hint::None),
            ("SELECT /*+ ROUTE( */ 1", Hint::None),
            ("SELECT /*+ MAX_EXECUTION_TIME(10) */ 1", Hint::None),
            ("SELECT /* READ_CONSISTENCY(STRONG) */ 1", Hint::None),
            ("SELECT 1 /*+ READ_CONSISTENCY(STRONG) */", Hint::None),
            ("SELECT '/*+ ROUTE(a) */'", Hint::None),
            ("/*+ ROUTE(a) */ SELECT 1", Hint::None),
            ("/* app */ /**/ SELECT /*+ ROUTE(a) */ 1", Hint::Node(b"a")),
            ("(/*+ ROUTE(a) */ SELECT 1)", Hint::None),
            ("SELECT /*+ ROUTE(a)", Hint::None),
            ("", Hint::None),
        ] {
            assert_eq!(hint(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn hints_become_comments() {
        let text = b"SELECT /*+ a */ '/*+' /*+ b */";
        assert_eq!(without_hints(text), b"SELECT /*  a */ '/* ' /*  b */");
        assert_eq!(without_hints(b"SELECT /* + */ 1"), b"SELECT /* + */ 1");
    }
}
