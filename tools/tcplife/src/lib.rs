// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcplife`: one line per TCP session when it ends.

use anyhow::Result;
use clap::Parser;
use common::cli::{Family, General, NetFilter, PortFilter, RunTime, id};
use common::columns::{Column, Format, Table, Value, column, json_field};
use common::flow::{Flow, HasFlow};
use common::hooks::{Alternative, Hook};
use common::net::Ports;
use common::origin::{
    HasOrigin, Known, Owners, SOCKET_FILES, add_place_fields, owner_comm, owner_pid,
};
use common::session::Session;
use common::time::{EventClock, SinceFirst, wall_clock};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, event::decode, flow, flow_filter, origin};
use nix::errno::Errno;

use skel::types::tcplife_event;

bpf_skeleton!("tcplife");
event!(tcplife_event);

/// Trace the lifespan of TCP sessions and summarize them
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcplife                 trace all TCP sessions as they end
  tcplife -t              include a timestamp column
  tcplife -T              include a time column (HH:MM:SS)
  tcplife -w              wider columns (fit IPv6)
  tcplife -stT            csv output, with times & timestamps
  tcplife -p 181          only trace PID 181
  tcplife -L 80           only trace local port 80
  tcplife -L 80,81        only trace local ports 80 and 81
  tcplife -D 80           only trace remote port 80
  tcplife -4              only trace IPv4
  tcplife --json          one JSON object per line")]
pub struct Args {
    /// Include the time of day (HH:MM:SS)
    #[arg(short = 'T', long)]
    time: bool,

    /// Include the seconds since the first event
    #[arg(short, long)]
    timestamp: bool,

    /// Wide columns (fit IPv6 addresses)
    #[arg(short, long)]
    wide: bool,

    /// Comma separated values
    #[arg(short = 's', long, conflicts_with = "json")]
    csv: bool,

    /// Only sessions of this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    #[command(flatten)]
    ports: PortFilter,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// Socket storage is open to tracing programs since Linux 5.11 (8e4597c627fb).
/// The iterator tells who has the sockets that no process has closed.
const LIFE: Hook = Hook {
    name: "life",
    alternatives: &[
        Alternative::new("tp_btf", &["set_state", SOCKET_FILES]).maps(&["lives"]),
        Alternative::new("tp_btf-hash", &["set_state_hash", SOCKET_FILES]).maps(&["lives_hash"]),
    ],
};

pub struct Tcplife;

impl Tool for Tcplife {
    const NAME: &'static str = "tcplife";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcplife");
    const HOOKS: &'static [Hook] = &[LIFE];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let format = args.general.format(args.csv);
        let mut attached = session.load::<skel::TcplifeSkelBuilder>(&[&LIFE], |open| {
            flow_filter!(open, args.family, args.ports, args.net, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.filter_tgid = args.pid.unwrap_or(0);
                rodata.want_all = (format == Format::Json).into();
            }
            Ok(())
        })?;
        Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;
        attached.lost.without(SOCKET_FILES);
        let mut owners = Owners::new(attached.take_link(SOCKET_FILES))?;

        let table = table(&args, format);
        table.header(session.out.buffer());
        session.ready()?;

        let mut since_first = SinceFirst::default();
        let mut clock = EventClock::now();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, _) = decode::<tcplife_event>(record)?;
                let known = owners.complete(origin!(event.origin))?;
                // An owner that the kernel side did not know.
                if args.pid.is_some() && args.pid != known.owner.map(|owner| owner.pid) {
                    return Ok(());
                }
                let row = Row {
                    event,
                    flow: flow!(event.flow),
                    known,
                    since_ns: since_first.ns(event.ts_ns),
                    clock: clock.follow(event.ts_ns),
                };
                table.row(&row, out);
                Ok(())
            },
        )
    }
}

/// A session that has ended.
struct Row {
    event: tcplife_event,
    flow: Flow,
    known: Known,
    since_ns: u64,
    clock: EventClock,
}

impl HasFlow for Row {
    fn flow(&self) -> &Flow {
        &self.flow
    }
}

impl HasOrigin for Row {
    fn known(&self) -> &Known {
        &self.known
    }
}

fn table(args: &Args, format: Format) -> Table<Row> {
    let wide = args.wide;
    let address_width = if wide { 39 } else { 15 };
    let kb_width = if wide { 6 } else { 5 };
    let mut table = Table::new(format);
    if args.time {
        table.add(column("TIME", |_| wall_clock().into()).left(8));
    }
    if args.timestamp {
        let seconds = |row: &Row| Value::Fixed {
            value: row.since_ns as f64 / 1e9,
            decimals: 6,
        };
        table.add(column("TIME(s)", seconds).left(9));
    }
    table
        .add(json_field("time", |row: &Row| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(
            column("PID", |row: &Row| owner_pid(row.known.owner.as_ref()))
                .left(5)
                .key("pid"),
        )
        .add(
            column("COMM", |row: &Row| owner_comm(row.known.owner.as_ref()))
                .left(if wide { 16 } else { 10 })
                .cut()
                .key("comm"),
        )
        .add(ip_column(wide))
        .add(
            column("LADDR", |row: &Row| Value::Ip(row.flow.saddr))
                .left(address_width)
                .key("saddr"),
        )
        .add(
            column("LPORT", |row: &Row| Value::Uint(row.flow.sport.into()))
                .left(5)
                .key("sport"),
        )
        .add(
            column("RADDR", |row: &Row| Value::Ip(row.flow.daddr))
                .left(address_width)
                .key("daddr"),
        )
        .add(
            column("RPORT", |row: &Row| Value::Uint(row.flow.dport.into()))
                .left(5)
                .key("dport"),
        )
        .add(
            column("TX_KB", |row: &Row| Value::Uint(row.event.sent / 1024))
                .right(kb_width)
                .json("tx_bytes", |row| Value::Uint(row.event.sent)),
        )
        .add(
            column("RX_KB", |row: &Row| Value::Uint(row.event.received / 1024))
                .right(kb_width)
                .json("rx_bytes", |row| Value::Uint(row.event.received)),
        )
        .add(
            // BCC's microseconds, cut off, as milliseconds.
            column("MS", |row: &Row| Value::Fixed {
                value: (row.event.span_ns / 1000) as f64 / 1000.0,
                decimals: 2,
            })
            .json("duration_us", |row| Value::Fixed {
                value: row.event.span_ns as f64 / 1000.0,
                decimals: 3,
            }),
        )
        .add(json_field("retransmitted_bytes", |row| {
            Value::Uint(row.event.retransmitted)
        }))
        .add(json_field("srtt_us", |row| match row.event.srtt_us {
            0 => Value::Missing,
            us => Value::Uint(us.into()),
        }))
        .add(json_field("error", |row| match row.event.error {
            0 => Value::Missing,
            errno => format!("{:?}", Errno::from_raw(errno as i32)).into(),
        }));
    add_place_fields(&mut table);
    table
}

/// Always in CSV and JSON, in text only when wide.
fn ip_column(wide: bool) -> Column<Row> {
    let column = column("IP", |row: &Row| Value::Uint(row.flow.ip_version()))
        .left(2)
        .key("ip");
    if wide { column } else { column.no_text() }
}
