// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcptop`: the throughput of each TCP session, refreshed like top.

mod bytes;
mod report;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum, value_parser};
use common::btf::KernelBtf;
use common::cli::{
    CgroupLetter, ContainerMaps, Family, General, Interval, LongPortFilter, NetFilter, RunTime, id,
};
use common::filters::container_maps;
use common::hooks::{Alternative, Attached, Hook};
use common::net::Ports;
use common::origin::SOCKET_FILES;
use common::output::Output;
use common::session::{Session, Source};
use common::tcp_iter::unwalked;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, flow_filter};

use bytes::Bytes;
use report::Report;
use skel::types::{tcptop_calls, tcptop_event, tcptop_key};
use skel::{TcptopSkel, TcptopSkelBuilder};

bpf_skeleton!("tcptop");
event!(tcptop_event);
event!(tcptop_key);
event!(tcptop_calls);

/// Summarize the throughput of TCP sessions
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcptop              trace TCP send and receive by session
  tcptop -C           do not clear the screen
  tcptop -p 181       only what PID 181 sends and receives
  tcptop 5 10         print a report every 5 seconds, 10 times
  tcptop -4           only IPv4
  tcptop -s sent -r 10    the ten sessions that send most
  tcptop --calls      by system call, of whatever process makes it
  tcptop --json 10    one JSON object per line, every 10 seconds")]
pub struct Args {
    /// Do not clear the screen
    #[arg(short = 'C', long)]
    noclear: bool,

    /// Leave out the line with the time and the load averages
    #[arg(short = 'S', long)]
    nosummary: bool,

    /// Only calls of this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// Count what the processes' calls have sent and received, not what the
    /// sockets have carried
    #[arg(long)]
    calls: bool,

    /// What the sessions are sorted by
    #[arg(short, long, value_name = "BY", default_value = "all")]
    sort: Sort,

    /// No more sessions than this
    #[arg(short, long, value_name = "ROWS", value_parser = value_parser!(u32).range(1..))]
    rows: Option<u32>,

    #[command(flatten)]
    interval: Interval,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    ports: LongPortFilter,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    containers: ContainerMaps,

    #[command(flatten)]
    letter: CgroupLetter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// The classic of libbpf-tools has these names.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Sort {
    All,
    Sent,
    Received,
}

const WALK: Alternative = Alternative::new("iter", &["sock_state", "traffic_walk", SOCKET_FILES])
    .maps(&["traffic", "walked", "sock_owners", "events"]);

/// For Linux 5.10.
const WALK_HASH: Alternative = Alternative::new(
    "iter-hash",
    &["sock_state_hash", "traffic_walk_hash", SOCKET_FILES],
)
.maps(&["traffic_hash", "walked", "sock_owners", "events"]);

const CALLS_TP: Alternative =
    Alternative::new("tp_btf", &["call_send", "call_recv"]).maps(&["calls"]);

const CALLS_FEXIT: Alternative = Alternative::new("fexit", &["call_sendmsg", "call_recvmsg"])
    .optional(&["call_sendpage"])
    .maps(&["calls"]);

/// What the sockets have carried: no work per packet or call.
const TRAFFIC: Hook = Hook {
    name: "traffic",
    alternatives: &[WALK, WALK_HASH, CALLS_TP, CALLS_FEXIT],
};

/// What is asked about processes is best asked in their calls.
const CALLS: Hook = Hook {
    name: "calls",
    alternatives: &[CALLS_TP, CALLS_FEXIT, WALK, WALK_HASH],
};

pub struct Tcptop;

impl Tool for Tcptop {
    const NAME: &'static str = "tcptop";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcptop");
    const HOOKS: &'static [Hook] = &[TRAFFIC, CALLS];
    type Args = Args;

    fn run(name: &str, mut args: Args) -> Result<()> {
        args.letter.merge(&mut args.general);
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let mut attached = load(&session, &args)?;
        let bytes = Bytes::new(&mut attached, &args)?;
        let seconds = args.interval.interval.map_or(1, |time| time.as_secs());
        let report = Report::new(&args);
        report.banner(seconds, &mut session.out);
        if let Some(line) = bytes.unseen() {
            session.warn(&line);
        }
        session.ready()?;

        let mut top = Top {
            attached,
            bytes,
            report,
            seconds,
            elapsed: 0,
            reports_left: args.interval.count.unwrap_or(u64::MAX),
        };
        session.follow(&mut top)?;
        let mut out = std::mem::take(&mut session.out);
        if top.reports_left > 0 {
            // Of a part of an interval.
            top.reports_left = 0;
            top.report(&mut out)?;
        }
        session.report_lost(top.lost(), &mut out)?;
        let bss = top.attached.skel.maps.bss_data.as_ref();
        if let Some(line) = bss.and_then(|bss| unwalked(bss.unwalked)) {
            session.warn(&line);
        }
        Ok(())
    }
}

fn load(session: &Session, args: &Args) -> Result<Attached<TcptopSkel<'static>>> {
    let of_tasks = args.containers.cgroupmap.is_some() || args.containers.mntnsmap.is_some();
    let hook = if args.calls || args.pid.is_some() || of_tasks {
        &CALLS
    } else {
        &TRAFFIC
    };
    let params = KernelBtf::load()?.function_params("tcp_recvmsg");
    let attached = session.load::<TcptopSkelBuilder>(&[hook], |open| {
        flow_filter!(open, args.family, args.ports, args.net, args.general);
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.filter_tgid = args.pid.unwrap_or(0);
            rodata.filter_cgroupset = args.containers.cgroupmap.is_some().into();
            rodata.filter_mntnsset = args.containers.mntnsmap.is_some().into();
            rodata.recvmsg_params = params.unwrap_or_default() as u8;
            rodata.want_all = args.general.json.into();
        }
        container_maps(
            &args.containers,
            &mut open.maps.cgroupset,
            &mut open.maps.mntnsset,
        )
    })?;
    Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
    Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;
    if args.calls || of_tasks {
        if let Some((_, name)) = attached
            .used
            .iter()
            .find(|(_, name)| name.starts_with("iter"))
        {
            bail!(
                "--calls, --cgroupmap, --mntnsmap: this kernel lets nobody trace the calls ({name} is all there is)"
            );
        }
    }
    Ok(attached)
}

/// A report every so many seconds.
struct Top {
    attached: Attached<TcptopSkel<'static>>,
    bytes: Bytes,
    report: Report,
    seconds: u64,
    elapsed: u64,
    reports_left: u64,
}

impl Top {
    fn report(&mut self, out: &mut Output) -> Result<()> {
        if self.reports_left == 0 {
            self.bytes.is_last();
        }
        let rows = self.bytes.take(&self.attached.skel)?;
        self.report.write(rows, out.buffer());
        Ok(())
    }
}

impl Source for Top {
    fn drain(&mut self, _: &mut Output) -> Result<usize> {
        self.bytes.drain()
    }

    fn tick(&mut self, out: &mut Output) -> Result<bool> {
        self.elapsed += 1;
        if self.elapsed % self.seconds != 0 {
            return Ok(true);
        }
        self.reports_left -= 1;
        self.report(out)?;
        Ok(self.reports_left > 0)
    }

    fn lost(&mut self) -> u64 {
        self.attached.lost.take()
    }
}
