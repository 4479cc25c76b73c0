use super::Token::{Integer, LongInteger, Symbol, Unclear};
use super::{Token, Tokens};
use proptest::prelude::*;

fn word(text: &str) -> Token<'_> {
    Token::Word(text.as_bytes())
}

fn quoted(quote: char, text: &str) -> Token<'_> {
    Token::Quoted {
        quote: u8::try_from(quote).unwrap(),
        text: text.as_bytes(),
    }
}

#[track_caller]
fn check(text: &str, expected: &[Token<'_>]) {
    let tokens: Vec<_> = Tokens::new(text.as_bytes()).collect();
    assert_eq!(tokens, expected, "{text:?}");
}

#[test]
fn words_and_symbols() {
    check("", &[]);
    check(" \t\r\n\x0b\x0c", &[]);
    check(
        "SHOW\nProxySession;",
        &[word("SHOW"), word("ProxySession"), Symbol(b';')],
    );
    check("f()", &[word("f"), Symbol(b'('), Symbol(b')')]);
    check(
        "a.b@c",
        &[word("a"), Symbol(b'.'), word("b"), Symbol(b'@'), word("c")],
    );
    check("größe $x _y", &[word("größe"), word("$x"), word("_y")]);
}

#[test]
fn integers() {
    check(
        "0 7 +7 -7",
        &[Integer(0), Integer(7), Integer(7), Integer(-7)],
    );
    check("99999999999999999", &[Integer(99_999_999_999_999_999)]);
    check(
        "100000000000000000 -100000000000000000",
        &[LongInteger, LongInteger],
    );
    check("7days", &[word("7days")]);
    check("-7days x", &[Unclear]);
    check("- 7", &[Symbol(b'-'), Integer(7)]);
    check("1.5", &[Integer(1), Symbol(b'.'), Integer(5)]);
}

#[test]
fn quoted_text() {
    check("'%id%'", &[quoted('\'', "%id%")]);
    check(
        "\"it's\" `a\"b`",
        &[quoted('"', "it's"), quoted('`', "a\"b")],
    );
    check("''", &[quoted('\'', "")]);
    check("'a' 'b'", &[quoted('\'', "a"), quoted('\'', "b")]);
    for text in ["'a''b' c", "'a\\'b' c", "'a\\\\' c", "'abc", "\"abc'", "'"] {
        check(text, &[Unclear]);
    }
}

#[test]
fn comments_separate() {
    check("/* hint */SHOW/**/X/* y */", &[word("SHOW"), word("X")]);
    check("-- first\nSHOW # last", &[word("SHOW")]);
    check("SHOW --", &[word("SHOW")]);
    check("SHOW --\tx\n y", &[word("SHOW"), word("y")]);
    check("5--6", &[Integer(5), Symbol(b'-'), Integer(-6)]);
    check("/*+ hint */ x", &[word("x")]);
    for text in ["/*! x */ y", "/*!50000 x */", "/*M! x */", "/* x", "/*/ x"] {
        check(text, &[Unclear]);
    }
}

#[test]
fn keywords_are_taken_in_any_case_or_not_at_all() {
    let mut tokens = Tokens::new(b"show PROXYSESSION ;; -- end");
    assert!(!tokens.accept_word("KILL"));
    assert!(tokens.accept_word("SHOW") && !tokens.is_at_end());
    assert!(tokens.accept_word("proxysession") && tokens.is_at_end());
    assert!(!Tokens::new(b"/*! x").is_at_end());
}

proptest! {
    #[test]
    fn any_bytes_end_in_at_most_one_token_a_byte(text in any::<Vec<u8>>()) {
        prop_assert!(Tokens::new(&text).count() <= text.len());
    }

    #[test]
    fn likely_bytes_too(text in "[-/*!M#'\"`\\\\ \n;5a+]{0,40}") {
        let tokens: Vec<_> = Tokens::new(text.as_bytes()).collect();
        prop_assert!(tokens.len() <= text.len());
        prop_assert!(tokens.iter().rev().skip(1).all(|token| *token != Unclear));
    }
}
