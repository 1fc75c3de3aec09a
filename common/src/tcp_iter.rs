// SPDX-License-Identifier: MIT OR Apache-2.0
//! A BPF iterator over TCP sockets (`SEC("iter/tcp")`), run in every network
//! namespace: the kernel gives it the sockets of the namespace that the reader
//! is in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use libbpf_rs::{Iter, Link, MapCore, MapFlags};

use crate::netns;
use crate::probe::{Capability, Probe};

/// What one read asks for: as much as the kernel hands over at a time.
const CHUNK: usize = 8 * 4096;

/// Reads what an iterator's program writes with `bpf_seq_write()`. The kernel
/// runs the program again for a socket whose record did not fit any more: it
/// must not have noted anything by then.
pub struct Walk {
    link: Link,
    /// The inode number of the only namespace to walk; 0: all.
    only: u32,
    walked: BTreeSet<u32>,
    /// Those that could not be entered.
    refused: BTreeSet<u32>,
    /// Those that the kernel side knows to be walked.
    told: BTreeSet<u32>,
}

impl Walk {
    /// `link` is that of the iterator's program
    /// ([`Attached::take_link`](crate::hooks::Attached::take_link)), `only` the
    /// namespace that [`NetFilter::inode`](crate::cli::NetFilter::inode) asks for.
    pub fn new(link: Link, only: u32) -> Self {
        Self {
            link,
            only,
            walked: BTreeSet::new(),
            refused: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    /// Runs the iterator in every namespace that a process is in or that has a
    /// name. The records of all of them, one behind the other.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let own = netns::own()?;
        let own = u32::try_from(own.metadata().context("own network namespace")?.ino())?;
        let mut namespaces: BTreeMap<u32, Option<File>> = netns::all()
            .into_iter()
            .map(|(inode, file)| (inode, Some(file)))
            .collect();
        // It needs no right to enter.
        namespaces.insert(own, None);
        if self.only != 0 {
            namespaces.retain(|inode, _| *inode == self.only);
        }
        self.walked.clear();
        self.refused.clear();
        let mut records = Vec::new();
        let link = &self.link;
        for (inode, file) in namespaces {
            let Some(file) = file else {
                read_here(link, &mut records)?;
                self.walked.insert(inode);
                continue;
            };
            let mut entered = false;
            let result = netns::within(&file, || {
                entered = true;
                read_here(link, &mut records)
            });
            if entered {
                result?;
                self.walked.insert(inode);
            } else {
                self.refused.insert(inode);
            }
        }
        Ok(records)
    }

    /// As [`read`](Self::read), for `common/bpf/traffic.bpf.h`, whose map `walked` is:
    /// what carries something in these namespaces without having been met is new.
    pub fn read_traffic(&mut self, walked: &impl MapCore) -> Result<Vec<u8>> {
        let records = self.read()?;
        for inode in &self.walked {
            if !self.told.contains(inode) {
                walked
                    .update(&inode.to_ne_bytes(), &[1], MapFlags::ANY)
                    .context("write map: walked")?;
                self.told.insert(*inode);
            }
        }
        Ok(records)
    }

    /// Whether the last walk has seen the sockets of this namespace.
    pub fn has_walked(&self, netns: u32) -> bool {
        self.walked.contains(&netns)
    }

    /// What the last walk has left out, for the user.
    pub fn unseen(&self) -> Option<String> {
        match (self.only, self.refused.len()) {
            // Then not even their number is known.
            (0, _) if !Probe::default().has(Capability::SysAdmin) => {
                Some("other network namespaces are not seen: that takes CAP_SYS_ADMIN".into())
            }
            (0, 0) => None,
            (0, count) => Some(format!("{count} network namespaces cannot be entered")),
            (only, 0) if !self.has_walked(only) => Some(format!(
                "network namespace {only} is not seen: no process is in it, and it has no name"
            )),
            (only, 1..) => Some(format!(
                "network namespace {only} is not seen: entering it takes CAP_SYS_ADMIN"
            )),
            _ => None,
        }
    }
}

/// What a tool says of the sockets that `common/bpf/traffic.bpf.h` could not
/// tell about.
pub fn unwalked(count: u64) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{count} connections have ended that are older than the tool and in network \
             namespaces where no process is: what they carried is not known"
        )
    })
}

/// Runs the iterator in the namespace of the calling thread.
pub fn read_here(link: &Link, records: &mut Vec<u8>) -> Result<()> {
    let mut iter = Iter::new(link).context("walk TCP sockets")?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match iter.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => records.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            // The kernel takes a break after a million sockets without a record.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("walk TCP sockets"),
        }
    }
}
