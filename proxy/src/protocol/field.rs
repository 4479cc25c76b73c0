//! The field types that every packet is made of: little-endian integers, NUL-terminated and length-encoded strings.

use bytes::{BufMut, BytesMut};

use super::Malformed;

/// Reads fields from the front of a payload.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the first byte of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Malformed`] naming `what` if fewer are left.
    pub fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed { what })?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Malformed`] naming `what` if fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed { what })?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed`] naming `what` at the end.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`Malformed`] naming `what` if fewer are left.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`Malformed`] naming `what` if fewer are left.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// A length-encoded integer (the manual, `int<lenenc>`).
    ///
    /// # Errors
    /// [`Malformed`] naming `what` if it is cut short, or for the bytes `0xFB` (NULL) and `0xFF`, which begin none.
    pub fn lenenc(&mut self, what: &'static str) -> Result<u64, Malformed> {
        match self.u8(what)? {
            byte @ 0..=0xFA => Ok(u64::from(byte)),
            0xFC => Ok(u64::from(self.u16(what)?)),
            0xFD => {
                let [a, b, c] = self.array(what)?;
                Ok(u64::from(u32::from_le_bytes([a, b, c, 0])))
            }
            0xFE => Ok(u64::from_le_bytes(self.array(what)?)),
            0xFB | 0xFF => Err(Malformed { what }),
        }
    }

    /// A length-encoded string.
    ///
    /// # Errors
    /// [`Malformed`] naming `what` if it is cut short.
    pub fn lenenc_bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.lenenc(what)?;
        self.bytes(usize::try_from(len).unwrap_or(usize::MAX), what)
    }

    /// A string that ends with a NUL, which is consumed and not returned.
    ///
    /// # Errors
    /// [`Malformed`] naming `what` if there is no NUL.
    pub fn nul_bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self
            .rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(Malformed { what })?;
        let text = self.bytes(len, what)?;
        self.u8(what)?;
        Ok(text)
    }

    /// A string that ends with a NUL or with the packet, as servers read the last fields of a login packet.
    pub fn nul_or_rest(&mut self) -> &'a [u8] {
        self.nul_bytes("")
            .unwrap_or_else(|_| std::mem::take(&mut self.rest))
    }
}

/// Appends a length-encoded integer.
pub fn put_lenenc(out: &mut BytesMut, value: u64) {
    match value {
        0..=0xFA => out.put_uint_le(value, 1),
        0xFB..=0xFFFF => {
            out.put_u8(0xFC);
            out.put_uint_le(value, 2);
        }
        0x1_0000..=0xFF_FFFF => {
            out.put_u8(0xFD);
            out.put_uint_le(value, 3);
        }
        _ => {
            out.put_u8(0xFE);
            out.put_u64_le(value);
        }
    }
}

/// Appends a length-encoded string.
pub fn put_lenenc_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_lenenc(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Appends a string up to its first NUL, and a NUL: a NUL inside would make the reader see another packet.
pub fn put_nul_bytes(out: &mut BytesMut, bytes: &[u8]) {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    out.put_slice(text);
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_integers_round_trip_in_their_shortest_form() {
        let cases = [
            (0, 1),
            (0xFA, 1),
            (0xFB, 3),
            (0xFFFF, 3),
            (0x1_0000, 4),
            (0xFF_FFFF, 4),
            (0x100_0000, 9),
            (u64::MAX, 9),
        ];
        for (value, len) in cases {
            let mut out = BytesMut::new();
            put_lenenc(&mut out, value);
            assert_eq!(out.len(), len, "{value:#x}");
            let mut reader = Reader::new(&out);
            assert_eq!(reader.lenenc("").unwrap(), value);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        for bytes in [
            &b""[..],
            b"\xFB",
            b"\xFF",
            b"\xFC\x01",
            b"\xFD\x01\x01",
            b"\xFE\x01",
        ] {
            assert_eq!(
                Reader::new(bytes).lenenc("x"),
                Err(Malformed { what: "x" }),
                "{bytes:?}"
            );
        }
        assert!(
            Reader::new(b"\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFabc")
                .lenenc_bytes("x")
                .is_err()
        );
        assert!(Reader::new(b"abc").nul_bytes("x").is_err());
        assert_eq!(Reader::new(b"abc").nul_or_rest(), b"abc");
        assert_eq!(Reader::new(b"abc\0d").nul_or_rest(), b"abc");
    }

    #[test]
    fn a_nul_inside_ends_the_string_it_is_in() {
        let mut out = BytesMut::new();
        put_nul_bytes(&mut out, b"ab\0cd");
        assert_eq!(&out[..], b"ab\0");
    }
}
