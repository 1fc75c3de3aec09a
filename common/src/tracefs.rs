// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attaching to a classic tracepoint where tracefs is not mounted: through a
//! mount that no directory shows and that ends with its file descriptor.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use libbpf_rs::libbpf_sys::{
    PERF_FLAG_FD_CLOEXEC, PERF_SAMPLE_RAW, PERF_TYPE_TRACEPOINT, perf_event_attr,
};
use libbpf_rs::{Link, ProgramMut};

/// A private, invisible instance of tracefs.
pub struct Tracefs(OwnedFd);

// include/uapi/linux/mount.h
const FSOPEN_CLOEXEC: libc::c_long = 1;
const FSCONFIG_CMD_CREATE: libc::c_long = 6;
const FSMOUNT_CLOEXEC: libc::c_long = 1;

impl Tracefs {
    /// Needs CAP_SYS_ADMIN, and a kernel with tracefs.
    pub fn open() -> Result<Self> {
        let what = "mount tracefs privately";
        // SAFETY: fsopen(2) reads the NUL-terminated name and gives a new fd.
        #[allow(unsafe_code)]
        let context = unsafe {
            owned(libc::syscall(
                libc::SYS_fsopen,
                c"tracefs".as_ptr(),
                FSOPEN_CLOEXEC,
            ))
            .context(what)?
        };
        // SAFETY: fsconfig(2) takes no pointers with FSCONFIG_CMD_CREATE.
        #[allow(unsafe_code)]
        let created = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                FSCONFIG_CMD_CREATE,
                0usize,
                0usize,
                0,
            )
        };
        if created < 0 {
            return Err(io::Error::last_os_error()).context(what);
        }
        // SAFETY: fsmount(2) takes integers and gives a new fd.
        #[allow(unsafe_code)]
        let mount = unsafe {
            owned(libc::syscall(
                libc::SYS_fsmount,
                context.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                0,
            ))
            .context(what)?
        };
        Ok(Self(mount))
    }

    /// The number of the tracepoint `category/name`.
    fn event_id(&self, event: &str) -> Result<u64> {
        let path = Path::new("events").join(event).join("id");
        let fd = nix::fcntl::openat(
            &self.0,
            &path,
            nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .map_err(io::Error::from)
        .with_context(|| format!("open tracefs {}", path.display()))?;
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text)?;
        text.trim()
            .parse()
            .with_context(|| format!("read tracefs {}", path.display()))
    }

    /// Attaches a program to the tracepoint `category/name`.
    pub fn attach(&self, program: &ProgramMut<'_>, event: &str) -> Result<Link> {
        let mut attr = perf_event_attr {
            type_: PERF_TYPE_TRACEPOINT,
            config: self.event_id(event)?,
            sample_type: u64::from(PERF_SAMPLE_RAW),
            ..Default::default()
        };
        attr.__bindgen_anon_1.sample_period = 1;
        attr.__bindgen_anon_2.wakeup_events = 1;
        // CPU 0, as libbpf does: the program runs on every CPU.
        let event = perf_event_open(&attr, 0).context("perf_event_open")?;
        attach_to_event(program, event)
    }
}

/// An event of all processes on one CPU.
pub fn perf_event_open(attr: &perf_event_attr, cpu: u32) -> io::Result<OwnedFd> {
    let attr = perf_event_attr {
        size: size_of::<perf_event_attr>() as u32,
        ..*attr
    };
    // SAFETY: perf_event_open(2) reads `attr.size` bytes of `attr` and gives a new fd.
    #[allow(unsafe_code)]
    unsafe {
        owned(libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            -1,
            cpu,
            -1,
            u64::from(PERF_FLAG_FD_CLOEXEC),
        ))
    }
}

/// The program runs whenever the event comes, as long as the link lives.
pub fn attach_to_event(program: &ProgramMut<'_>, event: OwnedFd) -> Result<Link> {
    let link = program.attach_perf_event(event.as_raw_fd())?;
    // The link owns the event now and closes it (libbpf, bpf_link_perf_detach).
    let _ = std::os::fd::IntoRawFd::into_raw_fd(event);
    Ok(link)
}

/// # Safety
///
/// `result` is a new fd that nothing else owns, or negative with errno set.
#[allow(unsafe_code)]
unsafe fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the caller's promise.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
