// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tools need to know of each file system: a table.

use std::fs;

use anyhow::{Result, bail};
use common::hooks::{Alternative, Hook};

/// A file system, by its names and its functions.
pub struct FileSystem {
    /// libbpf-tools' name.
    pub name: &'static str,
    /// BCC's name.
    pub title: &'static str,
    /// The file system's names in `/proc/filesystems`.
    types: &'static [&'static str],
    /// Of its super blocks (include/uapi/linux/magic.h).
    pub magic: u64,
    pub hook: Hook,
}

impl FileSystem {
    /// An error when this kernel has not the file system.
    pub fn check(&self) -> Result<()> {
        let all = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let mut known = all.lines().filter_map(|line| line.split('\t').nth(1));
        if all.is_empty() || known.any(|name| self.types.contains(&name)) {
            return Ok(());
        }
        let name = self.name;
        bail!(
            "cannot trace {name}: this kernel has no {name} now; load its module: modprobe {name}"
        )
    }
}

/// The calls that read, write, open and sync files.
const ENTERED: &[&str] = &[
    "syscalls/sys_enter_pread64",
    "syscalls/sys_enter_readv",
    "syscalls/sys_enter_preadv",
    "syscalls/sys_enter_preadv2",
    "syscalls/sys_enter_write",
    "syscalls/sys_enter_pwrite64",
    "syscalls/sys_enter_writev",
    "syscalls/sys_enter_pwritev",
    "syscalls/sys_enter_pwritev2",
    "syscalls/sys_enter_openat",
    "syscalls/sys_enter_openat2",
    "syscalls/sys_enter_open",
    "syscalls/sys_enter_creat",
    "syscalls/sys_enter_fsync",
    "syscalls/sys_enter_fdatasync",
];
const LEFT: &[&str] = &[
    "syscalls/sys_exit_pread64",
    "syscalls/sys_exit_readv",
    "syscalls/sys_exit_preadv",
    "syscalls/sys_exit_preadv2",
    "syscalls/sys_exit_write",
    "syscalls/sys_exit_pwrite64",
    "syscalls/sys_exit_writev",
    "syscalls/sys_exit_pwritev",
    "syscalls/sys_exit_pwritev2",
    "syscalls/sys_exit_openat",
    "syscalls/sys_exit_openat2",
    "syscalls/sys_exit_open",
    "syscalls/sys_exit_creat",
    "syscalls/sys_exit_fsync",
    "syscalls/sys_exit_fdatasync",
];

/// The alternatives that see system calls, not functions.
pub const CALLS: [&str; 2] = ["tracepoint", "raw_tp"];

/// One way to be called by functions: pairs of programs, each with the function
/// that it is for; more pairs are for functions that may not be there.
macro_rules! way {
    ($name:literal, $entry:literal, $return:literal,
     [$(($program:literal, $function:literal)),*] $(, ($extra:literal, $of:literal))*
     $(; $point:literal)*) => {
        Alternative::new($name, &[$(concat!($entry, $program), concat!($return, $program)),*])
            .optional(&[$(concat!($entry, $extra), concat!($return, $extra),)* $($point),*])
            .functions(&[
                $((concat!($entry, $program), $function),
                  (concat!($return, $program), $function),)*
                $((concat!($entry, $extra), $of), (concat!($return, $extra), $of),)*
            ])
    };
}

/// The raw tracepoint, which needs no tracefs, comes by at every call of any kind.
const RAW: Alternative = Alternative::new("raw_tp", &["raw_enter", "raw_exit"]);

/// A file system's hook, by the functions that read, write, open and sync, and
/// others that it may have, and the programs of its own tracepoints, if any.
///
/// kprobe.multi comes first: where it rests on the function graph tracer its
/// programs are never preempted, and any number of calls may be under way.
/// fentry is next: a kernel that preempts its programs skips and counts some.
/// A kretprobe forgets calls, uncounted, when more than a few are under way.
/// Where no function can be traced there are the system calls.
macro_rules! functions {
    ($read:literal, $write:literal, $open:literal, $fsync:literal $(, $extra:tt)*
     $(; $point:literal)*) => {
        Hook {
            name: "operations",
            alternatives: &[
                way!("kprobe.multi", "multi_", "multiret_",
                     [("read", $read), ("write", $write), ("open", $open), ("fsync", $fsync)]
                     $(, $extra)* $(; $point)*),
                way!("fentry", "fentry_", "fexit_",
                     [("read", $read), ("write", $write), ("open", $open), ("fsync", $fsync)]
                     $(, $extra)* $(; $point)*),
                way!("kprobe", "kprobe_", "kretprobe_",
                     [("read", $read), ("write", $write), ("open", $open), ("fsync", $fsync)]
                     $(, $extra)* $(; $point)*),
                Alternative::new("tracepoint", &["tp_enter", "tp_exit"])
                    .also(&[("tp_enter", ENTERED), ("tp_exit", LEFT)])
                    .optional(&[$($point),*]),
                RAW.optional(&[$($point),*]),
            ],
        }
    };
}

pub const EXT4: FileSystem = FileSystem {
    name: "ext4",
    title: "ext4",
    types: &["ext4"],
    magic: 0xef53,
    hook: functions!(
        "ext4_file_read_iter",
        "ext4_file_write_iter",
        "ext4_file_open",
        "ext4_sync_file"
    ),
};

pub const XFS: FileSystem = FileSystem {
    name: "xfs",
    title: "XFS",
    types: &["xfs"],
    magic: 0x5846_5342,
    hook: functions!(
        "xfs_file_read_iter",
        "xfs_file_write_iter",
        "xfs_file_open",
        "xfs_file_fsync"
    ),
};

pub const BTRFS: FileSystem = FileSystem {
    name: "btrfs",
    title: "btrfs",
    types: &["btrfs"],
    magic: 0x9123_683e,
    hook: functions!(
        "btrfs_file_read_iter",
        "btrfs_file_write_iter",
        "btrfs_file_open",
        "btrfs_sync_file"
    ),
};

pub const F2FS: FileSystem = FileSystem {
    name: "f2fs",
    title: "f2fs",
    types: &["f2fs"],
    magic: 0xf2f5_2010,
    hook: functions!(
        "f2fs_file_read_iter",
        "f2fs_file_write_iter",
        "f2fs_file_open",
        "f2fs_sync_file"
    ),
};

pub const ZFS: FileSystem = FileSystem {
    name: "zfs",
    title: "ZFS",
    types: &["zfs"],
    magic: 0x2fc1_2fc1,
    hook: functions!("zpl_iter_read", "zpl_iter_write", "zpl_open", "zpl_fsync"),
};

/// Version 4 opens files by a function of its own.
pub const NFS: FileSystem = FileSystem {
    name: "nfs",
    title: "NFS",
    types: &["nfs", "nfs4"],
    magic: 0x6969,
    hook: functions!(
        "nfs_file_read",
        "nfs_file_write",
        "nfs_file_open",
        "nfs_file_fsync",
        ("open2", "nfs4_file_open"),
        ("getattr", "nfs_getattr");
        "begin_commit";
        "end_commit"
    ),
};

pub const FUSE: FileSystem = FileSystem {
    name: "fuse",
    title: "fuse",
    types: &["fuse", "fuseblk"],
    magic: 0x6573_5546,
    hook: functions!(
        "fuse_file_read_iter",
        "fuse_file_write_iter",
        "fuse_open",
        "fuse_fsync"
    ),
};

pub const BCACHEFS: FileSystem = FileSystem {
    name: "bcachefs",
    title: "bcachefs",
    types: &["bcachefs"],
    magic: 0xca45_1a4e,
    hook: functions!(
        "bch2_read_iter",
        "bch2_write_iter",
        "bch2_open",
        "bch2_fsync"
    ),
};

/// What fsslower knows.
pub const ALL: &[&FileSystem] = &[&BTRFS, &EXT4, &FUSE, &NFS, &XFS, &F2FS, &BCACHEFS, &ZFS];

/// fileslower's: what read(2), write(2) and their kin with an offset come to.
///
/// kprobes come last: many calls wait in a read of a pipe or a terminal, and
/// each of them is one that a kretprobe has under way.
pub const ANY: Hook = Hook {
    name: "operations",
    alternatives: &[
        way!(
            "kprobe.multi",
            "multi_",
            "multiret_",
            [("vfs_read", "vfs_read"), ("vfs_write", "vfs_write")]
        ),
        way!(
            "fentry",
            "fentry_",
            "fexit_",
            [("vfs_read", "vfs_read"), ("vfs_write", "vfs_write")]
        ),
        Alternative::new("tracepoint", &["tp_enter", "tp_exit"]).also(&[
            (
                "tp_enter",
                &[
                    "syscalls/sys_enter_pread64",
                    "syscalls/sys_enter_write",
                    "syscalls/sys_enter_pwrite64",
                ],
            ),
            (
                "tp_exit",
                &[
                    "syscalls/sys_exit_pread64",
                    "syscalls/sys_exit_write",
                    "syscalls/sys_exit_pwrite64",
                ],
            ),
        ]),
        RAW,
        way!(
            "kprobe",
            "kprobe_",
            "kretprobe_",
            [("vfs_read", "vfs_read"), ("vfs_write", "vfs_write")]
        ),
    ],
};
