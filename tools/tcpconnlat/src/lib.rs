// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpconnlat`: how long a TCP connect() takes to be answered.

mod latencies;

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use common::cli::{Family, General, LongPortFilter, NetFilter, RunTime, id, seconds};
use common::columns::{Format, Table, Value, column, json_field};
use common::flow::{Flow, HasFlow};
use common::hooks::{Alternative, Hook};
use common::net::Ports;
use common::origin::{HasOrigin, Known, Origin, Owners, add_place_fields};
use common::session::Session;
use common::time::{EventClock, SinceFirst};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, event::decode, flow, flow_filter};
use nix::errno::Errno;

use latencies::Latencies;
use skel::types::{tcpconnlat_event, tcpconnlat_outcome};

bpf_skeleton!("tcpconnlat");
event!(tcpconnlat_event);

/// Trace TCP connects and how long it takes until they are answered
#[derive(Parser, Debug)]
// As in BCC, where the letter shows the program; the long form is the suite's.
#[command(mut_arg("verbose", |arg| arg.short(None)))]
#[command(after_help = "\
Examples:
  tcpconnlat              trace all TCP connect()s
  tcpconnlat 1            only those that take 1 ms and more
  tcpconnlat 0.1          only those that take 0.1 ms and more
  tcpconnlat -t           include timestamps
  tcpconnlat -p 181       only trace PID 181
  tcpconnlat -L           include the local port
  tcpconnlat -4           trace IPv4 only
  tcpconnlat --failed     show connects that are never answered as well
  tcpconnlat --histogram  a histogram with percentiles at the end
  tcpconnlat --histogram 5    every 5 seconds
  tcpconnlat --json       one JSON object per line")]
pub struct Args {
    /// Include the seconds since the first event
    #[arg(short, long)]
    timestamp: bool,

    /// Only this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// Include the local port
    #[arg(short = 'L', long)]
    lport: bool,

    #[command(flatten)]
    family: Family,

    /// Print the BPF program, then trace
    #[arg(short = 'v')]
    program: bool,

    /// Show connects that fail without an answer as well, and why
    #[arg(long)]
    failed: bool,

    /// A histogram of the latencies with percentiles instead of rows: every so
    /// many seconds, or one at the end
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, value_parser = seconds,
          conflicts_with_all = ["failed", "timestamp", "lport"])]
    histogram: Option<Option<Duration>>,

    /// Only connects that take at least this long, in milliseconds
    #[arg(value_name = "duration_ms", default_value = "0", value_parser = milliseconds)]
    minimum: Duration,

    #[command(flatten)]
    ports: LongPortFilter,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// As BCC: a fraction is allowed, cut off to microseconds.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let ms: f64 = text.parse().map_err(|_| "must be a float".to_owned())?;
    // Not finite, or longer than any connect() can take.
    if !(0.0..1e12).contains(&ms) {
        return Err("must be positive".into());
    }
    Ok(Duration::from_micros((ms * 1000.0) as u64))
}

/// The functions themselves where they can be traced. The states tell the same
/// of a connection that is made or refused, less the route look-up.
const CONNECT: Hook = Hook {
    name: "connect",
    alternatives: &[
        Alternative::new("fentry", &["fentry_v4", "fentry_segment", "set_closed"])
            .optional(&["fentry_v6"])
            .maps(&["starts"]),
        Alternative::new(
            "kprobe",
            &[
                "kprobe_v4",
                "kprobe_segment",
                "set_closed_hash",
                "destroy_hash",
            ],
        )
        .optional(&["kprobe_v6"])
        .maps(&["starts_hash"]),
        Alternative::new("tp_btf", &["set_state", "receive_reset"]).maps(&["starts"]),
        Alternative::new("tp_btf-hash", &["set_state_hash", "receive_reset_hash"])
            .maps(&["starts_hash"]),
    ],
};

pub struct Tcpconnlat;

impl Tool for Tcpconnlat {
    const NAME: &'static str = "tcpconnlat";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcpconnlat");
    const HOOKS: &'static [Hook] = &[CONNECT];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let format = args.general.format(false);
        let attached = session.load::<skel::TcpconnlatSkelBuilder>(&[&CONNECT], |open| {
            flow_filter!(open, args.family, args.ports, args.net, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.filter_tgid = args.pid.unwrap_or(0);
                rodata.min_ns = args.minimum.as_nanos() as u64;
                rodata.want_failed = args.failed.into();
                rodata.want_hist = args.histogram.is_some().into();
                rodata.want_origin = (format == Format::Json).into();
            }
            Ok(())
        })?;
        Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;

        if args.program {
            session.out.line(include_str!("bpf/tcpconnlat.bpf.c"));
        }
        if let Some(interval) = args.histogram {
            session.ready()?;
            let mut latencies = Latencies::default();
            return session.intervals(attached, interval, None, |skel, out| {
                latencies.report(&skel.maps.latencies, format, out)
            });
        }

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
                let (event, _) = decode::<tcpconnlat_event>(record)?;
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

/// A connect() that has come to its end.
struct Row {
    event: tcpconnlat_event,
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

impl Row {
    fn latency_ms(&self) -> f64 {
        // BCC's microseconds, cut off.
        (self.event.delta_ns / 1000) as f64 / 1000.0
    }

    /// Why it failed; `None` for one that was answered with a connection, or
    /// that its process has closed.
    fn error(&self) -> Option<String> {
        match self.event.error {
            0 => None,
            errno => Some(format!("{:?}", Errno::from_raw(errno as i32))),
        }
    }

    fn outcome(&self) -> &'static str {
        match self.event.outcome {
            tcpconnlat_outcome::TCPCONNLAT_ANSWERED => "answered",
            tcpconnlat_outcome::TCPCONNLAT_REFUSED => "refused",
            _ if self.event.error == 0 => "closed",
            _ => "failed",
        }
    }
}

fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table.add(json_field("time", |row: &Row| {
        row.clock.utc(row.event.ts_ns).into()
    }));
    if args.timestamp {
        let seconds = |row: &Row| Value::Fixed {
            value: row.since_ns as f64 / 1e9,
            decimals: 3,
        };
        table.add(column("TIME(s)", seconds).left(9).separator(""));
    }
    table
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
            column("SADDR", |row: &Row| Value::Ip(row.flow.saddr))
                .left(16)
                .key("saddr"),
        );
    let lport = column("LPORT", |row: &Row| Value::Uint(row.flow.sport.into()))
        .left(6)
        .key("sport");
    table
        .add(if args.lport { lport } else { lport.no_text() })
        .add(
            column("DADDR", |row: &Row| Value::Ip(row.flow.daddr))
                .left(16)
                .key("daddr"),
        )
        .add(
            column("DPORT", |row: &Row| Value::Uint(row.flow.dport.into()))
                .left(5)
                .key("dport"),
        );
    let latency = column("LAT(ms)", |row: &Row| Value::Fixed {
        value: row.latency_ms(),
        decimals: 2,
    })
    .json("latency_us", |row| Value::Fixed {
        value: row.event.delta_ns as f64 / 1000.0,
        decimals: 3,
    });
    if args.failed {
        table
            .add(latency.left(9))
            .add(column("ERR", |row| match (row.outcome(), row.error()) {
                (_, Some(error)) => error.into(),
                ("closed", None) => "closed".into(),
                (_, None) => Value::Unknown,
            }));
    } else {
        table.add(latency);
    }
    table
        .add(json_field("outcome", |row: &Row| row.outcome().into()))
        .add(json_field("error", |row| {
            row.error().map_or(Value::Missing, Value::from)
        }));
    add_place_fields(&mut table);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_is_cut_to_microseconds() {
        assert_eq!(milliseconds("0.1"), Ok(Duration::from_micros(100)));
        assert_eq!(milliseconds("0.0019"), Ok(Duration::from_micros(1)));
        assert_eq!(milliseconds("5"), Ok(Duration::from_millis(5)));
        for bad in ["-1", "x", "", "nan", "inf", "1e300"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }
}
