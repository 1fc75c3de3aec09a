// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network namespaces: by the inode number that events carry.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
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
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let places = processes
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        .map(|entry| entry.path().join("ns/net"))
        .chain(named.map(|entry| entry.path()));
    for place in places {
        // A process that is ending has left its namespaces.
        let Ok(meta) = fs::metadata(&place) else {
            continue;
        };
        let Ok(inode) = u32::try_from(meta.ino()) else {
            continue;
        };
        if let std::collections::btree_map::Entry::Vacant(entry) = found.entry(inode) {
            if let Ok(file) = File::open(&place) {
                entry.insert(file);
            }
        }
    }
    found
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
