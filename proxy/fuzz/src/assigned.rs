//! Which variables a text may change, and what it ties the session to: read from any text that a client may send.

use sluice::protocol::packet::{self, HEADER_LEN};
use sluice::session::command::{self, Plan};
use sluice::session::sticky;
use sluice::session::trace::{Trace, needs_asking};
use sluice::sql::assigned::Assigned;
use std::collections::BTreeSet;

/// The most names that are kept of one text.
const NAMES_MAX: usize = 256;

/// Bounded, without doubles, and no less where more statements follow.
pub fn assigned(text: &[u8]) {
    let read = Assigned::of(text);
    let names: BTreeSet<_> = read.system.iter().collect();
    assert_eq!(names.len(), read.system.len(), "a system variable twice");
    assert!(read.system.len() + read.user.len() <= NAMES_MAX);
    assert!(read.prepared.len() <= NAMES_MAX && read.executed.len() <= NAMES_MAX);
    let _asked = needs_asking(&read);
    // An assignment of one's own in front is found whatever follows, and takes nothing away.
    let more = Assigned::of(&[b"SET @sluice = 1; ", text].concat());
    assert!(
        more.unclear
            || more
                .user
                .iter()
                .any(|name| name.eq_ignore_ascii_case("sluice")),
        "lost: {}",
        text.escape_ascii()
    );
    let kept = |name: &String| more.unclear || more.system.contains(name);
    assert!(
        read.unclear || read.system.iter().all(kept),
        "{}",
        text.escape_ascii()
    );
    as_command(text);
}

/// The same as the text of a command.
fn as_command(text: &[u8]) {
    for byte in [0x03, 0x16] {
        let mut bytes = bytes::BytesMut::new();
        packet::put(&mut bytes, 0, &[&[byte], text].concat());
        for attributes in [false, true] {
            assert!(
                !matches!(command::plan(&bytes, attributes), Plan::Wait),
                "waits for more of a whole command"
            );
            let _trace = Trace::of(&bytes, attributes);
            let _knots = sticky::knots_of_command(&bytes, attributes).after(true);
            assert!(command::text(&bytes, attributes).is_some() || bytes.len() <= HEADER_LEN);
        }
    }
}
