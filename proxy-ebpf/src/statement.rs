//! A prepared statement's word in the map record, and what it says of a command that names the statement.
//!
//! The word says that a statement may be spliced, which it is to the writer. Of one that is *followed* the programs note what executions say of its parameters
//! ([`notes`]), so that another node can be told; one that opens a cursor, or whose types cannot be noted, is the daemon's. Of one that surely reads in a session
//! with a reader the word says which of the session's nodes can execute it: has prepared it, and was told the types of its parameters. These are part of the
//! record, and an execution that names others is the daemon's: so whichever node has executed it last, every node that can knows what an execution without
//! types means. The writer knows it by the client's id; the reader's stands in the record, and the programs write it into the executions that go there.

use crate::{aim::Aim, classify::StatementCommand, notes, response::Window};

/// The most parameters of a statement whose executions go to the reader.
pub const PARAMETERS_MAX: u32 = 4;
/// The statement's id.
const ID: u64 = 0xffff_ffff;
/// The place is taken.
const TAKEN: u64 = 1 << 32;
/// It surely reads.
const READS: u64 = 1 << 33;
/// The writer can execute it.
const AT_WRITER: u64 = 1 << 34;
/// The reader can.
const AT_READER: u64 = 1 << 35;
/// Where the count of its parameters is, and how many bits it has.
const PARAMETERS_AT: u32 = 36;
const PARAMETERS_MASK: u64 = 7;
/// It is followed.
const FOLLOWED: u64 = 1 << 39;
/// A cursor of it may be open.
const CURSOR: u64 = 1 << 40;
/// Where the count of a followed one's parameters is, and how many bits it has.
const FOLLOWED_AT: u32 = 41;
const FOLLOWED_MASK: u64 = 15;
/// In the flags of `COM_STMT_EXECUTE`: `PARAMETER_COUNT_AVAILABLE`, with query attributes.
const COUNT_AVAILABLE: u8 = 8;
/// Places in the payload of a `COM_STMT_EXECUTE`: its flags, and what is behind the count of iterations.
const FLAGS_AT: u32 = 5;
const PARAMETERS_FROM: u32 = 10;

/// The word of a statement that is spliced to the writer.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "part of a program")]
pub const fn plain(id: u32) -> u64 {
    TAKEN | id as u64
}

/// The word of a statement that surely reads, with at most [`PARAMETERS_MAX`] parameters, and the nodes that can execute it.
#[must_use]
pub const fn reading(id: u32, parameters: u32, at_writer: bool, at_reader: bool) -> u64 {
    let nodes = if at_writer { AT_WRITER } else { 0 } | if at_reader { AT_READER } else { 0 };
    plain(id) | READS | nodes | (parameters as u64 & PARAMETERS_MASK) << PARAMETERS_AT
}

/// The word of a statement whose executions are noted, with at most [`notes::PARAMETERS_MAX`] parameters; of one that may have an open cursor none is
/// spliced until that is gone.
#[must_use]
pub const fn followed(id: u32, parameters: u32, may_have_cursor: bool) -> u64 {
    let cursor = if may_have_cursor { CURSOR } else { 0 };
    plain(id) | FOLLOWED | cursor | (parameters as u64 & FOLLOWED_MASK) << FOLLOWED_AT
}

/// Whether the word is a statement's that is followed.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "part of a program")]
pub const fn is_followed(word: u64) -> bool {
    word & FOLLOWED != 0
}

/// Whether the word is this statement's.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "part of a program")]
pub const fn is_of(word: u64, id: u32) -> bool {
    word & (TAKEN | ID) == plain(id)
}

/// Whether a command without a response may be passed on to the writer.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "part of a program")]
pub const fn may_be_silent(word: u64, command: StatementCommand) -> bool {
    // What it brings belongs to one node; a close is for both.
    word & READS == 0
        || !matches!(
            command,
            StatementCommand::SendLongData | StatementCommand::Close
        )
}

/// Which node a command for the statement with this word is for; none where the daemon must see it. `types` are those of its parameters, 16 bits each, the
/// first one's in the lowest. The command's payload has `length` bytes and begins at `at`; `attributes`: the session has query attributes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of a program")]
pub fn aim(
    word: u64,
    types: u64,
    command: StatementCommand,
    window: &impl Window,
    at: u32,
    length: u32,
    attributes: bool,
) -> Option<Aim> {
    if word & READS == 0 {
        return Some(Aim::Writer);
    }
    match command {
        StatementCommand::Fetch | StatementCommand::Reset => return Some(Aim::Writer),
        StatementCommand::SendLongData | StatementCommand::Close => return None,
        StatementCommand::Execute => {}
    }
    let parameters = (word >> PARAMETERS_AT & PARAMETERS_MASK) as u32;
    if parameters != 0 && !names_only(types, parameters, window, at, length, attributes) {
        return None;
    }
    if window.byte(at + FLAGS_AT)? & !COUNT_AVAILABLE != 0 {
        // It opens a cursor, which is one node's.
        return None;
    }
    match word & (AT_WRITER | AT_READER) {
        0 => None,
        AT_WRITER => Some(Aim::AtWriter),
        AT_READER => Some(Aim::AtReader),
        _ => Some(Aim::Reader),
    }
}

/// What a command for the followed statement with this word, which is the writer's, changes in its note; none where the daemon must see it. The command's
/// payload has `length` bytes and begins at `at`; `attributes`: the session has query attributes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of a program")]
pub fn change(
    word: u64,
    command: StatementCommand,
    window: &impl Window,
    at: u32,
    length: u32,
    attributes: bool,
) -> Option<u64> {
    match command {
        StatementCommand::Fetch | StatementCommand::Close => return Some(notes::NOTHING),
        StatementCommand::SendLongData => return Some(notes::LONG_DATA),
        StatementCommand::Execute | StatementCommand::Reset if word & CURSOR != 0 => return None,
        StatementCommand::Reset => return Some(notes::USED_UP),
        StatementCommand::Execute => {}
    }
    if length < PARAMETERS_FROM || window.byte(at + FLAGS_AT)? & !COUNT_AVAILABLE != 0 {
        return None;
    }
    let parameters = (word >> FOLLOWED_AT & FOLLOWED_MASK) as u32;
    if parameters == 0 {
        return Some(notes::USED_UP);
    }
    // With query attributes there is a count of all, and each type has a name behind it, which is empty.
    let more = u32::from(attributes);
    let bitmap = if parameters > 8 { 2 } else { 1 };
    let named_at = PARAMETERS_FROM + more + bitmap;
    if named_at >= length || (attributes && window.byte(at + PARAMETERS_FROM)? != parameters as u8)
    {
        return None;
    }
    match window.byte(at + named_at)? {
        0 => Some(notes::USED_UP),
        1 if named_at + 1 + parameters * (2 + more) <= length => {
            types(parameters, window, at + named_at + 1, attributes)
        }
        _ => None,
    }
}

/// What an execution changes that names its parameters' types at `place`.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of a program")]
fn types(parameters: u32, window: &impl Window, mut place: u32, attributes: bool) -> Option<u64> {
    let mut change = notes::USED_UP;
    let mut parameter = 0;
    while parameter < notes::PARAMETERS_MAX {
        if parameter >= parameters {
            break;
        }
        let code = notes::code(window.byte(place)?, window.byte(place + 1)?)?;
        if attributes && window.byte(place + 2)? != 0 {
            return None;
        }
        change = notes::with_type(change, parameter, code);
        place += 2 + u32::from(attributes);
        parameter += 1;
    }
    Some(change)
}

/// Whether an execution names no types, or these.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of a program")]
fn names_only(
    types: u64,
    parameters: u32,
    window: &impl Window,
    at: u32,
    length: u32,
    attributes: bool,
) -> bool {
    // With query attributes there is a count of all, and each type has a name behind it, which is empty.
    let more = u32::from(attributes);
    let named_at = PARAMETERS_FROM + 1 + more;
    if named_at + 1 + parameters * (2 + more) > length {
        // Without types it may be as short as this.
        return named_at < length && window.byte(at + named_at) == Some(0) && !attributes;
    }
    if attributes && window.byte(at + PARAMETERS_FROM).map(u32::from) != Some(parameters) {
        return false;
    }
    match window.byte(at + named_at) {
        Some(0) => return true,
        Some(1) => {}
        _ => return false,
    }
    let mut place = at + named_at + 1;
    let mut differs = 0;
    let mut wanted = types;
    let mut parameter = 0;
    while parameter < PARAMETERS_MAX {
        if parameter < parameters {
            let (Some(low), Some(high)) = (window.byte(place), window.byte(place + 1)) else {
                return false;
            };
            differs |= (u64::from(low) | u64::from(high) << 8) ^ (wanted & 0xffff);
            if attributes {
                differs |= match window.byte(place + 2) {
                    Some(name) => name.into(),
                    None => 1,
                };
            }
        }
        wanted >>= 16;
        place += 2 + more;
        parameter += 1;
    }
    differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use StatementCommand::{Close, Execute, Fetch, Reset, SendLongData};

    /// `MYSQL_TYPE_LONG`, and an unsigned `MYSQL_TYPE_LONGLONG`.
    const TYPES: u64 = 0x8008_0003;

    fn execution(attributes: bool, flags: u8, types: Option<[u16; 2]>) -> Vec<u8> {
        let mut payload = vec![0x17, 7, 0, 0, 0, flags, 1, 0, 0, 0];
        payload.extend(attributes.then_some(2));
        payload.push(0);
        payload.push(u8::from(types.is_some()));
        for one in types.into_iter().flatten() {
            payload.extend(one.to_le_bytes());
            payload.extend(attributes.then_some(0));
        }
        payload.extend(b"values");
        payload
    }

    fn found(word: u64, payload: &[u8], attributes: bool) -> Option<Aim> {
        let message = [b"head", payload].concat();
        let length = u32::try_from(payload.len()).unwrap();
        aim(
            word,
            TYPES,
            Execute,
            &message.as_slice(),
            4,
            length,
            attributes,
        )
    }

    #[test]
    fn a_word_names_its_statement() {
        for word in [plain(7), reading(7, 4, true, true)] {
            assert!(is_of(word, 7) && !is_of(word, 8));
        }
        assert!(!is_of(0, 0) && is_of(plain(u32::MAX), u32::MAX));
    }

    #[test]
    fn an_execution_goes_where_its_types_are_known() {
        for attributes in [false, true] {
            for (types, is_known) in [
                (None, true),
                (Some([3, 0x8008]), true),
                (Some([3, 8]), false),
                (Some([4, 0x8008]), false),
                (Some([0x8008, 3]), false),
            ] {
                let payload = execution(attributes, 0, types);
                for (at_writer, at_reader, wanted) in [
                    (true, true, Some(Aim::Reader)),
                    (true, false, Some(Aim::AtWriter)),
                    (false, true, Some(Aim::AtReader)),
                    (false, false, None),
                ] {
                    let word = reading(7, 2, at_writer, at_reader);
                    assert_eq!(
                        found(word, &payload, attributes),
                        wanted.filter(|_| is_known),
                        "{types:?}"
                    );
                }
                assert_eq!(found(plain(7), &payload, attributes), Some(Aim::Writer));
            }
        }
    }

    #[test]
    fn what_is_no_plain_execution_is_the_daemons() {
        let both = reading(7, 2, true, true);
        let cursor = execution(false, 1, None);
        assert_eq!(found(both, &cursor, false), None);
        assert_eq!(found(plain(7), &cursor, false), Some(Aim::Writer));
        // A query attribute, and a parameter with a name.
        let mut more = execution(true, 8, Some([3, 0x8008]));
        assert_eq!(found(both, &more, true), Some(Aim::Reader));
        more[15] = 1;
        assert_eq!(found(both, &more, true), None);
        let mut other = execution(true, 8, Some([3, 0x8008]));
        other[10] = 3;
        assert_eq!(found(both, &other, true), None);
        // NULLs alone need no values.
        assert_eq!(
            found(both, &execution(false, 0, None)[..12], false),
            Some(Aim::Reader)
        );
        let payload = execution(false, 0, Some([3, 0x8008]));
        for cut in 6..16 {
            assert_eq!(found(both, &payload[..cut], false), None, "{cut}");
        }
        assert_eq!(found(both, &payload[..16], false), Some(Aim::Reader));
        let bare = [0x17, 7, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(
            found(reading(7, 0, true, true), &bare, false),
            Some(Aim::Reader)
        );
        assert_eq!(found(reading(7, 0, true, true), &bare[..5], false), None);
    }

    /// What an execution of a followed statement with as many parameters changes, which names these types.
    fn changed(kinds: &[[u8; 2]], attributes: bool, cut: usize) -> Option<u64> {
        let count = u8::try_from(kinds.len()).unwrap();
        let mut payload = vec![0x17, 7, 0, 0, 0, 0, 1, 0, 0, 0];
        payload.extend(attributes.then_some(count));
        payload.resize(payload.len() + kinds.len().div_ceil(8), 0xff);
        payload.push(1);
        for kind in kinds {
            payload.extend(kind);
            payload.extend(attributes.then_some(0));
        }
        payload.truncate(payload.len() - cut);
        let message = [b"head", &payload[..], &[1; 64]].concat();
        let length = u32::try_from(payload.len()).unwrap();
        let word = followed(7, count.into(), false);
        change(word, Execute, &message.as_slice(), 4, length, attributes)
    }

    #[test]
    fn what_an_execution_says_of_its_parameters_is_noted() {
        for count in 1..=10_u8 {
            let kinds: Vec<_> = (0..count).map(|at| [at, at << 7]).collect();
            let codes = kinds.iter().map(|[low, high]| notes::code(*low, *high));
            let wanted = (0..).zip(codes).try_fold(0, |all, (parameter, code)| {
                Some(notes::with_type(all, parameter, code?))
            });
            assert!(wanted.is_some());
            for attributes in [false, true] {
                assert_eq!(changed(&kinds, attributes, 0), wanted, "{kinds:?}");
                for cut in 1..=2 * kinds.len() {
                    assert_eq!(changed(&kinds, attributes, cut), None, "{cut}");
                }
                let mut strange = kinds.clone();
                strange[usize::from(count) - 1] = [16, 0];
                assert_eq!(changed(&strange, attributes, 0), None);
            }
        }
    }

    #[test]
    fn what_cannot_be_noted_is_the_daemons() {
        let change = |parameters, payload: &[u8], cursor, attributes| {
            let message = [b"head", payload].concat();
            let length = u32::try_from(payload.len()).unwrap();
            let word = followed(7, parameters, cursor);
            assert!(is_followed(word) && is_of(word, 7) && !is_followed(plain(7)));
            change(word, Execute, &message.as_slice(), 4, length, attributes)
        };
        let plain = execution(false, 0, None);
        assert_eq!(change(2, &plain, false, false), Some(notes::USED_UP));
        assert_eq!(change(2, &plain, true, false), None);
        assert_eq!(change(2, &execution(false, 1, None), false, false), None);
        assert_eq!(change(2, &plain[..11], false, false), None);
        assert_eq!(change(0, &plain[..10], false, false), Some(notes::USED_UP));
        assert_eq!(change(0, &plain[..9], false, false), None);
        // Query attributes: a count of them, names.
        let mut named = execution(true, 8, Some([3, 0x8008]));
        assert!(change(2, &named, false, true).is_some());
        assert_eq!(change(3, &named, false, true), None);
        named[15] = 1;
        assert_eq!(change(2, &named, false, true), None);
        named[12] = 2;
        assert_eq!(change(2, &named, false, true), None);
    }

    #[test]
    fn other_commands_of_a_followed_statement_are_noted() {
        let window: &[u8] = &[];
        let change =
            |command, cursor| change(followed(7, 1, cursor), command, &window, 0, 5, false);
        for cursor in [false, true] {
            assert_eq!(change(Fetch, cursor), Some(notes::NOTHING));
            assert_eq!(change(Close, cursor), Some(notes::NOTHING));
            assert_eq!(change(SendLongData, cursor), Some(notes::LONG_DATA));
            let reset = (!cursor).then_some(notes::USED_UP);
            assert_eq!(change(Reset, cursor), reset);
            assert_eq!(change(Execute, cursor), None);
            assert!(may_be_silent(followed(7, 1, cursor), SendLongData));
        }
    }

    #[test]
    fn other_commands_are_the_writers() {
        let word = reading(7, 0, true, true);
        for (command, wanted) in [
            (Close, None),
            (Fetch, Some(Aim::Writer)),
            (Reset, Some(Aim::Writer)),
            (SendLongData, None),
        ] {
            let window: &[u8] = &[];
            assert_eq!(aim(word, 0, command, &window, 0, 0, false), wanted);
            assert_eq!(
                aim(plain(7), 0, command, &window, 0, 0, false),
                Some(Aim::Writer)
            );
            assert_eq!(
                may_be_silent(word, command),
                !matches!(command, SendLongData | Close)
            );
            assert!(may_be_silent(plain(7), command));
        }
    }
}
