//! A result set of the text protocol, for the statements that Sluice answers itself.
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

/// Appends a whole result set, its first packet with sequence number `sequence`; returns the number that comes next.
///
/// `agreed` are the capabilities of the client's connection, `status` its status flags. `None` is NULL. Every row should have one
/// value for each column.
pub fn put<'row, R>(
    out: &mut BytesMut,
    sequence: u8,
    agreed: Capabilities,
    status: u16,
    columns: &[Column<'_>],
    rows: R,
) -> u8
where
    R: IntoIterator<Item = &'row [Option<String>]>,
{
    let mut payload = BytesMut::new();
    put_lenenc(&mut payload, columns.len() as u64);
    if agreed.contains(Capabilities::MARIADB_CACHE_METADATA) {
        // "Metadata follows": column definitions are sent (MariaDB's page, "Result Set Packets").
        payload.put_u8(1);
    }
    let mut next = packet::put(out, sequence, &payload);
    for column in columns {
        next = packet::put(out, next, &definition(column, agreed));
    }
    let classic = !agreed.contains(Capabilities::DEPRECATE_EOF);
    if classic {
        next = packet::put(out, next, &encode_eof(status, 0));
    }
    for row in rows {
        payload.clear();
        for value in row {
            match value {
                Some(text) => put_lenenc_bytes(&mut payload, text.as_bytes()),
                None => payload.put_u8(NULL),
            }
        }
        next = packet::put(out, next, &payload);
    }
    let end = if classic {
        encode_eof(status, 0)
    } else {
        OkPacket {
            status,
            ..OkPacket::default()
        }
        .encode_as_eof(agreed)
    };
    packet::put(out, next, &end)
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

    fn payloads(agreed: Capabilities) -> Vec<Vec<u8>> {
        let rows = [
            [Some("7".to_owned()), None],
            [Some(String::new()), Some("é".to_owned())],
        ];
        let mut out = BytesMut::new();
        let next = put(
            &mut out,
            1,
            agreed,
            2,
            &COLUMNS,
            rows.iter().map(<[_; 2]>::as_slice),
        );
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
        assert_eq!(payloads(Capabilities::default()), expected);
    }

    #[test]
    fn without_eof_the_rows_end_with_ok() {
        let payloads = payloads(Capabilities::DEPRECATE_EOF);
        assert_eq!(payloads.len(), 6);
        assert_eq!(payloads[5], b"\xfe\x00\x00\x02\x00\x00\x00");
    }

    #[test]
    fn mariadb_clients_get_the_bytes_that_they_negotiated() {
        let agreed =
            Capabilities::MARIADB_CACHE_METADATA.with(Capabilities::MARIADB_EXTENDED_METADATA);
        let payloads = payloads(agreed);
        assert_eq!(payloads[0], b"\x02\x01");
        assert_eq!(payloads[1][13..15], [0, 0x0C]);
    }
}
