// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpconnect`: one line per TCP connect(), or how many there were.

mod counts;
mod dns;

use std::net::IpAddr;

use anyhow::{Result, bail};
use clap::{Parser, value_parser};
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

use dns::Query;
use skel::types::{flow as kernel_flow, tcpconnect_answer, tcpconnect_event, tcpconnect_kind};

bpf_skeleton!("tcpconnect");
event!(tcpconnect_event);
event!(tcpconnect_answer);
event!(kernel_flow);

/// Trace TCP active connections: connect()
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcpconnect              trace all TCP connect()s
  tcpconnect -t           include timestamps
  tcpconnect -d           include the DNS queries that the addresses come from
  tcpconnect -p 181       only trace PID 181
  tcpconnect -P 80        only trace port 80
  tcpconnect -P 80,81     only trace ports 80 and 81
  tcpconnect -4           only trace IPv4
  tcpconnect -U           include UID
  tcpconnect -u 1000      only trace UID 1000
  tcpconnect -c           count connects per source address and destination
  tcpconnect -L           include the local port
  tcpconnect --cgroupmap MAP   only trace cgroups in this BPF map
  tcpconnect --mntnsmap MAP    only trace mount namespaces in this BPF map
  tcpconnect --json       one JSON object per line")]
pub struct Args {
    /// Include the seconds since the first event
    #[arg(short, long)]
    timestamp: bool,

    /// Only this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// Only these destination ports, as a comma list
    #[arg(short = 'P', long, value_name = "PORTS", value_parser = Ports::parse)]
    #[arg(alias = "remoteport")]
    port: Option<Ports>,

    /// Only these local ports, as a comma list
    #[arg(long, value_name = "PORTS", value_parser = Ports::parse)]
    localport: Option<Ports>,

    #[command(flatten)]
    family: Family,

    /// Include the local port; -s and --source-port, as in libbpf-tools, do the same
    #[arg(short = 'L', long, short_alias = 's', alias = "source-port")]
    lport: bool,

    /// Include the user id
    #[arg(short = 'U', long)]
    print_uid: bool,

    /// Only this user id
    #[arg(short, long, value_parser = value_parser!(u32).range(..u32::MAX as i64))]
    uid: Option<u32>,

    /// Count connects per source address, destination address and port, until
    /// the end; with -L per local port as well, while -t and -U say nothing then
    #[arg(short, long, conflicts_with = "dns")]
    count: bool,

    /// Include the name that the address was the DNS answer to
    #[arg(short, long)]
    dns: bool,

    #[command(flatten)]
    containers: ContainerMaps,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// The functions themselves where they can be traced. Without them a connect is
/// shown when it is known to be under way: see the BPF program.
const CONNECT: Hook = Hook {
    name: "connect",
    alternatives: &[
        Alternative::new("fexit", &["fexit_v4"]).optional(&["fexit_v6"]),
        Alternative::new("kprobe", &["kprobe_v4", "kretprobe_v4"])
            .optional(&["kprobe_v6", "kretprobe_v6"])
            .maps(&["calls"]),
        Alternative::new("tp_btf", &["set_state", "retransmit"])
            .optional(&["exit_connect"])
            .maps(&["begun"]),
    ],
};

/// For `-d` only. What every system call passes is for where tracefs cannot be
/// used.
const DNS: Hook = Hook {
    name: "dns",
    alternatives: &[
        Alternative::new(
            "tracepoint",
            &[
                "exit_recvfrom",
                "exit_recvmsg",
                "exit_recvmmsg",
                "exit_read",
            ],
        ),
        Alternative::new("raw_tp", &["exit_any"]),
    ],
};

pub struct Tcpconnect;

impl Tool for Tcpconnect {
    const NAME: &'static str = "tcpconnect";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcpconnect");
    const HOOKS: &'static [Hook] = &[CONNECT, DNS];
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
            localport: args.localport.clone(),
            remoteport: args.port.clone(),
        };
        let hooks: &[_] = if args.dns {
            &[&CONNECT, &DNS]
        } else {
            &[&CONNECT]
        };
        let attached = session.load::<skel::TcpconnectSkelBuilder>(hooks, |open| {
            flow_filter!(open, args.family, ports, args.net, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.counting = args.count.into();
                rodata.count_sports = args.lport.into();
                rodata.want_place = (format == Format::Json).into();
            }
            task_filter!(open, tasks, args.general, args.containers)
        })?;
        Ports::store(ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(ports.remoteport.as_ref(), &attached.skel.maps.dports)?;

        if format == Format::Text {
            session.out.line("Tracing connect ... Hit Ctrl-C to end");
        }
        if args.count {
            session.ready()?;
            return session.intervals(attached, None, None, |skel, out| {
                counts::report(&skel.maps.counts, args.lport, format, out)
            });
        }

        let table = table(&args, format);
        header(&table, session.out.buffer(), args.dns);
        session.ready()?;

        let mut owners = Owners::new(None)?;
        let mut names = dns::Cache::default();
        let mut since_first = SinceFirst::default();
        let mut clock = EventClock::now();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                if is_answer(record) {
                    let (answer, data) = decode::<tcpconnect_answer>(record)?;
                    let Some(message) = data.get(..answer.size as usize) else {
                        bail!("decode event: an answer of {} bytes", data.len());
                    };
                    names.learn(message, answer.ts_ns);
                    return Ok(());
                }
                let (event, _) = decode::<tcpconnect_event>(record)?;
                let (flow, ts_ns) = (flow!(event.flow), event.connector.ts_ns);
                let origin = Origin {
                    cookie: event.connector.cookie,
                    cgroup_id: event.connector.cgroup_id,
                    netns: event.netns,
                    ..Origin::default()
                };
                let row = Row {
                    event,
                    flow,
                    known: owners.complete(origin)?,
                    query: args.dns.then(|| names.query(flow.daddr, ts_ns).cloned()),
                    since_ns: since_first.ns(ts_ns),
                    clock: clock.follow(ts_ns),
                };
                table.row(&row, out);
                Ok(())
            },
        )
    }
}

fn is_answer(record: &[u8]) -> bool {
    let kind = record.first_chunk().map(|kind| u32::from_ne_bytes(*kind));
    kind == Some(tcpconnect_kind::TCPCONNECT_ANSWER.0)
}

/// As in BCC, whose rows end with a blank where the header does not.
fn header(table: &Table<Row>, out: &mut Vec<u8>, dns: bool) {
    table.header(out);
    if !dns && table.format() == Format::Text {
        out.truncate(out.len().saturating_sub(2));
        out.push(b'\n');
    }
}

/// A connect().
struct Row {
    event: tcpconnect_event,
    flow: Flow,
    known: Known,
    /// With `-d`: the name, if it is known.
    query: Option<Option<Query>>,
    since_ns: u64,
    clock: EventClock,
}

impl HasOrigin for Row {
    fn known(&self) -> &Known {
        &self.known
    }
}

impl Row {
    fn name(&self) -> Option<&[u8]> {
        self.query.as_ref()?.as_ref().map(|query| &*query.name)
    }

    /// Milliseconds since the name's answer.
    fn age_ms(&self) -> Option<f64> {
        let query = self.query.as_ref()?.as_ref()?;
        Some(self.event.connector.ts_ns.saturating_sub(query.ts_ns) as f64 / 1e6)
    }

    /// As BCC says it.
    fn query_text(&self) -> Value<'_> {
        let local = [
            IpAddr::from([127, 0, 0, 1]),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ];
        match (self.name(), self.age_ms()) {
            _ if self.query.is_none() => Value::Missing,
            (Some(name), Some(ms)) if ms > 100.0 => {
                format!("{} ({ms:.3}ms)", common::escape::printable(name)).into()
            }
            (Some(name), _) => Value::Name(name),
            (None, _) if local.contains(&self.flow.daddr) => "localhost".into(),
            (None, _) => "No DNS Query".into(),
        }
    }
}

fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table.add(json_field("time", |row: &Row| {
        row.clock.utc(row.event.connector.ts_ns).into()
    }));
    if args.timestamp {
        let seconds = |row: &Row| Value::Fixed {
            value: row.since_ns as f64 / 1e9,
            decimals: 3,
        };
        table.add(column("TIME(s)", seconds).left(9).separator(""));
    }
    let uid = column("UID", |row: &Row| {
        Value::Uint(row.event.connector.uid.into())
    })
    .left(6)
    .separator("")
    .key("uid");
    table
        .add(if args.print_uid { uid } else { uid.no_text() })
        .add(
            column("PID", |row: &Row| {
                Value::Uint(row.event.connector.tgid.into())
            })
            .left(7)
            .key("pid"),
        )
        .add(
            column("COMM", |row: &Row| Value::Name(&row.event.connector.comm))
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
                .left(6)
                .key("dport"),
        )
        .add(column(if args.dns { "QUERY" } else { "" }, |row: &Row| {
            row.query_text()
        }));
    if args.dns {
        table
            .add(json_field("query", |row| match row.name() {
                Some(name) => Value::Name(name),
                None => Value::Missing,
            }))
            .add(json_field("query_age_ms", |row| {
                row.age_ms()
                    .map_or(Value::Missing, |value| Value::Fixed { value, decimals: 3 })
            }));
    }
    add_place_fields(&mut table);
    table
}
