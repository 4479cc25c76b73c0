//! Definitions of columns.

use super::{Response, take_length};
use anyhow::{Context as _, Result};

/// `MYSQL_TYPE_LONG`.
pub const LONG: u8 = 3;
/// `MYSQL_TYPE_LONGLONG`.
pub const LONGLONG: u8 = 8;
/// `MYSQL_TYPE_VARCHAR`.
pub const VARCHAR: u8 = 15;

/// What a server says of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Catalog, schema, the table's alias and its name.
    pub origin: [String; 4],
    /// The name that the client is to show.
    pub name: String,
    /// The name in the table.
    pub original_name: String,
    /// Character set and collation.
    pub collation: u16,
    /// Display length.
    pub length: u32,
    /// Type (`MYSQL_TYPE_…`).
    pub kind: u8,
    /// Flags.
    pub flags: u16,
}

impl Column {
    fn parse(packet: &[u8]) -> Result<Self> {
        let mut rest = packet;
        let mut texts: [String; 6] = Default::default();
        for text in &mut texts {
            let (length, tail) = take_length(rest)?;
            let (bytes, tail) = tail
                .split_at_checked(usize::try_from(length)?)
                .context("a cut text")?;
            *text = String::from_utf8(bytes.to_vec())?;
            rest = tail;
        }
        let [catalog, schema, table, original_table, name, original_name] = texts;
        let fixed = rest.first_chunk::<11>().context("a cut column")?;
        let [
            _,
            set0,
            set1,
            length0,
            length1,
            length2,
            length3,
            kind,
            flags0,
            flags1,
            _,
        ] = *fixed;
        Ok(Self {
            origin: [catalog, schema, table, original_table],
            name,
            original_name,
            collation: u16::from_le_bytes([set0, set1]),
            length: u32::from_le_bytes([length0, length1, length2, length3]),
            kind,
            flags: u16::from_le_bytes([flags0, flags1]),
        })
    }
}

impl Response {
    /// The first result set's columns.
    ///
    /// # Errors
    ///
    /// When the answer is an error or has no rows.
    pub fn columns(&self) -> Result<Vec<Column>> {
        self.outcome.ok()?;
        let (count, _) = take_length(self.packets.first().context("no answer")?)?;
        let definitions = self.packets.get(1..=usize::try_from(count)?);
        definitions
            .context("fewer columns than announced")?
            .iter()
            .map(|packet| Column::parse(packet))
            .collect()
    }

    /// The first result set's rows as texts; `None` is NULL.
    ///
    /// # Errors
    ///
    /// As [`Response::table`], and when a value is not UTF-8.
    pub fn texts(&self) -> Result<Vec<Vec<Option<String>>>> {
        let text = |cell: Option<Vec<u8>>| cell.map(String::from_utf8).transpose();
        let row = |row: Vec<Option<Vec<u8>>>| row.into_iter().map(text).collect();
        let rows: Result<_, _> = self.table()?.into_iter().map(row).collect();
        Ok(rows?)
    }
}
