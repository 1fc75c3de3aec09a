// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ctsnoop`: the connection tracking table as a stream of events: who makes
//! entries, how fast, and what is refused.

mod ctnetlink;
mod kernel;
mod listen;
mod programs;
mod row;
mod summary;
mod trace;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, value_parser};
use common::cli::{Family, General, Interval, LongPortFilter, NetFilter, RunTime};
use common::hooks::{Alternative, Hook};
use common::net::{Ports, parse_protocol};
use common::origin::OWNER;
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, flow_filter, usage};

use kernel::{Namespaces, is_loaded};
use skel::types::{ctsnoop_counts, ctsnoop_event, ctsnoop_key, ctsnoop_refused};
use summary::{By, Summary};
use trace::Trace;

bpf_skeleton!("ctsnoop");
event!(ctsnoop_event);
event!(ctsnoop_refused);
event!(ctsnoop_key);
event!(ctsnoop_counts);

/// Trace the entries of the connection tracking table
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  ctsnoop                     trace new entries, and connections that are refused
  ctsnoop -n                  only new entries
  ctsnoop -d                  also entries that end, with age, packets and bytes
  ctsnoop -P tcp --dport 443  only TCP to port 443
  ctsnoop --addr 10.0.0.0/8   only connections from or to this network
  ctsnoop -c 5                a report every 5 seconds
  ctsnoop -c 1 10 --by comm   ten reports: which programs make entries
  ctsnoop --wait              wait until nf_conntrack is loaded
  ctsnoop --json              one JSON object per line")]
pub struct Args {
    /// Only new entries: nothing that is refused
    #[arg(short, long, conflicts_with_all = ["destroy", "summary"])]
    new: bool,

    /// Entries that end as well
    #[arg(short, long)]
    destroy: bool,

    /// Reports of counts instead of events: one at the end, or one per interval
    #[arg(short = 'c', long)]
    summary: bool,

    /// With -c: who or what is counted
    #[arg(long, value_enum, default_value = "port", requires = "summary")]
    by: By,

    /// With -c: how many of these are shown
    #[arg(long, value_name = "N", default_value_t = 10, requires = "summary",
          value_parser = value_parser!(u32).range(1..))]
    top: u32,

    /// Only this protocol: tcp, udp, icmp, ... or a number
    #[arg(short = 'P', long, value_name = "PROTO", value_parser = parse_protocol)]
    proto: Option<u8>,

    /// Only connections to these ports, as a comma list
    #[arg(long, value_name = "PORTS", value_parser = Ports::parse)]
    dport: Option<Ports>,

    /// Only this conntrack zone
    #[arg(long, value_name = "ZONE")]
    zone: Option<u16>,

    /// Wait for nf_conntrack where it is not loaded yet
    #[arg(long)]
    wait: bool,

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

impl Args {
    /// Ends are also what a summary counts.
    fn want_destroy(&self) -> bool {
        self.destroy || self.summary
    }

    /// The connection's own port is no filter of this tool.
    fn ports(&self) -> LongPortFilter {
        LongPortFilter {
            localport: None,
            remoteport: self.dport.clone(),
        }
    }
}

/// What is made and what is refused. fentry on a module's functions needs the
/// module's type information (Linux 5.11). Where the kernel lets nobody trace
/// its functions there is netlink, which needs no program.
const TABLE: Hook = Hook {
    name: "table",
    alternatives: &[
        Alternative::new(
            "fentry",
            &[
                "confirm_enter",
                "confirm_exit",
                "check_insert_enter",
                "check_insert_exit",
                "hash_insert",
                "alloc_exit",
                "refused_freed",
                "early_drop_enter",
                "early_drop_exit",
                "deleted",
            ],
        ),
        Alternative::new(
            "kprobe",
            &[
                "confirm_enter_kprobe",
                "confirm_exit_kprobe",
                "check_insert_enter_kprobe",
                "check_insert_exit_kprobe",
                "hash_insert_kprobe",
                "alloc_enter_kprobe",
                "alloc_exit_kprobe",
                "refused_freed",
                "early_drop_enter_kprobe",
                "early_drop_exit_kprobe",
                "deleted_kprobe",
            ],
        ),
        Alternative::new(
            "kprobe-5.10",
            &[
                "confirm_enter_kprobe",
                "confirm_exit_kprobe",
                "check_insert_enter_kprobe",
                "check_insert_exit_kprobe",
                "hash_insert_kprobe",
                "alloc_enter_kprobe",
                "alloc_exit_kprobe",
                "refused_freed",
                "early_drop_enter_kprobe",
                "early_drop_exit_kprobe",
                "deleted_kprobe_5_10",
            ],
        ),
        Alternative::new(CTNETLINK, &[]),
    ],
};

/// `-d`, `-c`: what ends.
const ENDS: Hook = Hook {
    name: "ends",
    alternatives: &[
        Alternative::new("fentry", &["destroy"]),
        Alternative::new("kprobe", &["destroy_kprobe"]),
        Alternative::new("kprobe-5.10", &["destroy_kprobe_5_10"]),
        Alternative::new(CTNETLINK, &[]),
    ],
};

/// The alternative without programs.
const CTNETLINK: &str = "ctnetlink";

pub struct Ctsnoop;

impl Tool for Ctsnoop {
    const NAME: &'static str = "ctsnoop";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("ctsnoop");
    const HOOKS: &'static [Hook] = &[TABLE, ENDS, OWNER];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        if args.interval.interval.is_some() && !args.summary {
            usage!("an interval needs -c");
        }
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        if !wait_for_table(&mut session, args.wait)? {
            return Ok(());
        }
        let mut hooks = vec![&TABLE, &OWNER];
        if args.want_destroy() {
            hooks.push(&ENDS);
        }
        let mut attached =
            session.load_with_modules::<skel::CtsnoopSkelBuilder>(&hooks, |open| {
                let ports = args.ports();
                flow_filter!(open, args.family, ports, args.net, args.general);
                if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                    rodata.filter_proto = args.proto.map_or(-1, i32::from);
                    rodata.filter_zone = args.zone.map_or(-1, i32::from);
                    rodata.want_refused = (!args.new).into();
                    rodata.remember = args.want_destroy().into();
                    rodata.summary = args.summary.into();
                    rodata.summary_by = args.by.number();
                }
                // Only what is asked for takes memory.
                if !args.want_destroy() {
                    open.maps.entries.set_max_entries(1)?;
                }
                if !args.summary {
                    open.maps.keys.set_max_entries(1)?;
                    open.maps.totals.set_max_entries(1)?;
                }
                Ok(())
            })?;

        let format = args.general.format(false);
        let table = row::table(format);
        if !args.summary {
            table.header(session.out.buffer());
        }
        let namespaces = Namespaces::new(args.net.inode());
        let trace = Trace::new(name, args.general.json, table, namespaces);
        let summary = args.summary.then(|| {
            Summary::new(
                args.by,
                args.top as usize,
                args.interval.interval,
                args.interval.count,
                format,
            )
        });
        if attached.used.iter().any(|(_, way)| *way == CTNETLINK) {
            attached.detach();
            return listen::run(&mut session, &args, trace, summary);
        }
        Ports::store(args.dport.as_ref(), &attached.skel.maps.dports)?;
        for not_an_event in programs::BYSTANDERS {
            attached.lost.without(not_an_event);
        }
        programs::run(&mut session, attached, trace, summary)
    }
}

/// How often `--wait` looks.
const WAIT: Duration = Duration::from_millis(100);

/// False: told to end meanwhile.
fn wait_for_table(session: &mut Session, wait: bool) -> Result<bool> {
    if is_loaded() {
        return Ok(true);
    }
    if !wait {
        bail!(
            "nf_conntrack is not loaded: there is no table; modprobe nf_conntrack, or wait for it with --wait"
        );
    }
    session.tell("waiting for nf_conntrack");
    while !is_loaded() {
        if session.pause(WAIT)? {
            return Ok(false);
        }
    }
    Ok(true)
}
