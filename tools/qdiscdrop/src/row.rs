// SPDX-License-Identifier: MIT OR Apache-2.0
//! A dropped packet as a row.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use common::columns::{Format, Table, Value, column, json_field};
use common::drop_reason::DropReasons;
use common::escape::{c_bytes, printable};
use common::flow::Flow;
use common::net::protocol;
use common::numbers::{push_integer, push_ip};
use common::origin::{HasOrigin, Known, Owners, add_place_fields, owner_comm, owner_pid};
use common::symbols::{KernelSymbols, stack_json, write_stack};
use common::time::{EventClock, wall_clock};
use common::{flow, origin};

use crate::kernel::Kernel;
use crate::skel::types::{qdisc, qdiscdrop_event};
use crate::{Args, qdisc_text};

/// Writes the rows.
pub struct Rows {
    table: Table<Row>,
    owners: Owners,
    reasons: DropReasons,
    symbols: KernelSymbols,
    clock: EventClock,
    second: Last<u64, Rc<str>>,
    reason: Last<u32, Option<Rc<str>>>,
    why: Last<(u8, bool, u32), Rc<str>>,
    qdisc: Last<([i8; 16], u32, u32), Rc<str>>,
    stack: bool,
}

/// What was made last, for as long as it is asked for again: in a flood, row
/// after row is of the same qdisc and for the same reason.
struct Last<K, V>(Option<(K, V)>);

impl<K, V> Default for Last<K, V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: PartialEq, V: Clone> Last<K, V> {
    fn get(&mut self, key: K, make: impl FnOnce() -> V) -> V {
        match &self.0 {
            Some((last, value)) if *last == key => value.clone(),
            _ => self.0.insert((key, make())).1.clone(),
        }
    }
}

struct Row {
    event: qdiscdrop_event,
    /// None: not IP
    flow: Option<Flow>,
    known: Known,
    /// None: the kernel gives none
    reason: Option<Rc<str>>,
    /// As [`why`]
    why: Rc<str>,
    qdisc: Rc<str>,
    dev: [u8; 16],
    location: Rc<str>,
    stack: Vec<Rc<str>>,
    second: Rc<str>,
    clock: EventClock,
}

impl HasOrigin for Row {
    fn known(&self) -> &Known {
        &self.known
    }
}

impl Rows {
    pub fn new(args: &Args, owners: Owners, kernel: &mut Kernel) -> Self {
        Self {
            table: table(args),
            owners,
            reasons: std::mem::take(&mut kernel.reasons),
            symbols: KernelSymbols::default(),
            clock: EventClock::now(),
            second: Last::default(),
            reason: Last::default(),
            why: Last::default(),
            qdisc: Last::default(),
            stack: args.stack,
        }
    }

    pub fn header(&self, out: &mut Vec<u8>) {
        self.table.header(out);
    }

    pub fn write(&mut self, event: qdiscdrop_event, tail: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let json = self.table.format() == Format::Json;
        let mut from = origin!(event.origin);
        from.netns = event.netns;
        let code = event.reason;
        let reason = self
            .reason
            .get(code, || reason(&mut self.reasons, code).map(Rc::from));
        let (place, policed) = (event.r#where, event.policed != 0);
        let of = &event.qdisc;
        let row = Row {
            flow: ip_flow(&event.flow),
            known: self.owners.complete(from)?,
            why: self.why.get((place, policed, code), || {
                why(place, policed, reason.as_deref()).into()
            }),
            qdisc: self
                .qdisc
                .get((of.kind, of.handle, of.class), || qdisc_text(of).into()),
            dev: name(&event.dev),
            reason,
            location: if json {
                self.symbols.name(event.location)
            } else {
                "".into()
            },
            stack: if self.stack {
                self.symbols.stack(tail)
            } else {
                Vec::new()
            },
            second: self.second(),
            clock: self.clock.follow(event.ts_ns),
            event,
        };
        self.table.row(&row, out);
        if self.stack && !json {
            write_stack(&row.stack, out);
        }
        Ok(())
    }

    /// The time of day, made anew every second.
    fn second(&mut self) -> Rc<str> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.second.get(now, || wall_clock().into())
    }
}

/// The flow of an IP packet.
pub fn ip_flow(of: &crate::skel::types::flow) -> Option<Flow> {
    (of.family != 0).then(|| flow!(of))
}

/// The kernel's name of a reason.
pub fn reason(reasons: &mut DropReasons, code: u32) -> Option<String> {
    (code != 0).then(|| reasons.name(code).into_owned())
}

/// The place and, where the kernel has one, the reason.
pub fn why(place: u8, policed: bool, reason: Option<&str>) -> String {
    let place = place_name(place, policed);
    match reason {
        Some(reason) if reason != "NOT_SPECIFIED" => format!("{place}/{reason}"),
        _ => place.to_owned(),
    }
}

/// Where a packet was dropped: `enum where`.
pub fn place_name(place: u8, policed: bool) -> &'static str {
    match (policed, place) {
        (true, _) => "police",
        (_, 1) => "enqueue",
        (_, 2) => "dequeue",
        (_, 3) => "egress",
        _ => "ingress",
    }
}

/// The protocol; of what is not IP the ethertype.
pub fn proto_name(flow: Option<&Flow>, ethertype: u16) -> Cow<'static, str> {
    match (flow, ethertype) {
        (Some(flow), _) => protocol(flow.proto),
        (_, 0x0806) => "ARP".into(),
        (_, 0x88cc) => "LLDP".into(),
        (_, 0x8847) => "MPLS".into(),
        (_, other) => format!("0x{other:04x}").into(),
    }
}

/// `SADDR:SPORT > DADDR:DPORT`
pub fn flow_text(flow: Option<&Flow>) -> String {
    let Some(flow) = flow else {
        return "- > -".into();
    };
    let has_ports = matches!(flow.proto, 6 | 17 | 33 | 132 | 136);
    let mut text = String::with_capacity(64);
    for (before, addr, port) in [
        ("", flow.saddr, flow.sport),
        (" > ", flow.daddr, flow.dport),
    ] {
        text.push_str(before);
        if !has_ports {
            push_ip(addr, &mut text);
            continue;
        }
        let [open, close] = if addr.is_ipv4() {
            ["", ":"]
        } else {
            ["[", "]:"]
        };
        text.push_str(open);
        push_ip(addr, &mut text);
        text.push_str(close);
        push_integer(port, &mut text);
    }
    text
}

/// The bytes of a C name.
pub fn name(chars: &[i8; 16]) -> [u8; 16] {
    chars.map(|c| c as u8)
}

pub fn text(chars: &[i8; 16]) -> String {
    printable(c_bytes(&name(chars))).into_owned()
}

/// `8001:` or, as a class, `1:10`: as tc writes it.
pub fn handle(value: u32) -> String {
    match value & 0xffff {
        0 => format!("{:x}:", value >> 16),
        minor => format!("{:x}:{minor:x}", value >> 16),
    }
}

/// A number, or `-` for the one that stands for not known.
fn some(value: u32, unknown: u32) -> Value<'static> {
    if value == unknown {
        Value::Unknown
    } else {
        Value::Uint(value.into())
    }
}

fn limit(row: &Row) -> Value<'_> {
    match (row.event.limit, row.event.limit_in_bytes) {
        (0, _) => Value::Unknown,
        (limit, 0) => format!("{limit}p").into(),
        (limit, _) => format!("{limit}b").into(),
    }
}

fn port(row: &Row, port: impl Fn(&Flow) -> u16) -> Value<'_> {
    match row.flow.as_ref().map(port) {
        None | Some(0) => Value::Missing,
        Some(port) => Value::Uint(port.into()),
    }
}

fn leaf(qdisc: &qdisc) -> Value<'_> {
    match qdisc.class {
        0 => Value::Missing,
        _ => text(&qdisc.leaf_kind).into(),
    }
}

fn table(args: &Args) -> Table<Row> {
    let mut table = Table::new(args.format());
    table
        .add(column("TIME", |row: &Row| Value::Str((&*row.second).into())).left(8))
        .add(json_field("time", |row| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(
            column("PID", |row: &Row| owner_pid(row.known.owner.as_ref()))
                .left(7)
                .key("pid"),
        )
        .add(
            column("COMM", |row: &Row| owner_comm(row.known.owner.as_ref()))
                .left(15)
                .key("comm"),
        )
        .add(
            column("DEV", |row: &Row| Value::Name(&row.dev))
                .left(8)
                .key("dev"),
        )
        .add(json_field("ifindex", |row| {
            Value::Uint(row.event.ifindex.into())
        }))
        .add(
            column("QDISC", |row: &Row| Value::Str((&*row.qdisc).into()))
                .left(14)
                .json("qdisc", |row| text(&row.event.qdisc.kind).into()),
        )
        .add(json_field("handle", |row| {
            handle(row.event.qdisc.handle).into()
        }))
        .add(json_field("class", |row| match row.event.qdisc.class {
            0 => Value::Missing,
            class => handle(class).into(),
        }))
        .add(json_field("leaf", |row| leaf(&row.event.qdisc)));
    if args.backlog {
        table
            .add(
                column("QLEN", |row: &Row| some(row.event.qlen, u32::MAX))
                    .left(5)
                    .key("qlen"),
            )
            .add(
                column("BACKLOG", |row: &Row| some(row.event.backlog, u32::MAX))
                    .left(8)
                    .key("backlog_bytes"),
            )
            .add(
                column("LIMIT", limit)
                    .left(8)
                    .json("limit", |row| some(row.event.limit, 0)),
            )
            .add(json_field("limit_unit", |row| {
                match (row.event.limit, row.event.limit_in_bytes) {
                    (0, _) => Value::Missing,
                    (_, 0) => "packets".into(),
                    _ => "bytes".into(),
                }
            }));
    }
    table
        .add(
            column("PROTO", |row: &Row| {
                Value::Str(proto_name(row.flow.as_ref(), row.event.ethertype))
            })
            .left(6)
            .key("proto"),
        )
        .add(
            column("SADDR:SPORT > DADDR:DPORT", |row: &Row| {
                flow_text(row.flow.as_ref()).into()
            })
            .left(41),
        )
        .add(json_field("ip", |row| {
            row.flow
                .as_ref()
                .map_or(Value::Missing, |flow| Value::Uint(flow.ip_version()))
        }))
        .add(json_field("saddr", |row| {
            row.flow
                .as_ref()
                .map_or(Value::Missing, |flow| Value::Ip(flow.saddr))
        }))
        .add(json_field("sport", |row| port(row, |flow| flow.sport)))
        .add(json_field("daddr", |row| {
            row.flow
                .as_ref()
                .map_or(Value::Missing, |flow| Value::Ip(flow.daddr))
        }))
        .add(json_field("dport", |row| port(row, |flow| flow.dport)))
        .add(json_field("ethertype", |row| {
            Value::Hex(row.event.ethertype.into())
        }))
        .add(json_field("vlan", |row| match row.event.vlan {
            0 => Value::Missing,
            id => Value::Uint(id.into()),
        }))
        .add(
            column("LEN", |row: &Row| Value::Uint(row.event.len.into()))
                .left(5)
                .key("len"),
        )
        .add(column("REASON", |row: &Row| Value::Str((&*row.why).into())))
        .add(json_field("where", |row| {
            place_name(row.event.r#where, row.event.policed != 0).into()
        }))
        .add(json_field("reason", |row| match &row.reason {
            Some(reason) => Value::Str((&**reason).into()),
            None => Value::Missing,
        }))
        .add(json_field("location", |row| {
            Value::Str((&*row.location).into())
        }));
    add_place_fields(&mut table);
    if args.stack {
        table.add(json_field("stack", |row| {
            Value::Json(stack_json(&row.stack))
        }));
    }
    table
}
