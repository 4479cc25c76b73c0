//! The classifier: what the kernel may pass on unseen. `proxy-ebpf/tests/proof.rs` proves it against a second lexer; here it is held against
//! what the rest of Sluice, and a parser that is not ours, think of the same text.

use crate::parser::parser_approves;
use sluice::admin::prepared::Template;
use sluice::session::aim::{Place, place_of};
use sluice::session::hint;
use sluice::session::sticky::{self, Knot, StickyReason};
use sluice::sql::assigned::Assigned;
use sluice_ebpf::aim::{self, Aim};
use sluice_ebpf::autocommit;
use sluice_ebpf::automaton::{self, Backslash, Kind, START, START_WITH_ATTRIBUTES, TextVerdict};
use sluice_ebpf::classify::{self, Verdict};
use sluice_ebpf::reason::TrapReason;

/// A text is classified the same whole and in portions; and one that is spliced has nothing in it that the daemon must see.
pub fn statement(text: &[u8]) {
    if autocommit::scan(autocommit::START, text) {
        only_sets_autocommit(text);
        return;
    }
    let verdict = classify::classify_text(START, text);
    in_portions(text, verdict);
    let known = automaton::scan_with(Backslash::ESCAPES, START, text);
    assert!(
        known == verdict || verdict == TextVerdict::Trap(TrapReason::Backslash),
        "{known:?} where backslashes are known to escape, else {verdict:?}: {}",
        text.escape_ascii()
    );
    hinted(text);
    // The daemon's own readers take both readings where a text has two.
    let TextVerdict::Splice(kind) = verdict else {
        return;
    };
    let shown = || text.escape_ascii().to_string();
    assert!(
        sluice::admin::parse(text).is_none() && Template::read(text).is_none(),
        "a statement of Sluice's is spliced: {}",
        shown()
    );
    assert!(
        sluice::admin::hidden(text).is_none(),
        "a statement of Sluice's hides in one that is spliced: {}",
        shown()
    );
    let assigned = Assigned::of(text);
    assert!(
        Assigned {
            unclear: false,
            ..assigned
        }
        .is_none(),
        "a text that changes variables is spliced: {}",
        shown()
    );
    assert!(
        !sticky::knots(text).iter().any(|knot| match knot {
            Knot::Tie(reason, _) => *reason != StickyReason::Unread,
            Knot::Prepare(..) | Knot::Execute(_) => true,
            Knot::Untie(..) | Knot::UntieAll(_) | Knot::Blur(_) => false,
        }),
        "a text that ties the session is spliced: {}",
        shown()
    );
    if let Ok(text) = str::from_utf8(text) {
        assert_ne!(
            parser_approves(text),
            Some(false),
            "spliced as {kind:?}: {text:?}"
        );
    }
}

/// The daemon reads the same in such a text, and nothing else.
fn only_sets_autocommit(text: &[u8]) {
    let shown = || text.escape_ascii().to_string();
    let expected = TextVerdict::Splice(Kind::Transaction);
    assert_eq!(
        classify::classify_text(START, text),
        expected,
        "{}",
        shown()
    );
    let assigned = Assigned {
        system: vec!["autocommit".to_owned()],
        ..Assigned::default()
    };
    assert_eq!(Assigned::of(text), assigned, "{}", shown());
    assert!(sluice::admin::parse(text).is_none() && sticky::knots(text).is_empty());
}

/// A hint sends to a replica only what one may answer without it, and one that is a comment is none.
fn hinted(text: &[u8]) {
    let plain = hint::without_hints(text);
    assert_eq!(plain.len(), text.len());
    let aim = aim::scan(aim::START, &plain);
    assert_ne!(aim, Aim::Hinted, "{}", plain.escape_ascii());
    // In a packet of its own, as long as a command of one packet may be.
    let length = text.len() + 1;
    let Ok(length) = u32::try_from(length) else {
        return;
    };
    let [a, b, c, 0] = length.to_le_bytes() else {
        return;
    };
    let packet = [&[a, b, c, 0, 3][..], text].concat();
    let place = place_of(&packet, false);
    assert!(
        matches!(place, Place::Writer | Place::Last) || aim == Aim::Reader,
        "{place:?}, but {aim:?} without its hint: {}",
        text.escape_ascii()
    );
}

/// As the kernel sees a text: in messages, behind its command's byte, with query attributes or without.
fn in_portions(text: &[u8], whole: TextVerdict) {
    let middle = text.len() / 2;
    let (first, second) = text.split_at(middle);
    let between = first
        .iter()
        .fold(START, |state, byte| automaton::step(state, *byte));
    let end = second
        .iter()
        .fold(between, |state, byte| automaton::step(state, *byte));
    if text.len() <= classify::SCAN_BYTES_MAX {
        assert_eq!(automaton::verdict(end), whole);
    }
    assert!(!automaton::is_final(between) || end == between);
    let command = [b"\x03", text].concat();
    let attributes = [b"\x03\x00\x01", text].concat();
    let nothing = |_id| None;
    let expected = match whole {
        TextVerdict::Splice(kind) => Verdict::Text(kind),
        TextVerdict::Trap(reason) => Verdict::Trap(reason),
    };
    assert_eq!(classify::classify(&command, nothing), expected);
    if text.len() + 2 <= classify::SCAN_BYTES_MAX {
        assert_eq!(
            classify::classify_from(START_WITH_ATTRIBUTES, &attributes, nothing),
            expected
        );
    }
}
