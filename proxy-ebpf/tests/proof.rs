//! The automaton never splices what it must not, for every text of every length: it and the reference lexer are finite, so the
//! pairs of states that any text leads to can be walked and checked one by one.

mod reference;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use reference::{Reference, Server};
use sluice_ebpf::automaton::{
    self, BYTE_CLASSES, Backslash, Kind, START, START_WITH_ATTRIBUTES, STATES, TABLE_BYTES,
    TextVerdict,
};

type Pair = (u8, Reference);

/// Walks all pairs that texts lead to, breadth first; `Err` is a shortest text whose end is spliced against the reference.
fn prove(server: Server, step: impl Fn(u8, u8) -> u8) -> Result<HashMap<Pair, (Pair, u8)>, String> {
    let start = (START, Reference::START);
    let mut seen = HashMap::from([(start, (start, 0))]);
    let mut queue = vec![start];
    let mut next = 0;
    while let Some(&pair @ (state, reference)) = queue.get(next) {
        next += 1;
        if let TextVerdict::Splice(kind) = automaton::verdict(state) {
            let allowed = match (kind, reference.end()) {
                (Kind::Write, Ok(truth)) => truth != Kind::Transaction,
                (_, truth) => truth == Ok(kind),
            };
            if !allowed {
                return Err(format!(
                    "{kind:?} but {:?}: {}",
                    reference.end(),
                    text(&seen, start, pair)
                ));
            }
        }
        if automaton::is_final(state) {
            continue;
        }
        let mut last = pair;
        for byte in 0..=u8::MAX {
            let after = (step(state, byte), reference.feed(server, byte));
            if after == last {
                continue;
            }
            last = after;
            if let Entry::Vacant(entry) = seen.entry(after) {
                entry.insert((pair, byte));
                queue.push(after);
            }
        }
    }
    Ok(seen)
}

/// The text by which the walk came to a pair.
fn text(seen: &HashMap<Pair, (Pair, u8)>, start: Pair, mut pair: Pair) -> String {
    let mut text = Vec::new();
    while pair != start {
        let (before, byte) = seen[&pair];
        text.push(byte);
        pair = before;
    }
    text.reverse();
    text.escape_ascii().to_string()
}

/// All servers, with what may be known of their backslashes: that they escape only where they do.
fn known() -> impl DoubleEndedIterator<Item = (Server, Backslash)> {
    let escaping = Server::all().filter(|server| server.escapes);
    Server::all()
        .map(|server| (server, Backslash::UNKNOWN))
        .chain(escaping.map(|server| (server, Backslash::ESCAPES)))
}

#[test]
fn nothing_is_spliced_against_the_reference() {
    let mut pairs = 0;
    let mut reached = [false; 256];
    for (server, backslash) in known() {
        let step = |state, byte| automaton::step_with(backslash, state, byte);
        match prove(server, step) {
            Ok(seen) => {
                pairs += seen.len();
                for (state, _) in seen.keys() {
                    reached[usize::from(*state)] = true;
                }
            }
            Err(text) => panic!("{server:?}, {backslash:?}: {text}"),
        }
    }
    let reached = reached.iter().filter(|reached| **reached).count();
    println!(
        "{pairs} pairs; {STATES} states, {BYTE_CLASSES} classes, {TABLE_BYTES} bytes of tables"
    );
    assert_eq!(
        reached,
        STATES - 2,
        "a state that no text leads to, beside those of query attributes"
    );
}

#[test]
fn query_attributes_only_come_before() {
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let state = automaton::step(automaton::step(START_WITH_ATTRIBUTES, first), second);
            if (first, second) == (0, 1) {
                assert_eq!(state, START);
            } else {
                assert!(
                    automaton::is_final(state)
                        && matches!(automaton::verdict(state), TextVerdict::Trap(_))
                );
            }
        }
    }
    assert!(matches!(
        automaton::verdict(automaton::step(START_WITH_ATTRIBUTES, 0)),
        TextVerdict::Trap(_)
    ));
}

/// Where backslashes are said to escape and do not, the proof says so.
#[test]
fn what_is_known_of_backslashes_matters() {
    for server in Server::all().filter(|server| !server.escapes) {
        let step = |state, byte| automaton::step_with(Backslash::ESCAPES, state, byte);
        let found = prove(server, step);
        println!("{server:?}: {found:?}");
        assert!(found.is_err(), "{server:?}");
    }
}

/// Where a string behind DATE is taken for any other, the proof finds OceanBase's.
#[test]
fn strings_behind_date_matter() {
    let behind = |text: &[u8]| {
        text.iter()
            .fold(START, |state, &byte| automaton::step(state, byte))
    };
    let [plain, dated] = [b"SELECT x'", b"SELECT t'"].map(|text| behind(text));
    assert_ne!(plain, dated);
    let mutant = |state, byte| match automaton::step_with(Backslash::ESCAPES, state, byte) {
        to if to == dated => plain,
        to => to,
    };
    let (oceanbase, other): (Vec<_>, Vec<_>) = Server::all()
        .filter(|server| server.escapes)
        .partition(|server| server.oceanbase);
    for server in oceanbase {
        let found = prove(server, mutant);
        println!("{server:?}: {found:?}");
        assert!(found.is_err(), "{server:?}");
    }
    assert!(
        other
            .into_iter()
            .all(|server| prove(server, mutant).is_ok())
    );
}

/// Each mutant takes one byte for another, as if a rule were missing; all must be found out.
#[test]
fn the_proof_finds_what_is_wrong() {
    let mutants: &[(u8, u8)] = &[
        (b'@', b','),
        (b';', b','),
        (b'\\', b'x'),
        (b'!', b'x'),
        (b'\'', b','),
        (b'"', b','),
        (b'`', b','),
        (0, b' '),
        (0xa0, b'x'),
        (b'\r', b' '),
        (b'#', b'+'),
        (b'{', b'('),
        (b'$', b'_'),
        (b'O', b'x'),
        (b'L', b'x'),
        (b'U', b'x'),
        (b'_', b'x'),
        (b'-', b'+'),
    ];
    for &(byte, taken_for) in mutants {
        let found = known().rev().find_map(|(server, backslash)| {
            let mutant = |state, read| {
                let read = if read == byte { taken_for } else { read };
                automaton::step_with(backslash, state, read)
            };
            prove(server, mutant).err()
        });
        println!(
            "{} for {}: {found:?}",
            byte.escape_ascii(),
            taken_for.escape_ascii()
        );
        assert!(
            found.is_some(),
            "{} for {}",
            byte.escape_ascii(),
            taken_for.escape_ascii()
        );
    }
}
