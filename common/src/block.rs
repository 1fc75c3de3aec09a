// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices as arguments, and the operation and flags of a request.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::btf::KernelBtf;

/// A block device that the user has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub name: String,
    /// The kernel's device number: major << 20 | minor.
    pub dev: u32,
    pub is_partition: bool,
    /// False for a device that never has requests: one that passes its I/O on
    /// to others (device mapper, md) or does it at once (zram).
    pub has_requests: bool,
}

impl Disk {
    /// As a clap value parser: a name below `/dev`, or a path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = Path::new("/dev").join(text); // an absolute path stays
        let meta = path.metadata().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "no such disk".into(),
            _ => error.to_string(),
        })?;
        if !meta.file_type().is_block_device() {
            return Err("not a block device".into());
        }
        let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
        let sysfs = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let is_partition = sysfs.join("partition").exists();
        let whole = if is_partition {
            // The link leads to …/block/sda/sda1.
            fs::canonicalize(&sysfs)
                .ok()
                .and_then(|path| Some(path.parent()?.to_path_buf()))
                .unwrap_or(sysfs)
        } else {
            sysfs
        };
        Ok(Self {
            name: text.trim_start_matches("/dev/").to_owned(),
            dev: major << 20 | minor,
            is_partition,
            // Without sysfs nobody knows.
            has_requests: whole.join("mq").exists() || !whole.exists(),
        })
    }
}

/// BCC's names of flags, in its order. It prints no others.
const FLAGS: [(&str, &str); 9] = [
    ("__REQ_NOWAIT", "NoWait"),
    ("__REQ_BACKGROUND", "Background"),
    ("__REQ_RAHEAD", "ReadAhead"),
    ("__REQ_IDLE", "Idle"),
    ("__REQ_NOMERGE", "NoMerge"),
    ("__REQ_PRIO", "Priority"),
    ("__REQ_FUA", "ForcedUnitAccess"),
    ("__REQ_META", "Metadata"),
    ("__REQ_SYNC", "Sync"),
];

/// Names of a request's operation and flags, by the running kernel's numbers.
#[derive(Debug, Default)]
pub struct RequestNames {
    operation_mask: u32,
    operations: Vec<(u32, String)>,
    flags: Vec<(u32, &'static str)>,
}

impl RequestNames {
    pub fn of_kernel(btf: &KernelBtf) -> Self {
        Self::new(
            // The enum's name until Linux 6.0 (ff07a02e9e8e) was req_opf.
            &btf.enumerators(&["req_op", "req_opf"]),
            &btf.enumerators(&["req_flag_bits"]),
        )
    }

    /// From the kernel's enumerators of operations and of flag bits.
    fn new(operations: &[(String, u64)], bits: &[(String, u64)]) -> Self {
        let bit = |name: &str| {
            let (_, bit) = bits.iter().find(|(member, _)| member == name)?;
            1u32.checked_shl(u32::try_from(*bit).ok()?)
        };
        Self {
            // The flags begin where the operation ends.
            operation_mask: bit("__REQ_FAILFAST_DEV").map_or(0xff, |first| first - 1),
            operations: operations
                .iter()
                .filter_map(|(name, value)| {
                    let name = name
                        .strip_prefix("REQ_OP_")
                        .filter(|&name| name != "LAST")?;
                    Some((u32::try_from(*value).ok()?, operation_name(name)))
                })
                .collect(),
            flags: FLAGS
                .iter()
                .filter_map(|&(member, name)| Some((bit(member)?, name)))
                .collect(),
        }
    }

    /// `ReadAhead-Read`: flags, then the operation.
    pub fn text(&self, cmd_flags: u32) -> String {
        let operation = cmd_flags & self.operation_mask;
        let operation = self
            .operations
            .iter()
            .find(|(value, _)| *value == operation)
            .map_or("Unknown", |(_, name)| name);
        self.flags
            .iter()
            .filter(|(mask, _)| cmd_flags & mask != 0)
            .map(|&(_, name)| name)
            .chain([operation])
            .collect::<Vec<_>>()
            .join("-")
    }
}

/// `WRITE_ZEROES` in BCC's way: `WriteZeros`.
fn operation_name(member: &str) -> String {
    if member == "WRITE_ZEROES" {
        return "WriteZeros".into();
    }
    member
        .split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .into_iter()
                .chain(letters.map(|letter| letter.to_ascii_lowercase()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_are_disks() {
        let refused = |text: &str| Disk::parse(text).unwrap_err();
        assert_eq!(refused("nosuchdisk"), "no such disk");
        assert_eq!(refused("null"), "not a block device");
        assert_eq!(refused("/dev/null"), "not a block device");
        assert_eq!(refused("/etc/passwd"), "not a block device");
        assert_eq!(refused(""), "not a block device");
    }

    /// Another numbering than any kernel's.
    fn names() -> RequestNames {
        let own = |list: &[(&str, u64)]| -> Vec<_> {
            list.iter().map(|&(n, v)| (n.to_owned(), v)).collect()
        };
        RequestNames::new(
            &own(&[
                ("REQ_OP_READ", 0),
                ("REQ_OP_WRITE", 4),
                ("REQ_OP_WRITE_ZEROES", 5),
                ("REQ_OP_SECURE_ERASE", 6),
                ("REQ_OP_ZONE_APPEND", 7),
                ("REQ_OP_DRV_IN", 0x3f),
                ("REQ_OP_LAST", 0x40),
            ]),
            &own(&[
                ("__REQ_FAILFAST_DEV", 7),
                ("__REQ_NEW", 8),
                ("__REQ_SYNC", 9),
                ("__REQ_META", 10),
                ("__REQ_FUA", 11),
                ("__REQ_PRIO", 12),
                ("__REQ_NOMERGE", 13),
                ("__REQ_IDLE", 14),
                ("__REQ_RAHEAD", 15),
                ("__REQ_BACKGROUND", 16),
                ("__REQ_NOWAIT", 31),
                ("__REQ_BEYOND", 32),
            ]),
        )
    }

    #[test]
    fn operations_are_named_by_the_kernels_numbers() {
        let names = names();
        assert_eq!(names.text(0), "Read");
        assert_eq!(names.text(4), "Write");
        assert_eq!(names.text(5), "WriteZeros");
        assert_eq!(names.text(6), "SecureErase");
        assert_eq!(names.text(7), "ZoneAppend");
        assert_eq!(names.text(0x3f), "DrvIn");
        assert_eq!(names.text(1), "Unknown");
        assert_eq!(names.text(0x40), "Unknown");
    }

    #[test]
    fn flags_are_named_in_bccs_order() {
        let names = names();
        assert_eq!(names.text(1 << 9), "Sync-Read");
        assert_eq!(
            names.text(!0x7f | 4),
            "NoWait-Background-ReadAhead-Idle-NoMerge-Priority-ForcedUnitAccess-Metadata-Sync-Write"
        );
    }

    #[test]
    fn what_bcc_does_not_name_is_left_out() {
        assert_eq!(names().text(1 << 7 | 1 << 8 | 4), "Write");
    }

    #[test]
    fn without_type_information_nothing_is_known() {
        let names = RequestNames::new(&[], &[]);
        assert_eq!(names.text(u32::MAX), "Unknown");
    }
}
