// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose traffic an event is about: the user side of `common/bpf/origin.bpf.h`.

use std::collections::HashMap;
use std::io::Read as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libbpf_rs::{Iter, Link};

use crate::cgroup::{self, CgroupPaths};
use crate::columns::{Table, Value, json_field};
use crate::hooks::{Alternative, Hook};

/// What the kernel side knows: `struct origin`, read with [`crate::origin!`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// `sk_cookie` as `ss -e` shows it; 0: the socket has none yet.
    pub cookie: u64,
    /// Of the socket; 0: not known.
    pub cgroup_id: u64,
    /// Of the socket's file; 0: it has none.
    pub inode: u64,
    /// The owner's, when `tgid` is not 0.
    pub comm: [u8; 16],
    pub tgid: u32,
    /// Inode number of the network namespace; 0: not known.
    pub netns: u32,
}

/// An [`Origin`] from the `struct origin` that a skeleton generated.
#[macro_export]
macro_rules! origin {
    ($origin:expr) => {
        $crate::origin::Origin {
            cookie: $origin.cookie,
            cgroup_id: $origin.cgroup_id,
            inode: $origin.inode,
            comm: $origin.comm,
            tgid: $origin.tgid,
            netns: $origin.netns,
        }
    };
}

/// The process that owns a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    pub comm: [u8; 16],
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub origin: Origin,
    pub owner: Option<Owner>,
    /// From the root of the cgroup v2 hierarchy, `/` for the root.
    pub cgroup: Option<Rc<str>>,
}

/// Notes who connects and closes TCP sockets, and lists who has which socket.
/// For the tools that include `origin.bpf.h`.
pub const OWNER: Hook = Hook {
    name: "owner",
    alternatives: &[Alternative::new("tp_btf", &["note_owner", SOCKET_FILES])],
};

/// The iterator's program: its link is for [`Owners::new`].
pub const SOCKET_FILES: &str = "socket_files";

/// `struct socket_file`: inode, start of the process, comm, tgid, padding.
const ENTRY: usize = 40;

/// No more than 1/`SHARE` of the time is spent to go through all open files
/// for sockets that are not known yet. What was not spent may be later, of the
/// last `SAVED` of time.
const SHARE: u32 = 20;
const SAVED: Duration = Duration::from_secs(1);
/// To count for each time: so short is none.
const LEAST: Duration = Duration::from_millis(1);

/// Finds the owners.
pub struct Owners {
    files: Option<Link>,
    /// With the start of the process.
    by_inode: HashMap<u64, (u64, Owner)>,
    /// Up to when the time is spent.
    spent: Instant,
    cgroups: CgroupPaths,
}

impl Owners {
    /// `files` is the link of [`SOCKET_FILES`], if that is attached. Reads who
    /// has which socket now: so that it is known also when the process has gone
    /// by the time of an event.
    pub fn new(files: Option<Link>) -> Result<Self> {
        let mut owners = Self {
            files,
            by_inode: HashMap::new(),
            spent: Instant::now(),
            cgroups: CgroupPaths::default(),
        };
        owners.scan()?;
        owners.spent = owners.spent.checked_sub(SAVED).unwrap_or(owners.spent);
        Ok(owners)
    }

    /// Completes what the kernel side knows. The owner is, in this order: who
    /// acted or has closed the socket, who has it open, the only process of the
    /// socket's cgroup.
    pub fn complete(&mut self, origin: Origin) -> Result<Known> {
        let cgroup = match origin.cgroup_id {
            0 => None,
            id => self.cgroups.path(id),
        };
        let mut owner = (origin.tgid != 0).then_some(Owner {
            pid: origin.tgid,
            comm: origin.comm,
        });
        if owner.is_none() && origin.inode != 0 {
            owner = self.holder(origin.inode)?;
        }
        if owner.is_none() {
            owner = cgroup
                .as_deref()
                .filter(|path| *path != "/")
                .and_then(|path| self.cgroups.only_process(path));
        }
        Ok(Known {
            origin,
            owner,
            cgroup,
        })
    }

    /// The path of a cgroup by its id, if it still exists.
    pub fn cgroup(&mut self, id: u64) -> Option<Rc<str>> {
        self.cgroups.path(id)
    }

    /// Lets the next socket that is not known be looked up at once: for a last
    /// report.
    pub fn look_again(&mut self) {
        self.spent = Instant::now();
    }

    fn holder(&mut self, inode: u64) -> Result<Option<Owner>> {
        if !self.by_inode.contains_key(&inode) && self.spent <= Instant::now() {
            self.scan()?;
        }
        Ok(self.by_inode.get(&inode).map(|(_, owner)| *owner))
    }

    fn scan(&mut self) -> Result<()> {
        let Some(link) = &self.files else {
            return Ok(());
        };
        let start = Instant::now();
        let mut bytes = Vec::new();
        Iter::new(link)
            .context("list open sockets")?
            .read_to_end(&mut bytes)
            .context("list open sockets")?;
        self.by_inode.clear();
        for entry in bytes.chunks_exact(ENTRY) {
            let Some((inode, started, owner)) = decode(entry) else {
                continue;
            };
            // Of those that share a socket it is the oldest one's: a child has all
            // that its parent has until it runs its own program.
            let holder = self.by_inode.entry(inode).or_insert((started, owner));
            if started < holder.0 {
                *holder = (started, owner);
            }
        }
        let saved = start.checked_sub(SAVED).unwrap_or(start);
        self.spent = self.spent.max(saved) + start.elapsed().max(LEAST) * SHARE;
        Ok(())
    }
}

/// Inode, start, owner.
fn decode(entry: &[u8]) -> Option<(u64, u64, Owner)> {
    let (inode, rest) = entry.split_first_chunk::<8>()?;
    let (started, rest) = rest.split_first_chunk::<8>()?;
    let (comm, rest) = rest.split_first_chunk::<16>()?;
    let pid = rest.first_chunk::<4>()?;
    Some((
        u64::from_ne_bytes(*inode),
        u64::from_ne_bytes(*started),
        Owner {
            pid: u32::from_ne_bytes(*pid),
            comm: *comm,
        },
    ))
}

/// A row that knows its origin.
pub trait HasOrigin {
    fn known(&self) -> &Known;
}

/// The JSON fields `owner_pid`, `owner_comm`, `netns`, `cgroup_id`, `cgroup`,
/// `cookie`; `null` for what is not known.
pub fn add_origin_fields<R: HasOrigin>(table: &mut Table<R>) {
    table
        .add(json_field("owner_pid", |row: &R| {
            owner_pid(row.known().owner.as_ref())
        }))
        .add(json_field("owner_comm", |row| {
            owner_comm(row.known().owner.as_ref())
        }));
    add_place_fields(table);
}

/// The same without the owner, for tools whose `pid` and `comm` are the owner's.
pub fn add_place_fields<R: HasOrigin>(table: &mut Table<R>) {
    table
        .add(json_field("netns", |row: &R| {
            number(row.known().origin.netns.into())
        }))
        .add(json_field("cgroup_id", |row| {
            number(row.known().origin.cgroup_id)
        }))
        .add(json_field("cgroup", |row| {
            match row.known().cgroup.as_deref() {
                Some(path) => Value::Name(path.as_bytes()),
                None => Value::Missing,
            }
        }))
        .add(json_field("cookie", |row| {
            number(row.known().origin.cookie)
        }));
}

/// A column's value: `-` in text for an owner that is not known.
pub fn owner_pid(owner: Option<&Owner>) -> Value<'_> {
    owner.map_or(Value::Unknown, |owner| Value::Uint(owner.pid.into()))
}

/// As [`owner_pid`].
pub fn owner_comm(owner: Option<&Owner>) -> Value<'_> {
    owner.map_or(Value::Unknown, |owner| Value::Name(&owner.comm))
}

/// 0 is not known.
fn number(value: u64) -> Value<'static> {
    match value {
        0 => Value::Missing,
        value => Value::Uint(value),
    }
}

impl CgroupPaths {
    /// The process of a cgroup that has just one.
    fn only_process(&self, path: &str) -> Option<Owner> {
        let pid = cgroup::only_process(&self.directory(path)?)?;
        let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
        let mut comm = [0; 16];
        for (to, from) in comm.iter_mut().zip(name.trim_ascii_end()) {
            *to = *from;
        }
        Some(Owner { pid, comm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_decoded() {
        let mut entry = 77u64.to_ne_bytes().to_vec();
        entry.extend(1_000u64.to_ne_bytes());
        entry.extend(*b"sshd\0\0\0\0\0\0\0\0\0\0\0\0");
        entry.extend(5u32.to_ne_bytes());
        entry.extend([0; 4]);
        assert_eq!(entry.len(), ENTRY);
        let (inode, started, owner) = decode(&entry).unwrap();
        assert_eq!((inode, started, owner.pid), (77, 1_000, 5));
        assert!(owner.comm.starts_with(b"sshd\0"));
        assert!(decode(&entry[..28]).is_none());
    }
}
