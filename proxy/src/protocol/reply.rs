//! The short answers: OK, ERR and EOF.

use bytes::{BufMut, Bytes, BytesMut};

use super::Malformed;
use super::capability::Capabilities;
use super::error::{MysqlError, state_of};
use super::field::{Reader, put_lenenc, put_lenenc_bytes};

/// First byte of an OK packet.
pub const OK: u8 = 0x00;
/// First byte of an ERR packet.
pub const ERR: u8 = 0xFF;
/// First byte of an EOF packet, and of the OK packet in its place (`DEPRECATE_EOF`).
pub const EOF: u8 = 0xFE;
/// First byte of a LOAD DATA LOCAL request.
pub const LOCAL_INFILE: u8 = 0xFB;
/// `SERVER_SESSION_STATE_CHANGED`: state changes follow the text.
const STATE_CHANGED: u16 =
    mysql_common::constants::StatusFlags::SERVER_SESSION_STATE_CHANGED.bits();

/// OK: what a statement without rows did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OkPacket {
    /// Rows changed.
    pub affected_rows: u64,
    /// The `AUTO_INCREMENT` value that was made.
    pub last_insert_id: u64,
    /// Status flags.
    pub status: u16,
    /// The number of warnings.
    pub warnings: u16,
    /// Text for people.
    pub info: Bytes,
    /// Session state changes as they travel: type, length, data, and so on.
    pub state_changes: Bytes,
}

impl OkPacket {
    /// Reads an OK packet, in the form with first byte [`OK`] or, where it stands for EOF, [`EOF`].
    ///
    /// # Errors
    /// [`Malformed`] if it is none or cut short.
    pub fn parse(payload: &[u8], agreed: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if !matches!(reader.u8("OK")?, OK | EOF) {
            return Err(Malformed { what: "OK" });
        }
        let affected_rows = reader.lenenc("affected rows")?;
        let last_insert_id = reader.lenenc("last insert id")?;
        let status = reader.u16("status")?;
        let warnings = reader.u16("warnings")?;
        let (mut info, mut state_changes) = (reader.rest(), &b""[..]);
        if agreed.contains(Capabilities::SESSION_TRACK) && !reader.is_empty() {
            info = reader.lenenc_bytes("info")?;
            if status & STATE_CHANGED != 0 {
                state_changes = reader.lenenc_bytes("state changes")?;
            }
        }
        Ok(Self {
            affected_rows,
            last_insert_id,
            status,
            warnings,
            info: Bytes::copy_from_slice(info),
            state_changes: Bytes::copy_from_slice(state_changes),
        })
    }

    /// The packet's payload with [`OK`] as its first byte.
    pub fn encode(&self, agreed: Capabilities) -> BytesMut {
        self.encode_as(OK, agreed)
    }

    /// The packet's payload with [`EOF`] as its first byte: the end of rows with `DEPRECATE_EOF`.
    pub fn encode_as_eof(&self, agreed: Capabilities) -> BytesMut {
        self.encode_as(EOF, agreed)
    }

    fn encode_as(&self, first: u8, agreed: Capabilities) -> BytesMut {
        let mut out = BytesMut::with_capacity(24 + self.info.len() + self.state_changes.len());
        out.put_u8(first);
        put_lenenc(&mut out, self.affected_rows);
        put_lenenc(&mut out, self.last_insert_id);
        out.put_u16_le(self.status);
        out.put_u16_le(self.warnings);
        if !agreed.contains(Capabilities::SESSION_TRACK) {
            out.put_slice(&self.info);
        } else if self.status & STATE_CHANGED != 0 {
            put_lenenc_bytes(&mut out, &self.info);
            put_lenenc_bytes(&mut out, &self.state_changes);
        } else if !self.info.is_empty() {
            put_lenenc_bytes(&mut out, &self.info);
        }
        out
    }
}

/// ERR as a server sends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrPacket {
    /// The error's number.
    pub number: u16,
    /// The SQLSTATE. Absent in what a server sends before it has read the login packet.
    pub state: Option<[u8; 5]>,
    /// The text, in the connection's character set.
    pub message: Bytes,
}

impl ErrPacket {
    /// Reads an ERR packet.
    ///
    /// # Errors
    /// [`Malformed`] if it is none or cut short.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.u8("ERR")? != ERR {
            return Err(Malformed { what: "ERR" });
        }
        let number = reader.u16("error number")?;
        let state = match reader.rest().first() {
            Some(b'#') => {
                reader.u8("SQLSTATE")?;
                Some(reader.array("SQLSTATE")?)
            }
            _ => None,
        };
        Ok(Self {
            number,
            state,
            message: Bytes::copy_from_slice(reader.rest()),
        })
    }

    /// The packet's payload, with an SQLSTATE in any case: a client that has logged in expects one.
    pub fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(9 + self.message.len());
        out.put_u8(ERR);
        out.put_u16_le(self.number);
        out.put_u8(b'#');
        match &self.state {
            Some(state) => out.put_slice(state),
            None => out.put_slice(state_of(self.number).as_bytes()),
        }
        out.put_slice(&self.message);
        out
    }

    /// The text for logs.
    pub fn message_lossy(&self) -> String {
        String::from_utf8_lossy(&self.message).into_owned()
    }
}

impl From<&MysqlError> for ErrPacket {
    fn from(error: &MysqlError) -> Self {
        Self {
            number: error.code.number,
            state: error.code.state.as_bytes().try_into().ok(),
            message: Bytes::copy_from_slice(error.message.as_bytes()),
        }
    }
}

/// The payload of the ERR packet for `error`.
pub fn encode_error(error: &MysqlError) -> BytesMut {
    ErrPacket::from(error).encode()
}

/// The payload of a classic EOF packet.
pub fn encode_eof(status: u16, warnings: u16) -> BytesMut {
    let mut out = BytesMut::with_capacity(5);
    out.put_u8(EOF);
    out.put_u16_le(warnings);
    out.put_u16_le(status);
    out
}

/// Status flags and warnings of a classic EOF packet, `None` if `payload` is none: longer packets that begin with `0xFE` are rows,
/// or OK packets (the manual, `EOF_Packet`: fewer than nine bytes).
pub fn parse_eof(payload: &[u8]) -> Option<(u16, u16)> {
    match *payload {
        [EOF, warnings_low, warnings_high, status_low, status_high] => Some((
            u16::from_le_bytes([status_low, status_high]),
            u16::from_le_bytes([warnings_low, warnings_high]),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ok_round_trips_with_and_without_tracking() {
        let plain = OkPacket {
            affected_rows: 300,
            last_insert_id: 1 << 40,
            status: 2,
            warnings: 1,
            ..OkPacket::default()
        };
        let talking = OkPacket {
            info: Bytes::from_static(b"Rows matched: 3"),
            ..plain.clone()
        };
        let tracked = OkPacket {
            status: 2 | STATE_CHANGED,
            state_changes: Bytes::from_static(b"\x01\x05\x04shop"),
            ..talking.clone()
        };
        let tracking = Capabilities::SESSION_TRACK;
        for (packet, agreed) in [
            (&plain, Capabilities::default()),
            (&plain, tracking),
            (&talking, Capabilities::default()),
            (&talking, tracking),
            (&tracked, tracking),
        ] {
            assert_eq!(
                &OkPacket::parse(&packet.encode(agreed), agreed).unwrap(),
                packet
            );
            assert_eq!(
                &OkPacket::parse(&packet.encode_as_eof(agreed), agreed).unwrap(),
                packet
            );
        }
        assert_eq!(
            &OkPacket::default().encode(tracking)[..],
            b"\x00\x00\x00\x00\x00\x00\x00"
        );
    }

    #[test]
    fn err_always_has_an_sqlstate() {
        let early = ErrPacket::parse(b"\xFF\x10\x04Too many connections").unwrap();
        assert_eq!((early.number, early.state), (1040, None));
        assert_eq!(
            &early.encode()[..],
            b"\xFF\x10\x04#08004Too many connections"
        );
        assert_eq!(
            &encode_error(&MysqlError::unknown_thread_id(9))[..],
            b"\xFF\x46\x04#HY000Unknown thread id: 9"
        );
        let whole = ErrPacket::parse(b"\xFF\x15\x04#28000Access denied").unwrap();
        assert_eq!(&whole.encode()[..], b"\xFF\x15\x04#28000Access denied");
    }

    #[test]
    fn eof_is_told_from_rows() {
        assert_eq!(parse_eof(&encode_eof(0x0022, 3)), Some((0x0022, 3)));
        assert_eq!(parse_eof(b"\xFE\x00\x00\x01\x00\x00\x00\x00\x00"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), first in 0_usize..3, tracking: bool) {
            let mut payload = vec![[OK, ERR, EOF][first]];
            payload.extend_from_slice(&bytes);
            let agreed = if tracking { Capabilities::SESSION_TRACK } else { Capabilities::default() };
            let _ = OkPacket::parse(&payload, agreed);
            let _ = ErrPacket::parse(&payload).map(|err| err.encode());
            let _ = parse_eof(&payload);
        }
    }
}
