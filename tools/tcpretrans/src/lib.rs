// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpretrans`: one line per TCP retransmit, or a count per flow.

mod counts;
mod row;

use anyhow::Result;
use clap::Parser;
use common::btf::KernelBtf;
use common::cli::{Family, General, NetFilter, PortFilter, RunTime};
use common::columns::Format;
use common::event::decode;
use common::flow::Network;
use common::hooks::{Alternative, Attached, Hook};
use common::net::Ports;
use common::origin::{OWNER, Owners, SOCKET_FILES};
use common::session::Session;
use common::symbols::{KernelSymbols, write_stack};
use common::time::EventClock;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, flow, flow_filter, origin};

use row::Row;
use skel::types::{tcpretrans_count, tcpretrans_event, tcpretrans_flow};
use skel::{TcpretransSkel, TcpretransSkelBuilder};

bpf_skeleton!("tcpretrans");
event!(tcpretrans_event);
event!(tcpretrans_flow);
event!(tcpretrans_count);

/// Trace TCP retransmits
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcpretrans                  trace TCP retransmits
  tcpretrans -l               include tail loss probe attempts
  tcpretrans -c               count occurrences per flow
  tcpretrans -6               trace IPv6 family only
  tcpretrans -D 443           only trace remote port 443
  tcpretrans -i 10.0.0.0/8    only flows with an end in this network
  tcpretrans --synack         include SYN-ACKs that a server sends again
  tcpretrans --owner          with the process that owns the socket
  tcpretrans --stack          with the kernel stack
  tcpretrans --json           one JSON object per line")]
pub struct Args {
    /// Include a column with the TCP sequence number
    #[arg(short, long)]
    sequence: bool,

    /// Include tail loss probe attempts (type L)
    #[arg(short, long)]
    lossprobe: bool,

    /// Count the retransmits of each flow, and print when interrupted
    #[arg(short, long)]
    count: bool,

    /// Include SYN-ACKs that are sent again (type S)
    #[arg(long)]
    synack: bool,

    /// Include attempts that sent nothing (type F)
    #[arg(long, conflicts_with = "count")]
    unsent: bool,

    /// Include the process that owns the socket
    #[arg(long)]
    owner: bool,

    /// Print the kernel stack of each event
    #[arg(long, conflicts_with = "count")]
    stack: bool,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    ports: PortFilter,

    /// As --addr
    #[arg(short = 'i', value_name = "ADDR[/LEN]", value_parser = Network::parse, conflicts_with = "addr")]
    either_end: Option<Network>,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// Every kernel that we support has this tracepoint, and lets it be used.
const RETRANSMIT: Hook = Hook {
    name: "retransmit",
    alternatives: &[Alternative::new("tp_btf", &["retransmit"])],
};

/// Before Linux 6.17 the tracepoint keeps silent on retransmits that fail.
const REFUSED: Hook = Hook {
    name: "refused",
    alternatives: &[
        Alternative::new("fexit", &["refused"]),
        Alternative::new("none", &[]),
    ],
};

/// `-l`. Before `retransmit`: a probe that retransmits is first an L, then an R.
const PROBE: Hook = Hook {
    name: "probe",
    alternatives: &[
        Alternative::new("fentry", &["loss_probe_fentry"]),
        Alternative::new("kprobe", &["loss_probe_kprobe"]),
        Alternative::new("state", &["loss_probe_state"]),
    ],
};

/// `--synack`
const SYNACK: Hook = Hook {
    name: "synack",
    alternatives: &[Alternative::new("tp_btf", &["synack"])],
};

pub struct Tcpretrans;

impl Tool for Tcpretrans {
    const NAME: &'static str = "tcpretrans";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcpretrans");
    const HOOKS: &'static [Hook] = &[PROBE, RETRANSMIT, REFUSED, SYNACK, OWNER];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let mut attached = load(&session, &args)?;
        let owners = Owners::new(attached.take_link(SOCKET_FILES))?;
        if args.general.format(false) == Format::Text {
            session
                .out
                .line("Tracing retransmits ... Hit Ctrl-C to end");
        }
        if args.count {
            counts::run(&mut session, attached, owners, &args)
        } else {
            trace(&mut session, attached, owners, &args)
        }
    }
}

fn load(session: &Session, args: &Args) -> Result<Attached<TcpretransSkel<'static>>> {
    let want_origin = args.general.json || args.owner;
    let net = NetFilter {
        addr: args.net.addr.or(args.either_end),
        ..args.net
    };
    let mut hooks = Vec::new();
    if args.lossprobe {
        hooks.push(&PROBE);
    }
    hooks.push(&RETRANSMIT);
    if KernelBtf::load()?.tracepoint_params("tcp_retransmit_skb") == Some(2) {
        hooks.push(&REFUSED);
    }
    if args.synack {
        hooks.push(&SYNACK);
    }
    if want_origin {
        hooks.push(&OWNER);
    }
    let mut attached = session.load::<TcpretransSkelBuilder>(&hooks, |open| {
        flow_filter!(open, args.family, args.ports, net, args.general);
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.counting = args.count.into();
            rodata.want_origin = want_origin.into();
            rodata.want_stack = args.stack.into();
            rodata.want_unsent = args.unsent.into();
        }
        open.maps.counts.set_autocreate(args.count)?;
        Ok(())
    })?;
    Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
    Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;
    attached.lost.without("note_owner");
    attached.lost.without(SOCKET_FILES);
    if attached.used.contains(&("probe", "state")) {
        session.warn(
            "-l: this kernel does not let tcp_send_loss_probe be traced: \
             probes that send new data or nothing are not seen",
        );
    }
    if attached.used.contains(&("refused", "none")) {
        session.tell("retransmits that this host itself drops are not seen");
    }
    Ok(attached)
}

fn trace(
    session: &mut Session,
    attached: Attached<TcpretransSkel<'static>>,
    mut owners: Owners,
    args: &Args,
) -> Result<()> {
    let format = args.general.format(false);
    let table = row::table(args, format);
    table.header(session.out.buffer());
    session.ready()?;

    let mut symbols = KernelSymbols::default();
    let mut clock = EventClock::now();
    session.stream(
        attached,
        |skel| &skel.maps.events,
        |record, out| {
            let (event, tail) = decode::<tcpretrans_event>(record)?;
            let row = Row {
                event,
                flow: flow!(event.flow),
                known: owners.complete(origin!(event.origin))?,
                clock: clock.follow(event.ts_ns),
                stack: symbols.stack(tail),
            };
            table.row(&row, out);
            if args.stack && format == Format::Text {
                write_stack(&row.stack, out);
            }
            Ok(())
        },
    )
}
