//! Offsets of kernel structure fields, read from the running kernel's own type information (BTF). They differ from release to release
//! and from configuration to configuration, so they are never compiled in.
//!
//! Format: `Documentation/bpf/btf.rst` of the kernel source. Only what finding a member needs is read.

use std::collections::HashMap;

/// Where the kernel shows its types.
pub const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_DATASEC: u32 = 15;
const KIND_ENUM64: u32 = 19;

/// Why an offset is not known.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel was built without `CONFIG_DEBUG_INFO_BTF`, or the file may not be read.
    #[error("cannot read {KERNEL_TYPES}: {0}")]
    Read(#[from] std::io::Error),
    /// The file is not what the format says.
    #[error("{KERNEL_TYPES} is not valid BTF: {0}")]
    Malformed(&'static str),
    /// This kernel has no such field.
    #[error("this kernel has no field {0}")]
    NoField(String),
}

/// A member of a structure: its name, type and offset in bits.
struct Member {
    name: u32,
    kind: u32,
    bits: u32,
}

/// The structures of a kernel.
pub struct Types {
    strings: Vec<u8>,
    members: HashMap<u32, Vec<Member>>,
    structs: HashMap<Vec<u8>, u32>,
}

impl Types {
    /// The running kernel's.
    ///
    /// # Errors
    /// Where the file is missing, unreadable or malformed.
    pub fn of_this_kernel() -> Result<Self, BtfError> {
        Self::parse(&std::fs::read(KERNEL_TYPES)?)
    }

    /// Reads the whole of a BTF file in this machine's byte order.
    fn parse(file: &[u8]) -> Result<Self, BtfError> {
        let magic = file
            .first_chunk::<2>()
            .map(|bytes| u16::from_ne_bytes(*bytes));
        if magic != Some(MAGIC) {
            return Err(BtfError::Malformed("magic"));
        }
        let header = word(file, 4)?;
        let (types_at, types_size) = (header + word(file, 8)?, word(file, 12)?);
        let (strings_at, strings_size) = (header + word(file, 16)?, word(file, 20)?);
        let part = |at: u32, size: u32| {
            file.get(at as usize..)
                .and_then(|rest| rest.get(..size as usize))
                .ok_or(BtfError::Malformed("section bounds"))
        };
        let mut types = Self {
            strings: part(strings_at, strings_size)?.to_vec(),
            members: HashMap::new(),
            structs: HashMap::new(),
        };
        types.read_types(part(types_at, types_size)?)?;
        Ok(types)
    }

    /// Walks the type section; ids count from 1.
    fn read_types(&mut self, section: &[u8]) -> Result<(), BtfError> {
        let (mut at, mut id) = (0_usize, 1_u32);
        while at < section.len() {
            let (name, info) = (word(section, at)?, word(section, at + 4)?);
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            at += 12;
            if kind == KIND_STRUCT || kind == KIND_UNION {
                // With the kind flag an offset's upper byte is the width of a bit field.
                let mask = if info >> 31 == 1 {
                    0x00ff_ffff
                } else {
                    u32::MAX
                };
                let mut members = Vec::with_capacity(count);
                for member in 0..count {
                    let from = at + member * 12;
                    members.push(Member {
                        name: word(section, from)?,
                        kind: word(section, from + 4)?,
                        bits: word(section, from + 8)? & mask,
                    });
                }
                self.members.insert(id, members);
                if kind == KIND_STRUCT {
                    self.structs.entry(self.string(name).to_vec()).or_insert(id);
                }
            }
            at += trailing_bytes(kind, count);
            id += 1;
        }
        Ok(())
    }

    /// The string at this offset of the string section, without its NUL.
    fn string(&self, at: u32) -> &[u8] {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The offset in bytes of a field such as `sock`, `sk_backlog.rmem_alloc`.
    ///
    /// # Errors
    /// Where this kernel has no such field.
    pub fn offset_of(&self, structure: &str, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::NoField(format!("{structure}.{path}"));
        let mut id = *self.structs.get(structure.as_bytes()).ok_or_else(missing)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (kind, offset) = self.member(id, name.as_bytes(), 0).ok_or_else(missing)?;
            id = kind;
            bits += offset;
        }
        Ok(bits / 8)
    }

    /// Type and offset in bits of a member, in nested structures without a name too.
    fn member(&self, id: u32, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let members = self.members.get(&id)?;
        if let Some(found) = members
            .iter()
            .find(|member| self.string(member.name) == name)
        {
            return Some((found.kind, found.bits));
        }
        if depth == 4 {
            return None;
        }
        members
            .iter()
            .filter(|member| self.string(member.name).is_empty())
            .find_map(|nested| {
                self.member(nested.kind, name, depth + 1)
                    .map(|(kind, bits)| (kind, nested.bits + bits))
            })
    }
}

/// What follows a type's 12 bytes.
const fn trailing_bytes(kind: u32, count: usize) -> usize {
    match kind {
        1 | 14 | 17 => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
        KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
        _ => 0,
    }
}

/// The 32-bit number at this offset.
fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    chunk
        .map(|four| u32::from_ne_bytes(*four))
        .ok_or(BtfError::Malformed("ends early"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_btf_is_refused() {
        assert!(matches!(
            Types::parse(b""),
            Err(BtfError::Malformed("magic"))
        ));
        assert!(matches!(
            Types::parse(&[0x9f, 0xeb, 1, 0]),
            Err(BtfError::Malformed("ends early"))
        ));
    }

    #[test]
    fn nested_and_unnamed_members_are_found() {
        // struct a { int x; struct b y; }; struct b { union { int z; }; }, offsets in bits.
        let mut section = Vec::new();
        let mut push = |words: &[u32]| {
            for word in words {
                section.extend(word.to_ne_bytes());
            }
        };
        push(&[0, 1 << 24, 4, 0]);
        push(&[1, 4 << 24 | 2, 16, 3, 1, 0, 5, 3, 64]);
        push(&[7, 4 << 24 | 1, 8, 0, 4, 32]);
        push(&[0, 5 << 24 | 1, 4, 9, 1, 0]);
        let strings = b"\0a\0x\0y\0b\0z\0";
        let mut file = vec![];
        file.extend(MAGIC.to_ne_bytes());
        file.extend([1, 0]);
        for word in [24, 0, section.len(), section.len(), strings.len()] {
            file.extend(u32::try_from(word).unwrap().to_ne_bytes());
        }
        file.extend(&section);
        file.extend(strings);
        let types = Types::parse(&file).unwrap();
        assert_eq!(types.offset_of("a", "x").unwrap(), 0);
        assert_eq!(types.offset_of("a", "y.z").unwrap(), 12);
        assert!(matches!(types.offset_of("a", "q"), Err(BtfError::NoField(name)) if name == "a.q"));
    }
}
