//! A Rust file as a flat list of tokens: without comments, with literals in one piece, so that a search finds code only.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::path::PathBuf;

/// One token; `::` is one, and so is each bracket.
pub(super) struct Token {
    /// As it stands in the file.
    pub(super) text: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// Inside an item that is marked `#[cfg(test)]`.
    pub(super) in_test: bool,
}

/// One file.
pub(super) struct Source {
    /// Relative to the workspace.
    pub(super) path: PathBuf,
    /// Number of lines.
    pub(super) lines: usize,
    /// All tokens, in order.
    pub(super) tokens: Vec<Token>,
}

impl Source {
    /// Reads Rust source text.
    ///
    /// # Errors
    /// Text that is not Rust.
    pub(super) fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let stream: TokenStream = text
            .parse()
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let mut tokens = Vec::new();
        flatten(stream, false, &mut tokens);
        Ok(Self {
            path,
            lines: text.lines().count(),
            tokens,
        })
    }

    /// All paths with a `::` in them, those of `use` written out: `use a::{b, c::d}` gives `a::b` and `a::c::d`. With the number of
    /// the token at which each ends.
    pub(super) fn paths(&self) -> Vec<(Vec<&str>, &Token)> {
        let mut found = Vec::new();
        let mut next = 0;
        while let Some(token) = self.tokens.get(next) {
            let after = self.text(next + 1);
            if after == "::" && is_word(&token.text) {
                next = self.path(next, Vec::new(), &mut found);
            } else {
                next += 1;
            }
        }
        found
    }

    /// Reads one path, or tree of a `use`, that begins at token `next`; returns the number of the token behind it.
    fn path<'a>(
        &'a self,
        mut next: usize,
        mut path: Vec<&'a str>,
        found: &mut Vec<(Vec<&'a str>, &'a Token)>,
    ) -> usize {
        while let Some(token) = self.tokens.get(next) {
            if token.text == "{" {
                return self.group(next + 1, &path, found);
            }
            if is_word(&token.text) || token.text == "*" {
                path.push(&token.text);
                next += 1;
            }
            if self.text(next) != "::" {
                found.push((path, token));
                return next;
            }
            next += 1;
        }
        next
    }

    /// Reads the trees between braces from token `next` on; returns the number of the token behind the closing brace.
    fn group<'a>(
        &'a self,
        mut next: usize,
        prefix: &[&'a str],
        found: &mut Vec<(Vec<&'a str>, &'a Token)>,
    ) -> usize {
        while next < self.tokens.len() && self.text(next) != "}" {
            next = self.path(next, prefix.to_vec(), found);
            // `as name`, then a comma.
            while next < self.tokens.len() && self.text(next) != "," && self.text(next) != "}" {
                next += 1;
            }
            if self.text(next) == "," {
                next += 1;
            }
        }
        next + 1
    }

    fn text(&self, number: usize) -> &str {
        self.tokens.get(number).map_or("", |token| &token.text)
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Appends a stream's tokens. What follows `#[cfg(test)]`, up to its braces or semicolon, is test code.
fn flatten(stream: TokenStream, in_test: bool, tokens: &mut Vec<Token>) {
    let mut item_in_test = in_test;
    let mut after_hash = false;
    let mut joint = false;
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |text: String, in_test: bool| {
            tokens.push(Token {
                text,
                line,
                in_test,
            });
        };
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = brackets(group.delimiter());
                item_in_test |=
                    after_hash && group.stream().to_string().replace(' ', "") == "cfg(test)";
                push(open.to_owned(), item_in_test);
                let end = group.span_close().start().line;
                flatten(group.stream(), item_in_test, tokens);
                tokens.push(Token {
                    text: close.to_owned(),
                    line: end,
                    in_test: item_in_test,
                });
                if group.delimiter() == Delimiter::Brace {
                    item_in_test = in_test;
                }
                after_hash = false;
                joint = false;
            }
            TokenTree::Punct(punct) => {
                let text = punct.as_char();
                match tokens.last_mut() {
                    Some(last) if joint && text == ':' && last.text == ":" => last.text.push(':'),
                    _ => tokens.push(Token {
                        text: text.to_string(),
                        line,
                        in_test: item_in_test,
                    }),
                }
                if text == ';' {
                    item_in_test = in_test;
                }
                after_hash = text == '#' || (after_hash && text == '!');
                joint = punct.spacing() == Spacing::Joint;
            }
            other => {
                push(other.to_string(), item_in_test);
                after_hash = false;
                joint = false;
            }
        }
    }
}

fn brackets(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_of(text: &str) -> Vec<String> {
        let source = Source::parse(PathBuf::from("x.rs"), text).unwrap();
        let paths = source.paths();
        paths
            .iter()
            .filter(|(_, token)| !token.in_test)
            .map(|(path, _)| path.join("::"))
            .collect()
    }

    #[test]
    fn paths_are_written_out_and_test_code_is_marked() {
        let cases: &[(&str, &[&str])] = &[
            ("use a::b;", &["a::b"]),
            (
                "use a::{b, c::d as e, f::{self, g}, h::*};",
                &["a::b", "a::c::d", "a::f::self", "a::f::g", "a::h::*"],
            ),
            ("// a::b\n/* a::b */ const X: &str = \"a::b\";", &[]),
            ("fn f() { a::b(); x.y(c::d::<u8>::e()) }", &["a::b", "c::d"]),
            ("#[cfg(test)] mod tests { use a::b; } use c::d;", &["c::d"]),
            ("#[cfg(test)] use a::b; use c::d;", &["c::d"]),
            ("#[cfg(unix)] mod m { use a::b; }", &["a::b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(paths_of(text), *expected, "{text}");
        }
    }
}
