//! What the programs note of the executions that they splice of a prepared statement, so that the daemon knows what the node was told of it: the types of
//! its parameters that were named last, which an execution without types means, and whether `COM_STMT_SEND_LONG_DATA` has brought something for the next one.
//!
//! A note is one word, written at once. It counts only where its tag is the one that the daemon has set with the statement: so the daemon takes notes back
//! without writing to them.

/// The most parameters whose types fit into a note.
pub const PARAMETERS_MAX: u32 = 10;
/// Bits of one type's code.
const CODE_BITS: u32 = 6;
const CODE_MASK: u64 = (1 << CODE_BITS) - 1;
/// Where the types' codes are, the first parameter's in the lowest bits.
const CODES: u64 = (1 << (CODE_BITS * PARAMETERS_MAX)) - 1;
/// They are there.
const NAMED: u64 = 1 << 60;
/// There is long data for the next execution.
const LONG: u64 = 1 << 61;
/// Nothing is new. Never in a note.
const KEEPS: u64 = 1 << 62;
/// Says of which note the daemon speaks.
const TAG: u64 = 1 << 63;

/// What `COM_STMT_SEND_LONG_DATA` changes in a note.
pub const LONG_DATA: u64 = LONG;
/// What a command changes that says nothing of parameters.
pub const NOTHING: u64 = KEEPS;
/// What `COM_STMT_RESET` changes, or an execution without types: what long data has brought is used up, or gone.
pub const USED_UP: u64 = 0;

/// The code of a parameter's type, as an execution names it; none of a type that no client sends: numbers are below 16 or at least 240 (`enum_field_types`), and
/// the only flag says that an integer has no sign.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "part of a program")]
pub const fn code(low: u8, high: u8) -> Option<u64> {
    if (low >= 16 && low < 240) || high & 0x7f != 0 {
        return None;
    }
    Some((low & 0x1f) as u64 | ((high >> 7) as u64) << 5)
}

/// The type with this code.
#[expect(clippy::cast_possible_truncation, reason = "five bits and one")]
const fn type_of(code: u64) -> [u8; 2] {
    let low = code as u8 & 0x0f;
    let group = if code & 0x10 == 0 { 0 } else { 0xf0 };
    [group | low, (code >> 5 << 7) as u8]
}

/// What an execution that names types changes, with this code for this one of its parameters, of [`PARAMETERS_MAX`] at most.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "part of a program")]
pub const fn with_type(change: u64, parameter: u32, code: u64) -> u64 {
    change | NAMED | code << (CODE_BITS * parameter)
}

/// What is noted behind one more command, or what two commands change together.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "part of a program")]
pub const fn then(before: u64, change: u64) -> u64 {
    if change & KEEPS != 0 {
        return before;
    }
    let types = if change & NAMED != 0 { change } else { before };
    types & (NAMED | CODES) | change & LONG
}

/// The note of a statement behind one more command: `note` is what stands there, `told` what the daemon has said of it.
#[inline(always)]
#[must_use]
#[expect(clippy::inline_always, reason = "part of a program")]
pub const fn noted(note: u64, told: u64, change: u64) -> u64 {
    let before = if (note ^ told) & TAG == 0 {
        note & !TAG
    } else {
        // Only a change says something then.
        if change & KEEPS != 0 {
            return note;
        }
        0
    };
    then(before, change) | told & TAG
}

/// What the daemon says with a statement, so that what stands in its place does not count.
#[must_use]
pub const fn fresh(note: u64) -> u64 {
    !note & TAG
}

/// What has been noted of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note(u64);

impl Note {
    /// The word that stands there, if it counts: the daemon has said `told`.
    #[must_use]
    pub const fn read(note: u64, told: u64) -> Option<Self> {
        if (note ^ told) & TAG == 0 {
            Some(Self(note))
        } else {
            None
        }
    }

    /// Whether the next execution uses what `COM_STMT_SEND_LONG_DATA` has brought.
    #[must_use]
    pub const fn has_long_data(self) -> bool {
        self.0 & LONG != 0
    }

    /// The types that were named last of so many parameters, two bytes each; none if no execution has named them.
    #[must_use]
    pub fn types(self, parameters: u16) -> Option<impl Iterator<Item = u8>> {
        let types = (0..u32::from(parameters).min(PARAMETERS_MAX))
            .flat_map(move |parameter| type_of(self.0 >> (CODE_BITS * parameter) & CODE_MASK));
        (self.0 & NAMED != 0).then_some(types)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(kinds: &[[u8; 2]]) -> u64 {
        let codes = (0..).zip(kinds);
        codes.fold(USED_UP, |change, (parameter, [low, high])| {
            with_type(change, parameter, code(*low, *high).unwrap())
        })
    }

    fn read(note: u64, told: u64, parameters: u16) -> Option<(Option<Vec<u8>>, bool)> {
        let note = Note::read(note, told)?;
        let types = note.types(parameters).map(Iterator::collect);
        Some((types, note.has_long_data()))
    }

    #[test]
    fn a_type_is_what_its_code_says_or_has_none() {
        for low in 0..=u8::MAX {
            for high in 0..=u8::MAX {
                let is_sent = !(16..240).contains(&low) && (high == 0 || high == 0x80);
                let code = code(low, high);
                assert_eq!(code.is_some(), is_sent, "{low} {high}");
                if let Some(code) = code {
                    assert!(code <= CODE_MASK);
                    assert_eq!(type_of(code), [low, high]);
                }
            }
        }
    }

    #[test]
    fn a_note_has_the_types_that_were_named_last() {
        let kinds: Vec<_> = (0..10)
            .map(|at| {
                if at % 2 == 0 {
                    [at, 0x80]
                } else {
                    [0xf0 + at, 0]
                }
            })
            .collect();
        let told = fresh(0);
        let all = noted(0, told, types(&kinds));
        assert_eq!(read(all, told, 10), Some((Some(kinds.concat()), false)));
        let bare = noted(all, told, USED_UP);
        assert_eq!(bare, all);
        let long = noted(bare, told, LONG_DATA);
        assert_eq!(read(long, told, 10), Some((Some(kinds.concat()), true)));
        assert_eq!(noted(long, told, NOTHING), long);
        let other = noted(long, told, types(&[[3, 0]; 10]));
        assert_eq!(
            read(other, told, 10),
            Some((Some([3, 0].repeat(10)), false))
        );
    }

    #[test]
    fn what_was_noted_before_the_daemon_spoke_does_not_count() {
        let mut note = 0;
        for round in 0..4 {
            let told = fresh(note);
            assert_eq!(read(note, told, 1), None, "{round}");
            note = noted(note, told, NOTHING);
            assert_eq!(read(note, told, 1), None, "{round}");
            let long = noted(note, told, LONG_DATA);
            assert_eq!(read(long, told, 1), Some((None, true)));
            note = noted(long, told, types(&[[8, 0x80]]));
            assert_eq!(read(note, told, 1), Some((Some(vec![8, 0x80]), false)));
        }
    }

    #[test]
    fn commands_of_one_segment_make_one_change() {
        let (first, second) = (types(&[[3, 0]]), types(&[[8, 0]]));
        for commands in [
            &[LONG_DATA, LONG_DATA, first][..],
            &[NOTHING, LONG_DATA, USED_UP],
            &[first, LONG_DATA, NOTHING],
            &[first, USED_UP, second, LONG_DATA],
            &[NOTHING, NOTHING],
        ] {
            let told = fresh(0);
            let each = |note, change: &u64| noted(note, told, *change);
            let one_by_one = commands.iter().fold(0, each);
            let (head, rest) = commands.split_first().unwrap();
            let at_once = rest.iter().fold(*head, |all, change| then(all, *change));
            assert_eq!(noted(0, told, at_once), one_by_one, "{commands:?}");
        }
    }
}
