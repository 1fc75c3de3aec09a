// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pinned maps as container managers make them, for `--cgroupmap` and
//! `--mntnsmap`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::net::run;
use crate::{Cgroup, TempDir};

/// A BPF file system of the calling thread's mount namespace
/// ([`in_mount_namespace`](crate::in_mount_namespace)).
pub struct BpfFs(TempDir);

impl BpfFs {
    pub fn mount() -> Self {
        let dir = TempDir::new("bpffs");
        run(&format!("mount -t bpf bpf {}", dir.0.display()));
        Self(dir)
    }

    /// An empty map of that type and with values of so many bytes.
    pub fn map(&self, name: &str, kind: &str, key_size: u32, value_size: u32) -> PinnedMap {
        let map = PinnedMap {
            path: self.0.join(name),
            value_size,
        };
        run(&format!(
            "bpftool map create {} type {kind} key {key_size} value {value_size} entries 64 name {name}",
            map.path()
        ));
        map
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0.0).status();
    }
}

pub struct PinnedMap {
    path: PathBuf,
    value_size: u32,
}

impl PinnedMap {
    pub fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// Makes a number one of the map's keys.
    pub fn add(&self, key: u64) {
        let key = key.to_ne_bytes().map(|byte| byte.to_string()).join(" ");
        let value = vec!["0"; self.value_size as usize].join(" ");
        run(&format!(
            "bpftool map update pinned {} key {key} value {value}",
            self.path()
        ));
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .ino()
}

/// Each option with its map, which is empty, and what is to be added to it to
/// select the processes of `group` that this thread starts.
pub fn container_options(fs: &BpfFs, group: &Cgroup) -> [(&'static str, PinnedMap, u64); 2] {
    [
        (
            "--cgroupmap",
            fs.map("cgroupset", "hash", 8, 8),
            inode(&group.0),
        ),
        (
            "--mntnsmap",
            fs.map("mntnsset", "hash", 8, 4),
            inode(Path::new("/proc/thread-self/ns/mnt")),
        ),
    ]
}
