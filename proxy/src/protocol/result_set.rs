//! A result set, of the text or the binary protocol, for the statements that Sluice answers itself.
//!
//! The form of column definitions is ODP's (odp.md, section 1.3): catalog `def`, no schema, no table, utf8mb4, length 0, flags 0.

use bytes::{BufMut, BytesMut};
use mysql_common::constants::{ColumnType as Wire, UTF8MB4_GENERAL_CI};

use super::capability::Capabilities;
use super::field::{put_lenenc, put_lenenc_bytes};
use super::packet;
use super::reply::{OkPacket, encode_eof};

/// The first byte of a NULL in a text row.
const NULL: u8 = 0xFB;
/// Bits in front of the first column's in the bitmap of a binary row (the manual, "Binary Protocol Resultset Row").
const NULL_BITMAP_OFFSET: usize = 2;
/// Bytes of a column definition after its last string.
const COLUMN_FIXED_LEN: u8 = 0x0C;

/// A column's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// LONG: 32 bits.
    Long,
    /// LONGLONG: 64 bits.
    LongLong,
    /// VARCHAR, and not `VAR_STRING`: as ODP does.
    Varchar,
}

impl ColumnType {
    const fn byte(self) -> u8 {
        match self {
            Self::Long => Wire::MYSQL_TYPE_LONG as u8,
            Self::LongLong => Wire::MYSQL_TYPE_LONGLONG as u8,
            Self::Varchar => Wire::MYSQL_TYPE_VARCHAR as u8,
        }
    }
}

/// A column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub column_type: ColumnType,
}

/// A value of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// Text.
    Text(String),
    /// SQL NULL.
    Null,
}

impl Value {
    /// Text of anything that has one.
    pub fn text(value: impl Into<String>) -> Self {
        Self::Text(value.into())
    }
}

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Every value as text: the answer to `COM_QUERY`.
    Text,
    /// Integers as such: the answer to `COM_STMT_EXECUTE`.
    Binary,
}

/// What an answer depends on besides its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framing {
    /// The sequence number of its first packet.
    pub sequence: u8,
    /// The capabilities of the client's connection.
    pub agreed: Capabilities,
    /// The session's status flags.
    pub status: u16,
    /// How rows are written.
    pub protocol: Protocol,
}

/// Appends a whole result set; returns the sequence number that comes next. Every row should have one value for each column.
pub fn put<R: AsRef<[Value]>>(
    out: &mut BytesMut,
    framing: Framing,
    columns: &[Column<'_>],
    rows: impl IntoIterator<Item = R>,
) -> u8 {
    let Framing {
        sequence,
        agreed,
        status,
        protocol,
    } = framing;
    let mut payload = BytesMut::new();
    put_lenenc(&mut payload, columns.len() as u64);
    if agreed.contains(Capabilities::MARIADB_CACHE_METADATA) {
        // "Metadata follows": column definitions are sent (MariaDB's page, "Result Set Packets").
        payload.put_u8(1);
    }
    let next = packet::put(out, sequence, &payload);
    let mut next = put_definitions(out, next, agreed, status, columns);
    for row in rows {
        payload.clear();
        match protocol {
            Protocol::Text => put_text_row(&mut payload, row.as_ref()),
            Protocol::Binary => put_binary_row(&mut payload, columns, row.as_ref()),
        }
        next = packet::put(out, next, &payload);
    }
    let end = if agreed.contains(Capabilities::DEPRECATE_EOF) {
        OkPacket {
            status,
            ..OkPacket::default()
        }
        .encode_as_eof(agreed)
    } else {
        encode_eof(status, 0)
    };
    packet::put(out, next, &end)
}

/// Appends column definitions, and the EOF that ends them unless it is deprecated; returns the sequence number that comes next.
pub(super) fn put_definitions(
    out: &mut BytesMut,
    sequence: u8,
    agreed: Capabilities,
    status: u16,
    columns: &[Column<'_>],
) -> u8 {
    let mut next = sequence;
    for column in columns {
        next = packet::put(out, next, &definition(column, agreed));
    }
    if !agreed.contains(Capabilities::DEPRECATE_EOF) {
        next = packet::put(out, next, &encode_eof(status, 0));
    }
    next
}

fn put_text_row(payload: &mut BytesMut, row: &[Value]) {
    for value in row {
        match value {
            Value::Integer(number) => put_lenenc_bytes(payload, number.to_string().as_bytes()),
            Value::Unsigned(number) => put_lenenc_bytes(payload, number.to_string().as_bytes()),
            Value::Text(text) => put_lenenc_bytes(payload, text.as_bytes()),
            Value::Null => payload.put_u8(NULL),
        }
    }
}

/// A row as `COM_STMT_EXECUTE` wants it: the client reads each value by its column's type. A value that this type cannot hold is NULL.
fn put_binary_row(payload: &mut BytesMut, columns: &[Column<'_>], row: &[Value]) {
    let mut bitmap = vec![0_u8; (columns.len() + NULL_BITMAP_OFFSET).div_ceil(8)];
    let mut values = BytesMut::new();
    for (at, column) in columns.iter().enumerate() {
        let value = row.get(at).unwrap_or(&Value::Null);
        if put_binary(&mut values, column.column_type, value).is_none() {
            let bit = at + NULL_BITMAP_OFFSET;
            if let Some(byte) = bitmap.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    payload.put_u8(0);
    payload.put_slice(&bitmap);
    payload.put_slice(&values);
}

/// A value by its column's type, `None` for one that is NULL.
fn put_binary(out: &mut BytesMut, column_type: ColumnType, value: &Value) -> Option<()> {
    let bits = |value: &Value| match value {
        Value::Integer(number) => Some(*number),
        Value::Unsigned(number) => Some(number.cast_signed()),
        Value::Text(text) => text.parse().ok(),
        Value::Null => None,
    };
    match column_type {
        ColumnType::LongLong => out.put_i64_le(bits(value)?),
        ColumnType::Long => {
            let bits = bits(value)?;
            let signed = i32::try_from(bits).ok();
            let unsigned = || u32::try_from(bits).ok().map(u32::cast_signed);
            out.put_i32_le(signed.or_else(unsigned)?);
        }
        ColumnType::Varchar => match value {
            Value::Integer(number) => put_lenenc_bytes(out, number.to_string().as_bytes()),
            Value::Unsigned(number) => put_lenenc_bytes(out, number.to_string().as_bytes()),
            Value::Text(text) => put_lenenc_bytes(out, text.as_bytes()),
            Value::Null => return None,
        },
    }
    Some(())
}

/// The payload of a column definition.
fn definition(column: &Column<'_>, agreed: Capabilities) -> BytesMut {
    let mut out = BytesMut::with_capacity(24 + 2 * column.name.len());
    put_lenenc_bytes(&mut out, b"def");
    // Schema, table, the table's own name.
    out.put_bytes(0, 3);
    put_lenenc_bytes(&mut out, column.name.as_bytes());
    put_lenenc_bytes(&mut out, column.name.as_bytes());
    if agreed.contains(Capabilities::MARIADB_EXTENDED_METADATA) {
        // No extended type information.
        out.put_u8(0);
    }
    out.put_u8(COLUMN_FIXED_LEN);
    out.put_u16_le(UTF8MB4_GENERAL_CI);
    out.put_u32_le(0);
    out.put_u8(column.column_type.byte());
    // Flags, decimals, filler.
    out.put_u16_le(0);
    out.put_u8(0);
    out.put_u16_le(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn payloads(agreed: Capabilities, protocol: Protocol) -> Vec<Vec<u8>> {
        let rows = [
            [Value::Unsigned(7), Value::Null],
            [Value::text(""), Value::text("é")],
        ];
        let mut out = BytesMut::new();
        let framing = Framing {
            sequence: 1,
            agreed,
            status: 2,
            protocol,
        };
        let next = put(&mut out, framing, &COLUMNS, &rows);
        let mut payloads = Vec::new();
        while let Some(packet) = packet::take(&mut out, 1_000).unwrap() {
            assert_eq!(usize::from(packet.sequence), payloads.len() + 1);
            payloads.push(packet.payload.to_vec());
        }
        assert_eq!(usize::from(next), payloads.len() + 1);
        payloads
    }

    #[test]
    fn the_classic_form_is_odps() {
        let expected: [&[u8]; 7] = [
            b"\x02",
            b"\x03def\x00\x00\x00\x02Id\x02Id\x0c\x2d\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00",
            b"\x03def\x00\x00\x00\x04Info\x04Info\x0c\x2d\x00\x00\x00\x00\x00\x0f\x00\x00\x00\x00\x00",
            b"\xfe\x00\x00\x02\x00",
            b"\x017\xfb",
            b"\x00\x02\xc3\xa9",
            b"\xfe\x00\x00\x02\x00",
        ];
        assert_eq!(payloads(Capabilities::default(), Protocol::Text), expected);
    }

    #[test]
    fn without_eof_the_rows_end_with_ok() {
        let payloads = payloads(Capabilities::DEPRECATE_EOF, Protocol::Text);
        assert_eq!(payloads.len(), 6);
        assert_eq!(payloads[5], b"\xfe\x00\x00\x02\x00\x00\x00");
    }

    #[test]
    fn mariadb_clients_get_the_bytes_that_they_negotiated() {
        let agreed =
            Capabilities::MARIADB_CACHE_METADATA.with(Capabilities::MARIADB_EXTENDED_METADATA);
        let payloads = payloads(agreed, Protocol::Text);
        assert_eq!(payloads[0], b"\x02\x01");
        assert_eq!(payloads[1][13..15], [0, 0x0C]);
    }

    #[test]
    fn binary_rows_have_values_of_their_columns_types() {
        let payloads = payloads(Capabilities::DEPRECATE_EOF, Protocol::Binary);
        assert_eq!(payloads[3], b"\0\x08\x07\0\0\0\0\0\0\0");
        // A text in a column of integers is none.
        assert_eq!(payloads[4], "\0\x04\x02é".as_bytes());
        let long = [Column {
            name: "pid",
            column_type: ColumnType::Long,
        }];
        for (value, expected) in [
            (Value::Integer(-2), &b"\0\0\xfe\xff\xff\xff"[..]),
            (Value::Unsigned(u32::MAX.into()), b"\0\0\xff\xff\xff\xff"),
            (Value::Unsigned(1 << 32), b"\0\x04"),
            (Value::Null, b"\0\x04"),
        ] {
            let mut row = BytesMut::new();
            put_binary_row(&mut row, &long, &[value]);
            assert_eq!(row, expected);
        }
        let mut row = BytesMut::new();
        put_binary_row(&mut row, &[COLUMNS[0]; 7], &[const { Value::Null }; 7]);
        assert_eq!(row[..], [0, 0b1111_1100, 0b1]);
    }
}
