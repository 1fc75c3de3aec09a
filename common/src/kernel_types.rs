// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few of the kernel's types that a BPF object asks for.
//!
//! libbpf looks for each type that an object's relocations name among all the
//! kernel's, some 150,000, which takes longer than all else that loading does.
//! So it gets type information of just those, and of what they contain.

use std::collections::{BTreeSet, HashMap};
use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use libbpf_rs::btf::{Btf, BtfType, TypeId};
use libbpf_rs::{AsRawLibbpf as _, OpenObject};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::btf::KERNEL_BTF;
use crate::raw_btf::{self as raw, Header, RawBtf, RawType, TYPE_BYTES};

/// A file with the types, as long as this lives.
pub struct KernelTypes(File);

impl KernelTypes {
    /// For the relocations of `object`. None: let libbpf look by itself.
    pub fn of(object: &OpenObject) -> Option<Self> {
        let kernel = Bytes::of(&PathBuf::from(KERNEL_BTF).join("vmlinux")).ok()?;
        let types = only(&RawBtf::new(kernel.as_ref(), 0).ok()?, &names(object)?)?;
        drop(kernel);
        let mut file = File::from(memfd_create(c"kernel_types", MFdFlags::MFD_CLOEXEC).ok()?);
        file.write_all(&types).ok()?;
        let types = Self(file);
        types.path().exists().then_some(types) // /proc may not be mounted
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// A file's bytes, mapped where the kernel lets them be: type information since
/// Linux 6.16.
enum Bytes {
    Mapped(NonNull<c_void>, NonZeroUsize),
    Read(Vec<u8>),
}

impl Bytes {
    fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).ok();
        if let Some(length) = length.and_then(NonZeroUsize::new) {
            // SAFETY: a new mapping, of bytes that never change.
            #[allow(unsafe_code)]
            let mapped = unsafe {
                mmap(
                    None,
                    length,
                    ProtFlags::PROT_READ,
                    MapFlags::MAP_PRIVATE,
                    &file,
                    0,
                )
            };
            if let Ok(start) = mapped {
                return Ok(Self::Mapped(start, length));
            }
        }
        let mut bytes = Vec::with_capacity(length.unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(Self::Read(bytes))
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            // SAFETY: mapped, with this length, until `self` is dropped.
            #[allow(unsafe_code)]
            Self::Mapped(start, length) => unsafe {
                std::slice::from_raw_parts(start.as_ptr().cast(), length.get())
            },
            Self::Read(bytes) => bytes,
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Self::Mapped(start, length) = self {
            // SAFETY: the whole of the mapping, which nobody borrows any more.
            #[allow(unsafe_code)]
            let _ = unsafe { munmap(*start, length.get()) };
        }
    }
}

/// The names of the types in `object`, without the flavour that follows `___`.
fn names(object: &OpenObject) -> Option<BTreeSet<Vec<u8>>> {
    // SAFETY: libbpf's object lives as long as `object`, which is borrowed.
    #[allow(unsafe_code)]
    let object = unsafe { object.as_libbpf_object().as_ref() };
    let btf = Btf::from_bpf_object(object).ok()??;
    let ids = 1..u32::try_from(btf.len()).ok()?;
    let all = ids.filter_map(|id| btf.type_by_id::<BtfType<'_>>(TypeId::from(id))?.name());
    let plain = all.map(|name| {
        let name = name.as_encoded_bytes();
        let flavour = name.windows(3).position(|part| part == b"___");
        name.get(..flavour.unwrap_or(name.len()))
            .unwrap_or(name)
            .to_vec()
    });
    Some(plain.filter(|name| !name.is_empty()).collect())
}

/// Type information of the types `names` of `kernel`.
fn only(kernel: &RawBtf<'_>, names: &BTreeSet<Vec<u8>>) -> Option<Vec<u8>> {
    // Most names differ from all that are looked for in the first few bytes.
    let mut starts = [[false; 256]; 2];
    for name in names {
        for (starts, &byte) in starts.iter_mut().zip(name) {
            if let Some(start) = starts.get_mut(usize::from(byte)) {
                *start = true;
            }
        }
    }
    let starts_like_one = |name: &[u8]| {
        let mut both = starts.iter().zip(name);
        both.all(|(starts, &byte)| starts.get(usize::from(byte)) == Some(&true))
    };
    let mut offsets = vec![0]; // id 0 is void
    let mut wanted = Vec::new();
    let mut offset = 0u32;
    for found in kernel.types() {
        let named = matches!(
            found.kind,
            raw::STRUCT | raw::UNION | raw::ENUM | raw::ENUM64 | raw::TYPEDEF
        );
        if named
            && found.name != 0
            && let Some(name) = kernel.string(found.name)
            && starts_like_one(name)
            && names.contains(name)
        {
            wanted.push(u32::try_from(offsets.len()).ok()?);
        }
        offsets.push(offset);
        offset += u32::try_from(found.bytes.len()).ok()?;
    }
    let mut part = Part {
        kernel,
        offsets,
        ids: HashMap::new(),
        count: 0,
        types: Vec::new(),
        strings: vec![0],
    };
    for id in wanted {
        part.take(id)?;
    }
    part.bytes()
}

/// Type information that is being put together.
struct Part<'k, 'b> {
    kernel: &'k RawBtf<'b>,
    /// Of the kernel's types, by id.
    offsets: Vec<u32>,
    /// The new id of a kernel's type.
    ids: HashMap<u32, u32>,
    count: u32,
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Part<'_, '_> {
    /// Takes the kernel's type `id` and all that it contains; its new id. Ends,
    /// as no type contains itself but by a pointer.
    fn take(&mut self, id: u32) -> Option<u32> {
        if id == 0 {
            return Some(0);
        }
        if let Some(&new) = self.ids.get(&id) {
            return Some(new);
        }
        let offset = *self.offsets.get(id as usize)? as usize;
        let found = self.kernel.type_at(offset)?;
        let new = match found.kind {
            // Where it leads to is no part of the type.
            raw::PTR => self.add(found, &[(2, 0)])?,
            raw::VOLATILE | raw::CONST | raw::RESTRICT | raw::TYPE_TAG => {
                self.take(found.word(2)?)?
            }
            raw::TYPEDEF => {
                let of = self.take(found.word(2)?)?;
                self.add(found, &[(2, of)])?
            }
            raw::ARRAY => {
                let (of, index) = (self.take(found.word(3)?)?, self.take(found.word(4)?)?);
                self.add(found, &[(3, of), (4, index)])?
            }
            raw::STRUCT | raw::UNION => {
                let members = (0..found.count).map(|member| {
                    let at = 3 + member * found.member_words() + 1;
                    Some((at, self.take(found.word(at)?)?))
                });
                let types = members.collect::<Option<Vec<_>>>()?;
                self.add(found, &types)?
            }
            _ => self.add(found, &[])?,
        };
        self.ids.insert(id, new);
        Some(new)
    }

    /// Adds a copy of `found` with some of its words replaced, and with its own
    /// and its members' names.
    fn add(&mut self, found: RawType<'_>, replaced: &[(usize, u32)]) -> Option<u32> {
        let start = self.types.len();
        self.types.extend_from_slice(found.bytes);
        let put = |types: &mut Vec<u8>, word: usize, value: u32| {
            let place = types.get_mut(start + word * 4..)?.first_chunk_mut()?;
            *place = value.to_ne_bytes();
            Some(())
        };
        for &(word, value) in replaced {
            put(&mut self.types, word, value)?;
        }
        let members = match found.kind {
            raw::STRUCT | raw::UNION | raw::ENUM | raw::ENUM64 => found.count,
            _ => 0,
        };
        let names = (0..members).map(|member| TYPE_BYTES / 4 + member * found.member_words());
        for word in std::iter::once(0).chain(names) {
            let name = match found.word(word)? {
                0 => 0,
                name => {
                    let text = self.kernel.string(name)?;
                    let name = u32::try_from(self.strings.len()).ok()?;
                    self.strings.extend_from_slice(text);
                    self.strings.push(0);
                    name
                }
            };
            put(&mut self.types, word, name)?;
        }
        self.count += 1;
        Some(self.count)
    }

    fn bytes(self) -> Option<Vec<u8>> {
        let types = u32::try_from(self.types.len()).ok()?;
        let strings = u32::try_from(self.strings.len()).ok()?;
        let header = [
            Header::MAGIC_AND_VERSION,
            Header::BYTES as u32,
            0,
            types,
            types,
            strings,
        ];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(self.types);
        bytes.extend(self.strings);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libbpf_rs::HasSize as _;
    use libbpf_rs::btf::types::{Enum, MemberAttr, Struct};

    fn members(of: &Struct<'_>) -> Vec<(String, u32)> {
        let name = |name: Option<&std::ffi::OsStr>| name.map(|n| n.to_string_lossy().into_owned());
        of.iter()
            .map(|member| {
                let offset = match member.attr {
                    MemberAttr::Normal { offset } => offset,
                    MemberAttr::BitField { size, offset } => offset + (u32::from(size) << 24),
                };
                (name(member.name).unwrap_or_default(), offset)
            })
            .collect()
    }

    /// A part of the running kernel's types is as the whole.
    #[test]
    fn a_part_has_what_is_asked_for_as_it_is() {
        let Ok(kernel) = Bytes::of(&PathBuf::from(KERNEL_BTF).join("vmlinux")) else {
            return; // a kernel without type information
        };
        let names = ["sock", "task_struct", "pid_type", "no_such_type"];
        let names = names.map(|name| name.as_bytes().to_vec()).into();
        let part = only(&RawBtf::new(kernel.as_ref(), 0).unwrap(), &names).unwrap();
        assert!(part.len() < kernel.as_ref().len() / 8, "{}", part.len());
        let file = tempfile(&part);
        let (part, whole) = (
            Btf::from_path(file.path()).unwrap(),
            Btf::from_vmlinux().unwrap(),
        );
        for name in ["sock", "task_struct"] {
            let (of_part, of_whole): (Struct<'_>, Struct<'_>) = (
                part.type_by_name(name).unwrap(),
                whole.type_by_name(name).unwrap(),
            );
            assert_eq!(of_part.size(), of_whole.size());
            assert!(members(&of_part).len() > 20);
            assert_eq!(members(&of_part), members(&of_whole));
        }
        let of_part: Enum<'_> = part.type_by_name("pid_type").unwrap();
        let of_whole: Enum<'_> = whole.type_by_name("pid_type").unwrap();
        assert!(!of_part.is_empty());
        assert_eq!(of_part.len(), of_whole.len());
        assert!(part.type_by_name::<Struct<'_>>("no_such_type").is_none());
    }

    fn tempfile(bytes: &[u8]) -> KernelTypes {
        let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all(bytes).unwrap();
        KernelTypes(file)
    }

    /// Whatever is missing of it, nothing panics.
    #[test]
    fn broken_type_information_is_none() {
        let Ok(kernel) = Bytes::of(&PathBuf::from(KERNEL_BTF).join("vmlinux")) else {
            return;
        };
        let kernel = kernel.as_ref();
        assert!(RawBtf::new(&kernel[..8], 0).is_err());
        let names = [b"sock".to_vec()].into();
        for end in [24, 1000, kernel.len() / 2] {
            let _ = only(&RawBtf::new(&kernel[..end], 0).unwrap(), &names);
        }
    }
}
