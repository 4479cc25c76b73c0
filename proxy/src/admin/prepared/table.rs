//! A session's prepared statements of ours, and which of its commands are about them.

use std::collections::BTreeMap;

use sluice_ebpf::classify::LAST_PREPARED;

use super::Template;
use crate::{
    admin::{AdminError, Statement},
    protocol::{capability::Capabilities, command, statement::parameters},
};

/// The first of our ids. Nodes count theirs upwards from 1.
const FIRST_ID: u32 = 0xF000_0000;
/// The most statements that a session may have.
pub(super) const STATEMENTS_MAX: usize = 256;
/// The longest command about one of them, in bytes of its payload; what is longer carries an argument that none of ours can have.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// The most bytes that `COM_STMT_SEND_LONG_DATA` may bring for one execution.
const LONG_DATA_BYTES_MAX: usize = 4096;

/// One of a session's statements.
#[derive(Debug)]
struct Prepared {
    template: Template,
    /// The types of its last execution's parameters.
    types: Vec<u16>,
    /// What was sent ahead for the next execution, parameter by parameter.
    long_data: Vec<Option<Vec<u8>>>,
    /// More was sent than is kept.
    overflow: bool,
}

/// A session's statements.
#[derive(Debug, Default)]
pub struct Statements {
    live: BTreeMap<u32, Prepared>,
    count: u32,
    /// The statement last prepared is this one, if it is ours.
    last: Option<u32>,
}

/// A command about one of our statements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// More of it must come before that is known.
    Wait,
    /// `COM_STMT_EXECUTE`.
    Execute(u32),
    /// `COM_STMT_SEND_LONG_DATA`. Has no answer.
    LongData(u32),
    /// `COM_STMT_RESET`.
    Reset(u32),
    /// `COM_STMT_CLOSE`. Has no answer.
    Close(u32),
    /// `COM_STMT_FETCH`: but an execution brings all of its rows, so there is nothing to fetch.
    Fetch(u32),
    /// `COM_STMT_BULK_EXECUTE`, which we do not know.
    Bulk(u32),
}

impl Statements {
    /// What the command at the front of `bytes` is, if it is about one of these statements.
    pub fn command(&self, bytes: &[u8]) -> Option<Command> {
        if self.live.is_empty() {
            return None;
        }
        let (&[a, b, c, _], payload) = bytes.split_first_chunk()?;
        let is_complete = |payload: &[u8]| {
            // One without an id is complete too: whoever else answers it says what is wrong with it.
            let length = u32::from_le_bytes([a, b, c, 0]);
            u32::try_from(payload.len()).is_ok_and(|there| there >= length)
        };
        match self.command_in(payload) {
            None if is_about_statement(payload) && payload.len() < 5 && !is_complete(payload) => {
                Some(Command::Wait)
            }
            command => command,
        }
    }

    /// The same for a command that is all there, from its payload.
    pub fn command_in(&self, payload: &[u8]) -> Option<Command> {
        let (&byte, rest) = payload.split_first()?;
        let make = match byte {
            command::STMT_EXECUTE => Command::Execute,
            command::STMT_SEND_LONG_DATA => Command::LongData,
            command::STMT_RESET => Command::Reset,
            command::STMT_CLOSE => Command::Close,
            command::STMT_FETCH => Command::Fetch,
            command::STMT_BULK_EXECUTE => Command::Bulk,
            _ => return None,
        };
        let id = rest.first_chunk()?;
        let id = match (u32::from_le_bytes(*id), self.last) {
            (LAST_PREPARED, Some(last)) => last,
            (id, _) => id,
        };
        self.live.contains_key(&id).then(|| make(id))
    }

    /// Takes in a statement and gives it an id.
    ///
    /// # Errors
    /// [`AdminError::too_many_statements`].
    pub fn prepare(&mut self, template: Template) -> Result<u32, AdminError> {
        if self.live.len() >= STATEMENTS_MAX {
            return Err(AdminError::too_many_statements(STATEMENTS_MAX));
        }
        // Round and round in their range, past those that still live.
        let id = loop {
            let id = FIRST_ID + self.count % (LAST_PREPARED - FIRST_ID);
            self.count = self.count.wrapping_add(1);
            if !self.live.contains_key(&id) {
                break id;
            }
        };
        let prepared = Prepared {
            types: Vec::new(),
            long_data: vec![None; template.parameters()],
            overflow: false,
            template,
        };
        self.live.insert(id, prepared);
        self.last = Some(id);
        Ok(id)
    }

    /// The node prepares a statement.
    pub const fn node_prepares(&mut self) {
        self.last = None;
    }

    /// The node has prepared a statement and given it this id: should one of ours have it too, it is the node's from now on.
    pub fn prepared_by_node(&mut self, id: u32) {
        self.live.remove(&id);
    }

    /// The statement that `payload`, a `COM_STMT_EXECUTE`, executes. What was sent ahead for it is used up.
    ///
    /// # Errors
    /// [`AdminError::unknown_statement`], [`AdminError::argument_too_long`]; [`AdminError::wrong_arguments`] for a malformed one;
    /// [`AdminError::bad_command`] for values that cannot stand in their place.
    pub fn bind(
        &mut self,
        id: u32,
        payload: &[u8],
        agreed: Capabilities,
    ) -> Result<Statement, AdminError> {
        let Some(prepared) = self.live.get_mut(&id) else {
            return Err(AdminError::unknown_statement(id, "mysqld_stmt_execute"));
        };
        let empty = vec![None; prepared.long_data.len()];
        let long_data = std::mem::replace(&mut prepared.long_data, empty);
        if std::mem::take(&mut prepared.overflow) {
            return Err(AdminError::argument_too_long());
        }
        let values = parameters(payload, agreed, &mut prepared.types, &long_data)
            .map_err(|_malformed| AdminError::wrong_arguments())?;
        prepared.template.bind(&values)
    }

    /// Keeps what `payload`, a `COM_STMT_SEND_LONG_DATA`, sends ahead; `None`: it was too long to be held. Whatever is wrong with it shows at
    /// the execution.
    pub fn long_data(&mut self, id: u32, payload: Option<&[u8]>) {
        let Some(prepared) = self.live.get_mut(&id) else {
            return;
        };
        let held: usize = prepared.long_data.iter().flatten().map(Vec::len).sum();
        let data = payload.and_then(|payload| payload.get(5..)?.split_first_chunk());
        let parameter = data.and_then(|(parameter, data)| {
            let at = usize::from(u16::from_le_bytes(*parameter));
            (held + data.len() <= LONG_DATA_BYTES_MAX)
                .then_some(data)
                .zip(prepared.long_data.get_mut(at))
        });
        match parameter {
            Some((data, place)) => place.get_or_insert_default().extend_from_slice(data),
            None => prepared.overflow = true,
        }
    }

    /// Forgets what was sent ahead.
    pub fn reset(&mut self, id: u32) {
        if let Some(prepared) = self.live.get_mut(&id) {
            prepared.long_data.fill(None);
            prepared.overflow = false;
        }
    }

    /// Forgets a statement.
    pub fn close(&mut self, id: u32) {
        self.live.remove(&id);
        self.last = self.last.filter(|last| *last != id);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.live.clear();
        self.last = None;
    }
}

/// Whether a command's first byte is that of one about prepared statements.
fn is_about_statement(payload: &[u8]) -> bool {
    payload.first().is_some_and(|byte| {
        matches!(
            *byte,
            command::STMT_EXECUTE
                | command::STMT_SEND_LONG_DATA
                | command::STMT_RESET
                | command::STMT_CLOSE
                | command::STMT_FETCH
                | command::STMT_BULK_EXECUTE
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::packet::HEADER_LEN;

    const AGREED: Capabilities = Capabilities::from_bits(0);

    fn template(text: &str) -> Template {
        Template::read(text.as_bytes()).unwrap().unwrap()
    }

    fn packet(byte: u8, id: u32, tail: &[u8]) -> Vec<u8> {
        let payload = [&[byte][..], &id.to_le_bytes(), tail].concat();
        let length = u8::try_from(payload.len()).unwrap();
        [&[length, 0, 0, 0][..], &payload].concat()
    }

    /// An execution with one string.
    fn execute(id: u32, value: &[u8]) -> Vec<u8> {
        let length = [u8::try_from(value.len()).unwrap()];
        let tail = [&b"\0\x01\0\0\0\0\x01\xfd\0"[..], &length, value].concat();
        packet(command::STMT_EXECUTE, id, &tail)[HEADER_LEN..].to_vec()
    }

    #[test]
    fn only_commands_about_our_statements_are_ours() {
        let mut statements = Statements::default();
        let ours = packet(command::STMT_EXECUTE, FIRST_ID, b"");
        assert_eq!(statements.command(&ours[..6]), None);
        assert_eq!(statements.command(&ours), None);
        let id = statements.prepare(template("SHOW PROXYSESSION")).unwrap();
        assert_eq!(id, FIRST_ID);
        assert_eq!(statements.command(&ours), Some(Command::Execute(id)));
        for cut in 0..ours.len() {
            let wait = (cut > HEADER_LEN).then_some(Command::Wait);
            assert_eq!(statements.command(&ours[..cut]), wait, "{cut}");
        }
        assert_eq!(statements.command(b"\x01\0\0\0\x0e"), None);
        assert_eq!(statements.command(b"\x03\0\0\0\x17\0\0"), None);
        for (byte, id) in [
            (command::STMT_EXECUTE, 1),
            (command::STMT_EXECUTE, FIRST_ID + 1),
            (command::QUERY, FIRST_ID),
        ] {
            assert_eq!(statements.command(&packet(byte, id, b"")), None);
        }
        let last = packet(command::STMT_EXECUTE, LAST_PREPARED, b"");
        assert_eq!(statements.command(&last), Some(Command::Execute(id)));
        statements.node_prepares();
        assert_eq!(statements.command(&last), None);
        statements.close(id);
        assert_eq!(statements.command(&ours), None);
    }

    #[test]
    fn there_is_an_end_to_statements_and_ids_are_not_reused_at_once() {
        let mut statements = Statements::default();
        for count in 0..STATEMENTS_MAX {
            let id = statements.prepare(template("KILL ?")).unwrap();
            assert_eq!(id, FIRST_ID + u32::try_from(count).unwrap());
        }
        assert_eq!(
            statements.prepare(template("KILL ?")).unwrap_err().code,
            1461
        );
        statements.close(FIRST_ID);
        let next = statements.prepare(template("KILL ?")).unwrap();
        assert_eq!(next, FIRST_ID + 256);
        statements.clear();
        statements.count = LAST_PREPARED - FIRST_ID - 1;
        assert_eq!(
            statements.prepare(template("KILL ?")),
            Ok(LAST_PREPARED - 1)
        );
        assert_eq!(statements.prepare(template("KILL ?")), Ok(FIRST_ID));
        // An id that the node uses as well is the node's.
        statements.prepared_by_node(FIRST_ID);
        assert_eq!(
            statements.bind(FIRST_ID, &[], AGREED).unwrap_err().code,
            1243
        );
    }

    #[test]
    fn data_that_is_sent_ahead_is_bounded_and_used_once() {
        let mut statements = Statements::default();
        let id = statements
            .prepare(template("SHOW PROXYSESSION ATTRIBUTE LIKE ?"))
            .unwrap();
        let data = |bytes: &[u8]| [&[0x18][..], &id.to_le_bytes(), b"\0\0", bytes].concat();
        statements.long_data(id, Some(&data(b"%i")));
        statements.long_data(id, Some(&data(b"d%")));
        let tail = b"\0\x01\0\0\0\0\x01\xfc\0";
        let without_value = packet(command::STMT_EXECUTE, id, tail)[HEADER_LEN..].to_vec();
        let bound = statements.bind(id, &without_value, AGREED).unwrap();
        assert_eq!(bound.arguments.like.as_deref(), Some(&b"%id%"[..]));
        // Used up: the value must stand in the command again.
        assert_eq!(
            statements
                .bind(id, &without_value, AGREED)
                .unwrap_err()
                .code,
            1210
        );
        for wrong in [
            Some(data(&[b'x'; LONG_DATA_BYTES_MAX + 1])),
            Some(b"\x18".to_vec()),
            Some([&data(b"")[..5], b"\x01\0x"].concat()),
            None,
        ] {
            statements.long_data(id, wrong.as_deref());
            let error = statements.bind(id, &execute(id, b"x"), AGREED).unwrap_err();
            assert_eq!(error.code, 8007);
            assert!(statements.bind(id, &execute(id, b"x"), AGREED).is_ok());
        }
        statements.long_data(id, None);
        statements.reset(id);
        assert!(statements.bind(id, &execute(id, b"x"), AGREED).is_ok());
    }
}
