// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loss accounting: no event is lost silently.
//!
//! BPF programs count what they could not hand over or store in the per-CPU
//! map `lost` (`common/bpf/events.bpf.h`). The kernel counts the runs that it
//! skipped because the same program was already running on that CPU; from
//! Linux 5.12 it tells.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use libbpf_rs::libbpf_sys::{bpf_obj_get_info_by_fd, bpf_prog_info};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object};

/// Reads the counters of one loaded object.
pub struct Lost {
    counters: Option<MapHandle>,
    programs: Vec<(OsString, OwnedFd)>,
    reported: u64,
}

impl Lost {
    /// Counters of `object`: of its map `lost`, if it has one, and of its
    /// loaded programs.
    pub fn of(object: &Object) -> Result<Self> {
        let counters = object
            .maps()
            .find(|map| map.name() == "lost")
            .map(|map| MapHandle::try_from(&map))
            .transpose()
            .context("read map: lost")?;
        let programs = object
            .progs()
            .filter(|program| program.as_fd().as_raw_fd() >= 0)
            .filter_map(|program| {
                let fd = program.as_fd().try_clone_to_owned().ok()?;
                Some((program.name().to_owned(), fd))
            })
            .collect();
        Ok(Self {
            counters,
            programs,
            reported: 0,
        })
    }

    /// From now on skipped runs of `program` count as no loss.
    pub fn without(&mut self, program: &str) {
        self.programs.retain(|(name, _)| name != program);
    }

    /// How many events were lost since this was last asked.
    pub fn take(&mut self) -> Result<u64> {
        let skipped = self.programs.iter().map(|(_, fd)| recursion_misses(fd));
        let mut total: u64 = skipped.sum();
        if let Some(map) = &self.counters {
            let per_cpu = map
                .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
                .context("read map: lost")?
                .unwrap_or_default();
            total += per_cpu
                .iter()
                .filter_map(|bytes| Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?)))
                .sum::<u64>();
        }
        let new = total.saturating_sub(self.reported);
        self.reported = total.max(self.reported);
        Ok(new)
    }
}

/// Runs of the program that the kernel skipped; 0 where it does not tell.
fn recursion_misses(program: &OwnedFd) -> u64 {
    let mut info = bpf_prog_info::default();
    let mut length = size_of::<bpf_prog_info>() as u32;
    // SAFETY: `info` is valid for writes of `length` bytes, and its zeroed
    // pointer fields ask the kernel for no arrays.
    #[allow(unsafe_code)]
    let result =
        unsafe { bpf_obj_get_info_by_fd(program.as_raw_fd(), (&raw mut info).cast(), &mut length) };
    if result == 0 {
        info.recursion_misses
    } else {
        0
    }
}
