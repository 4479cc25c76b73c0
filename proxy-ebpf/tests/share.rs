//! What real programs say in steady state, as `tests/trap-share/measure.py` has recorded it from seven frameworks and `sysbench`, is spliced.
#![expect(
    clippy::unwrap_used,
    reason = "a log that cannot be read fails the test"
)]

use sluice_ebpf::{
    automaton::{self, Backslash, TextVerdict},
    classify::classify_text,
    reason::TrapReason,
};
use std::{collections::BTreeMap, fs, path::Path};

/// Of a hundred commands as many may trap.
const PERCENT_MAX: u64 = 2;

/// A line of a log: how many there were, of which kind, and the text of one.
fn parse(line: &str) -> (u64, &str, String) {
    let mut columns = line.splitn(3, '\t');
    let mut next = || columns.next().unwrap();
    (next().parse().unwrap(), next(), plain(next()))
}

/// A text without its escapes.
fn plain(escaped: &str) -> String {
    let mut text = String::new();
    let mut characters = escaped.chars();
    while let Some(character) = characters.next() {
        text.push(match (character, character == '\\') {
            (_, false) => character,
            (_, true) => match characters.next().unwrap() {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                other => other,
            },
        });
    }
    text
}

/// Why a command traps, once the server has said that backslashes escape.
fn trap(command: &str, text: &str) -> Option<TrapReason> {
    match command {
        // A statement that was prepared before; what it was prepared from is `Prepare`.
        "Execute" => None,
        "Prepare" => Some(TrapReason::Command),
        _ => match classify_text(automaton::START, text.as_bytes()) {
            TextVerdict::Splice(_) => None,
            TextVerdict::Trap(TrapReason::Backslash) => {
                match automaton::scan_with(Backslash::ESCAPES, automaton::START, text.as_bytes()) {
                    TextVerdict::Splice(_) => None,
                    TextVerdict::Trap(reason) => Some(reason),
                }
            }
            TextVerdict::Trap(reason) => Some(reason),
        },
    }
}

#[test]
fn recorded_programs_trap_seldom() {
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/trap-share/logs");
    let mut programs = 0;
    for entry in fs::read_dir(logs).unwrap() {
        let path = entry.unwrap().path();
        let (mut commands, mut trapped) = (0, 0);
        let mut reasons = BTreeMap::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let (count, command, text) = parse(line);
            commands += count;
            if let Some(reason) = trap(command, &text) {
                trapped += count;
                reasons.entry(format!("{reason:?}")).or_insert(text);
            }
        }
        programs += 1;
        assert!(commands >= 1000, "{}: {commands} commands", path.display());
        assert!(
            trapped * 100 < commands * PERCENT_MAX,
            "{}: {trapped} of {commands} commands trap: {reasons:?}",
            path.display()
        );
    }
    assert!(programs >= 8, "{programs} logs");
}

#[test]
fn what_traps_is_counted() {
    assert_eq!(trap("Query", "SET @a = 1"), Some(TrapReason::Verb));
    assert_eq!(trap("Prepare", "SELECT 1"), Some(TrapReason::Command));
    for text in ["SELECT 'it\\'s'", "SET AUTOCOMMIT = 0", "SELECT 1"] {
        assert_eq!(trap("Query", text), None, "{text}");
    }
    let (count, command, text) = parse("7\tQuery\tSELECT 'a\\\\n',\\n1");
    assert_eq!((count, command, &*text), (7, "Query", "SELECT 'a\\n',\n1"));
}
