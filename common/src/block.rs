// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices as arguments, and the operation and flags of a request.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::btf::KernelBtf;
use crate::cli::General;
use crate::hooks::{Alternative, Hook};
use crate::lost::Lost;

/// A block device that the user has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub name: String,
    /// The kernel's device number: major << 20 | minor.
    pub dev: u32,
    /// That of the whole disk; 0: not known.
    pub whole_dev: u32,
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
        let dev = major << 20 | minor;
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
            dev,
            whole_dev: if is_partition {
                fs::read_to_string(whole.join("dev"))
                    .ok()
                    .and_then(|text| parse_dev(text.trim()))
                    .unwrap_or(0)
            } else {
                dev
            },
            is_partition,
            // Without sysfs nobody knows.
            has_requests: whole.join("mq").exists() || !whole.exists(),
        })
    }

    /// Why nothing of it will be seen, if that is so.
    pub fn warning(&self) -> Option<String> {
        (!self.has_requests).then(|| {
            format!(
                "{}: does its I/O without requests, so there is nothing to see; trace the disks below it",
                self.name
            )
        })
    }
}

/// `8:1`
fn parse_dev(text: &str) -> Option<u32> {
    let (major, minor) = text.split_once(':')?;
    Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
}

/// The kernel's device number as `8:1`.
pub fn dev_text(dev: u32) -> String {
    format!("{}:{}", dev >> 20, dev & 0xf_ffff)
}

/// What differs between kernels of what `common/bpf/block.bpf.h` reads.
pub struct RequestLayout {
    pub rq_issue_params: u8,
    pub getrq_params: u8,
    pub frontmerge_params: u8,
    pub rqf_flush_seq: Option<u32>,
    pub rqf_io_stat: Option<u32>,
}

impl RequestLayout {
    pub fn of_kernel(btf: &KernelBtf) -> Self {
        let params = |event| btf.tracepoint_params(event).unwrap_or(1) as u8;
        let flag = |bit| 1u32.checked_shl(u32::try_from(btf.enumerator(bit)?).ok()?);
        Self {
            rq_issue_params: params("block_rq_issue"),
            getrq_params: params("block_getrq"),
            frontmerge_params: params("block_bio_frontmerge"),
            // A macro with this bit until Linux 6.11 (5f89154e8e9e).
            rqf_flush_seq: flag("__RQF_FLUSH_SEQ"),
            rqf_io_stat: flag("__RQF_IO_STAT"),
        }
    }
}

/// Sets the constants of an open skeleton whose BPF file includes `block.bpf.h`:
/// those of the kernel's [`RequestLayout`], and the filters by an optional
/// [`Disk`] and [`General`](crate::cli::General)'s cgroup.
#[macro_export]
macro_rules! request_filter {
    ($open:expr, $layout:expr, $disk:expr, $general:expr) => {
        if let Some(rodata) = $open.maps.rodata_data.as_deref_mut() {
            rodata.rq_issue_params = $layout.rq_issue_params;
            rodata.getrq_params = $layout.getrq_params;
            rodata.frontmerge_params = $layout.frontmerge_params;
            rodata.rqf_flush_seq = $layout.rqf_flush_seq.unwrap_or(rodata.rqf_flush_seq);
            rodata.rqf_io_stat = $layout.rqf_io_stat.unwrap_or(rodata.rqf_io_stat);
            rodata.filter_cgroup = $general.cgroup_id();
            if let Some(disk) = &$disk {
                rodata.filter_disk = disk.whole_dev;
                rodata.filter_part = if disk.is_partition { disk.dev } else { 0 };
            }
        }
    };
}

/// Who makes a request: the programs of `common/bpf/io.bpf.h`. The second way is
/// for Linux before 6.5.
pub const MAKER: Hook = Hook {
    name: "maker",
    alternatives: &[
        Alternative::new("block_io_start", &["io_start"]),
        Alternative::new("block_getrq", &["getrq"]),
    ],
};

/// An I/O that [`MAKER`]'s programs miss is told without its maker: no loss, unless
/// `--cgroup` leaves out what nobody is known of.
pub fn forgive_makers(lost: &mut Lost, general: &General) {
    if general.cgroup.is_none() {
        lost.without("io_start");
        lost.without("getrq");
    }
}

/// What a request has failed with, by its errno's name: `error` is block_rq_complete's,
/// which is a `blk_status_t` since Linux 5.16 (8a7d267b4a2c), before that a
/// negative errno. `None` for success.
pub fn error_name(error: i32) -> Option<String> {
    // Kernels number the statuses from 14 on differently.
    const STATUSES: [Errno; 13] = [
        Errno::EOPNOTSUPP,
        Errno::ETIMEDOUT,
        Errno::ENOSPC,
        Errno::ENOLINK,
        Errno::EREMOTEIO,
        Errno::EBADE,
        Errno::ENODATA,
        Errno::EILSEQ,
        Errno::ENOMEM,
        Errno::EIO,
        Errno::EREMCHG,
        Errno::EAGAIN,
        Errno::EBUSY,
    ];
    let errno = match error {
        0 => return None,
        ..0 => Errno::from_raw(error.saturating_neg()),
        status => match STATUSES.get(status as usize - 1) {
            Some(errno) => *errno,
            None => return Some(format!("status {status}")),
        },
    };
    Some(format!("{errno:?}"))
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

/// The kernel's letters of flags behind the operation's, in its order.
const LETTERS: [(&str, char); 5] = [
    ("__REQ_FUA", 'F'),
    ("__REQ_RAHEAD", 'A'),
    ("__REQ_SYNC", 'S'),
    ("__REQ_META", 'M'),
    ("__REQ_ATOMIC", 'U'),
];

/// Names of a request's operation and flags, by the running kernel's numbers.
#[derive(Debug, Default)]
pub struct RequestNames {
    operation_mask: u32,
    operations: Vec<(u32, String)>,
    flags: Vec<(u32, &'static str)>,
    preflush: u32,
    letters: Vec<(u32, char)>,
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
            preflush: bit("__REQ_PREFLUSH").unwrap_or(0),
            letters: LETTERS
                .iter()
                .filter_map(|&(member, letter)| Some((bit(member)?, letter)))
                .collect(),
        }
    }

    /// `WriteZeros`
    pub fn operation(&self, cmd_flags: u32) -> &str {
        let operation = cmd_flags & self.operation_mask;
        self.operations
            .iter()
            .find(|(value, _)| *value == operation)
            .map_or("Unknown", |(_, name)| name)
    }

    /// `ReadAhead-Read`: flags, then the operation.
    pub fn text(&self, cmd_flags: u32) -> String {
        self.flags
            .iter()
            .filter(|(mask, _)| cmd_flags & mask != 0)
            .map(|&(_, name)| name)
            .chain([self.operation(cmd_flags)])
            .collect::<Vec<_>>()
            .join("-")
    }

    /// `WFS`: as the kernel's tracepoints and blktrace write it.
    pub fn rwbs(&self, cmd_flags: u32) -> String {
        let mut text = String::new();
        if cmd_flags & self.preflush != 0 {
            text.push('F');
        }
        text.push_str(match self.operation(cmd_flags) {
            "Read" => "R",
            "Write" => "W",
            "Flush" => "F",
            "Discard" => "D",
            "SecureErase" => "DE",
            _ => "N",
        });
        let letters = self.letters.iter();
        text.extend(
            letters
                .filter(|(mask, _)| cmd_flags & mask != 0)
                .map(|&(_, letter)| letter),
        );
        text
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
                ("__REQ_PREFLUSH", 17),
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
    fn letters_are_the_kernels() {
        let names = names();
        assert_eq!(names.rwbs(0), "R");
        assert_eq!(names.rwbs(1 << 15), "RA");
        assert_eq!(names.rwbs(1 << 17 | 1 << 11 | 1 << 9 | 4), "FWFS");
        assert_eq!(names.rwbs(6), "DE");
        assert_eq!(names.rwbs(0x3f), "N");
    }

    #[test]
    fn errors_have_the_names_of_errnos() {
        assert_eq!(error_name(0), None);
        assert_eq!(error_name(-5).as_deref(), Some("EIO"));
        assert_eq!(error_name(10).as_deref(), Some("EIO"));
        assert_eq!(error_name(1).as_deref(), Some("EOPNOTSUPP"));
        assert_eq!(error_name(13).as_deref(), Some("EBUSY"));
        assert_eq!(error_name(14).as_deref(), Some("status 14"));
    }

    #[test]
    fn device_numbers_are_read_and_written() {
        assert_eq!(parse_dev("259:17"), Some(259 << 20 | 17));
        assert_eq!(parse_dev("259"), None);
        assert_eq!(dev_text(259 << 20 | 17), "259:17");
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
