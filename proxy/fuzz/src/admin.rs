//! The statements that Sluice answers itself, as text and prepared.

use sluice::admin::courtesy::{self, Facts};
use sluice::admin::prepared::Template;
use sluice::sql::like::like;
use sluice::sql::secret;
use sluice_ebpf::automaton::{START, TextVerdict};
use sluice_ebpf::classify;

/// What surrounds a statement changes nothing of it; the kernel passes none of them on.
pub fn admin(text: &[u8]) {
    let shown = || text.escape_ascii().to_string();
    let whole = sluice::admin::parse(text).map(Result::ok);
    for around in [
        [b" ", text, b""].concat(),
        [b"/* x */", text, b""].concat(),
        [b"-- x\n", text, b""].concat(),
    ] {
        let read = sluice::admin::parse(&around).map(Result::ok);
        assert_eq!(
            format!("{read:?}"),
            format!("{whole:?}"),
            "{} within {}",
            shown(),
            around.escape_ascii()
        );
    }
    if whole.is_some() {
        assert!(
            matches!(classify::classify_text(START, text), TextVerdict::Trap(_)),
            "spliced: {}",
            shown()
        );
        assert!(
            Template::read(text).is_some(),
            "not to be prepared: {}",
            shown()
        );
    }
    if let Some(Ok(template)) = Template::read(text) {
        assert!(template.parameters() <= text.len());
        let values = [];
        let bound = template.bind(&values);
        assert!(
            template.parameters() > 0 || bound.is_ok(),
            "cannot be bound: {}",
            shown()
        );
    }
    assert!(text.starts_with(secret::shown(text)));
    let facts = Facts {
        version: "5.7.0",
        connection_id: 1,
        user: "a@b",
        packet_bytes_max: 1 << 24,
    };
    let _answer = courtesy::answer(text, &facts);
    let (pattern, text) = text.split_at(text.len() / 4);
    let _matches = like(pattern, text);
    let is_text = str::from_utf8(pattern).is_ok();
    assert!(pattern.is_empty() || !is_text || like(&[pattern, b"%"].concat(), pattern));
}
