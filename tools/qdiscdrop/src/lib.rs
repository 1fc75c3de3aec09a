// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qdiscdrop`: one line per packet that a queueing discipline drops.

mod counters;
mod kernel;
mod row;
mod summary;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, value_parser};
use common::btf::KernelBtf;
use common::cli::{Family, General, NetFilter, PortFilter, RunTime, seconds};
use common::columns::Format;
use common::event::decode;
use common::hooks::{Alternative, Hook};
use common::net::{Ports, parse_protocol};
use common::origin::{OWNER, Owners, SOCKET_FILES};
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, flow_filter};
use libbpf_rs::{MapHandle, RingBufferBuilder};

use counters::Comparison;
use kernel::Kernel;
use row::Rows;
use skel::OpenQdiscdropSkel;
use skel::types::{qdiscdrop_event, qdiscdrop_key, qdiscdrop_place, qdiscdrop_sum};
use summary::{By, Summary};

bpf_skeleton!("qdiscdrop");
event!(qdiscdrop_event);
event!(qdiscdrop_key);
event!(qdiscdrop_place);
event!(qdiscdrop_sum);

/// Trace packets that queueing disciplines (tc) drop
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  qdiscdrop                   a line per dropped packet
  qdiscdrop -b                with backlog and limit of the qdisc
  qdiscdrop -i eth0 -P udp    only UDP on eth0
  qdiscdrop -D 443            only packets to or from remote port 443
  qdiscdrop --stack           with the kernel stack of each drop
  qdiscdrop -c 1              every second, the flows with the most drops
  qdiscdrop -c --by qdisc     drops per qdisc and class, until Ctrl-C
  qdiscdrop -c 5 12 --top 3   the three worst flows, every 5 seconds for a minute
  qdiscdrop --json            one JSON object per line")]
pub struct Args {
    /// With packets and bytes in the qdisc at the drop, and its limit
    #[arg(short, long, conflicts_with = "summary")]
    backlog: bool,

    /// Only this network device
    #[arg(short, long, value_name = "DEV", value_parser = device)]
    interface: Option<String>,

    /// Only this IP protocol: a name such as udp, or a number
    #[arg(short = 'P', long, value_parser = parse_protocol)]
    protocol: Option<u8>,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    ports: PortFilter,

    #[command(flatten)]
    net: NetFilter,

    /// With the kernel stack of each drop
    #[arg(long, conflicts_with = "summary")]
    stack: bool,

    /// Count instead: a report per interval
    #[arg(short = 'c', long)]
    summary: bool,

    /// What -c counts by
    #[arg(long, value_enum, default_value_t = By::Flow, requires = "summary")]
    by: By,

    /// How many lines a report of -c has
    #[arg(long, value_name = "N", default_value_t = 20, requires = "summary",
          value_parser = value_parser!(u32).range(1..))]
    top: u32,

    /// With -c: seconds between reports
    #[arg(value_name = "interval", value_parser = seconds, requires = "summary")]
    interval: Option<Duration>,

    /// With -c: number of reports
    #[arg(value_name = "count", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

impl Args {
    /// Whether some of the drops that are seen are not shown.
    fn hides(&self) -> bool {
        self.protocol.is_some()
            || self.family.number() != 0
            || self.ports.localport.is_some()
            || self.ports.remoteport.is_some()
            || self.net.addr.is_some()
            || self.general.cgroup.is_some()
    }
}

fn device(name: &str) -> Result<String, String> {
    match name.len() {
        1..=15 => Ok(name.to_owned()),
        _ => Err("expected the name of a device, of 1 to 15 bytes".into()),
    }
}

/// The kernel says why it dropped a packet.
const REASON: Hook = Hook {
    name: "drop",
    alternatives: &[Alternative::new("reason", &["drop_reason"])],
};

/// Linux 5.10 does not. On the way in, the function that frees what a filter
/// refuses frees other packets as well: so the filters' verdict is needed.
const LOCATION: Hook = Hook {
    name: "drop",
    alternatives: &[
        Alternative::new("location", &["drop_location", "refused_ingress"]),
        Alternative::new("location-5.15", &["drop_location", "refused"]),
        Alternative::new("location-egress", &["drop_location"]),
    ],
};

/// Whether the action police has dropped a packet, or another action. A program
/// of fexit can get at the actions since Linux 5.17 (f92c1e183604).
const POLICE: Hook = Hook {
    name: "police",
    alternatives: &[
        Alternative::new("fexit", &["policed"]),
        Alternative::new("kprobe", &["actions_begin", "actions_end"]),
        Alternative::new("none", &[]),
    ],
};

/// The code of qdiscs that are loaded later.
const MODULES: Hook = Hook {
    name: "modules",
    alternatives: &[
        Alternative::new("tp_btf", &["module_loaded"]),
        Alternative::new("none", &[]),
    ],
};

pub struct Qdiscdrop;

impl Tool for Qdiscdrop {
    const NAME: &'static str = "qdiscdrop";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("qdiscdrop");
    const HOOKS: &'static [Hook] = &[REASON, LOCATION, POLICE, MODULES, OWNER];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        if args.count.is_some() && args.interval.is_none() {
            bail!("a count needs an interval");
        }
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let mut kernel = Kernel::read(&KernelBtf::load()?)?;
        if let Some(obstacle) = kernel.obstacle() {
            session.warn(obstacle);
        }
        let drop: &'static Hook = if kernel.tells_reasons {
            &REASON
        } else {
            &LOCATION
        };
        let mut attached = session
            .load::<skel::QdiscdropSkelBuilder>(&[drop, &POLICE, &MODULES, &OWNER], |open| {
                configure(open, &args, &kernel)
            })?;
        Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;
        for other in ["note_owner", SOCKET_FILES, "module_loaded"] {
            attached.lost.without(other);
        }
        let owners = Owners::new(attached.take_link(SOCKET_FILES))?;
        let mut comparison = Comparison::begin(&args, &attached.skel.maps)?;
        if args.summary {
            let mut summary = Summary::new(&args, owners, kernel.reasons);
            session.ready()?;
            return session.intervals(
                attached,
                args.interval,
                args.count,
                |skel: &skel::QdiscdropSkel<'_>, out| {
                    summary.report(&skel.maps, out)?;
                    comparison.tell(name, out)
                },
            );
        }

        let mut rows = Rows::new(&args, owners, &mut kernel);
        rows.header(session.out.buffer());
        session.ready()?;
        // Attached until the qdiscs' counters are read.
        let link = attached
            .take_link("drop_reason")
            .or_else(|| attached.take_link("drop_location"));
        let events = MapHandle::try_from(&attached.skel.maps.events).context("map events")?;
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, tail) = decode::<qdiscdrop_event>(record)?;
                rows.write(event, tail, out)
            },
        )?;
        let mut counters = Vec::new();
        comparison.tell(name, &mut counters)?;
        std::mem::drop(link);
        // What has come meanwhile is among what was traced.
        drain(&events, |event, tail| {
            rows.write(event, tail, session.out.buffer())
        })?;
        session.out.buffer().extend_from_slice(&counters);
        session.out.flush()
    }
}

/// The drops that are left in the ring.
fn drain(
    events: &MapHandle,
    mut write: impl FnMut(qdiscdrop_event, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut result = Ok(());
    let mut builder = RingBufferBuilder::new();
    builder.add(events, |record| {
        let written =
            decode::<qdiscdrop_event>(record).and_then(|(event, tail)| write(event, tail));
        match written {
            Ok(()) => 0,
            Err(error) => {
                result = Err(error);
                -1
            }
        }
    })?;
    let ring = builder.build().context("map the ring buffer")?;
    ring.consume_raw_n(RING_REST);
    std::mem::drop(ring);
    result
}

/// More may come than can be written.
const RING_REST: usize = 65536;

/// `tbf 8001:`; with the class that dropped `htb 1: 1:10`.
fn qdisc_text(qdisc: &skel::types::qdisc) -> String {
    let mut text = format!("{} {}", row::text(&qdisc.kind), row::handle(qdisc.handle));
    if qdisc.class != 0 {
        text += &format!(" {}", row::handle(qdisc.class));
    }
    text
}

fn configure(open: &mut OpenQdiscdropSkel<'_>, args: &Args, kernel: &Kernel) -> Result<()> {
    flow_filter!(open, args.family, args.ports, args.net, args.general);
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        if let Some(name) = &args.interface {
            rodata.filter_devs = 1;
            for (to, from) in rodata.filter_dev.iter_mut().zip(name.bytes()) {
                *to = from as _;
            }
        }
        if let Some(protocol) = args.protocol {
            rodata.filter_protos = 1;
            rodata.filter_proto = protocol;
        }
        rodata.want_backlog = args.backlog.into();
        rodata.want_stack = args.stack.into();
        rodata.by = if args.summary { args.by.number() } else { 0 };
        rodata.kfree_skb_params = kernel.params;
        rodata.qdisc_reasons = kernel.qdisc_reasons;
        rodata.filter_reasons = kernel.filter_reasons;
        rodata.reason_tc_egress = kernel.tc_egress;
        rodata.reason_tc_ingress = kernel.tc_ingress;
        rodata.reason_not_specified = kernel.not_specified;
        rodata.reason_burst = kernel.burst;
        rodata.reason_subsystem = kernel.subsystem;
        rodata.reason_congested = kernel.congested;
        rodata.reason_l4s_step = kernel.l4s_step;
        for (parts, text) in [
            (&mut rodata.text_list, &kernel.list),
            (&mut rodata.text_xmit, &kernel.xmit),
            (&mut rodata.text_free, &kernel.free),
            (&mut rodata.text_receive, &kernel.receive),
        ] {
            for (range, text) in parts.iter_mut().zip(text) {
                range.start = text.start;
                range.end = text.end;
            }
        }
    }
    if let Some(bss) = open.maps.bss_data.as_deref_mut() {
        for (range, text) in bss.text_qdiscs.iter_mut().zip(&kernel.qdiscs) {
            range.start = text.start;
            range.end = text.end;
            bss.text_qdiscs_used += 1;
        }
    }
    // Only what is used takes memory.
    if !args.summary {
        open.maps.sums.set_max_entries(1)?;
    }
    Ok(())
}

impl Args {
    fn format(&self) -> Format {
        self.general.format(false)
    }
}
