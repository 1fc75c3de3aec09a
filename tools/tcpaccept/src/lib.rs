// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpaccept`: one line per TCP connection that a process accepts.

use anyhow::Result;
use clap::{Parser, value_parser};
use common::accept::ACCEPT;
use common::cli::{
    ContainerMaps, Family, General, LongPortFilter, NetFilter, RunTime, TaskFilter, id,
};
use common::columns::{Format, Table, Value, column, json_field};
use common::flow::Flow;
use common::hooks::Hook;
use common::net::Ports;
use common::origin::{HasOrigin, Known, Origin, Owners, add_place_fields};
use common::session::Session;
use common::time::{EventClock, SinceFirst, wall_clock};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, event::decode, flow, flow_filter, task_filter};

use skel::types::tcpaccept_event;

bpf_skeleton!("tcpaccept");
event!(tcpaccept_event);

/// Trace TCP passive connections: accept()
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcpaccept               trace all TCP accept()s
  tcpaccept -t            include timestamps
  tcpaccept -T            include the time of day (HH:MM:SS)
  tcpaccept -P 80,81      only trace ports 80 and 81
  tcpaccept -p 181        only trace PID 181
  tcpaccept -4            only trace IPv4
  tcpaccept -6            only trace IPv6
  tcpaccept --cgroupmap MAP    only trace cgroups in this BPF map
  tcpaccept --mntnsmap MAP     only trace mount namespaces in this BPF map
  tcpaccept --json        one JSON object per line")]
pub struct Args {
    /// Include the time of day (HH:MM:SS)
    #[arg(short = 'T', long)]
    time: bool,

    /// Include the seconds since the first event
    #[arg(short, long)]
    timestamp: bool,

    /// Only this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// Only this user id
    #[arg(long, value_parser = value_parser!(u32).range(..u32::MAX as i64))]
    uid: Option<u32>,

    /// Only these local ports, as a comma list
    #[arg(short = 'P', long, value_name = "PORTS", value_parser = Ports::parse)]
    #[arg(alias = "localport")]
    port: Option<Ports>,

    /// Only these remote ports, as a comma list
    #[arg(long, value_name = "PORTS", value_parser = Ports::parse)]
    remoteport: Option<Ports>,

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

pub struct Tcpaccept;

impl Tool for Tcpaccept {
    const NAME: &'static str = "tcpaccept";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcpaccept");
    const HOOKS: &'static [Hook] = &[ACCEPT];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let format = args.general.format(false);
        let tasks = TaskFilter {
            pid: args.pid,
            tid: None,
            uid: args.uid,
        };
        let ports = LongPortFilter {
            localport: args.port.clone(),
            remoteport: args.remoteport.clone(),
        };
        let attached = session.load::<skel::TcpacceptSkelBuilder>(&[&ACCEPT], |open| {
            flow_filter!(open, args.family, ports, args.net, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.want_place = (format == Format::Json).into();
            }
            task_filter!(open, tasks, args.general, args.containers)
        })?;
        Ports::store(ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(ports.remoteport.as_ref(), &attached.skel.maps.dports)?;

        let table = table(&args, format);
        table.header(session.out.buffer());
        session.ready()?;

        let mut owners = Owners::new(None)?;
        let mut since_first = SinceFirst::default();
        let mut clock = EventClock::now();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, _) = decode::<tcpaccept_event>(record)?;
                let origin = Origin {
                    cookie: event.cookie,
                    cgroup_id: event.cgroup_id,
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

/// A connection that was accepted.
struct Row {
    event: tcpaccept_event,
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

fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    if args.time {
        table.add(
            column("TIME", |_| wall_clock().into())
                .left(9)
                .separator(""),
        );
    }
    if args.timestamp {
        let seconds = |row: &Row| Value::Fixed {
            value: row.since_ns as f64 / 1e9,
            decimals: 3,
        };
        table.add(column("TIME(s)", seconds).left(9).separator(""));
    }
    table
        .add(json_field("time", |row: &Row| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(json_field("uid", |row| Value::Uint(row.event.uid.into())))
        .add(
            column("PID", |row: &Row| Value::Uint(row.event.tgid.into()))
                .left(7)
                .key("pid"),
        )
        .add(
            column("COMM", |row: &Row| Value::Name(&row.event.comm))
                .left(12)
                .cut()
                .key("comm"),
        )
        .add(
            column("IP", |row: &Row| Value::Uint(row.flow.ip_version()))
                .left(2)
                .key("ip"),
        )
        .add(
            column("RADDR", |row: &Row| Value::Ip(row.flow.daddr))
                .left(16)
                .key("daddr"),
        )
        .add(
            column("RPORT", |row: &Row| Value::Uint(row.flow.dport.into()))
                .left(5)
                .key("dport"),
        )
        .add(
            column("LADDR", |row: &Row| Value::Ip(row.flow.saddr))
                .left(16)
                .key("saddr"),
        )
        .add(
            column("LPORT", |row: &Row| Value::Uint(row.flow.sport.into()))
                .left(5)
                .key("sport"),
        );
    add_place_fields(&mut table);
    table
}
