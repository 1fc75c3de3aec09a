// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loss accounting: no event is lost silently.
//!
//! BPF programs count what they could not hand over or store in the map `lost`
//! (`common/bpf/lost.bpf.h`). The kernel counts the runs that it skipped because
//! the same program was already running on that CPU; from Linux 5.12 it tells.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use libbpf_rs::libbpf_sys::{bpf_obj_get_info_by_fd, bpf_prog_info};
use libbpf_rs::{MapCore, Object};

/// Reads the counters of one loaded object.
pub struct Lost {
    counter: Option<&'static AtomicU64>,
    programs: Vec<(OsString, OwnedFd)>,
    reported: u64,
}

impl Lost {
    /// Counters of `object`: of its map `lost`, if it has one, and of its
    /// loaded programs.
    pub fn of(object: &Object) -> Result<Self> {
        let counter = object
            .maps()
            .find(|map| map.name() == "lost")
            .map(|map| mapped_counter(map.as_fd()))
            .transpose()
            .context("map the counter of lost events")?;
        let programs = object
            .progs()
            .filter(|program| program.as_fd().as_raw_fd() >= 0)
            .filter_map(|program| {
                let fd = program.as_fd().try_clone_to_owned().ok()?;
                Some((program.name().to_owned(), fd))
            })
            .collect();
        Ok(Self {
            counter,
            programs,
            reported: 0,
        })
    }

    /// From now on skipped runs of `program` count as no loss.
    pub fn without(&mut self, program: &str) {
        self.programs.retain(|(name, _)| name != program);
    }

    /// How many events were lost since this was last asked.
    pub fn take(&mut self) -> u64 {
        let skipped = self.programs.iter().map(|(_, fd)| recursion_misses(fd));
        let counted = self
            .counter
            .map_or(0, |count| count.load(Ordering::Relaxed));
        let total = skipped.sum::<u64>() + counted;
        let new = total.saturating_sub(self.reported);
        self.reported = total.max(self.reported);
        new
    }
}

/// The value of a one-element array map that can be mapped. The mapping stays
/// as long as the process.
fn mapped_counter(map: BorrowedFd<'_>) -> io::Result<&'static AtomicU64> {
    // SAFETY: a new mapping, of a map that has at least the one value, which
    // fills up a page.
    #[allow(unsafe_code)]
    let address = unsafe {
        let size = size_of::<AtomicU64>();
        libc::mmap(
            null_mut(),
            size,
            libc::PROT_READ,
            libc::MAP_SHARED,
            map.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: mapped for good, page-aligned, and only ever read here; the
    // kernel's side adds to it atomically.
    #[allow(unsafe_code)]
    Ok(unsafe { AtomicU64::from_ptr(address.cast()) })
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
