// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own account of BPF programs.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context, Result, bail};
use libbpf_rs::{Program, libbpf_sys};

/// The kernel measures all programs as long as this lives.
pub struct Statistics(#[allow(dead_code)] OwnedFd);

impl Statistics {
    pub fn enable() -> Result<Self> {
        // SAFETY: takes a number, gives a new descriptor or a negative errno.
        #[allow(unsafe_code)]
        let fd = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
        if fd < 0 {
            bail!(
                "measure BPF programs: {}",
                io::Error::from_raw_os_error(-fd)
            );
        }
        // SAFETY: the descriptor is new and nobody else's.
        #[allow(unsafe_code)]
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

/// What a program has cost since it was loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    pub ns: u64,
    pub count: u64,
}

pub fn runs(program: &OwnedFd) -> Result<Runs> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut size = u32::try_from(size_of_val(&info))?;
    // SAFETY: `info` is writable and `size` bytes long.
    #[allow(unsafe_code)]
    let result =
        unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut size) };
    if result < 0 {
        bail!(
            "read a BPF program's state: {}",
            io::Error::from_raw_os_error(-result)
        );
    }
    Ok(Runs {
        ns: info.run_time_ns,
        count: info.run_cnt,
    })
}

pub fn open(program: u32) -> Result<OwnedFd> {
    Program::fd_from_id(program).with_context(|| format!("open BPF program {program}"))
}

pub fn exists(program: u32) -> bool {
    Program::fd_from_id(program).is_ok()
}

/// The program with the next higher number: newer ones have higher numbers.
pub fn next_program(after: u32) -> Option<u32> {
    let mut next = 0;
    // SAFETY: `next` is writable.
    #[allow(unsafe_code)]
    let result = unsafe { libbpf_sys::bpf_prog_get_next_id(after, &mut next) };
    (result == 0).then_some(next)
}

/// The newest program.
pub fn last_program() -> u32 {
    let mut last = 0;
    while let Some(next) = next_program(last) {
        last = next;
    }
    last
}

/// The programs that a process holds: its own and those of its links. The
/// second half of a pair says whether it is an iterator, which runs when user
/// space reads it, not on events.
pub fn programs_of(pid: i32) -> Vec<(u32, bool)> {
    let mut programs: Vec<(u32, bool)> = Vec::new();
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return programs;
    };
    for fd in fds.flatten() {
        let Ok(info) = fs::read_to_string(fd.path()) else {
            continue;
        };
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let iterates = field("link_type") == Some("iter");
        if let Some(id) = field("prog_id").and_then(|id| id.parse().ok()) {
            match programs.iter_mut().find(|(known, _)| *known == id) {
                Some((_, known)) => *known |= iterates,
                None => programs.push((id, iterates)),
            }
        }
    }
    programs
}

/// The sum over the programs that a process holds.
pub fn runs_of(pid: i32) -> Runs {
    let mut sum = Runs::default();
    for (program, _) in programs_of(pid) {
        if let Ok(own) = open(program).and_then(|fd| runs(&fd)) {
            sum.ns += own.ns;
            sum.count += own.count;
        }
    }
    sum
}

/// Whether a process listens to a netfilter netlink group of this thread's
/// network namespace.
pub fn listens_to_netfilter(pid: i32) -> bool {
    const NETLINK_NETFILTER: &str = "12";
    let Ok(sockets) = fs::read_to_string("/proc/thread-self/net/netlink") else {
        return false;
    };
    let listening: Vec<String> = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| {
            fields.get(1) == Some(&NETLINK_NETFILTER)
                && fields
                    .get(3)
                    .is_some_and(|groups| groups.chars().any(|digit| digit != '0'))
        })
        .filter_map(|fields| Some(format!("socket:[{}]", fields.last()?)))
        .collect();
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    fds.flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .any(|target| {
            listening
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        })
}
