// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpports`: how close this host is to running out of local ports, and who
//! holds them.

mod count;
mod monitor;
mod namespaces;
mod report;
mod settings;
mod socket;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum, value_parser};
use common::cli::{Family, General, Interval, LongPortFilter, NetFilter, RunTime};
use common::hooks::{Alternative, Hook};
use common::origin::SOCKET_FILES;
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, flow_filter};

use monitor::Monitor;
use skel::types::{tcpports_failure, tcpports_group, tcpports_socket};

bpf_skeleton!("tcpports");
event!(tcpports_failure);
event!(tcpports_group);
event!(tcpports_socket);

/// Show how close a host is to running out of local ports, and who holds them
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcpports                  ports in use, every 5 seconds; calls that fail at once
  tcpports 1 10             every second, 10 times
  tcpports --by raddr       by remote end: where it is full, connect() fails
  tcpports --by process     who holds the ports
  tcpports --by cgroup -T   by cgroup, with the time of day
  tcpports --warn 60        a warning when 60 % are in use
  tcpports --pid-netns 181  only the network namespace of process 181
  tcpports --json           one JSON object per line")]
pub struct Args {
    /// Include the time of day (HH:MM:SS)
    #[arg(short = 'T', long)]
    time: bool,

    /// Whose ports are counted together
    #[arg(long, value_enum, default_value = "netns")]
    by: By,

    /// How many of these are shown: those that use the most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..))]
    top: u32,

    /// Warn when so many percent of the ports are in use
    #[arg(long, value_name = "PERCENT", default_value_t = 80,
          value_parser = value_parser!(u32).range(1..=100))]
    warn: u32,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    interval: Interval,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// `--by`, in the order of `enum tcpports_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The network namespace
    Netns,
    /// The local address
    Laddr,
    /// The remote end, and the local address that it is reached from
    Raddr,
    /// The process that has or has closed the sockets
    Process,
    /// The cgroup of the sockets
    Cgroup,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Netns => "netns",
            Self::Laddr => "laddr",
            Self::Raddr => "raddr",
            Self::Process => "process",
            Self::Cgroup => "cgroup",
        }
    }

    /// Whether sockets without a file have to be known.
    fn wants_owner(self) -> bool {
        matches!(self, Self::Process | Self::Cgroup)
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

const WALK: &str = "walk_sockets";
const FIND_IDLE: &str = "find_idle";

/// What changes, and the iterators by which the rest is known.
const SOCKETS: Hook = Hook {
    name: "sockets",
    alternatives: &[Alternative::new(
        "tp_btf",
        &["set_state", "destroy", WALK, FIND_IDLE, SOCKET_FILES],
    )],
};

/// Calls that fail, and bind(). The functions are also those that io_uring and
/// TCP Fast Open get to.
const CALLS: Hook = Hook {
    name: "calls",
    alternatives: &[
        Alternative::new("fexit", &["connect4_exit", "bind4_exit", "listen_exit"])
            .optional(&["connect6_exit", "bind6_exit"]),
        Alternative::new("tracepoint", &["tp_connect", "tp_bind", "tp_listen"]),
        Alternative::new("raw_tp", &["raw_exit"]),
    ],
};

pub struct Tcpports;

impl Tool for Tcpports {
    const NAME: &'static str = "tcpports";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcpports");
    const HOOKS: &'static [Hook] = &[SOCKETS, CALLS];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        // A filter by cgroup has to know whose a TIME_WAIT was.
        let want_owner = args.by.wants_owner() || args.general.cgroup.is_some();
        let mut attached =
            session.load::<skel::TcpportsSkelBuilder>(&[&SOCKETS, &CALLS], |open| {
                let no_ports = LongPortFilter {
                    localport: None,
                    remoteport: None,
                };
                flow_filter!(open, args.family, no_ports, args.net, args.general);
                if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                    rodata.count_by = args.by as u8;
                    rodata.want_owner = want_owner.into();
                }
                // Only what is asked for takes memory.
                if !want_owner {
                    open.maps.closers.set_max_entries(1)?;
                }
                Ok(())
            })?;
        for not_an_event in [WALK, FIND_IDLE, SOCKET_FILES] {
            attached.lost.without(not_an_event);
        }
        let mut monitor = Monitor::new(&args, name, &mut attached)?;
        if monitor.unseen() > 0 {
            session.tell(&format!(
                "{} network namespaces cannot be entered or found",
                monitor.unseen()
            ));
        }
        session.ready()?;
        monitor.begin();
        session.follow(&mut monitor)?;
        monitor.end(&mut session.out)
    }
}
