//! A response of the text protocol, read whole: what the daemon's own statements are answered with.

use bytes::{Bytes, BytesMut};

use super::Malformed;
use super::capability::Capabilities;
use super::field::Reader;
use super::packet;
use super::reply::{EOF, ERR, ErrPacket, LOCAL_INFILE, OK};

/// The first byte of a NULL in a row.
const NULL: u8 = 0xFB;
/// `MariaDB` sends progress reports as ERR packets with this number; they end nothing (`net_send_progress_packet`).
const PROGRESS: u16 = 0xFFFF;
/// Shorter packets that begin with 0xFE are EOF, not rows (the manual, `EOF_Packet`).
const EOF_LEN_MAX: usize = 9;

/// What a column is, from its definition (the manual, `ColumnDefinition41`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// Its name or alias.
    pub name: Bytes,
    /// The id of the collation that its values are sent in; 63 is `binary`.
    pub collation: u16,
    /// Its type's number (`enum_field_types`).
    pub column_type: u8,
    /// Its flags (`NOT_NULL_FLAG` and so on).
    pub flags: u16,
}

/// A result set. Without columns: the answer was OK.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rows {
    /// The columns.
    pub columns: Vec<Definition>,
    /// The rows, each with a value for every column. `None` is NULL.
    pub rows: Vec<Vec<Option<Bytes>>>,
}

impl Rows {
    /// Reads a whole response, all of its packets, of a connection with the capabilities `agreed`. The inner error is the node's.
    ///
    /// # Errors
    /// [`Malformed`] if it is not one OK, ERR or result set.
    pub fn parse(
        mut response: BytesMut,
        agreed: Capabilities,
    ) -> Result<Result<Self, ErrPacket>, Malformed> {
        let mut packets = Packets(&mut response);
        let first = packets.next()?;
        match first.first() {
            Some(&OK) => return Ok(Ok(Self::default())),
            Some(&ERR) => return Ok(Err(ErrPacket::parse(&first)?)),
            Some(&(LOCAL_INFILE | EOF)) | None => {
                return Err(Malformed {
                    what: "column count",
                });
            }
            Some(_) => {}
        }
        let mut head = Reader::new(&first);
        let count = head.lenenc("column count")?;
        let defined = !agreed.contains(Capabilities::MARIADB_CACHE_METADATA)
            || head.u8("metadata follows")? != 0;
        let mut columns = Vec::new();
        if defined {
            for _ in 0..count {
                columns.push(Definition::parse(&packets.next()?, agreed)?);
            }
        }
        if !agreed.contains(Capabilities::DEPRECATE_EOF) {
            packets.next()?;
        }
        let mut rows = Vec::new();
        loop {
            let packet = packets.next()?;
            match packet.first() {
                Some(&ERR) => return Ok(Err(ErrPacket::parse(&packet)?)),
                Some(&EOF)
                    if packet.len() < EOF_LEN_MAX
                        || agreed.contains(Capabilities::DEPRECATE_EOF) =>
                {
                    return Ok(Ok(Self { columns, rows }));
                }
                _ => rows.push(row(&packet, count)?),
            }
        }
    }

    /// The first row's values, none without rows.
    pub fn first(&self) -> &[Option<Bytes>] {
        self.rows.first().map(Vec::as_slice).unwrap_or_default()
    }
}

impl Definition {
    fn parse(payload: &Bytes, agreed: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        for what in ["catalog", "schema", "table", "original table"] {
            reader.lenenc_bytes(what)?;
        }
        let name = payload.slice_ref(reader.lenenc_bytes("column name")?);
        reader.lenenc_bytes("original column name")?;
        if agreed.contains(Capabilities::MARIADB_EXTENDED_METADATA) {
            reader.lenenc_bytes("extended type")?;
        }
        reader.lenenc("length of the rest")?;
        let collation = reader.u16("collation")?;
        reader.u32("display length")?;
        Ok(Self {
            name,
            collation,
            column_type: reader.u8("type")?,
            flags: reader.u16("flags")?,
        })
    }
}

/// A row of `count` values.
fn row(payload: &Bytes, count: u64) -> Result<Vec<Option<Bytes>>, Malformed> {
    let mut reader = Reader::new(payload);
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(if reader.rest().first() == Some(&NULL) {
            reader.u8("NULL")?;
            None
        } else {
            Some(payload.slice_ref(reader.lenenc_bytes("value")?))
        });
    }
    Ok(values)
}

/// The payloads of a response.
struct Packets<'a>(&'a mut BytesMut);

impl Packets<'_> {
    fn next(&mut self) -> Result<Bytes, Malformed> {
        let cut = Malformed {
            what: "end of response",
        };
        loop {
            let length = self.0.len();
            let packet = packet::take_payload(self.0, length).map_err(|_too_long| cut)?;
            let payload = packet.ok_or(cut)?.payload;
            let is_progress = payload.first() == Some(&ERR)
                && payload.get(1..3) == Some(&PROGRESS.to_le_bytes()[..]);
            if !is_progress {
                return Ok(payload);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::error::MysqlError;
    use crate::protocol::reply::{OkPacket, encode_error};
    use crate::protocol::result_set::{self, Column, ColumnType, Framing, Protocol, Value};

    const FORMS: [Capabilities; 5] = [
        Capabilities::from_bits(0),
        Capabilities::DEPRECATE_EOF,
        Capabilities::MARIADB_CACHE_METADATA,
        Capabilities::MARIADB_EXTENDED_METADATA,
        Capabilities::DEPRECATE_EOF.with(Capabilities::MARIADB_CACHE_METADATA),
    ];
    const COLUMNS: [Column<'_>; 2] = [
        Column {
            name: "Id",
            column_type: ColumnType::LongLong,
        },
        Column {
            name: "Info",
            column_type: ColumnType::Varchar,
        },
    ];

    fn response(agreed: Capabilities, rows: &[[Option<String>; 2]]) -> BytesMut {
        let mut out = BytesMut::new();
        let value = |cell: &Option<String>| cell.clone().map_or(Value::Null, Value::Text);
        let rows = rows.iter().map(|row| row.each_ref().map(value));
        let framing = Framing {
            sequence: 1,
            agreed,
            status: 2,
            protocol: Protocol::Text,
        };
        result_set::put(&mut out, framing, &COLUMNS, rows);
        out
    }

    #[test]
    fn what_is_written_is_read_in_every_form() {
        let rows = [
            [Some("7".to_owned()), None],
            [Some(String::new()), Some("é".repeat(200))],
        ];
        for agreed in FORMS {
            let read = Rows::parse(response(agreed, &rows), agreed)
                .unwrap()
                .unwrap();
            let names: Vec<_> = read
                .columns
                .iter()
                .map(|column| (&column.name[..], column.column_type, column.collation))
                .collect();
            assert_eq!(names, [(&b"Id"[..], 8, 45), (&b"Info"[..], 15, 45)]);
            let expected: Vec<Vec<_>> = rows
                .iter()
                .map(|row| {
                    row.iter()
                        .cloned()
                        .map(|cell| cell.map(Bytes::from))
                        .collect()
                })
                .collect();
            assert_eq!(read.rows, expected);
            assert_eq!(read.first(), expected[0]);
        }
    }

    #[test]
    fn errors_are_the_nodes_also_behind_rows() {
        let error = encode_error(&MysqlError::unknown_thread_id(9));
        let mut alone = BytesMut::new();
        packet::put(&mut alone, 1, &error);
        for agreed in FORMS {
            let read = Rows::parse(alone.clone(), agreed).unwrap();
            assert_eq!(read.unwrap_err().number, 1094);
            let mut late = response(agreed, &[[None, None]]);
            let end = if agreed.contains(Capabilities::DEPRECATE_EOF) {
                4 + 7
            } else {
                4 + 5
            };
            late.truncate(late.len() - end);
            packet::put(&mut late, 9, b"\xff\xff\xff a report");
            packet::put(&mut late, 9, &error);
            assert_eq!(Rows::parse(late, agreed).unwrap().unwrap_err().number, 1094);
        }
        let mut ok = BytesMut::new();
        packet::put(&mut ok, 1, &OkPacket::default().encode(FORMS[0]));
        assert_eq!(Rows::parse(ok, FORMS[0]), Ok(Ok(Rows::default())));
        let mut infile = BytesMut::new();
        packet::put(&mut infile, 1, b"\xfb/etc/passwd");
        assert!(Rows::parse(infile, FORMS[0]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), form in 0_usize..5) {
            let _ = Rows::parse(BytesMut::from(&bytes[..]), FORMS[form]);
        }

        #[test]
        fn nor_do_changed_responses(at in 0_usize..90, byte: u8, form in 0_usize..5) {
            let mut bytes = response(FORMS[form], &[[Some("7".to_owned()), None]]);
            if let Some(changed) = bytes.get_mut(at) {
                *changed = byte;
            }
            let _ = Rows::parse(bytes, FORMS[form]);
        }
    }
}
