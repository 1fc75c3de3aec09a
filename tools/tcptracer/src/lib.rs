// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcptracer`: one line per TCP connection that is established, accepted or
//! closed.

use std::net::IpAddr;

use anyhow::Result;
use clap::{Parser, value_parser};
use common::accept::ACCEPT;
use common::cli::{
    ContainerMaps, Family, General, LongPortFilter, NetFilter, RunTime, TaskFilter, id,
};
use common::columns::{Format, Table, Value, column, json_field};
use common::flow::Flow;
use common::hooks::{Alternative, Hook};
use common::net::Ports;
use common::origin::{HasOrigin, Known, Origin, Owners, add_place_fields};
use common::session::Session;
use common::time::{EventClock, SinceFirst};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, event::decode, flow, flow_filter, task_filter};

use skel::types::{tcptracer_event, tcptracer_kind};

bpf_skeleton!("tcptracer");
event!(tcptracer_event);

/// Trace TCP connections: connect(), accept(), close()
#[derive(Parser, Debug)]
// As BCC and libbpf-tools have them; --verbose is about the rows.
#[command(mut_arg("verbose", |arg| arg.short(None).long("hooks")))]
#[command(mut_arg("netns_id", |arg| arg.short('N').long("netns").alias("netns-id")))]
#[command(mut_arg("cgroupmap", |arg| arg.short('C')))]
#[command(mut_arg("mntnsmap", |arg| arg.short('M')))]
#[command(after_help = "\
Examples:
  tcptracer               trace all TCP connections
  tcptracer -t            include timestamps
  tcptracer -v            long names of what happens, and the network namespace
  tcptracer -p 181        only trace PID 181
  tcptracer -N INODE      only trace this network namespace
  tcptracer -4            only trace IPv4
  tcptracer -U            include UID
  tcptracer -u 1000       only trace UID 1000
  tcptracer --cgroupmap MAP    only trace cgroups in this BPF map
  tcptracer --mntnsmap MAP     only trace mount namespaces in this BPF map
  tcptracer --json        one JSON object per line")]
pub struct Args {
    /// Include the time since the first event
    #[arg(short, long)]
    timestamp: bool,

    /// Long names of what happens, nanoseconds, and a column of network
    /// namespaces
    #[arg(short = 'v', long = "verbose")]
    long_rows: bool,

    /// Include the user id
    #[arg(short = 'U', long)]
    print_uid: bool,

    /// Only this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// Only this user id
    #[arg(short, long, value_parser = value_parser!(u32).range(..u32::MAX as i64))]
    uid: Option<u32>,

    #[command(flatten)]
    ports: LongPortFilter,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    containers: ContainerMaps,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// Socket storage is open to tracing programs since Linux 5.11 (8e4597c627fb).
const CONNECT: Hook = Hook {
    name: "connect",
    alternatives: &[
        Alternative::new("tp_btf", &["set_connected"]).maps(&["connecting"]),
        Alternative::new("tp_btf-hash", &["set_connected_hash"]).maps(&["connecting_hash"]),
    ],
};

/// The function itself where it can be traced. Without it a close is known by
/// what it does to the socket: see the BPF program.
const CLOSE: Hook = Hook {
    name: "close",
    alternatives: &[
        Alternative::new("fentry", &["fentry_close"]),
        Alternative::new("kprobe", &["kprobe_close"]),
        Alternative::new("tp_btf", &["set_closed", "destroyed"]).maps(&["closed"]),
    ],
};

pub struct Tcptracer;

impl Tool for Tcptracer {
    const NAME: &'static str = "tcptracer";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcptracer");
    // Those that a kernel may refuse come first: they are found sooner.
    const HOOKS: &'static [Hook] = &[ACCEPT, CLOSE, CONNECT];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let format = args.general.format(false);
        let tasks = TaskFilter {
            pid: args.pid,
            tid: None,
            uid: args.uid,
        };
        let hooks = [&ACCEPT, &CLOSE, &CONNECT];
        let attached = session.load::<skel::TcptracerSkelBuilder>(&hooks, |open| {
            flow_filter!(open, args.family, args.ports, args.net, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.want_place = (format == Format::Json).into();
            }
            task_filter!(open, tasks, args.general, args.containers)
        })?;
        Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;

        if format == Format::Text {
            session
                .out
                .line("Tracing TCP established connections. Ctrl-C to end.");
        }
        let table = table(&args, format);
        header(&table, session.out.buffer(), &args);
        session.ready()?;

        let mut owners = Owners::new(None)?;
        let mut since_first = SinceFirst::default();
        let mut clock = EventClock::now();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, _) = decode::<tcptracer_event>(record)?;
                let origin = Origin {
                    cookie: event.cookie,
                    cgroup_id: event.actor.cgroup_id,
                    netns: event.netns,
                    ..Origin::default()
                };
                let row = Row {
                    event,
                    flow: flow!(event.flow),
                    known: owners.complete(origin)?,
                    since_ns: since_first.ns(event.ts_ns),
                    clock: clock.follow(event.ts_ns),
                };
                table.row(&row, out);
                Ok(())
            },
        )
    }
}

/// As in BCC, where the last column of a `-v` header is one wider than its rows
/// if no other follows.
fn header(table: &Table<Row>, out: &mut Vec<u8>, args: &Args) {
    table.header(out);
    if args.long_rows && !shows_netns(args) && table.format() == Format::Text {
        out.pop();
        out.extend_from_slice(b" \n");
    }
}

/// Of one namespace alone there is no column.
fn shows_netns(args: &Args) -> bool {
    args.long_rows && args.net.inode() == 0
}

/// A connection that was established, accepted or closed.
struct Row {
    event: tcptracer_event,
    flow: Flow,
    known: Known,
    since_ns: u64,
    clock: EventClock,
}

impl HasOrigin for Row {
    fn known(&self) -> &Known {
        &self.known
    }
}

impl Row {
    /// As BCC has it, short and long.
    fn names(&self) -> (&'static str, &'static str) {
        match tcptracer_kind(self.event.kind) {
            tcptracer_kind::TCPTRACER_CONNECT => ("C", "connect"),
            tcptracer_kind::TCPTRACER_ACCEPT => ("A", "accept"),
            tcptracer_kind::TCPTRACER_CLOSE => ("X", "close"),
            _ => ("U", "unknown"),
        }
    }
}

/// IPv6 in brackets, as in BCC.
fn address(addr: IpAddr) -> Value<'static> {
    match addr {
        IpAddr::V4(_) => Value::Ip(addr),
        IpAddr::V6(_) => format!("[{addr}]").into(),
    }
}

fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table.add(json_field("time", |row: &Row| {
        row.clock.utc(row.event.ts_ns).into()
    }));
    if args.timestamp && args.long_rows {
        let nanoseconds = column("TIME(ns)", |row: &Row| Value::Uint(row.since_ns));
        table.add(nanoseconds.left(14).separator(""));
    } else if args.timestamp {
        let seconds = |row: &Row| Value::Fixed {
            value: row.since_ns as f64 / 1e9,
            decimals: 3,
        };
        table.add(column("TIME(s)", seconds).left(9).separator(""));
    }
    let uid = column("UID", |row: &Row| Value::Uint(row.event.actor.uid.into()))
        .left(6)
        .separator("")
        .key("uid");
    let kind = if args.long_rows {
        column("TYPE", |row: &Row| row.names().1.into()).left(12)
    } else {
        column("T", |row: &Row| row.names().0.into()).left(2)
    };
    table
        .add(if args.print_uid { uid } else { uid.no_text() })
        .add(kind.json("type", |row| row.names().1.into()))
        .add(
            column("PID", |row: &Row| Value::Uint(row.event.actor.tgid.into()))
                .left(6)
                .key("pid"),
        )
        .add(
            column("COMM", |row: &Row| Value::Name(&row.event.actor.comm))
                .left(16)
                .key("comm"),
        )
        .add(
            column("IP", |row: &Row| Value::Uint(row.flow.ip_version()))
                .left(2)
                .key("ip"),
        )
        .add(
            column("SADDR", |row: &Row| address(row.flow.saddr))
                .left(16)
                .json("saddr", |row| Value::Ip(row.flow.saddr)),
        )
        .add(
            column("DADDR", |row: &Row| address(row.flow.daddr))
                .left(16)
                .json("daddr", |row| Value::Ip(row.flow.daddr)),
        )
        .add(
            column("SPORT", |row: &Row| Value::Uint(row.flow.sport.into()))
                .left(6)
                .key("sport"),
        )
        .add(
            column("DPORT", |row: &Row| Value::Uint(row.flow.dport.into()))
                .left(6)
                .key("dport"),
        );
    if shows_netns(args) {
        table.add(column("NETNS", |row: &Row| Value::Uint(row.event.netns.into())).left(8));
    }
    add_place_fields(&mut table);
    table
}
