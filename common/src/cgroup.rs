// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--cgroup PATH`: a directory of the cgroup v2 hierarchy as a filter.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::CGROUP2_SUPER_MAGIC;

use crate::probe::on_filesystem;

/// A cgroup v2 directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    pub path: PathBuf,
    /// The kernel's id of the cgroup (`cgroup.kn->id`), which is the inode
    /// number of its directory.
    pub id: u64,
}

impl Cgroup {
    /// As a clap value parser.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        let meta = path.metadata().map_err(|error| error.to_string())?;
        if !meta.is_dir() || !on_filesystem(path, CGROUP2_SUPER_MAGIC) {
            return Err("not a directory of the cgroup v2 hierarchy".into());
        }
        Ok(Self {
            path: path.into(),
            id: meta.ino(),
        })
    }

    /// Whether the cgroup has the controller `name`, so that the resources
    /// that it controls name this cgroup as their owner.
    pub fn has_controller(&self, name: &str) -> bool {
        std::fs::read_to_string(self.path.join("cgroup.controllers"))
            .is_ok_and(|list| list.split_whitespace().any(|controller| controller == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cgroup_directories_are_taken() {
        assert!(Cgroup::parse("/proc/self/status").is_err());
        assert!(Cgroup::parse("/tmp").is_err());
        assert!(Cgroup::parse("/no/such").is_err());
    }
}
