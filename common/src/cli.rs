// SPDX-License-Identifier: MIT OR Apache-2.0
//! Argument groups that tools flatten into theirs, and the value parsers.
//!
//! What a parser refuses is a usage error (exit code 2) before anything is
//! loaded: the rest of the program sees only valid values.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint, builder::RangedI64ValueParser, value_parser};
use nix::unistd::User;

use crate::cgroup::Cgroup;
use crate::columns::Format;
use crate::flow::Network;
use crate::net::Ports;
use crate::netns;

/// On every tool.
#[derive(Args, Debug, Clone)]
pub struct General {
    /// Only what belongs to this cgroup (a directory of cgroup v2) or to a
    /// cgroup below it
    #[arg(long, value_name = "PATH", value_parser = Cgroup::parse, value_hint = ValueHint::DirPath)]
    pub cgroup: Option<Cgroup>,

    /// One JSON object per line
    #[arg(long)]
    pub json: bool,

    /// Tell on stderr which kernel hooks are used, and when they are attached
    #[arg(short, long)]
    pub verbose: bool,
}

impl General {
    /// The form of the rows; `csv` is the tool's own option, if it has one.
    pub fn format(&self, csv: bool) -> Format {
        match (self.json, csv) {
            (true, _) => Format::Json,
            (false, true) => Format::Csv,
            (false, false) => Format::Text,
        }
    }

    /// The id of `--cgroup`'s directory, 0 without one: what BPF filters on.
    pub fn cgroup_id(&self) -> u64 {
        self.cgroup.as_ref().map_or(0, |cgroup| cgroup.id)
    }
}

/// `-c PATH`: how libbpf-tools call `--cgroup`.
#[derive(Args, Debug, Clone)]
pub struct CgroupLetter {
    /// As --cgroup
    #[arg(short = 'c', value_name = "PATH", value_parser = Cgroup::parse, value_hint = ValueHint::DirPath, conflicts_with = "cgroup")]
    in_cgroup: Option<Cgroup>,
}

impl CgroupLetter {
    /// From here on it is `--cgroup`.
    pub fn merge(&mut self, general: &mut General) {
        general.cgroup = general.cgroup.take().or(self.in_cgroup.take());
    }
}

/// `--duration SECS` where the letter `-d` is taken or was never there.
#[derive(Args, Debug, Clone, Copy)]
pub struct RunTime {
    /// End after this many seconds
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub duration: Option<Duration>,
}

/// `[interval [count]]`
#[derive(Args, Debug, Clone, Copy)]
pub struct Interval {
    /// Seconds between reports
    #[arg(value_name = "interval", value_parser = seconds)]
    pub interval: Option<Duration>,

    /// Number of reports
    #[arg(value_name = "count", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// `-L -D`
#[derive(Args, Debug, Clone)]
pub struct PortFilter {
    /// Only these local ports, as a comma list
    #[arg(short = 'L', long, value_name = "PORTS", value_parser = Ports::parse)]
    pub localport: Option<Ports>,

    /// Only these remote ports, as a comma list
    #[arg(short = 'D', long, value_name = "PORTS", value_parser = Ports::parse)]
    pub remoteport: Option<Ports>,
}

/// `--localport --remoteport` where the classic has other uses for `-L`.
#[derive(Args, Debug, Clone)]
pub struct LongPortFilter {
    /// Only these local ports, as a comma list
    #[arg(long, value_name = "PORTS", value_parser = Ports::parse)]
    pub localport: Option<Ports>,

    /// Only these remote ports, as a comma list
    #[arg(long, value_name = "PORTS", value_parser = Ports::parse)]
    pub remoteport: Option<Ports>,
}

/// `--addr --netns-id --pid-netns`
#[derive(Args, Debug, Clone, Copy)]
pub struct NetFilter {
    /// Only flows with an end at this address or in this network
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = Network::parse)]
    pub addr: Option<Network>,

    /// Only this network namespace, by its inode number
    #[arg(long, value_name = "INODE", conflicts_with = "pid_netns")]
    pub netns_id: Option<u32>,

    /// Only the network namespace of this process
    #[arg(long, value_name = "PID", value_parser = netns::of_process)]
    pub pid_netns: Option<u32>,
}

impl NetFilter {
    /// The inode number of the namespace that is asked for, 0 for any.
    pub fn inode(self) -> u32 {
        self.pid_netns.or(self.netns_id).unwrap_or(0)
    }
}

/// `-4 -6`
#[derive(Args, Debug, Clone, Copy)]
pub struct Family {
    /// Only IPv4
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Only IPv6
    #[arg(short = '6', long)]
    pub ipv6: bool,
}

impl Family {
    /// The address family for the BPF filter, 0 for both.
    pub fn number(self) -> u16 {
        match (self.ipv4, self.ipv6) {
            (true, _) => libc::AF_INET as u16,
            (_, true) => libc::AF_INET6 as u16,
            _ => 0,
        }
    }
}

/// `-p -t -u`: the task that the event happens in.
#[derive(Args, Debug, Clone, Copy)]
pub struct TaskFilter {
    /// Only this process
    #[arg(short, long, value_parser = id())]
    pub pid: Option<u32>,

    /// Only this thread
    #[arg(short, long, value_parser = id())]
    pub tid: Option<u32>,

    /// Only this user id
    #[arg(short, long, value_parser = value_parser!(u32).range(..u32::MAX as i64))]
    pub uid: Option<u32>,
}

/// `--cgroupmap --mntnsmap`: sets of containers in pinned BPF maps, which may
/// change while the tool runs.
#[derive(Args, Debug, Clone)]
pub struct ContainerMaps {
    /// Only tasks whose cgroup id is a key of this pinned BPF hash map
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub cgroupmap: Option<PathBuf>,

    /// Only tasks whose mount namespace is a key of this pinned BPF hash map
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub mntnsmap: Option<PathBuf>,
}

/// A process or thread id: 1 and up.
pub fn id() -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=i32::MAX as i64)
}

/// A user id, also by the user's name.
pub fn user(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(u32::MAX) => Err("no user has this id".into()), // "none", to the kernel
        Ok(uid) => Ok(uid),
        Err(_) => match User::from_name(text) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            Ok(None) => Err("neither a user id nor the name of a user".into()),
            Err(errno) => Err(errno.to_string()),
        },
    }
}

/// A whole number of seconds, 1 and up.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        // BCC's "for ever" is 99999999 seconds; much more would overflow clocks.
        Ok(seconds @ 1..=4_000_000_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a whole number of seconds, 1 or more".into()),
    }
}

/// The name that the tool was called by, for messages.
pub fn program_name(argv0: Option<OsString>, fallback: &str) -> String {
    argv0
        .and_then(|path| {
            PathBuf::from(path)
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
        })
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| fallback.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_and_positive() {
        assert_eq!(seconds("1"), Ok(Duration::from_secs(1)));
        assert!(seconds("99999999").is_ok());
        for bad in ["0", "-1", "1.5", "a", "", "99999999999999999999"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_have_ids_and_names() {
        assert_eq!(user("0"), Ok(0));
        assert_eq!(user("root"), Ok(0));
        assert_eq!(user("4294967294"), Ok(u32::MAX - 1));
        for bad in ["", "-1", "4294967295", "4294967296", "no such user"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_is_that_of_the_call() {
        assert_eq!(
            program_name(Some("/usr/sbin/x-bpfcc".into()), "x"),
            "x-bpfcc"
        );
        assert_eq!(program_name(None, "x"), "x");
    }
}
