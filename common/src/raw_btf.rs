// SPDX-License-Identifier: MIT OR Apache-2.0
//! Type information as the kernel shows it, byte for byte: for what libbpf
//! does not do with it, or not fast. The format is that of
//! include/uapi/linux/btf.h.

use std::io;

/// `BTF_KIND_*`: the kinds that are told apart.
pub const PTR: u32 = 2;
pub const ARRAY: u32 = 3;
pub const STRUCT: u32 = 4;
pub const UNION: u32 = 5;
pub const ENUM: u32 = 6;
pub const TYPEDEF: u32 = 8;
pub const VOLATILE: u32 = 9;
pub const CONST: u32 = 10;
pub const RESTRICT: u32 = 11;
pub const TYPE_TAG: u32 = 18;
pub const ENUM64: u32 = 19;

/// Every type begins with three words: name, kind and count, size or type.
pub const TYPE_BYTES: usize = 12;

/// `struct btf_header`.
pub struct Header {
    length: usize,
    types: usize,
    types_length: usize,
    strings: usize,
    pub strings_length: usize,
}

impl Header {
    /// What begins every type information, in this machine's byte order.
    pub const MAGIC_AND_VERSION: u32 = 0x1_eb9f;
    pub const BYTES: usize = 24;

    pub fn read(mut from: impl io::Read) -> io::Result<Self> {
        let mut bytes = [0; Self::BYTES];
        from.read_exact(&mut bytes)?;
        let word = |index: usize| word_at(&bytes, index * 4).unwrap_or(0) as usize;
        if word(0) != Self::MAGIC_AND_VERSION as usize {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self {
            length: word(1),
            types: word(2),
            types_length: word(3),
            strings: word(4),
            strings_length: word(5),
        })
    }
}

/// Type information in memory. Nothing of it is trusted to be complete.
pub struct RawBtf<'b> {
    types: &'b [u8],
    strings: &'b [u8],
    /// Where the strings begin: a module's go on where the kernel's end.
    first_string: usize,
}

impl<'b> RawBtf<'b> {
    pub fn new(bytes: &'b [u8], first_string: usize) -> io::Result<Self> {
        let header = Header::read(bytes)?;
        let from = |start: usize, length: usize| {
            let rest = bytes
                .get(header.length.saturating_add(start)..)
                .unwrap_or_default();
            rest.get(..length).unwrap_or(rest)
        };
        Ok(Self {
            types: from(header.types, header.types_length),
            strings: from(header.strings, header.strings_length),
            first_string,
        })
    }

    /// The types in the order of their ids, which begin at 1 in the kernel's own.
    pub fn types(&self) -> impl Iterator<Item = RawType<'b>> {
        let mut rest = self.types;
        std::iter::from_fn(move || {
            let found = RawType::first(rest)?;
            rest = rest.get(found.bytes.len()..)?;
            Some(found)
        })
    }

    /// The type whose first byte is at `offset` of all types.
    pub fn type_at(&self, offset: usize) -> Option<RawType<'b>> {
        RawType::first(self.types.get(offset..)?)
    }

    pub fn string(&self, offset: u32) -> Option<&'b [u8]> {
        let offset = (offset as usize).checked_sub(self.first_string)?;
        let text = self.strings.get(offset..)?;
        text.get(..text.iter().position(|&byte| byte == 0)?)
    }
}

/// One type, with all that belongs to it.
#[derive(Clone, Copy)]
pub struct RawType<'b> {
    pub bytes: &'b [u8],
    pub name: u32,
    pub kind: u32,
    pub count: usize,
}

impl<'b> RawType<'b> {
    fn first(types: &'b [u8]) -> Option<Self> {
        let (name, info) = (word_at(types, 0)?, word_at(types, 4)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        // Of each kind: how much follows, and how much of it per member.
        let (once, each) = match kind {
            1 | 14 | 17 => (4, 0), // int, var, decl_tag
            ARRAY => (12, 0),
            STRUCT | UNION | 15 | ENUM64 => (0, 12), // 15: datasec
            ENUM | 13 => (0, 8),                     // 13: function prototype
            _ => (0, 0),
        };
        let bytes = types.get(..TYPE_BYTES + once + each * count)?;
        Some(Self {
            bytes,
            name,
            kind,
            count,
        })
    }

    /// The word at `index`, counted from the type's first.
    pub fn word(&self, index: usize) -> Option<u32> {
        word_at(self.bytes, index * 4)
    }

    /// How many words a member has; the first is its name, the second its type
    /// or value.
    pub fn member_words(&self) -> usize {
        if self.kind == ENUM { 2 } else { 3 }
    }
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}
