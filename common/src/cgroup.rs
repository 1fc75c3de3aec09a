// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cgroups of the v2 hierarchy: `--cgroup PATH` as a filter, and paths by id.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

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
        fs::read_to_string(self.path.join("cgroup.controllers"))
            .is_ok_and(|list| list.split_whitespace().any(|controller| controller == name))
    }
}

/// The paths of cgroups by their ids.
#[derive(Default)]
pub struct CgroupPaths {
    /// Where cgroup v2 is mounted, once that was looked up.
    root: Option<PathBuf>,
    known: HashMap<u64, Option<Rc<str>>>,
}

impl CgroupPaths {
    /// From the root of the hierarchy, which is `/`. `None` for a cgroup that
    /// was gone when it was first asked for.
    pub fn path(&mut self, id: u64) -> Option<Rc<str>> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        if self.root.is_none() {
            self.root = mount_point();
        }
        let root = self.root.clone()?;
        // Ids are not used again, so what is found is true for good.
        self.known.entry(id).or_insert(None);
        self.walk(&root, &root);
        self.known.get(&id).cloned().flatten()
    }

    /// The directory of a cgroup that [`path`](Self::path) gave.
    pub fn directory(&self, path: &str) -> Option<PathBuf> {
        let below = path.strip_prefix('/').unwrap_or(path);
        self.root.as_ref().map(|root| root.join(below))
    }

    fn walk(&mut self, root: &Path, dir: &Path) {
        let Ok(meta) = dir.metadata() else {
            return; // gone in the meantime
        };
        let below = dir.strip_prefix(root).unwrap_or(dir).to_string_lossy();
        self.known
            .insert(meta.ino(), Some(format!("/{below}").into()));
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.walk(root, &entry.path());
            }
        }
    }
}

fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| place.into())
    })
}

/// The process of the cgroup at `directory`, if it is the only one.
pub fn only_process(directory: &Path) -> Option<u32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).ok()?;
    let mut pids = text.lines();
    let only = pids.next()?.parse().ok()?;
    pids.next().is_none().then_some(only)
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
