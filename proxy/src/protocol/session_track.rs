//! State changes in an OK packet: what the server says has changed in the session (the manual, `OK_Packet`, "Session State Information";
//! `MariaDB`'s page, "`OK_Packet`").

use super::Malformed;
use super::field::Reader;

/// `SESSION_TRACK_SYSTEM_VARIABLES`.
const SYSTEM_VARIABLES: u8 = 0;
/// `SESSION_TRACK_SCHEMA`.
const SCHEMA: u8 = 1;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateChange {
    /// A system variable, and its value as text.
    SystemVariable {
        /// The variable.
        name: String,
        /// What it is now.
        value: String,
    },
    /// The current database.
    Schema(String),
}

/// Reads the changes of an OK packet. Types that are not named here are passed over.
///
/// # Errors
/// [`Malformed`] if a length goes beyond the end.
pub fn parse(state_changes: &[u8]) -> Result<Vec<StateChange>, Malformed> {
    let mut reader = Reader::new(state_changes);
    let mut changes = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8("type of a state change")?;
        let mut data = Reader::new(reader.lenenc_bytes("state change")?);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match kind {
            // MariaDB puts several variables into one change.
            SYSTEM_VARIABLES => {
                while !data.is_empty() {
                    changes.push(StateChange::SystemVariable {
                        name: text(data.lenenc_bytes("variable's name")?),
                        value: text(data.lenenc_bytes("variable's value")?),
                    });
                }
            }
            SCHEMA => changes.push(StateChange::Schema(text(data.lenenc_bytes("schema")?))),
            _ => {}
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_and_the_schema_are_read_others_passed() {
        let bytes = b"\x00\x0f\x0aautocommit\x03OFF\x02\x02\x011\x01\x05\x04shop\x00\x0c\x01a\x01b\x05other\x01c";
        let variable = |name: &str, value: &str| StateChange::SystemVariable {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let expected = [
            variable("autocommit", "OFF"),
            StateChange::Schema("shop".to_owned()),
            variable("a", "b"),
            variable("other", "c"),
        ];
        assert_eq!(parse(bytes).unwrap(), expected);
        assert_eq!(parse(b""), Ok(Vec::new()));
        assert!(parse(&bytes[..9]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
