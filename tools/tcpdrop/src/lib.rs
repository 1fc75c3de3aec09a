// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpdrop`: one entry per TCP packet that the kernel drops: its ends, why, and where
//! in the kernel.

mod counts;
mod reasons;
mod row;

use anyhow::Result;
use clap::Parser;
use common::btf::KernelBtf;
use common::cli::{Family, General, NetFilter, PortFilter, RunTime};
use common::columns::Format;
use common::drop_reason::kfree_skb_params;
use common::event::decode;
use common::hooks::{Alternative, Hook};
use common::net::Ports;
use common::origin::{OWNER, Owners, SOCKET_FILES};
use common::probe::page_size;
use common::session::Session;
use common::symbols::{KernelSymbols, function_range, write_stack};
use common::time::EventClock;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, flow, flow_filter, origin};

use counts::Counts;
use reasons::Reasons;
use row::Row;
use skel::types::{tcpdrop_event, tcpdrop_key};
use skel::{TcpdropSkel, TcpdropSkelBuilder};

bpf_skeleton!("tcpdrop");
event!(tcpdrop_event);
event!(tcpdrop_key);

/// Trace TCP packets that the kernel drops, with the reason and the kernel stack
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcpdrop                            trace the kernel's TCP drops
  tcpdrop -4                         trace IPv4 only
  tcpdrop -6                         trace IPv6 only
  tcpdrop --netns-id 4026531833      only this network namespace
  tcpdrop --pid-netns 181            only the network namespace of process 181
  tcpdrop -L 80,443                  only these local ports
  tcpdrop --addr 192.0.2.0/24        only to and from this network
  tcpdrop --reason NETFILTER_DROP    only what a firewall drops
  tcpdrop --exclude-reason NO_SOCKET  all but packets to closed ports
  tcpdrop -c --duration 60           count for a minute, by reason and place
  tcpdrop --owner                    with the process that owns the socket
  tcpdrop --json                     one JSON object per line")]
pub struct Args {
    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    ports: PortFilter,

    #[command(flatten)]
    net: NetFilter,

    /// Only drops for these reasons, as a comma list
    #[arg(long, value_name = "NAMES")]
    reason: Option<String>,

    /// All but drops for these reasons, as a comma list
    #[arg(long, value_name = "NAMES")]
    exclude_reason: Option<String>,

    /// Count drops by reason and place; print the counts at the end
    #[arg(short, long)]
    count: bool,

    /// The process that owns the socket, beside the one on the CPU
    #[arg(long, conflicts_with = "count")]
    owner: bool,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// tp_btf needs no tracefs and works without trampolines and kprobes.
const DROP: Hook = Hook {
    name: "drop",
    alternatives: &[Alternative::new("tp_btf", &["kfree_skb"])],
};

/// SYNs that a full accept queue turns away, which are in no trace of drops.
const LISTEN: Hook = Hook {
    name: "listen",
    alternatives: &[
        Alternative::new("fentry", &["conn_request"]),
        Alternative::new("kprobe", &["conn_request_kprobe"]),
        Alternative::new("tp_btf", &["consume_skb"]),
    ],
};

/// What TCP itself throws away, on kernels that give no reasons; in the others
/// the first hook sees it.
const TCP: Hook = Hook {
    name: "tcp",
    alternatives: &[
        Alternative::new("fentry", &["tcp_drop"]),
        Alternative::new("kprobe", &["tcp_drop_kprobe"]),
        Alternative::new("none", &[]),
    ],
};

/// With its stack, a drop takes more than a kilobyte.
const RING_BYTES: u32 = 16 << 20;

pub struct Tcpdrop;

impl Tool for Tcpdrop {
    const NAME: &'static str = "tcpdrop";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcpdrop");
    const HOOKS: &'static [Hook] = &[DROP, LISTEN, TCP, OWNER];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let btf = KernelBtf::load()?;
        let mut reasons = Reasons::of_kernel(&btf);
        let wanted = reasons.wanted(args.reason.as_deref(), args.exclude_reason.as_deref())?;

        let mut hooks = vec![&DROP];
        if wanted.has(reasons.overflow) {
            hooks.push(&LISTEN);
        }
        if !reasons.exist() {
            hooks.push(&TCP);
        }
        if !args.count {
            hooks.push(&OWNER);
        }
        let consume_skb_params = btf.tracepoint_params("consume_skb").unwrap_or(1) as u8;
        // Only for the last way to see a SYN that is turned away.
        let state_process = function_range("tcp_rcv_state_process");
        let mut attached = session.load::<TcpdropSkelBuilder>(&hooks, |open| {
            flow_filter!(open, args.family, args.ports, args.net, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.kfree_skb_params = kfree_skb_params(&btf);
                rodata.consume_skb_params = consume_skb_params;
                (rodata.state_process, rodata.state_process_end) = state_process.unwrap_or((0, 0));
                rodata.reason_overflow = reasons.overflow;
                rodata.reason_purge = reasons.purge;
                rodata.filter_reasons = wanted.is_filter().into();
                rodata.wanted_reasons = wanted.bits();
                rodata.counting = args.count.into();
                rodata.want_stack = (!args.count).into();
                rodata.ring_wakeup_bytes = u64::from(RING_BYTES) / 8;
            }
            open.maps.events.set_max_entries(match args.count {
                true => page_size(),
                false => RING_BYTES,
            })?;
            open.maps.counts.set_autocreate(args.count)?;
            Ok(())
        })?;
        Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;
        attached.lost.without("note_owner");
        attached.lost.without(SOCKET_FILES);
        if attached.used.contains(&(LISTEN.name, "tp_btf"))
            && (consume_skb_params < 2 || state_process.is_none())
        {
            session.warn(
                "SYNs that a full accept queue drops are not seen: \
                 this kernel allows neither fentry nor kprobes, and tells no function's address",
            );
        }

        if attached.used.contains(&(TCP.name, "none")) {
            session.warn(
                "what TCP itself drops (bad flags, old data, no room) is not seen: \
                 this kernel has no tcp_drop() that can be traced, and gives no reasons",
            );
        }

        let mut symbols = KernelSymbols::default();
        if args.count {
            session.ready()?;
            let counts = Counts {
                format: args.general.format(false),
            };
            return session.intervals(attached, None, None, |skel: &TcpdropSkel<'_>, out| {
                counts.write(&skel.maps.counts, &mut reasons, &mut symbols, out)
            });
        }

        // Now rather than when the first packets are dropped.
        symbols.name(0);
        let mut owners = Owners::new(attached.take_link(SOCKET_FILES))?;
        let table = row::table(args.general.format(false), args.owner);
        table.header(session.out.buffer());
        session.ready()?;

        let mut clock = EventClock::now();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, tail) = decode::<tcpdrop_event>(record)?;
                let location = reasons::location(&mut symbols, event.location);
                let row = Row {
                    reason: reasons.shown(event.reason, &location),
                    location,
                    stack: symbols.stack(tail),
                    flow: flow!(event.flow),
                    known: owners.complete(origin!(event.origin))?,
                    clock: clock.follow(event.ts_ns),
                    event,
                };
                table.row(&row, out);
                if table.format() == Format::Text {
                    write_stack(&row.stack, out);
                }
                Ok(())
            },
        )
    }
}
