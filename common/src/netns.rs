// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network namespaces: by the inode number that events carry.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

/// The inode number of a process's namespace. A clap value parser.
pub fn of_process(pid: &str) -> Result<u32, String> {
    match pid.parse::<u32>() {
        Ok(pid @ 1..) => fs::metadata(format!("/proc/{pid}/ns/net"))
            .map_err(|error| format!("process {pid}: {error}"))
            .and_then(|meta| {
                u32::try_from(meta.ino()).map_err(|_| "no namespace number".to_owned())
            }),
        _ => Err("expected a process id".into()),
    }
}

/// The tool's own namespace.
pub fn own() -> Result<File> {
    File::open("/proc/self/ns/net").context("open own network namespace")
}

/// Every namespace that a process is in or that has a name (`ip netns`), by its
/// inode number. Those that just a socket or a device keeps are not found.
pub fn all() -> BTreeMap<u32, File> {
    let mut found = BTreeMap::new();
    for (inode, place) in places() {
        if let std::collections::btree_map::Entry::Vacant(entry) = found.entry(inode) {
            if let Ok(file) = File::open(&place) {
                entry.insert(file);
            }
        }
    }
    found
}

/// As [`all`], without opening any: an open namespace stays alive. One may be at
/// several places.
pub fn places() -> impl Iterator<Item = (u32, PathBuf)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        .map(|entry| entry.path().join("ns/net"))
        .chain(named.map(|entry| entry.path()))
        // A process that is ending has left its namespaces.
        .filter_map(|place| Some((inode(&fs::metadata(&place).ok()?)?, place)))
}

/// A place by which a namespace is kept that no process is in: where it is
/// mounted, or a file that a process has open.
pub fn kept(netns: u32) -> Option<PathBuf> {
    let name = format!("net:[{netns}]");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        (fields.next()? == name).then(|| fields.next())?
    });
    if let Some(path) = mounted {
        return Some(path.into());
    }
    fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|process| fs::read_dir(process.path().join("fd")).ok())
        .flat_map(|files| files.flatten())
        .map(|file| file.path())
        .find(|path| fs::read_link(path).is_ok_and(|link| link.as_os_str() == name.as_str()))
}

/// The number of the namespace that a file stands for.
pub fn inode(meta: &Metadata) -> Option<u32> {
    u32::try_from(meta.ino()).ok()
}

/// Runs `work` on a thread of its own in the namespace. Sockets that it makes
/// stay in that namespace.
pub fn within<T: Send>(netns: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                setns(netns, CloneFlags::CLONE_NEWNET).context("enter network namespace")?;
                work()
            })
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread in the network namespace failed")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_among_all() {
        let own = own().unwrap().metadata().unwrap().ino();
        assert!(all().contains_key(&(own as u32)));
        assert_eq!(of_process(&std::process::id().to_string()), Ok(own as u32));
        for bad in ["0", "x", "-1", "4194305"] {
            assert!(of_process(bad).is_err(), "{bad}");
        }
    }
}
