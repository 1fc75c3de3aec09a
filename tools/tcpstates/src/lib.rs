// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpstates`: one line per TCP state change, with the time in the old state.

mod journal;

use anyhow::Result;
use clap::Parser;
use common::cli::{Family, General, PortFilter, RunTime};
use common::columns::{Column, Format, Table, Value, column, json_field};
use common::hooks::{Alternative, Hook};
use common::net::{Ports, address, tcp_state};
use common::session::Session;
use common::time::{EventClock, SinceFirst, wall_clock};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, event::decode};

use journal::Journal;
use skel::types::tcpstates_event;

bpf_skeleton!("tcpstates");
event!(tcpstates_event);

/// Trace TCP session state changes, with the time spent in each state
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcpstates               trace all TCP state changes
  tcpstates -t            include a timestamp column
  tcpstates -T            include a time column (HH:MM:SS)
  tcpstates -w            wider columns (fit IPv6)
  tcpstates -stT          csv output, with times & timestamps
  tcpstates -Y            log events to the systemd journal
  tcpstates -L 80         only trace local port 80
  tcpstates -L 80,81      only trace local ports 80 and 81
  tcpstates -D 80         only trace remote port 80
  tcpstates -4            trace IPv4 family only
  tcpstates --json        one JSON object per line")]
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

    #[command(flatten)]
    ports: PortFilter,

    /// Log the events to the systemd journal as well
    #[arg(short = 'Y', long)]
    journal: bool,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// tp_btf needs no tracefs and works without trampolines and kprobes. Socket
/// storage is open to tracing programs since Linux 5.11 (8e4597c627fb).
const STATE: Hook = Hook {
    name: "state",
    alternatives: &[
        Alternative::new("tp_btf", &["set_state"]).maps(&["since", "stamps"]),
        Alternative::new("tp_btf-hash", &["set_state_hash"]).maps(&["since_hash"]),
    ],
};

pub struct Tcpstates;

impl Tool for Tcpstates {
    const NAME: &'static str = "tcpstates";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcpstates");
    const HOOKS: &'static [Hook] = &[STATE];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let journal = args.journal.then(Journal::connect).transpose()?;
        let format = args.general.format(args.csv);

        let attached = session.load::<skel::TcpstatesSkelBuilder>(&[&STATE], |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.filter_family = args.family.number();
                rodata.filter_sports = args.ports.localport.is_some().into();
                rodata.filter_dports = args.ports.remoteport.is_some().into();
                rodata.filter_cgroup = args.general.cgroup_id();
                rodata.want_origin = (format == Format::Json).into();
            }
            Ok(())
        })?;
        Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;

        let table = table(&args, format);
        table.header(session.out.buffer());
        session.ready()?;

        let mut since_first = SinceFirst::default();
        let mut clock = EventClock::now();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, _) = decode::<tcpstates_event>(record)?;
                let row = Row {
                    event,
                    since_ns: since_first.ns(event.ts_ns),
                    clock: clock.follow(event.ts_ns),
                };
                table.row(&row, out);
                match &journal {
                    Some(journal) => journal.send(&row),
                    None => Ok(()),
                }
            },
        )?;
        match journal.as_ref().map_or(0, Journal::refused) {
            0 => {}
            n => session.warn(&format!(
                "--journal: journald did not take {n} entries in time"
            )),
        }
        Ok(())
    }
}

/// A state change as it is shown.
struct Row {
    event: tcpstates_event,
    since_ns: u64,
    clock: EventClock,
}

impl Row {
    fn ip_version(&self) -> u64 {
        if common::net::is_ipv4(self.event.family) {
            4
        } else {
            6
        }
    }
}

fn table(args: &Args, format: Format) -> Table<Row> {
    let address_width = if args.wide { 39 } else { 15 };
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
        .add(json_field("time", |row| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(
            column("SKADDR", |row: &Row| Value::Hex(row.event.skaddr))
                .left(16)
                .key("skaddr"),
        )
        .add(
            column("C-PID", |row: &Row| Value::Uint(row.event.tgid.into()))
                .left(5)
                .key("pid"),
        )
        .add(
            column("C-COMM", |row: &Row| Value::Name(&row.event.comm))
                .left(if args.wide { 16 } else { 10 })
                .cut()
                .key("comm"),
        )
        .add(ip_column(args.wide))
        .add(
            column("LADDR", |row: &Row| {
                Value::Ip(address(row.event.family, &row.event.laddr))
            })
            .left(address_width)
            .key("laddr"),
        )
        .add(
            column("LPORT", |row: &Row| Value::Uint(row.event.lport.into()))
                .left(5)
                .key("lport"),
        )
        .add(
            column("RADDR", |row: &Row| {
                Value::Ip(address(row.event.family, &row.event.raddr))
            })
            .left(address_width)
            .key("raddr"),
        )
        .add(
            column("RPORT", |row: &Row| Value::Uint(row.event.rport.into()))
                .left(5)
                .key("rport"),
        )
        .add(
            column("OLDSTATE", |row: &Row| {
                Value::Str(tcp_state(row.event.oldstate))
            })
            .left(11)
            .separator(" -> ")
            .key("oldstate"),
        )
        .add(
            column("NEWSTATE", |row: &Row| {
                Value::Str(tcp_state(row.event.newstate))
            })
            .left(11)
            .key("newstate"),
        )
        .add(
            // The classic's microseconds, cut off, as milliseconds.
            column("MS", |row: &Row| Value::Fixed {
                value: (row.event.duration_ns / 1000) as f64 / 1000.0,
                decimals: 3,
            })
            .json("duration_us", |row| Value::Fixed {
                value: row.event.duration_ns as f64 / 1000.0,
                decimals: 3,
            }),
        )
        .add(json_field("netns", |row| {
            Value::Uint(row.event.netns.into())
        }))
        .add(json_field("cgroup_id", |row| {
            Value::Uint(row.event.cgroup_id)
        }));
    table
}

/// Always in CSV and JSON, in text only when wide.
fn ip_column(wide: bool) -> Column<Row> {
    let column = column("IP", |row: &Row| Value::Uint(row.ip_version()))
        .left(2)
        .key("ip");
    if wide { column } else { column.no_text() }
}
