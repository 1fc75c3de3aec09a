// SPDX-License-Identifier: MIT OR Apache-2.0
//! From sockets to ports in use, by whatever `--by` says.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;

use anyhow::Result;
use common::event::decode;
use common::net::address;
use common::origin::{Origin, Owner, Owners};
use libbpf_rs::{MapCore, MapFlags};

use crate::By;
use crate::namespaces::Namespaces;
use crate::skel::types::tcpports_group;
use crate::socket::{Class, Socket};

/// Whose ports are counted together, within a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    All,
    Laddr(IpAddr),
    /// From an address to a remote end: where it is full, connect() fails.
    Raddr(IpAddr, IpAddr, u16),
    /// `None`: not known.
    Process(Option<u32>),
    /// 0: not known.
    Cgroup(u64),
}

pub type Key = (u32, Whose);

/// The ports of one key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    /// Ports by [`Class`].
    pub classes: [u32; 4],
    /// All of them.
    pub used: u32,
}

/// How often a key's ports were taken, and were asked for in vain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    pub uses: u64,
    pub failed: u64,
}

/// A port and its class, to be sorted.
fn entry(port: u16, class: Class) -> u32 {
    u32::from(port) << 2 | class as u32
}

/// Counts each port once, by its first class. `exclusive` are those that are in
/// use for every key.
fn count(mut entries: Vec<u32>, exclusive: &BTreeSet<u16>) -> Use {
    entries.sort_unstable();
    entries.dedup_by_key(|entry| *entry >> 2);
    let mut result = Use::default();
    let mut shared = 0;
    for entry in &entries {
        if let Some(count) = result.classes.get_mut((entry & 3) as usize) {
            *count += 1;
        }
        let port = u16::try_from(entry >> 2).unwrap_or_default();
        shared += usize::from(!exclusive.is_empty() && exclusive.contains(&port));
    }
    // Those that it does not hold itself.
    if let Some(count) = result.classes.first_mut() {
        *count += u32::try_from(exclusive.len() - shared).unwrap_or_default();
    }
    result.used = result.classes.iter().sum();
    result
}

pub struct Counter {
    by: By,
    owners: Owners,
    /// The names of processes that have or had ports.
    comms: HashMap<u32, [u8; 16]>,
    /// Uses as last read from the map, which only grow.
    seen: HashMap<Vec<u8>, u64>,
}

impl Counter {
    pub fn new(by: By, owners: Owners) -> Self {
        Self {
            by,
            owners,
            comms: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    pub fn comm(&self, pid: u32) -> Option<&[u8; 16]> {
        self.comms.get(&pid)
    }

    pub fn cgroup(&mut self, id: u64) -> Option<Rc<str>> {
        self.owners.cgroup(id)
    }

    /// The ports that are in use. `idle` are sockets that no walk finds.
    pub fn ports(&mut self, namespaces: &Namespaces, idle: &[Socket]) -> Result<HashMap<Key, Use>> {
        self.owners.look_again();
        let mut found = HashMap::new();
        if self.by == By::Netns {
            let main = namespaces.main();
            if namespaces.get(main).is_some() {
                found.insert((main, Whose::All), Use::default());
            }
        }
        for (netns, namespace) in namespaces.iter() {
            let ports = &namespace.settings.ports;
            let sockets = namespace
                .sockets
                .iter()
                .chain(idle.iter().filter(|socket| socket.netns() == netns))
                .filter(|socket| ports.contains(socket.port()));
            let mut exclusive = BTreeSet::new();
            let mut listening = HashSet::new();
            if self.by == By::Raddr {
                for socket in sockets.clone() {
                    if socket.is_exclusive() {
                        exclusive.insert(socket.port());
                    }
                    if socket.is_listening() {
                        listening.insert(socket.port());
                    }
                }
            }
            let mut entries: HashMap<Whose, Vec<u32>> = HashMap::new();
            for socket in sockets {
                // What was accepted holds the listener's port.
                if self.by == By::Raddr
                    && (socket.remote().1 == 0 || listening.contains(&socket.port()))
                {
                    continue;
                }
                let whose = self.whose(netns, socket)?;
                let entry = entry(socket.port(), socket.class());
                entries.entry(whose).or_default().push(entry);
            }
            for (whose, entries) in entries {
                found.insert((netns, whose), count(entries, &exclusive));
            }
        }
        Ok(found)
    }

    fn whose(&mut self, netns: u32, socket: &Socket) -> Result<Whose> {
        Ok(match self.by {
            By::Netns => Whose::All,
            By::Laddr => Whose::Laddr(socket.laddr()),
            By::Raddr => {
                let (addr, port) = socket.remote();
                Whose::Raddr(socket.laddr(), addr, port)
            }
            By::Cgroup => Whose::Cgroup(socket.cgroup_id()),
            By::Process => {
                let origin = Origin {
                    cgroup_id: socket.cgroup_id(),
                    inode: socket.inode(),
                    comm: socket.comm(),
                    tgid: socket.tgid(),
                    netns,
                    cookie: 0,
                };
                let owner = self.owners.complete(origin)?.owner;
                Whose::Process(owner.map(|Owner { pid, comm }| {
                    self.comms.insert(pid, comm);
                    pid
                }))
            }
        })
    }

    /// What has happened since this was last asked.
    pub fn uses(&mut self, map: &impl MapCore) -> Result<HashMap<Key, Activity>> {
        let mut found: HashMap<Key, Activity> = HashMap::new();
        let mut quiet = Vec::new();
        for key in map.keys() {
            let Some(value) = map.lookup(&key, MapFlags::ANY)? else {
                continue;
            };
            let Some(total) = value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)) else {
                continue;
            };
            let last = self.seen.insert(key.clone(), total).unwrap_or_default();
            // A connect() that was under way at the last look may have failed.
            let new = total.saturating_sub(last);
            if total == last {
                quiet.push(key);
            } else {
                let group = decode::<tcpports_group>(&key)?.0;
                found.entry(self.key(&group)).or_default().uses += new;
            }
        }
        if self.seen.len() > MANY_GROUPS {
            for key in quiet {
                let _ = map.delete(&key);
                self.seen.remove(&key);
            }
        }
        Ok(found)
    }

    fn key(&self, group: &tcpports_group) -> Key {
        let addr = |bytes| address(group.family, bytes);
        let whose = match self.by {
            By::Netns => Whose::All,
            By::Laddr => Whose::Laddr(addr(&group.laddr)),
            By::Raddr => Whose::Raddr(addr(&group.laddr), addr(&group.raddr), group.rport),
            By::Process => Whose::Process(u32::try_from(group.id).ok()),
            By::Cgroup => Whose::Cgroup(group.id),
        };
        (group.netns, whose)
    }

    /// The key of a call that has failed, by its process.
    pub fn note_comm(&mut self, pid: u32, comm: [u8; 16]) {
        self.comms.entry(pid).or_insert(comm);
    }
}

/// From so many on, groups that do nothing are removed from the map of uses.
const MANY_GROUPS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_counts_once_by_its_first_class() {
        let entries = vec![
            entry(40_000, Class::TimeWait),
            entry(40_000, Class::Established),
            entry(40_001, Class::TimeWait),
            entry(40_001, Class::TimeWait),
            entry(40_002, Class::Established),
            entry(40_002, Class::Listen),
            entry(65_535, Class::Other),
        ];
        let counted = count(entries.clone(), &BTreeSet::new());
        assert_eq!((counted.classes, counted.used), ([1, 1, 1, 1], 4));
        // Ports that are in use for all, one of which is this key's as well.
        let counted = count(entries, &[40_002, 50_000, 50_001].into());
        assert_eq!((counted.classes, counted.used), ([3, 1, 1, 1], 6));
    }
}
