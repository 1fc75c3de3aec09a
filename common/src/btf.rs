// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running kernel's type information: the numbers and prototypes that
//! differ between kernels are taken from it, never from a kernel version.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{Enum, FuncProto, Ptr, Typedef};

use crate::hooks::capture_libbpf_messages;
use crate::probe::Probe;
use crate::raw_btf::{self, Header, RawBtf};

/// Type information of the running kernel.
pub struct KernelBtf(Btf<'static>);

impl KernelBtf {
    pub fn load() -> Result<Self> {
        capture_libbpf_messages();
        Btf::from_vmlinux()
            .map(Self)
            .map_err(|error| match Probe::default().obstacle() {
                Some(obstacle) => anyhow!("cannot load BPF programs: {obstacle}"),
                None => anyhow!("read kernel type information: {error}"),
            })
    }

    /// How many parameters the tracepoint `event` passes to a program.
    pub fn tracepoint_params(&self, event: &str) -> Option<usize> {
        let typedef: Typedef<'_> = self.0.type_by_name(&format!("btf_trace_{event}"))?;
        let pointer = Ptr::try_from(typedef.next_type()?).ok()?;
        let proto = FuncProto::try_from(pointer.next_type()?).ok()?;
        // The first is the tracepoint's private data.
        proto.len().checked_sub(1)
    }

    /// Names and values of the first of the enums `names` that exists.
    pub fn enumerators(&self, names: &[&str]) -> Vec<(String, u64)> {
        names
            .iter()
            .find_map(|name| self.0.type_by_name::<Enum<'_>>(name))
            .map(|found| members(found).collect())
            .unwrap_or_default()
    }

    /// Names and values of every enum whose own name `wanted` accepts.
    pub fn enumerators_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, u64)> {
        self.0
            .type_by_kind::<Enum<'_>>()
            .filter(|found| {
                found
                    .name()
                    .is_some_and(|name| wanted(&name.to_string_lossy()))
            })
            .flat_map(members)
            .collect()
    }

    /// The value of an enumerator of whatever enum, also of one without a name.
    pub fn enumerator(&self, name: &str) -> Option<u64> {
        self.0
            .type_by_kind::<Enum<'_>>()
            .flat_map(members)
            .find_map(|(member, value)| (member == name).then_some(value))
    }
}

fn members(of: Enum<'_>) -> impl Iterator<Item = (String, u64)> + '_ {
    (0..of.len())
        .filter_map(move |index| of.get(index))
        .filter_map(|member| {
            let value = u64::try_from(member.value).ok()?;
            Some((member.name?.to_string_lossy().into_owned(), value))
        })
}

/// Where the kernel shows its type information and that of its loaded modules.
pub const KERNEL_BTF: &str = "/sys/kernel/btf";

/// Names and values of the enums of the loaded modules whose own name `wanted`
/// accepts. What a module shares with the kernel is not repeated here.
pub fn module_enumerators(wanted: impl Fn(&str) -> bool) -> Vec<(String, u64)> {
    let dir = Path::new(KERNEL_BTF);
    let Some(base) = fs::File::open(dir.join("vmlinux"))
        .ok()
        .and_then(|file| Header::read(file).ok())
    else {
        return Vec::new();
    };
    let modules = fs::read_dir(dir).into_iter().flatten().flatten();
    modules
        .filter(|entry| entry.file_name() != "vmlinux")
        .filter_map(|entry| fs::read(entry.path()).ok())
        .flat_map(|bytes| split_enumerators(&bytes, base.strings_length, &wanted))
        .collect()
}

/// The enumerators in a module's type information, whose strings go on where
/// the kernel's `base` bytes of them end. Enums refer to no other type, so the
/// kernel's own is not needed; libbpf-rs cannot put the two together.
fn split_enumerators(
    bytes: &[u8],
    base: usize,
    wanted: &impl Fn(&str) -> bool,
) -> Vec<(String, u64)> {
    let Ok(btf) = RawBtf::new(bytes, base) else {
        return Vec::new();
    };
    let string = |offset: u32| std::str::from_utf8(btf.string(offset)?).ok();
    btf.types()
        .filter(|found| found.kind == raw_btf::ENUM && string(found.name).is_some_and(wanted))
        .flat_map(|found| {
            (0..found.count).filter_map(move |member| {
                let at = raw_btf::TYPE_BYTES / 4 + member * found.member_words();
                let name = string(found.word(at)?)?;
                Some((name.to_owned(), found.word(at + 1)?.into()))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_describes_its_block_layer() {
        let Ok(btf) = KernelBtf::load() else {
            return; // a kernel without type information
        };
        assert_eq!(btf.tracepoint_params("block_rq_complete"), Some(3));
        assert_eq!(btf.tracepoint_params("no_such_event"), None);
        let ops = btf.enumerators(&["no_such_enum", "req_op", "req_opf"]);
        assert!(ops.contains(&("REQ_OP_WRITE".to_owned(), 1)), "{ops:?}");
        assert_eq!(btf.enumerator("REQ_OP_WRITE"), Some(1));
        assert_eq!(btf.enumerator("NO_SUCH_ENUMERATOR"), None);
        let named = btf.enumerators_of(|name| name.starts_with("req_op"));
        assert!(ops.iter().all(|op| named.contains(op)));
    }

    /// An int, a struct of one member and two enums, with strings that begin at 100.
    #[test]
    fn a_modules_enums_are_read() {
        let strings = b"\0int\0a_reason\0FIRST\0LAST\0other\0";
        let offset = |name: &str| {
            let place = strings
                .windows(name.len() + 1)
                .position(|window| window.strip_suffix(&[0]) == Some(name.as_bytes()));
            100 + place.unwrap() as u32
        };
        let types: Vec<u32> = [
            &[offset("int"), 1 << 24, 4, 32][..],
            &[0, 4 << 24 | 1, 4, offset("int"), 1, 0],
            &[offset("other"), 6 << 24 | 1, 4, offset("FIRST"), 1],
            &[
                offset("a_reason"),
                6 << 24 | 2,
                4,
                offset("FIRST"),
                0x3_0001,
                offset("LAST"),
                0x3_0002,
            ],
        ]
        .concat();
        let length = types.len() as u32 * 4;
        let header = [0x1_eb9f, 24, 0, length, length, strings.len() as u32];
        let mut bytes: Vec<u8> = header
            .iter()
            .chain(&types)
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        bytes.extend(strings);
        let wanted = |name: &str| name.ends_with("_reason");
        let expected = [
            ("FIRST".to_owned(), 0x3_0001),
            ("LAST".to_owned(), 0x3_0002),
        ];
        assert_eq!(split_enumerators(&bytes, 100, &wanted), expected);
        for end in 0..bytes.len() {
            split_enumerators(&bytes[..end], 100, &wanted); // nothing panics
        }
    }

    #[test]
    fn the_kernels_own_header_is_read() {
        if let Ok(file) = fs::File::open(Path::new(KERNEL_BTF).join("vmlinux")) {
            assert!(Header::read(file).unwrap().strings_length > 1000);
            assert!(module_enumerators(|_| false).is_empty());
        }
    }
}
