//! Statements that Sluice answers itself: the text of `COM_QUERY`, the answer to `COM_STMT_PREPARE`, the parameters of `COM_STMT_EXECUTE`.

use bytes::{BufMut, BytesMut};
use mysql_common::constants::ColumnType as Wire;

use super::Malformed;
use super::capability::Capabilities;
use super::field::Reader;
use super::packet;
use super::reply::OK;
use super::result_set::{Column, ColumnType, put_definitions};

/// In the flags of `COM_STMT_EXECUTE`: a count of parameters follows (`PARAMETER_COUNT_AVAILABLE`, with query attributes).
const COUNT_AVAILABLE: u8 = 0x08;
/// In a parameter's type: the integer has no sign.
const UNSIGNED: u16 = 0x8000;
/// The most parameters whose types an EXECUTE may give: the statement's own and query attributes.
pub const TYPES_MAX: usize = 256;
/// Where the flags are in the payload of a `COM_STMT_EXECUTE`.
const FLAGS_AT: usize = 5;

/// Appends the answer to `COM_STMT_PREPARE`: no columns, as servers of old say of `SHOW` (the columns come with the rows), and this many
/// parameters.
pub fn put_prepared(
    out: &mut BytesMut,
    agreed: Capabilities,
    status: u16,
    id: u32,
    parameters: usize,
) {
    let count = u16::try_from(parameters).unwrap_or(u16::MAX);
    let mut payload = BytesMut::with_capacity(12);
    payload.put_u8(OK);
    payload.put_u32_le(id);
    // Columns, parameters, filler, warnings.
    payload.put_u16_le(0);
    payload.put_u16_le(count);
    payload.put_u8(0);
    payload.put_u16_le(0);
    let next = packet::put(out, 1, &payload);
    if parameters > 0 {
        let parameter = Column {
            name: "?",
            column_type: ColumnType::Varchar,
        };
        put_definitions(out, next, agreed, status, &vec![parameter; parameters]);
    }
}

/// The value of a parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Parameter<'a> {
    /// SQL NULL.
    Null,
    /// An integer with a sign.
    Integer(i64),
    /// An integer without.
    Unsigned(u64),
    /// A number that some drivers send for every number.
    Double(f64),
    /// Text, or bytes.
    Text(&'a [u8]),
    /// A date or a time.
    Temporal,
}

/// Reads the parameters of a `COM_STMT_EXECUTE`.
///
/// `payload` is the whole command. `types` are those of the statement's last execution, which this one may leave out; they are replaced by
/// its own. `long_data` has, for each parameter of the statement, what `COM_STMT_SEND_LONG_DATA` has brought: such a parameter has no value in
/// the command.
///
/// # Errors
/// [`Malformed`] if it is cut short, has a type that is none, or no types where there are none yet.
pub fn parameters<'a>(
    payload: &'a [u8],
    agreed: Capabilities,
    types: &mut Vec<u16>,
    long_data: &'a [Option<Vec<u8>>],
) -> Result<Vec<Parameter<'a>>, Malformed> {
    let own = long_data.len();
    let mut reader = Reader::new(payload);
    let attributes = agreed.contains(Capabilities::QUERY_ATTRIBUTES);
    let count = count(&mut reader, attributes, own)?;
    if count > TYPES_MAX {
        return Err(Malformed { what: "parameters" });
    }
    if own == 0 {
        // Query attributes may follow: nobody asks for them.
        return Ok(Vec::new());
    }
    let nulls = reader.bytes(count.div_ceil(8), "NULL bitmap")?;
    if reader.u8("types")? == 1 {
        types.clear();
        for _ in 0..count {
            types.push(reader.u16("type")?);
            if attributes {
                reader.lenenc_bytes("name")?;
            }
        }
    }
    let mut values = Vec::with_capacity(own);
    for (at, long) in long_data.iter().enumerate() {
        let wire = *types.get(at).ok_or(Malformed { what: "types" })?;
        values.push(match long {
            Some(text) => Parameter::Text(text),
            None if is_null(nulls, at) => Parameter::Null,
            None => value(&mut reader, wire)?,
        });
    }
    Ok(values)
}

/// What a `COM_STMT_EXECUTE` says in front of its values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Front {
    /// Its flags: the kind of the cursor it asks for, mostly.
    pub flags: u8,
    /// The statement's own parameters' types, two bytes each, if it names them.
    pub types: Option<Box<[u8]>>,
    /// Where in the payload it says whether it does.
    types_at: usize,
}

impl Front {
    /// Whether it asks for a cursor.
    pub const fn opens_cursor(&self) -> bool {
        self.flags & !COUNT_AVAILABLE != 0
    }
}

/// Reads the front of a `COM_STMT_EXECUTE` whose statement has `own` parameters, at most [`TYPES_MAX`]. `payload` is the command or its beginning.
///
/// # Errors
/// [`Malformed`] if it is cut short before its values.
pub fn front(payload: &[u8], agreed: Capabilities, own: usize) -> Result<Front, Malformed> {
    let mut reader = Reader::new(payload);
    let attributes = agreed.contains(Capabilities::QUERY_ATTRIBUTES);
    let count = count(&mut reader, attributes, own)?;
    let flags = payload.get(FLAGS_AT).copied().unwrap_or_default();
    if own == 0 {
        return Ok(Front {
            flags,
            types: None,
            types_at: payload.len(),
        });
    }
    if count > TYPES_MAX {
        return Err(Malformed { what: "parameters" });
    }
    reader.bytes(count.div_ceil(8), "NULL bitmap")?;
    let types_at = payload.len() - reader.rest().len();
    let named = reader.u8("types")?;
    let types = if named == 1 {
        let mut types = Vec::with_capacity(2 * own);
        for at in 0..count {
            let one = reader.bytes(2, "type")?;
            if attributes {
                reader.lenenc_bytes("name")?;
            }
            if at < own {
                types.extend_from_slice(one);
            }
        }
        Some(types.into())
    } else if named != 0 || count > own {
        // An attribute means nothing without its type and its name.
        return Err(Malformed { what: "types" });
    } else {
        None
    };
    Ok(Front {
        flags,
        types,
        types_at,
    })
}

/// Has the `COM_STMT_EXECUTE` in this packet name its parameters' types, which its `front` says it does not. Only the packet's first bytes need be
/// there. Returns whether it could: not where that would make it longer than a packet can be.
pub fn name_types(
    packet: &mut BytesMut,
    front: &Front,
    types: &[u8],
    agreed: Capabilities,
) -> bool {
    let at = packet::HEADER_LEN + front.types_at;
    let Some((&[a, b, c, sequence], _)) = packet.split_first_chunk() else {
        return false;
    };
    if packet.get(at) != Some(&0) {
        return false;
    }
    let mut named = BytesMut::with_capacity(packet.len() + 2 * types.len());
    named.extend_from_slice(packet.get(..at).unwrap_or_default());
    named.put_u8(1);
    for one in types.chunks(2) {
        named.extend_from_slice(one);
        if agreed.contains(Capabilities::QUERY_ATTRIBUTES) {
            // Without a name.
            named.put_u8(0);
        }
    }
    named.extend_from_slice(packet.get(at + 1..).unwrap_or_default());
    let length = u32::from_le_bytes([a, b, c, 0]) as usize + named.len() - packet.len();
    let [a, b, c, 0] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes() else {
        return false;
    };
    let Some(header) = named
        .first_chunk_mut()
        .filter(|_| length < packet::PAYLOAD_MAX)
    else {
        return false;
    };
    *header = [a, b, c, sequence];
    *packet = named;
    true
}

/// Has a command for a prepared statement, of which the front of the packet is here, name this one.
pub fn name_statement(packet: &mut [u8], id: u32) {
    let at = packet::HEADER_LEN + 1;
    if let Some(place) = packet.get_mut(at..at + 4) {
        place.copy_from_slice(&id.to_le_bytes());
    }
}

/// Whether a `COM_STMT_EXECUTE` names its parameters' types, of which its statement has this many, and at least one.
///
/// # Errors
/// [`Malformed`] if it is cut short before it says so.
pub fn names_types(payload: &[u8], agreed: Capabilities, own: usize) -> Result<bool, Malformed> {
    let mut reader = Reader::new(payload);
    let attributes = agreed.contains(Capabilities::QUERY_ATTRIBUTES);
    let count = count(&mut reader, attributes, own)?;
    reader.bytes(count.div_ceil(8), "NULL bitmap")?;
    Ok(reader.u8("types")? == 1)
}

/// Reads a `COM_STMT_EXECUTE` up to its NULL bitmap: how many parameters it has, query attributes among them.
fn count(reader: &mut Reader<'_>, attributes: bool, own: usize) -> Result<usize, Malformed> {
    // Command, statement.
    reader.bytes(5, "statement")?;
    let flags = reader.u8("flags")?;
    reader.u32("iterations")?;
    let counted = attributes && (own > 0 || flags & COUNT_AVAILABLE != 0);
    let count = if counted {
        usize::try_from(reader.lenenc("parameters")?).unwrap_or(usize::MAX)
    } else {
        own
    };
    if count < own {
        return Err(Malformed { what: "parameters" });
    }
    Ok(count)
}

/// The text of a `COM_QUERY`, behind its attributes.
///
/// # Errors
/// [`Malformed`] if they are cut short or have a type that is none.
pub fn query_text(payload: &[u8], agreed: Capabilities) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(payload);
    reader.u8("command")?;
    if !agreed.contains(Capabilities::QUERY_ATTRIBUTES) {
        return Ok(reader.rest());
    }
    behind_attributes(reader.rest())
}

/// The text behind the query attributes at the front of `rest`, which is a `COM_QUERY` without its first byte.
///
/// # Errors
/// As [`query_text`].
pub fn behind_attributes(rest: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(rest);
    let count = reader.lenenc("attributes")?;
    reader.lenenc("sets of attributes")?;
    if count == 0 {
        return Ok(reader.rest());
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > TYPES_MAX {
        return Err(Malformed { what: "attributes" });
    }
    let nulls = reader.bytes(count.div_ceil(8), "NULL bitmap")?;
    reader.u8("types")?;
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        types.push(reader.u16("type")?);
        reader.lenenc_bytes("name")?;
    }
    for (at, wire) in types.into_iter().enumerate() {
        if !is_null(nulls, at) {
            value(&mut reader, wire)?;
        }
    }
    Ok(reader.rest())
}

fn is_null(bitmap: &[u8], at: usize) -> bool {
    bitmap
        .get(at / 8)
        .is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

/// One value, by its type.
fn value<'a>(reader: &mut Reader<'a>, wire: u16) -> Result<Parameter<'a>, Malformed> {
    const WHAT: &str = "value";
    let [byte, _] = wire.to_le_bytes();
    let column_type = Wire::try_from(byte).map_err(|_unknown| Malformed { what: "type" })?;
    let integer = |signed: i64, unsigned: u64| {
        if wire & UNSIGNED == 0 {
            Parameter::Integer(signed)
        } else {
            Parameter::Unsigned(unsigned)
        }
    };
    Ok(match column_type {
        Wire::MYSQL_TYPE_NULL => Parameter::Null,
        Wire::MYSQL_TYPE_TINY => {
            let byte = reader.u8(WHAT)?;
            integer(byte.cast_signed().into(), byte.into())
        }
        Wire::MYSQL_TYPE_SHORT | Wire::MYSQL_TYPE_YEAR => {
            let number = reader.u16(WHAT)?;
            integer(number.cast_signed().into(), number.into())
        }
        Wire::MYSQL_TYPE_LONG | Wire::MYSQL_TYPE_INT24 => {
            let number = reader.u32(WHAT)?;
            integer(number.cast_signed().into(), number.into())
        }
        Wire::MYSQL_TYPE_LONGLONG => {
            let number = u64::from_le_bytes(reader.array(WHAT)?);
            integer(number.cast_signed(), number)
        }
        Wire::MYSQL_TYPE_FLOAT => Parameter::Double(f32::from_le_bytes(reader.array(WHAT)?).into()),
        Wire::MYSQL_TYPE_DOUBLE => Parameter::Double(f64::from_le_bytes(reader.array(WHAT)?)),
        Wire::MYSQL_TYPE_DATE
        | Wire::MYSQL_TYPE_TIME
        | Wire::MYSQL_TYPE_DATETIME
        | Wire::MYSQL_TYPE_TIMESTAMP => {
            let length = reader.u8(WHAT)?;
            reader.bytes(length.into(), WHAT)?;
            Parameter::Temporal
        }
        _ => Parameter::Text(reader.lenenc_bytes(WHAT)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: [Option<Vec<u8>>; 2] = [None, None];

    fn execute(tail: &[u8]) -> Vec<u8> {
        [b"\x17\x01\0\0\xf0\0\x01\0\0\0", tail].concat()
    }

    #[test]
    fn parameters_are_read_by_their_types() {
        let cases: [(&[u8], [Parameter<'_>; 2]); 5] = [
            (
                b"\0\x01\x01\0\x02\x80\xfe\xfe\xff",
                [Parameter::Integer(-2), Parameter::Unsigned(0xFFFE)],
            ),
            (
                b"\0\x01\x03\0\x08\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                [Parameter::Integer(-1), Parameter::Unsigned(u64::MAX)],
            ),
            (
                b"\0\x01\x05\0\xfd\0\0\0\0\0\0\0\x14\x40\x03a%b",
                [Parameter::Double(5.0), Parameter::Text(b"a%b")],
            ),
            (
                b"\x01\x01\x08\0\x0a\0\x04\0\0\0\0",
                [Parameter::Null, Parameter::Temporal],
            ),
            (b"\x02\x01\x06\0\xfe\0", [Parameter::Null, Parameter::Null]),
        ];
        for (tail, expected) in cases {
            let payload = execute(tail);
            let read = parameters(&payload, Capabilities::default(), &mut Vec::new(), &NONE);
            assert_eq!(read, Ok(expected.to_vec()), "{tail:?}");
        }
    }

    #[test]
    fn types_and_long_data_outlive_an_execution() {
        let mut types = Vec::new();
        let first = execute(b"\0\x01\x01\0\xfd\0\x07\x01x");
        assert!(parameters(&first, Capabilities::default(), &mut types, &NONE).is_ok());
        let long = [None, Some(b"long".to_vec())];
        let second = execute(b"\0\0\x08");
        let read = parameters(&second, Capabilities::default(), &mut types, &long);
        let expected = [Parameter::Integer(8), Parameter::Text(b"long")];
        assert_eq!(read, Ok(expected.to_vec()));
        let untyped = parameters(&second, Capabilities::default(), &mut Vec::new(), &NONE);
        assert!(untyped.is_err());
    }

    #[test]
    fn query_attributes_stand_behind_the_parameters() {
        let payload = [
            &b"\x17\x01\0\0\xf0\x08\x01\0\0\0\x03\0\x01"[..],
            b"\x01\0\0\x01\0\0\xfd\0\x05trace",
            b"\x05\x06\x02id",
        ]
        .concat();
        let agreed = Capabilities::QUERY_ATTRIBUTES;
        let read = parameters(&payload, agreed, &mut Vec::new(), &NONE);
        let expected = [Parameter::Integer(5), Parameter::Integer(6)];
        assert_eq!(read, Ok(expected.to_vec()));
        let bare = b"\x17\x01\0\0\xf0\0\x01\0\0\0";
        assert_eq!(parameters(bare, agreed, &mut Vec::new(), &[]), Ok(vec![]));
        let fewer = b"\x17\x01\0\0\xf0\x08\x01\0\0\0\x01\0\x01\x01\0\0\x05";
        assert!(parameters(fewer, agreed, &mut Vec::new(), &NONE).is_err());
    }

    #[test]
    fn types_are_read_and_named() {
        let plain = Capabilities::default();
        let with_types = execute(b"\x02\x01\x08\0\xfd\x80\x05\0\0\0\0\0\0\0");
        let read = front(&with_types, plain, 2).unwrap();
        assert_eq!(read.types.as_deref(), Some(&b"\x08\0\xfd\x80"[..]));
        assert!(!read.opens_cursor());
        for cut in 0..15 {
            assert!(front(&with_types[..cut], plain, 2).is_err(), "{cut}");
        }
        let without = execute(b"\x02\0\x05\0\0\0\0\0\0\0");
        let bare = front(&without, plain, 2).unwrap();
        assert_eq!(bare.types, None);
        let mut named = BytesMut::new();
        packet::put(&mut named, 0, &without);
        // All of the values need not be there.
        named.truncate(4 + 14);
        assert!(name_types(&mut named, &bare, b"\x08\0\xfd\x80", plain));
        let mut whole = BytesMut::new();
        packet::put(&mut whole, 0, &with_types);
        assert_eq!(named, whole[..named.len()]);
        // It does name them by now.
        assert!(!name_types(&mut named, &bare, b"\x08\0\xfd\x80", plain));
        let mut cursor = without.clone();
        cursor[5] = 1;
        assert!(front(&cursor, plain, 2).unwrap().opens_cursor());
        assert!(
            !front(b"\x17\x01\0\0\0\0\x01\0\0\0", plain, 0)
                .unwrap()
                .opens_cursor()
        );
        name_statement(&mut named, 0x0102_0304);
        assert_eq!(named[4..9], *b"\x17\x04\x03\x02\x01");
    }

    #[test]
    fn types_are_named_among_query_attributes() {
        let agreed = Capabilities::QUERY_ATTRIBUTES;
        let with_attribute = [
            &b"\x17\x01\0\0\xf0\x08\x01\0\0\0\x02\0\x01"[..],
            b"\x01\0\x01x\xfd\0\x05trace\x05\x02id",
        ]
        .concat();
        let read = front(&with_attribute, agreed, 1).unwrap();
        assert_eq!(read.types.as_deref(), Some(&b"\x01\0"[..]));
        assert!(!read.opens_cursor());
        let payload = b"\x17\x01\0\0\xf0\x08\x01\0\0\0\x01\0\0\x05";
        let bare = front(payload, agreed, 1).unwrap();
        let mut named = BytesMut::new();
        packet::put(&mut named, 0, payload);
        assert!(name_types(&mut named, &bare, b"\x01\0", agreed));
        let expected = b"\x11\0\0\0\x17\x01\0\0\xf0\x08\x01\0\0\0\x01\0\x01\x01\0\0\x05";
        assert_eq!(named[..], *expected);
        let values = parameters(&named[4..], agreed, &mut Vec::new(), &[None]);
        assert_eq!(values, Ok(vec![Parameter::Integer(5)]));
    }

    #[test]
    fn a_querys_text_stands_behind_its_attributes() {
        let agreed = Capabilities::QUERY_ATTRIBUTES;
        let text = |payload, agreed| query_text(payload, agreed).map_err(|error| error.what);
        assert_eq!(
            text(b"\x03KILL 1", Capabilities::default()),
            Ok(&b"KILL 1"[..])
        );
        assert_eq!(text(b"\x03\0\x01KILL 1", agreed), Ok(&b"KILL 1"[..]));
        let two = b"\x03\x02\x01\x02\x01\xfd\0\x01a\x08\0\x01b\x03abcKILL 1";
        assert_eq!(text(two, agreed), Ok(&b"KILL 1"[..]));
        assert_eq!(text(&two[..12], agreed), Err("name"));
        assert_eq!(
            text(b"\x03\xfe\xff\xff\xff\xff\0\0\0\0\x01", agreed),
            Err("attributes")
        );
    }

    #[test]
    fn a_prepared_statement_has_parameters_and_no_columns() {
        let mut out = BytesMut::new();
        put_prepared(&mut out, Capabilities::default(), 2, 0xF000_0001, 0);
        assert_eq!(out[..], *b"\x0c\0\0\x01\0\x01\0\0\xf0\0\0\0\0\0\0\0");
        let mut payloads = Vec::new();
        put_prepared(&mut out, Capabilities::default(), 2, 0xF000_0002, 2);
        while let Some(packet) = packet::take(&mut out, 100).unwrap() {
            payloads.push(packet.payload);
        }
        assert_eq!(payloads.len(), 1 + 1 + 2 + 1);
        assert_eq!(payloads[1][7..9], [2, 0]);
        assert_eq!(payloads[4], &b"\xfe\0\0\x02\0"[..]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(
            tail in prop::collection::vec(any::<u8>(), 0..60),
            flags: u64,
            own in 0_usize..4,
            known in prop::collection::vec(any::<u16>(), 0..4),
        ) {
            let payload = execute(&tail);
            let agreed = Capabilities::from_bits(flags);
            let long = vec![None; own];
            if let Ok(values) = parameters(&payload, agreed, &mut known.clone(), &long) {
                prop_assert_eq!(values.len(), own);
            }
            let _ = parameters(&tail, agreed, &mut known.clone(), &long);
            let _ = query_text(&tail, agreed);
            if let Ok(front) = front(&payload, agreed, own) {
                prop_assert!(front.types.is_none_or(|types| types.len() == 2 * own));
            }
        }
    }
}
