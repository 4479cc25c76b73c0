//! From the text of a `COM_QUERY` to a statement, and the pieces of grammar that statements share.
//!
//! ```text
//! statement  = words arguments { ";" }          words: those of a Spec, the longest that fit
//! arguments  = nothing | id | [id] like | [word] like | … as the Spec's parser has it
//! like       = [ LIKE ( quoted | word ) ]       quoted: '…' or "…" without that quote or a backslash inside
//! limit      = [ LIMIT n | LIMIT offset, n | LIMIT n OFFSET offset ]      n = -1: all
//! assignment = word [ "." word ] "=" ( quoted | word | integer )
//! ```
//!
//! Tokens are [`crate::sql`]'s: keywords in any case, white space and ordinary comments between them, integers of up to 17 digits with an
//! optional sign. What is no token of ours (an executable comment, an unfinished quote) is no statement of ours either. Where the words
//! can begin a statement of the node's too, the parser says so ([`Mismatch::NotOurs`]); else what does not fit is refused.

use super::{AdminError, Arguments, Spec, Statement, specs};
use crate::sql::{Token, Tokens};

/// Why the text behind a statement's words was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mismatch {
    /// It can only be meant for the proxy, but is not well formed.
    Malformed,
    /// It may be the node's after all.
    NotOurs,
}

/// Reads a statement that the proxy answers itself. `None`: it is the node's. Costs no more than the text's first words unless those
/// are a statement's.
///
/// The error is [`AdminError::bad_command`]: the statement can only be meant for the proxy, but is not well formed.
pub fn parse(text: &[u8]) -> Option<Result<Statement, AdminError>> {
    let (spec, mut rest) = head(Tokens::new(text))?;
    match (spec.parse)(&mut rest) {
        Ok(arguments) => Some(Ok(Statement { spec, arguments })),
        Err(Mismatch::Malformed) => Some(Err(AdminError::bad_command())),
        Err(Mismatch::NotOurs) => None,
    }
}

/// The statement whose words a text begins with, and what follows them.
pub(super) fn head(tokens: Tokens<'_>) -> Option<(&'static Spec, Tokens<'_>)> {
    let tokens = tokens.trimmed();
    let Some(Token::Word(_)) = tokens.clone().next() else {
        return None;
    };
    specs()
        .filter_map(|spec| Some((spec, behind(spec, tokens.clone())?)))
        .max_by_key(|(spec, _)| spec.words.len())
}

/// What the text of a statement says with these values for its question marks, each of which must have its place.
pub(super) fn arguments(text: &[u8], parameters: &[Token<'_>]) -> Result<Arguments, Mismatch> {
    let (spec, mut rest) =
        head(Tokens::with_parameters(text, parameters)).ok_or(Mismatch::NotOurs)?;
    (spec.parse)(&mut rest)
}

/// A statement of ours that hides in the text of a `PREPARE … FROM '…'` or an `EXECUTE IMMEDIATE '…'`: the node would take a client
/// session's id for one of its own, and end another's connection. What a statement puts together at run time is not seen.
pub fn hidden(text: &[u8]) -> Option<AdminError> {
    let mut tokens = Tokens::new(text);
    if tokens.accept_word("PREPARE") {
        tokens.next()?;
        tokens.accept_word("FROM").then_some(())?;
    } else {
        (tokens.accept_word("EXECUTE") && tokens.accept_word("IMMEDIATE")).then_some(())?;
    }
    let Some(Token::Quoted {
        quote: b'\'' | b'"',
        text,
    }) = tokens.next()
    else {
        return None;
    };
    let (spec, _) = head(Tokens::new(text))?;
    let is_ours = |word: &&str| *word == "KILL" || word.contains("PROXY");
    // Of others the node has one of the same name, and does no harm with it.
    let is_ours = spec.words.iter().any(is_ours) && parse(text).is_some();
    is_ours.then(|| AdminError::hidden(&spec.words.join(" ")))
}

/// What follows a statement's words, if the text begins with them.
fn behind<'a>(spec: &Spec, mut tokens: Tokens<'a>) -> Option<Tokens<'a>> {
    spec.words
        .iter()
        .all(|word| tokens.accept_word(word))
        .then_some(tokens)
}

/// Grammar: nothing.
pub(super) fn nothing(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    tokens
        .is_at_end()
        .then(Arguments::default)
        .ok_or(Mismatch::Malformed)
}

/// Grammar: `assignment`.
pub(super) fn assignment(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    let word = |token: Option<Token<'_>>| match token {
        Some(Token::Word(word)) => owned(word),
        _ => Err(Mismatch::Malformed),
    };
    let mut key = word(tokens.next())?;
    let mut next = tokens.next();
    if next == Some(Token::Symbol(b'.')) {
        key = format!("{key}.{}", word(tokens.next())?);
        next = tokens.next();
    }
    if next != Some(Token::Symbol(b'=')) {
        return Err(Mismatch::Malformed);
    }
    let value = match tokens.next() {
        Some(
            Token::Word(value)
            | Token::Quoted {
                quote: b'\'' | b'"',
                text: value,
            },
        ) => owned(value)?,
        Some(Token::Integer(value)) => value.to_string(),
        _ => return Err(Mismatch::Malformed),
    };
    let arguments = Arguments {
        assignment: Some((key, value)),
        ..Arguments::default()
    };
    tokens
        .is_at_end()
        .then_some(arguments)
        .ok_or(Mismatch::Malformed)
}

fn owned(bytes: &[u8]) -> Result<String, Mismatch> {
    String::from_utf8(bytes.to_vec()).map_err(|_no_text| Mismatch::Malformed)
}

/// Grammar: `id`.
pub(super) fn id(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    match tokens.next() {
        Some(Token::Integer(id)) if tokens.is_at_end() => Ok(Arguments {
            id: Some(id),
            ..Arguments::default()
        }),
        _ => Err(Mismatch::Malformed),
    }
}

/// Grammar: `[id] [LIKE 'pattern']`.
pub(super) fn id_and_like(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    let mut arguments = Arguments::default();
    let mut ahead = tokens.clone();
    if let Some(Token::Integer(id)) = ahead.next() {
        arguments.id = Some(id);
        *tokens = ahead;
    }
    like_and_end(tokens, arguments)
}

/// Grammar: `[LIKE 'pattern']`.
pub(super) fn like(tokens: &mut Tokens<'_>) -> Result<Arguments, Mismatch> {
    like_and_end(tokens, Arguments::default())
}

/// Grammar, where other arguments have been read: `[LIKE 'pattern']` and the end.
pub(super) fn like_and_end(
    tokens: &mut Tokens<'_>,
    mut arguments: Arguments,
) -> Result<Arguments, Mismatch> {
    if tokens.accept_word("LIKE") {
        arguments.like = Some(pattern(tokens.next())?);
    }
    tokens
        .is_at_end()
        .then_some(arguments)
        .ok_or(Mismatch::Malformed)
}

/// A LIKE's argument: quoted text or a bare identifier.
fn pattern(token: Option<Token<'_>>) -> Result<Vec<u8>, Mismatch> {
    match token {
        Some(
            Token::Quoted {
                quote: b'\'' | b'"',
                text,
            }
            | Token::Word(text),
        ) => Ok(text.to_vec()),
        _ => Err(Mismatch::Malformed),
    }
}

/// Which rows of an answer are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limit {
    offset: usize,
    rows: usize,
}

impl Limit {
    /// All rows.
    pub(super) const NONE: Self = Self {
        offset: 0,
        rows: usize::MAX,
    };

    /// Grammar: `[LIMIT n | LIMIT offset, n | LIMIT n OFFSET offset]`; -1 rows are all of them, as with ODP.
    pub(super) fn parse(tokens: &mut Tokens<'_>) -> Result<Option<Self>, Mismatch> {
        if !tokens.accept_word("LIMIT") {
            return Ok(None);
        }
        let number = |tokens: &mut Tokens<'_>| match tokens.next() {
            Some(Token::Integer(number)) => Ok(number),
            _ => Err(Mismatch::Malformed),
        };
        let first = number(tokens)?;
        let mut ahead = tokens.clone();
        let (rows, offset) = if ahead.next() == Some(Token::Symbol(b',')) {
            *tokens = ahead;
            (number(tokens)?, first)
        } else if tokens.accept_word("OFFSET") {
            (first, number(tokens)?)
        } else {
            (first, 0)
        };
        let count = |number| usize::try_from(number).map_err(|_negative| Mismatch::Malformed);
        Ok(Some(Self {
            offset: count(offset)?,
            rows: if rows == -1 { usize::MAX } else { count(rows)? },
        }))
    }

    /// The rows that are sent.
    pub(super) fn apply<T>(self, rows: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        rows.skip(self.offset).take(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statements_of_the_node_are_not_taken() {
        let texts = r"
            SHOW
            SHOW PROCESSLIST LIKE 'x'
            SHOW FULL PROCESSLIST 5
            SHOW FULL PROXYSESSION
            SHOW PROXYSESSIONS
            SHOW `PROXYSESSION`
            SHOW TABLES LIKE 'PROXYSESSION'
            SHOWPROXYSESSION
            (SHOW PROXYSESSION)
            EXPLAIN SHOW PROXYSESSION
            /*! SHOW PROXYSESSION */
            KILL
            KILL HARD 5
            KILL SOFT CONNECTION 5
            KILL QUERY ID 5
            KILL USER app
            KILL CONNECTION_ID()
            KILL CONNECTION
            KILL @id
            KILL (5)
            KILL '5'
            'KILL 5'
            DO 1; KILL 5
            -- KILL 5
            /* KILL 5
            SELECT 'SHOW PROXYSESSION'
            SELECT PROXY_VERSION
            SELECT PROXY_VERSION() + 1
            SELECT PROXY_VERSION(1)
            SELECT PROXY_VERSION(), 1
            SELECT PROXY_VERSION() AS
            SELECT `PROXY_VERSION`()
            ;";
        for text in texts.lines() {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn malformed_statements_are_refused() {
        let texts = r"
            SHOW PROXYSESSION STAT x
            SHOW PROXYSESSION 5
            SHOW PROXYSESSION LIKE 'x'
            SHOW PROXYSESSION; SELECT 1
            SHOW PROXYSESSION /*! x */
            SHOW PROXYSESSION ATTRIBUTE x
            SHOW PROXYSESSION ATTRIBUTE 1 2
            SHOW PROXYSESSION ATTRIBUTE 100000000000000000
            SHOW PROXYSESSION ATTRIBUTE LIKE
            SHOW PROXYSESSION ATTRIBUTE LIKE 'a' 1
            SHOW PROXYSESSION ATTRIBUTE LIKE 'a\'b'
            SHOW PROXYSESSION ATTRIBUTE LIKE 'a''b'
            SHOW PROXYSESSION ATTRIBUTE LIKE `a`
            SHOW PROXYSESSION ATTRIBUTE LIKE 'a
            KILL 100000000000000000
            KILL 5 6
            KILL 5; KILL 6
            KILL 5 + 1
            KILL PROXYSESSION
            KILL PROXYSESSION x
            SHOW PROXYHELP ME";
        for text in texts.lines().skip(1) {
            let error = parse(text.as_bytes()).expect(text).expect_err(text);
            assert_eq!(error, AdminError::bad_command(), "{text}");
        }
    }

    #[test]
    fn statements_in_the_text_of_a_prepare_are_found() {
        for (text, words) in [
            ("PREPARE s FROM 'KILL 5'", Some("KILL")),
            ("prepare `s` from \" kill query 5;\"", Some("KILL QUERY")),
            (
                "/* x */ EXECUTE IMMEDIATE 'KILL CONNECTION 5'",
                Some("KILL CONNECTION"),
            ),
            (
                "EXECUTE IMMEDIATE 'SHOW PROXYSESSION'",
                Some("SHOW PROXYSESSION"),
            ),
            (
                "EXECUTE IMMEDIATE 'SHOW PROXYSESSION ATTRIBUTE x'",
                Some("SHOW PROXYSESSION ATTRIBUTE"),
            ),
            ("PREPARE s FROM 'KILL USER app'", None),
            ("PREPARE s FROM 'SHOW TABLES'", None),
            ("PREPARE s FROM @text", None),
            ("PREPARE FROM 'KILL 5'", None),
            ("EXECUTE s USING 'KILL 5'", None),
            ("SELECT 'KILL 5'", None),
            ("PREPARE", None),
            ("", None),
        ] {
            let found = hidden(text.as_bytes());
            let wanted = words.map(AdminError::hidden);
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn blanks_and_comments_do_not_matter() {
        for text in [
            "\tshow\n\nproxysession ; ",
            "/* app */ SHOW/**/PROXYSESSION -- all",
            "# x\nSHOW PROXYSESSION",
        ] {
            assert!(parse(text.as_bytes()).expect(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn ids_and_patterns_are_optional() {
        let read = |tail: &str| {
            let text = format!("SHOW PROXYSESSION ATTRIBUTE {tail}");
            let arguments = parse(text.as_bytes()).unwrap().unwrap().arguments;
            (
                arguments.id,
                arguments.like.map(|like| String::from_utf8(like).unwrap()),
            )
        };
        assert_eq!(read(""), (None, None));
        assert_eq!(read("-7;"), (Some(-7), None));
        assert_eq!(read("LIKE bare_word"), (None, Some("bare_word".to_owned())));
        assert_eq!(read("5 like \"%'%\""), (Some(5), Some("%'%".to_owned())));
        assert_eq!(read("5 LIKE ''"), (Some(5), Some(String::new())));
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_an_end(text in any::<Vec<u8>>()) {
            let _ = parse(&text);
        }

        #[test]
        fn likely_texts_too(text in "(SHOW|KILL|SELECT)?[ /*]{0,4}(PROXYSESSION|QUERY|5)?[- 0-9a-z'\"`\\\\;()*/#]{0,30}") {
            let _ = parse(text.as_bytes());
        }
    }
}
