//! Commands, each as the bytes of its payload, and the exchange that belongs to it.

use super::{Connection, Outcome, Response, capability, put_string};
use anyhow::{Context as _, Result, ensure};
use mysql_common::scramble;

/// A statement prepared by [`Connection::prepare`].
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The server's number of it.
    pub id: u32,
    /// How many parameters it takes.
    pub parameters: u16,
    /// Every payload of the answer.
    pub packets: Vec<Vec<u8>>,
}

/// `COM_QUERY`'s payload.
pub fn query(sql: &[u8]) -> Vec<u8> {
    [&[0x03], sql].concat()
}

/// `COM_STMT_EXECUTE`'s payload; every parameter is sent as a string (MYSQL_TYPE_VAR_STRING), `None` for one that was sent by
/// `COM_STMT_SEND_LONG_DATA`.
pub fn execute(id: u32, cursor: u8, parameters: &[Option<&[u8]>]) -> Vec<u8> {
    let mut payload = vec![0x17];
    payload.extend(id.to_le_bytes());
    payload.push(cursor);
    payload.extend(1_u32.to_le_bytes());
    if !parameters.is_empty() {
        payload.extend(vec![0; parameters.len().div_ceil(8)]);
        payload.push(1);
        for parameter in parameters {
            payload.extend(if parameter.is_some() {
                [0xFD, 0]
            } else {
                [0xFC, 0]
            });
        }
        for parameter in parameters.iter().flatten() {
            put_string(&mut payload, parameter);
        }
    }
    payload
}

/// `COM_STMT_SEND_LONG_DATA`'s payload.
pub fn long_data(id: u32, parameter: u16, data: &[u8]) -> Vec<u8> {
    let mut payload = vec![0x18];
    payload.extend(id.to_le_bytes());
    payload.extend(parameter.to_le_bytes());
    payload.extend_from_slice(data);
    payload
}

/// `COM_STMT_FETCH`'s payload.
pub fn fetch(id: u32, rows: u32) -> Vec<u8> {
    [&[0x1C][..], &id.to_le_bytes(), &rows.to_le_bytes()].concat()
}

/// `COM_STMT_CLOSE`'s payload.
pub fn close(id: u32) -> Vec<u8> {
    [&[0x19][..], &id.to_le_bytes()].concat()
}

impl Connection {
    /// Sends one command and reads its answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks; an error packet is an answer.
    pub fn command(&mut self, payload: &[u8]) -> Result<Response> {
        self.send_command(payload)?;
        self.read_response(&[])
    }

    /// `COM_QUERY`.
    ///
    /// # Errors
    ///
    /// When the connection breaks; an error packet is an answer.
    pub fn query(&mut self, sql: &str) -> Result<Response> {
        let shown: String = sql.chars().take(60).collect();
        self.command(&query(sql.as_bytes()))
            .with_context(|| format!("query {shown}"))
    }

    /// `COM_QUERY` that must succeed.
    ///
    /// # Errors
    ///
    /// When the connection breaks, and the server's error.
    pub fn run(&mut self, sql: &str) -> Result<Response> {
        let response = self.query(sql)?;
        let shown: String = sql.chars().take(60).collect();
        response
            .outcome
            .ok()
            .with_context(|| format!("query {shown}"))?;
        Ok(response)
    }

    /// `COM_STMT_PREPARE`.
    ///
    /// # Errors
    ///
    /// When the connection breaks, and the server's error.
    pub fn prepare(&mut self, sql: &str) -> Result<Prepared> {
        self.send_command(&[&[0x16], sql.as_bytes()].concat())?;
        let first = self.read_packet()?;
        if first.first() == Some(&0xFF) {
            Outcome::parse_error(&first)?.ok()?;
        }
        let [_, a, b, c, d, columns0, columns1, parameters0, parameters1] = *first
            .first_chunk::<9>()
            .context("a cut answer to COM_STMT_PREPARE")?;
        let columns = u16::from_le_bytes([columns0, columns1]);
        let parameters = u16::from_le_bytes([parameters0, parameters1]);
        let mut packets = vec![first];
        for count in [parameters, columns] {
            let eof = u16::from(count > 0 && self.capabilities() & capability::DEPRECATE_EOF == 0);
            for _ in 0..count + eof {
                packets.push(self.read_packet()?);
            }
        }
        Ok(Prepared {
            id: u32::from_le_bytes([a, b, c, d]),
            parameters,
            packets,
        })
    }

    /// `COM_STMT_EXECUTE` without a cursor.
    ///
    /// # Errors
    ///
    /// When the connection breaks; an error packet is an answer.
    pub fn execute(
        &mut self,
        statement: &Prepared,
        parameters: &[Option<&[u8]>],
    ) -> Result<Response> {
        ensure!(
            parameters.len() == usize::from(statement.parameters),
            "the statement takes {}",
            statement.parameters
        );
        self.command(&execute(statement.id, 0, parameters))
    }

    /// `COM_CHANGE_USER`, with the greeting's scramble for a first answer, as drivers do.
    ///
    /// # Errors
    ///
    /// When the connection breaks; an error packet is an answer.
    pub fn change_user(&mut self, user: &str, password: &str, database: &str) -> Result<Outcome> {
        let nonce = self.greeting().scramble.clone();
        let answer = scramble::scramble_native(&nonce, password.as_bytes())
            .map(|token| token.to_vec())
            .unwrap_or_default();
        let mut payload = vec![0x11];
        payload.extend(user.as_bytes());
        payload.push(0);
        put_string(&mut payload, &answer);
        payload.extend(database.as_bytes());
        payload.extend([0, 45, 0]);
        payload.extend(b"mysql_native_password\0");
        self.send_command(&payload)?;
        self.authenticate(password, nonce)
    }
}
