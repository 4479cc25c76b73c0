//! No random text that a replica may answer has a call that is not surely pure, or a word that means the writer, to a second lexer
//! that was written apart from the automaton and in another way: over the whole text, token by token.
//!
//! `AIM_TEXTS=n` makes that many texts of random seeds more.

#[cfg(test)]
mod lexer;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod texts;

use lexer::Server;
use rules::Finding;
use sluice_ebpf::aim::{self, Aim, START, START_WITH_ATTRIBUTES};
use sluice_ebpf::automaton::{self, Backslash, Kind, TextVerdict};
use texts::Texts;

/// Texts of a seed that is always the same.
const FIXED_TEXTS: u64 = 1_000_000;

/// What was seen of the texts, by the automaton's verdict.
#[derive(Debug, Default)]
struct Counts {
    writer: u64,
    last: u64,
    reader: u64,
    /// Texts for a replica in which a word stands right before a parenthesis.
    calls: u64,
}

/// Looks at `number` texts; `Err` is one for which the automaton must not say what it says. `seen` is what it sees of a byte. Where backslashes
/// are known to escape, texts of which the first automaton does not say that they read have no meaning.
fn run(
    seed: u64,
    number: u64,
    backslash: Backslash,
    seen: impl Fn(u8) -> u8,
) -> Result<Counts, String> {
    let escapes = backslash == Backslash::ESCAPES;
    let mut counts = Counts::default();
    let mut texts = Texts::new(seed);
    for _ in 0..number {
        let text = texts.next();
        let end = text.iter().fold(START, |state, &byte| {
            aim::step_with(backslash, state, seen(byte))
        });
        let verdict = aim::verdict(end);
        let reads = automaton::scan_with(backslash, automaton::START, text);
        if escapes && reads != TextVerdict::Splice(Kind::Read) {
            continue;
        }
        match verdict {
            Aim::Writer => {
                counts.writer += 1;
                continue;
            }
            Aim::Hinted if text.windows(3).any(|bytes| bytes == b"/*+") => continue,
            Aim::Hinted => return Err(format!("no hint: {}", text.escape_ascii())),
            Aim::AtReader | Aim::AtWriter => {
                return Err(format!("no execution: {}", text.escape_ascii()));
            }
            Aim::Last => counts.last += 1,
            Aim::Reader => counts.reader += 1,
        }
        counts.calls += u64::from(
            verdict == Aim::Reader
                && text
                    .windows(2)
                    .any(|pair| matches!(pair, [letter, b'('] if letter.is_ascii_alphabetic())),
        );
        for server in Server::all().filter(|server| server.escapes || !escapes) {
            let found = rules::finding(server, text);
            let allowed = match verdict {
                Aim::Last => found == Finding::Before,
                _ => found == Finding::Nothing,
            };
            if !allowed {
                return Err(format!(
                    "{verdict:?} but {found:?} for {server:?}: {}",
                    text.escape_ascii()
                ));
            }
        }
    }
    Ok(counts)
}

#[test]
fn no_replica_is_asked_what_it_may_not_answer() {
    let known = run(2, FIXED_TEXTS, Backslash::ESCAPES, |byte| byte).unwrap();
    println!("backslashes escape: {known:?}");
    assert!(known.reader > FIXED_TEXTS / 1000, "{known:?}");
    let counts = run(1, FIXED_TEXTS, Backslash::UNKNOWN, |byte| byte).unwrap();
    println!("{counts:?}");
    assert!(
        counts.reader > FIXED_TEXTS / 100
            && counts.last > FIXED_TEXTS / 1000
            && counts.calls > FIXED_TEXTS / 1000,
        "{counts:?}: the texts say nothing"
    );
    let more = std::env::var("AIM_TEXTS").ok().map(|n| n.parse().unwrap());
    if let Some(more) = more {
        let seed = std::process::id().into();
        for backslash in [Backslash::UNKNOWN, Backslash::ESCAPES] {
            let counts = run(seed, more, backslash, |byte| byte).unwrap();
            println!("seed {seed}, {backslash:?}: {counts:?}");
        }
    }
}

/// An automaton that takes one byte for another is found out.
#[test]
fn the_second_lexer_finds_mistakes() {
    let mistakes = [
        (b'.', b' '),
        (b'(', b' '),
        (b'`', b' '),
        (b'\'', b'x'),
        (b'"', b'\''),
        (b'*', b'x'),
        (b'/', b' '),
        (b'-', b' '),
        (b'#', b' '),
        (b'\\', b'x'),
        (b'@', b'='),
        (b';', b' '),
        (b'!', b' '),
        (b'_', b' '),
        (b'$', b' '),
        (b'1', b' '),
        (0xa0, b' '),
        (b'x', b' '),
        (b'F', b'A'),
        (b'Q', b'X'),
        (b'V', b'W'),
        (b'Y', b'X'),
    ];
    for (byte, taken) in mistakes {
        let found = run(1, FIXED_TEXTS, Backslash::UNKNOWN, |seen| {
            if seen.eq_ignore_ascii_case(&byte) {
                taken
            } else {
                seen
            }
        });
        println!("{} for {}: {found:?}", taken as char, byte.escape_ascii());
        assert!(found.is_err(), "{byte} taken for {taken} is not found");
    }
}

#[test]
fn query_attributes_change_nothing_else() {
    let mut texts = Texts::new(3);
    for _ in 0..10_000 {
        let text = texts.next();
        let with = [b"\0\x01", text].concat();
        assert_eq!(
            aim::scan(START_WITH_ATTRIBUTES, &with),
            aim::scan(START, text),
            "{}",
            text.escape_ascii()
        );
    }
}
